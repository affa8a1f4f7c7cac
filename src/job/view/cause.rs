//! The cause why a pod failed or does not start, with the reason and message that the kubelet, the scheduler or the
//! control plane wrote.

use serde::{Deserialize, Serialize};

use crate::job::wire::{WireContainerStatus, WirePodStatus, WireTerminated};
use crate::runtime::text::{beginning, ending};

/// Maximum number of bytes kept of the message of an ended container or pod, such as a program's termination message.
const MESSAGE_KEPT: usize = 1024;
/// Maximum number of bytes kept of the message about a pod that may still start.
const HINT_KEPT: usize = 256;
/// Maximum number of bytes kept of a name or a reason. The API accepts no longer names.
const WORD_KEPT: usize = 253;
/// Reasons with which a container waits during a normal start.
const IN_GOOD_HEALTH: &[&str] = &["ContainerCreating", "PodInitializing"];

/// The cause why a pod failed or does not start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cause {
    /// Name of the container that failed or waits. `None` if the cause concerns the whole pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Exit code of the container, if it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Signal that ended the container, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Reason of the container (`Error`, `OOMKilled`, `ImagePullBackOff`), or else of the pod (`Evicted`,
    /// `Unschedulable`).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Termination message of the container, or the message about the pod or container that does not start.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Reason of the disruption that ended the pod, if its containers did not end on their own: `Evicted`,
    /// `PreemptionByScheduler`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub disruption: String,
}

impl Cause {
    /// Returns the cause from a pod's status. `None` if the pod runs or starts normally.
    ///
    /// `sidecars` names the pod's native sidecars. The end of a sidecar is never the cause: the kubelet ends sidecars
    /// after the app containers, often by a signal, and ignores their exit codes
    /// ([KEP-753](https://github.com/kubernetes/enhancements/tree/master/keps/sig-node/753-sidecar-containers)).
    pub fn of(status: &WirePodStatus, sidecars: &[&str]) -> Option<Self> {
        let containers = || status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        let disruption = disruption(status);
        let counted = || containers().filter(|container| !sidecars.contains(&container.name.as_str()));
        let now = counted().filter_map(|container| Some((container, container.state.terminated.as_ref()?)));
        // The container that failed first is the cause: its failure ended the others.
        let first = now.filter(|(_, end)| end.exit_code != 0).min_by_key(|(_, end)| end.finished_at);
        let before = counted().filter_map(|container| Some((container, container.last_state.terminated.as_ref()?)));
        let last = || before.filter(|(_, end)| end.exit_code != 0).max_by_key(|(_, end)| end.finished_at);
        if let Some((container, end)) = first.or_else(last) {
            return Some(Self { disruption, ..Self::ended(container, end) });
        }
        if status.reason.is_some() || !disruption.is_empty() {
            let (reason, message) = (word(status.reason.as_deref()), status.message.as_deref());
            return Some(Self {
                reason,
                message: truncate_start(message, MESSAGE_KEPT),
                disruption,
                ..Self::default()
            });
        }
        let waiting = containers().find_map(|container| {
            let waiting = container.state.waiting.as_ref()?;
            let reason = waiting.reason.as_deref().filter(|reason| !IN_GOOD_HEALTH.contains(reason))?;
            let message = truncate_start(waiting.message.as_deref(), HINT_KEPT);
            let container = Some(word(Some(&container.name)));
            Some(Self { container, reason: word(Some(reason)), message, ..Self::default() })
        });
        waiting.or_else(|| {
            let scheduled = status.conditions.iter().flatten().find(|condition| condition.type_ == "PodScheduled")?;
            (scheduled.status == "False").then(|| Self {
                reason: word(scheduled.reason.as_deref()),
                message: truncate_start(scheduled.message.as_deref(), HINT_KEPT),
                ..Self::default()
            })
        })
    }

    fn ended(container: &WireContainerStatus, end: &WireTerminated) -> Self {
        Self {
            container: Some(word(Some(&container.name))),
            exit_code: Some(end.exit_code),
            signal: end.signal.filter(|signal| *signal != 0),
            reason: word(end.reason.as_deref()),
            message: truncate_start(end.message.as_deref(), MESSAGE_KEPT),
            disruption: String::new(),
        }
    }
}

/// Returns the reason of the disruption that ended the pod, if there was one. The pod's `reason` comes before the
/// reason of the `DisruptionTarget` condition because the pod's `reason` is shorter.
fn disruption(status: &WirePodStatus) -> String {
    let target = status.conditions.iter().flatten().find(|condition| condition.type_ == "DisruptionTarget");
    let target = target.filter(|target| target.status == "True").and_then(|target| target.reason.as_deref());
    word(status.reason.as_deref().or(target))
}

/// Returns the end of a message, because the error usually comes last.
fn truncate_start(text: Option<&str>, max_bytes: usize) -> String {
    ending(text.unwrap_or_default().trim(), max_bytes).to_owned()
}

/// Returns a name or a reason, cut to [`WORD_KEPT`] bytes.
fn word(text: Option<&str>) -> String {
    beginning(text.unwrap_or_default(), WORD_KEPT).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cause(status: &Value) -> Option<Cause> {
        Cause::of(&serde_json::from_str(&status.to_string()).unwrap(), &["sidecar"])
    }

    fn ended(name: &str, code: i32, second: u32) -> Value {
        let at = format!("2026-01-01T00:00:{second:02}Z");
        let end = json!({"exitCode": code, "reason": "Error", "message": format!("{name} failed\n"), "finishedAt": at});
        json!({"name": name, "state": {"terminated": end}})
    }

    #[test]
    fn container_that_failed_first_is_the_cause() {
        let status = json!({"phase": "Failed", "containerStatuses": [ended("late", 143, 9), ended("succeeded", 0, 1), ended("first", 3, 5)]});
        let cause = cause(&status).unwrap();
        assert_eq!((cause.container.as_deref(), cause.exit_code), (Some("first"), Some(3)));
        assert_eq!((&*cause.reason, &*cause.message), ("Error", "first failed"));
    }

    #[test]
    fn sidecar_is_a_cause_only_while_it_does_not_start() {
        let status = json!({"phase": "Failed", "containerStatuses": [ended("main", 3, 9)],
            "initContainerStatuses": [ended("sidecar", 137, 5)]});
        let found = cause(&status).unwrap();
        assert_eq!((found.container.as_deref(), found.exit_code), (Some("main"), Some(3)), "the sidecar ended first");
        let restarted = json!({"phase": "Running", "initContainerStatuses": [
            {"name": "sidecar", "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1}}}]});
        assert_eq!(cause(&restarted), None, "a restarted sidecar blocks nothing");
        let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": "so"}});
        let pull =
            cause(&json!({"phase": "Pending", "initContainerStatuses": [{"name": "sidecar", "state": waiting}]}));
        assert_eq!(pull.unwrap().reason, "ImagePullBackOff");
    }

    #[test]
    fn last_failure_of_a_restarted_container_is_the_cause() {
        let last = json!({"terminated": {"exitCode": 137, "signal": 9, "reason": "OOMKilled"}});
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}});
        let cause =
            cause(&json!({"containerStatuses": [{"name": "main", "state": waiting, "lastState": last}]})).unwrap();
        assert_eq!((cause.exit_code, cause.signal, &*cause.reason), (Some(137), Some(9), "OOMKilled"));
    }

    #[test]
    fn reason_of_a_pod_that_does_not_start_is_the_cause_unless_it_starts_normally() {
        let waiting = |reason: &str| json!({"phase": "Pending", "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": reason, "message": "so"}}}]});
        assert_eq!(cause(&waiting("ContainerCreating")), None);
        let pull = cause(&waiting("ErrImagePull")).unwrap();
        assert_eq!((pull.container.as_deref(), &*pull.reason, &*pull.message), (Some("main"), "ErrImagePull", "so"));
        let condition =
            json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"});
        let cause = cause(&json!({"conditions": [condition]})).unwrap();
        assert_eq!((&*cause.reason, &*cause.message, cause.container), ("Unschedulable", "0/3 nodes", None));
    }

    #[test]
    fn evicted_or_preempted_pod_has_the_disruption_in_its_cause() {
        let evicted = cause(&json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"})).unwrap();
        assert_eq!(
            (&*evicted.reason, &*evicted.message, &*evicted.disruption),
            ("Evicted", "low on memory", "Evicted")
        );
        let target = json!({"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"});
        let status = json!({"phase": "Failed", "conditions": [target], "containerStatuses": [ended("main", 143, 3)]});
        let preempted = cause(&status).unwrap();
        assert_eq!((preempted.exit_code, &*preempted.disruption), (Some(143), "PreemptionByScheduler"));
    }

    #[test]
    fn end_of_a_long_message_is_kept_in_whole_characters() {
        let message = format!("{}the end", "ü".repeat(MESSAGE_KEPT));
        let end = json!({"exitCode": 1, "message": message});
        let cause = cause(&json!({"containerStatuses": [{"name": "main", "state": {"terminated": end}}]})).unwrap();
        assert!(cause.message.len() <= MESSAGE_KEPT && cause.message.ends_with("üthe end"), "{}", cause.message.len());
    }

    #[test]
    fn every_text_of_a_status_is_bounded() {
        let long = "ü".repeat(100_000);
        let condition = |type_: &str| json!({"type": type_, "status": "True", "reason": long, "message": long});
        let unscheduled = json!({"type": "PodScheduled", "status": "False", "reason": long, "message": long});
        let container = |state: Value| json!({"name": long, "state": state});
        let statuses = [
            json!({"reason": long, "message": long}),
            json!({"conditions": [condition("DisruptionTarget")]}),
            json!({"conditions": [unscheduled]}),
            json!({"containerStatuses": [container(json!({"waiting": {"reason": long, "message": long}}))]}),
            json!({"containerStatuses": [container(json!({"terminated": {"exitCode": 1, "reason": long, "message": long}}))]}),
        ];
        for status in statuses {
            let cause = cause(&status).unwrap();
            let words = [cause.reason, cause.disruption, cause.container.unwrap_or_default()];
            assert!(words.iter().all(|word| word.len() <= WORD_KEPT), "{status:.80}");
            assert!(cause.message.len() <= MESSAGE_KEPT, "{status:.80}");
        }
    }
}
