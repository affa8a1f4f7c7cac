//! The `JobLimit` resource (`joblimits.jobwright.dev`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// How many Jobs of this namespace may be active at once, among those that Jobwright works on. The others wait: by
/// the annotation jobwright.dev/priority, the higher the sooner, then by age. Jobs with Kueue's queue label are left alone.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize)]
#[kube(
    group = "jobwright.dev",
    version = "v1beta1",
    kind = "JobLimit",
    doc = "How many Jobs of a namespace, or pods of them, may be active at once; the others wait their turn.",
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
    /// Which Jobs, by their labels; all of the namespace without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// How many of them may be active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_active_jobs: Option<i32>,
    /// How many pods they may have together: a Job counts as many as it may have at once, by its parallelism and what is left
    /// to complete, from its start to its end. One that may have more than this alone waits for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_active_pods: Option<i32>,
}
