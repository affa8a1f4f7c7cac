//! A stand-in for the kubelet in tests without a node: sets the status of pods through the API as a kubelet would.

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

/// Sets the status of the pods of one namespace.
#[derive(Clone)]
pub struct Kubelet {
    pods: Api<Pod>,
}

impl Kubelet {
    /// Returns a stand-in for the pods of this namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { pods: Api::namespaced(client, namespace) }
    }

    /// Returns the client for the pods.
    pub fn pods(&self) -> &Api<Pod> {
        &self.pods
    }

    /// Sets the phase Running, and the condition Ready to this value.
    pub async fn run(&self, pod: &str, ready: bool) -> Result<Pod> {
        let ready = if ready { "True" } else { "False" };
        self.patch(pod, json!({"phase": "Running", "conditions": [condition("Ready", ready)]})).await
    }

    /// Sets the phase Succeeded, and ends every container with exit code 0.
    pub async fn succeed(&self, pod: &str) -> Result<Pod> {
        self.end(pod, "Succeeded", 0).await
    }

    /// Sets the phase Failed, and ends every container with this exit code.
    pub async fn fail(&self, pod: &str, exit_code: i32) -> Result<Pod> {
        self.end(pod, "Failed", exit_code).await
    }

    /// Sets the phase Running, and the restart count of every container, as under restartPolicy OnFailure.
    pub async fn restarted(&self, pod: &str, restarts: i32) -> Result<Pod> {
        let statuses = self.container_statuses(pod, restarts, &json!({"running": {}})).await?;
        self.patch(pod, json!({"phase": "Running", "containerStatuses": statuses})).await
    }

    /// Sets one condition of a pod.
    pub async fn condition(&self, pod: &str, type_: &str, status: &str) -> Result<Pod> {
        self.patch(pod, json!({"conditions": [condition(type_, status)]})).await
    }

    /// Merges `status` into the status of a pod by a strategic merge patch.
    pub async fn patch(&self, pod: &str, status: Value) -> Result<Pod> {
        let patch = json!({"status": status});
        Ok(self.pods.patch_status(pod, &PatchParams::default(), &Patch::Strategic(&patch)).await?)
    }

    async fn end(&self, pod: &str, phase: &str, exit_code: i32) -> Result<Pod> {
        let now = Timestamp::now();
        let reason = if exit_code == 0 { "Completed" } else { "Error" };
        let state = json!({"terminated": {
            "exitCode": exit_code, "reason": reason,
            "startedAt": seconds(now), "finishedAt": seconds(now),
        }});
        let statuses = self.container_statuses(pod, 0, &state).await?;
        self.patch(
            pod,
            json!({
                "phase": phase,
                "conditions": [condition("Ready", "False")],
                "containerStatuses": statuses,
            }),
        )
        .await
    }

    async fn container_statuses(&self, pod: &str, restarts: i32, state: &Value) -> Result<Vec<Value>> {
        let pod = self.pods.get(pod).await?;
        let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
        Ok(containers
            .iter()
            .map(|container| {
                json!({
                    "name": container.name, "image": container.image, "imageID": "", "ready": false,
                    "restartCount": restarts, "state": state,
                })
            })
            .collect())
    }

    /// Returns the names of all pods whose name starts with `prefix`, the oldest first.
    pub async fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let mut pods = self.pods.list(&Default::default()).await?.items;
        pods.sort_by_key(|pod| (pod.creation_timestamp(), pod.name_any()));
        Ok(pods.iter().map(ResourceExt::name_any).filter(|name| name.starts_with(prefix)).collect())
    }
}

fn condition(type_: &str, status: &str) -> Value {
    json!({"type": type_, "status": status, "lastTransitionTime": seconds(Timestamp::now())})
}

/// Formats a time with a precision of one second, as Kubernetes does.
fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
