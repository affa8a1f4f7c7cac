//! Sync of one Job: decides and executes steps until there is nothing to do.

use std::sync::Arc;

use tokio::time::Instant;

use super::Controller;
use super::memory::{Write, merge_failure};
use crate::job::decide::start_waits::StartWaits;
use crate::job::decide::summary::PodSummary;
use crate::job::decide::{DecisionInput, Step, decide, failure_report};
use crate::job::execute::{FailedWrite, StepError};
use crate::job::key::Key;
use crate::job::metrics::Sync;
use crate::job::view::{JobView, PodView};
use crate::job::write_kinds::{ADOPT, ANNOTATE, CREATE, DELETE, FAIL_POD, RELEASE, STATUS, SUSPEND, UNTRACK, WAITING};
use crate::runtime::cache::Cached;
use crate::runtime::errors::WriteError;
use crate::runtime::identity::Uid;
use crate::runtime::refusals::{Refusals, WriteKind};

/// Maximum number of steps of one sync of a Job. A sync also ends after as many writes as one step is allowed to make.
const MAX_STEPS_PER_SYNC: usize = 16;

/// Returns the writes of one kind to these pods.
pub(super) fn on_pods(kind: WriteKind, pods: &[Arc<PodView>]) -> Vec<Write> {
    pods.iter().map(|pod| (kind, Some(pod.identity.uid.clone()))).collect()
}

/// Returns the writes of a step.
fn writes_of(step: &Step) -> Vec<Write> {
    match step {
        Step::None | Step::RejectInvalid(_) | Step::ReadParentWorkload => Vec::new(),
        Step::WriteGroup(write) => vec![(write.kind(), None)],
        Step::ClaimPods { adopt, release } => [on_pods(ADOPT, adopt), on_pods(RELEASE, release)].concat(),
        Step::CreatePods { .. } => vec![(CREATE, None)],
        Step::DeletePods { pods, uncounted: false } => on_pods(DELETE, pods),
        Step::DeletePods { pods, uncounted: true } => [on_pods(DELETE, pods), on_pods(UNTRACK, pods)].concat(),
        Step::RemoveFinalizers(pods) => on_pods(UNTRACK, pods),
        Step::WriteStatus { .. } => vec![(STATUS, None)],
        Step::PublishWaiting { .. } | Step::RemoveWaiting => vec![(WAITING, None)],
        Step::FailPods(pods) => {
            pods.iter().map(|failed_start| (FAIL_POD, Some(failed_start.pod.identity.uid.clone()))).collect()
        }
        Step::SuspendJob(_) => vec![(SUSPEND, None)],
        Step::Annotate { .. } => vec![(ANNOTATE, None)],
    }
}

impl Controller {
    /// Syncs one Job.
    pub(super) async fn sync(&self, uid: &Uid) -> Result<(), WriteError> {
        let Some(job) = self.executor.jobs.get(uid) else {
            self.forget(uid);
            return self.release_pods_of_deleted_job(uid).await;
        };
        if !self.claims(&job) {
            self.forget(uid);
            return Ok(());
        }
        if !job.template.labelled && !self.all_pods_synced.is_done() {
            // The Job may have to adopt pods that are not in the cache. It is queued again when all pods are known.
            return Ok(());
        }
        let start = Instant::now();
        let mut sync = Sync::default();
        let result = self.sync_claimed(&job, &mut sync).await;
        if !job.status.is_finished() {
            self.executor.metrics.synced(&job, sync, result.is_ok(), start.elapsed());
        }
        result
    }

    /// Executes steps for a Job that the controller works on, as far as possible now.
    async fn sync_claimed(&self, job: &JobView, sync: &mut Sync) -> Result<(), WriteError> {
        let uid = &job.identity.uid;
        let (mut summary, is_followed) = self.take_summary(job);
        let mut starts = self.take_starts(uid, is_followed);
        let result = self.execute_steps(uid, &mut summary, &mut starts, sync).await;
        self.store_starts(uid, starts);
        self.store_summary(uid, summary);
        result
    }

    async fn execute_steps(
        &self,
        uid: &Uid,
        summary: &mut PodSummary,
        starts: &mut StartWaits,
        sync: &mut Sync,
    ) -> Result<(), WriteError> {
        let mut memory = self.recall(uid);
        let mut failure: Option<WriteError> = None;
        let mut writes = 0;
        for _ in 0..MAX_STEPS_PER_SYNC {
            let Some(job) = self.executor.jobs.get(uid) else { break };
            if memory.needs_pod_relist {
                self.executor.relist_pods(&job).await?;
                memory.needs_pod_relist = false;
            }
            // Each version of the Job is evaluated before a decision, whichever event brought it into the cache.
            let Some((job, admission)) = self.admission(&job) else { break };
            let governing = self.governing(&job);
            self.report_policy(&job, &governing, &mut memory);
            self.update_summary(summary, starts, &job);
            self.update_starts(starts, summary, &governing);
            let orphans = self.adoptable_pods(&job);
            update_refusals(&mut memory.refusals, &job, summary, &orphans);
            let last_untracked_deletion = self.untracked_deletions().get(uid).copied();
            let groups = self.known_groups(&job);
            let now = self.executor.context.clock.now();
            // The budget has room again at that time.
            memory.retries = memory.retries.filter(|retries| retries.next.is_some_and(|next| next > now));
            let input = DecisionInput {
                admission: &admission,
                groups: groups.objects(memory.parent_read),
                policy: governing.rules(),
                starts,
                refused_memory: memory.refused_memory.as_ref(),
                retries: memory.retries,
                job: &job,
                pods: summary,
                orphans: &orphans,
                backoff: &memory.backoff,
                last_untracked_deletion,
                counters_dirty_since: memory.counters_dirty_since,
                refusals: &memory.refusals,
            };
            let decision = decide(&input, now, &self.config.sync);
            let next_retry = memory.refusals.next(now);
            memory.backoff = decision.backoff;
            memory.counters_dirty_since = decision.counters_dirty_since;
            self.remember(&job, &memory);
            if let Some(wake) = decision.wake {
                self.executor.queue.add_at(Key::Job(uid.clone()), self.executor.context.clock.instant_of(wake));
            }
            if let Some(next_retry) = next_retry {
                self.executor.queue.add_at(Key::Job(uid.clone()), self.executor.context.clock.instant_of(next_retry));
            }
            if matches!(decision.step, Step::None) {
                return failure.map_or(Ok(()), Err);
            }
            let retries = match &decision.step {
                Step::CreatePods { pods, .. } => {
                    match self.count_retries(&job, summary, pods.len(), &governing, &mut memory) {
                        Some(retries) => retries,
                        // The budget allows fewer pods.
                        None => continue,
                    }
                }
                _ => 0,
            };
            tracing::debug!(step = ?decision.step.summary(), "next step");
            sync.note(&job, &decision.step);
            writes += decision.step.writes();
            let last = matches!(decision.step, Step::RejectInvalid(_));
            let mut step = decision.step;
            failure_report::attach(&job, &mut step, || self.executor.pods.all(|pod| pod.controller() == Some(uid)));
            memory.parent_read |= matches!(step, Step::ReadParentWorkload);
            let attempted = writes_of(&step);
            let raised = match &step {
                Step::CreatePods { raised, .. } => raised.memory.clone(),
                _ => None,
            };
            let failed = match self.executor.execute(&job, step, governing.rules()).await {
                Ok(()) if last => return failure.map_or(Ok(()), Err),
                Ok(()) => Vec::new(),
                Err(StepError::Changed) => continue,
                Err(StepError::Writes(failed)) => failed,
                Err(StepError::Other(error)) => return Err(failure.unwrap_or(error)),
            };
            if failed.is_empty() {
                self.note_retries(&job, retries, &governing, &mut memory);
            }
            self.note_refused_memory(&job, raised, &failed, &mut memory);
            memory.note(&attempted, &failed, || self.live(&job), self.executor.context.clock.now());
            self.remember(&job, &memory);
            for FailedWrite { error, .. } in failed {
                if error.is_gate_closed() {
                    return Err(error);
                }
                failure = merge_failure(failure, error);
            }
            if writes >= self.config.sync.max_pods_per_sync && failure.as_ref().is_none_or(WriteError::is_refusal) {
                break;
            }
        }
        if let Some(next_retry) = memory.refusals.next(self.executor.context.clock.now()) {
            self.executor.queue.add_at(Key::Job(uid.clone()), self.executor.context.clock.instant_of(next_retry));
        }
        if failure.as_ref().is_none_or(WriteError::is_refusal) {
            // The Job is not done, and the other Jobs come first. After another failure, the retry continues.
            self.executor.queue.add(Key::Job(uid.clone()));
        }
        failure.map_or(Ok(()), Err)
    }

    /// Returns the number of pods of a Job that have not ended.
    fn live(&self, job: &JobView) -> usize {
        let pods = self.executor.pods.owned(&job.identity.uid, &job.identity.namespace);
        pods.iter().filter(|pod| !pod.is_ended()).count()
    }

    /// Returns the pods without a controller that a Job can adopt.
    fn adoptable_pods(&self, job: &JobView) -> Vec<Arc<PodView>> {
        self.executor.pods.orphans(&job.identity.namespace, |pod| job.selects(&pod.labels))
    }
}

/// Updates what is remembered of the refused writes of a Job.
fn update_refusals(refusals: &mut Refusals, job: &JobView, summary: &PodSummary, orphans: &[Arc<PodView>]) {
    refusals.seen(job.generation);
    if !refusals.is_empty() {
        let is_orphan = |uid: &Uid| orphans.iter().any(|pod| pod.identity.uid == *uid);
        refusals.retain(|pod| summary.contains(pod) || is_orphan(pod));
        refusals.room_made(CREATE, summary.unended());
    }
}
