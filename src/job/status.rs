//! A Job's status as a value, parsed from the stored object, and the patch that writes it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::index::{IndexSet, StoredIndexes};
use super::wire::{WireCondition, WireJobStatus};
use crate::runtime::clock::whole_seconds;
use crate::runtime::identity::Uid;
use crate::runtime::intern::SharedText;

/// Condition type: the Job finished and succeeded.
pub const COMPLETE: &str = "Complete";
/// Condition type: the Job finished and failed.
pub const FAILED: &str = "Failed";
/// Condition type: the Job will be [`COMPLETE`] as soon as its pods have ended.
pub const SUCCESS_CRITERIA_MET: &str = "SuccessCriteriaMet";
/// Condition type: the Job will be [`FAILED`] as soon as its pods have ended.
pub const FAILURE_TARGET: &str = "FailureTarget";
/// Condition type: the user suspended the Job.
pub const SUSPENDED: &str = "Suspended";

/// The fields of a Job's status that this controller writes
/// ([API](https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/#JobStatus)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobStatus {
    /// Time at which the controller first worked on the Job, or at which the Job was last resumed.
    pub start_time: Option<Timestamp>,
    /// Time at which the Job completed.
    pub completion_time: Option<Timestamp>,
    /// Number of pods that have not ended and are not being deleted.
    pub active: i32,
    /// Number of active pods that are ready.
    pub ready: Option<i32>,
    /// Number of pods that are being deleted and have not ended.
    pub terminating: Option<i32>,
    /// Number of succeeded pods that are counted. For an Indexed Job, the number of completed indexes.
    pub succeeded: i32,
    /// Number of failed pods that are counted.
    pub failed: i32,
    /// Indexes that succeeded. Empty unless the Job is Indexed.
    pub completed_indexes: StoredIndexes,
    /// Indexes that failed. `None` unless the Job has `spec.backoffLimitPerIndex`.
    pub failed_indexes: Option<StoredIndexes>,
    /// UIDs of pods that are not yet in the counters.
    pub uncounted: Uncounted,
    /// Conditions, in the order in which they were added.
    pub conditions: Vec<Condition>,
}

/// The UIDs of pods that are listed as succeeded or failed and are not yet in the counters
/// (`status.uncountedTerminatedPods`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uncounted {
    /// UIDs of succeeded pods.
    pub succeeded: Vec<Uid>,
    /// UIDs of failed pods.
    pub failed: Vec<Uid>,
}

impl Uncounted {
    /// Returns the number of UIDs in both lists.
    pub fn len(&self) -> usize {
        self.succeeded.len() + self.failed.len()
    }

    /// Returns whether both lists are empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A condition of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Type of the condition, such as [`COMPLETE`].
    pub type_: SharedText,
    /// Status of the condition: `True`, `False` or `Unknown`.
    pub status: SharedText,
    /// Machine-readable reason, one word in CamelCase.
    pub reason: SharedText,
    /// Human-readable message.
    pub message: SharedText,
    /// Time at which the condition was last checked.
    pub last_probe_time: Option<Timestamp>,
    /// Time at which the condition's status last changed.
    pub last_transition_time: Option<Timestamp>,
}

impl Condition {
    /// Creates a condition whose status changed at `now`, which is cut to whole seconds.
    pub fn new(type_: &str, status: bool, reason: &str, message: &str, now: Timestamp) -> Self {
        let now = Some(whole_seconds(now));
        let status = if status { "True" } else { "False" };
        Self {
            type_: type_.into(),
            status: status.into(),
            reason: reason.into(),
            message: message.into(),
            last_probe_time: now,
            last_transition_time: now,
        }
    }

    /// Returns whether the condition's status is `True`.
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }
}

impl JobStatus {
    /// Returns the condition of this type, if the status has one.
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }

    /// Returns the condition of this type, if its status is `True`.
    pub fn true_condition(&self, type_: &str) -> Option<&Condition> {
        self.condition(type_).filter(|condition| condition.is_true())
    }

    /// Returns whether the status contains the outcome of the Job, that is, one of the interim conditions.
    pub fn has_outcome(&self) -> bool {
        self.true_condition(SUCCESS_CRITERIA_MET).is_some() || self.true_condition(FAILURE_TARGET).is_some()
    }

    /// Returns whether the Job is finished. The status of a finished Job does not change any more.
    pub fn is_finished(&self) -> bool {
        self.true_condition(COMPLETE).is_some() || self.true_condition(FAILED).is_some()
    }

    /// Adds a condition, or replaces the condition of the same type. Returns whether anything but the times changed.
    ///
    /// A condition that is not true is not added if there is none of its type: the change from absent to `False`
    /// carries no information.
    pub fn set_condition(&mut self, condition: Condition) -> bool {
        match self.conditions.iter_mut().find(|present| present.type_ == condition.type_) {
            Some(present) => {
                let same = present.status == condition.status
                    && present.reason == condition.reason
                    && present.message == condition.message;
                if !same {
                    *present = condition;
                }
                !same
            }
            None if condition.is_true() => {
                self.conditions.push(condition);
                true
            }
            None => false,
        }
    }

    /// Returns the JSON merge patch that turns a stored status into this one. The patch names every field that this
    /// controller owns, so that fields that are now empty are removed.
    pub fn to_patch(&self) -> Value {
        let list = |uids: &[Uid]| if uids.is_empty() { Value::Null } else { json!(uids) };
        let indexes = |set: &IndexSet| if set.is_empty() { Value::Null } else { json!(set.to_string()) };
        json!({
            "startTime": self.start_time.map(Time),
            "completionTime": self.completion_time.map(Time),
            "active": self.active,
            "ready": self.ready,
            "terminating": self.terminating,
            "succeeded": self.succeeded,
            "failed": self.failed,
            "completedIndexes": indexes(&self.completed_indexes.set),
            "failedIndexes": self.failed_indexes.as_ref().map(|failed| failed.set.to_string()),
            "uncountedTerminatedPods": {
                "succeeded": list(&self.uncounted.succeeded),
                "failed": list(&self.uncounted.failed),
            },
            "conditions": self.conditions.iter().map(condition_json).collect::<Vec<_>>(),
        })
    }
}

fn condition_json(condition: &Condition) -> Value {
    let mut value = json!({
        "type": &*condition.type_,
        "status": &*condition.status,
        "reason": &*condition.reason,
        "message": &*condition.message,
    });
    if let Some(time) = condition.last_probe_time {
        value["lastProbeTime"] = json!(Time(time));
    }
    if let Some(time) = condition.last_transition_time {
        value["lastTransitionTime"] = json!(Time(time));
    }
    value
}

impl JobStatus {
    /// Parses the stored status of a Job with this number of completions.
    pub fn parse(wire: WireJobStatus, completions: u32) -> Self {
        let uids = |texts: Option<Vec<String>>| texts.unwrap_or_default().into_iter().map(Uid::from).collect();
        let uncounted = wire.uncounted_terminated_pods.unwrap_or_default();
        let mut conditions: Vec<_> = wire.conditions.unwrap_or_default().into_iter().map(Condition::from).collect();
        // The list would keep the memory of the parsed list, which has room for four larger conditions.
        conditions.shrink_to_fit();
        Self {
            start_time: wire.start_time,
            completion_time: wire.completion_time,
            active: wire.active.unwrap_or_default(),
            ready: wire.ready,
            terminating: wire.terminating,
            succeeded: wire.succeeded.unwrap_or_default(),
            failed: wire.failed.unwrap_or_default(),
            completed_indexes: StoredIndexes::parse(wire.completed_indexes.as_deref().unwrap_or_default(), completions),
            failed_indexes: wire.failed_indexes.map(|text| StoredIndexes::parse(&text, completions)),
            uncounted: Uncounted { succeeded: uids(uncounted.succeeded), failed: uids(uncounted.failed) },
            conditions,
        }
    }
}

impl From<WireCondition> for Condition {
    fn from(wire: WireCondition) -> Self {
        Self {
            type_: wire.type_.into(),
            status: wire.status.into(),
            reason: wire.reason.unwrap_or_default().into(),
            message: wire.message.unwrap_or_default().into(),
            last_probe_time: wire.last_probe_time,
            last_transition_time: wire.last_transition_time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-02T03:04:05.678Z".parse().unwrap()
    }

    #[test]
    fn condition_is_added_replaced_or_left_unchanged() {
        let mut status = JobStatus::default();
        assert!(!status.set_condition(Condition::new(SUSPENDED, false, "JobResumed", "Job resumed", now())));
        assert!(status.conditions.is_empty(), "a false condition is not added");
        assert!(status.set_condition(Condition::new(SUSPENDED, true, "JobSuspended", "Job suspended", now())));
        assert!(!status.set_condition(Condition::new(SUSPENDED, true, "JobSuspended", "Job suspended", now())));
        assert!(status.set_condition(Condition::new(SUSPENDED, false, "JobResumed", "Job resumed", now())));
        assert_eq!(status.conditions.len(), 1);
        assert!(!status.conditions[0].is_true());
    }

    #[test]
    fn patch_names_every_field_so_that_empty_ones_are_removed() {
        let patch = JobStatus { succeeded: 3, ..JobStatus::default() }.to_patch();
        assert_eq!(patch["succeeded"], 3);
        assert_eq!(patch["startTime"], Value::Null);
        assert_eq!(patch["uncountedTerminatedPods"], json!({"succeeded": null, "failed": null}));
    }

    #[test]
    fn parsed_status_equals_the_written_one() {
        let mut status = JobStatus {
            start_time: Some(whole_seconds(now())),
            active: 2,
            ready: Some(1),
            terminating: Some(0),
            uncounted: Uncounted { succeeded: vec!["a".into()], failed: vec!["b".into()] },
            completed_indexes: IndexSet::default().with([0, 1, 2, 5]).into(),
            failed_indexes: Some(IndexSet::default().into()),
            ..JobStatus::default()
        };
        status.set_condition(Condition::new(FAILURE_TARGET, true, "DeadlineExceeded", "late", now()));
        let wire: WireJobStatus = serde_json::from_value(status.to_patch()).unwrap();
        assert_eq!(
            wire.failed_indexes.as_deref(),
            Some(""),
            "an empty list of failed indexes differs from an absent one"
        );
        assert_eq!(JobStatus::parse(wire, 10), status);
    }
}
