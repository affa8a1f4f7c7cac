//! CronJobs as they come over the wire, cut down to the fields that decisions need.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::job::wire::{metadata, time};

/// A `batch/v1` CronJob.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = CronJob)]
pub struct WireCronJob {
    /// Its metadata, in part.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// Its spec.
    pub spec: WireCronJobSpec,
    /// Its status.
    #[serde(default)]
    pub status: WireCronJobStatus,
}

/// A CronJob's spec.
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
    /// Kept as it came, so that fields newer than our types reach the Jobs.
    pub job_template: Box<RawValue>,
}

/// A CronJob's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct WireCronJobStatus {
    /// References as they came: they are written back whole.
    pub active: Option<Vec<Value>>,
    #[serde(deserialize_with = "time")]
    pub last_schedule_time: Option<Timestamp>,
    #[serde(deserialize_with = "time")]
    pub last_successful_time: Option<Timestamp>,
}
