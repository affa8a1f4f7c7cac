//! Jobs and Pods as the API server sends them, reduced to the fields that decisions need.
//!
//! Objects in JSON are parsed into these types; [`super::protobuf`] converts objects in protobuf into the same types.
//! The parser skips all other fields (managed fields, most of the spec), so that a large cluster costs little memory.
//! [`super::view`] converts these types into the views that the cache holds.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSchedulingConfiguration, PodFailurePolicy, SuccessPolicy};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, ManagedFieldsEntry, ObjectMeta, OwnerReference, Time,
};
use kube::Resource;
use serde::{Deserialize, Deserializer};

use super::template::WireTemplate;
use crate::runtime::codec::{Decoder, WireObject};

/// A `batch/v1` Job, reduced to the fields that decisions need.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Job)]
pub struct WireJob {
    /// Metadata, reduced to the fields that are read.
    #[serde(deserialize_with = "metadata_with_writers")]
    pub metadata: ObjectMeta,
    /// Spec, reduced to the fields that are read.
    pub spec: WireJobSpec,
    /// Status, reduced to the fields that are read.
    #[serde(default)]
    pub status: WireJobStatus,
}

impl WireObject for WireJob {
    const PROTOBUF: Option<Decoder<Self>> = Some(super::protobuf::job::decode);
}

/// The `spec` of a Job.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct WireJobSpec {
    pub parallelism: Option<i32>,
    pub completions: Option<i32>,
    pub completion_mode: Option<String>,
    pub active_deadline_seconds: Option<i64>,
    pub backoff_limit: Option<i32>,
    pub backoff_limit_per_index: Option<i32>,
    pub max_failed_indexes: Option<i32>,
    pub pod_failure_policy: Option<PodFailurePolicy>,
    pub success_policy: Option<SuccessPolicy>,
    pub pod_replacement_policy: Option<String>,
    pub suspend: Option<bool>,
    pub managed_by: Option<String>,
    pub ttl_seconds_after_finished: Option<i32>,
    pub selector: Option<LabelSelector>,
    pub scheduling: Option<JobSchedulingConfiguration>,
    /// The template, unparsed.
    pub template: WireTemplate,
}

/// The `status` of a Job.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct WireJobStatus {
    pub conditions: Option<Vec<WireCondition>>,
    #[serde(deserialize_with = "time")]
    pub start_time: Option<Timestamp>,
    #[serde(deserialize_with = "time")]
    pub completion_time: Option<Timestamp>,
    pub active: Option<i32>,
    pub ready: Option<i32>,
    pub terminating: Option<i32>,
    pub succeeded: Option<i32>,
    pub failed: Option<i32>,
    pub completed_indexes: Option<String>,
    pub failed_indexes: Option<String>,
    pub uncounted_terminated_pods: Option<WireUncounted>,
}

/// The field `status.uncountedTerminatedPods` of a Job.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct WireUncounted {
    pub succeeded: Option<Vec<String>>,
    pub failed: Option<Vec<String>>,
}

/// A condition of a Job or Pod.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct WireCondition {
    #[serde(rename = "type")]
    pub type_: String,
    pub status: String,
    pub reason: Option<String>,
    pub message: Option<String>,
    #[serde(default, deserialize_with = "time")]
    pub last_probe_time: Option<Timestamp>,
    #[serde(default, deserialize_with = "time")]
    pub last_transition_time: Option<Timestamp>,
}

/// A Pod, reduced to the fields that decisions need.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Pod)]
pub struct WirePod {
    /// Metadata, reduced to the fields that are read.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// Spec, reduced to the fields that are read.
    pub spec: WirePodSpec,
    /// Status, reduced to the fields that are read.
    #[serde(default)]
    pub status: WirePodStatus,
}

impl WireObject for WirePod {
    const PROTOBUF: Option<Decoder<Self>> = Some(super::protobuf::pod::decode);
}

/// The `spec` of a Pod.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct WirePodSpec {
    pub active_deadline_seconds: Option<i64>,
    pub node_name: Option<String>,
    #[serde(default)]
    pub init_containers: Option<Vec<WireContainer>>,
}

/// A container of a Pod's spec.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct WireContainer {
    pub name: String,
    pub restart_policy: Option<String>,
}

/// The `status` of a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct WirePodStatus {
    pub phase: Option<String>,
    pub reason: Option<String>,
    pub message: Option<String>,
    pub conditions: Option<Vec<WireCondition>>,
    pub container_statuses: Option<Vec<WireContainerStatus>>,
    pub init_container_statuses: Option<Vec<WireContainerStatus>>,
}

/// The status of one container.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct WireContainerStatus {
    pub name: String,
    #[serde(default)]
    pub restart_count: i32,
    #[serde(default)]
    pub state: WireContainerState,
    /// State before the kubelet last restarted the container.
    #[serde(default)]
    pub last_state: WireContainerState,
}

/// The state of one container.
#[derive(Clone, Debug, Default, Deserialize)]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct WireContainerState {
    pub waiting: Option<WireWaiting>,
    pub terminated: Option<WireTerminated>,
}

/// The state of a container that waits.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct WireWaiting {
    pub reason: Option<String>,
    pub message: Option<String>,
}

/// The state of a container that has ended.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct WireTerminated {
    #[serde(default)]
    pub exit_code: i32,
    pub signal: Option<i32>,
    pub reason: Option<String>,
    pub message: Option<String>,
    #[serde(default, deserialize_with = "time")]
    pub finished_at: Option<Timestamp>,
}

/// The fields of `metadata` that are read. The parser skips all others without allocating them. The largest of these is
/// `fieldsV1` of the managed fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SlimMetadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
    finalizers: Option<Vec<String>>,
}

/// The writer and the time of a managed fields entry, without the set of fields.
#[derive(Deserialize)]
struct SlimManagedFields {
    manager: Option<String>,
    subresource: Option<String>,
    #[serde(default, deserialize_with = "time")]
    time: Option<Timestamp>,
}

/// Metadata with the writers of the object.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetadataWithWriters {
    #[serde(flatten)]
    metadata: SlimMetadata,
    managed_fields: Option<Vec<SlimManagedFields>>,
}

/// Parses a time. A time that is not valid yields `None`, so that the value of one object cannot prevent the listing of
/// all others. The API server accepts times that amount to a year before 0, and writes these in no standard format.
pub(crate) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<Cow<'de, str>>::deserialize(deserializer)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

pub(crate) fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    SlimMetadata::deserialize(deserializer).map(ObjectMeta::from)
}

fn metadata_with_writers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let MetadataWithWriters { metadata, managed_fields } = MetadataWithWriters::deserialize(deserializer)?;
    let writers = managed_fields.map(|entries| {
        let writers = entries.into_iter().map(|entry| ManagedFieldsEntry {
            manager: entry.manager,
            subresource: entry.subresource,
            time: entry.time.map(Time),
            ..ManagedFieldsEntry::default()
        });
        writers.collect()
    });
    Ok(ObjectMeta { managed_fields: writers, ..ObjectMeta::from(metadata) })
}

/// Fills the part of an `ObjectMeta` that is read, because kube requires that type.
impl From<SlimMetadata> for ObjectMeta {
    fn from(slim: SlimMetadata) -> Self {
        Self {
            name: slim.name,
            namespace: slim.namespace,
            uid: slim.uid,
            resource_version: slim.resource_version,
            generation: slim.generation,
            creation_timestamp: slim.creation_timestamp,
            deletion_timestamp: slim.deletion_timestamp,
            deletion_grace_period_seconds: slim.deletion_grace_period_seconds,
            labels: slim.labels,
            annotations: slim.annotations,
            owner_references: slim.owner_references,
            finalizers: slim.finalizers,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::WatchEvent;

    #[test]
    fn watch_event_keeps_the_template_unparsed_and_skips_managed_fields() {
        let line = r#"{"type":"ADDED","object":{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"a","managedFields":[{"manager":"kubectl","fieldsV1":{"f:spec":{}}}]},
            "spec":{"template":{"spec":{"containers":[],"fieldOfTheFuture": 7}}},"status":{}}}"#;
        let event: WatchEvent<WireJob> = serde_json::from_str(line).unwrap();
        let WatchEvent::Added(job) = event else { panic!("not an added event: {event:?}") };
        let WireTemplate::Json(template) = &job.spec.template else { panic!("not JSON") };
        assert_eq!(template.get(), r#"{"spec":{"containers":[],"fieldOfTheFuture": 7}}"#);
        let writers = job.metadata.managed_fields.unwrap();
        assert_eq!(writers[0].manager.as_deref(), Some("kubectl"));
        assert!(writers[0].fields_v1.is_none());
    }
}
