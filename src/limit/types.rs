//! The `JobLimit` resource (`joblimits.jobwright.dev`).

#![allow(unreachable_pub, reason = "KubeSchema derives a public struct inside of a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

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
    printcolumn = r#"{"name":"Jobs","type":"integer","jsonPath":".spec.maxActiveJobs"}"#,
    printcolumn = r#"{"name":"Pods","type":"integer","jsonPath":".spec.maxActivePods"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.maxActiveJobs) || has(self.maxActivePods)")
    .message("spec: set maxActiveJobs, maxActivePods or both; without them the JobLimit has no effect"))]
pub struct JobLimitSpec {
    /// selector selects the Jobs that the limit applies to, by their labels. Defaults to all Jobs of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
