//! Checks of backfills: each past time of the range is run once, beside no more Jobs than `maxActive` allows.

use jiff::Timestamp;
use serde_json::Value;

pub use jobwright::schedule::job_schedule::backfill::LABEL;

/// Checks the start of a Job for this scheduled time. `running` is the number of unfinished Jobs of the JobSchedule, with
/// this one.
///
/// # Errors
/// Returns why the Job must not be started.
pub fn may_start(schedule: &Value, time: i64, running: i64) -> Result<(), String> {
    let backfill = &schedule["spec"]["backfill"];
    if second(&backfill["from"]).is_none_or(|from| time < from) || second(&backfill["to"]).is_none_or(|to| time > to) {
        return Err(format!("as one of the backfill {backfill}, which does not have its time {time}"));
    }
    let max = backfill["maxActive"].as_i64().unwrap_or(1);
    if running > max {
        return Err(format!("as one of the backfill while {running} Jobs are active, maxActive is {max}"));
    }
    Ok(())
}

/// Returns whether the backfill of a JobSchedule has times that were neither started nor skipped.
pub fn is_open(schedule: &Value) -> bool {
    !schedule["spec"]["backfill"].is_null() && schedule["status"]["backfill"]["remaining"].as_i64() != Some(0)
}

/// Checks a backfill that is complete. `is_done` returns whether a time was run, or is none of the schedule.
///
/// # Errors
/// Returns the first time that was not run.
pub fn all_run(schedule: &Value, is_done: impl Fn(i64) -> bool) -> Result<(), i64> {
    let progress = &schedule["status"]["backfill"];
    let (Some(from), Some(until)) = (second(&progress["from"]), second(&progress["until"])) else { return Ok(()) };
    if progress["completionTime"].is_null() {
        return Ok(());
    }
    match (from..=until).filter(|time| time % 60 == 0).find(|time| !is_done(*time)) {
        Some(time) => Err(time),
        None => Ok(()),
    }
}

fn second(time: &Value) -> Option<i64> {
    time.as_str()?.parse::<Timestamp>().ok().map(Timestamp::as_second)
}
