//! Every schedule of `tests/schedules.jsonl` means what robfig/cron v3, which wrote the file, makes of it.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use jiff::Timestamp;
use jobwright::cronjob::schedule::Schedule;
use jobwright::cronjob::zones;
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
