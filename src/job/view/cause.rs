//! Why a pod does not do what it is for, in the words of whoever stopped it.

use serde::{Deserialize, Serialize};

use crate::job::wire::{WireContainerStatus, WirePodStatus, WireTerminated};
use crate::runtime::text::{beginning, ending};

/// As much of a message is kept of a container that has ended: what a program wrote to its termination log.
const MESSAGE_KEPT: usize = 1024;
/// As much is kept of what holds a pod that may still start.
const HINT_KEPT: usize = 256;
/// Maximum number of bytes kept of a name or a reason; the API takes no longer names.
const WORD_KEPT: usize = 253;
/// What a container waits for in good health.
const IN_GOOD_HEALTH: &[&str] = &["ContainerCreating", "PodInitializing"];

/// Why a pod failed, or what holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cause {
    /// The container it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The code it ended with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// A word for it: of the container (`Error`, `OOMKilled`, `ImagePullBackOff`), or else of the pod (`Evicted`,
    /// `Unschedulable`).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Its termination message, or what holds it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Who or what ended the pod, where that was not its container's own doing: `Evicted`, `PreemptionByScheduler`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub disruption: String,
}

impl Cause {
    /// What a pod's status says of it; none of a pod that is in good health.
    pub fn of(status: &WirePodStatus) -> Option<Self> {
        let containers = || status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        let disruption = disruption(status);
        let now = containers().filter_map(|container| Some((container, container.state.terminated.as_ref()?)));
        // The first that failed brought the others down.
        let first = now.filter(|(_, end)| end.exit_code != 0).min_by_key(|(_, end)| end.finished_at);
        let before = containers().filter_map(|container| Some((container, container.last_state.terminated.as_ref()?)));
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

/// What took the pod from its node, if anything did: the API's own words, but for the pod's `reason`, which says it shorter.
fn disruption(status: &WirePodStatus) -> String {
    let target = status.conditions.iter().flatten().find(|condition| condition.type_ == "DisruptionTarget");
    let target = target.filter(|target| target.status == "True").and_then(|target| target.reason.as_deref());
    word(status.reason.as_deref().or(target))
}

/// The end of a message: what went wrong is told last.
fn truncate_start(text: Option<&str>, max_bytes: usize) -> String {
    ending(text.unwrap_or_default().trim(), max_bytes).to_owned()
}

/// A name or a reason.
fn word(text: Option<&str>) -> String {
    beginning(text.unwrap_or_default(), WORD_KEPT).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cause(status: &Value) -> Option<Cause> {
        Cause::of(&serde_json::from_str(&status.to_string()).unwrap())
    }

    fn ended(name: &str, code: i32, second: u32) -> Value {
        let at = format!("2026-01-01T00:00:{second:02}Z");
        let end =
            json!({"exitCode": code, "reason": "Error", "message": format!("{name} gave up\n"), "finishedAt": at});
        json!({"name": name, "state": {"terminated": end}})
    }

    #[test]
    fn the_container_that_failed_first_is_to_blame() {
        let status = json!({"phase": "Failed", "containerStatuses": [ended("late", 143, 9), ended("well", 0, 1), ended("first", 3, 5)]});
        let cause = cause(&status).unwrap();
        assert_eq!((cause.container.as_deref(), cause.exit_code), (Some("first"), Some(3)));
        assert_eq!((&*cause.reason, &*cause.message), ("Error", "first gave up"));
    }

    #[test]
    fn of_a_container_that_was_started_again_its_last_end_is_told() {
        let last = json!({"terminated": {"exitCode": 137, "signal": 9, "reason": "OOMKilled"}});
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}});
        let cause =
            cause(&json!({"containerStatuses": [{"name": "main", "state": waiting, "lastState": last}]})).unwrap();
        assert_eq!((cause.exit_code, cause.signal, &*cause.reason), (Some(137), Some(9), "OOMKilled"));
    }

    #[test]
    fn what_holds_a_pod_is_told_unless_it_is_on_its_way() {
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
    fn a_pod_that_was_taken_away_says_by_whom() {
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
    fn of_a_long_message_the_end_is_kept_in_whole_characters() {
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
