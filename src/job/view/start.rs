//! The start of a pod: why it has not started, since when, and whether that was recorded as a failure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::job::wire::{WireCondition, WireContainerStatus, WirePod, WirePodStatus};
use crate::runtime::text::{beginning, ending};

/// Type of the condition of a pod that did not start in time.
pub const START_DEADLINE_EXCEEDED: &str = "jobwright.dev/StartDeadlineExceeded";
/// Annotation of such a pod that states what follows for its Job.
pub const START_ACTION_ANNOTATION: &str = "jobwright.dev/start-deadline-action";

/// Maximum number of bytes kept of a reason.
const REASON_KEPT: usize = 100;
/// Maximum number of bytes kept of a message.
const MESSAGE_KEPT: usize = 256;
/// Reasons of containers whose image cannot be pulled.
const IMAGE: &[&str] = &[
    "ErrImagePull",
    "ImagePullBackOff",
    INVALID_IMAGE_NAME,
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
];
/// Reasons of containers that cannot be created or run as they are configured.
const CONFIG: &[&str] = &[
    CONTAINER_CONFIG,
    "CreateContainerError",
    "PreCreateHookError",
    "PreStartHookError",
    "RunContainerError",
    "CreatePodSandboxError",
];
/// Reason of a container whose image has no valid name. No later attempt can succeed.
const INVALID_IMAGE_NAME: &str = "InvalidImageName";
/// Reason of a container whose ConfigMap, Secret, or key in one of them does not exist.
const CONTAINER_CONFIG: &str = "CreateContainerConfigError";
/// Part of the message about a key that does not exist. The object exists, so no later attempt is likely to succeed, while
/// an object that does not exist can still be created.
const NO_KEY: &str = "find key ";

/// Cause why a pod has not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StartCause {
    /// The image of a container cannot be pulled.
    Image,
    /// The configuration of the pod cannot be used: a ConfigMap, a Secret or a key in one of them does not exist, a
    /// container cannot be created as configured, or the node cannot set up the volumes and the network of the pod.
    Config,
    /// No node has room for the pod.
    Unschedulable,
    /// The API server refuses to create the pod.
    Admission,
    /// Any other cause.
    Other,
}

impl StartCause {
    /// All causes.
    pub const ALL: [Self; 5] = [Self::Image, Self::Config, Self::Unschedulable, Self::Admission, Self::Other];

    /// Returns the name of the cause, as the field of a JobPolicy has it.
    pub fn field(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Config => "config",
            Self::Unschedulable => "unschedulable",
            Self::Admission => "admission",
            Self::Other => "other",
        }
    }

    /// Returns the name of the cause, as the reason of a condition.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Image => "Image",
            Self::Config => "Config",
            Self::Unschedulable => "Unschedulable",
            Self::Admission => "Admission",
            Self::Other => "Other",
        }
    }
}

/// What follows for a Job whose pod did not start in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAction {
    /// The Job fails.
    FailJob,
    /// The index of the pod fails. The Job fails if it has no `spec.backoffLimitPerIndex`.
    FailIndex,
    /// The pod fails, which counts as any failure does, and is replaced.
    RetryPod,
    /// The Job is suspended.
    Suspend,
}

impl StartAction {
    /// Returns the name of the action.
    pub fn name(self) -> &'static str {
        match self {
            Self::FailJob => "FailJob",
            Self::FailIndex => "FailIndex",
            Self::RetryPod => "RetryPod",
            Self::Suspend => "Suspend",
        }
    }

    /// Returns the action with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::FailJob, Self::FailIndex, Self::RetryPod, Self::Suspend].into_iter().find(|action| action.name() == name)
    }
}

/// Why a scheduled or unschedulable pod has not started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartState {
    /// Cause, if time counts: none for a pod that a scheduling gate delays on purpose.
    pub cause: Option<StartCause>,
    /// Whether no later attempt can succeed.
    pub is_final: bool,
    /// Earliest time from which the cause can have held without interruption, as far as the stored pod shows.
    pub since: Timestamp,
    /// Reason and message of the kubelet or the scheduler; none for a pod that starts normally.
    pub text: Option<Box<StartText>>,
}

/// Reason and message why a pod has not started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartText {
    /// Reason, one word in CamelCase.
    pub reason: String,
    /// Message, with the name of the container if it concerns one.
    pub message: String,
}

/// A pod that did not start in time, as its condition records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartFailure {
    /// What follows for the Job.
    pub action: StartAction,
    /// Message of the condition.
    pub message: String,
    /// Time at which the condition was set, which is the end of the pod for its back-off.
    pub at: Timestamp,
}

impl StartState {
    /// Returns why a pending pod, or a pod with a waiting container, has not started. None for a pod that has started, and
    /// for a pod that the scheduler has not tried to place.
    pub fn of(wire: &WirePod) -> Option<Self> {
        let status = &wire.status;
        let is_pending = matches!(status.phase.as_deref(), None | Some("Pending"));
        if !is_pending && status.phase.as_deref() != Some("Running") {
            return None;
        }
        let condition = |type_: &str| status.conditions.iter().flatten().find(|condition| condition.type_ == type_);
        let transition = |type_: &str| condition(type_).and_then(|condition| condition.last_transition_time);
        let scheduled = condition("PodScheduled")?;
        if scheduled.status != "True" {
            return Some(Self::unscheduled(scheduled));
        }
        let created = wire.metadata.creation_timestamp.as_ref().map(|time| time.0).unwrap_or_default();
        let since = transition("PodScheduled").unwrap_or(created).max(latest_end(status).unwrap_or(created));
        if let Some((container, is_init, cause)) = blocked(status) {
            let waiting = container.state.waiting.as_ref();
            let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
            let message = waiting.and_then(|waiting| waiting.message.as_deref()).unwrap_or_default().trim();
            // The app containers come after the init containers.
            let since = if is_init { since } else { since.max(became_true(condition("Initialized")).unwrap_or(since)) };
            let is_final = reason == INVALID_IMAGE_NAME || reason == CONTAINER_CONFIG && message.contains(NO_KEY);
            let name = beginning(&container.name, REASON_KEPT);
            let message = format!("container {name}: {}", ending(message, MESSAGE_KEPT));
            let text = StartText { reason: beginning(reason, REASON_KEPT).to_owned(), message };
            return Some(Self { cause: Some(cause), is_final, since, text: Some(Box::new(text)) });
        }
        if !is_pending {
            return None;
        }
        // The node prepares volumes and network before it starts any container.
        let is_prepared = condition("PodReadyToStartContainers").is_none_or(|ready| ready.status == "True");
        let cause = if is_prepared { StartCause::Other } else { StartCause::Config };
        Some(Self { cause: Some(cause), is_final: false, since, text: None })
    }

    fn unscheduled(condition: &WireCondition) -> Self {
        let reason = condition.reason.as_deref().unwrap_or_default();
        let message = ending(condition.message.as_deref().unwrap_or_default().trim(), MESSAGE_KEPT).to_owned();
        let text = StartText { reason: beginning(reason, REASON_KEPT).to_owned(), message };
        Self {
            cause: (reason != "SchedulingGated").then_some(StartCause::Unschedulable),
            is_final: false,
            since: condition.last_transition_time.unwrap_or_default(),
            text: Some(Box::new(text)),
        }
    }
}

impl StartFailure {
    /// Parses the condition of a pod that did not start in time, and the annotation.
    pub fn of(status: &WirePodStatus, annotations: Option<&BTreeMap<String, String>>) -> Option<Self> {
        let mut conditions = status.conditions.iter().flatten();
        let condition =
            conditions.find(|condition| condition.type_ == START_DEADLINE_EXCEEDED && condition.status == "True")?;
        let action = annotations.and_then(|annotations| annotations.get(START_ACTION_ANNOTATION));
        let action = action.and_then(|action| StartAction::parse(action)).unwrap_or(StartAction::RetryPod);
        let message = beginning(condition.message.as_deref().unwrap_or_default(), 2 * MESSAGE_KEPT).to_owned();
        Some(Self { action, message, at: condition.last_transition_time.unwrap_or_default() })
    }
}

/// Returns the first container that waits because of its image or its configuration, whether it is an init container, and
/// the cause.
fn blocked(status: &WirePodStatus) -> Option<(&WireContainerStatus, bool, StartCause)> {
    let inits = status.init_container_statuses.iter().flatten().map(|container| (container, true));
    let apps = status.container_statuses.iter().flatten().map(|container| (container, false));
    inits.chain(apps).find_map(|(container, is_init)| {
        let reason = container.state.waiting.as_ref()?.reason.as_deref()?;
        let cause = if IMAGE.contains(&reason) {
            StartCause::Image
        } else if CONFIG.contains(&reason) {
            StartCause::Config
        } else {
            return None;
        };
        Some((container, is_init, cause))
    })
}

/// Returns the latest end of a container.
fn latest_end(status: &WirePodStatus) -> Option<Timestamp> {
    let containers = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    let ends = containers.flat_map(|container| [&container.state, &container.last_state]);
    ends.filter_map(|state| state.terminated.as_ref()?.finished_at).max()
}

fn became_true(condition: Option<&WireCondition>) -> Option<Timestamp> {
    condition.filter(|condition| condition.status == "True")?.last_transition_time
}

impl StartText {
    /// Returns reason and message in one text.
    pub fn sentence(&self) -> String {
        match (self.reason.is_empty(), self.message.is_empty()) {
            (_, true) => self.reason.clone(),
            (true, false) => self.message.clone(),
            (false, false) => format!("{}: {}", self.reason, self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SCHEDULED_AT: &str = "2026-01-01T00:01:00Z";

    fn pod(status: &Value) -> WirePod {
        let mut status = status.clone();
        if status["conditions"].is_null() {
            status["conditions"] = json!([scheduled()]);
        }
        let pod = json!({
            "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}, "status": status,
        });
        serde_json::from_str(&pod.to_string()).unwrap()
    }

    fn scheduled() -> Value {
        json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": SCHEDULED_AT})
    }

    fn waiting(reason: &str, message: &str) -> Value {
        json!({"name": "main", "state": {"waiting": {"reason": reason, "message": message}}})
    }

    fn state(status: &Value) -> Option<StartState> {
        StartState::of(&pod(status))
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn cause_and_finality_follow_from_the_reason_of_the_waiting_container() {
        let cases = [
            ("ErrImagePull", "not found", StartCause::Image, false),
            ("ImagePullBackOff", "back-off", StartCause::Image, false),
            ("InvalidImageName", "invalid reference format", StartCause::Image, true),
            ("ErrImageNeverPull", "", StartCause::Image, false),
            ("CreateContainerConfigError", "secret \"x\" not found", StartCause::Config, false),
            ("CreateContainerConfigError", "cannot find key k in ConfigMap default/x", StartCause::Config, true),
            ("CreateContainerError", "", StartCause::Config, false),
            ("RunContainerError", "exec: no such file", StartCause::Config, false),
            ("ContainerCreating", "", StartCause::Other, false),
            ("PodInitializing", "", StartCause::Other, false),
        ];
        for (reason, message, cause, is_final) in cases {
            let found = state(&json!({"phase": "Pending", "containerStatuses": [waiting(reason, message)]})).unwrap();
            assert_eq!((found.cause, found.is_final), (Some(cause), is_final), "{reason} {message}");
            assert_eq!(found.since, at(SCHEDULED_AT), "{reason}");
            assert_eq!(found.text.is_some(), cause != StartCause::Other, "{reason}");
        }
    }

    #[test]
    fn started_pod_has_no_state_unless_a_container_waits_for_its_image() {
        assert_eq!(
            state(&json!({"phase": "Running", "containerStatuses": [{"name": "main", "state": {"running": {}}}]})),
            None
        );
        assert_eq!(state(&json!({"phase": "Running", "containerStatuses": [waiting("CrashLoopBackOff", "")]})), None);
        let restarted = state(&json!({"phase": "Running", "containerStatuses": [waiting("ImagePullBackOff", "so")]}));
        assert_eq!(restarted.unwrap().cause, Some(StartCause::Image));
        for phase in ["Succeeded", "Failed"] {
            assert_eq!(state(&json!({"phase": phase, "containerStatuses": [waiting("ImagePullBackOff", "")]})), None);
        }
        assert_eq!(state(&json!({"phase": "Pending", "conditions": []})), None, "the scheduler has not tried");
    }

    #[test]
    fn pod_without_volumes_or_network_has_a_problem_of_configuration() {
        let prepared = |status: &str| {
            let ready = json!({"type": "PodReadyToStartContainers", "status": status});
            state(&json!({"phase": "Pending", "conditions": [scheduled(), ready]})).unwrap().cause
        };
        assert_eq!(prepared("False"), Some(StartCause::Config));
        assert_eq!(prepared("True"), Some(StartCause::Other));
    }

    #[test]
    fn gated_pod_has_no_cause_and_an_unschedulable_one_has_the_message_of_the_scheduler() {
        let unscheduled = |reason: &str| {
            let condition = json!({"type": "PodScheduled", "status": "False", "reason": reason,
                "message": "0/3 nodes are available", "lastTransitionTime": "2026-01-01T00:00:30Z"});
            state(&json!({"phase": "Pending", "conditions": [condition]})).unwrap()
        };
        assert_eq!(unscheduled("SchedulingGated").cause, None);
        let found = unscheduled("Unschedulable");
        assert_eq!((found.cause, found.since), (Some(StartCause::Unschedulable), at("2026-01-01T00:00:30Z")));
        assert_eq!(found.text.unwrap().sentence(), "Unschedulable: 0/3 nodes are available");
    }

    #[test]
    fn time_counts_from_the_last_event_before_the_container() {
        let initialized =
            json!({"type": "Initialized", "status": "True", "lastTransitionTime": "2026-01-01T00:05:00Z"});
        let app = json!({"phase": "Pending", "conditions": [scheduled(), initialized],
            "containerStatuses": [waiting("ErrImagePull", "")]});
        assert_eq!(state(&app).unwrap().since, at("2026-01-01T00:05:00Z"));
        let end = json!({"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:07:00Z"}});
        let mut restarted = waiting("ErrImagePull", "");
        restarted["lastState"] = end;
        let restarted = json!({"phase": "Running", "containerStatuses": [restarted]});
        assert_eq!(state(&restarted).unwrap().since, at("2026-01-01T00:07:00Z"));
    }

    #[test]
    fn condition_and_annotation_record_what_follows() {
        let condition = json!({"type": START_DEADLINE_EXCEEDED, "status": "True", "reason": "Image", "message": "m",
            "lastTransitionTime": SCHEDULED_AT});
        let failure = |action: Option<&str>, status: &str| {
            let mut condition = condition.clone();
            condition["status"] = json!(status);
            let annotations = action.map(|action| [(START_ACTION_ANNOTATION.to_owned(), action.to_owned())].into());
            StartFailure::of(&pod(&json!({"conditions": [condition]})).status, annotations.as_ref())
        };
        let expected = |action| Some(StartFailure { action, message: "m".to_owned(), at: at(SCHEDULED_AT) });
        assert_eq!(failure(Some("FailIndex"), "True"), expected(StartAction::FailIndex));
        assert_eq!(failure(Some("Explode"), "True"), expected(StartAction::RetryPod));
        assert_eq!(failure(None, "True"), expected(StartAction::RetryPod));
        assert_eq!(failure(Some("FailJob"), "False"), None);
    }

    #[test]
    fn every_text_is_bounded() {
        let long = "ü".repeat(100_000);
        let mut container = waiting("ErrImagePull", &long);
        container["name"] = json!(long);
        let found = state(&json!({"phase": "Pending", "containerStatuses": [container]})).unwrap();
        assert!(found.text.unwrap().sentence().len() < 600);
    }
}
