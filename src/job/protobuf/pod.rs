//! The protobuf message of a Pod.

use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use prost::Message;

use super::job::Condition;
use crate::job::wire::{
    WireContainer, WireContainerState, WireContainerStatus, WirePod, WirePodSpec, WirePodStatus, WireTerminated,
    WireWaiting,
};
use crate::runtime::codec::DecodeError;
use crate::runtime::codec::metadata::{Metadata, Time, filled, list, nonzero, text, timestamp};

#[derive(Clone, PartialEq, Message)]
struct Pod {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
    #[prost(message, optional, tag = "2")]
    spec: Option<Spec>,
    #[prost(message, optional, tag = "3")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Spec {
    #[prost(int64, optional, tag = "5")]
    active_deadline_seconds: Option<i64>,
    #[prost(bytes = "vec", tag = "10")]
    node_name: Vec<u8>,
    #[prost(message, repeated, tag = "20")]
    init_containers: Vec<Container>,
}

#[derive(Clone, PartialEq, Message)]
struct Container {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "24")]
    restart_policy: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(bytes = "vec", tag = "1")]
    phase: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    conditions: Vec<Condition>,
    #[prost(bytes = "vec", tag = "3")]
    message: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    reason: Vec<u8>,
    #[prost(message, repeated, tag = "8")]
    container_statuses: Vec<ContainerStatus>,
    #[prost(message, repeated, tag = "10")]
    init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerStatus {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    state: Option<ContainerState>,
    #[prost(message, optional, tag = "3")]
    last_state: Option<ContainerState>,
    #[prost(int32, tag = "5")]
    restart_count: i32,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerState {
    #[prost(message, optional, tag = "1")]
    waiting: Option<Waiting>,
    #[prost(message, optional, tag = "3")]
    terminated: Option<Terminated>,
}

#[derive(Clone, PartialEq, Message)]
struct Waiting {
    #[prost(bytes = "vec", tag = "1")]
    reason: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    message: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Terminated {
    #[prost(int32, tag = "1")]
    exit_code: i32,
    #[prost(int32, tag = "2")]
    signal: i32,
    #[prost(bytes = "vec", tag = "3")]
    reason: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    message: Vec<u8>,
    #[prost(message, optional, tag = "6")]
    finished_at: Option<Time>,
}

/// Decodes the message of a Pod.
///
/// # Errors
/// The message is invalid, or lacks a part that every stored Pod has.
pub fn decode(message: Bytes) -> Result<WirePod, DecodeError> {
    let Pod { metadata, spec, status } = Pod::decode(message)?;
    let metadata = metadata.ok_or(DecodeError::Missing("metadata"))?;
    let spec = spec.ok_or(DecodeError::Missing("spec"))?;
    Ok(WirePod { metadata: ObjectMeta::from(metadata), spec: spec.into(), status: status.unwrap_or_default().into() })
}

impl From<Spec> for WirePodSpec {
    fn from(spec: Spec) -> Self {
        let container = |container: Container| WireContainer {
            name: text(container.name),
            restart_policy: container.restart_policy.map(text),
        };
        Self {
            active_deadline_seconds: spec.active_deadline_seconds,
            node_name: filled(spec.node_name),
            init_containers: list(spec.init_containers, container),
        }
    }
}

impl From<Status> for WirePodStatus {
    fn from(status: Status) -> Self {
        Self {
            phase: filled(status.phase),
            reason: filled(status.reason),
            message: filled(status.message),
            conditions: list(status.conditions, Into::into),
            container_statuses: list(status.container_statuses, Into::into),
            init_container_statuses: list(status.init_container_statuses, Into::into),
        }
    }
}

impl From<ContainerStatus> for WireContainerStatus {
    fn from(status: ContainerStatus) -> Self {
        Self {
            name: text(status.name),
            restart_count: status.restart_count,
            state: status.state.map(Into::into).unwrap_or_default(),
            last_state: status.last_state.map(Into::into).unwrap_or_default(),
        }
    }
}

impl From<ContainerState> for WireContainerState {
    fn from(state: ContainerState) -> Self {
        let waiting =
            |waiting: Waiting| WireWaiting { reason: filled(waiting.reason), message: filled(waiting.message) };
        let terminated = |terminated: Terminated| WireTerminated {
            exit_code: terminated.exit_code,
            signal: nonzero(terminated.signal),
            reason: filled(terminated.reason),
            message: filled(terminated.message),
            finished_at: timestamp(terminated.finished_at),
        };
        Self { waiting: state.waiting.map(waiting), terminated: state.terminated.map(terminated) }
    }
}
