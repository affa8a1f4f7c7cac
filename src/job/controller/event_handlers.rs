//! Event handlers of the watches: they feed the caches and turn changes into keys.

use super::Controller;
use crate::job::CONTROLLER_UID_LABEL;
use crate::job::conflicting_controller::ConflictingController;
use crate::job::decide::relevance;
use crate::job::key::Key;
use crate::job::managed_by::Claim;
use crate::job::view::{ControllerRef, JobView, PodView};
use crate::job::wire::{WireJob, WirePod};
use crate::runtime::cache::Change;
use crate::runtime::codec::WireObject;
use crate::runtime::events::EventText;
use crate::runtime::watch::{CacheEvent, Watch, WatchMetrics};

impl Controller {
    pub(super) async fn watch_jobs(&self) {
        let watch: Watch<WireJob, JobView> = self.watched(None, JobView::parse, &self.jobs_watched);
        watch.feed(&self.executor.jobs, &self.jobs_synced, |event| self.on_event(event, Self::job_changed)).await;
    }

    /// Watches only pods with the label of a generated selector, unless a Job has a selector that a user wrote.
    pub(super) async fn watch_pods(&self) {
        let mut all_pods = self.executor.all_pods.subscribe();
        loop {
            let all = *all_pods.borrow_and_update();
            let label = (!all).then_some(CONTROLLER_UID_LABEL);
            let watch: Watch<WirePod, PodView> = self.watched(label, PodView::parse, &self.pods_watched);
            let synced = if all { &self.all_pods_synced } else { &self.pods_synced };
            tokio::select! {
                biased;
                () = watch.feed(&self.executor.pods, synced, |event| self.on_event(event, Self::pod_changed)) => return,
                () = self.know_all_pods() => {}
                _ = all_pods.changed() => {}
            }
        }
    }

    /// Queues the Jobs with a selector that a user wrote, once all pods are known. Never returns.
    async fn know_all_pods(&self) {
        self.all_pods_synced.wait().await;
        for job in self.executor.jobs.all(|job| !job.template.labelled) {
            self.executor.queue.add(Key::Job(job.identity.uid.clone()));
        }
        std::future::pending().await
    }

    pub(super) fn watched<W, T>(
        &self,
        label: Option<&'static str>,
        parse: fn(W) -> Option<T>,
        metrics: &WatchMetrics,
    ) -> Watch<W, T>
    where
        W: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()> + WireObject,
    {
        Watch { objects: self.executor.context.watched(metrics), label, parse, metrics: metrics.clone() }
    }

    fn on_event<T>(&self, event: CacheEvent<T>, changed: impl Fn(&Self, &Change<T>)) {
        match event {
            CacheEvent::Changed(change) => changed(self, &change),
            CacheEvent::WatchRecovered => {
                self.outage_over();
                self.executor.queue.retry_now();
            }
        }
    }

    fn job_changed(&self, change: &Change<JobView>) {
        let Some(job) = change.after.as_ref().or(change.before.as_ref()) else { return };
        if self.executor.queue.is_open() && self.detect_conflicting_controller(change) {
            return;
        }
        if change.before.is_none() && self.executor.queue.is_open() {
            self.count_external(job);
            self.report_scheduling(job);
        }
        if self.executor.queue.is_open() && change.after.is_some() {
            self.report_annotation(change.before.as_deref(), job);
        }
        if change.after.is_some() && self.claims(job) && !job.template.labelled {
            // The pods of this Job lack the label: all pods are watched from now on.
            self.executor.all_pods.send_if_modified(|all| !std::mem::replace(all, true));
        }
        self.executor.queue.add(Key::Job(job.identity.uid.clone()));
    }

    /// Records an event if a new version of an unfinished Job has an annotation without effect that the version before did
    /// not have.
    pub(super) fn report_annotation(&self, before: Option<&JobView>, job: &JobView) {
        let before = before.and_then(|before| before.annotation_problem.as_deref());
        let problem = job.annotation_problem.as_deref().filter(|problem| before != Some(*problem));
        if let Some(problem) = problem.filter(|_| self.claims(job) && !job.status.is_finished() && !job.deleting) {
            self.executor.record_event(job, EventText::warning("InvalidAnnotation", problem));
        }
    }

    /// Returns the owner of a pod that another client deleted after it removed the finalizer, so that the end of the pod
    /// is not counted. The owner is an unfinished Job of the same namespace on which the controller works: the time of the
    /// deletion is remembered until the Job is finished.
    fn owner_of_untracked_deletion<'a>(&self, change: &'a Change<PodView>) -> Option<&'a ControllerRef> {
        let before = change.before.as_ref().filter(|before| before.is_active())?;
        let uncounted = change.after.as_ref().is_none_or(|after| after.is_terminating() && !after.tracked);
        let owner =
            before.owner.as_ref().filter(|_| uncounted && !self.executor.is_deleted_uncounted(&before.identity.uid))?;
        let job = self.executor.jobs.get(&owner.uid).filter(|job| self.claims(job) && !job.status.is_finished())?;
        (job.identity.namespace == before.identity.namespace).then_some(owner)
    }

    fn pod_changed(&self, change: &Change<PodView>) {
        if !self.executor.queue.is_open() {
            // The leader handles the change. The watch sends no further event of a pod without the label.
            if let Some(pod) = change.after.as_ref().filter(|pod| !self.executor.is_watched(pod)) {
                self.executor.pods.forget(&pod.identity.uid);
            }
            return;
        }
        self.executor.metrics.pod_changed(change);
        if let Some(owner) = self.owner_of_untracked_deletion(change) {
            let now = self.executor.context.clock.now();
            self.untracked_deletions().insert(owner.uid.clone(), now);
        }
        if let Some(gone) = change.before.as_ref().filter(|_| change.after.is_none()) {
            self.executor.forget_uncounted_deletion(&gone.identity.uid);
        }
        let is_without_consequence = match (&change.before, &change.after) {
            (Some(before), Some(after)) => {
                after.owner.is_some() && !relevance::can_matter(before, after) && !self.matters_to_policy(before, after)
            }
            _ => false,
        };
        if is_without_consequence {
            return;
        }
        for pod in [&change.before, &change.after].into_iter().flatten() {
            if let Some(owner) = pod.owner.as_ref().filter(|owner| owner.is_job) {
                self.executor.queue.add(Key::Job(owner.uid.clone()));
            }
        }
        let Some(pod) = change.after.as_ref() else { return };
        if !pod.tracked && !self.executor.is_watched(pod) {
            // Only another finalizer keeps the pod, and the watch sends no further event of it.
            self.executor.forget_pod(&pod.identity.uid);
        } else if pod.owner.is_none() {
            if pod.tracked {
                self.executor.queue.add(Key::Orphan(pod.identity.uid.clone()));
            }
            let may_adopt =
                |job: &JobView| job.identity.namespace == pod.identity.namespace && job.selects(&pod.labels);
            for job in self.executor.jobs.all(may_adopt) {
                self.executor.queue.add(Key::Job(job.identity.uid.clone()));
            }
        }
    }

    /// Returns whether kube-controller-manager works on the same Job: it wrote the status while this controller watched.
    /// The run then ends. The writer is read from the managed fields. A user who is allowed to change the Job can forge
    /// them, but not the status.
    fn detect_conflicting_controller(&self, change: &Change<JobView>) -> bool {
        let (Some(before), Some(after)) = (&change.before, &change.after) else { return false };
        if self.config.claim == Claim::ManagedBy
            || !self.claims(after)
            || before.last_kcm_status_write == after.last_kcm_status_write
            || before.status == after.status
        {
            return false;
        }
        let (namespace, name) = (after.identity.namespace.to_string(), after.identity.name.to_string());
        let conflicting_controller = ConflictingController { namespace, job: name };
        let message = format!("Jobwright stops: {conflicting_controller}");
        self.executor.record_event(after, EventText::warning("OtherController", message));
        self.conflicting_controller.send_replace(Some(conflicting_controller));
        true
    }
}
