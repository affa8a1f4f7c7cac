//! What a backfill will do: the times of its range, those that have a run already, and the JobSchedule that runs the past
//! times of a CronJob. Pure functions.

use std::collections::BTreeMap;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::job::API_VERSION as BATCH;
use crate::job::view::controlling_owner;
use crate::runtime::hash::hash;
use crate::schedule::backfill::Range;
use crate::schedule::job_schedule::backfill::{MAX_TIMES, times};
use crate::schedule::job_schedule::timetable::Timetable;
use crate::schedule::job_schedule::types::Run;
use crate::schedule::job_schedule::{API_VERSION, KIND};
use crate::schedule::parameters::ParameterValue;
use crate::schedule::{SCHEDULED_ANNOTATION, cron_job};

/// Label of a JobSchedule that runs past times of a CronJob, with the name of the CronJob.
pub(crate) const CRON_JOB_LABEL: &str = "jobwright.dev/backfill-of";
/// Longest part of the name of a CronJob in the name of its JobSchedule, which has at most 52 characters.
const LONGEST_NAME: usize = 33;

/// Scheduled time of a backfill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    /// Scheduled time.
    pub time: Timestamp,
    /// Job that the time has already; none if a Job will be started.
    pub run: Option<String>,
}

/// Returns the times of a range up to `until`, in the order in which they are run. `runs` are the Jobs by their
/// scheduled times.
///
/// # Errors
/// The range has more times than a backfill can have.
pub(crate) fn plan(
    table: &Timetable,
    range: &Range,
    until: Timestamp,
    runs: &BTreeMap<Timestamp, String>,
) -> Result<Vec<Planned>, String> {
    let times = times(table, range, until, MAX_TIMES + 1);
    if times.len() > MAX_TIMES {
        return Err(format!("the range has more than {MAX_TIMES} scheduled times; choose a shorter one"));
    }
    Ok(times.into_iter().map(|time| Planned { time, run: runs.get(&time).cloned() }).collect())
}

/// Returns the Jobs of an owner by their scheduled times, with the runs in its history.
pub(crate) fn runs(jobs: &[Job], owner: &str, history: &[Run]) -> BTreeMap<Timestamp, String> {
    let is_owned = |job: &&Job| controlling_owner(&job.metadata).is_some_and(|reference| reference.uid == owner);
    let of_job = |job: &Job| Some((job.annotations().get(SCHEDULED_ANNOTATION)?.parse().ok()?, job.name_any()));
    let of_history = history.iter().filter_map(|run| Some((run.scheduled.as_ref()?.0, run.job.clone())));
    of_history.chain(jobs.iter().filter(is_owned).filter_map(of_job)).collect()
}

/// Parses a time: `2026-01-05T06:00:00Z`, or without an offset `2026-01-05T06:00` or `2026-01-05` in this zone. A day
/// stands for its begin, or for its end with `is_end`.
pub(crate) fn time(text: &str, zone: &TimeZone, is_end: bool) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let local = match text.parse::<Date>() {
        Ok(day) if text.len() == "2026-01-05".len() => {
            let day = if is_end { day.checked_add(1.day()).ok()? } else { day };
            day.to_datetime(jiff::civil::Time::midnight())
        }
        _ => return zone.to_timestamp(text.parse::<DateTime>().ok()?).ok(),
    };
    let time = zone.to_timestamp(local).ok()?;
    if is_end { time.checked_sub(SignedDuration::from_secs(1)).ok() } else { Some(time) }
}

/// Returns the value of `spec.backfill`. As a merge patch it removes the fields of an earlier backfill.
pub(crate) fn spec(range: &Range, max_active: Option<u32>, skip: &[Timestamp], set: &[ParameterValue]) -> Value {
    json!({
        "from": range.from.to_string(), "to": range.to.to_string(), "order": range.order, "maxActive": max_active,
        "parameters": if set.is_empty() { Value::Null } else { json!(set) },
        "skip": if skip.is_empty() { Value::Null } else { json!(skip.iter().map(Timestamp::to_string).collect::<Vec<_>>()) },
    })
}

/// Returns an object without its fields that are null.
pub(crate) fn without_nulls(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    object
}

/// Returns the JobSchedule that runs past times of a CronJob, which has no field for them. It has no time after the range,
/// and is deleted with the CronJob.
///
/// # Errors
/// The times of the CronJob are not known before its creation.
pub(crate) fn of_cron_job(cron_job: &CronJob, range: &Range, backfill: Value) -> Result<Value, String> {
    let spec = serde_json::to_value(&cron_job.spec).map_err(|error| error.to_string())?;
    if cron_job.spec.schedule.trim_start().starts_with("@every") {
        return Err("an @every schedule counts from the creation, so that it has no earlier times".to_owned());
    }
    let name = cron_job.name_any();
    let range_text = format!("{}{}", range.from, range.to);
    let suffix = hash([range_text.as_bytes(), format!("{:?}", range.order).as_bytes()]) & 0x00ff_ffff;
    let shortened: String = name.chars().take(LONGEST_NAME).collect();
    let mut schedule = json!({
        "schedules": [spec["schedule"]],
        // As the controllers of CronJobs treat clock changes.
        "dst": "Skip",
        "notAfter": range.to.to_string(),
        "backfill": without_nulls(backfill),
        "jobTemplate": spec["jobTemplate"],
    });
    for field in ["timeZone", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        if !spec[field].is_null() {
            schedule[field] = spec[field].clone();
        }
    }
    // The client of the API server writes the empty metadata of templates as null.
    if schedule["jobTemplate"]["metadata"].is_null()
        && let Some(template) = schedule["jobTemplate"].as_object_mut()
    {
        template.remove("metadata");
    }
    Ok(json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": format!("{}-backfill-{suffix:06x}", shortened.trim_end_matches(['-', '.'])),
            "namespace": cron_job.namespace(),
            "labels": {CRON_JOB_LABEL: name},
            "ownerReferences": [{
                "apiVersion": BATCH, "kind": cron_job::KIND, "name": name, "uid": cron_job.uid(),
            }],
        },
        "spec": schedule,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::backfill::Order;
    use crate::schedule::job_schedule::types::JobScheduleSpec;
    use crate::schedule::job_schedule::view::timetable;
    use crate::schedule::zones;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn range(from: &str, to: &str) -> Range {
        Range { from: at(from), to: at(to), order: Order::OldestFirst }
    }

    #[test]
    fn times_without_an_offset_are_in_the_zone_of_the_schedule() {
        let paris = zones::zone("Europe/Paris").unwrap();
        let cases = [
            ("2026-01-05T06:00:00Z", false, Some("2026-01-05T06:00:00Z")),
            ("2026-01-05T06:00:00+03:00", true, Some("2026-01-05T03:00:00Z")),
            ("2026-01-05T06:00", true, Some("2026-01-05T05:00:00Z")),
            ("2026-01-05", false, Some("2026-01-04T23:00:00Z")),
            ("2026-01-05", true, Some("2026-01-05T22:59:59Z")),
            ("2026-02-30", false, None),
            ("yesterday", false, None),
        ];
        for (text, is_end, expected) in cases {
            assert_eq!(time(text, &paris, is_end), expected.map(at), "{text}");
        }
    }

    #[test]
    fn copy_of_a_cron_job_is_a_valid_job_schedule_with_the_times_of_the_cron_job() {
        let cron_job: CronJob = serde_json::from_value(json!({
            "metadata": {"name": "n".repeat(52), "namespace": "etl", "uid": "u"},
            "spec": {
                "schedule": "0 2 * * *", "timeZone": "Europe/Paris", "failedJobsHistoryLimit": 5,
                "concurrencyPolicy": "Replace",
                "jobTemplate": {"spec": {"template": {"spec": {"containers": [], "restartPolicy": "Never"}}}},
            },
        }))
        .unwrap();
        let range = range("2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z");
        let skip = [at("2026-01-02T01:00:00Z")];
        let made = of_cron_job(&cron_job, &range, spec(&range, None, &skip, &[])).unwrap();
        assert_eq!(made["metadata"]["name"].as_str().unwrap().len(), 49);
        assert_eq!(made["spec"]["failedJobsHistoryLimit"], 5);
        assert_eq!(made["spec"]["concurrencyPolicy"], Value::Null, "Replace would delete the Jobs of the backfill");
        let spec: JobScheduleSpec = serde_json::from_value(made["spec"].clone()).unwrap();
        let table = timetable(&spec, "etl/n", at("2026-02-01T00:00:00Z")).unwrap();
        let runs = [(skip[0], "run".to_owned())].into();
        let planned = plan(&table, &range, range.to, &runs).unwrap();
        let expected = ["2026-01-01T01:00:00Z", "2026-01-02T01:00:00Z", "2026-01-03T01:00:00Z"].map(at);
        assert_eq!(planned.iter().map(|planned| planned.time).collect::<Vec<_>>(), expected);
        assert_eq!(planned[1].run.as_deref(), Some("run"));
        assert_eq!(table.next(at("2026-02-01T00:00:00Z")), None, "the copy has no other runs");
    }

    #[test]
    fn every_schedule_of_a_cron_job_is_refused() {
        let spec_of = json!({"schedule": "@every 1h", "jobTemplate": {}});
        let cron_job: CronJob = serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec_of})).unwrap();
        let range = range("2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z");
        assert!(of_cron_job(&cron_job, &range, spec(&range, None, &[], &[])).unwrap_err().contains("@every"));
    }

    #[test]
    fn range_of_too_many_times_is_refused() {
        let spec: JobScheduleSpec =
            serde_json::from_value(json!({"schedules": ["* * * * *"], "jobTemplate": {"spec": {}}})).unwrap();
        let table = timetable(&spec, "a/b", at("2026-01-01T00:00:00Z")).unwrap();
        let long = range("2020-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
        assert!(plan(&table, &long, long.to, &BTreeMap::new()).unwrap_err().contains("more than 10000"));
    }
}
