//! `@at`: one run at a local time, such as `@at 2026-12-24T18:00`. CronJobs have no such schedule.

use jiff::civil::DateTime;

use crate::schedule::expression::Schedule;

/// Prefix of the schedule of a single run.
const PREFIX: &str = "@at";

/// Parses a schedule of a JobSchedule, whose `H` have been replaced.
///
/// # Errors
/// Returns an error if the text is no schedule. The error names the fix.
pub fn parse(text: &str) -> Result<Schedule, String> {
    let Some(rest) = text.strip_prefix(PREFIX) else { return Schedule::parse(text).map_err(|error| error.to_string()) };
    let minute = rest.strip_prefix(' ').and_then(|rest| local_minute(rest.trim()));
    let wrong = || format!("{text:?} is not a day that exists with a time, such as @at 2026-12-24T18:00");
    minute.map(Schedule::at).ok_or_else(wrong)
}

/// Parses a local time without seconds.
fn local_minute(text: &str) -> Option<DateTime> {
    let time: DateTime = text.parse().ok()?;
    (text.len() == "2026-12-24T18:00".len() && text.as_bytes().get(10) == Some(&b'T')).then_some(time)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::AmbiguousOffset;
    use proptest::prelude::*;

    use super::*;
    use crate::schedule::job_schedule::timetable::{Dst, Timetable};
    use crate::schedule::zones;

    fn table(schedules: &[&str], zone: &str, dst: Dst) -> Timetable {
        let schedules = schedules.iter().map(|text| parse(text).unwrap()).collect();
        Timetable::new(schedules, zones::zone(zone).unwrap(), dst, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn one_off_run_needs_an_existing_minute() {
        assert!(parse("@at 2026-12-24T18:00").is_ok());
        for text in [
            "@at",
            "@at 2026-12-24",
            "@at 2026-02-30T18:00",
            "@at 2026-12-24T24:00",
            "@at 2026-12-24T18:00:30",
            "@at 2026-12-24T18:00Z",
            "@at 2026-12-24 18:00",
            "@at2026-12-24T18:00",
            "@atnoon",
        ] {
            assert!(parse(text).unwrap_err().contains("such as @at 2026-12-24T18:00"), "{text}");
        }
        assert!(Schedule::parse("@at 2026-12-24T18:00").is_err(), "a CronJob has no such schedule");
    }

    #[test]
    fn one_off_runs_are_due_once_among_other_times() {
        let table = table(&["@at 2026-12-24T18:30", "0 18 * * *", "@at 2026-12-24T18:00"], "Europe/Paris", Dst::Once);
        let times: Vec<String> =
            table.times("2026-12-24T00:00:00Z".parse().unwrap()).take(3).map(|time| time.to_string()).collect();
        assert_eq!(times, ["2026-12-24T17:00:00Z", "2026-12-24T17:30:00Z", "2026-12-25T17:00:00Z"]);
    }

    proptest! {
        /// The times of `@at` are those that the time zone has for the local time, by the handling of clock changes.
        #[test]
        fn times_follow_the_clock_changes_of_the_zone(
            zone in prop::sample::select(vec!["Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Tokyo"]),
            dst in prop::sample::select(vec![Dst::Once, Dst::Shift, Dst::Skip]),
            month in prop::sample::select(vec![3_i8, 4, 10, 11]),
            day in 1_i8..31, hour in 0_i8..5, minute in 0_i8..60,
        ) {
            let text = format!("2026-{month:02}-{day:02}T{hour:02}:{minute:02}");
            let table = table(&[&format!("@at {}", text.replace("-31T", "-30T"))], zone, dst);
            let local: DateTime = text.replace("-31T", "-30T").parse().unwrap();
            let instant = |offset: jiff::tz::Offset| offset.to_timestamp(local).unwrap();
            let expected: Vec<Timestamp> = match (table.zone.to_ambiguous_timestamp(local).offset(), dst) {
                (AmbiguousOffset::Unambiguous { offset }, _) => vec![instant(offset)],
                (AmbiguousOffset::Gap { .. }, Dst::Skip) => Vec::new(),
                (AmbiguousOffset::Gap { before, .. }, _) => vec![instant(before)],
                (AmbiguousOffset::Fold { before, .. }, Dst::Once) => vec![instant(before)],
                (AmbiguousOffset::Fold { before, after }, _) => vec![instant(before), instant(after)],
            };
            let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
            let end: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
            prop_assert_eq!(table.times(begin).collect::<Vec<_>>(), expected.clone());
            let mut backwards: Vec<Timestamp> = table.times_before(end, begin).collect();
            backwards.reverse();
            prop_assert_eq!(backwards, expected);
        }
    }
}
