//! Jobs and Pods as they come over the wire, cut down to the fields that decisions need.
//!
//! Everything else (managed fields, most of the spec) is skipped while parsing, so a large cluster costs little.
//! [`super::view`] turns them into what the cache holds.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, PodFailurePolicy, SuccessPolicy};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, ManagedFieldsEntry, ObjectMeta, OwnerReference, Time,
};
use kube::Resource;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A `batch/v1` Job.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Job)]
pub struct WireJob {
    /// Its metadata, in part.
    #[serde(deserialize_with = "metadata_with_writers")]
    pub metadata: ObjectMeta,
    /// Its spec.
    pub spec: WireJobSpec,
    /// Its status.
    #[serde(default)]
    pub status: WireJobStatus,
}

/// A Job's spec.
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
    /// Kept as it came, so that fields newer than our types reach the pods.
    pub template: Box<RawValue>,
}

/// A Job's status.
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

/// `status.uncountedTerminatedPods`.
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

/// A Pod.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Pod)]
pub struct WirePod {
    /// Its metadata, in part.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// Its spec.
    pub spec: WirePodSpec,
    /// Its status.
    #[serde(default)]
    pub status: WirePodStatus,
}

/// A Pod's spec.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct WirePodSpec {
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

/// A Pod's status.
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
    /// Before it was started again.
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

/// What a container waits for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct WireWaiting {
    pub reason: Option<String>,
    pub message: Option<String>,
}

/// How a container ended.
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

/// The part of `metadata` that is read. What is not named here is skipped without being built, the fields of managed
/// fields above all.
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

/// Who wrote an object, and when; not what.
#[derive(Deserialize)]
struct SlimManagedFields {
    manager: Option<String>,
    subresource: Option<String>,
    #[serde(default, deserialize_with = "time")]
    time: Option<Timestamp>,
}

/// Metadata, and who wrote the object.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetadataWithWriters {
    #[serde(flatten)]
    metadata: SlimMetadata,
    managed_fields: Option<Vec<SlimManagedFields>>,
}

/// A time; one that cannot be read is none, so that what one object holds cannot keep all the others from being listed. The
/// API server takes times that come out in a year before 0, and writes those in no standard form.
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

/// kube needs an `ObjectMeta`; only part of it is filled.
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
    fn a_watch_event_keeps_the_template_as_it_came() {
        let line = r#"{"type":"ADDED","object":{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"a","managedFields":[{"manager":"kubectl","fieldsV1":{"f:spec":{}}}]},
            "spec":{"template":{"spec":{"containers":[],"fieldOfTheFuture": 7}}},"status":{}}}"#;
        let event: WatchEvent<WireJob> = serde_json::from_str(line).unwrap();
        let WatchEvent::Added(job) = event else { panic!("not an added event: {event:?}") };
        assert_eq!(job.spec.template.get(), r#"{"spec":{"containers":[],"fieldOfTheFuture": 7}}"#);
        let writers = job.metadata.managed_fields.unwrap();
        assert_eq!(writers[0].manager.as_deref(), Some("kubectl"));
        assert!(writers[0].fields_v1.is_none());
    }
}
