//! The times that have come since a CronJob last ran: the most recent one, in constant time however many there were.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::schedule::Schedule;

/// More missed times than this are worth a warning.
const MANY: i64 = 100;

/// The times that have come and were not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// None.
    None,
    /// Some; the most recent one, unless it cannot be told.
    Some {
        /// The most recent one.
        latest: Option<Timestamp>,
        /// There were many.
        many: bool,
    },
    /// The schedule's times do not make sense, such as the 31st of a month that has 30 days.
    Invalid,
}

/// The times after `earliest` and not after `now`.
///
/// Their number is estimated from the distance of the first two, as the built-in controller does; the most recent one is
/// then looked for from one distance before where it should be.
pub fn since(schedule: &Schedule, zone: &TimeZone, earliest: Timestamp, now: Timestamp) -> Missed {
    let Some(first) = schedule.next(earliest, zone) else { return Missed::Invalid };
    if now < first {
        return Missed::None;
    }
    let Some(second) = schedule.next(first, zone) else { return Missed::Invalid };
    if now < second {
        return Missed::Some { latest: Some(first), many: false };
    }
    let distance = second.duration_since(first).as_secs();
    if distance < 1 {
        return Missed::Invalid;
    }
    let count = now.duration_since(first).as_secs() / distance + 1;
    let before = SignedDuration::from_secs((count - 2).saturating_mul(distance));
    let mut latest = None;
    let mut next = first.checked_add(before).ok().and_then(|from| schedule.next(from, zone));
    while let Some(time) = next.filter(|time| *time <= now) {
        latest = Some(time);
        next = schedule.next(time, zone);
    }
    Missed::Some { latest, many: count > MANY }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn missed(text: &str, earliest: &str, now: &str) -> Missed {
        since(&Schedule::parse(text).unwrap(), &TimeZone::UTC, at(earliest), at(now))
    }

    fn some(latest: &str, many: bool) -> Missed {
        Missed::Some { latest: Some(at(latest)), many }
    }

    #[test]
    fn the_most_recent_time_is_found() {
        let from = "2026-01-05T10:30:00Z";
        let cases = [
            ("0 * * * *", "2026-01-05T10:59:59Z", Missed::None),
            ("0 * * * *", "2026-01-05T11:00:00Z", some("2026-01-05T11:00:00Z", false)),
            ("0 * * * *", "2026-01-05T15:20:00Z", some("2026-01-05T15:00:00Z", false)),
            ("0 * * * *", "2026-01-15T15:20:00Z", some("2026-01-15T15:00:00Z", true)),
            ("30 6-16/4 * * 1-5", "2026-01-06T11:00:00Z", some("2026-01-06T10:30:00Z", false)),
            // Where distances differ much, the estimate may lie past the last one; the built-in controller has it so too.
            ("30 6-16/4 * * 1-5", "2026-01-12T06:00:00Z", Missed::Some { latest: None, many: false }),
            ("@every 1h", "2026-01-05T13:29:00Z", some("2026-01-05T12:30:00Z", false)),
            ("0 0 31 2 *", "2026-03-05T00:00:00Z", Missed::Invalid),
        ];
        for (schedule, now, expected) in cases {
            assert_eq!(missed(schedule, from, now), expected, "{schedule} at {now}");
        }
    }

    #[test]
    fn ten_million_missed_times_are_no_more_work_than_two() {
        let start = Instant::now();
        let found = missed("* * * * *", "2000-01-01T00:00:00Z", "2019-02-01T00:00:30Z");
        println!("10 million missed times took {:?}", start.elapsed());
        assert_eq!(found, some("2019-02-01T00:00:00Z", true));
    }
}
