//! What a backfill will do: the times of its range, those that have a run already, and the JobSchedule that runs the past
//! times of a CronJob. Pure functions.

use std::collections::BTreeMap;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::client::calendars;
use crate::job::API_VERSION as BATCH;
use crate::job::view::controlling_owner;
use crate::runtime::hash::hash;
use crate::schedule::backfill::{Order, Range};
use crate::schedule::calendar::types::Calendar;
use crate::schedule::job_schedule::backfill::{MAX_TIMES, times};
use crate::schedule::job_schedule::timetable::Timetable;
use crate::schedule::job_schedule::types::{ConcurrencyPolicy, JobSchedule, JobScheduleSpec, Run};
use crate::schedule::job_schedule::view::{CalendarNames, backfill_range, timetable};
use crate::schedule::job_schedule::{API_VERSION, KIND};
use crate::schedule::parameters::ParameterValue;
use crate::schedule::{SCHEDULED_ANNOTATION, cron_job, zones};

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

/// Returns the range between two times, as a user writes them, in this time zone.
///
/// # Errors
/// The zone is not known, or a time is not valid. The error is a sentence without its end.
pub(crate) fn range(from: &str, to: &str, order: Order, zone: Option<&str>) -> Result<(Range, TimeZone), String> {
    let zone = match zone {
        None => TimeZone::UTC,
        Some(name) => zones::zone(name).ok_or_else(|| format!("spec.timeZone {name:?} is not known"))?,
    };
    let parsed = |flag: &str, text: &str, is_end: bool| {
        time(text, &zone, is_end)
            .ok_or_else(|| format!("--{flag}: {text:?} is not a time such as 2026-01-05 or 2026-01-05T06:00"))
    };
    let (from, to) = (parsed("from", from, false)?, parsed("to", to, true)?);
    if to < from {
        return Err("--to must not be before --from".to_owned());
    }
    Ok((Range { from, to, order }, zone))
}

/// Checks that a JobSchedule can begin a backfill of this range. `cancel` is the command that removes an earlier one.
///
/// # Errors
/// Another backfill is in progress, this one is complete, or the concurrency policy would delete its Jobs.
pub(crate) fn check(schedule: &JobSchedule, range: &Range, cancel: &str) -> Result<(), String> {
    if schedule.spec.concurrency_policy == ConcurrencyPolicy::Replace {
        return Err("with concurrencyPolicy Replace, a run that is due would delete its Jobs".to_owned());
    }
    let is_present = schedule.spec.backfill.is_some();
    match schedule.status.as_ref().and_then(|status| status.backfill.as_ref()) {
        Some(before) if is_present && before.completion_time.is_none() => Err(format!(
            "another backfill is in progress ({} of {} times are left); wait for it, or cancel it: {cancel}",
            before.remaining, before.total
        )),
        // The same range would not be run again.
        Some(before) if is_present && backfill_range(before) == *range => {
            Err(format!("a backfill of this range is complete; to run times of it again, remove it first: {cancel}"))
        }
        None if is_present => Err(format!("another backfill has not begun; cancel it first: {cancel}")),
        _ => Ok(()),
    }
}

/// Schedule whose past times are run.
pub(crate) struct Subject<'a> {
    /// Namespace of the schedule.
    pub namespace: &'a str,
    /// Name of the schedule.
    pub name: &'a str,
    /// Specification of the schedule.
    pub spec: &'a JobScheduleSpec,
    /// Time of the creation; none for a schedule that does not exist yet.
    pub created: Option<Timestamp>,
    /// Calendars that the schedule may name.
    pub calendars: &'a [Calendar],
}

/// Returns the times of a range that have passed at `now`, each with the run that it has already.
///
/// # Errors
/// The schedule is not valid, or the range has no times or too many.
pub(crate) fn wanted(
    subject: &Subject<'_>,
    range: &Range,
    runs: &BTreeMap<Timestamp, String>,
    now: Timestamp,
) -> Result<Vec<Planned>, String> {
    let Subject { namespace, name, spec, created, calendars } = subject;
    let mut table = timetable(spec, &format!("{namespace}/{name}"), created.unwrap_or(now))?;
    let find = |name: &str| calendars::find(calendars, namespace, name);
    CalendarNames::of(spec).set(&mut table, find)?;
    let planned = plan(&table, range, range.to.min(now), runs)?;
    if planned.is_empty() { Err("no scheduled time is in the range".to_owned()) } else { Ok(planned) }
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

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn between(from: &str, to: &str) -> Range {
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
        let range = between("2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z");
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
        let range = between("2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z");
        assert!(of_cron_job(&cron_job, &range, spec(&range, None, &[], &[])).unwrap_err().contains("@every"));
    }

    #[test]
    fn range_needs_a_known_zone_and_two_times_in_order() {
        let of = |from: &str, to: &str, zone: Option<&str>| range(from, to, Order::NewestFirst, zone);
        let (found, _) = of("2026-01-05", "2026-01-05", Some("Europe/Paris")).unwrap();
        assert_eq!((found.from, found.to), (at("2026-01-04T23:00:00Z"), at("2026-01-05T22:59:59Z")));
        assert_eq!(found.order, Order::NewestFirst);
        for (from, to, zone, expected) in [
            ("2026-01-05", "2026-01-05", Some("Nowhere"), "spec.timeZone \"Nowhere\" is not known"),
            ("", "2026-01-05", None, "--from: \"\" is not a time such as 2026-01-05 or 2026-01-05T06:00"),
            ("2026-01-05", "x", None, "--to: \"x\" is not a time such as 2026-01-05 or 2026-01-05T06:00"),
            ("2026-01-05", "2026-01-04", None, "--to must not be before --from"),
        ] {
            assert_eq!(of(from, to, zone).unwrap_err(), expected);
        }
    }

    #[test]
    fn backfill_beside_another_one_is_refused() {
        let wanted = between("2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z");
        let schedule = |change: &dyn Fn(&mut Value)| -> JobSchedule {
            let mut object = json!({
                "apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "a"},
                "spec": {"schedules": ["0 * * * *"], "jobTemplate": {"spec": {}}},
            });
            change(&mut object);
            serde_json::from_value(object).unwrap()
        };
        let status = |from: &str, ended: bool| {
            let mut status = json!({"from": from, "to": "2026-01-04T00:00:00Z", "order": "OldestFirst",
                "until": "2026-01-04T00:00:00Z", "total": 9, "remaining": 4, "started": 5, "skipped": 0, "active": 1,
                "succeeded": 0, "failed": 0});
            if ended {
                status["completionTime"] = json!("2026-01-05T00:00:00Z");
            }
            status
        };
        let spec = json!({"from": "2026-01-01T00:00:00Z", "to": "2026-01-04T00:00:00Z"});
        let refused =
            |change: &dyn Fn(&mut Value)| check(&schedule(change), &wanted, "CANCEL").err().unwrap_or_default();
        assert_eq!(refused(&|_| {}), "");
        assert!(refused(&|object| object["spec"]["concurrencyPolicy"] = json!("Replace")).contains("Replace"));
        let present = |from: &str, ended: bool| {
            let (spec, status) = (spec.clone(), status(from, ended));
            refused(&move |object| {
                object["spec"]["backfill"] = spec.clone();
                object["status"]["backfill"] = status.clone();
            })
        };
        assert!(present("2026-01-01T00:00:00Z", false).contains("in progress (4 of 9 times are left)"));
        assert!(present("2026-01-01T00:00:00Z", true).ends_with("remove it first: CANCEL"));
        assert_eq!(present("2026-01-02T00:00:00Z", true), "");
        assert!(refused(&|object| object["spec"]["backfill"] = spec.clone()).contains("has not begun"));
    }

    #[test]
    fn range_of_too_many_times_is_refused() {
        let spec: JobScheduleSpec =
            serde_json::from_value(json!({"schedules": ["* * * * *"], "jobTemplate": {"spec": {}}})).unwrap();
        let table = timetable(&spec, "a/b", at("2026-01-01T00:00:00Z")).unwrap();
        let long = between("2020-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
        assert!(plan(&table, &long, long.to, &BTreeMap::new()).unwrap_err().contains("more than 10000"));
    }
}
