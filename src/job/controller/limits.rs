//! JobLimits: watches them, and evaluates which Jobs are admitted whenever a Job or a limit changes.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;

use super::Controller;
use crate::job::key::Key;
use crate::job::limit::Admission;
use crate::job::limit::registry::JobLookup;
use crate::job::limit::view::{LimitView, WireJobLimit};
use crate::job::limit::workload::Workload;
use crate::job::view::JobView;
use crate::runtime::cache::ChangedKey;
use crate::runtime::identity::Uid;
use crate::runtime::watch::{CacheEvent, Watch};

impl Controller {
    /// Keeps the limits in step with the API server for as long as it is polled.
    pub(super) async fn watch_limits(&self) {
        let watch: Watch<WireJobLimit, LimitView> = self.watched(None, LimitView::parse, &self.limits_watched);
        let on_event = |event: CacheEvent<LimitView>| {
            let CacheEvent::Changed(change) = event else { return };
            if let Some(limit) = change.after.as_ref().or(change.before.as_ref()) {
                self.sync_all(self.admissions.limits_changed(&limit.identity.namespace, self));
            }
        };
        watch.feed(&self.admissions.limits, &self.limits_synced, on_event).await;
    }

    /// Evaluates all limits from what is stored. Returns the changes that [`Self::run_admission`] is to follow from here on.
    pub(super) fn start_admission(&self) -> UnboundedReceiver<ChangedKey> {
        // First: whatever changes from now on is evaluated again.
        let changes = self.executor.jobs.subscribe();
        self.admissions.open(self);
        changes
    }

    /// Evaluates the limits of a namespace whenever one of its Jobs changes.
    pub(super) async fn run_admission(&self, mut changes: UnboundedReceiver<ChangedKey>) {
        while let Some(ChangedKey { uid, namespace, .. }) = changes.recv().await {
            self.sync_all(self.admissions.job_changed(&namespace, &uid, self));
        }
    }

    /// The newest version of a Job, and whether that version may start pods.
    pub(super) fn admission(&self, job: &JobView) -> Option<(Arc<JobView>, Admission)> {
        let (job, admission, changed) = self.admissions.admission(&job.identity.namespace, &job.identity.uid, self);
        self.sync_all(changed);
        Some((job?, admission))
    }

    fn sync_all(&self, jobs: Vec<Uid>) {
        for uid in jobs {
            self.executor.queue.add(Key::Job(uid));
        }
    }
}

impl JobLookup for Controller {
    fn newest(&self, uid: &Uid) -> Option<Arc<JobView>> {
        self.executor.jobs.get(uid)
    }

    fn workloads(&self, is_selected: &dyn Fn(&str) -> bool) -> Vec<(Arc<str>, Workload)> {
        let jobs = self.executor.jobs.all(|job| is_selected(&job.identity.namespace));
        jobs.iter().filter_map(|job| Some((job.identity.namespace.clone(), self.workload(job)?))).collect()
    }

    fn workload(&self, job: &JobView) -> Option<Workload> {
        let active = || {
            let pods = self.executor.pods.owned(&job.identity.uid, &job.identity.namespace);
            pods.iter().filter(|pod| pod.is_active()).count()
        };
        Workload::of(job, active).filter(|_| self.claims(job))
    }
}
