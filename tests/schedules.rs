//! Every schedule of `tests/schedules.jsonl` means what robfig/cron v3, which wrote the file, makes of it.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use jobwright::cronjob::schedule::Schedule;
use jobwright::cronjob::zones;
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
fn every_row_of_the_table_holds() -> Result<()> {
    let mut wrong = Vec::new();
    for row in rows()? {
        match Schedule::parse(&row.schedule) {
            Err(error) if !row.refused => wrong.push(format!("{:?} is refused: {error}", row.schedule)),
            Ok(_) if row.refused => wrong.push(format!("{:?} is taken", row.schedule)),
            Err(_) => {}
            Ok(schedule) => {
                let name = row.zone.as_deref().context("a zone")?;
                let zone = zones::zone(name).with_context(|| format!("zone {name}"))?;
                let mut at = row.from.context("a time to start from")?;
                // The library gives up after five years; the table then ends early.
                let mut times = Vec::new();
                for _ in 0..4 {
                    match schedule.next(at, &zone) {
                        Some(next) => at = next,
                        None => break,
                    }
                    times.push(at);
                }
                if times != row.next {
                    wrong.push(format!("{row:?}\n  but ours {times:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// One field: a star, values, ranges and steps, within bounds.
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

    /// What the table shows for its rows: the next time is the first minute whose fields all match.
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
        // A week is enough to look at by hand; what comes later must not come earlier.
        let found = minutes.take(7 * 24 * 60).find(|at| schedule.matches(TimeZone::UTC.to_datetime(*at)));
        let next = schedule.next(from, &TimeZone::UTC);
        match found {
            Some(found) => prop_assert_eq!(next, Some(found), "{}", text),
            None => prop_assert!(next.is_none_or(|next| next.duration_since(first) >= SignedDuration::from_hours(168)), "{}", text),
        }
    }
}
