//! The `JobPolicy` resource (`jobpolicies.jobwright.dev`).

#![allow(unreachable_pub, reason = "KubeSchema derives a public struct inside of a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::job::view::selector_schema::selector;

/// Rule that a policy sets something.
const NOT_EMPTY: &str = "has(self.startDeadlines) || has(self.progressDeadline) || has(self.runningDeadlineSeconds) || \
     has(self.retry) || has(self.retention) || has(self.logTailLines)";
/// Rule that a refused creation leads to an action that needs no pod.
const ADMISSION_ACTION: &str = "!has(self.admission) || self.admission.action in ['FailJob', 'Suspend']";

/// spec sets rules for Jobs of the namespace of the JobPolicy that Jobwright manages. One JobPolicy governs a Job: the one
/// that its annotation jobwright.dev/policy names, or else the one whose selector selects the Job with the most
/// requirements. Among several with equally many, the first by name governs. A rule applies only where it is set.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize)]
#[kube(
    group = "jobwright.dev",
    version = "v1beta1",
    kind = "JobPolicy",
    plural = "jobpolicies",
    doc = "JobPolicy sets rules for Jobs of its namespace: start deadlines by cause, a progress deadline, retries, and how long finished Jobs are kept.",
    namespaced,
    shortname = "jpol",
    category = "all",
    status = "JobPolicyStatus",
    printcolumn = r#"{"name":"Jobs","type":"integer","jsonPath":".status.governedJobs","description":"Number of unfinished Jobs that the policy governs"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(NOT_EMPTY)
    .message("spec: set at least one of startDeadlines, progressDeadline, runningDeadlineSeconds, retry, retention and logTailLines; without them the JobPolicy has no effect"))]
pub struct JobPolicySpec {
    /// selector selects the Jobs that the policy governs, by their labels. Defaults to all Jobs of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector")]
    pub selector: Option<LabelSelector>,
    /// startDeadlines limit how long a pod may wait for its start, by the cause why it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(ADMISSION_ACTION)
        .message("spec.startDeadlines.admission.action must be FailJob or Suspend, because there is no pod to fail"))]
    pub start_deadlines: Option<StartDeadlinesSpec>,
    /// progressDeadline limits how long a Job may go without a pod that ends or becomes ready. The time for which the Job
    /// is suspended or waits in a queue does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline: Option<ProgressDeadlineSpec>,
    /// runningDeadlineSeconds is the maximum time from the start of the first pod to the end of the Job. Unlike
    /// activeDeadlineSeconds of a Job, it does not count the time for which the pods wait for their start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub running_deadline_seconds: Option<i32>,
    /// retry changes how failed pods are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetrySpec>,
    /// retention sets how long finished Jobs are kept, by their outcome. The annotations of a Job and its
    /// ttlSecondsAfterFinished come first. Jobs with an owner, such as a CronJob, are kept as their owner decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionSpec>,
    /// logTailLines is the number of last lines of the log of the failed container that are stored with a Job that fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub log_tail_lines: Option<i32>,
}

/// startDeadlines by cause. A deadline counts only while its cause holds without interruption.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StartDeadlinesSpec {
    /// image: the image of a container cannot be pulled. A pod with an image name that is not valid fails immediately.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<StartDeadlineSpec>,
    /// config: a ConfigMap, a Secret or a key in one of them does not exist, a container cannot be created as it is
    /// configured, or the node cannot set up the volumes and the network of the pod. A key that does not exist in an
    /// existing object fails the pod immediately.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<StartDeadlineSpec>,
    /// unschedulable: no node has room for the pod. Time in a queue, or behind another scheduling gate, does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unschedulable: Option<StartDeadlineSpec>,
    /// admission: the API server refuses to create pods, for example because of a quota or a webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admission: Option<StartDeadlineSpec>,
    /// other: the containers of a pod have not started, and none of the other causes is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<StartDeadlineSpec>,
}

/// Maximum time for which a pod may wait for its start, and what follows.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StartDeadlineSpec {
    /// seconds is the maximum time.
    #[schemars(range(min = 0))]
    pub seconds: i32,
    /// action is what follows: FailJob, FailIndex (FailJob if the Job has no backoffLimitPerIndex), RetryPod (the pod fails
    /// and is replaced), or Suspend (RetryPod if Kueue manages the Job).
    pub action: ActionSpec,
}

/// What follows when a pod has not started in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "the names of the API's values")]
#[schemars(inline)]
pub enum ActionSpec {
    FailJob,
    FailIndex,
    RetryPod,
    Suspend,
}

/// Maximum time without progress, and what follows.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProgressDeadlineSpec {
    /// seconds is the maximum time.
    #[schemars(range(min = 1))]
    pub seconds: i32,
    /// action is what follows: FailJob, or Report (an event and the annotation jobwright.dev/stalled-since).
    pub action: ProgressActionSpec,
}

/// What follows when a Job makes no progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "the names of the API's values")]
#[schemars(inline)]
pub enum ProgressActionSpec {
    FailJob,
    Report,
}

/// retry changes how failed pods are replaced.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RetrySpec {
    /// memory lists how much more memory a container gets after it exceeded its memory (OOMKilled), so that the next pods
    /// of the Job get it. The first entry for a container applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub memory: Option<Vec<MemoryRetrySpec>>,
    /// deadline gives the next pods of the Job more time after a pod exceeded the activeDeadlineSeconds of its spec. It has
    /// no effect on Jobs whose template sets none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<DeadlineRetrySpec>,
    /// perMinute is the maximum number of failed pods that all Jobs that the policy governs replace in a minute. Other
    /// retries wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub per_minute: Option<i32>,
    /// jitter makes the delay before a failed pod is replaced a random part of its full length, so that Jobs that failed
    /// at the same time do not retry at the same time. Defaults to false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<bool>,
}

/// How much more memory a container gets after it exceeded its memory.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("double(self.factor) > 1.0").message("factor must be more than 1, such as 1.5"))]
pub struct MemoryRetrySpec {
    /// container is the name of the container, also of an init container or a sidecar. Defaults to all containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub container: Option<String>,
    /// factor is the memory of the next pod divided by the memory of the failed one: a text such as 1.5 or 2. The limit and
    /// the request of the template are multiplied; what the template does not set stays unset.
    #[schemars(length(max = 5), regex(pattern = r"^[1-9][0-9]?(\.[0-9]{1,2})?$"))]
    pub factor: String,
    /// max is the maximum memory, such as 16Gi.
    #[schemars(length(max = 24), regex(pattern = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$"))]
    pub max: String,
}

/// How much longer the next pods may run after one exceeded its activeDeadlineSeconds.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("double(self.factor) > 1.0").message("factor must be more than 1, such as 1.5"))]
pub struct DeadlineRetrySpec {
    /// factor is the activeDeadlineSeconds of the next pod divided by that of the failed one: a text such as 1.5 or 2.
    #[schemars(length(max = 5), regex(pattern = r"^[1-9][0-9]?(\.[0-9]{1,2})?$"))]
    pub factor: String,
    /// maxSeconds is the maximum activeDeadlineSeconds.
    #[schemars(range(min = 1))]
    pub max_seconds: i32,
}

/// retention sets how long finished Jobs are kept.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RetentionSpec {
    /// secondsAfterSuccess is how long a Job that succeeded is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub seconds_after_success: Option<i32>,
    /// secondsAfterFailure is how long a Job that failed is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub seconds_after_failure: Option<i32>,
}

/// status is the observed state of the JobPolicy. Jobwright writes it at most once a second.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct JobPolicyStatus {
    /// observedGeneration is the generation of the spec from which the status was derived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// governedJobs is the number of unfinished Jobs that the policy governs.
    pub governed_jobs: i32,
    /// conditions are: Ready (the spec is valid).
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
