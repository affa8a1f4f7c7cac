//! Wires the parts together: watches feed the caches, changes become keys, workers sync them.

pub mod admission_control;
mod event_handlers;
mod unlabelled_pods;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument;

use self::admission_control::{AdmissionControl, JobsHandle};
use super::admission::Admission;
use super::conflicting_controller::ConflictingController;
use super::decide::backoff::Backoff;
use super::decide::{DecisionInput, Step, decide, failure_report};
use super::execute::{FailedWrite, StepError, StepExecutor};
use super::key::Key;
use super::metrics::{JobMetrics, Sync};
use super::view::{JobView, PodView};
use super::wire::WirePod;
use super::write_kinds::{ADOPT, CREATE, DELETE, RELEASE, STATUS, UNTRACK, WAITING};
use crate::job::config::Config;
use crate::runtime::cache::{Cache, Cached, Change};
use crate::runtime::context::ControllerContext;
use crate::runtime::errors::WriteError;
use crate::runtime::identity::Uid;
use crate::runtime::queue::Queue;
use crate::runtime::refusals::{Refusals, WriteKind};
use crate::runtime::watch::{CacheState, Synced, WatchMetrics};
use crate::runtime::worker::work;

/// So many steps one Job takes before the others get their turn; fewer, if they come to as many writes as one step may make.
const MAX_STEPS_PER_SYNC: usize = 16;
/// Maximum number of pods of a deleted Job whose finalizers one sync removes.
const MAX_FINALIZER_REMOVALS_PER_SYNC: usize = 100;
/// How soon it is looked again whether the watch has told of a Job.
const UNKNOWN_OWNER_RECHECK: Duration = Duration::from_secs(1);
/// Number of pods without a Job from which on old refusals are forgotten.
const MAX_ORPHAN_REFUSALS: usize = 4096;

/// A write of a step: its kind, and the pod that it changes, if it changes one.
type Write = (WriteKind, Option<Uid>);

/// Writes of one kind to these pods.
fn on_pods(kind: WriteKind, pods: &[Arc<PodView>]) -> Vec<Write> {
    pods.iter().map(|pod| (kind, Some(pod.identity.uid.clone()))).collect()
}

/// The writes that a step consists of.
fn writes_of(step: &Step) -> Vec<Write> {
    match step {
        Step::None | Step::RejectInvalid(_) => Vec::new(),
        Step::ClaimPods { adopt, release } => [on_pods(ADOPT, adopt), on_pods(RELEASE, release)].concat(),
        Step::CreatePods { .. } => vec![(CREATE, None)],
        Step::DeletePods { pods, uncounted: false } => on_pods(DELETE, pods),
        Step::DeletePods { pods, uncounted: true } => [on_pods(DELETE, pods), on_pods(UNTRACK, pods)].concat(),
        Step::RemoveFinalizers(pods) => on_pods(UNTRACK, pods),
        Step::WriteStatus { .. } => vec![(STATUS, None)],
        Step::PublishWaiting { .. } | Step::RemoveWaiting => vec![(WAITING, None)],
    }
}

/// The Job controller.
pub struct Controller {
    executor: StepExecutor,
    config: Config,
    memory: Mutex<HashMap<Uid, Memory>>,
    /// When a pod of a Job was last taken away by force.
    untracked_deletions: Mutex<HashMap<Uid, Timestamp>>,
    /// Refused writes to pods that no Job controls.
    orphan_refusals: Mutex<Refusals>,
    jobs_synced: Synced,
    jobs_watched: WatchMetrics,
    pods_synced: Synced,
    pods_watched: WatchMetrics,
    /// Whether the cache holds all pods, not only those with the label of a generated selector.
    all_pods_synced: Synced,
    /// Rules that admit Jobs. Without them, every Job is allowed to start pods.
    admission_control: OnceLock<Arc<dyn AdmissionControl>>,
    /// Where another controller was seen to work on our Jobs.
    conflicting_controller: watch::Sender<Option<ConflictingController>>,
}

/// What is remembered of a Job between syncs.
#[derive(Clone, Default)]
struct Memory {
    backoff: Backoff,
    /// Since when numbers of the status are out of date.
    counters_dirty_since: Option<Timestamp>,
    /// A creation went unanswered, so there may be a pod we know nothing of.
    needs_pod_relist: bool,
    /// Writes that the API server refused.
    refusals: Refusals,
}

impl Memory {
    /// Takes note of what happened to the writes of a step.
    fn note(&mut self, writes: &[Write], failed: &[FailedWrite], live: impl Fn() -> usize, now: Timestamp) {
        record(&mut self.refusals, writes, failed, now);
        for FailedWrite { kind, error, .. } in failed {
            self.needs_pod_relist |= *kind == CREATE && error.is_ambiguous();
            if error.is_quota() {
                self.refusals.mark_quota(*kind, live());
            }
        }
    }
}

/// Takes note of which of these writes succeeded and which failed. A failed one lengthens its own back-off alone.
fn record(refusals: &mut Refusals, writes: &[Write], failed: &[FailedWrite], now: Timestamp) {
    for (kind, pod) in writes {
        if !failed.iter().any(|failed| failed.kind == *kind && failed.pod == *pod) {
            refusals.succeed(*kind, pod.as_ref());
        }
    }
    for FailedWrite { kind, pod, error } in failed {
        refusals.refuse(*kind, pod.as_ref(), error, now);
    }
}

/// What a sync fails with after one more failed write: what is refused has its own back-off; what failed otherwise is retried after
/// an outage, too.
fn merge_failure(failure: Option<WriteError>, error: WriteError) -> Option<WriteError> {
    if error.is_refusal() { failure.or(Some(WriteError::Deferred)) } else { Some(error) }
}

impl Controller {
    /// A controller that neither watches nor works yet.
    pub fn new(context: ControllerContext, config: Config, metrics: JobMetrics) -> Self {
        let executor = StepExecutor {
            log_tail: config.log_tail,
            context,
            metrics,
            uncounted_deletions: Mutex::default(),
            jobs: Arc::default(),
            pods: Arc::default(),
            all_pods: watch::Sender::new(false),
            // Orphaned pods come one by one, and one user's may be thousands.
            queue: Arc::new(Queue::closed_with_minor(|key| matches!(key, Key::Orphan(_)))),
        };
        Self {
            executor,
            config,
            memory: Mutex::default(),
            untracked_deletions: Mutex::default(),
            orphan_refusals: Mutex::default(),
            jobs_synced: Synced::default(),
            jobs_watched: WatchMetrics::default(),
            pods_synced: Synced::default(),
            pods_watched: WatchMetrics::default(),
            all_pods_synced: Synced::default(),
            admission_control: OnceLock::new(),
            conflicting_controller: watch::Sender::new(None),
        }
    }

    /// Sets the rules that admit Jobs, before the controller begins to work.
    pub fn set_admission_control(&self, admission_control: Arc<dyn AdmissionControl>) {
        self.admission_control.get_or_init(|| admission_control);
    }

    /// Returns the objects that an admission control reads.
    pub fn handle(&self) -> JobsHandle {
        let StepExecutor { jobs, pods, queue, .. } = &self.executor;
        JobsHandle { claim: self.config.claim, jobs: jobs.clone(), pods: pods.clone(), queue: queue.clone() }
    }

    /// Returns the newest version of a Job, and whether that version is allowed to start pods; none if the Job is gone.
    fn admission(&self, job: &JobView) -> Option<(Arc<JobView>, Admission)> {
        match self.admission_control.get() {
            Some(admission_control) => admission_control.admission(job),
            None => Some((self.executor.jobs.get(&job.identity.uid)?, Admission::Unlimited)),
        }
    }

    /// Begins to keep the caches in step with the API server.
    pub fn watch(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        let controller = self.clone();
        tasks.spawn(async move { controller.watch_jobs().await });
        if self.config.drives_pods {
            let controller = self.clone();
            tasks.spawn(async move { controller.watch_pods().await });
        }
    }

    /// Begins to work, on everything there is. Nothing is remembered of what was before: somebody else may have worked.
    pub fn begin(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        if !self.config.drives_pods {
            return;
        }
        self.forget_all();
        if let Some(admission_control) = self.admission_control.get() {
            admission_control.clone().begin(tasks);
        }
        self.executor.queue.open();
        self.enqueue_all();
        let controller = self.clone();
        tasks.spawn(async move { controller.keep_releasing_unlabelled_pods().await });
        for _ in 0..self.config.concurrency.max(1) {
            let controller = self.clone();
            tasks.spawn(async move { controller.work().await });
        }
    }

    /// Forgets what it remembers between syncs; to be called when no work is left under way.
    pub fn forget_all(&self) {
        self.memory().clear();
        self.untracked_deletions().clear();
        *self.orphan_refusals() = Refusals::default();
        self.executor.clear_uncounted_deletions();
    }

    /// Begins no more work.
    pub fn end(&self) {
        self.executor.queue.close();
    }

    /// Resolves when another controller is seen to work on our Jobs.
    pub async fn conflicting_controller(&self) -> ConflictingController {
        let mut conflicting_controller = self.conflicting_controller.subscribe();
        let seen = conflicting_controller
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|conflicting_controller| conflicting_controller.clone());
        match seen {
            Some(conflicting_controller) => conflicting_controller,
            None => std::future::pending().await,
        }
    }

    /// All Jobs, as this controller sees them, for others that look at them too.
    pub fn jobs(&self) -> Arc<Cache<JobView>> {
        self.executor.jobs.clone()
    }

    /// What this controller's caches hold, by resource.
    pub fn caches(&self) -> Vec<(&'static str, CacheState)> {
        let jobs = CacheState::of(&self.executor.jobs, self.jobs_synced.is_done(), &self.jobs_watched);
        let mut caches = vec![("jobs", jobs)];
        if self.config.drives_pods {
            let known = self.pods_synced.is_done() || self.all_pods_synced.is_done();
            caches.push(("pods", CacheState::of(&self.executor.pods, known, &self.pods_watched)));
        }
        caches
    }

    /// How many Jobs wait to be looked at.
    pub fn queue_depth(&self) -> usize {
        self.executor.queue.len()
    }

    /// Returns once both caches hold all there is.
    pub async fn ready(&self) {
        self.jobs_synced.wait().await;
        if self.config.drives_pods {
            tokio::select! {
                biased;
                () = self.pods_synced.wait() => {}
                () = self.all_pods_synced.wait() => {}
            }
        }
    }

    /// Wants the caches to know all that had happened by `since`; [`Self::ready`] waits for it.
    pub fn require_since(&self, since: Instant) {
        for synced in [&self.jobs_synced, &self.pods_synced, &self.all_pods_synced] {
            synced.require_since(since);
        }
    }

    /// Looks at everything there is: every Job, and every pod that somebody has to let go.
    fn enqueue_all(&self) {
        let mut jobs = self.executor.jobs.all(|_| true);
        // Those that wait for their first pods come before those that go on, and those that are over come last.
        jobs.sort_by_key(|job| (job.status.is_finished(), job.status.start_time.is_some()));
        for job in jobs {
            self.executor.metrics.job_added(&job);
            self.executor.queue.add(Key::Job(job.identity.uid.clone()));
        }
        for pod in self.executor.pods.all(|pod| pod.tracked) {
            match &pod.owner {
                Some(owner) if owner.is_job => self.executor.queue.add(Key::Job(owner.uid.clone())),
                Some(_) => {}
                None => self.executor.queue.add(Key::Orphan(pod.identity.uid.clone())),
            }
            self.executor.metrics.pod_changed(&Change { before: None, after: Some(pod) });
        }
    }

    fn claims(&self, job: &JobView) -> bool {
        self.config.claim.covers(job.spec.managed_by.as_deref())
    }

    /// One worker: takes keys until the queue is closed.
    async fn work(&self) {
        let sync = |key| async move {
            match &key {
                Key::Job(uid) => self.sync(uid).await,
                Key::Orphan(uid) => self.sync_orphan(uid).await,
            }
        };
        work(&self.executor.queue, "job", &self.executor.context.syncs, sync).await;
    }

    /// Brings one Job as far as it can be brought now.
    async fn sync(&self, uid: &Uid) -> Result<(), WriteError> {
        let Some(job) = self.executor.jobs.get(uid) else {
            self.forget(uid);
            return self.release_pods_of_deleted_job(uid).await;
        };
        if !self.claims(&job) {
            self.forget(uid);
            return Ok(());
        }
        if !job.template.labelled && !self.all_pods_synced.is_done() {
            // There may be pods for it to adopt that we do not know; it comes again when they are known.
            return Ok(());
        }
        let span = tracing::info_span!("sync", namespace = %job.identity.namespace, job = %job.identity.name, %uid);
        let start = Instant::now();
        let mut sync = Sync::default();
        let result = self.sync_claimed(uid, &mut sync).instrument(span).await;
        if !job.status.is_finished() {
            self.executor.metrics.synced(&job, sync, result.is_ok(), start.elapsed());
        }
        result
    }

    async fn sync_claimed(&self, uid: &Uid, sync: &mut Sync) -> Result<(), WriteError> {
        let mut memory = self.recall(uid);
        let mut failure: Option<WriteError> = None;
        let mut writes = 0;
        for _ in 0..MAX_STEPS_PER_SYNC {
            let Some(job) = self.executor.jobs.get(uid) else { break };
            if memory.needs_pod_relist {
                self.executor.relist_pods(&job).await?;
                memory.needs_pod_relist = false;
            }
            // Each version of the Job is evaluated before it is decided on, whoever brought it.
            let Some((job, admission)) = self.admission(&job) else { break };
            let pods = self.pods_for_job(&job);
            self.update_refusals(&mut memory.refusals, &job, &pods);
            let last_untracked_deletion = self.untracked_deletions().get(uid).copied();
            let input = DecisionInput {
                admission: &admission,
                job: &job,
                pods: &pods,
                backoff: &memory.backoff,
                last_untracked_deletion,
                counters_dirty_since: memory.counters_dirty_since,
                refusals: &memory.refusals,
            };
            let now = self.executor.context.clock.now();
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
            tracing::debug!(step = ?decision.step.summary(), "next step");
            sync.note(&job, &decision.step);
            writes += decision.step.writes();
            let last = matches!(decision.step, Step::RejectInvalid(_));
            let mut step = decision.step;
            failure_report::attach(&job, &mut step, || self.executor.pods.all(|pod| pod.controller() == Some(uid)));
            let attempted = writes_of(&step);
            let failed = match self.executor.execute(&job, step).await {
                Ok(()) if last => return Ok(()),
                Ok(()) => Vec::new(),
                Err(StepError::Changed) => continue,
                Err(StepError::Writes(failed)) => failed,
                Err(StepError::Other(error)) => return Err(failure.unwrap_or(error)),
            };
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
            // There is more to do; the others come first. After another failure the rest comes with the retry.
            self.executor.queue.add(Key::Job(uid.clone()));
        }
        failure.map_or(Ok(()), Err)
    }

    /// Brings what is remembered of refusals up to date.
    fn update_refusals(&self, refusals: &mut Refusals, job: &JobView, pods: &[Arc<PodView>]) {
        refusals.seen(job.generation);
        if !refusals.is_empty() {
            let known: HashSet<&Uid> = pods.iter().map(|pod| &pod.identity.uid).collect();
            refusals.retain(|pod| known.contains(pod));
            refusals.room_made(CREATE, self.live(job));
        }
    }

    /// Returns how many pods of a Job have not ended.
    fn live(&self, job: &JobView) -> usize {
        let pods = self.executor.pods.owned(&job.identity.uid, &job.identity.namespace);
        pods.iter().filter(|pod| !pod.is_ended()).count()
    }

    /// The pods a decision about this Job looks at.
    fn pods_for_job(&self, job: &JobView) -> Vec<Arc<PodView>> {
        let referencing = self.executor.pods.referencing(&job.identity.uid);
        let (mut pods, pretenders): (Vec<_>, Vec<_>) =
            referencing.into_iter().partition(|pod| pod.identity.namespace == job.identity.namespace);
        for pod in pretenders.iter().filter(|pod| pod.tracked) {
            self.executor.queue.add(Key::Orphan(pod.identity.uid.clone()));
        }
        let may_adopt = |pod: &PodView| pod.identity.namespace == job.identity.namespace && job.selects(&pod.labels);
        pods.extend(self.executor.pods.orphans(may_adopt));
        pods
    }

    /// A Job that is gone for good: nobody will count its pods, so they are let go.
    async fn release_pods_of_deleted_job(&self, uid: &Uid) -> Result<(), WriteError> {
        let tracked = self.executor.pods.referencing(uid).into_iter().filter(|pod| pod.tracked);
        let mut left: Vec<_> = tracked.collect();
        let Some((namespace, owner)) =
            left.first().and_then(|pod| Some((pod.identity.namespace.clone(), pod.owner.clone()?)))
        else {
            return Ok(());
        };
        if !self.executor.jobs.is_deleted(uid) {
            // The Job may only be news that has not reached us.
            if self.executor.read(&namespace, &owner.name, uid).await?.is_some() {
                self.executor.queue.add_at(Key::Job(uid.clone()), Instant::now() + UNKNOWN_OWNER_RECHECK);
                return Ok(());
            }
            // That says nothing of other namespaces, whose pods come next.
            let all = left.len();
            left.retain(|pod| pod.identity.namespace == namespace);
            if left.len() < all {
                self.executor.queue.add(Key::Job(uid.clone()));
            }
        }
        let now = self.executor.context.clock.now();
        left.retain(|pod| !self.orphan_refusals().is_backed_off(UNTRACK, Some(&pod.identity.uid), now));
        let is_more = left.len() > MAX_FINALIZER_REMOVALS_PER_SYNC;
        left.truncate(MAX_FINALIZER_REMOVALS_PER_SYNC);
        let failed = self.executor.untrack(&left).await;
        if is_more && failed.len() < left.len() {
            // The rest comes after what waits by now.
            self.executor.queue.add(Key::Job(uid.clone()));
        }
        let mut orphan_refusals = self.orphan_refusals();
        record(&mut orphan_refusals, &on_pods(UNTRACK, &left), &failed, now);
        let failure = failed.into_iter().fold(None, |failure, FailedWrite { error, .. }| merge_failure(failure, error));
        self.requeue_refused_orphans(&mut orphan_refusals, Key::Job(uid.clone()), now);
        failure.map_or(Ok(()), Err)
    }

    /// Wakes a key when the next of the pods without a Job may be written to again.
    fn requeue_refused_orphans(&self, orphan_refusals: &mut Refusals, key: Key, now: Timestamp) {
        if orphan_refusals.len() > MAX_ORPHAN_REFUSALS {
            orphan_refusals.forget_old(now);
        }
        if let Some(next_retry) = orphan_refusals.next(now) {
            self.executor.queue.add_at(key, self.executor.context.clock.instant_of(next_retry));
        }
    }

    /// A pod with our finalizer that no Job controls: the finalizer comes off.
    async fn sync_orphan(&self, uid: &Uid) -> Result<(), WriteError> {
        match self.executor.pods.get(uid) {
            Some(pod) if pod.tracked && !self.is_controlled(&pod) => self.untrack_orphan(&pod).await,
            _ => {
                self.orphan_refusals().succeed(UNTRACK, Some(uid));
                Ok(())
            }
        }
    }

    async fn untrack_orphan(&self, pod: &PodView) -> Result<(), WriteError> {
        let (uid, now) = (&pod.identity.uid, self.executor.context.clock.now());
        let backed_off_until = self.orphan_refusals().until(UNTRACK, Some(uid), now);
        let result = match backed_off_until {
            Some(_) => Ok(()),
            None => self.executor.untrack_orphan(pod).await,
        };
        let mut orphan_refusals = self.orphan_refusals();
        match &result {
            Err(error) if !error.is_gate_closed() => {
                orphan_refusals.refuse(UNTRACK, Some(uid), error, now);
            }
            Ok(()) if backed_off_until.is_none() => {
                orphan_refusals.succeed(UNTRACK, Some(uid));
                if self.executor.pods.get(uid).is_some_and(|pod| pod.tracked) {
                    // It changed meanwhile: what is known of it now decides.
                    self.executor.queue.add(Key::Orphan(uid.clone()));
                }
            }
            _ => {}
        }
        self.requeue_refused_orphans(&mut orphan_refusals, Key::Orphan(uid.clone()), now);
        result.map_err(|error| if error.is_refusal() { WriteError::Deferred } else { error })
    }

    /// Whether a pod has a controller that it can have: one that is no Job of another namespace.
    fn is_controlled(&self, pod: &PodView) -> bool {
        pod.controller().is_some_and(|owner| {
            self.executor.jobs.get(owner).is_none_or(|job| job.identity.namespace == pod.identity.namespace)
        })
    }

    /// Ends the back-offs of what failed for want of an answer.
    fn outage_over(&self) {
        self.orphan_refusals().outage_over();
        let mut memory = self.memory();
        for (uid, memory) in memory.iter_mut() {
            if memory.refusals.outage_over() {
                self.executor.queue.add(Key::Job(uid.clone()));
            }
        }
    }

    fn orphan_refusals(&self) -> MutexGuard<'_, Refusals> {
        self.orphan_refusals.lock()
    }

    fn memory(&self) -> MutexGuard<'_, HashMap<Uid, Memory>> {
        self.memory.lock()
    }

    fn untracked_deletions(&self) -> MutexGuard<'_, HashMap<Uid, Timestamp>> {
        self.untracked_deletions.lock()
    }

    fn recall(&self, uid: &Uid) -> Memory {
        self.memory().get(uid).cloned().unwrap_or_default()
    }

    fn remember(&self, job: &JobView, memory: &Memory) {
        let is_left =
            |kind: WriteKind, pod: &Uid| kind == UNTRACK && self.executor.pods.get(pod).is_some_and(|pod| pod.tracked);
        if job.status.is_finished() && !memory.refusals.any_part(is_left) {
            self.forget(&job.identity.uid);
        } else {
            self.memory().insert(job.identity.uid.clone(), memory.clone());
        }
    }

    /// Forgets a Job that is finished, gone, or another controller's, and the times at which it was to be looked at.
    fn forget(&self, uid: &Uid) {
        self.memory().remove(uid);
        self.untracked_deletions().remove(uid);
        self.executor.queue.cancel(&Key::Job(uid.clone()));
    }

    /// How many entries it remembers between syncs, by what they are; of pods given up, those that are gone. All are 0 when
    /// every Job is finished or gone.
    pub fn remembered(&self) -> [(&'static str, usize); 4] {
        let uncounted_deletions = self.executor.uncounted_deletions.lock();
        let uncounted_deletions =
            uncounted_deletions.iter().filter(|pod| self.executor.pods.get(pod).is_none()).count();
        [
            ("memory", self.memory().len()),
            ("vanished", self.untracked_deletions().len()),
            ("given_up", uncounted_deletions),
            ("timers", self.executor.queue.timers()),
        ]
    }
}

#[cfg(test)]
mod fairness_tests;
