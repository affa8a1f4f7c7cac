//! Unlabelled pods: pods of Jobs that lost the label of the watch while no controller watched.
//!
//! Such pods still have the tracking finalizer, so they could never be deleted. The controller searches for them once per term.
//! A running watch reports a label that is removed.

use std::time::Duration;

use kube::api::ListParams;

use super::Controller;
use crate::job::CONTROLLER_UID_LABEL;
use crate::job::key::Key;
use crate::job::view::PodView;
use crate::job::wire::WirePod;
use crate::runtime::cache::Source;
use crate::runtime::errors::WriteError;

/// Field selector that leaves out most pods of other owners: a pod of a Job never has the restart policy Always.
const FIELDS: &str = "spec.restartPolicy!=Always";
/// Maximum number of pods of one page of the list.
const PAGE: u32 = 500;
/// Delay before the first repetition of the search, which doubles up to the maximum.
const RECHECK_DELAY: Duration = Duration::from_secs(1);
const MAX_RECHECK_DELAY: Duration = Duration::from_secs(60);

impl Controller {
    /// Repeats the search until it finds no pod.
    pub(super) async fn keep_releasing_unlabelled_pods(&self) {
        let mut delay = RECHECK_DELAY;
        loop {
            match self.release_unlabelled_pods().await {
                Ok(0) | Err(WriteError::Closed | WriteError::Aborted) => return,
                Ok(count) => tracing::info!(count, "found tracked pods that lack the label of their Job"),
                Err(error) => tracing::warn!(%error, "cannot list pods that lack the label of their Job"),
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(MAX_RECHECK_DELAY);
        }
    }

    /// Removes the finalizers of the pods that it finds, and returns their number.
    async fn release_unlabelled_pods(&self) -> Result<usize, WriteError> {
        let mut params = ListParams::default().labels(&format!("!{CONTROLLER_UID_LABEL}")).fields(FIELDS).limit(PAGE);
        let mut count = 0;
        loop {
            if *self.executor.all_pods.borrow() {
                // The watch delivers these pods.
                return Ok(0);
            }
            let page = self.executor.context.objects::<WirePod>().list(&params).await?;
            let pods = page.items.into_iter().filter_map(|pod| self.pods_watched.usable(pod));
            for pod in pods.filter_map(PodView::parse).filter(|pod| pod.tracked) {
                count += match self.release_unlabelled_pod(pod).await {
                    // A policy that keeps one pod does not keep the other pods.
                    Err(error) if error.is_refusal() => 1,
                    released => usize::from(released?),
                };
            }
            params.continue_token = Some(page.continue_token).filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok(count);
            }
        }
    }

    /// Removes the finalizer of one pod, unless another controller manages its Job. Returns whether the pod was handled.
    async fn release_unlabelled_pod(&self, pod: PodView) -> Result<bool, WriteError> {
        if let Some(owner) = &pod.owner {
            if !owner.is_job {
                return Ok(false);
            }
            let job = match self.executor.jobs.get(&owner.uid) {
                Some(job) => Some((*job).clone()),
                None => self.executor.read(&pod.identity.namespace, &owner.name, &owner.uid).await?,
            };
            if job.as_ref().is_some_and(|job| !self.claims(job)) {
                return Ok(false);
            }
            if job.is_some_and(|job| !job.deleting && !job.status.is_finished()) {
                // The next sync of the Job counts the pod and removes the finalizer.
                let job = owner.uid.clone();
                self.executor.pods.apply(pod, Source::Answer);
                self.executor.queue.add(Key::Job(job));
                return Ok(true);
            }
        }
        self.executor.untrack_orphan(&pod).await?;
        Ok(true)
    }
}
