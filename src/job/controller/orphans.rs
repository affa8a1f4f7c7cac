//! Pods without a Job: removes their finalizers, so that they can be deleted.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Controller;
use super::memory::{merge_failure, record};
use super::sync::on_pods;
use crate::job::execute::FailedWrite;
use crate::job::key::Key;
use crate::job::view::PodView;
use crate::job::write_kinds::UNTRACK;
use crate::runtime::cache::Cached;
use crate::runtime::errors::WriteError;
use crate::runtime::identity::Uid;
use crate::runtime::refusals::Refusals;

/// Maximum number of pods of a deleted Job whose finalizers one sync removes.
pub(super) const MAX_FINALIZER_REMOVALS_PER_SYNC: usize = 100;
/// Delay until the next check whether the watch has delivered a Job that the API server knows.
const UNKNOWN_OWNER_RECHECK: Duration = Duration::from_secs(1);
/// Number of pods without a Job from which on old refusals are forgotten.
const MAX_ORPHAN_REFUSALS: usize = 4096;

impl Controller {
    /// Removes the finalizers from the pods of a Job that is gone: no status will count these pods.
    pub(super) async fn release_pods_of_deleted_job(&self, uid: &Uid) -> Result<(), WriteError> {
        let tracked = self.executor.pods.referencing(uid).into_iter().filter(|pod| pod.tracked);
        let mut left: Vec<_> = tracked.collect();
        let Some((namespace, owner)) =
            left.first().and_then(|pod| Some((pod.identity.namespace.clone(), pod.owner.clone()?)))
        else {
            return Ok(());
        };
        if !self.executor.jobs.is_deleted(uid) {
            // The watch may not have delivered the Job yet.
            if self.executor.read(&namespace, &owner.name, uid).await?.is_some() {
                self.executor.queue.add_at(Key::Job(uid.clone()), Instant::now() + UNKNOWN_OWNER_RECHECK);
                return Ok(());
            }
            // The Job was read in one namespace. The next sync handles the pods of the other namespaces.
            let all = left.len();
            left.retain(|pod| pod.identity.namespace == namespace);
            if left.len() < all {
                self.executor.queue.add(Key::Job(uid.clone()));
            }
        }
        let now = self.executor.context.clock.now();
        left.retain(|pod| !self.orphan_refusals().is_backed_off(UNTRACK, Some(&pod.identity.uid), now));
        let is_more = left.len() > MAX_FINALIZER_REMOVALS_PER_SYNC;
        left.truncate(MAX_FINALIZER_REMOVALS_PER_SYNC);
        let failed = self.executor.untrack(&left).await;
        // A pod that changed meanwhile keeps its finalizer without a failure. The next sync decides from the present
        // version, which no event of the watch reports any more.
        let has_failed = |pod: &PodView| failed.iter().any(|failed| failed.pod.as_ref() == Some(&pod.identity.uid));
        let is_tracked = |pod: &PodView| self.executor.pods.get(&pod.identity.uid).is_some_and(|pod| pod.tracked);
        let have_changed = left.iter().any(|pod| !has_failed(pod) && is_tracked(pod));
        if have_changed || is_more && failed.len() < left.len() {
            // The remaining pods come after the keys that are queued now.
            self.executor.queue.add(Key::Job(uid.clone()));
        }
        let mut orphan_refusals = self.orphan_refusals();
        record(&mut orphan_refusals, &on_pods(UNTRACK, &left), &failed, now);
        let failure = failed.into_iter().fold(None, |failure, FailedWrite { error, .. }| merge_failure(failure, error));
        self.requeue_refused_orphans(&mut orphan_refusals, Key::Job(uid.clone()), now);
        failure.map_or(Ok(()), Err)
    }

    /// Queues a key for the time when the next back-off of a pod without a Job ends.
    fn requeue_refused_orphans(&self, orphan_refusals: &mut Refusals, key: Key, now: Timestamp) {
        if orphan_refusals.len() > MAX_ORPHAN_REFUSALS {
            orphan_refusals.forget_old(now);
        }
        if let Some(next_retry) = orphan_refusals.next(now) {
            self.executor.queue.add_at(key, self.executor.context.clock.instant_of(next_retry));
        }
    }

    /// Removes the finalizer from a pod that no Job controls.
    pub(super) async fn sync_orphan(&self, uid: &Uid) -> Result<(), WriteError> {
        match self.executor.pods.get(uid) {
            Some(pod) if pod.tracked && !self.is_controlled(&pod) => self.untrack_orphan(&pod).await,
            _ => {
                self.orphan_refusals().succeed(UNTRACK, Some(uid));
                Ok(())
            }
        }
    }

    async fn untrack_orphan(&self, pod: &PodView) -> Result<(), WriteError> {
        let (uid, now) = (&pod.identity.uid, self.executor.context.clock.now());
        let backed_off_until = self.orphan_refusals().until(UNTRACK, Some(uid), now);
        let result = match backed_off_until {
            Some(_) => Ok(()),
            None => self.executor.untrack_orphan(pod).await,
        };
        let mut orphan_refusals = self.orphan_refusals();
        match &result {
            Err(error) if !error.is_gate_closed() => {
                orphan_refusals.refuse(UNTRACK, Some(uid), error, now);
            }
            Ok(()) if backed_off_until.is_none() => {
                orphan_refusals.succeed(UNTRACK, Some(uid));
                if self.executor.pods.get(uid).is_some_and(|pod| pod.tracked) {
                    // The pod changed meanwhile: the next sync decides from its present version.
                    self.executor.queue.add(Key::Orphan(uid.clone()));
                }
            }
            _ => {}
        }
        self.requeue_refused_orphans(&mut orphan_refusals, Key::Orphan(uid.clone()), now);
        result.map_err(|error| if error.is_refusal() { WriteError::Deferred } else { error })
    }

    /// Returns whether a pod has a valid controller: not a Job of another namespace.
    fn is_controlled(&self, pod: &PodView) -> bool {
        pod.controller().is_some_and(|owner| {
            self.executor.jobs.get(owner).is_none_or(|job| job.identity.namespace == pod.identity.namespace)
        })
    }
}
