//! Whose turn it is, where a namespace's Jobs are limited: watches the limits, and lets Jobs go on when there is room.

use std::sync::Arc;

use super::Controller;
use crate::job::key::Key;
use crate::job::limit::admission::Candidate;
use crate::job::limit::view::{LimitView, WireJobLimit};
use crate::runtime::identity::Uid;
use crate::runtime::watch::{News, Watch};

impl Controller {
    /// Keeps the limits in step with the API server for as long as it is polled.
    pub(super) async fn watch_limits(&self) {
        let watch: Watch<WireJobLimit, LimitView> = self.watched(None, LimitView::parse, &self.limits_watched);
        let heard = |news: News<LimitView>| {
            let News::Changed(change) = news else { return };
            for limit in [&change.before, &change.after].into_iter().flatten() {
                self.gate.limits_changed(&limit.identity.namespace);
            }
        };
        watch.feed(&self.gate.limits, &self.limits_synced, heard).await;
    }

    /// Nothing is known of whose turn it is: somebody else may have worked.
    pub(super) fn forget_turns(&self) {
        self.gate.clear();
        for limit in self.gate.limits.all(|_| true) {
            self.gate.limits_changed(&limit.identity.namespace);
        }
    }

    /// Whenever something happens where Jobs are limited, finds out whose turn it is. Never returns.
    pub(super) async fn keep_turns(&self) {
        let mut changes = self.actor.jobs.subscribe();
        let listen = async {
            while let Some(change) = changes.recv().await {
                self.gate.touch(&change.namespace);
            }
        };
        let judge = async {
            loop {
                for namespace in self.gate.stale_namespaces().await {
                    for uid in self.gate.judge(&namespace, |admitted| self.candidates_for_limits(&namespace, admitted))
                    {
                        self.actor.queue.add(Key::Job(uid));
                    }
                }
                // Whatever happened at once is looked at together.
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(listen, judge);
    }

    /// The Jobs of a namespace that limits can be for.
    fn candidates_for_limits(&self, namespace: &Arc<str>, admitted: &dyn Fn(&Uid) -> bool) -> Vec<Candidate> {
        let jobs = self.actor.jobs.all(|job| job.identity.namespace == *namespace && self.claims(job));
        let of = |job: &Arc<_>| {
            let job: &crate::job::view::JobView = job;
            let uid = &job.identity.uid;
            Candidate::of(job, admitted(uid) || !self.actor.pods.owned(uid, namespace).is_empty())
        };
        jobs.iter().filter_map(of).collect()
    }
}
