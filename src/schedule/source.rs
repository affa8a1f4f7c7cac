//! What the controller needs to know of a kind of objects that start Jobs when they are due. CronJob is one, JobSchedule
//! another; the controller is the same.

use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::cron_job::decide::Due;
use super::cron_job::view::{ActiveJob, CronJobStatus, CronJobView};
use crate::job::view::JobView;
use crate::job::wire::WireJob;
use crate::runtime::cache::Cached;

/// An object that starts Jobs when they are due.
pub trait ScheduleSource: Cached + Sized {
    /// The object as it comes over the wire.
    type Wire: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static;

    /// The object's API version.
    const API_VERSION: &'static str;
    /// Its kind.
    const KIND: &'static str;
    /// Name of the resource in metrics and in the record of the last writes.
    const RESOURCE: &'static str;
    /// The controller's name, in metrics and logs.
    const NAME: &'static str;
    /// What its Jobs came to is kept; those that others start for it are as good as its own.
    const RECORDS_HISTORY: bool;

    /// Parses one; none if it lacks what every stored object has.
    fn parse(wire: Self::Wire) -> Option<Self>;
    /// What it has in common with a CronJob.
    fn base(&self) -> &CronJobView;
    /// Whether a Job is due, with this status.
    fn due(&self, status: &CronJobStatus, now: Timestamp) -> Due;
    /// Returns the names of the Job for a time, which keep two from being started for one. The second and later ones are
    /// tried where a Job of another owner has the name before.
    fn job_names(&self, scheduled: Timestamp) -> Vec<String>;
    /// Returns the time that a Job with this name was started for, by this version or an earlier one.
    fn scheduled_time(&self, job: &str) -> Option<Timestamp>;
    /// Returns the Job of this name to create for a time, as the API server takes it.
    ///
    /// # Errors
    /// The template is not a JSON object; the API server stores no such object.
    fn job(&self, name: &str, scheduled: Timestamp) -> serde_json::Result<Vec<u8>>;
    /// The JSON merge patch that makes the stored status this one, with these runs ended since; none if it is so already.
    fn status_patch(&self, status: &CronJobStatus, ended: &[EndedRun], now: Timestamp) -> Option<Value>;
    /// Returns the annotations to store with the status; none if they are stored already.
    fn annotations(&self, _now: Timestamp) -> Option<Value> {
        None
    }
}

/// A Job on the list of active ones that is active no more.
#[derive(Clone, Debug)]
pub struct EndedRun {
    /// Which.
    pub job: ActiveJob,
    /// What it came to, and its annotations; none if it is gone.
    pub end: Option<(JobView, WireJob)>,
    /// It was deleted to make room for another.
    pub replaced: bool,
}
