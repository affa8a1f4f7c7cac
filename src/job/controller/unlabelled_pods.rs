//! Pods of Jobs that the watch does not show: somebody took the label off that it selects by, while nobody watched.
//!
//! They still have our finalizer, so nobody could ever delete them. They are looked for once, when work begins; while a
//! watch runs, it tells of a label that goes.

use std::time::Duration;

use kube::api::ListParams;

use super::{Controller, Key, PodView, WirePod};
use crate::job::CONTROLLER_UID_LABEL;
use crate::runtime::cache::Source;
use crate::runtime::errors::WriteError;

/// A Job's pods never have the restart policy that all other pods have, so the API server need not send those.
const FIELDS: &str = "spec.restartPolicy!=Always";
/// So many pods come with one answer.
const PAGE: u32 = 500;
/// How soon it is looked again, at first, whether any are left; and at most.
const RECHECK_DELAY: Duration = Duration::from_secs(1);
const MAX_RECHECK_DELAY: Duration = Duration::from_secs(60);

impl Controller {
    /// Looks until there are none.
    pub(super) async fn keep_releasing_unlabelled_pods(&self) {
        let mut delay = RECHECK_DELAY;
        loop {
            match self.release_unlabelled_pods().await {
                Ok(0) | Err(WriteError::Closed | WriteError::Aborted) => return,
                Ok(count) => tracing::info!(count, "pods with our finalizer lack the label of their Job"),
                Err(error) => tracing::warn!(%error, "cannot look for pods that lack the label of their Job"),
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(MAX_RECHECK_DELAY);
        }
    }

    /// Lets go what it finds; tells how many there were.
    async fn release_unlabelled_pods(&self) -> Result<usize, WriteError> {
        let mut params = ListParams::default().labels(&format!("!{CONTROLLER_UID_LABEL}")).fields(FIELDS).limit(PAGE);
        let mut count = 0;
        loop {
            if *self.executor.all_pods.borrow() {
                // The watch shows them.
                return Ok(0);
            }
            let page = self.executor.context.api::<WirePod>().list(&params).await?;
            for pod in page.items.into_iter().filter_map(PodView::parse).filter(|pod| pod.tracked) {
                count += match self.release_unlabelled_pod(pod).await {
                    // One pod that a policy keeps is no reason to keep the others.
                    Err(error) if error.is_refusal() => 1,
                    released => usize::from(released?),
                };
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok(count);
            }
        }
    }

    /// Lets one go, unless it is none of our business.
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
                // The Job knows it from now on, and lets it go.
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
