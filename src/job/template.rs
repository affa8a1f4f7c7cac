//! The template of a Job's pods, unparsed, so that fields unknown to this version of the program reach the pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::protobuf;
use super::view::memory::ContainerMemory;
use crate::runtime::quantity;

/// The template as the API server sent it. The pods are created in the same encoding.
#[derive(Clone, Debug)]
pub enum WireTemplate {
    /// The template in JSON.
    Json(Arc<RawValue>),
    /// The protobuf message of the template.
    Protobuf(Arc<[u8]>),
}

/// The parts of a template that decisions need.
#[derive(Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct TemplateFacts {
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub restart_policy: Option<String>,
    pub scheduling_gates: Vec<String>,
    pub priority_class_name: Option<String>,
    /// Whether the template names a scheduling group.
    pub has_scheduling_group: bool,
}

impl WireTemplate {
    /// Returns the parts that decisions need; those of an empty template if the template is invalid, which no API server
    /// stores.
    pub fn facts(&self) -> TemplateFacts {
        match self {
            Self::Json(json) => serde_json::from_str(json.get()).map(JsonTemplate::into).unwrap_or_default(),
            Self::Protobuf(message) => protobuf::template::facts(message).unwrap_or_default(),
        }
    }
}

impl WireTemplate {
    /// Returns the memory of the containers, as far as it is valid: of init containers, and then of app containers.
    pub fn memory(&self) -> Vec<ContainerMemory> {
        match self {
            Self::Json(json) => serde_json::from_str(json.get()).map(json_memory).unwrap_or_default(),
            Self::Protobuf(message) => protobuf::template::memory(message).unwrap_or_default(),
        }
    }
}

fn json_memory(template: MemoryTemplate) -> Vec<ContainerMemory> {
    let bytes = |map: Option<BTreeMap<String, Value>>| match map?.remove("memory")? {
        Value::String(text) => quantity::bytes(&text),
        number => number.as_u64(),
    };
    let containers =
        template.spec.init_containers.into_iter().flatten().chain(template.spec.containers.into_iter().flatten());
    let memory = containers.map(|container| {
        let resources = container.resources.unwrap_or_default();
        ContainerMemory { name: container.name, limit: bytes(resources.limits), request: bytes(resources.requests) }
    });
    memory.collect()
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MemoryTemplate {
    spec: MemorySpec,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct MemorySpec {
    init_containers: Option<Vec<MemoryContainer>>,
    containers: Option<Vec<MemoryContainer>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MemoryContainer {
    name: String,
    resources: Option<MemoryResources>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MemoryResources {
    limits: Option<BTreeMap<String, Value>>,
    requests: Option<BTreeMap<String, Value>>,
}

impl<'de> Deserialize<'de> for WireTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|json| Self::Json(json.into()))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonTemplate {
    metadata: Option<Metadata>,
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    restart_policy: Option<String>,
    scheduling_gates: Option<Vec<SchedulingGate>>,
    priority_class_name: Option<String>,
    scheduling_group: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SchedulingGate {
    name: String,
}

impl From<JsonTemplate> for TemplateFacts {
    fn from(template: JsonTemplate) -> Self {
        let metadata = template.metadata.unwrap_or_default();
        Self {
            labels: metadata.labels.unwrap_or_default(),
            annotations: metadata.annotations.unwrap_or_default(),
            restart_policy: template.spec.restart_policy,
            scheduling_gates: template.spec.scheduling_gates.into_iter().flatten().map(|gate| gate.name).collect(),
            priority_class_name: template.spec.priority_class_name.filter(|name| !name.is_empty()),
            has_scheduling_group: template.spec.scheduling_group.is_some(),
        }
    }
}
