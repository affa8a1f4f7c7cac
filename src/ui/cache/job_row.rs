//! A Job as the table and the overview need it: a small part of the object, parsed once.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::Deserialize;

use crate::client::explain::cause::{Finding, State, find_without_pods};
use crate::job::admission::{PRIORITY_ANNOTATION, PublishedWaiting, WAITING_ANNOTATION};
use crate::job::managed_by::MANAGED_BY;
use crate::job::view::{Labels, controlling_owner, identity};
use crate::job::wire::{WireJobStatus, metadata};
use crate::runtime::cache::Cached;
use crate::runtime::codec::WireObject;
use crate::runtime::identity::{Identity, Uid};
use crate::runtime::intern::{SharedText, intern};
use crate::schedule::SCHEDULED_ANNOTATION;

/// Job as the API server sends it, reduced to what a row needs.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Job)]
pub struct WireJobRow {
    /// Part of the metadata.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// Part of the spec.
    #[serde(default)]
    pub spec: WireSpec,
    /// Status of the Job.
    #[serde(default)]
    pub status: WireJobStatus,
}

impl WireObject for WireJobRow {}

/// Part of the spec of a Job.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct WireSpec {
    pub parallelism: Option<i32>,
    pub completions: Option<i32>,
    pub completion_mode: Option<String>,
    pub backoff_limit: Option<i32>,
    pub suspend: Option<bool>,
    pub managed_by: Option<String>,
}

/// Controller that owns a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Kind of the owner, such as CronJob.
    pub kind: SharedText,
    /// Name of the owner.
    pub name: Arc<str>,
    /// UID of the owner.
    pub uid: Uid,
}

/// Numbers of pods in the status of a Job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Number of active pods.
    pub active: i32,
    /// Number of ready pods.
    pub ready: i32,
    /// Number of pods that succeeded, or of indexes.
    pub succeeded: i32,
    /// Number of pods that failed.
    pub failed: i32,
    /// Number of pods that are being deleted.
    pub terminating: i32,
}

/// State of a Job without its pods, and the cause.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cause {
    state: State,
    reason: SharedText,
    text: SharedText,
    since: Option<Timestamp>,
}

impl From<Finding> for Cause {
    fn from(finding: Finding) -> Self {
        let Finding { state, reason, cause, since } = finding;
        Self { state, reason: reason.into(), text: cause.into(), since }
    }
}

/// Job as the table and the overview need it.
#[derive(Clone, Debug)]
pub struct JobRow {
    /// Namespace, name, UID and resource version.
    pub identity: Identity,
    /// Controller that owns the Job.
    pub owner: Option<Owner>,
    /// Labels of the Job.
    pub labels: Labels,
    /// Creation time.
    pub created: Timestamp,
    /// Start time.
    pub started: Option<Timestamp>,
    /// Time of the condition that ended the Job.
    pub ended: Option<Timestamp>,
    /// Numbers of pods.
    pub numbers: Numbers,
    /// Maximum number of active pods.
    pub parallelism: i32,
    /// Number of successes that complete the Job. `None` for a work queue.
    pub completions: Option<i32>,
    /// Whether each completion has an index.
    pub is_indexed: bool,
    /// Scheduled time of the run, if a schedule created the Job.
    pub scheduled: Option<Timestamp>,
    /// What the Job waits for, according to its annotation.
    pub waiting: Option<Box<PublishedWaiting>>,
    /// Priority among the Jobs that wait.
    pub priority: i32,
    /// Whether the Job names Jobwright as its controller. `None` if the Job names no controller.
    pub is_of_jobwright: Option<bool>,
    cause: Cause,
    /// State of a Job on which no controller has acted, and the time from which the state applies.
    late: Option<Box<(Timestamp, Cause)>>,
}

impl JobRow {
    /// Parses a Job; none if it lacks metadata that every stored object has.
    pub fn parse(wire: WireJobRow) -> Option<Self> {
        let identity = identity(&wire.metadata)?;
        let created = wire.metadata.creation_timestamp.as_ref()?.0;
        let owner = controlling_owner(&wire.metadata).map(|owner| Owner {
            kind: owner.kind.as_str().into(),
            name: intern(&owner.name),
            uid: owner.uid.as_str().into(),
        });
        let labels = Labels::shared(wire.metadata.labels.as_ref());
        let is_indexed = wire.spec.completion_mode.as_deref() == Some("Indexed");
        let annotation = |name: &str| wire.metadata.annotations.as_ref().and_then(|all| all.get(name));
        let scheduled = annotation(SCHEDULED_ANNOTATION).and_then(|text| text.parse().ok());
        let waiting = annotation(WAITING_ANNOTATION).map(|text| Box::new(PublishedWaiting::parse(text)));
        let priority = annotation(PRIORITY_ANNOTATION).and_then(|text| text.parse().ok()).unwrap_or_default();
        let is_of_jobwright = wire.spec.managed_by.as_deref().map(|manager| manager == MANAGED_BY);
        let (parallelism, completions) = (wire.spec.parallelism.unwrap_or(1), wire.spec.completions);
        let job = job(wire);
        let status = job.status.clone().unwrap_or_default();
        let number = |count: Option<i32>| count.unwrap_or_default();
        let ended = crate::client::cluster::end(&status).and_then(|end| end.last_transition_time.as_ref());
        let (ended, started) = (ended.map(|time| time.0), status.start_time.as_ref().map(|time| time.0));
        let begun = job.metadata.deletion_timestamp.as_ref().map_or(created, |time| time.0);
        let (early, late) = (find_without_pods(&job, begun), find_without_pods(&job, Timestamp::MAX));
        let late = (early.state != late.state).then(|| Box::new((begun + GRACE, Cause::from(late))));
        Some(Self {
            identity,
            owner,
            labels,
            created,
            started,
            ended,
            numbers: Numbers {
                active: number(status.active),
                ready: number(status.ready),
                succeeded: number(status.succeeded),
                failed: number(status.failed),
                terminating: number(status.terminating),
            },
            parallelism,
            completions,
            is_indexed,
            scheduled,
            waiting,
            priority,
            is_of_jobwright,
            cause: early.into(),
            late,
        })
    }

    fn cause_at(&self, now: Timestamp) -> &Cause {
        match &self.late {
            Some(late) if now > late.0 => &late.1,
            _ => &self.cause,
        }
    }

    /// Returns the state of the Job, as far as its status has it: pods that cannot start are not known here.
    pub(crate) fn state(&self, now: Timestamp) -> State {
        self.cause_at(now).state
    }

    /// Returns the reason of the state as one word.
    pub fn reason(&self, now: Timestamp) -> &str {
        &self.cause_at(now).reason
    }

    /// Returns the cause of the state in one line.
    pub fn cause(&self, now: Timestamp) -> &str {
        &self.cause_at(now).text
    }

    /// Returns the time since which the Job has had its state, as far as it is known.
    pub fn since(&self) -> Option<Timestamp> {
        self.cause.since
    }

    /// Returns how long the Job ran, or has been running.
    pub fn duration(&self, now: Timestamp) -> Option<SignedDuration> {
        Some(self.ended.unwrap_or(now).duration_since(self.started?).max(SignedDuration::ZERO))
    }

    /// Returns whether pods of the Job do not run although they were created some time ago. Only the pods show why.
    pub fn has_waiting_pods(&self, now: Timestamp) -> bool {
        let waited = self.started.is_some_and(|started| now.duration_since(started) > GRACE);
        self.ended.is_none() && waited && self.numbers.ready < self.numbers.active
    }
}

/// Time that a controller or a pod gets before a Job counts as stuck because of it.
const GRACE: SignedDuration = SignedDuration::from_secs(30);

/// Returns the part of a Job from which its state is found.
fn job(wire: WireJobRow) -> Job {
    let WireJobRow { metadata, spec, status } = wire;
    let time = |time: Option<Timestamp>| time.map(Time);
    let conditions = status.conditions.map(|conditions| {
        let condition = |one: crate::job::wire::WireCondition| JobCondition {
            type_: one.type_,
            status: one.status,
            reason: one.reason,
            message: one.message,
            last_transition_time: time(one.last_transition_time),
            ..JobCondition::default()
        };
        conditions.into_iter().map(condition).collect()
    });
    let status = JobStatus {
        conditions,
        start_time: time(status.start_time),
        completion_time: time(status.completion_time),
        active: status.active,
        ready: status.ready,
        terminating: status.terminating,
        succeeded: status.succeeded,
        failed: status.failed,
        ..JobStatus::default()
    };
    let spec = JobSpec {
        parallelism: spec.parallelism,
        completions: spec.completions,
        backoff_limit: spec.backoff_limit,
        suspend: spec.suspend,
        managed_by: spec.managed_by,
        ..JobSpec::default()
    };
    Job { metadata, spec: Some(spec), status: Some(status) }
}

impl Cached for JobRow {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn controller(&self) -> Option<&Uid> {
        self.owner.as_ref().map(|owner| &owner.uid)
    }

    /// All Jobs are watched, so none leaves the selection without being deleted.
    fn has_finalizers(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn row(change: impl Fn(&mut Value)) -> JobRow {
        let mut job = json!({
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1",
                "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"template": {"spec": {"containers": []}}, "completions": 3},
            "status": {},
        });
        change(&mut job);
        JobRow::parse(serde_json::from_value(job).unwrap()).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn job_without_a_controller_becomes_stuck() {
        let row = row(|_| {});
        assert_eq!(row.state(at("2026-01-01T00:00:10Z")), State::Waiting);
        assert_eq!(row.state(at("2026-01-01T00:00:31Z")), State::Stuck);
        assert_eq!(row.reason(at("2026-01-01T00:00:31Z")), "NotStarted");
    }

    #[test]
    fn deletion_that_finalizers_hold_becomes_stuck() {
        let row = row(|job| {
            job["metadata"]["deletionTimestamp"] = "2026-01-01T01:00:00Z".into();
            job["metadata"]["finalizers"] = json!(["example.com/hold"]);
        });
        assert_eq!(row.state(at("2026-01-01T01:00:10Z")), State::Waiting);
        assert_eq!(row.state(at("2026-01-01T01:00:31Z")), State::Stuck);
        assert!(row.cause(at("2026-01-01T01:00:31Z")).contains("example.com/hold"));
    }

    #[test]
    fn active_pods_in_the_status_are_enough_to_run() {
        let running = row(|job| job["status"] = json!({"startTime": "2026-01-01T00:00:01Z", "active": 2, "ready": 2}));
        let now = at("2026-01-01T00:10:01Z");
        assert_eq!((running.state(now), running.has_waiting_pods(now)), (State::Running, false));
        assert_eq!(running.cause(now), "2 active, 0 of 3 succeeded");
        assert_eq!(running.duration(now), Some(SignedDuration::from_mins(10)));
        let waiting = row(|job| job["status"] = json!({"startTime": "2026-01-01T00:00:01Z", "active": 2, "ready": 1}));
        assert!(waiting.has_waiting_pods(now) && !waiting.has_waiting_pods(at("2026-01-01T00:00:20Z")));
        let failing = row(|job| job["status"] = json!({"startTime": "2026-01-01T00:00:01Z", "active": 1, "failed": 1}));
        assert_eq!(failing.state(now), State::Failing);
    }

    #[test]
    fn failed_job_has_the_cause_of_its_report() {
        let failed = row(|job| {
            let report = json!({"pod": "a-1", "container": "main", "exitCode": 3}).to_string();
            job["metadata"]["annotations"] = json!({crate::job::FAILURE_ANNOTATION: report});
            job["metadata"]["ownerReferences"] =
                json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": "c", "uid": "o", "controller": true}]);
            job["status"] = json!({"startTime": "2026-01-01T00:00:01Z", "conditions": [{"type": "Failed", "status": "True",
                "reason": "BackoffLimitExceeded", "lastTransitionTime": "2026-01-01T00:05:01Z"}]});
        });
        let now = at("2026-01-02T00:00:00Z");
        assert_eq!((failed.state(now), failed.reason(now)), (State::Failed, "BackoffLimitExceeded"));
        assert_eq!(failed.cause(now), "Pod a-1, container main: exit code 3");
        assert_eq!(failed.duration(now), Some(SignedDuration::from_mins(5)));
        assert_eq!(failed.owner.as_ref().map(|owner| (&*owner.name, owner.kind == "CronJob")), Some(("c", true)));
    }
}
