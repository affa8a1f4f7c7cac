//! Schedules are interpreted like by robfig/cron v3, which wrote `tests/schedules.jsonl`. Around clock changes, the
//! times of a JobSchedule and the missed time of a CronJob equal those that a search through all minutes finds.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a failed expectation ends the test, and the modules of a test are no library"
)]

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use jobwright::schedule::calendar::period::Period;
use jobwright::schedule::expression::Schedule;
use jobwright::schedule::job_schedule::timetable::{Dst, Timetable};
use jobwright::schedule::missed::{self, Missed};
use jobwright::schedule::zones;
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    schedule: String,
    zone: Option<String>,
    from: Option<Timestamp>,
    #[serde(default)]
    next: Vec<Timestamp>,
    #[serde(default)]
    refused: bool,
}

fn rows() -> Result<Vec<Row>> {
    let text = include_str!("schedules.jsonl");
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

#[test]
fn the_table_is_large_enough() -> Result<()> {
    let rows = rows()?;
    let texts = |refused: bool| rows.iter().filter(move |row| row.refused == refused).map(|row| &row.schedule);
    assert!(texts(false).collect::<BTreeSet<_>>().len() >= 400);
    assert!(texts(true).collect::<BTreeSet<_>>().len() >= 100);
    assert!(rows.iter().filter_map(|row| row.zone.as_ref()).collect::<BTreeSet<_>>().len() >= 20);
    Ok(())
}

#[test]
fn every_row_of_the_table_matches_robfig_cron() -> Result<()> {
    let mut wrong = Vec::new();
    for row in rows()? {
        match Schedule::parse(&row.schedule) {
            Err(error) if !row.refused => wrong.push(format!("{:?} is refused: {error}", row.schedule)),
            Ok(_) if row.refused => wrong.push(format!("{:?} is accepted", row.schedule)),
            Err(_) => {}
            Ok(schedule) => {
                let name = row.zone.as_deref().context("missing zone")?;
                let zone = zones::zone(name).with_context(|| format!("zone {name}"))?;
                let mut at = row.from.context("missing time to start from")?;
                // The library ends its search after five years. The row then has fewer times.
                let mut times = Vec::new();
                for _ in 0..4 {
                    match schedule.next(at, &zone) {
                        Some(next) => at = next,
                        None => break,
                    }
                    times.push(at);
                }
                if times != row.next {
                    wrong.push(format!("{row:?}\n  Jobwright computes {times:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

#[test]
fn search_continues_past_a_day_that_clocks_skip() {
    let apia = zones::zone("Pacific/Apia").unwrap();
    let next = |text: &str, after: &str| {
        Schedule::parse(text).unwrap().next(after.parse().unwrap(), &apia).map(|next| next.to_string())
    };
    assert_eq!(next("0 12 31 12 *", "2011-12-29T12:00:00Z").as_deref(), Some("2011-12-30T22:00:00Z"));
    assert_eq!(next("0 0 1 1 *", "2011-12-29T12:00:00Z").as_deref(), Some("2011-12-31T10:00:00Z"));
    assert_eq!(next("0 12 30 12 *", "2011-12-29T12:00:00Z").as_deref(), Some("2012-12-29T22:00:00Z"));
}

/// Generates a field of a schedule from stars, values, ranges and steps within these bounds.
fn field(min: u32, max: u32) -> impl Strategy<Value = String> {
    let value = move || min..=max;
    let entry = prop_oneof![
        3 => Just("*".to_owned()),
        2 => value().prop_map(|value| value.to_string()),
        2 => (value(), value()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (1..=max).prop_map(|step| format!("*/{step}")),
        1 => (value(), 1..=max).prop_map(|(value, step)| format!("{value}/{step}")),
        1 => (value(), value(), 1..=max).prop_map(|(a, b, step)| format!("{}-{}/{step}", a.min(b), a.max(b))),
    ];
    prop::collection::vec(entry, 1..3).prop_map(|entries| entries.join(","))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// For random schedules, the next time is the first minute that matches all fields.
    #[test]
    fn the_next_time_is_the_first_minute_that_matches(
        fields in (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6)),
        from in 631_152_000_i64..4_102_444_800,
    ) {
        let (minute, hour, day, month, weekday) = fields;
        let text = format!("{minute} {hour} {day} {month} {weekday}");
        let schedule = Schedule::parse(&text).unwrap();
        let from = Timestamp::from_second(from).unwrap();
        let first = Timestamp::from_second(from.as_second().div_euclid(60) * 60 + 60).unwrap();
        let minutes = std::iter::successors(Some(first), |at| at.checked_add(SignedDuration::from_mins(1)).ok());
        // The search covers one week. If it finds no minute, the next time must not lie within this week.
        let found = minutes.take(7 * 24 * 60).find(|at| schedule.matches(TimeZone::UTC.to_datetime(*at)));
        let next = schedule.next(from, &TimeZone::UTC);
        match found {
            Some(found) => prop_assert_eq!(next, Some(found), "{}", text),
            None => prop_assert!(next.is_none_or(|next| next.duration_since(first) >= SignedDuration::from_hours(168)), "{}", text),
        }
    }
}

/// Zones with unusual clock changes: by half an hour, two hours or a day, at midnight, or four times a year.
const ZONES: &[&str] = &[
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Asuncion",
    "America/Havana",
    "America/New_York",
    "America/Nuuk",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Amman",
    "Asia/Beirut",
    "Asia/Pyongyang",
    "Asia/Tehran",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Europe/Paris",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Pacific/Kwajalein",
];

/// Generates a zone and the time of one of its clock changes.
fn clock_change() -> impl Strategy<Value = (TimeZone, Timestamp)> {
    (prop::sample::select(ZONES), any::<prop::sample::Index>()).prop_map(|(name, index)| {
        let zone = zones::zone(name).unwrap();
        let (begin, end): (Timestamp, Timestamp) =
            ("1990-01-01T00:00:00Z".parse().unwrap(), "2040-01-01T00:00:00Z".parse().unwrap());
        let changes: Vec<Timestamp> =
            zone.following(begin).map(|change| change.timestamp()).take_while(|at| *at < end).collect();
        (zone.clone(), *index.get(&changes))
    })
}

/// Generates a schedule that is due on most days.
fn frequent() -> impl Strategy<Value = String> {
    let day = prop_oneof![4 => Just("*".to_owned()), 1 => field(1, 31)];
    let weekday = prop_oneof![4 => Just("*".to_owned()), 1 => field(0, 6)];
    (field(0, 59), field(0, 23), day, weekday)
        .prop_map(|(minute, hour, day, weekday)| format!("{minute} {hour} {day} * {weekday}"))
}

/// Returns all instants after `from` and up to `to` at which a schedule is due, by a check of each local minute.
fn walked(schedule: &Schedule, zone: &TimeZone, dst: Dst, from: Timestamp, to: Timestamp) -> BTreeSet<Timestamp> {
    let dst = if schedule.has_certain_hours() { dst } else { Dst::Skip };
    let far = SignedDuration::from_hours(27);
    let begin = zone.to_datetime(from - far).with().second(0).subsec_nanosecond(0).build().unwrap();
    let end = zone.to_datetime(to + far);
    let minutes = std::iter::successors(Some(begin), |at: &DateTime| at.checked_add(SignedDuration::from_mins(1)).ok());
    let mut instants = BTreeSet::new();
    for local in minutes.take_while(|at| *at <= end).filter(|at| schedule.matches(*at)) {
        let ambiguous = zone.to_ambiguous_timestamp(local);
        match (ambiguous.offset(), dst) {
            (AmbiguousOffset::Gap { .. }, Dst::Skip) => {}
            (AmbiguousOffset::Fold { .. }, Dst::Shift | Dst::Skip) => {
                instants.extend([ambiguous.earlier().unwrap(), ambiguous.later().unwrap()]);
            }
            _ => {
                instants.insert(ambiguous.compatible().unwrap());
            }
        }
    }
    instants.retain(|at| from < *at && *at <= to);
    instants
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// Forwards and backwards, the times of a JobSchedule equal those of a search through all minutes.
    #[test]
    fn times_beside_clock_changes_are_those_of_a_walk_through_all_minutes(
        (zone, change) in clock_change(),
        texts in prop::collection::vec(frequent(), 1..4),
        dst in prop::sample::select(&[Dst::Once, Dst::Shift, Dst::Skip][..]),
        (before, after) in (0_i64..2 * 86_400, 0_i64..2 * 86_400),
        most in 1_usize..50,
        excluded in prop::option::of((-40_i64..40, 1_i64..30)),
    ) {
        let schedules: Vec<Schedule> = texts.iter().map(|text| Schedule::parse(text).unwrap()).collect();
        let (from, to) = (change - SignedDuration::from_secs(before), change + SignedDuration::from_secs(after));
        let hours = |hours| zone.to_datetime(change).checked_add(SignedDuration::from_hours(hours)).unwrap();
        let window = excluded.map(|(begin, length)| (hours(begin), hours(begin + length)));
        let table = Timetable {
            exclude: window.map(|(from, to)| Period::Window(from, to)).into_iter().collect(),
            ..Timetable::new(schedules.clone(), zone.clone(), dst, from)
        };
        let mut expected: BTreeSet<Timestamp> =
            schedules.iter().flat_map(|schedule| walked(schedule, &zone, dst, from, to)).collect();
        expected.retain(|at| {
            let local = zone.to_datetime(*at);
            !window.is_some_and(|(begin, end)| begin <= local && local < end)
        });
        let expected: Vec<Timestamp> = expected.into_iter().collect();
        let what = format!("{texts:?} in {:?} from {from} to {to}", zone.iana_name());
        let forwards: Vec<Timestamp> = table.times(from).take_while(|at| *at <= to).collect();
        prop_assert_eq!(&forwards, &expected, "forwards: {}", what);
        prop_assert_eq!(&table.missed(from, to, usize::MAX), &expected, "backwards: {}", what);
        let newest = expected.len().saturating_sub(most);
        prop_assert_eq!(&table.missed(from, to, most), &expected[newest..], "the newest {}: {}", most, what);
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The next time is always later than the given time, even where clocks repeat local times.
    #[test]
    fn the_next_time_is_later_beside_every_clock_change(
        (zone, change) in clock_change(),
        text in prop_oneof![4 => frequent(), 1 => Just("0-4,30 0,3 * * *".to_owned())],
        minutes in -180_i64..180,
    ) {
        let schedule = Schedule::parse(&text).unwrap();
        let after = change + SignedDuration::from_mins(minutes);
        let next = schedule.next(after, &zone);
        prop_assert!(next.is_none_or(|next| next > after), "{} in {:?} after {}", text, zone.iana_name(), after);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// The missed time of a CronJob is the last one that repeated calls of `next` find, even for irregular times.
    #[test]
    fn the_missed_time_is_the_last_one_of_a_walk_from_time_to_time(
        (zone, change) in clock_change(),
        text in prop_oneof![4 => frequent(), 1 => Just("@every 7m".to_owned()), 1 => Just("0-4,30 0,3 * * *".to_owned())],
        (before, after) in (0_i64..2 * 86_400, 0_i64..2 * 86_400),
    ) {
        let schedule = Schedule::parse(&text).unwrap();
        let (earliest, now) = (change - SignedDuration::from_secs(before), change + SignedDuration::from_secs(after));
        let times = std::iter::successors(schedule.next(earliest, &zone), |at| schedule.next(*at, &zone));
        let times: Vec<Timestamp> = times.take_while(|at| *at <= now).collect();
        let expected = match times.last() {
            Some(latest) => Missed::Some { latest: *latest, many: times.len() > 100 },
            None => Missed::None,
        };
        let found = missed::since(&schedule, &zone, earliest, now);
        if schedule.next(earliest, &zone).is_none() {
            prop_assert_eq!(found, Missed::Invalid);
        } else {
            prop_assert_eq!(found, expected, "{} in {:?} from {} to {}", text, zone.iana_name(), earliest, now);
        }
        let last = times.last().copied().unwrap_or(earliest);
        let upcoming = missed::upcoming(&schedule, &zone, earliest, now);
        prop_assert_eq!(upcoming, schedule.next(last, &zone), "{} in {:?} after {}", text, zone.iana_name(), now);
    }
}
