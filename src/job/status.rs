//! A Job's status as a value: what is stored, what should be, and the patch between the two.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::index::{IndexSet, StoredIndexes};
use super::wire::{WireCondition, WireJobStatus};
use crate::runtime::clock::whole_seconds;
use crate::runtime::identity::Uid;

/// Condition: finished with success.
pub const COMPLETE: &str = "Complete";
/// Condition: finished with failure.
pub const FAILED: &str = "Failed";
/// Condition: going to be [`COMPLETE`] once its pods are gone.
pub const SUCCESS_CRITERIA_MET: &str = "SuccessCriteriaMet";
/// Condition: going to be [`FAILED`] once its pods are gone.
pub const FAILURE_TARGET: &str = "FailureTarget";
/// Condition: suspended by the user.
pub const SUSPENDED: &str = "Suspended";

/// The status of a Job, as far as this controller writes it
/// ([API](https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/#JobStatus)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobStatus {
    /// When it was first worked on, or last resumed.
    pub start_time: Option<Timestamp>,
    /// When it completed.
    pub completion_time: Option<Timestamp>,
    /// Pods pending or running that are not being deleted.
    pub active: i32,
    /// Those of them that are ready.
    pub ready: Option<i32>,
    /// Pods being deleted that have not ended.
    pub terminating: Option<i32>,
    /// Pods that succeeded and are counted.
    pub succeeded: i32,
    /// Pods that failed and are counted.
    pub failed: i32,
    /// The indexes that succeeded; empty unless the Job is Indexed.
    pub completed_indexes: StoredIndexes,
    /// The indexes that failed; only with a limit for each index.
    pub failed_indexes: Option<StoredIndexes>,
    /// Pods that ended and still carry the tracking finalizer.
    pub uncounted: Uncounted,
    /// Its conditions, in the order they came.
    pub conditions: Vec<Condition>,
}

/// The UIDs of pods that ended but are not in the counters yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uncounted {
    /// Of succeeded pods.
    pub succeeded: Vec<Uid>,
    /// Of failed pods.
    pub failed: Vec<Uid>,
}

impl Uncounted {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.succeeded.len() + self.failed.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A condition of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its type.
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// A word for programs.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// When it was last looked at.
    pub last_probe_time: Option<Timestamp>,
    /// When its status last changed.
    pub last_transition_time: Option<Timestamp>,
}

impl Condition {
    /// A condition that became so now.
    pub fn new(type_: &str, status: bool, reason: &str, message: &str, now: Timestamp) -> Self {
        let now = Some(whole_seconds(now));
        let status = if status { "True" } else { "False" };
        Self {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_probe_time: now,
            last_transition_time: now,
        }
    }

    /// Whether it holds.
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }
}

impl JobStatus {
    /// The condition of this type, if there is one.
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }

    /// The condition of this type, if it holds.
    pub fn true_condition(&self, type_: &str) -> Option<&Condition> {
        self.condition(type_).filter(|condition| condition.is_true())
    }

    /// Whether its end is decided, and how is stored.
    pub fn has_outcome(&self) -> bool {
        self.true_condition(SUCCESS_CRITERIA_MET).is_some() || self.true_condition(FAILURE_TARGET).is_some()
    }

    /// Whether the Job is finished: nothing about it changes any more.
    pub fn is_finished(&self) -> bool {
        self.true_condition(COMPLETE).is_some() || self.true_condition(FAILED).is_some()
    }

    /// Sets a condition, in place of one of its type if there is one. Tells whether anything but its times changed.
    ///
    /// A condition that does not hold is not added where there was none: from nothing to False says nothing.
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

    /// The JSON merge patch that makes a stored status this one. Every field this controller owns is named, so that
    /// one that is now empty is removed.
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
        "type": condition.type_,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
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
    /// What is stored of a Job of so many completions.
    pub fn parse(wire: WireJobStatus, completions: u32) -> Self {
        let uids = |texts: Option<Vec<String>>| texts.unwrap_or_default().into_iter().map(Uid::from).collect();
        let uncounted = wire.uncounted_terminated_pods.unwrap_or_default();
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
            conditions: wire.conditions.unwrap_or_default().into_iter().map(Condition::from).collect(),
        }
    }
}

impl From<WireCondition> for Condition {
    fn from(wire: WireCondition) -> Self {
        Self {
            type_: wire.type_,
            status: wire.status,
            reason: wire.reason.unwrap_or_default(),
            message: wire.message.unwrap_or_default(),
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
    fn a_condition_is_added_changed_or_left_alone() {
        let mut status = JobStatus::default();
        assert!(!status.set_condition(Condition::new(SUSPENDED, false, "JobResumed", "Job resumed", now())));
        assert!(status.conditions.is_empty(), "from nothing to False says nothing");
        assert!(status.set_condition(Condition::new(SUSPENDED, true, "JobSuspended", "Job suspended", now())));
        assert!(!status.set_condition(Condition::new(SUSPENDED, true, "JobSuspended", "Job suspended", now())));
        assert!(status.set_condition(Condition::new(SUSPENDED, false, "JobResumed", "Job resumed", now())));
        assert_eq!(status.conditions.len(), 1);
        assert!(!status.conditions[0].is_true());
    }

    #[test]
    fn the_patch_names_every_field_so_that_emptied_ones_go() {
        let patch = JobStatus { succeeded: 3, ..JobStatus::default() }.to_patch();
        assert_eq!(patch["succeeded"], 3);
        assert_eq!(patch["startTime"], Value::Null);
        assert_eq!(patch["uncountedTerminatedPods"], json!({"succeeded": null, "failed": null}));
    }

    #[test]
    fn what_is_read_back_equals_what_was_written() {
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
            "no index has failed is another thing than none is counted"
        );
        assert_eq!(JobStatus::parse(wire, 10), status);
    }
}
