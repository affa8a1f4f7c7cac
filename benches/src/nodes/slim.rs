//! The fields of a pod that simulated nodes and bare clients read. Other fields are not parsed, which saves processor
//! time of the benchmark.

use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::core::ObjectMeta;
use serde::{Deserialize, Serialize};

/// A pod with few fields.
#[derive(Clone, Debug, Default, Deserialize, Serialize, Resource)]
#[resource(inherit = Pod)]
pub struct SlimPod {
    /// Metadata of the pod.
    pub metadata: ObjectMeta,
    /// Specification of the pod.
    #[serde(default)]
    pub spec: SlimSpec,
    /// Status of the pod.
    #[serde(default)]
    pub status: SlimStatus,
}

/// Specification of a [`SlimPod`].
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SlimSpec {
    /// Containers of the pod.
    #[serde(default)]
    pub containers: Vec<SlimContainer>,
}

/// Container of a [`SlimPod`].
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SlimContainer {
    /// Name of the container.
    pub name: String,
    /// Image of the container.
    #[serde(default)]
    pub image: String,
}

/// Status of a [`SlimPod`].
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SlimStatus {
    /// Phase of the pod.
    #[serde(default)]
    pub phase: String,
    /// Conditions of the pod.
    #[serde(default)]
    pub conditions: Vec<SlimCondition>,
}

/// Condition of a [`SlimPod`].
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SlimCondition {
    /// Type of the condition.
    #[serde(rename = "type")]
    pub type_: String,
    /// Status of the condition.
    pub status: String,
}

impl SlimPod {
    /// Returns whether the pod has succeeded or failed.
    pub fn is_ended(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Returns whether the condition Ready is true.
    pub fn is_ready(&self) -> bool {
        self.status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    }
}
