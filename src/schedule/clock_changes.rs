//! Clock changes of a time zone (such as daylight saving time) that skip or repeat times of a schedule.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::expression::Schedule;

/// A clock change that skips or repeats at least one local time of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockChange {
    /// Instant of the clock change.
    pub at: Timestamp,
    /// First local time that is skipped or repeated.
    pub from: DateTime,
    /// First local time after the skipped or repeated ones.
    pub to: DateTime,
    /// Whether local times are skipped. Otherwise they are repeated.
    pub skips: bool,
    /// First local time of the schedule that is skipped or repeated.
    pub first: DateTime,
}

/// Returns the clock changes after `after`, up to and including `until`, that skip or repeat times of the schedule.
pub fn between(schedule: &Schedule, zone: &TimeZone, after: Timestamp, until: Timestamp) -> Vec<ClockChange> {
    let mut changes = Vec::new();
    for change in zone.following(after).take_while(|change| change.timestamp() <= until) {
        let at = change.timestamp();
        let Ok(before) = at.checked_sub(SignedDuration::from_secs(1)) else { continue };
        let by = change.offset().seconds() - zone.to_offset(before).seconds();
        // Local times at this instant without the change (`unmoved`) and with it (`shown`).
        let shown = change.offset().to_datetime(at);
        let Ok(unmoved) = shown.checked_sub(SignedDuration::from_secs(by.into())) else { continue };
        let (from, to) = if by > 0 { (unmoved, shown) } else { (shown, unmoved) };
        if let Some(first) = schedule.first_local(from).filter(|first| *first < to) {
            changes.push(ClockChange { at, from, to, skips: by > 0, first });
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::zones;

    fn changes(text: &str, zone: &str, after: &str, until: &str) -> Vec<(bool, String)> {
        let schedule = Schedule::parse(text).unwrap();
        let zone = zones::zone(zone).unwrap();
        let found = between(&schedule, &zone, after.parse().unwrap(), until.parse().unwrap());
        found.into_iter().map(|change| (change.skips, change.first.to_string())).collect()
    }

    #[test]
    fn changes_that_skip_or_repeat_times_of_the_schedule_are_found() {
        let year = ("2026-01-01T00:00:00Z", "2026-12-31T00:00:00Z");
        let paris = |text| changes(text, "Europe/Paris", year.0, year.1);
        let (spring, autumn) = ((true, "2026-03-29T02:30:00".to_owned()), (false, "2026-10-25T02:30:00".to_owned()));
        assert_eq!(paris("30 2 * * *"), [spring, autumn]);
        assert_eq!(paris("30 4 * * *"), []);
        assert_eq!(paris("30 2 * * MON"), [], "both changes are on Sundays");
        assert_eq!(paris("@every 1h"), []);
        let howe = changes("10 2 * * *", "Australia/Lord_Howe", year.0, year.1);
        assert_eq!(howe, [(true, "2026-10-04T02:10:00".to_owned())], "the change is half an hour");
        let apia = changes("0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", "2012-01-01T00:00:00Z");
        assert_eq!(apia, [(true, "2011-12-30T12:00:00".to_owned())], "the change skips a whole day");
    }
}
