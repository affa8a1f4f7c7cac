//! Runs of a schedule or of a repeated Job, from the Jobs that exist and from the history that a JobSchedule stores.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use schemars::JsonSchema;
use serde::Serialize;

use crate::client::cluster::{INSTANTIATE_ANNOTATION, end};
use crate::client::explain::cause::State;
use crate::client::explain::collect::Related;
use crate::client::rerun::copy::{RERUN_OF_ANNOTATION, RERUN_OF_UID_ANNOTATION};
use crate::job::FAILURE_ANNOTATION;
use crate::job::decide::failure_report::FailureReport;
use crate::schedule::SCHEDULED_ANNOTATION;
use crate::schedule::job_schedule::types;

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Run {
    /// Name of the Job.
    pub job: String,
    /// Why the Job was created: `Schedule`, `Manual`, or `Rerun`.
    pub trigger: &'static str,
    /// Name of the Job that this one repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<String>,
    /// Scheduled time of the run, in UTC (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub scheduled: Option<Timestamp>,
    /// Start of the Job, or its creation if it has not started, in UTC (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub started: Option<Timestamp>,
    /// End of the Job, in UTC (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub finished: Option<Timestamp>,
    /// Time from start to end in seconds, or until now for an unfinished Job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<i64>,
    /// `Succeeded`, `Failed`, `Replaced` or `Deleted`, or the state of an unfinished Job.
    pub outcome: String,
    /// Reason of the outcome, as one word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Cause of a failure or of a delay.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Exit code of the container that made the Job fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Whether the Job still exists.
    pub exists: bool,
}

impl Run {
    /// Returns the run of a Job that exists.
    pub(crate) fn of_job(job: &Job, related: &Related, now: Timestamp) -> Self {
        let annotation = |name: &str| job.annotations().get(name).cloned();
        let finding = related.find(job, now);
        let finished = job.status.as_ref().and_then(end).and_then(|end| end.last_transition_time.as_ref());
        let finished = finished.map(|time| time.0);
        let started = job.status.as_ref().and_then(|status| status.start_time.as_ref());
        let started = started.or(job.metadata.creation_timestamp.as_ref()).map(|time| time.0);
        let report = annotation(FAILURE_ANNOTATION);
        let report = report.and_then(|text| serde_json::from_str::<FailureReport>(&text).ok());
        let rerun_of = annotation(RERUN_OF_ANNOTATION);
        let scheduled = annotation(SCHEDULED_ANNOTATION).and_then(|text| text.parse().ok());
        let outcome = match finding.state {
            State::Complete => "Succeeded",
            state => state.word(),
        };
        Self {
            job: job.name_any(),
            trigger: match (&rerun_of, scheduled) {
                (Some(_), _) => "Rerun",
                (None, Some(_)) if annotation(INSTANTIATE_ANNOTATION).is_none() => "Schedule",
                _ => "Manual",
            },
            rerun_of,
            scheduled,
            started,
            finished,
            duration_seconds: seconds(started, finished.or(Some(now))),
            outcome: outcome.to_owned(),
            exit_code: report.and_then(|report| report.cause.exit_code),
            reason: finding.reason,
            message: if finding.state == State::Complete { String::new() } else { finding.cause },
            exists: true,
        }
    }

    /// Returns a run from the history in the status of a JobSchedule.
    fn of_stored(run: &types::Run) -> Self {
        let time =
            |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| time.as_ref().map(|time| time.0);
        let (started, finished) = (time(&run.started), time(&run.finished));
        Self {
            job: run.job.clone(),
            trigger: if run.scheduled.is_some() { "Schedule" } else { "Manual" },
            rerun_of: None,
            scheduled: time(&run.scheduled),
            started,
            finished,
            duration_seconds: seconds(started, finished),
            outcome: run.outcome.clone(),
            reason: run.reason.clone(),
            message: run.message.clone(),
            exit_code: run.exit_code,
            exists: false,
        }
    }
}

fn seconds(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<i64> {
    Some(to?.duration_since(from?).as_secs().max(0))
}

/// Returns the runs of existing Jobs and the stored runs of deleted ones, the newest first.
pub(crate) fn merge(jobs: Vec<Run>, stored: &[types::Run]) -> Vec<Run> {
    let existing: BTreeSet<String> = jobs.iter().map(|run| run.job.clone()).collect();
    let deleted = stored.iter().filter(|run| !existing.contains(&run.job)).map(Run::of_stored);
    let mut runs: Vec<Run> = deleted.chain(jobs).collect();
    runs.sort_by(|one, other| (other.started, &other.job).cmp(&(one.started, &one.job)));
    runs
}

/// Returns the Jobs that an object owns.
pub(crate) fn owned<'a>(jobs: &'a [Job], uid: &str) -> Vec<&'a Job> {
    jobs.iter().filter(|job| job.owner_references().iter().any(|owner| owner.uid == uid)).collect()
}

/// Returns a Job with the Jobs that it repeats and those that repeat it, directly or indirectly.
pub(crate) fn family<'a>(jobs: &'a [Job], job: &Job) -> Vec<&'a Job> {
    let parent = |job: &Job| job.annotations().get(RERUN_OF_UID_ANNOTATION).cloned();
    let mut members: BTreeSet<String> = job.uid().into_iter().chain(parent(job)).collect();
    // Each round adds at least one Job, so that the number of rounds is limited.
    loop {
        let related = |job: &&Job| {
            let (uid, parent) = (job.uid().unwrap_or_default(), parent(job));
            members.contains(&uid) || parent.is_some_and(|parent| members.contains(&parent))
        };
        let found: Vec<&Job> = jobs.iter().filter(related).collect();
        let more: BTreeSet<String> = found.iter().flat_map(|job| job.uid().into_iter().chain(parent(job))).collect();
        if more.is_subset(&members) {
            return found;
        }
        members.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(name: &str, annotations: Value, status: Value) -> Job {
        let metadata =
            json!({"name": name, "uid": name, "annotations": annotations, "creationTimestamp": "2026-01-01T00:00:00Z"});
        serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap()
    }

    fn run(job: &Job) -> Run {
        Run::of_job(job, &Related::default(), "2026-01-01T01:00:00Z".parse().unwrap())
    }

    #[test]
    fn run_of_a_job_has_its_cause_duration_and_outcome() {
        let end = json!({"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "m", "lastTransitionTime": "2026-01-01T00:12:00Z"});
        let report = json!({"pod": "a-1", "container": "main", "exitCode": 3}).to_string();
        let annotations = json!({"batch.kubernetes.io/cronjob-scheduled-timestamp": "2026-01-01T01:00:00+01:00", "jobwright.dev/failure": report});
        let failed = run(&job("a", annotations, json!({"startTime": "2026-01-01T00:10:00Z", "conditions": [end]})));
        assert_eq!((failed.trigger, failed.duration_seconds, failed.exit_code), ("Schedule", Some(120), Some(3)));
        assert_eq!(failed.scheduled, Some("2026-01-01T00:00:00Z".parse().unwrap()));
        assert_eq!(
            (failed.outcome.as_str(), failed.message.as_str()),
            ("Failed", "Pod a-1, container main: exit code 3")
        );
        let running =
            run(&job("b", json!({"jobwright.dev/rerun-of": "a"}), json!({"startTime": "2026-01-01T00:30:00Z"})));
        assert_eq!((running.trigger, running.rerun_of.as_deref()), ("Rerun", Some("a")));
        assert_eq!(
            (running.outcome.as_str(), running.duration_seconds, running.finished),
            ("Waiting", Some(1800), None)
        );
        assert_eq!(run(&job("c", json!({"cronjob.kubernetes.io/instantiate": "manual"}), json!({}))).trigger, "Manual");
    }

    #[test]
    fn stored_runs_of_deleted_jobs_are_added() {
        let stored = |job: &str, started: &str| types::Run {
            job: job.to_owned(),
            outcome: "Failed".to_owned(),
            started: serde_json::from_value(json!(started)).unwrap(),
            finished: serde_json::from_value(json!("2026-01-01T00:20:00Z")).unwrap(),
            ..types::Run::default()
        };
        let existing = run(&job("a", json!({}), json!({"startTime": "2026-01-01T00:10:00Z"})));
        let runs = merge(
            vec![existing],
            &[
                stored("a", "2026-01-01T00:10:00Z"),
                stored("old", "2025-12-31T00:20:00Z"),
                stored("new", "2026-01-01T00:19:00Z"),
            ],
        );
        let names: Vec<(&str, bool)> = runs.iter().map(|run| (run.job.as_str(), run.exists)).collect();
        assert_eq!(names, [("new", false), ("a", true), ("old", false)]);
        assert_eq!((runs[0].duration_seconds, runs[0].trigger), (Some(60), "Manual"));
    }

    #[test]
    fn family_holds_all_repetitions_of_a_job() {
        let rerun = |name: &str, of: &str| job(name, json!({"jobwright.dev/rerun-of-uid": of}), json!({}));
        let jobs = [
            job("a", json!({}), json!({})),
            rerun("b", "a"),
            rerun("c", "b"),
            rerun("d", "gone"),
            rerun("e", "gone"),
            job("f", json!({}), json!({})),
        ];
        let names = |of: usize| family(&jobs, &jobs[of]).iter().map(|job| job.name_any()).collect::<Vec<_>>();
        for member in 0..3 {
            assert_eq!(names(member), ["a", "b", "c"]);
        }
        assert_eq!(names(3), ["d", "e"], "Jobs that repeat the same deleted Job belong together");
        assert_eq!(names(5), ["f"]);
    }
}
