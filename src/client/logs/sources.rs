//! Selection of the containers whose logs are printed.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;

use crate::job::INDEX_ANNOTATION;
use crate::job::index::{CompletionIndex, IndexSet};

/// Pods and containers that the flags select.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Only containers that have failed.
    pub failed: bool,
    /// The instance of each container before its last restart.
    pub previous: bool,
    /// Only pods with one of these completion indexes.
    pub indexes: Option<IndexSet>,
    /// Only the container of this name.
    pub container: Option<String>,
    /// Only the pod of this name.
    pub pod: Option<String>,
}

/// Log of one instance of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source {
    /// Name of the pod.
    pub pod: String,
    /// UID of the pod.
    pub uid: String,
    /// Name of the container.
    pub container: String,
    /// Number of restarts before this instance.
    pub restarts: i32,
}

/// Parses the value of `--index`: indexes and ranges, such as `3,7-9`.
pub(crate) fn parse_indexes(text: &str) -> Result<IndexSet, String> {
    let is_run = |run: &str| {
        let (first, last) = run.split_once('-').unwrap_or((run, run));
        let pair = first.parse::<CompletionIndex>().ok().zip(last.parse::<CompletionIndex>().ok());
        pair.is_some_and(|(first, last)| first <= last)
    };
    if !text.split(',').all(is_run) {
        return Err("must be indexes and ranges, such as 3,7-9".to_owned());
    }
    Ok(IndexSet::parse(text, u32::MAX))
}

impl Filter {
    /// Returns the logs of a pod that the filter selects: those of containers that have started, the init containers
    /// first.
    pub(crate) fn sources(&self, pod: &Pod) -> Vec<Source> {
        if !self.has_index(pod) || self.pod.as_ref().is_some_and(|name| *name != pod.name_any()) {
            return Vec::new();
        }
        let status = pod.status.as_ref();
        let inits = status.and_then(|status| status.init_container_statuses.as_deref()).unwrap_or_default();
        let apps = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
        let chosen = inits.iter().chain(apps).filter(|container| self.has_log(container));
        let source = |container: &ContainerStatus| Source {
            pod: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            container: container.name.clone(),
            restarts: container.restart_count,
        };
        chosen.map(source).collect()
    }

    /// Returns whether the filter selects the containers of all pods.
    pub(crate) fn selects_all(&self) -> bool {
        !self.failed && !self.previous && self.indexes.is_none() && self.container.is_none() && self.pod.is_none()
    }

    fn has_index(&self, pod: &Pod) -> bool {
        let Some(wanted) = &self.indexes else { return true };
        let index = pod.annotations().get(INDEX_ANNOTATION).and_then(|index| index.parse().ok());
        index.is_some_and(|index| wanted.contains(index))
    }

    fn has_log(&self, container: &ContainerStatus) -> bool {
        if self.container.as_ref().is_some_and(|name| *name != container.name) {
            return false;
        }
        let state = container.state.as_ref();
        let now = state.and_then(|state| state.terminated.as_ref());
        let before = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        if self.previous {
            return before.is_some_and(|ended| !self.failed || ended.exit_code != 0);
        }
        if self.failed {
            return now.or(before).is_some_and(|ended| ended.exit_code != 0);
        }
        let runs = state.is_some_and(|state| state.running.is_some());
        // A container in CrashLoopBackOff keeps the log of its last instance.
        runs || now.is_some() || before.is_some()
    }
}

/// Returns whether this instance of the container still runs, according to a newer state of its pod.
pub(crate) fn runs(source: &Source, pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let inits = status.and_then(|status| status.init_container_statuses.as_deref()).unwrap_or_default();
    let apps = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let container = inits.iter().chain(apps).find(|container| container.name == source.container);
    pod.uid().as_deref() == Some(&source.uid)
        && container.is_some_and(|container| {
            container.restart_count == source.restarts
                && container.state.as_ref().is_some_and(|state| state.running.is_some())
        })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn container(name: &str, restarts: i32, state: Value, last: Value) -> Value {
        json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": restarts, "state": state, "lastState": last})
    }

    fn pod(index: &str) -> Pod {
        let ended = |code: i32| json!({"terminated": {"exitCode": code}});
        let back_off = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let status = json!({
            "initContainerStatuses": [container("init", 0, ended(0), json!({}))],
            "containerStatuses": [
                container("runs", 0, json!({"running": {}}), json!({})),
                container("new", 0, json!({"waiting": {"reason": "ContainerCreating"}}), json!({})),
                container("failed", 0, ended(3), json!({})),
                container("crashing", 2, back_off, ended(7)),
                container("restarted", 1, json!({"running": {}}), ended(0)),
            ],
        });
        let metadata =
            json!({"name": "a-1", "uid": "p", "annotations": {"batch.kubernetes.io/job-completion-index": index}});
        serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap()
    }

    fn chosen(filter: &Filter) -> Vec<String> {
        filter.sources(&pod("4")).into_iter().map(|source| source.container).collect()
    }

    #[test]
    fn started_containers_have_a_log() {
        assert_eq!(chosen(&Filter::default()), ["init", "runs", "failed", "crashing", "restarted"]);
        assert_eq!(chosen(&Filter { failed: true, ..Filter::default() }), ["failed", "crashing"]);
        assert_eq!(chosen(&Filter { previous: true, ..Filter::default() }), ["crashing", "restarted"]);
        assert_eq!(chosen(&Filter { previous: true, failed: true, ..Filter::default() }), ["crashing"]);
        assert_eq!(chosen(&Filter { container: Some("runs".to_owned()), ..Filter::default() }), ["runs"]);
    }

    #[test]
    fn pods_are_selected_by_their_index() {
        let with = |text: &str| Filter { indexes: Some(parse_indexes(text).unwrap()), ..Filter::default() };
        assert_eq!(with("3-5").sources(&pod("4")).len(), 5);
        assert_eq!(with("3,5").sources(&pod("4")).len(), 0);
        assert_eq!(with("3").sources(&pod("none")).len(), 0);
        let of_pod = |name: &str| Filter { pod: Some(name.to_owned()), ..Filter::default() };
        assert_eq!((of_pod("a-1").sources(&pod("4")).len(), of_pod("a-2").sources(&pod("4")).len()), (5, 0));
        for text in ["", "a", "3-", "5-3", "1,,2", "-1"] {
            assert!(parse_indexes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn restarted_container_no_longer_runs_as_the_same_instance() {
        let sources = Filter::default().sources(&pod("1"));
        let running: Vec<bool> = sources.iter().map(|source| runs(source, &pod("1"))).collect();
        assert_eq!(running, [false, true, false, false, true]);
        let before = Source { restarts: 0, ..sources[4].clone() };
        assert!(!runs(&before, &pod("1")));
    }
}
