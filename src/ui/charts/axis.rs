//! Ticks of an axis of time, at round times of a zone.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

/// Distances between two ticks, in seconds. Longer distances are whole days.
const STEPS: [i64; 17] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200];
const DAY: i64 = 86_400;

/// Tick of an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tick {
    /// Time of the tick.
    pub time: Timestamp,
    /// Time in the zone: `14:05`, or with seconds or a date where they differ.
    pub label: String,
}

/// Returns at most `max` ticks between two times, in ascending order.
pub(super) fn ticks(from: Timestamp, to: Timestamp, zone: &TimeZone, max: usize) -> Vec<Tick> {
    let Ok(max_steps) = i64::try_from(max) else { return Vec::new() };
    let length = to.duration_since(from).as_secs();
    if length <= 0 || max_steps == 0 {
        return Vec::new();
    }
    let times = match STEPS.iter().find(|step| length / **step < max_steps) {
        Some(step) => within_a_day(from, to, zone, *step),
        None => days(from, to, zone, (length / DAY) / max_steps + 1),
    };
    let mut day = None;
    let label = |time: Timestamp| {
        let local = time.to_zoned(zone.clone());
        let is_new_day = day.is_some_and(|day| day != local.date());
        day = Some(local.date());
        let format = match (times.step, is_new_day) {
            (DAY.., _) => "%b %-d",
            (_, true) => "%b %-d %H:%M",
            (..60, false) => "%H:%M:%S",
            (_, false) => "%H:%M",
        };
        Tick { time, label: local.strftime(format).to_string() }
    };
    times.times.iter().copied().take(max).map(label).collect()
}

struct Times {
    times: Vec<Timestamp>,
    step: i64,
}

/// Returns the times whose local time of day is a multiple of a step, which divides a day.
fn within_a_day(from: Timestamp, to: Timestamp, zone: &TimeZone, step: i64) -> Times {
    let local = from.as_second() + i64::from(zone.to_offset(from).seconds());
    let ahead = (step - local.rem_euclid(step)).rem_euclid(step);
    let mut times = Vec::new();
    let mut next = Timestamp::from_second(from.as_second() + ahead).ok();
    while let Some(time) = next.filter(|time| *time <= to) {
        if time >= from {
            times.push(time);
        }
        next = time.checked_add(SignedDuration::from_secs(step)).ok();
    }
    Times { times, step }
}

/// Returns the beginning of each n-th day.
fn days(from: Timestamp, to: Timestamp, zone: &TimeZone, step: i64) -> Times {
    let mut times = Vec::new();
    let mut date = from.to_zoned(zone.clone()).date().tomorrow().ok();
    while let Some(day) = date {
        match day.to_zoned(zone.clone()).map(|midnight| midnight.timestamp()) {
            Ok(time) if time <= to => times.push(time),
            _ => break,
        }
        date = day.checked_add(step.days()).ok();
    }
    Times { times, step: step * DAY }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(from: &str, to: &str, zone: &str) -> Vec<String> {
        let zone = TimeZone::get(zone).unwrap();
        ticks(from.parse().unwrap(), to.parse().unwrap(), &zone, 6).into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn ticks_are_round_times_of_the_zone() {
        assert_eq!(
            labels("2026-11-28T13:05:07Z", "2026-11-28T13:05:31Z", "UTC"),
            ["13:05:10", "13:05:15", "13:05:20", "13:05:25", "13:05:30"]
        );
        assert_eq!(
            labels("2026-11-28T13:05:07Z", "2026-11-28T15:05:31Z", "Asia/Kolkata"),
            ["19:00", "19:30", "20:00", "20:30"]
        );
        assert_eq!(
            labels("2026-11-28T21:05:07Z", "2026-11-29T02:05:31Z", "Europe/Berlin"),
            ["23:00", "Nov 29 00:00", "01:00", "02:00", "03:00"]
        );
        assert_eq!(
            labels("2026-03-27T12:00:00Z", "2026-04-02T12:00:00Z", "Europe/Berlin"),
            ["Mar 28", "Mar 30", "Apr 1"]
        );
        assert_eq!(labels("2026-11-28T13:05:07Z", "2026-11-28T13:05:07Z", "UTC"), Vec::<String>::new());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn ticks_are_few_and_ascending(from in -377_705_116_800_i64..253_402_207_200, length in prop_oneof![0_i64..200_000, 0_i64..600_000_000_000], max in 0_usize..9) {
            let from = Timestamp::from_second(from).unwrap();
            let to = from.checked_add(SignedDuration::from_secs(length)).unwrap_or(Timestamp::MAX);
            for zone in ["UTC", "Europe/Paris", "Australia/Lord_Howe"] {
                let ticks = ticks(from, to, &TimeZone::get(zone).unwrap(), max);
                prop_assert!(ticks.len() <= max);
                prop_assert!(ticks.windows(2).all(|pair| pair[0].time < pair[1].time));
                prop_assert!(ticks.iter().all(|tick| from <= tick.time && tick.time <= to));
            }
        }
    }
}
