//! What is known of a CronJob: parsed once, at the edge, into what decisions need.

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

/// A CronJob, as decisions see it.
#[derive(Clone, Debug)]
pub struct CronJobView {
    /// Which CronJob, in which version.
    pub identity: Identity,
    /// Its generation: another one means that its spec was changed.
    pub generation: Option<i64>,
    /// It is being deleted.
    pub deleting: bool,
    /// It carries finalizers, so it cannot vanish at once.
    pub has_finalizers: bool,
    /// When it was created.
    pub created: Timestamp,
    /// What the user asked for.
    pub spec: CronJobSpec,
    /// What is stored of its progress.
    pub status: CronJobStatus,
    /// What is stored of the changes of its schedule.
    pub changes: ScheduleChanges,
}

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct CronJobSpec {
    /// When it is due, as written.
    pub schedule: String,
    /// The IANA zone of these times; without it the controller's.
    pub time_zone: Option<String>,
    /// How late a Job may be started.
    pub starting_deadline: Option<SignedDuration>,
    /// What to do while a Job before is active.
    pub concurrency_policy: ConcurrencyPolicy,
    /// Start no Jobs.
    pub suspend: bool,
    /// How many Jobs that succeeded are kept.
    pub successful_limit: Option<i32>,
    /// How many Jobs that failed are kept.
    pub failed_limit: Option<i32>,
    /// The JSON of `spec.jobTemplate`, as it came.
    pub job_template: Arc<RawValue>,
}

/// `spec.concurrencyPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the API's values")]
pub enum ConcurrencyPolicy {
    Allow,
    Forbid,
    Replace,
}

/// A CronJob's status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CronJobStatus {
    /// Its Jobs that are not finished.
    pub active: Vec<ActiveJob>,
    /// The time for which a Job was started last.
    pub last_schedule: Option<Timestamp>,
    /// The newest end of a Job that succeeded.
    pub last_successful: Option<Timestamp>,
}

/// An entry of `status.active`.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveJob {
    /// The Job's UID.
    pub uid: Uid,
    /// The Job's name.
    pub name: String,
    /// The reference as it is stored.
    reference: Value,
}

impl ActiveJob {
    /// An entry for this Job.
    pub fn new(job: &JobView) -> Self {
        let Identity { namespace, name, uid, resource_version } = &job.identity;
        let reference = json!({
            "apiVersion": crate::job::API_VERSION, "kind": crate::job::KIND, "namespace": &**namespace, "name": &**name,
            "uid": uid, "resourceVersion": resource_version.to_string(),
        });
        Self { uid: uid.clone(), name: name.to_string(), reference }
    }

    /// Reads an entry; none if it names no Job.
    pub fn parse(reference: Value) -> Option<Self> {
        let text = |field: &str| reference[field].as_str().map(str::to_owned);
        Some(Self { uid: text("uid")?.into(), name: text("name")?, reference })
    }
}

impl CronJobStatus {
    /// The JSON merge patch that makes a stored status this one.
    pub fn to_patch(&self) -> Value {
        let active: Vec<&Value> = self.active.iter().map(|job| &job.reference).collect();
        json!({
            "active": if active.is_empty() { Value::Null } else { json!(active) },
            "lastScheduleTime": self.last_schedule.map(Time),
            "lastSuccessfulTime": self.last_successful.map(Time),
        })
    }

    /// Whether a Job of this UID is in the list.
    pub fn is_active(&self, uid: &Uid) -> bool {
        self.active.iter().any(|job| job.uid == *uid)
    }

    /// Takes a Job off the list; tells whether it was on it.
    pub fn drop_active(&mut self, uid: &Uid) -> bool {
        let before = self.active.len();
        self.active.retain(|job| job.uid != *uid);
        self.active.len() < before
    }
}

impl CronJobView {
    /// Parses a CronJob; none if it lacks what every stored object has.
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

    fn is_accounted(&self) -> bool {
        false
    }

    fn has_finalizers(&self) -> bool {
        self.has_finalizers
    }
}
