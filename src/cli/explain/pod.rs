//! Describes the state of a pod in sentences: what the pod does, waits for, or how it failed.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;

use super::span;

/// Failure of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Name of the pod.
    pub pod: String,
    /// Sentence that describes the failure.
    pub text: String,
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Returns whether the pod has ended, in success or failure.
pub(crate) fn is_ended(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Returns whether the pod has failed.
pub(crate) fn is_failed(pod: &Pod) -> bool {
    phase(pod) == "Failed"
}

/// Returns the statuses of all containers of a pod, the init containers first.
pub(crate) fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let inits = status.and_then(|status| status.init_container_statuses.as_deref()).unwrap_or_default();
    let apps = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    inits.iter().chain(apps)
}

/// Returns the time at which the last container of the pod ended, if the status has one.
pub(crate) fn ended_at(pod: &Pod) -> Option<Timestamp> {
    let ends =
        containers(pod).filter_map(|container| container.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
    ends.map(|time| time.0).max()
}

/// Returns the state of an unfinished pod as a sentence, and whether something blocks the pod.
pub(crate) fn state(pod: &Pod, now: Timestamp) -> (String, bool) {
    let name = pod.name_any();
    if let Some(deleted) = &pod.metadata.deletion_timestamp {
        let foreign: Vec<_> =
            pod.finalizers().iter().filter(|finalizer| *finalizer != crate::job::TRACKING_FINALIZER).cloned().collect();
        let since = span(deleted.0, now);
        if !foreign.is_empty() {
            return (
                format!("Pod {name} is being deleted since {since} and held by the finalizer {}.", foreign.join(", ")),
                true,
            );
        }
        return (format!("Pod {name} is being deleted since {since}; its node has not ended it yet."), true);
    }
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let unscheduled = conditions.iter().find(|one| one.type_ == "PodScheduled" && one.status == "False");
    if let Some(unscheduled) = unscheduled {
        let why = unscheduled.message.as_deref().unwrap_or("the scheduler does not say why");
        return (format!("Pod {name} has no node: {why}"), true);
    }
    let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_deref()).unwrap_or_default();
    if !gates.is_empty() {
        let gates: Vec<_> = gates.iter().map(|gate| gate.name.as_str()).collect();
        return (
            format!("Pod {name} is not to be scheduled before its gate {} is taken away.", gates.join(", ")),
            true,
        );
    }
    for container in containers(pod) {
        let Some(waiting) = container.state.as_ref().and_then(|state| state.waiting.as_ref()) else { continue };
        let reason = waiting.reason.as_deref().unwrap_or_default();
        if matches!(reason, "" | "ContainerCreating" | "PodInitializing") {
            continue;
        }
        let said = waiting.message.as_deref().map_or_else(String::new, |text| format!(": {text}"));
        let restarts = match container.restart_count {
            0 => String::new(),
            count => format!(" after {count} restarts"),
        };
        return (format!("Pod {name}: container {} is in {reason}{restarts}{said}", container.name), true);
    }
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let since = started.map_or_else(String::new, |at| format!(" since {}", span(at.0, now)));
    match phase(pod) {
        "Running" => (format!("Pod {name} runs{since}."), false),
        _ if pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none()) => {
            (format!("Pod {name} waits for a node."), false)
        }
        _ => (format!("Pod {name} is being started{since}."), false),
    }
}

/// Returns the failure of a failed pod: the container, its exit code or signal, and its termination message.
pub(crate) fn failure(pod: &Pod) -> Failure {
    let name = pod.name_any();
    let status = pod.status.as_ref();
    let disrupted = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default().iter();
    let disrupted = disrupted.clone().find(|one| one.type_ == "DisruptionTarget" && one.status == "True");
    for container in containers(pod) {
        let Some(ended) = container.state.as_ref().and_then(|state| state.terminated.as_ref()) else { continue };
        if ended.exit_code == 0 {
            continue;
        }
        let reason = ended
            .reason
            .as_deref()
            .filter(|reason| *reason != "Error")
            .map_or_else(String::new, |reason| format!(" ({reason})"));
        let how = match ended.signal {
            Some(signal) => format!("was ended by signal {signal}"),
            None => format!("exited with {}", ended.exit_code),
        };
        let words = ended.message.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let words = words.map_or_else(String::new, |text| format!(": {text}"));
        return Failure { text: format!("Pod {name}: container {} {how}{reason}{words}", container.name), pod: name };
    }
    if let Some(disrupted) = disrupted {
        let why = disrupted.message.as_deref().or(disrupted.reason.as_deref()).unwrap_or_default();
        return Failure { text: format!("Pod {name} was disrupted: {why}"), pod: name };
    }
    let reason = status.and_then(|status| status.reason.as_deref()).unwrap_or("no reason is given");
    let words =
        status.and_then(|status| status.message.as_deref()).map_or_else(String::new, |text| format!(": {text}"));
    Failure { text: format!("Pod {name} failed: {reason}{words}"), pod: name }
}
