//! The JobPolicies that govern the Jobs, and the pods that have not started.

use std::sync::Arc;

use super::memory::Memory;
use super::policy_source::{Governing, PolicySource};
use super::{Controller, PolicyKey};
use crate::job::decide::relevance;
use crate::job::decide::retry_memory::RefusedMemory;
use crate::job::decide::start_waits::StartWaits;
use crate::job::decide::summary::PodSummary;
use crate::job::execute::FailedWrite;
use crate::job::policy::POLICY_ANNOTATION;
use crate::job::view::memory::MemorySizes;
use crate::job::view::{JobView, PodView};
use crate::job::write_kinds::CREATE;
use crate::runtime::events::EventText;
use crate::runtime::identity::Uid;

/// Returns the key of the budget of the policy that governs a Job. The Jobs of all namespaces share that of a default
/// policy.
fn policy_key(job: &JobView, governing: &Governing) -> PolicyKey {
    let name = governing.rules().map(|rules| rules.name.clone()).unwrap_or_default();
    let namespace = if name.contains('/') { Arc::default() } else { job.identity.namespace.clone() };
    (namespace, name)
}

impl Controller {
    /// Sets the JobPolicies. The caller sets them before the controller begins to work.
    pub fn set_policies(&self, policies: Arc<dyn PolicySource>) {
        self.policies.get_or_init(|| policies);
    }

    /// Returns what governs a Job.
    pub(super) fn governing(&self, job: &JobView) -> Governing {
        self.policies.get().map(|policies| policies.governing(job)).unwrap_or_default()
    }

    /// Records an event if the JobPolicy that a Job names does not exist.
    pub(super) fn report_policy(&self, job: &JobView, governing: &Governing, memory: &mut Memory) {
        let missing = job.named_policy.clone().filter(|_| *governing == Governing::Missing);
        if missing == memory.missing_policy {
            return;
        }
        if let Some(name) = &missing {
            let message = format!(
                "metadata.annotations[{POLICY_ANNOTATION}]: no valid JobPolicy {name:?} is in the namespace, so no policy \
                 governs the Job; create it, or remove the annotation"
            );
            self.executor.record_event(job, EventText::warning("PolicyNotFound", message));
        }
        memory.missing_policy = missing;
    }

    /// Returns the number of retries among this number of new pods. None if the budget of the policy allows fewer; the next
    /// decision then has that number.
    pub(super) fn count_retries(
        &self,
        job: &JobView,
        summary: &PodSummary,
        new: usize,
        governing: &Governing,
        memory: &mut Memory,
    ) -> Option<usize> {
        let Some(per_minute) = governing.rules().and_then(|rules| rules.retries_per_minute) else { return Some(0) };
        let failed = summary.failed();
        let outstanding = usize::try_from(failed - *memory.retried.get_or_insert(failed)).unwrap_or_default();
        let now = self.executor.context.clock.now();
        let is_limited = memory.retries.is_some_and(|retries| retries.next.is_some_and(|next| next > now));
        if is_limited {
            // This number is what the budget allows.
            return Some(new.min(outstanding));
        }
        let key = policy_key(job, governing);
        let allowance = self.retry_budgets.lock().entry(key).or_default().allowance(
            &job.identity.uid,
            outstanding,
            per_minute,
            now,
        );
        memory.retries = Some(allowance).filter(|allowance| allowance.allowed(new).1.is_some());
        memory.retries.is_none().then(|| new.min(outstanding))
    }

    /// Records that this number of retries was made.
    pub(super) fn note_retries(&self, job: &JobView, retries: usize, governing: &Governing, memory: &mut Memory) {
        if retries == 0 {
            return;
        }
        memory.retried = memory.retried.map(|retried| retried.saturating_add(retries as i64));
        memory.retries = None;
        if let Some(budget) = self.retry_budgets.lock().get_mut(&policy_key(job, governing)) {
            budget.used(&job.identity.uid, retries);
        }
    }

    /// Records that the API server refused pods because of the memory that their containers were to get. The next pods get
    /// the memory before.
    pub(super) fn note_refused_memory(
        &self,
        job: &JobView,
        raised: Option<MemorySizes>,
        failed: &[FailedWrite],
        memory: &mut Memory,
    ) {
        let Some(sizes) = raised else { return };
        let refused = failed.iter().find(|failed| failed.kind == CREATE && failed.error.is_refusal());
        // A quota and a LimitRange name the resource.
        let Some(refused) = refused.filter(|failed| failed.error.to_string().contains("memory")) else { return };
        let message = format!(
            "The API server refuses pods with the memory {}; the next pods get less: {}",
            sizes.text(),
            refused.error
        );
        self.executor.record_event(job, EventText::warning("MemoryRefused", message));
        memory.refused_memory = Some(RefusedMemory { sizes, at: self.executor.context.clock.now() });
    }

    /// Takes the pods of a Job that have not started out of the store. [`Self::store_starts`] puts them back. If the sync
    /// ends without that, the times count again from what the stored pods show.
    pub(super) fn take_starts(&self, uid: &Uid, is_followed: bool) -> StartWaits {
        let mut starts = self.starts.lock().remove(uid).unwrap_or_default();
        if !is_followed {
            starts.interrupted();
        }
        starts
    }

    /// Stores the pods of a Job that have not started until its next sync.
    pub(super) fn store_starts(&self, uid: &Uid, starts: StartWaits) {
        if !starts.is_empty() && self.executor.jobs.get(uid).is_some_and(|job| !job.status.is_finished()) {
            self.starts.lock().insert(uid.clone(), starts);
        }
    }

    /// Observes all pods of a Job whose policy has start deadlines, unless the changes of pods are observed already.
    pub(super) fn update_starts(&self, starts: &mut StartWaits, summary: &PodSummary, governing: &Governing) {
        if !governing.rules().is_some_and(|rules| rules.start.is_set()) {
            *starts = StartWaits::default();
        } else if !starts.is_complete() {
            starts.observe_all(summary.active_pods().map(Arc::as_ref), self.executor.context.clock.now());
        }
    }

    /// Returns whether a change of a pod matters to the policy that governs its Job.
    pub(super) fn matters_to_policy(&self, before: &PodView, after: &PodView) -> bool {
        if self.policies.get().is_none() || !relevance::can_matter_to_policy(before, after) {
            return false;
        }
        let job = after.owner.as_ref().and_then(|owner| self.executor.jobs.get(&owner.uid));
        let governing = job.map(|job| self.governing(&job)).unwrap_or_default();
        governing.rules().is_some_and(|rules| rules.start.is_set() || rules.running.is_some())
    }
}
