//! The `JobSchedule` resource (`jobschedules.jobwright.dev`): the fields of a CronJob and additional features.
//!
//! `jobwright crds` generates the manifest in `crds/` from these types. The API server validates objects with their
//! schema and rules. The comments of the types and fields are the descriptions in the manifest.

#![allow(unreachable_pub, reason = "KubeSchema derives a public struct inside of a function")]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::schedule::backfill::Order;
use crate::schedule::calendar::period::{EXISTING_DAYS, EXISTING_MINUTES, ORDERED_PERIODS, PeriodEntry, WHOLE_ENTRIES};
use crate::schedule::parameters::{Parameter, ParameterValue};

/// Fields of a schedule without a number above the maximum of the field, or 0 as a day or month. Steps are not compared.
///
/// The API server applies all rules to each update, also to an update of the status alone. The rules with `oldSelf` are
/// newer than stored objects may be, so they accept a field that has not changed.
const WITHIN_BOUNDS: &str = "oldSelf.hasValue() && oldSelf.value() == self || \
    self.all(s, s.startsWith('@') || [s.trim().split(' ').filter(f, f != '')].all(f, f.size() != 5 || (\
    !f[0].matches('(^|[,(-])0*(6[0-9]|[7-9][0-9]|[1-9][0-9]{2,})([^0-9]|$)') && \
    !f[1].matches('(^|[,(-])0*(2[4-9]|[3-9][0-9]|[1-9][0-9]{2,})([^0-9]|$)') && \
    !f[2].matches('(^|[,(-])0*(0|3[2-9]|[4-9][0-9]|[1-9][0-9]{2,})([^0-9]|$)') && \
    !f[3].matches('(^|[,(-])0*(0|1[3-9]|[2-9][0-9]|[1-9][0-9]{2,})([^0-9]|$)') && \
    !f[4].matches('(^|[,(-])0*([7-9]|[1-9][0-9]+)([^0-9]|$)'))))";
/// Template of a Job that the API server accepts. The rule compares the field alone: API servers before Kubernetes 1.37
/// find an unchanged object unequal if the object has fields that its schema does not list.
const RESTART_POLICY: &str = "!has(self.template) || \
    (has(self.template.spec) && has(self.template.spec.restartPolicy) ? \
    self.template.spec.restartPolicy in ['Never', 'OnFailure'] || oldSelf.hasValue() && \
    oldSelf.value().?template.?spec.?restartPolicy.orValue('') == self.template.spec.restartPolicy : \
    oldSelf.hasValue() && !oldSelf.value().?template.?spec.?restartPolicy.hasValue())";

/// spec defines the scheduled times, the Jobs to start, and the policies for late and concurrent runs.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize)]
#[kube(
    group = "jobwright.dev",
    version = "v1beta1",
    kind = "JobSchedule",
    doc = "JobSchedule starts Jobs at scheduled times. It has the fields of a CronJob and additional features.",
    namespaced,
    shortname = "jsched",
    category = "all",
    status = "JobScheduleStatus",
    printcolumn = r#"{"name":"Schedule","type":"string","jsonPath":".spec.schedules"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Timezone","type":"string","jsonPath":".spec.timeZone"}"#,
    printcolumn = r#"{"name":"Suspend","type":"boolean","jsonPath":".spec.suspend"}"#,
    printcolumn = r#"{"name":"Active","type":"integer","jsonPath":".status.activeCount"}"#,
    printcolumn = r#"{"name":"Queued","type":"integer","jsonPath":".status.queued"}"#,
    printcolumn = r#"{"name":"Last","type":"date","jsonPath":".status.lastScheduleTime"}"#,
    printcolumn = r#"{"name":"Next","type":"string","jsonPath":".status.nextScheduleTime"}"#,
    printcolumn = r#"{"name":"Last Outcome","type":"string","jsonPath":".status.lastOutcome"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    validation = Rule::new("self.metadata.name.size() <= 52").message("metadata.name must have at most 52 characters: the names of its Jobs begin with it")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.notBefore) || !has(self.notAfter) || self.notBefore <= self.notAfter")
    .message("spec.notAfter must not be before spec.notBefore"))]
#[x_kube(validation = Rule::new("!has(self.maxCatchUp) || self.catchUp == 'All' || self.concurrencyPolicy == 'Queue'")
    .message("spec.maxCatchUp requires spec.catchUp: All or spec.concurrencyPolicy: Queue; set one of these or remove spec.maxCatchUp"))]
#[x_kube(validation = Rule::new("!has(self.backfill) || self.concurrencyPolicy != 'Replace'")
    .message("spec.backfill requires spec.concurrencyPolicy: Allow, Forbid or Queue; with Replace, a run that is due would delete the Jobs of the backfill"))]
#[x_kube(validation = Rule::new("!has(self.backfill) || !has(self.backfill.parameters) || \
    self.backfill.parameters.all(p, has(self.parameters) && self.parameters.exists(q, q.name == p.name))")
    .message("each of spec.backfill.parameters must have the name of one of spec.parameters"))]
#[x_kube(validation = Rule::new("!has(self.maxActive) || self.concurrencyPolicy in ['Allow', 'Queue']")
    .message("spec.maxActive requires spec.concurrencyPolicy: Allow or Queue; remove spec.maxActive with Forbid and Replace, which allow one active Job"))]
pub struct JobScheduleSpec {
    /// schedules are the cron schedules, or descriptors such as @daily, at whose times Jobs are started. An H in a
    /// field is replaced by a value that is derived from the namespace and name of the JobSchedule, so that load is
    /// spread: H, H(0-29), H/15. @at with a local time, such as @at 2026-12-24T18:00, is a single run.
    #[x_kube(validation = Rule::new("self.all(s, s.startsWith('@') || s.trim().split(' ').filter(f, f != '').size() == 5)")
        .message("each of spec.schedules must have five fields (minute hour day-of-month month day-of-week) or be a descriptor such as @daily or @every 1h"))]
    #[x_kube(validation = Rule::new(WITHIN_BOUNDS).optional_old_self(true)
        .message("each of spec.schedules must have a minute from 0 to 59, an hour from 0 to 23, a day of month from 1 to 31, a month from 1 to 12 and a day of week from 0 to 6"))]
    #[x_kube(validation = Rule::new(EXISTING_MINUTES).optional_old_self(true)
        .message("each @at of spec.schedules must have a day that exists and a time without seconds, such as @at 2026-12-24T18:00"))]
    #[x_kube(validation = Rule::new("self.all(s, !s.startsWith('TZ=') && !s.startsWith('CRON_TZ='))")
        .message("spec.schedules must not name a time zone; set spec.timeZone instead"))]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 256)))]
    pub schedules: Vec<String>,
    /// timeZone is the IANA time zone of the schedules, such as Europe/Paris. Defaults to UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self != 'Local' && !self.startsWith('/') && !self.contains('..')").message("spec.timeZone must be an IANA name such as Europe/Paris"))]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// dst specifies how to treat local times that a clock change skips or repeats. It applies to schedules that are
    /// restricted to certain hours. Valid values are: Once (default): each local time is due once, a skipped one later
    /// by the amount of the clock change, and a repeated one at its first occurrence; Shift: a skipped local time is
    /// due later, and a repeated one is due twice; Skip: a skipped local time is not due, and a repeated one is due
    /// twice.
    #[serde(default)]
    pub dst: Dst,
    /// jitter is the maximum delay of a start after the scheduled time, such as 5m. The delay is derived from the
    /// namespace and name of the JobSchedule and from the scheduled time, so that load is spread. It is at most three
    /// quarters of the time to the next run, so that runs keep their order and none is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('0s') && duration(self) <= duration('24h')").message("spec.jitter must be a duration such as 90s or 5m, of at most 24h"))]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+(s|m|h))+$"))]
    pub jitter: Option<String>,
    /// suspend specifies that no Jobs are started. Runs that become due while the JobSchedule is suspended are missed.
    /// Defaults to false.
    #[serde(default)]
    pub suspend: bool,
    /// suspendAfterFailures is the number of failed runs in a row after which no more Jobs are started. The spec is not
    /// changed: the condition Suspended has the reason TooManyFailures. A run that succeeds, such as one that a user has
    /// started, ends the suspension, and so does a new value of the annotation jobwright.dev/resume. Defaults to no
    /// such number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub suspend_after_failures: Option<i32>,
    /// notBefore is the first time at which a run can be due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// notAfter is the last time at which a run can be due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
    /// maxRuns is the number of runs after which none is due. Runs of a backfill and those that a user starts are not
    /// counted; status.startedRuns has the number. Defaults to no such number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_runs: Option<i32>,
    /// exclude lists days and periods of local time in which no run is due.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(validation = Rule::new(EXISTING_DAYS).optional_old_self(true)
        .message("each date, from and to of spec.exclude must be a day of the calendar; 02-30 is none, and 02-29 with a year needs a leap year"))]
    #[x_kube(validation = Rule::new(ORDERED_PERIODS).optional_old_self(true)
        .message("each entry of spec.exclude must have a to after its from; otherwise nothing is excluded"))]
    #[x_kube(validation = Rule::new(WHOLE_ENTRIES).message("each entry of spec.exclude must have either date, or from and to"))]
    #[schemars(length(max = 100))]
    pub exclude: Vec<PeriodEntry>,
    /// excludeCalendars are the names of Calendars in the namespace; no run is due in their periods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub exclude_calendars: Vec<String>,
    /// onlyCalendars are the names of Calendars in the namespace; runs are due in their periods alone. With several, a run
    /// is due in the periods of any of them. What is excluded stays excluded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub only_calendars: Vec<String>,
    /// startingDeadlineSeconds is the maximum delay in seconds after which a run is still started. The delay counts
    /// from the scheduled time plus the jitter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub starting_deadline_seconds: Option<i64>,
    /// catchUp specifies how to treat missed runs. Valid values are: Latest (default): start only the most recent run,
    /// as a CronJob does; All: start each missed run, the oldest first, up to maxCatchUp.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// maxCatchUp is the maximum number of missed runs to start. If more runs were missed, the newest ones are started.
    /// Defaults to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_catch_up: Option<i32>,
    /// concurrencyPolicy specifies how to treat a run that is due while an earlier Job is active. Valid values are:
    /// Allow (default): start the Job, up to maxActive; Forbid: start no Job before the active one has ended, and treat
    /// the run as missed; Replace: delete the active Job and start the new one; Queue: start the runs in order as soon
    /// as fewer than maxActive Jobs are active.
    #[serde(default)]
    pub concurrency_policy: ConcurrencyPolicy,
    /// maxActive is the maximum number of active Jobs. Defaults to no maximum with the concurrencyPolicy Allow, and to
    /// 1 with Queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_active: Option<i32>,
    /// successfulJobsHistoryLimit is the maximum number of complete Jobs to keep. Defaults to 3.
    #[serde(default = "three")]
    #[schemars(range(min = 0))]
    pub successful_jobs_history_limit: i32,
    /// failedJobsHistoryLimit is the maximum number of failed Jobs to keep. Defaults to 1.
    #[serde(default = "one")]
    #[schemars(range(min = 0))]
    pub failed_jobs_history_limit: i32,
    /// historyLimit is the maximum number of runs in status.history. Runs stay there after their Jobs are deleted.
    /// Defaults to 10.
    #[serde(default = "ten")]
    #[schemars(range(min = 0, max = 100))]
    pub history_limit: i32,
    /// parameters are values that all containers of the Jobs read as environment variables, unless a container defines
    /// the variable itself. jobwright trigger --set and spec.backfill.parameters set them for their runs; other runs have
    /// the defaults. A $ in a value is a plain character.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(validation = Rule::new("self.all(p, p.name != 'JOBWRIGHT_SCHEDULED_TIME')")
        .message("spec.parameters must not contain JOBWRIGHT_SCHEDULED_TIME, which holds the scheduled time"))]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub parameters: Vec<Parameter>,
    /// backfill specifies past times for which runs are started, beside the runs that fall due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<Backfill>,
    /// jobTemplate is the template of the Jobs to start. The environment variable JOBWRIGHT_SCHEDULED_TIME of their
    /// containers holds the scheduled time.
    pub job_template: JobTemplate,
}

/// backfill specifies past times for which runs are started. They are started one after the other, while no other run
/// is due, and a time that has a run already is skipped. Another range or order is another backfill.
#[derive(Clone, Debug, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.from <= self.to").message("spec.backfill.to must not be before spec.backfill.from"))]
pub struct Backfill {
    /// from is the first scheduled time.
    pub from: Time,
    /// to is the last scheduled time. Times that are not past when Jobwright first sees the backfill are left to the
    /// schedules.
    pub to: Time,
    /// order is the order of the runs. Valid values are: OldestFirst (default): by scheduled time, the first one first;
    /// NewestFirst: the last one first.
    #[serde(default)]
    pub order: Order,
    /// maxActive is the number of active Jobs of the JobSchedule beside which no run of the backfill is started. Defaults
    /// to 1, so that one Job after the other runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_active: Option<i32>,
    /// skip lists scheduled times for which no run is started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub skip: Vec<Time>,
    /// parameters are the values of spec.parameters for the runs of the backfill.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub parameters: Vec<ParameterValue>,
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

/// JobTemplate is the template of a Job.
#[derive(Clone, Debug, Deserialize, Serialize, KubeSchema)]
pub struct JobTemplate {
    /// metadata holds the labels and annotations of the Jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMetadata>,
    /// spec is the spec of the Jobs (batch/v1). The API server validates it when a Job is created.
    #[x_kube(validation = Rule::new("has(self.template)").message("spec.jobTemplate.spec.template is required; set it to the template of the pods"))]
    #[x_kube(validation = Rule::new(RESTART_POLICY).optional_old_self(true)
        .message("spec.jobTemplate.spec.template.spec.restartPolicy must be Never or OnFailure"))]
    #[x_kube(validation = Rule::new("!has(self.selector)").message("spec.jobTemplate.spec.selector must be left out; the API server generates a selector for each Job"))]
    #[schemars(schema_with = "any_object")]
    pub spec: Value,
}

/// metadata holds the labels and annotations of the Jobs.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub struct TemplateMetadata {
    /// labels are the labels of the Jobs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    pub labels: BTreeMap<String, String>,
    /// annotations are the annotations of the Jobs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations")]
    pub annotations: BTreeMap<String, String>,
}

fn labels(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    texts(100, 63)
}

/// The API server allows this size for all annotations of an object together.
fn annotations(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    texts(1000, 262_144)
}

/// Returns the schema of a map with at most this number of texts of at most this length.
fn texts(entries: u32, length: u32) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object", "maxProperties": entries, "additionalProperties": {"type": "string", "maxLength": length},
    })
}

fn recorded(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    texts(20, 128)
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
        "template": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
                "restartPolicy": {"type": "string", "maxLength": 32},
            }},
        }},
        "selector": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }})
}

/// Value of `spec.dst`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "the field of the spec describes the values")]
pub enum Dst {
    #[default]
    Once,
    Shift,
    Skip,
}

/// Value of `spec.catchUp`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "the field of the spec describes the values")]
pub enum CatchUp {
    #[default]
    Latest,
    All,
}

/// Value of `spec.concurrencyPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "the field of the spec describes the values")]
pub enum ConcurrencyPolicy {
    #[default]
    Allow,
    Forbid,
    Replace,
    Queue,
}

/// status is the observed state of the JobSchedule. Jobwright writes it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct JobScheduleStatus {
    /// active lists the Jobs that are not finished.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "references")]
    pub active: Vec<ObjectReference>,
    /// activeCount is the number of active Jobs.
    pub active_count: i32,
    /// lastScheduleTime is the scheduled time of the run that was started last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_schedule_time: Option<Time>,
    /// lastSuccessfulTime is the latest completion time of a complete Job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_successful_time: Option<Time>,
    /// nextScheduleTime is the scheduled time of the next run, in the time zone of the JobSchedule. It is unset if the
    /// JobSchedule is suspended or no further run is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_schedule_time: Option<String>,
    /// lastOutcome is the outcome of the last run that ended: Succeeded, Failed, Replaced or Deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_outcome: Option<String>,
    /// startedRuns is the number of runs that were started because they were due. Runs of a backfill and those that a
    /// user starts are not counted.
    pub started_runs: i32,
    /// queued is the number of runs that are due and wait for an active Job to finish.
    pub queued: i32,
    /// failedRunsInARow is the number of runs that have failed since the last one that succeeded, or since the annotation
    /// jobwright.dev/resume had a new value.
    pub failed_runs_in_a_row: i32,
    /// lastResume is the last value of the annotation jobwright.dev/resume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_resume: Option<String>,
    /// observedGeneration is the generation of the spec from which the status was derived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// conditions are: Ready (the schedule is valid and its Jobs are accepted; otherwise the reason is InvalidTimeZone,
    /// InvalidSchedule, CalendarNotFound, JobRefused or NameTaken), Suspended (spec.suspend is true, or as many runs in a row have
    /// failed as spec.suspendAfterFailures allows), and Healthy (the last run has
    /// succeeded). With spec.maxRuns there is Complete (as many runs were started, and no Job is active), and with
    /// spec.backfill BackfillComplete (its runs were started or skipped, and their Jobs have finished).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// backfill is the progress of spec.backfill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backfill: Option<BackfillStatus>,
    /// history lists the last runs that ended, the newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Run>,
    /// timesHash is a hash of the fields that define the scheduled times. Jobwright uses it to detect changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times_hash: Option<String>,
    /// timesSince is the time from which the current scheduled times apply. Earlier times are not caught up on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times_since: Option<Time>,
}

/// backfill is the progress of spec.backfill.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackfillStatus {
    /// from is the first scheduled time of the backfill.
    pub from: Time,
    /// to is the last scheduled time of the backfill, as the spec has it.
    pub to: Time,
    /// order is the order of the runs.
    pub order: Order,
    /// until is the last scheduled time that is run: to, or the time at which Jobwright first saw the backfill if that is
    /// earlier.
    pub until: Time,
    /// total is the number of scheduled times.
    pub total: i32,
    /// started is the number of times for which a Job was started.
    pub started: i32,
    /// skipped is the number of times for which none was started, because they had a run or are in spec.backfill.skip.
    pub skipped: i32,
    /// remaining is the number of times that were neither started nor skipped.
    pub remaining: i32,
    /// active is the number of started Jobs that are not finished.
    pub active: i32,
    /// succeeded is the number of started Jobs that have succeeded.
    pub succeeded: i32,
    /// failed is the number of started Jobs that have failed.
    pub failed: i32,
    /// lastTime is the last scheduled time that was started or skipped, in the order of the backfill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_time: Option<Time>,
    /// completionTime is the time at which the last Job ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
}

fn references(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "array", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}})
}

/// A run that has ended.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Run {
    /// job is the name of the Job.
    pub job: String,
    /// scheduled is the scheduled time of the run. It is unset if a user created the Job manually.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<Time>,
    /// started is the start time of the Job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// finished is the time at which the Job finished, or at which its deletion was observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<Time>,
    /// outcome is the outcome of the run: Succeeded, Failed, Replaced or Deleted.
    pub outcome: String,
    /// reason is the reason of the Job's Complete or Failed condition.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// exitCode is the exit code of the container that made the Job fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// message describes why the Job failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// parameters are the values of the parameters with which the Job was started, each up to 128 bytes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "recorded")]
    pub parameters: BTreeMap<String, String>,
}
