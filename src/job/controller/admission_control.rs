//! Interface between the Job controller and the rules that limit how many Jobs are active.
//!
//! The Job controller asks [`AdmissionControl`] before each decision. An implementation reads the Jobs through a
//! [`JobsHandle`], which does not keep the Job controller alive.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::dependencies::Dependencies;
use crate::job::admission::Admission;
use crate::job::key::Key;
use crate::job::managed_by::Claim;
use crate::job::view::{JobView, PodView};
use crate::runtime::cache::Cache;
use crate::runtime::identity::Uid;
use crate::runtime::queue::Queue;

/// Rules that decide which Jobs are allowed to start pods.
pub trait AdmissionControl: Send + Sync {
    /// Evaluates all stored Jobs, and starts to follow their changes. The Job controller calls this method before it
    /// syncs the first Job of a term.
    fn begin(self: Arc<Self>, tasks: &mut JoinSet<()>);

    /// Returns the newest version of a Job, and whether that version is allowed to start pods; none if the Job is gone.
    /// `waits` states whether the Job waits for other Jobs before it can start.
    fn admission(&self, job: &JobView, waits: bool) -> Option<(Arc<JobView>, Admission)>;
}

/// The objects that the Job controller watches, and its queue.
#[derive(Clone)]
pub struct JobsHandle {
    /// Jobs that the controller works on.
    pub claim: Claim,
    /// All Jobs.
    pub jobs: Arc<Cache<JobView>>,
    /// All pods that can belong to a Job.
    pub pods: Arc<Cache<PodView>>,
    pub(super) queue: Arc<Queue<Key>>,
    pub(super) dependencies: Arc<Dependencies>,
}

impl JobsHandle {
    /// Returns whether the Job controller works on a Job.
    pub fn claims(&self, job: &JobView) -> bool {
        self.claim.covers(job.spec.managed_by.as_deref())
    }

    /// Returns whether a Job waits for other Jobs before it can start.
    pub fn waits_for_jobs(&self, job: &JobView) -> bool {
        self.dependencies.waiting(job).is_some()
    }

    /// Queues these Jobs for a sync.
    pub fn sync_all(&self, jobs: Vec<Uid>) {
        for uid in jobs {
            self.queue.add(Key::Job(uid));
        }
    }
}
