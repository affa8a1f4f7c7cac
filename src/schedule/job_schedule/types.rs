//! The `JobSchedule` resource (`jobschedules.jobwright.dev`): a CronJob's spec, and what its users have asked for.
//!
//! `jobwright crds` writes the manifest in `crds/` from these types; the API server checks objects by their schema and rules.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Starts Jobs when they are due.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize)]
#[kube(
    group = "jobwright.dev",
    version = "v1beta1",
    kind = "JobSchedule",
    doc = "Starts Jobs when they are due: a CronJob, and what its users have asked for.",
    namespaced,
    shortname = "jsched",
    category = "all",
    status = "JobScheduleStatus",
    printcolumn = r#"{"name":"Schedule","type":"string","jsonPath":".spec.schedules"}"#,
    printcolumn = r#"{"name":"Timezone","type":"string","jsonPath":".spec.timeZone"}"#,
    printcolumn = r#"{"name":"Suspend","type":"boolean","jsonPath":".spec.suspend"}"#,
    printcolumn = r#"{"name":"Active","type":"integer","jsonPath":".status.activeCount"}"#,
    printcolumn = r#"{"name":"Last","type":"date","jsonPath":".status.lastScheduleTime"}"#,
    printcolumn = r#"{"name":"Next","type":"string","jsonPath":".status.nextScheduleTime"}"#,
    printcolumn = r#"{"name":"Outcome","type":"string","jsonPath":".status.lastOutcome"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    validation = Rule::new("self.metadata.name.size() <= 52").message("metadata.name must have at most 52 characters: the names of its Jobs are made of it")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.notBefore) || !has(self.notAfter) || self.notBefore <= self.notAfter")
    .message("spec.notAfter must not be before spec.notBefore"))]
#[x_kube(validation = Rule::new("!has(self.maxCatchUp) || self.catchUp == 'All' || self.concurrencyPolicy == 'Queue'")
    .message("spec.maxCatchUp is for spec.catchUp: All and spec.concurrencyPolicy: Queue; set one of these or take it out"))]
#[x_kube(validation = Rule::new("!has(self.maxActive) || self.concurrencyPolicy in ['Allow', 'Queue']")
    .message("spec.maxActive is for spec.concurrencyPolicy: Allow or Queue; with Forbid and Replace there is one at a time"))]
pub struct JobScheduleSpec {
    /// When it is due: cron schedules or descriptors such as @daily. H in a field stands for a value that each JobSchedule
    /// has for itself, so that load is spread: H, H(0-29), H/15.
    #[x_kube(validation = Rule::new("self.all(s, s.startsWith('@') || s.trim().split(' ').filter(f, f != '').size() == 5)")
        .message("each of spec.schedules has five fields (minute hour day-of-month month day-of-week), or is a descriptor such as @daily or @every 1h"))]
    #[x_kube(validation = Rule::new("self.all(s, !s.startsWith('TZ=') && !s.startsWith('CRON_TZ='))")
        .message("a schedule names no zone itself; write it in spec.timeZone"))]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 256)))]
    pub schedules: Vec<String>,
    /// The IANA zone of these times, such as Europe/Paris; UTC without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self != 'Local' && !self.startsWith('/') && !self.contains('..')").message("spec.timeZone is an IANA name, such as Europe/Paris"))]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// What becomes of local times that clocks skip or show twice, where a schedule names certain hours. Once: each is due
    /// once, a skipped one later. Shift: a skipped one is due later, a repeated one twice. Skip: a skipped one is not due.
    #[serde(default)]
    pub dst: Dst,
    /// How much later than it is due a Job is started at most, such as 5m: how much, each object and time have for
    /// themselves, so that load is spread. It ends when three quarters of the time to the next run have passed, so that runs
    /// keep their order and none is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('0s') && duration(self) <= duration('24h')").message("spec.jitter is a duration such as 90s or 5m, of at most 24h"))]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+(s|m|h))+$"))]
    pub jitter: Option<String>,
    /// Start no Jobs. What comes due meanwhile is missed.
    #[serde(default)]
    pub suspend: bool,
    /// Nothing is due before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// Nothing is due after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
    /// Local times at which nothing is due.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub exclude: Vec<Exclusion>,
    /// How late a Job may be started, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub starting_deadline_seconds: Option<i64>,
    /// What to do about times that were missed. Latest: start the last one only, as a CronJob. All: start each, the oldest
    /// first, as far as maxCatchUp goes.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// How many missed times are caught up on at most, the newest; 10 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_catch_up: Option<i32>,
    /// What to do while a Job before is active. Allow: start another, up to maxActive. Forbid: pass over it. Replace: delete
    /// the one before. Queue: start it when there is room, in order.
    #[serde(default)]
    pub concurrency_policy: ConcurrencyPolicy,
    /// How many Jobs may be active: any number without it where they are allowed, 1 where they queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_active: Option<i32>,
    /// How many Jobs that succeeded are kept.
    #[serde(default = "three")]
    #[schemars(range(min = 0))]
    pub successful_jobs_history_limit: i32,
    /// How many Jobs that failed are kept.
    #[serde(default = "one")]
    #[schemars(range(min = 0))]
    pub failed_jobs_history_limit: i32,
    /// How many runs status.history holds; they outlast their Jobs.
    #[serde(default = "ten")]
    #[schemars(range(min = 0, max = 100))]
    pub history_limit: i32,
    /// The Jobs to start. Their containers find the time they were started for in the variable JOBWRIGHT_SCHEDULED_TIME.
    pub job_template: JobTemplate,
}

fn one() -> i32 {
    1
}

fn three() -> i32 {
    3
}

fn ten() -> i32 {
    10
}

/// A Job without a name.
#[derive(Clone, Debug, Deserialize, Serialize, KubeSchema)]
pub struct JobTemplate {
    /// Labels and annotations of the Jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMetadata>,
    /// A Job's spec (batch/v1), checked when a Job is created.
    #[x_kube(validation = Rule::new("has(self.template)").message("spec.jobTemplate.spec.template is required: the pods of the Jobs"))]
    #[x_kube(validation = Rule::new("!has(self.selector)").message("spec.jobTemplate.spec.selector must be left out: each Job gets one of its own"))]
    #[schemars(schema_with = "any_object")]
    pub spec: Value,
}

/// What of a Job's metadata a template may hold.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub struct TemplateMetadata {
    /// Labels of the Jobs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Jobs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
        "template": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "selector": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }})
}

/// Local times at which nothing is due: a day, a day of every year, or from one time on until before another.
#[derive(Clone, Debug, Default, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.date) != (has(self.from) && has(self.to)) && has(self.from) == has(self.to)")
    .message("an exclusion is either a date, or from and to"))]
pub struct Exclusion {
    /// A day, 2026-12-25, or a day of every year, 12-25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]{4}-)?(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"))]
    pub date: Option<String>,
    /// A local time, 2026-12-24T18:00.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(
        pattern = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$"
    ))]
    pub from: Option<String>,
    /// A local time, 2026-12-27T06:00; at it, things go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(
        pattern = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$"
    ))]
    pub to: Option<String>,
}

/// What becomes of local times that clocks skip or show twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "the spec's field says what they mean")]
pub enum Dst {
    #[default]
    Once,
    Shift,
    Skip,
}

/// What to do about times that were missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "the spec's field says what they mean")]
pub enum CatchUp {
    #[default]
    Latest,
    All,
}

/// What to do while a Job before is active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "the spec's field says what they mean")]
pub enum ConcurrencyPolicy {
    #[default]
    Allow,
    Forbid,
    Replace,
    Queue,
}

/// What is stored of its progress.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct JobScheduleStatus {
    /// Its Jobs that are not finished.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "references")]
    pub active: Vec<ObjectReference>,
    /// How many these are.
    pub active_count: i32,
    /// The time for which a Job was started last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_schedule_time: Option<Time>,
    /// The newest end of a Job that succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_successful_time: Option<Time>,
    /// When it is due next, in its zone; none where it is suspended or never due again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_schedule_time: Option<String>,
    /// What the last run that ended came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_outcome: Option<String>,
    /// The last runs that ended, the newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Run>,
    /// Of the times that it goes by, to see whether they are changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times_hash: Option<String>,
    /// Since when it goes by them; what would have been due before is not caught up on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times_since: Option<Time>,
}

fn references(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "array", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}})
}

/// A run that ended.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Run {
    /// Its Job.
    pub job: String,
    /// The time it was started for; none where somebody started it by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<Time>,
    /// When its Job was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<Time>,
    /// Succeeded, Failed or Deleted.
    pub outcome: String,
    /// The Job's reason for it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What the container to blame ended with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Its last message.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}
