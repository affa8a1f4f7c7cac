//! CronJobs as decisions use them. A CronJob is parsed once, when it arrives from the API server.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::schedule_changes::ScheduleChanges;
use super::wire::WireCronJob;
use crate::job::view::{JobView, identity};
use crate::runtime::cache::Cached;
use crate::runtime::identity::{Identity, Uid};
use crate::schedule::backfill::Progress;

/// CronJob, reduced to the data that decisions need.
#[derive(Clone, Debug)]
pub struct CronJobView {
    /// Namespace, name, UID and resource version.
    pub identity: Identity,
    /// `metadata.generation`. A different generation means that the spec was changed.
    pub generation: Option<i64>,
    /// Whether the CronJob is being deleted.
    pub deleting: bool,
    /// Whether the CronJob has finalizers, so that a deletion does not remove it immediately.
    pub has_finalizers: bool,
    /// Creation time.
    pub created: Timestamp,
    /// Spec of the CronJob.
    pub spec: CronJobSpec,
    /// Stored status of the CronJob.
    pub status: CronJobStatus,
    /// Stored data about changes of the schedule.
    pub changes: ScheduleChanges,
}

/// Spec of a CronJob.
#[derive(Clone, Debug)]
pub struct CronJobSpec {
    /// Schedule as the user wrote it.
    pub schedule: String,
    /// IANA time zone of the schedule. Without it, the zone of the controller applies.
    pub time_zone: Option<String>,
    /// Maximum delay of a start after the scheduled time.
    pub starting_deadline: Option<SignedDuration>,
    /// Policy for a run that is due while an earlier Job is active.
    pub concurrency_policy: ConcurrencyPolicy,
    /// Whether no Jobs are started.
    pub suspend: bool,
    /// Maximum number of complete Jobs to keep.
    pub successful_limit: Option<i32>,
    /// Maximum number of failed Jobs to keep.
    pub failed_limit: Option<i32>,
    /// Unchanged JSON of `spec.jobTemplate`.
    pub job_template: Arc<RawValue>,
}

/// Value of `spec.concurrencyPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the API's values")]
pub enum ConcurrencyPolicy {
    Allow,
    Forbid,
    Replace,
}

/// Status of a CronJob.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CronJobStatus {
    /// Jobs of the CronJob that are not finished.
    pub active: Vec<ActiveJob>,
    /// Scheduled time of the Job that was started last.
    pub last_schedule: Option<Timestamp>,
    /// Latest completion time of a complete Job.
    pub last_successful: Option<Timestamp>,
    /// Progress of the backfill. A CronJob has none.
    pub backfill: Option<Progress>,
    /// Number of runs that were started because they were due. Those of a CronJob are not counted.
    pub started_runs: usize,
}

/// Entry of `status.active`.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveJob {
    /// UID of the Job.
    pub uid: Uid,
    /// Name of the Job.
    pub name: String,
    /// Unchanged stored object reference.
    reference: Value,
}

impl ActiveJob {
    /// Returns an entry for this Job.
    pub fn new(job: &JobView) -> Self {
        let Identity { namespace, name, uid, resource_version } = &job.identity;
        let reference = json!({
            "apiVersion": crate::job::API_VERSION, "kind": crate::job::KIND, "namespace": &**namespace, "name": &**name,
            "uid": uid, "resourceVersion": resource_version.to_string(),
        });
        Self { uid: uid.clone(), name: name.to_string(), reference }
    }

    /// Parses an entry; none if it has no name or no UID.
    pub fn parse(reference: Value) -> Option<Self> {
        let text = |field: &str| reference[field].as_str().map(str::to_owned);
        Some(Self { uid: text("uid")?.into(), name: text("name")?, reference })
    }
}

impl CronJobStatus {
    /// Returns the JSON merge patch that changes a stored status to this one.
    pub fn to_patch(&self) -> Value {
        let active: Vec<&Value> = self.active.iter().map(|job| &job.reference).collect();
        json!({
            "active": if active.is_empty() { Value::Null } else { json!(active) },
            "lastScheduleTime": self.last_schedule.map(Time),
            "lastSuccessfulTime": self.last_successful.map(Time),
        })
    }

    /// Returns whether a Job with this UID is in the list of active Jobs.
    pub fn is_active(&self, uid: &Uid) -> bool {
        self.active.iter().any(|job| job.uid == *uid)
    }

    /// Removes a Job from the list of active Jobs and returns whether it was in the list.
    pub fn drop_active(&mut self, uid: &Uid) -> bool {
        let before = self.active.len();
        self.active.retain(|job| job.uid != *uid);
        self.active.len() < before
    }
}

impl CronJobView {
    /// Parses a CronJob; none if it lacks metadata that every stored object has.
    pub fn parse(wire: WireCronJob) -> Option<Self> {
        let WireCronJob { metadata, spec, status } = wire;
        Some(Self {
            identity: identity(&metadata)?,
            generation: metadata.generation,
            deleting: metadata.deletion_timestamp.is_some(),
            has_finalizers: metadata.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty()),
            changes: ScheduleChanges::parse(&metadata),
            created: metadata.creation_timestamp.map(|time| time.0).unwrap_or_default(),
            spec: CronJobSpec {
                schedule: spec.schedule,
                time_zone: spec.time_zone,
                starting_deadline: spec.starting_deadline_seconds.map(SignedDuration::from_secs),
                concurrency_policy: match spec.concurrency_policy.as_deref() {
                    Some("Forbid") => ConcurrencyPolicy::Forbid,
                    Some("Replace") => ConcurrencyPolicy::Replace,
                    _ => ConcurrencyPolicy::Allow,
                },
                suspend: spec.suspend.unwrap_or_default(),
                successful_limit: spec.successful_jobs_history_limit,
                failed_limit: spec.failed_jobs_history_limit,
                job_template: spec.job_template.into(),
            },
            status: CronJobStatus {
                active: status.active.into_iter().flatten().filter_map(ActiveJob::parse).collect(),
                last_schedule: status.last_schedule_time,
                last_successful: status.last_successful_time,
                backfill: None,
                started_runs: 0,
            },
        })
    }
}

impl Cached for CronJobView {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn controller(&self) -> Option<&Uid> {
        None
    }

    fn has_finalizers(&self) -> bool {
        self.has_finalizers
    }
}
