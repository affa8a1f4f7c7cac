//! The `JobLimit` resource (`joblimits.jobwright.dev`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// The maximum number of active Jobs of this namespace, among those that Jobwright works on. The other Jobs wait: ordered by
/// the annotation jobwright.dev/priority, the highest first, then by age. Jobs that Kueue manages are left alone.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize)]
#[kube(
    group = "jobwright.dev",
    version = "v1beta1",
    kind = "JobLimit",
    doc = "The maximum number of Jobs of a namespace, or of their pods, that are active; the other Jobs wait.",
    namespaced,
    shortname = "jlimit",
    category = "all",
    printcolumn = r#"{"name":"Jobs","type":"integer","jsonPath":".spec.maxActiveJobs"}"#,
    printcolumn = r#"{"name":"Pods","type":"integer","jsonPath":".spec.maxActivePods"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.maxActiveJobs) || has(self.maxActivePods)")
    .message("spec: set maxActiveJobs, maxActivePods or both; a limit without them limits nothing"))]
pub struct JobLimitSpec {
    /// Selects Jobs by their labels; without it the limit selects all Jobs of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Maximum number of active Jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_active_jobs: Option<i32>,
    /// Maximum number of pods of all active Jobs. A Job uses as many as it may have concurrently, by its parallelism and the
    /// completions that are left, from its start to its end. A Job that needs more than the maximum waits, and holds no other back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_active_pods: Option<i32>,
}
