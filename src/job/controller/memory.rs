//! Memory of the Job controller between syncs. A new term begins without it.

use jiff::Timestamp;
use parking_lot::MutexGuard;

use super::Controller;
use crate::job::decide::backoff::Backoff;
use crate::job::decide::retry_memory::RefusedMemory;
use crate::job::execute::FailedWrite;
use crate::job::key::Key;
use crate::job::retry_budget::Allowance;
use crate::job::view::JobView;
use crate::job::write_kinds::{CREATE, UNTRACK};
use crate::runtime::errors::WriteError;
use crate::runtime::identity::Uid;
use crate::runtime::maps::FastMap;
use crate::runtime::refusals::{Refusals, WriteKind};

/// Kind of a write of a step, and the pod that the write changes, if it changes a pod.
pub(super) type Write = (WriteKind, Option<Uid>);

/// Memory of a Job between syncs.
#[derive(Clone, Default)]
pub(super) struct Memory {
    pub(super) backoff: Backoff,
    /// Time since when the counters of the stored status are out of date.
    pub(super) counters_dirty_since: Option<Timestamp>,
    /// Whether the response to a creation was lost, so that a pod can exist that is not in the cache.
    pub(super) needs_pod_relist: bool,
    /// Whether the Workload of the Job's owner was read from the API server.
    pub(super) parent_read: bool,
    /// Number of failed pods that were replaced; none before the first evaluation, which takes the present failures as
    /// replaced.
    pub(super) retried: Option<i64>,
    /// Retries that the budget of the policy allows, if that is fewer than the Job wants.
    pub(super) retries: Option<Allowance>,
    /// Memory of containers that the API server refused.
    pub(super) refused_memory: Option<RefusedMemory>,
    /// Name of the JobPolicy that does not exist, once that was reported.
    pub(super) missing_policy: Option<Box<str>>,
    /// Writes that the API server refused.
    pub(super) refusals: Refusals,
}

impl Memory {
    /// Records the results of the writes of a step.
    pub(super) fn note(&mut self, writes: &[Write], failed: &[FailedWrite], live: impl Fn() -> usize, now: Timestamp) {
        record(&mut self.refusals, writes, failed, now);
        for FailedWrite { kind, error, .. } in failed {
            self.needs_pod_relist |= *kind == CREATE && error.is_ambiguous();
            if error.is_quota() {
                self.refusals.mark_quota(*kind, live());
            }
        }
    }
}

/// Records which of these writes succeeded and which failed. A failed write lengthens only its own back-off.
pub(super) fn record(refusals: &mut Refusals, writes: &[Write], failed: &[FailedWrite], now: Timestamp) {
    for (kind, pod) in writes {
        if !failed.iter().any(|failed| failed.kind == *kind && failed.pod == *pod) {
            refusals.succeed(*kind, pod.as_ref());
        }
    }
    for FailedWrite { kind, pod, error, is_partial } in failed {
        refusals.refuse(*kind, pod.as_ref(), error, now);
        if *is_partial {
            refusals.restart(*kind, now);
        }
    }
}

/// Returns the error of a sync after another failed write. A refused write has its own back-off. Any other error is
/// returned, so that the sync is retried, also after an outage.
pub(super) fn merge_failure(failure: Option<WriteError>, error: WriteError) -> Option<WriteError> {
    if error.is_refusal() { failure.or(Some(WriteError::Deferred)) } else { Some(error) }
}

impl Controller {
    /// Ends the back-offs of writes that failed for want of a response.
    pub(super) fn outage_over(&self) {
        self.orphan_refusals().outage_over();
        let mut memory = self.memory();
        for (uid, memory) in memory.iter_mut() {
            if memory.refusals.outage_over() {
                self.executor.queue.add(Key::Job(uid.clone()));
            }
        }
    }

    pub(super) fn orphan_refusals(&self) -> MutexGuard<'_, Refusals> {
        self.orphan_refusals.lock()
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, FastMap<Uid, Memory>> {
        self.memory.lock()
    }

    pub(super) fn untracked_deletions(&self) -> MutexGuard<'_, FastMap<Uid, Timestamp>> {
        self.untracked_deletions.lock()
    }

    /// Returns what is remembered of a Job.
    pub(super) fn recall(&self, uid: &Uid) -> Memory {
        self.memory().get(uid).cloned().unwrap_or_default()
    }

    /// Stores what is remembered of a Job, or forgets a finished Job that has no write left.
    pub(super) fn remember(&self, job: &JobView, memory: &Memory) {
        let is_left =
            |kind: WriteKind, pod: &Uid| kind == UNTRACK && self.executor.pods.get(pod).is_some_and(|pod| pod.tracked);
        if job.status.is_finished() && !memory.refusals.any_part(is_left) {
            self.forget(&job.identity.uid);
        } else {
            self.memory().insert(job.identity.uid.clone(), memory.clone());
        }
    }

    /// Forgets a Job that is finished, gone, or managed by another controller, and cancels its timers.
    pub(super) fn forget(&self, uid: &Uid) {
        self.memory().remove(uid);
        self.forget_summary(uid);
        self.untracked_deletions().remove(uid);
        self.starts.lock().remove(uid);
        self.dependencies.remove(uid);
        self.retry_budgets.lock().values_mut().for_each(|budget| budget.forget(uid));
        self.executor.queue.cancel(&Key::Job(uid.clone()));
    }
}
