//! The rows of `jobwright top`: one Job each.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use schemars::JsonSchema;
use serde::Serialize;

use super::rates::succeeded;
use crate::client::cluster::{condition, owner};
use crate::client::explain::pod::{self, PodState, Surroundings};
use crate::client::suggest::Suggestions;
use crate::job::admission::{PublishedWaiting, WAITING_ANNOTATION};
use crate::job::managed_by::{BUILTIN_MANAGED_BY, MANAGED_BY};

/// State of a Job in `jobwright top`, in the order in which Jobs are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// No pod of the Job makes progress.
    Stuck,
    /// At least one pod of the Job is active.
    Running,
    /// The Job has succeeded or failed, and its pods have not ended.
    Finishing,
    /// Pods have failed, and none is active.
    Retrying,
    /// The Job waits for a JobLimit.
    Pending,
    /// The Job has no active pods.
    Waiting,
    /// spec.parallelism is 0.
    Paused,
    /// spec.suspend is true.
    Suspended,
    /// Another controller manages the Job.
    External,
    /// The Job is being deleted.
    Terminating,
    /// The Job has failed.
    Failed,
    /// The Job is complete.
    Complete,
}

impl JobState {
    /// Returns the state as the table shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stuck => "stuck",
            Self::Running => "running",
            Self::Finishing => "finishing",
            Self::Retrying => "retrying",
            Self::Pending => "pending",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Suspended => "suspended",
            Self::External => "external",
            Self::Terminating => "terminating",
            Self::Failed => "failed",
            Self::Complete => "complete",
        }
    }
}

/// Row of the table: one Job.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Kind of the object: Job.
    pub kind: &'static str,
    /// Namespace of the Job.
    pub namespace: String,
    /// Name of the Job.
    pub name: String,
    /// State of the Job.
    pub state: JobState,
    /// Reason of the state in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Number of successes that complete the Job. Unset for a work queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completions: Option<i32>,
    /// Number of pods that succeeded.
    pub succeeded: i32,
    /// Number of pods that failed.
    pub failed: i32,
    /// Number of active pods.
    pub active: i32,
    /// Successes per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_second: Option<f64>,
    /// Estimated number of seconds until the Job is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<i64>,
    /// Number of seconds since the Job was started, or else created.
    pub age_seconds: i64,
    /// Controller that owns the Job, such as cronjob/nightly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

impl Row {
    /// Returns the row of a Job. `pods` are the unfinished pods of all Jobs.
    pub(crate) fn of(job: &Job, pods: &[Pod], rate: Option<f64>, now: Timestamp) -> Self {
        let (spec, status) = (job.spec.clone().unwrap_or_default(), job.status.clone().unwrap_or_default());
        let (state, reason) = state(job, pods, now);
        let done = succeeded(job);
        let remaining = spec.completions.map(|of| f64::from((of - done).max(0)));
        let running = matches!(state, JobState::Running | JobState::Waiting | JobState::Retrying);
        let left = remaining.zip(rate).filter(|(_, rate)| running && *rate > 0.0);
        let begun = status.start_time.as_ref().or(job.metadata.creation_timestamp.as_ref()).map_or(now, |time| time.0);
        Self {
            kind: "Job",
            namespace: job.namespace().unwrap_or_default(),
            name: job.name_any(),
            state,
            reason,
            completions: spec.completions,
            succeeded: done,
            failed: status.failed.unwrap_or_default(),
            active: status.active.unwrap_or_default(),
            rate_per_second: rate.filter(|_| running),
            seconds_left: left.map(|(remaining, rate)| (remaining / rate).ceil() as i64),
            age_seconds: now.duration_since(begun).as_secs(),
            owner: owner(job),
        }
    }

    /// Returns the share of the completions that succeeded.
    pub(crate) fn progress(&self) -> Option<f64> {
        self.completions.map(|of| if of > 0 { f64::from(self.succeeded) / f64::from(of) } else { 1.0 })
    }

    pub(crate) fn age(&self) -> SignedDuration {
        SignedDuration::from_secs(self.age_seconds)
    }
}

fn state(job: &Job, pods: &[Pod], now: Timestamp) -> (JobState, Option<String>) {
    let (spec, status) = (job.spec.clone().unwrap_or_default(), job.status.clone().unwrap_or_default());
    let reason = |type_: &str| condition(&status, type_).map(|condition| condition.reason.clone());
    if let Some(reason) = reason("Complete") {
        return (JobState::Complete, reason);
    }
    if let Some(reason) = reason("Failed") {
        return (JobState::Failed, reason);
    }
    if job.metadata.deletion_timestamp.is_some() {
        return (JobState::Terminating, None);
    }
    if let Some(other) = spec.managed_by.as_deref().filter(|one| ![MANAGED_BY, BUILTIN_MANAGED_BY].contains(one)) {
        return (JobState::External, Some(other.to_owned()));
    }
    if spec.suspend == Some(true) {
        return (JobState::Suspended, None);
    }
    let states = pod_states(job, pods, now);
    let blocked: Vec<&PodState> = states.iter().filter(|state| state.blocker.is_some()).collect();
    let blocked_by = blocked.first().and_then(|state| state.reason.clone());
    let stuck = !blocked.is_empty() && blocked.len() == states.len();
    if let Some(reason) = reason("FailureTarget").or_else(|| reason("SuccessCriteriaMet")) {
        return (JobState::Finishing, blocked_by.or(reason));
    }
    if let Some(text) = job.annotations().get(WAITING_ANNOTATION) {
        let PublishedWaiting { limit, position, .. } = PublishedWaiting::parse(text);
        let place = if position > 0 { format!(" #{position}") } else { String::new() };
        return (JobState::Pending, Some(format!("JobLimit {limit}{place}")));
    }
    if stuck {
        return (JobState::Stuck, blocked_by);
    }
    if status.active.unwrap_or_default() > 0 {
        return (JobState::Running, blocked_by);
    }
    if spec.parallelism == Some(0) {
        return (JobState::Paused, Some("parallelism 0".to_owned()));
    }
    if status.failed.unwrap_or_default() > 0 {
        return (JobState::Retrying, None);
    }
    let reason = status.start_time.is_none().then(|| "not started".to_owned());
    (JobState::Waiting, reason)
}

/// Returns the states of the unfinished pods that the Job controls.
fn pod_states(job: &Job, pods: &[Pod], now: Timestamp) -> Vec<PodState> {
    let (nodes, suggest) = (BTreeMap::new(), Suggestions::default());
    let around = Surroundings { events: &[], nodes: &nodes, suggest: &suggest, now };
    let uid = job.uid().unwrap_or_default();
    let own = pods.iter().filter(|pod| pod.owner_references().iter().any(|owner| owner.uid == uid));
    own.map(|pod| pod::state(pod, &around)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Returns a Job with these fields of its spec and status.
    pub(crate) fn job(name: &str, spec: Value, status: Value) -> Job {
        let mut job = json!({
            "metadata": {"name": name, "namespace": "default", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"template": {}}, "status": status,
        });
        spec.as_object().unwrap().iter().for_each(|(key, value)| job["spec"][key] = value.clone());
        serde_json::from_value(job).unwrap()
    }

    fn pod(owner: &str, reason: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": owner, "uid": owner}]},
            "status": {"phase": "Pending", "containerStatuses": [{"name": "main", "image": "i", "imageID": "", "ready": false,
                "restartCount": 0, "state": {"waiting": {"reason": reason}}}]},
        }))
        .unwrap()
    }

    #[test]
    fn each_state_has_its_reason() {
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        let started = |more: Value| {
            let mut status = json!({"startTime": "2026-01-01T00:00:00Z"});
            more.as_object().unwrap().iter().for_each(|(key, value)| status[key] = value.clone());
            status
        };
        let active = || started(json!({"active": 1}));
        let condition =
            |type_: &str| started(json!({"conditions": [{"type": type_, "status": "True", "reason": "R"}]}));
        let pull = [pod("a", "ImagePullBackOff")];
        let mixed = [pod("a", "ImagePullBackOff"), pod("a", "ContainerCreating"), pod("b", "ErrImagePull")];
        type Case<'a> = (Value, Value, &'a [Pod], JobState, Option<&'a str>);
        let cases: [Case<'_>; 12] = [
            (json!({}), json!({}), &[], JobState::Waiting, Some("not started")),
            (json!({}), started(json!({})), &[], JobState::Waiting, None),
            (json!({}), active(), &[], JobState::Running, None),
            (json!({}), active(), &pull, JobState::Stuck, Some("ImagePullBackOff")),
            (json!({}), active(), &mixed, JobState::Running, Some("ImagePullBackOff")),
            (json!({}), started(json!({"failed": 2})), &[], JobState::Retrying, None),
            (json!({"parallelism": 0}), started(json!({})), &[], JobState::Paused, Some("parallelism 0")),
            (json!({"suspend": true}), json!({}), &[], JobState::Suspended, None),
            (json!({"managedBy": "example.com/other"}), json!({}), &[], JobState::External, Some("example.com/other")),
            (json!({}), condition("FailureTarget"), &[], JobState::Finishing, Some("R")),
            (json!({}), condition("Failed"), &[], JobState::Failed, Some("R")),
            (json!({}), condition("Complete"), &[], JobState::Complete, Some("R")),
        ];
        for (spec, status, pods, expected, reason) in cases {
            let row = Row::of(&job("a", spec, status), pods, None, now);
            assert_eq!((row.state, row.reason.as_deref()), (expected, reason));
        }
        let mut limited = job("a", json!({}), json!({}));
        let waiting = r#"{"limit":"lim","position":2,"reason":"Queue"}"#;
        limited.annotations_mut().insert(WAITING_ANNOTATION.to_owned(), waiting.to_owned());
        let row = Row::of(&limited, &[], None, now);
        assert_eq!((row.state, row.reason.as_deref()), (JobState::Pending, Some("JobLimit lim #2")));
    }
}
