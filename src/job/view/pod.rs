//! The view of a Pod: the parts of a stored Pod that decisions use.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::cause::Cause;
use super::memory::{self, OomKilled};
use super::start::{StartFailure, StartState};
use super::{Labels, identity};
use crate::job::index::CompletionIndex;
use crate::job::wire::{WireCondition, WireContainerStatus, WirePod, WirePodStatus};
use crate::job::{
    API_VERSION, CONTROLLER_UID_LABEL, IGNORED_FAILURES_ANNOTATION, INDEX_ANNOTATION, INDEX_FAILURES_ANNOTATION, KIND,
    TRACKING_FINALIZER,
};
use crate::runtime::cache::Cached;
use crate::runtime::identity::{Identity, Uid};
use crate::runtime::intern::intern;
use crate::runtime::text::beginning;

/// Maximum number of bytes kept of a container's name, or of a condition's type or status. The API accepts 63 in a
/// template, and 317 in a rule of a podFailurePolicy.
const TEXT_KEPT: usize = 317;

/// Maximum number of bytes kept of the termination message of a pod that succeeded.
const RESULT_KEPT: usize = 1024;

/// The view of a Pod: the parts of a stored Pod that decisions use.
#[derive(Clone, Debug)]
pub struct PodView {
    /// Namespace, name, UID and resourceVersion of the pod.
    pub identity: Identity,
    /// Controlling owner of the pod.
    pub owner: Option<ControllerRef>,
    /// Whether the pod has the tracking finalizer, that is, is not accounted for.
    pub tracked: bool,
    /// Whether the pod has finalizers. If so, the API server does not remove the pod immediately when it is deleted.
    pub has_finalizers: bool,
    /// Labels of the pod.
    pub labels: Labels,
    /// Completion index of the pod, if its annotation holds a valid one.
    pub index: Option<CompletionIndex>,
    /// Number of failures of the pod's index before this pod.
    pub index_failures: IndexFailures,
    /// Creation time of the pod.
    pub created: Timestamp,
    /// Whether the pod is being deleted.
    pub deleting: bool,
    /// Whether the pod is assigned to a node.
    pub scheduled: bool,
    /// Phase of the pod.
    pub phase: Phase,
    /// Time since which the pod has been ready, if it is ready.
    pub ready_since: Option<Timestamp>,
    /// Sum of the restarts of all containers of the pod.
    pub restarts: i64,
    /// Maximum number of restarts of an app container of the pod, and of a sidecar container.
    pub most_restarts: (i32, i32),
    /// Best estimate of the time at which the pod ended. Meaningful only if the pod has ended or is being deleted.
    pub finished_at: Timestamp,
    /// The data that a failure policy reads. Kept only for pods that failed or are being deleted.
    pub end: Option<Box<PodEnd>>,
    /// Cause why the pod failed or does not start. `None` for a pod that runs or starts normally.
    pub cause: Option<Box<Cause>>,
    /// Why the pod has not started. `None` for a pod that has started, has ended or is being deleted.
    pub start: Option<Box<StartState>>,
    /// Termination message of a pod that succeeded.
    pub result: Option<Box<TerminationMessage>>,
    /// Record that the pod did not start in time.
    pub start_failure: Option<Box<StartFailure>>,
}

/// Reason of a pod that ran for longer than its `spec.activeDeadlineSeconds`.
const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";

/// The numbers of failures of one index, as recorded on its pods. The Job's status does not contain these numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexFailures {
    /// Number of failures that count (`batch.kubernetes.io/job-index-failure-count`).
    pub counted: i32,
    /// Number of failures that a policy ignores (`batch.kubernetes.io/job-index-ignored-failure-count`).
    pub ignored: i32,
}

impl IndexFailures {
    /// Returns the number of all failures, counted and ignored.
    pub fn all(self) -> i32 {
        self.counted.saturating_add(self.ignored)
    }
}

/// The end of a pod, reduced to the data that a failure policy reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodEnd {
    /// Names and exit codes of the containers that ended with an exit code other than 0: app containers first, then
    /// init containers.
    pub exits: Vec<(String, i32)>,
    /// Types and statuses of the pod's conditions.
    pub conditions: Vec<(String, String)>,
    /// Containers that exceeded their memory.
    pub oom_killed: Vec<OomKilled>,
    /// `spec.activeDeadlineSeconds` of a pod that ran for longer.
    pub exceeded_deadline: Option<u32>,
}

/// The termination message of a pod that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TerminationMessage(pub Box<str>);

/// The controlling owner of a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerRef {
    /// UID of the owner.
    pub uid: Uid,
    /// Name of the owner.
    pub name: Arc<str>,
    /// Whether the owner is a `batch/v1` Job.
    pub is_job: bool,
}

/// `status.phase` of a Pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names of the API's phases")]
pub enum Phase {
    // The order of the variants is the order in which surplus pods are deleted.
    #[default]
    Pending,
    Unknown,
    Running,
    Succeeded,
    Failed,
}

impl PodView {
    /// Returns whether the pod has neither ended nor is being deleted.
    pub fn is_active(&self) -> bool {
        !self.is_ended() && !self.deleting
    }

    /// Returns whether the pod is being deleted and has not ended yet.
    pub fn is_terminating(&self) -> bool {
        !self.is_ended() && self.deleting
    }

    /// Returns whether the pod has succeeded or failed.
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// Returns whether the pod is active and ready.
    pub fn is_ready(&self) -> bool {
        self.is_active() && self.ready_since.is_some()
    }

    /// Parses a pod. Returns `None` if the metadata lacks a field that every stored object has.
    pub fn parse(wire: WirePod) -> Option<Self> {
        let start = wire.metadata.deletion_timestamp.is_none().then(|| StartState::of(&wire)).flatten();
        let start_failure = StartFailure::of(&wire.status, wire.metadata.annotations.as_ref());
        let WirePod { metadata, spec, status } = wire;
        let identity = identity(&metadata)?;
        let created = metadata.creation_timestamp.as_ref().map(|time| time.0).unwrap_or_default();
        let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
        let sidecars: Vec<&str> = spec
            .init_containers
            .iter()
            .flatten()
            .filter(|container| container.restart_policy.as_deref() == Some("Always"))
            .map(|container| container.name.as_str())
            .collect();
        let ready = find_condition(&status, "Ready");
        let is_sidecar = |status: &&WireContainerStatus| sidecars.contains(&status.name.as_str());
        let apps = || status.container_statuses.iter().flatten();
        let inits = || status.init_container_statuses.iter().flatten();
        let max = |counts: &mut dyn Iterator<Item = i32>| counts.max().unwrap_or_default();
        let finished_at = containers_finished(apps().chain(inits().filter(is_sidecar)))
            .or_else(|| ready.filter(|ready| ready.status == "False").and_then(|ready| ready.last_transition_time))
            .or_else(|| deleted_at(&metadata))
            .unwrap_or(created)
            // The containers of a pod that did not start have no end.
            .max(start_failure.as_ref().map_or(created, |failure| failure.at));
        let annotation = |key: &str| metadata.annotations.as_ref().and_then(|annotations| annotations.get(key));
        let failures =
            |key| annotation(key).and_then(|text| text.parse().ok()).filter(|count| *count >= 0).unwrap_or_default();
        let phase = phase(status.phase.as_deref());
        let tracked = finalizers.iter().any(|finalizer| finalizer == TRACKING_FINALIZER);
        let deleting = metadata.deletion_timestamp.is_some();
        Some(Self {
            owner: metadata.owner_references.iter().flatten().find_map(owner),
            tracked,
            has_finalizers: !finalizers.is_empty(),
            index: annotation(INDEX_ANNOTATION).and_then(|text| text.parse().ok()),
            index_failures: IndexFailures {
                counted: failures(INDEX_FAILURES_ANNOTATION),
                ignored: failures(IGNORED_FAILURES_ANNOTATION),
            },
            created,
            deleting,
            scheduled: spec.node_name.as_deref().is_some_and(|node| !node.is_empty()),
            phase,
            ready_since: ready
                .filter(|ready| ready.status == "True")
                .map(|ready| ready.last_transition_time.unwrap_or_default()),
            restarts: apps().chain(inits()).map(|status| i64::from(status.restart_count)).sum(),
            most_restarts: (
                max(&mut apps().map(|status| status.restart_count)),
                max(&mut inits().filter(is_sidecar).map(|status| status.restart_count)),
            ),
            finished_at,
            end: (phase == Phase::Failed || deleting || start_failure.is_some())
                .then(|| Box::new(PodEnd::of(&status, spec.active_deadline_seconds, metadata.annotations.as_ref()))),
            cause: (phase != Phase::Succeeded).then(|| Cause::of(&status, &sidecars)).flatten().map(Box::new),
            // Once the pod is counted, its result is on the Job.
            result: (phase == Phase::Succeeded && tracked).then(|| result(&status)).flatten(),
            start: start.map(Box::new),
            start_failure: start_failure.map(Box::new),
            labels: Labels::shared(metadata.labels.as_ref()),
            identity,
        })
    }
}

impl PodEnd {
    fn of(
        status: &WirePodStatus,
        active_deadline_seconds: Option<i64>,
        annotations: Option<&BTreeMap<String, String>>,
    ) -> Self {
        let containers = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        let exits = containers.filter_map(|container| {
            let code = container.state.terminated.as_ref()?.exit_code;
            (code != 0).then(|| (beginning(&container.name, TEXT_KEPT).to_owned(), code))
        });
        let is_late = status.reason.as_deref() == Some(DEADLINE_EXCEEDED);
        // No rule of a policy can name a longer type or status.
        let fits = |condition: &&WireCondition| condition.type_.len().max(condition.status.len()) <= TEXT_KEPT;
        let conditions = status.conditions.iter().flatten().filter(fits);
        Self {
            exits: exits.collect(),
            conditions: conditions.map(|condition| (condition.type_.clone(), condition.status.clone())).collect(),
            oom_killed: memory::oom_killed(status, annotations),
            exceeded_deadline: active_deadline_seconds.filter(|_| is_late).and_then(|seconds| seconds.try_into().ok()),
        }
    }
}

impl Cached for PodView {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn controller(&self) -> Option<&Uid> {
        self.owner.as_ref().map(|owner| &owner.uid)
    }

    /// Returns whether the pod has ended, is accounted for, and still has the label of the Job that controls it.
    fn is_accounted(&self) -> bool {
        let is_labelled = |owner: &Uid| self.labels.get(CONTROLLER_UID_LABEL).is_some_and(|label| owner.is(&label));
        self.is_ended() && !self.tracked && self.controller().is_some_and(is_labelled)
    }

    fn has_finalizers(&self) -> bool {
        self.has_finalizers
    }
}

fn owner(reference: &OwnerReference) -> Option<ControllerRef> {
    (reference.controller == Some(true)).then(|| ControllerRef {
        uid: reference.uid.as_str().into(),
        name: intern(&reference.name),
        is_job: reference.kind == KIND && reference.api_version == API_VERSION,
    })
}

/// Returns the first termination message of an app container that succeeded.
fn result(status: &WirePodStatus) -> Option<Box<TerminationMessage>> {
    let messages = status.container_statuses.iter().flatten().filter_map(|container| {
        let end = container.state.terminated.as_ref().filter(|end| end.exit_code == 0)?;
        let message = beginning(end.message.as_deref()?.trim(), RESULT_KEPT);
        (!message.is_empty()).then(|| Box::new(TerminationMessage(message.into())))
    });
    messages.take(1).next()
}

fn phase(text: Option<&str>) -> Phase {
    match text {
        Some("Running") => Phase::Running,
        Some("Succeeded") => Phase::Succeeded,
        Some("Failed") => Phase::Failed,
        Some("Unknown") => Phase::Unknown,
        _ => Phase::Pending,
    }
}

fn find_condition<'a>(status: &'a WirePodStatus, type_: &str) -> Option<&'a WireCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == type_)
}

/// Returns the latest end of these containers, if all of them have ended.
fn containers_finished<'a>(statuses: impl Iterator<Item = &'a WireContainerStatus>) -> Option<Timestamp> {
    let mut latest = None;
    for status in statuses {
        let finished = status.state.terminated.as_ref()?.finished_at?;
        latest = latest.max(Some(finished));
    }
    latest
}

/// Returns the time of the deletion request. The API server stores the end of the grace period, not that time.
fn deleted_at(metadata: &ObjectMeta) -> Option<Timestamp> {
    let gone_by = metadata.deletion_timestamp.as_ref()?.0;
    let grace =
        Duration::from_secs(metadata.deletion_grace_period_seconds.unwrap_or_default().try_into().unwrap_or_default());
    gone_by.checked_sub(grace).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn view(metadata: &Value, spec: &Value, status: &Value) -> PodView {
        let mut wire = json!({
            "metadata": {
                "name": "p", "namespace": "default", "uid": "u", "resourceVersion": "1",
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": spec, "status": status,
        });
        for (key, value) in metadata.as_object().unwrap() {
            wire["metadata"][key] = value.clone();
        }
        let wire: WirePod = serde_json::from_str(&wire.to_string()).unwrap();
        PodView::parse(wire).unwrap()
    }

    fn ended(name: &str, code: i32, second: u32, restarts: i32) -> Value {
        let at = format!("2026-01-01T00:00:{second:02}Z");
        json!({"name": name, "restartCount": restarts, "state": {"terminated": {"exitCode": code, "finishedAt": at}}})
    }

    fn second(pod: &PodView) -> i64 {
        pod.finished_at.as_second() % 60
    }

    #[test]
    fn index_and_failures_are_read_from_annotations_and_invalid_ones_are_ignored() {
        let read = |index: &str, failures: &str| {
            let annotations = json!({"annotations": {INDEX_ANNOTATION: index, INDEX_FAILURES_ANNOTATION: failures}});
            let pod = view(&annotations, &json!({}), &json!({}));
            (pod.index, pod.index_failures.counted)
        };
        assert_eq!(read("7", "2"), (Some(7), 2));
        for invalid in ["", "-1", "seven", "1.5", "99999999999"] {
            assert_eq!(read(invalid, invalid), (None, 0), "{invalid:?}");
        }
        let without = view(&json!({}), &json!({}), &json!({}));
        assert_eq!((without.index, without.index_failures), (None, IndexFailures::default()));
    }

    #[test]
    fn sidecar_that_ends_last_sets_the_end_of_the_pod() {
        let spec = json!({"initContainers": [{"name": "sidecar", "restartPolicy": "Always"}, {"name": "init"}]});
        let status = json!({
            "phase": "Succeeded",
            "containerStatuses": [ended("main", 0, 20, 0)],
            "initContainerStatuses": [ended("sidecar", 0, 25, 4), ended("init", 0, 40, 9)],
        });
        let pod = view(&json!({}), &spec, &status);
        assert_eq!(second(&pod), 25);
        assert_eq!(
            (pod.restarts, pod.most_restarts),
            (13, (0, 4)),
            "an init container that is no sidecar is not counted as one"
        );
    }

    #[test]
    fn ready_condition_sets_the_end_of_a_pod_whose_sidecar_still_runs() {
        let spec = json!({"initContainers": [{"name": "sidecar", "restartPolicy": "Always"}]});
        let status = json!({
            "phase": "Failed",
            "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:33Z"}],
            "containerStatuses": [ended("main", 1, 20, 0)],
            "initContainerStatuses": [{"name": "sidecar", "state": {"running": {}}}],
        });
        assert_eq!(second(&view(&json!({}), &spec, &status)), 33);
    }

    #[test]
    fn end_of_a_pod_without_containers_is_its_deletion_or_else_its_creation() {
        let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:50Z", "deletionGracePeriodSeconds": 30});
        assert_eq!(second(&view(&deleted, &json!({}), &json!({}))), 20);
        assert_eq!(second(&view(&json!({}), &json!({}), &json!({"phase": "Failed"}))), 0);
    }

    #[test]
    fn deadline_is_kept_of_a_pod_that_exceeded_it() {
        let exceeded = |spec: &Value, status: &Value| view(&json!({}), spec, status).end?.exceeded_deadline;
        let late = json!({"phase": "Failed", "reason": "DeadlineExceeded"});
        let spec = json!({"activeDeadlineSeconds": 30});
        assert_eq!(exceeded(&spec, &late), Some(30));
        assert_eq!(exceeded(&json!({}), &late), None);
        assert_eq!(exceeded(&spec, &json!({"phase": "Failed", "reason": "Evicted"})), None);
        assert_eq!(exceeded(&spec, &json!({"phase": "Running"})), None);
    }

    #[test]
    fn data_for_failure_policies_is_kept_of_failed_pods_only() {
        let mut status = json!({
            "phase": "Failed",
            "conditions": [{"type": "DisruptionTarget", "status": "True"}],
            "containerStatuses": [ended("main", 3, 20, 0), ended("other", 0, 20, 0), {"name": "up", "state": {"running": {}}}],
            "initContainerStatuses": [ended("init", 7, 5, 0)],
        });
        let pod = view(&json!({}), &json!({}), &status);
        let end = pod.end.unwrap();
        assert_eq!(end.exits, [("main".to_owned(), 3), ("init".to_owned(), 7)]);
        assert_eq!(end.conditions, [("DisruptionTarget".to_owned(), "True".to_owned())]);
        status["phase"] = json!("Running");
        assert!(view(&json!({}), &json!({}), &status).end.is_none());
    }
}
