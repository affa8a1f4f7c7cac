//! Scheduled times that passed since the last run of a CronJob. The most recent one is found in constant time,
//! independent of the number of missed times.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::expression::Schedule;

/// Maximum number of missed times without a Warning event.
const MANY: usize = 100;
/// Distance from now within which the search for the most recent time begins.
const NEAR: SignedDuration = SignedDuration::from_mins(2);

/// Maximum distance from a clock change at which the change affects the times of a schedule.
const NEAR_CHANGE: SignedDuration = SignedDuration::from_hours(48);

/// Scheduled times that passed without a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// No time was missed.
    None,
    /// At least one time was missed.
    Some {
        /// Most recent missed time.
        latest: Timestamp,
        /// Whether more than 100 times were missed.
        many: bool,
    },
    /// The schedule has no valid times, such as the 31st of a month that has 30 days.
    Invalid,
}

/// Returns the missed times: those after `earliest`, up to and including `now`.
///
/// The search for the most recent time runs backwards from now. The built-in controller estimates the most recent time
/// from the distance between the first two times, and misses it if the distances differ much.
pub fn since(schedule: &Schedule, zone: &TimeZone, earliest: Timestamp, now: Timestamp) -> Missed {
    let Some(first) = schedule.next(earliest, zone) else { return Missed::Invalid };
    if now < first {
        return Missed::None;
    }
    if first <= earliest {
        return Missed::Invalid;
    }
    if let Some(period) = schedule.every() {
        let more = now.duration_since(first).as_secs() / period;
        let latest = first.checked_add(SignedDuration::from_secs(more.saturating_mul(period)));
        let many = usize::try_from(more).is_ok_and(|more| more >= MANY);
        return latest.map_or(Missed::Invalid, |latest| Missed::Some { latest, many });
    }
    let times = std::iter::successors(Some(first), |time| schedule.next(*time, zone));
    let many = times.take_while(|time| *time <= now).take(MANY + 1).count() > MANY;
    Missed::Some { latest: latest(schedule, zone, first, now), many }
}

/// Returns the most recent time of the schedule at or before `now`. `first` is a time of the schedule at or before
/// `now`.
fn latest(schedule: &Schedule, zone: &TimeZone, first: Timestamp, now: Timestamp) -> Timestamp {
    let found = halved(schedule, zone, first, now);
    // Close to a clock change, the next time can depend on where the search begins. The code therefore steps through
    // all times there, beginning with a time that the change does not affect.
    let before = found.checked_sub(NEAR_CHANGE).ok().filter(|before| *before > first);
    let base = before.map_or(first, |before| halved(schedule, zone, first, before));
    let until = found.checked_add(NEAR_CHANGE).map_or(now, |until| until.min(now));
    if zone.following(base).next().is_none_or(|change| change.timestamp() > until) {
        return found;
    }
    let times = std::iter::successors(Some(base), |time| schedule.next(*time, zone));
    times.take_while(|time| *time <= now).last().unwrap_or(found)
}

/// Returns the most recent time at or before `now` by bisection, which assumes that the next time does not depend on
/// where the search begins. `first` is a time of the schedule at or before `now`.
fn halved(schedule: &Schedule, zone: &TimeZone, first: Timestamp, now: Timestamp) -> Timestamp {
    let next = |after: Timestamp| schedule.next(after, zone).filter(|time| *time <= now);
    let (mut latest, mut end, mut distance) = (first, now, NEAR);
    // Widens the distance until the next time after its begin is at or before `now`.
    while let Some(from) = now.checked_sub(distance).ok().filter(|from| *from > latest) {
        if let Some(time) = next(from) {
            latest = latest.max(time);
            break;
        }
        end = from;
        distance = distance.saturating_mul(4);
    }
    // No time up to `now` follows `end`. Each step halves the interval from `latest` to `end`; a time that is found is
    // the new `latest`.
    while end.duration_since(latest) > SignedDuration::from_secs(1) {
        let middle = latest + end.duration_since(latest) / 2;
        match next(middle) {
            Some(time) => latest = time,
            None => end = middle,
        }
    }
    latest
}

/// Returns the first time of the schedule that is after both `earliest` and `now`.
pub fn upcoming(schedule: &Schedule, zone: &TimeZone, earliest: Timestamp, now: Timestamp) -> Option<Timestamp> {
    // Close to a clock change, the next time can depend on where the search begins. The search therefore begins at a
    // time of the schedule.
    let from = match since(schedule, zone, earliest, now) {
        Missed::None => earliest,
        Missed::Some { latest, .. } => latest,
        Missed::Invalid => now,
    };
    schedule.next(from, zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn missed(text: &str, earliest: &str, now: &str) -> Missed {
        since(&Schedule::parse(text).unwrap(), &TimeZone::UTC, at(earliest), at(now))
    }

    fn some(latest: &str, many: bool) -> Missed {
        Missed::Some { latest: at(latest), many }
    }

    #[test]
    fn most_recent_missed_time_is_found() {
        let from = "2026-01-05T10:30:00Z";
        let cases = [
            ("0 * * * *", "2026-01-05T10:59:59Z", Missed::None),
            ("0 * * * *", "2026-01-05T11:00:00Z", some("2026-01-05T11:00:00Z", false)),
            ("0 * * * *", "2026-01-05T15:20:00Z", some("2026-01-05T15:00:00Z", false)),
            ("0 * * * *", "2026-01-15T15:20:00Z", some("2026-01-15T15:00:00Z", true)),
            ("30 6-16/4 * * 1-5", "2026-01-06T11:00:00Z", some("2026-01-06T10:30:00Z", false)),
            // Many times within a short period, followed by a long period without any.
            ("30 6-16/4 * * 1-5", "2026-01-12T06:00:00Z", some("2026-01-09T14:30:00Z", false)),
            ("0-4 0 * * *", "2026-01-09T06:00:00Z", some("2026-01-09T00:04:00Z", false)),
            ("0-29 11 5 1 *", "2026-06-01T00:00:00Z", some("2026-01-05T11:29:00Z", false)),
            ("* 11-12 5 1 *", "2026-06-01T00:00:00Z", some("2026-01-05T12:59:00Z", true)),
            ("0,1 0 29 2 *", "2030-01-01T00:00:00Z", some("2028-02-29T00:01:00Z", false)),
            ("@every 1h", "2026-01-05T13:29:00Z", some("2026-01-05T12:30:00Z", false)),
            ("0 0 31 2 *", "2026-03-05T00:00:00Z", Missed::Invalid),
        ];
        for (schedule, now, expected) in cases {
            assert_eq!(missed(schedule, from, now), expected, "{schedule} at {now}");
        }
    }

    #[test]
    fn more_than_a_hundred_missed_times_count_as_many() {
        let from = "2026-01-05T10:30:00Z";
        assert_eq!(missed("* * * * *", from, "2026-01-05T12:10:59Z"), some("2026-01-05T12:10:00Z", false));
        assert_eq!(missed("* * * * *", from, "2026-01-05T12:11:00Z"), some("2026-01-05T12:11:00Z", true));
        assert_eq!(missed("@every 1m", from, "2026-01-05T12:10:59Z"), some("2026-01-05T12:10:00Z", false));
        assert_eq!(missed("@every 1m", from, "2026-01-05T12:11:00Z"), some("2026-01-05T12:11:00Z", true));
    }

    #[test]
    fn most_recent_of_ten_million_missed_times_is_found() {
        let found = missed("* * * * *", "2000-01-01T00:00:00Z", "2019-02-01T00:00:30Z");
        assert_eq!(found, some("2019-02-01T00:00:00Z", true));
    }

    #[test]
    fn upcoming_time_is_after_now_and_after_the_last_run() {
        let upcoming = |text: &str, earliest: &str, now: &str| {
            super::upcoming(&Schedule::parse(text).unwrap(), &TimeZone::UTC, at(earliest), at(now))
        };
        let (served, now) = ("2026-01-05T10:30:07Z", "2026-01-05T13:10:00Z");
        assert_eq!(upcoming("0 * * * *", served, now), Some(at("2026-01-05T14:00:00Z")));
        assert_eq!(upcoming("@every 1h", served, now), Some(at("2026-01-05T13:30:07Z")));
        assert_eq!(upcoming("@every 4h", served, now), Some(at("2026-01-05T14:30:07Z")));
        assert_eq!(upcoming("0 * * * *", "2026-01-06T10:30:00Z", now), Some(at("2026-01-06T11:00:00Z")));
        assert_eq!(upcoming("0 0 31 2 *", served, now), None);
    }
}
