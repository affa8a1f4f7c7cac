//! CronJobs, JobSchedules and Jobs for table tests.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::cron_job::view::CronJobView;
use super::cron_job::wire::WireCronJob;
use super::job_schedule::view::JobScheduleView;
use crate::job::status::{Condition, JobStatus};
use crate::job::view::JobView;
use crate::job::wire::WireJob;

/// Returns a CronJob with this schedule, created on 2026-01-05 at 10:00 UTC.
pub(crate) fn cron_job(schedule: &str) -> CronJobView {
    let wire = json!({
        "metadata": {
            "name": "nightly", "namespace": "default", "uid": "cron-uid", "resourceVersion": "7",
            "creationTimestamp": "2026-01-05T10:00:00Z",
        },
        "spec": {
            "schedule": schedule, "timeZone": "UTC", "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1,
            "jobTemplate": {
                "metadata": {"labels": {"app": "a"}, "annotations": {"note": "kept"}},
                "spec": {"fieldOfTheFuture": 1, "template": {}},
            },
        },
    });
    let wire: WireCronJob = serde_json::from_str(&wire.to_string()).unwrap();
    CronJobView::parse(wire).unwrap()
}

/// Returns an hourly JobSchedule, created on 2026-01-05 at 10:00 UTC, with these fields of the spec and this status.
pub(crate) fn job_schedule(spec: &Value, status: &Value) -> JobScheduleView {
    let mut whole = json!({"schedules": ["0 * * * *"], "jobTemplate": {"spec": {"template": {}}}});
    spec.as_object().unwrap().iter().for_each(|(key, value)| whole[key] = value.clone());
    let metadata = json!({
        "name": "nightly", "namespace": "default", "uid": "uid", "resourceVersion": "7",
        "creationTimestamp": "2026-01-05T10:00:00Z",
    });
    let wire = json!({"metadata": metadata, "spec": whole, "status": status}).to_string();
    JobScheduleView::parse(serde_json::from_str(&wire).unwrap()).unwrap()
}

/// Returns a Job of the CronJob that started at `started`. Without a condition the Job is active.
pub(crate) fn job(name: &str, condition: Option<&str>, started: &str) -> Arc<JobView> {
    let wire = json!({
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "resourceVersion": "1"},
        "spec": {"template": {}},
    });
    let wire: WireJob = serde_json::from_str(&wire.to_string()).unwrap();
    let mut view = JobView::parse(wire).unwrap();
    let started: Timestamp = started.parse().unwrap();
    view.status = JobStatus { start_time: Some(started), ..JobStatus::default() };
    if let Some(type_) = condition {
        view.status.set_condition(Condition::new(type_, true, "", "", started));
        view.status.completion_time = (type_ == "Complete").then_some(started);
    }
    Arc::new(view)
}
