//! The protobuf message of a pod template.

use prost::Message;

use crate::job::template::TemplateFacts;
use crate::job::view::memory::ContainerMemory;
use crate::runtime::codec::DecodeError;
use crate::runtime::codec::metadata::{Entry, filled, map, text};
use crate::runtime::quantity;

#[derive(Clone, PartialEq, Message)]
struct Template {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
    #[prost(message, optional, tag = "2")]
    spec: Option<Spec>,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(message, repeated, tag = "11")]
    labels: Vec<Entry>,
    #[prost(message, repeated, tag = "12")]
    annotations: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Spec {
    #[prost(bytes = "vec", tag = "3")]
    restart_policy: Vec<u8>,
    #[prost(bytes = "vec", tag = "24")]
    priority_class_name: Vec<u8>,
    #[prost(message, repeated, tag = "38")]
    scheduling_gates: Vec<SchedulingGate>,
    #[prost(message, optional, tag = "43")]
    scheduling_group: Option<SchedulingGroup>,
}

#[derive(Clone, PartialEq, Message)]
struct SchedulingGate {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
}

/// Scheduling group of a pod, of which only the presence matters.
#[derive(Clone, PartialEq, Message)]
struct SchedulingGroup {}

/// A template, reduced to the resources of its containers.
#[derive(Clone, PartialEq, Message)]
struct ResourceTemplate {
    #[prost(message, optional, tag = "2")]
    spec: Option<ResourceSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpec {
    #[prost(message, repeated, tag = "2")]
    containers: Vec<Container>,
    #[prost(message, repeated, tag = "20")]
    init_containers: Vec<Container>,
}

#[derive(Clone, PartialEq, Message)]
struct Container {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(message, optional, tag = "8")]
    resources: Option<Resources>,
}

#[derive(Clone, PartialEq, Message)]
struct Resources {
    #[prost(message, repeated, tag = "1")]
    limits: Vec<Quantity>,
    #[prost(message, repeated, tag = "2")]
    requests: Vec<Quantity>,
}

/// A resource with its quantity.
#[derive(Clone, PartialEq, Message)]
struct Quantity {
    #[prost(bytes = "vec", tag = "1")]
    resource: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    quantity: Option<QuantityText>,
}

#[derive(Clone, PartialEq, Message)]
struct QuantityText {
    #[prost(bytes = "vec", tag = "1")]
    text: Vec<u8>,
}

/// Returns the memory of the containers of a template: of init containers, and then of app containers.
///
/// # Errors
/// The message is invalid.
pub fn memory(message: &[u8]) -> Result<Vec<ContainerMemory>, DecodeError> {
    let spec = ResourceTemplate::decode(message)?.spec.unwrap_or_default();
    let bytes = |quantities: Vec<Quantity>| {
        let memory = quantities.into_iter().rev().find(|quantity| quantity.resource == b"memory")?;
        quantity::bytes(&text(memory.quantity?.text))
    };
    let memory = spec.init_containers.into_iter().chain(spec.containers).map(|container| {
        let resources = container.resources.unwrap_or_default();
        ContainerMemory {
            name: text(container.name),
            limit: bytes(resources.limits),
            request: bytes(resources.requests),
        }
    });
    Ok(memory.collect())
}

/// Returns the parts of a template that decisions need.
///
/// # Errors
/// The message is invalid.
pub fn facts(message: &[u8]) -> Result<TemplateFacts, DecodeError> {
    let Template { metadata, spec } = Template::decode(message)?;
    let (metadata, spec) = (metadata.unwrap_or_default(), spec.unwrap_or_default());
    Ok(TemplateFacts {
        labels: map(metadata.labels).unwrap_or_default(),
        annotations: map(metadata.annotations).unwrap_or_default(),
        restart_policy: filled(spec.restart_policy),
        scheduling_gates: spec.scheduling_gates.into_iter().map(|gate| text(gate.name)).collect(),
        priority_class_name: filled(spec.priority_class_name),
        has_scheduling_group: spec.scheduling_group.is_some(),
    })
}
