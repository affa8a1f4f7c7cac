//! The protobuf message of a pod template.

use prost::Message;

use crate::job::template::TemplateFacts;
use crate::runtime::codec::DecodeError;
use crate::runtime::codec::metadata::{Entry, filled, map, text};

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
