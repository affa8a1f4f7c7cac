//! JobLimits: watches them, and evaluates which Jobs are admitted whenever a Job or a limit changes.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;

use super::Controller;
use crate::job::key::Key;
use crate::job::limit::Admission;
use crate::job::limit::claim::Candidate;
use crate::job::limit::registry::Jobs;
use crate::job::limit::view::{LimitView, WireJobLimit};
use crate::job::view::JobView;
use crate::runtime::cache::Changed;
use crate::runtime::identity::Uid;
use crate::runtime::watch::{News, Watch};

impl Controller {
    /// Keeps the limits in step with the API server for as long as it is polled.
    pub(super) async fn watch_limits(&self) {
        let watch: Watch<WireJobLimit, LimitView> = self.watched(None, LimitView::parse, &self.limits_watched);
        let heard = |news: News<LimitView>| {
            let News::Changed(change) = news else { return };
            if let Some(limit) = change.after.as_ref().or(change.before.as_ref()) {
                self.sync_all(self.admissions.limits_changed(&limit.identity.namespace, self));
            }
        };
        watch.feed(&self.admissions.limits, &self.limits_synced, heard).await;
    }

    /// Evaluates all limits from what is stored. Returns the changes that [`Self::follow_jobs`] is to follow from here on.
    pub(super) fn open_admissions(&self) -> UnboundedReceiver<Changed> {
        // First: whatever changes from now on is evaluated again.
        let changes = self.actor.jobs.subscribe();
        self.admissions.open(self);
        changes
    }

    /// Evaluates the limits of a namespace whenever one of its Jobs changes.
    pub(super) async fn follow_jobs(&self, mut changes: UnboundedReceiver<Changed>) {
        while let Some(Changed { uid, namespace, .. }) = changes.recv().await {
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
            self.actor.queue.add(Key::Job(uid));
        }
    }
}

impl Jobs for Controller {
    fn newest(&self, uid: &Uid) -> Option<Arc<JobView>> {
        self.actor.jobs.get(uid)
    }

    fn candidates(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<(Arc<str>, Candidate)> {
        let jobs = self.actor.jobs.all(|job| wanted(&job.identity.namespace));
        jobs.iter().filter_map(|job| Some((job.identity.namespace.clone(), self.candidate(job)?))).collect()
    }

    fn candidate(&self, job: &JobView) -> Option<Candidate> {
        let active = || {
            let pods = self.actor.pods.owned(&job.identity.uid, &job.identity.namespace);
            pods.iter().filter(|pod| pod.is_active()).count()
        };
        Candidate::of(job, active).filter(|_| self.claims(job))
    }
}
