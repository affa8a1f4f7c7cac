//! Abstraction over the kinds of objects that start Jobs at scheduled times: CronJob and JobSchedule. Both use the same
//! controller.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use serde_json::Value;

use super::calendar::controller::Calendars;
use super::creation::Creation;
use super::cron_job::decide::{Due, is_run_recorded};
use super::cron_job::view::{ActiveJob, CronJobStatus, CronJobView};
use super::workload::Timing;
use crate::job::view::JobView;
use crate::job::wire::WireJob;
use crate::runtime::cache::Cached;
use crate::runtime::codec::WireObject;

/// Object that starts Jobs at scheduled times.
pub trait ScheduleSource: Cached + Sized {
    /// Type of the object as the API server sends it.
    type Wire: Resource<DynamicType = (), Scope = NamespaceResourceScope> + WireObject + Sync;

    /// API version of the kind.
    const API_VERSION: &'static str;
    /// Name of the kind.
    const KIND: &'static str;
    /// Name of the resource in metrics and in the record of the last writes.
    const RESOURCE: &'static str;
    /// Name of the controller in metrics and logs.
    const NAME: &'static str;
    /// Whether the status records a run history. If so, a Job with this owner that was created manually also joins the
    /// list of active Jobs.
    const RECORDS_HISTORY: bool;

    /// Parses an object; none if it lacks metadata that every stored object has.
    fn parse(wire: Self::Wire) -> Option<Self>;
    /// Returns whether the object names calendars.
    fn names_calendars(&self) -> bool {
        false
    }
    /// Returns the object with the calendars that it names; none if it names none.
    fn with_calendars(&self, _calendars: &Calendars) -> Option<Self> {
        None
    }
    /// Returns the part that the object has in common with a CronJob.
    fn base(&self) -> &CronJobView;
    /// Decides whether a Job is due.
    fn due(&self, facts: Facts<'_>) -> Due;
    /// Returns whether the stored status includes the run of a Job with this name, or the Job is not that of a run. A
    /// finished Job whose run is not recorded must stay: its name is all that keeps the time from being run again.
    fn is_recorded(&self, job: &str) -> bool {
        is_run_recorded(self.base(), self.scheduled_time(job))
    }
    /// Returns the possible names of the Job for a scheduled time. A name is derived from the time, so that the API
    /// server rejects a second Job for the same time. Each further name is tried only if a Job of another owner has the
    /// previous one.
    fn job_names(&self, scheduled: Timestamp) -> Vec<String>;
    /// Returns the scheduled time of a Job with this name, which this version or an earlier one created.
    fn scheduled_time(&self, job: &str) -> Option<Timestamp>;
    /// Returns the JSON of the Job to create with this name for a scheduled time, which the backfill may have asked for.
    ///
    /// # Errors
    /// Returns an error if the template is not a JSON object. The API server stores no such object.
    fn job(&self, name: &str, scheduled: Timestamp, is_backfill: bool) -> serde_json::Result<Vec<u8>>;
    /// Returns the JSON merge patch that changes the stored status to `status` and adds the ended runs to the history;
    /// none if nothing changes. `creation` is the result for the Job that was due.
    fn status_patch(
        &self,
        status: &CronJobStatus,
        ended: &[EndedRun],
        creation: &Creation,
        now: Timestamp,
    ) -> Option<Value>;
    /// Returns whether the API server dropped fields of the status that was just written, because its
    /// CustomResourceDefinition is older than this version.
    fn is_pruned(&self) -> bool {
        false
    }
    /// Returns whether the stored status has the end of the run of a Job.
    fn has_recorded_end(&self, _job: &JobView) -> bool {
        false
    }
    /// Returns the latest time at which a run failed, as the stored status has it.
    fn last_failure(&self) -> Option<Timestamp> {
        None
    }
    /// Returns the times of the schedule, for the metrics.
    fn timing(&self, now: Timestamp) -> Timing;
    /// Returns the number of runs that were due between the last run and this one, and that will not be started.
    fn missed(&self, last: Option<Timestamp>, scheduled: Timestamp) -> usize;
    /// Returns the annotations to store together with the status; none if they are stored already.
    fn annotations(&self, _now: Timestamp) -> Option<Value> {
        None
    }
}

/// What is known when a decision is made.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Status to store, as far as it is known.
    pub status: &'a CronJobStatus,
    /// Runs that have ended since the status was stored.
    pub ended: &'a [EndedRun],
    /// Jobs of the object.
    pub jobs: &'a [Arc<JobView>],
    /// Scheduled time of the last Job of a backfill whose start could not be stored.
    pub backfilled: Option<Timestamp>,
    /// Time of the decision.
    pub now: Timestamp,
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
