//! The `JobLimit` resource (`joblimits.jobwright.dev`).

#![allow(unreachable_pub, reason = "KubeSchema derives a public struct inside of a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::job::view::selector_schema::selector;

/// spec limits the number of active Jobs in the namespace of the JobLimit, or of their pods, among the Jobs that
/// Jobwright manages. The other Jobs wait. Jobwright admits waiting Jobs in the order of the annotation
/// jobwright.dev/priority, the highest value first, and then by age. Jobs that Kueue manages are not limited.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize)]
#[kube(
    group = "jobwright.dev",
    version = "v1beta1",
    kind = "JobLimit",
    doc = "JobLimit limits the number of active Jobs in a namespace, or of their pods. The other Jobs wait.",
    namespaced,
    shortname = "jlimit",
    category = "all",
    status = "JobLimitStatus",
    printcolumn = r#"{"name":"Jobs","type":"integer","jsonPath":".spec.maxActiveJobs"}"#,
    printcolumn = r#"{"name":"Pods","type":"integer","jsonPath":".spec.maxActivePods"}"#,
    printcolumn = r#"{"name":"Used","type":"string","jsonPath":".status.used"}"#,
    printcolumn = r#"{"name":"Waiting","type":"integer","jsonPath":".status.waiting"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.maxActiveJobs) || has(self.maxActivePods)")
    .message("spec: set maxActiveJobs, maxActivePods or both; without them the JobLimit has no effect"))]
pub struct JobLimitSpec {
    /// selector selects the Jobs that the limit applies to, by their labels. Defaults to all Jobs of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector")]
    pub selector: Option<LabelSelector>,
    /// maxActiveJobs is the maximum number of active Jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_active_jobs: Option<i32>,
    /// maxActivePods is the maximum number of pods of all active Jobs. From its start to its end, a Job counts with the
    /// number of pods that it can run concurrently, which its parallelism and its remaining completions determine. A
    /// Job that needs more than the maximum waits and does not block other Jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_active_pods: Option<i32>,
}

/// status is the observed state of the JobLimit. Jobwright writes it at most once a second.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct JobLimitStatus {
    /// observedGeneration is the generation of the spec from which the status was derived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// activeJobs is the number of Jobs that use the limit.
    pub active_jobs: i32,
    /// activePods is the number of pods that use the limit: of each active Job the number of pods that it can run
    /// concurrently.
    pub active_pods: i32,
    /// used is the used part of each maximum, such as 3/5 Jobs, 12/20 pods.
    pub used: String,
    /// waiting is the number of Jobs that the limit selects and that wait.
    pub waiting: i32,
    /// next lists the names of the first waiting Jobs in the order of admission, at most five.
    #[schemars(length(max = 5))]
    pub next: Vec<String>,
    /// conditions are: Ready (the spec is valid), and Saturated (no further Job or pod fits).
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
