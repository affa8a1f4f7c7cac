//! Summaries of the pods of each Job, kept up to date between syncs.

use super::Controller;
use crate::job::decide::claims;
use crate::job::decide::start_waits::StartWaits;
use crate::job::decide::summary::PodSummary;
use crate::job::key::Key;
use crate::job::view::{JobView, PodView};
use crate::runtime::identity::Uid;

/// Maximum number of pods for which debug builds compare a summary with a new one.
#[cfg(debug_assertions)]
const MAX_COMPARED: usize = 200;

impl Controller {
    /// Returns the summary of the pods of a Job. It is taken out of the store, and [`Self::store_summary`] puts it back.
    /// If the sync ends without that, the next one computes the summary again.
    ///
    /// Also returns whether the changes of the pods since the last sync are known.
    pub(super) fn take_summary(&self, job: &JobView) -> (Box<PodSummary>, bool) {
        let known = self.summaries.lock().remove(&job.identity.uid);
        let is_followed = known.is_some();
        let summary = known.unwrap_or_else(|| {
            let pods = self.executor.pods.follow(&job.identity.uid);
            for pod in &pods {
                self.enqueue_pretender(job, pod);
            }
            Box::new(PodSummary::new(job, pods.into_iter().filter(|pod| is_in_namespace(job, pod))))
        });
        (summary, is_followed)
    }

    /// Applies the changes of a Job and its pods since the last call.
    pub(super) fn update_summary(&self, summary: &mut PodSummary, starts: &mut StartWaits, job: &JobView) {
        summary.set_job(job);
        self.apply_changes(summary, starts, job);
        #[cfg(debug_assertions)]
        self.compare(summary, starts, job);
    }

    /// Applies the changes of the pods of a Job since the last call, and returns their number.
    fn apply_changes(&self, summary: &mut PodSummary, starts: &mut StartWaits, job: &JobView) -> usize {
        let changes = self.executor.pods.changes(&job.identity.uid);
        let count = changes.len();
        for (uid, pod) in changes {
            if let Some(pod) = &pod {
                self.enqueue_pretender(job, pod);
            }
            let pod = pod.filter(|pod| is_in_namespace(job, pod));
            if starts.is_complete() {
                let own = pod.as_deref().filter(|pod| claims::controls(job, pod));
                starts.observe(&uid, own, self.executor.context.clock.now());
            }
            summary.set_pod(job, &uid, pod);
        }
        count
    }

    /// Stores the summary of a Job until its next sync. The summary of a Job with few pods is dropped: it costs less to
    /// compute again than it takes in memory.
    pub(super) fn store_summary(&self, uid: &Uid, summary: Box<PodSummary>) {
        let is_worth_it = summary.len() >= self.config.min_pods_for_summary;
        if is_worth_it && self.executor.jobs.get(uid).is_some_and(|job| !job.status.is_finished()) {
            self.summaries.lock().insert(uid.clone(), summary);
        } else {
            self.executor.pods.unfollow(uid);
        }
    }

    /// Drops the summary of a Job.
    pub(super) fn forget_summary(&self, uid: &Uid) {
        self.executor.pods.unfollow(uid);
        self.summaries.lock().remove(uid);
    }

    /// Drops all summaries.
    pub(super) fn forget_summaries(&self) {
        self.executor.pods.unfollow_all();
        self.summaries.lock().clear();
    }

    /// Queues a tracked pod of another namespace that names this Job as its controller: no status counts the pod.
    fn enqueue_pretender(&self, job: &JobView, pod: &PodView) {
        if pod.tracked && !is_in_namespace(job, pod) {
            self.executor.queue.add(Key::Orphan(pod.identity.uid.clone()));
        }
    }

    /// Checks that the changes have led to the same summary as a new computation, unless pods change meanwhile.
    #[cfg(debug_assertions)]
    fn compare(&self, summary: &mut PodSummary, starts: &mut StartWaits, job: &JobView) {
        if summary.len() > MAX_COMPARED {
            return;
        }
        let pods = self.executor.pods.owned(&job.identity.uid, &job.identity.namespace);
        if self.apply_changes(summary, starts, job) == 0 {
            let computed = PodSummary::new(job, pods);
            debug_assert!(*summary == computed, "{summary:#?} differs from {computed:#?}");
        }
    }
}

fn is_in_namespace(job: &JobView, pod: &PodView) -> bool {
    pod.identity.namespace == job.identity.namespace
}
