//! Timetables with calendars, compared with a plain check of each time.

use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use proptest::prelude::*;

use super::timetable::{Dst, Timetable};
use crate::schedule::calendar::period::Period;
use crate::schedule::calendar::versions::Versions;
use crate::schedule::expression::Schedule;
use crate::schedule::zones;

/// Days of the compared time, which contain clock changes of the zones.
const DAYS: i64 = 40;

fn table(schedule: &str, zone: &str) -> Timetable {
    let schedules = vec![Schedule::parse(schedule).unwrap()];
    Timetable::new(schedules, zones::zone(zone).unwrap(), Dst::Once, begin())
}

fn begin() -> Timestamp {
    "2026-09-25T00:00:00Z".parse().unwrap()
}

fn end() -> Timestamp {
    begin() + SignedDuration::from_hours(24 * DAYS)
}

fn local(hours: i64) -> DateTime {
    TimeZone::UTC.to_datetime(begin()) + hours.hours()
}

fn covers(period: Period, local: DateTime) -> bool {
    match period {
        Period::Day(day) => local.date() == day,
        Period::Yearly(month, day) => (local.month(), local.day()) == (month, day),
        Period::Window(from, to) => from <= local && local < to,
    }
}

/// Returns whether a calendar covers a time, with the periods that apply to it.
fn is_covered(calendar: &Versions, zone: &TimeZone, time: Timestamp) -> bool {
    let earlier = calendar.earlier.iter().find(|(until, _)| time <= *until);
    let periods = earlier.map_or(&calendar.current, |(_, periods)| periods);
    periods.iter().any(|period| covers(*period, zone.to_datetime(time)))
}

fn periods() -> impl Strategy<Value = Vec<Period>> {
    let day = (-48_i64..24 * DAYS + 48).prop_map(|hours| Period::Day(local(hours).date()));
    let yearly = (0_i64..24 * DAYS).prop_map(|hours| Period::Yearly(local(hours).month(), local(hours).day()));
    let window =
        (0_i64..24 * DAYS, 1_i64..200).prop_map(|(from, hours)| Period::Window(local(from), local(from + hours)));
    prop::collection::vec(prop_oneof![day, yearly, window], 0..5)
}

fn calendar() -> impl Strategy<Value = Arc<Versions>> {
    let changes = prop::collection::btree_map(0_i64..24 * 60 * DAYS, periods(), 0..4);
    (periods(), changes).prop_map(|(current, changes)| {
        let at = |minutes| begin() + SignedDuration::from_mins(minutes);
        let earlier = changes.into_iter().map(|(minutes, periods)| (at(minutes), periods)).collect();
        Arc::new(Versions { current, earlier })
    })
}

proptest! {
    /// A time is due if the schedule has it, no excluded calendar covers it, and one of the others does, if there are any.
    #[test]
    fn times_are_those_that_the_calendars_allow(
        schedule in prop::sample::select(vec!["*/30 * * * *", "0 6,18 * * *", "30 2 * * *", "@every 7h"]),
        zone in prop::sample::select(vec!["UTC", "Europe/Paris", "Australia/Lord_Howe", "America/New_York"]),
        exclude in prop::collection::vec(calendar(), 0..3),
        only in prop::collection::vec(calendar(), 0..3),
    ) {
        let plain = table(schedule, zone);
        let is_due = |time: &Timestamp| {
            !exclude.iter().any(|calendar| is_covered(calendar, &plain.zone, *time))
                && (only.is_empty() || only.iter().any(|calendar| is_covered(calendar, &plain.zone, *time)))
        };
        let in_range = |time: &Timestamp| *time <= end();
        let expected: Vec<Timestamp> = plain.times(begin()).take_while(in_range).filter(is_due).collect();
        let table = Timetable { exclude_calendars: exclude.clone(), only_calendars: only.clone(), ..plain.clone() };
        let forwards: Vec<Timestamp> = table.times(begin()).take_while(in_range).collect();
        prop_assert_eq!(&forwards, &expected);
        let mut backwards: Vec<Timestamp> = table.times_before(end(), begin() + SignedDuration::from_nanos(1)).collect();
        backwards.reverse();
        prop_assert_eq!(&backwards, &expected);
    }

    /// A change of a calendar changes no time before it.
    #[test]
    fn change_of_a_calendar_applies_to_later_times(before in periods(), after in periods(), minutes in 0_i64..24 * 60 * DAYS) {
        let until = begin() + SignedDuration::from_mins(minutes);
        let times = |current: &[Period], earlier: Vec<(Timestamp, Vec<Period>)>, from, to| {
            let calendar = Arc::new(Versions { current: current.to_vec(), earlier });
            let table = Timetable { exclude_calendars: vec![calendar], ..table("*/10 * * * *", "Europe/Paris") };
            table.times(from).take_while(|time| *time <= to).collect::<Vec<_>>()
        };
        let changed = vec![(until, before.clone())];
        prop_assert_eq!(times(&after, changed.clone(), begin(), until), times(&before, Vec::new(), begin(), until));
        prop_assert_eq!(times(&after, changed, until, end()), times(&after, Vec::new(), until, end()));
    }
}

#[test]
fn search_ends_without_a_period_in_which_runs_are_due() {
    let mut table = table("* * * * *", "Europe/Paris");
    table.only_calendars = vec![Arc::new(Versions::default())];
    assert_eq!((table.next(begin()), table.times_before(begin(), Timestamp::MIN).next()), (None, None));
    let past = Versions { current: Vec::new(), earlier: vec![(begin(), vec![Period::Yearly(9, 24)])] };
    table.only_calendars = vec![Arc::new(past)];
    assert_eq!(table.next(begin()), None);
    let last = table.times_before(end(), Timestamp::MIN).next().unwrap();
    assert_eq!(last.to_string(), "2026-09-24T21:59:00Z");
}
