//! CronJobs as the API server sends them, reduced to the fields that decisions need.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, Time};
use kube::Resource;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::job::wire::{SlimMetadata, time};
use crate::runtime::codec::WireObject;

/// CronJob of the API `batch/v1`.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = CronJob)]
pub struct WireCronJob {
    /// Part of the metadata. The managed fields hold only the owners of the schedule and the time zone.
    #[serde(deserialize_with = "metadata_with_owners")]
    pub metadata: ObjectMeta,
    /// Spec of the CronJob.
    pub spec: WireCronJobSpec,
    /// Status of the CronJob.
    #[serde(default)]
    pub status: WireCronJobStatus,
}

impl WireObject for WireCronJob {}

/// Spec of a CronJob.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct WireCronJobSpec {
    pub schedule: String,
    pub time_zone: Option<String>,
    pub starting_deadline_seconds: Option<i64>,
    pub concurrency_policy: Option<String>,
    pub suspend: Option<bool>,
    pub successful_jobs_history_limit: Option<i32>,
    pub failed_jobs_history_limit: Option<i32>,
    /// Unchanged JSON, so that fields that these types do not know reach the Jobs.
    pub job_template: Box<RawValue>,
}

/// Status of a CronJob.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct WireCronJobStatus {
    /// Unchanged references, because a status write stores them again.
    pub active: Option<Vec<Value>>,
    #[serde(deserialize_with = "time")]
    pub last_schedule_time: Option<Timestamp>,
    #[serde(deserialize_with = "time")]
    pub last_successful_time: Option<Timestamp>,
}

/// Metadata with the owners of fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetadataWithOwners {
    #[serde(flatten)]
    metadata: SlimMetadata,
    managed_fields: Option<Vec<FieldOwner>>,
}

/// Owner of fields, from an entry of `metadata.managedFields`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FieldOwner {
    subresource: Option<String>,
    #[serde(default, deserialize_with = "time")]
    time: Option<Timestamp>,
    fields_v1: Option<Box<RawValue>>,
}

fn metadata_with_owners<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let MetadataWithOwners { metadata, managed_fields } = MetadataWithOwners::deserialize(deserializer)?;
    let owners =
        managed_fields.into_iter().flatten().filter(|owner| owner.subresource.as_deref().unwrap_or("").is_empty());
    let owners = owners.filter_map(|owner| {
        let fields: Value = serde_json::from_str(owner.fields_v1?.get()).ok()?;
        let owned = |field: &&str| fields.get("f:spec").is_some_and(|spec| spec.get(*field).is_some());
        let owned: serde_json::Map<String, Value> = ["f:schedule", "f:timeZone"]
            .into_iter()
            .filter(owned)
            .map(|field| (field.to_owned(), Value::Object(serde_json::Map::new())))
            .collect();
        (!owned.is_empty()).then(|| ManagedFieldsEntry {
            time: owner.time.map(Time),
            fields_v1: Some(FieldsV1(serde_json::json!({"f:spec": owned}))),
            ..ManagedFieldsEntry::default()
        })
    });
    let owners: Vec<ManagedFieldsEntry> = owners.collect();
    Ok(ObjectMeta { managed_fields: Some(owners).filter(|owners| !owners.is_empty()), ..ObjectMeta::from(metadata) })
}
