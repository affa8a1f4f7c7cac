//! Stores the responses of the API server in the cache, and queues the keys that a response concerns.

use std::sync::Arc;

use super::StepExecutor;
use crate::job::CONTROLLER_UID_LABEL;
use crate::job::key::Key;
use crate::job::view::{JobView, PodView};
use crate::job::wire::{WireJob, WirePod};
use crate::runtime::cache::{Change, Source};
use crate::runtime::identity::Uid;

impl StepExecutor {
    /// Reads the pods of a Job from the API server. A creation may have succeeded although its response was lost.
    pub async fn relist_pods(&self, job: &JobView) -> kube::Result<()> {
        let Some(selector) = &job.spec.selector else { return Ok(()) };
        let pods = self.context.objects_in::<WirePod>(&job.identity.namespace);
        let list = kube::api::ListParams::default().labels(&selector.to_string());
        for pod in pods.list(&list).await?.items.into_iter().filter_map(|pod| self.pods_watched.usable(pod)) {
            self.apply_pod(pod);
        }
        Ok(())
    }

    /// Returns the Job with this UID as the API server has it now; none if the Job is gone. The cache does not change: a
    /// Job that is not in the cache has to arrive by the watch.
    pub async fn read(&self, namespace: &str, name: &str, uid: &Uid) -> kube::Result<Option<JobView>> {
        let jobs = self.context.objects_in::<WireJob>(namespace);
        let found = jobs.get_opt(name).await?.and_then(JobView::parse);
        Ok(found.filter(|found| found.identity.uid == *uid))
    }

    /// Reads a Job from the API server into the cache; none if the Job is gone, which the cache then records.
    pub(super) async fn refresh_job(&self, job: &JobView) -> kube::Result<Option<JobView>> {
        let found = self.read(&job.identity.namespace, &job.identity.name, &job.identity.uid).await?;
        match &found {
            Some(found) => self.jobs.apply(found.clone(), Source::Answer),
            None => self.jobs.remove(&job.identity.uid),
        };
        Ok(found)
    }

    /// Stores a pod that the API server returned.
    pub(super) fn apply_pod(&self, pod: WirePod) {
        let no_grace = pod.metadata.deletion_grace_period_seconds == Some(0);
        let Some(pod) = PodView::parse(pod) else { return };
        let uid = pod.identity.uid.clone();
        let is_final_update = !pod.tracked && !self.is_watched(&pod);
        if pod.deleting && no_grace && !pod.has_finalizers {
            // No finalizer keeps the pod: no event follows this response.
            self.remove_pod(&pod);
        } else if let Some(change) = self.pods.apply(pod, Source::Answer) {
            self.metrics.pod_changed(&change);
            self.enqueue_owners(&change);
            if is_final_update {
                // The watch sends no event of this pod, so the cache would keep this version.
                self.forget_pod(&uid);
            }
        }
    }

    /// Returns whether the watch sends events of this pod.
    pub fn is_watched(&self, pod: &PodView) -> bool {
        *self.all_pods.borrow() || pod.labels.contains_key(CONTROLLER_UID_LABEL)
    }

    /// Removes a pod from the cache that exists but no longer concerns this controller.
    pub fn forget_pod(&self, uid: &Uid) {
        self.forget_uncounted_deletion(uid);
        if let Some(change) = self.pods.forget(uid) {
            self.metrics.pod_changed(&change);
        }
    }

    /// Queues the owners and the pod itself if a response changes the owner of a pod. The watch does not repeat what a
    /// response contained, and another Job than the one at hand is concerned.
    fn enqueue_owners(&self, change: &Change<PodView>) {
        let owner = |pod: &Option<Arc<PodView>>| pod.as_ref().and_then(|pod| pod.owner.clone());
        let (before, after) = (owner(&change.before), owner(&change.after));
        if change.before.is_some() && before != after {
            for owner in [&before, &after].into_iter().flatten().filter(|owner| owner.is_job) {
                self.queue.add(Key::Job(owner.uid.clone()));
            }
        }
        if let Some(orphan) = change.after.as_ref().filter(|pod| pod.owner.is_none() && pod.tracked) {
            self.queue.add(Key::Orphan(orphan.identity.uid.clone()));
        }
    }

    /// Forgets all pods that the controller is deleting uncounted.
    pub fn clear_uncounted_deletions(&self) {
        self.uncounted_deletions.lock().clear();
    }

    /// Returns whether the controller is deleting this pod uncounted.
    pub fn is_deleted_uncounted(&self, pod: &Uid) -> bool {
        self.uncounted_deletions.lock().contains(pod)
    }

    /// Forgets that the controller is deleting a pod uncounted.
    pub fn forget_uncounted_deletion(&self, pod: &Uid) {
        self.uncounted_deletions.lock().remove(pod);
    }

    /// Records that a pod is gone.
    pub(super) fn remove_pod(&self, pod: &PodView) {
        self.forget_uncounted_deletion(&pod.identity.uid);
        if let Some(change) = self.pods.remove(&pod.identity.uid) {
            self.metrics.pod_changed(&change);
        }
    }
}
