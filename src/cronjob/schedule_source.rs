//! Abstraction over the kinds of objects that start Jobs at scheduled times: CronJob and JobSchedule. Both use the same
//! controller.

use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::decide::{self, Due};
use super::view::{ActiveJob, CronJobStatus, CronJobView};
use super::wire::WireCronJob;
use super::{job, schedule_changes};
use crate::job::view::JobView;
use crate::job::wire::WireJob;
use crate::runtime::cache::Cached;

/// Object that starts Jobs at scheduled times.
pub trait ScheduleSource: Cached + Sized {
    /// Type of the object as the API server sends it.
    type Wire: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static;

    /// API version of the kind.
    const API_VERSION: &'static str;
    /// Name of the kind.
    const KIND: &'static str;
    /// Name of the controller in metrics and logs.
    const NAME: &'static str;
    /// Whether the status records a run history. If so, a Job with this owner that was created manually also joins the
    /// list of active Jobs.
    const RECORDS_HISTORY: bool;

    /// Parses an object; none if it lacks metadata that every stored object has.
    fn parse(wire: Self::Wire) -> Option<Self>;
    /// Returns the part that the object has in common with a CronJob.
    fn base(&self) -> &CronJobView;
    /// Decides whether a Job is due at `now`, given the status `status`.
    fn due(&self, status: &CronJobStatus, now: Timestamp) -> Due;
    /// Returns the possible names of the Job for a scheduled time. A name is derived from the time, so that the API
    /// server rejects a second Job for the same time. Each further name is tried only if a Job of another owner has the
    /// previous one.
    fn job_names(&self, scheduled: Timestamp) -> Vec<String>;
    /// Returns the scheduled time of a Job with this name, which this version or an earlier one created.
    fn scheduled_time(&self, job: &str) -> Option<Timestamp>;
    /// Returns the JSON of the Job to create with this name for a scheduled time.
    ///
    /// # Errors
    /// Returns an error if the template is not a JSON object. The API server stores no such object.
    fn job(&self, name: &str, scheduled: Timestamp) -> serde_json::Result<Vec<u8>>;
    /// Returns the JSON merge patch that changes the stored status to `status` and adds the ended runs to the history;
    /// none if nothing changes.
    fn status_patch(&self, status: &CronJobStatus, ended: &[EndedRun], now: Timestamp) -> Option<Value>;
    /// Returns the annotations to store together with the status; none if they are stored already.
    fn annotations(&self, _now: Timestamp) -> Option<Value> {
        None
    }
}

/// Run whose Job is in the list of active Jobs but is no longer active.
#[derive(Clone, Debug)]
pub struct EndedRun {
    /// Entry of the Job in the list.
    pub job: ActiveJob,
    /// Finished Job, and the same Job as the API server sent it (with annotations); none if the Job was deleted.
    pub end: Option<(JobView, WireJob)>,
    /// Whether the controller deleted the Job to replace it with another one.
    pub replaced: bool,
}

impl ScheduleSource for CronJobView {
    type Wire = WireCronJob;

    const API_VERSION: &'static str = crate::job::API_VERSION;
    const KIND: &'static str = super::KIND;
    const NAME: &'static str = "cronjob";
    const RECORDS_HISTORY: bool = false;

    fn parse(wire: WireCronJob) -> Option<Self> {
        Self::parse(wire)
    }

    fn base(&self) -> &CronJobView {
        self
    }

    fn due(&self, status: &CronJobStatus, now: Timestamp) -> Due {
        decide::due(self, status, now)
    }

    fn job_names(&self, scheduled: Timestamp) -> Vec<String> {
        vec![decide::job_name(self, scheduled)]
    }

    fn scheduled_time(&self, job: &str) -> Option<Timestamp> {
        let minutes = job.strip_prefix(&*self.identity.name)?.strip_prefix('-')?;
        Timestamp::from_second(minutes.parse::<i64>().ok()?.checked_mul(60)?).ok()
    }

    fn job(&self, name: &str, scheduled: Timestamp) -> serde_json::Result<Vec<u8>> {
        let owner = job::OwnerKind { api_version: Self::API_VERSION, kind: Self::KIND };
        job::from_template(self, owner, name, scheduled, None)
    }

    fn status_patch(&self, status: &CronJobStatus, _: &[EndedRun], _: Timestamp) -> Option<Value> {
        (*status != self.status).then(|| status.to_patch())
    }

    fn annotations(&self, now: Timestamp) -> Option<Value> {
        let record = self.changes.to_record(&self.spec, self.created, now).filter(|_| !self.deleting)?;
        Some(json!({schedule_changes::ANNOTATION: record}))
    }
}
