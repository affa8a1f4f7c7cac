//! Next step of a pod on a lean node, and the status that it results in.

use std::collections::HashMap;

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::slim::SlimPod;
use super::{END_TOGETHER, FAIL_EVERY};

/// Annotation of a pod with its completion index.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// What a node does for a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The pod runs.
    Run,
    /// The pod ends.
    End,
    /// The pod is deleted, because its deletion was requested.
    Delete,
}

/// Returns the next step of a pod, if there is one.
pub fn step(pod: &SlimPod) -> Option<Step> {
    if pod.metadata.deletion_timestamp.is_some() {
        return Some(Step::Delete);
    }
    matches!(pod.status.phase.as_str(), "" | "Pending").then_some(Step::Run)
}

/// Returns a patch with the status of a pod that runs and is ready.
pub fn running(pod: &SlimPod, now: Timestamp) -> Value {
    let now = seconds(now);
    let condition = |type_: &str| json!({"type": type_, "status": "True", "lastTransitionTime": now});
    let conditions = ["Initialized", "Ready", "ContainersReady"].map(condition);
    let containers = containers(pod, true, &json!({"running": {"startedAt": now}}));
    json!({"status": {
        "phase": "Running", "startTime": now, "hostIP": "10.0.0.1", "podIP": "10.0.0.2",
        "conditions": conditions, "containerStatuses": containers,
    }})
}

/// Returns a patch with the status of a pod that has ended.
pub fn ended(pod: &SlimPod, now: Timestamp) -> Value {
    let (phase, exit_code, reason) = if fails(pod) { ("Failed", 1, "Error") } else { ("Succeeded", 0, "Completed") };
    let now = seconds(now);
    let state = json!({"terminated": {"exitCode": exit_code, "reason": reason, "startedAt": now, "finishedAt": now}});
    json!({"status": {"phase": phase, "containerStatuses": containers(pod, false, &state)}})
}

fn containers(pod: &SlimPod, ready: bool, state: &Value) -> Vec<Value> {
    let containers = pod.spec.containers.iter().map(|container| {
        json!({
            "name": container.name, "image": container.image, "imageID": "", "restartCount": 0,
            "ready": ready, "started": ready, "state": state,
        })
    });
    containers.collect()
}

/// Returns whether a pod fails, as its annotations demand.
fn fails(pod: &SlimPod) -> bool {
    match (number(pod, FAIL_EVERY), number(pod, INDEX)) {
        (Some(every), Some(index)) => index.is_multiple_of(every),
        _ => false,
    }
}

fn number(pod: &SlimPod, annotation: &str) -> Option<usize> {
    pod.annotations().get(annotation)?.parse().ok()
}

/// Running pods that end together with the other pods of their Job.
#[derive(Debug, Default)]
pub struct Held(HashMap<String, Vec<SlimPod>>);

impl Held {
    /// Returns the pods that end now that this pod runs: the pod, or nothing until the last pod of its Job runs, and then
    /// all of them.
    pub fn runs(&mut self, pod: SlimPod) -> Vec<SlimPod> {
        let Some(together) = number(&pod, END_TOGETHER) else { return vec![pod] };
        let job = pod.owner_references().first().map(|owner| owner.uid.clone()).unwrap_or_default();
        let pods = self.0.entry(job.clone()).or_default();
        pods.push(pod);
        if pods.len() < together { Vec::new() } else { self.0.remove(&job).unwrap_or_default() }
    }
}

/// Formats a time with a precision of one second, as Kubernetes does.
fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(phase: &str, annotations: &Value) -> SlimPod {
        let pod = json!({
            "metadata": {"name": "a", "annotations": annotations},
            "spec": {"containers": [{"name": "main", "image": "busybox"}]},
            "status": {"phase": phase},
        });
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn pending_pod_runs_and_deleted_pod_is_deleted() {
        let none = json!({});
        assert_eq!(step(&pod("Pending", &none)), Some(Step::Run));
        assert_eq!(step(&pod("Running", &none)), None, "the status is already set");
        let mut deleted = pod("Running", &none);
        deleted.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        assert_eq!(step(&deleted), Some(Step::Delete));
    }

    #[test]
    fn pods_of_the_wanted_indexes_fail() {
        let now = Timestamp::UNIX_EPOCH;
        let phase = |annotations: Value| ended(&pod("Running", &annotations), now)["status"]["phase"].clone();
        assert_eq!(phase(json!({})), "Succeeded");
        assert_eq!(phase(json!({FAIL_EVERY: "2", INDEX: "4"})), "Failed");
        assert_eq!(phase(json!({FAIL_EVERY: "2", INDEX: "5"})), "Succeeded");
        assert_eq!(phase(json!({FAIL_EVERY: "0", INDEX: "5"})), "Succeeded", "only index 0 is a multiple of 0");
    }

    #[test]
    fn pods_of_a_job_end_together_when_their_annotation_demands_it() {
        let mut held = Held::default();
        let together = json!({END_TOGETHER: "2"});
        assert_eq!(held.runs(pod("Running", &json!({}))).len(), 1, "the pod ends immediately");
        assert_eq!(held.runs(pod("Running", &together)).len(), 0);
        assert_eq!(held.runs(pod("Running", &together)).len(), 2);
        assert_eq!(held.runs(pod("Running", &together)).len(), 0, "the next pods are counted separately");
    }

    #[test]
    fn status_has_one_entry_for_each_container() {
        let status = running(&pod("Pending", &json!({})), Timestamp::UNIX_EPOCH);
        assert_eq!(status["status"]["containerStatuses"][0]["name"], "main");
        assert_eq!(status["status"]["startTime"], "1970-01-01T00:00:00Z");
    }
}
