//! Wires the parts together: watches feed the caches, changes become keys, workers sync them.

mod limits;
mod news;
mod strays;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument;

use super::act::{Actor, Failed, Failure};
use super::causes::{ADOPT, CREATE, DELETE, RELEASE, STATUS, UNTRACK, WAITING};
use super::decide::backoff::Backoff;
use super::decide::{Situation, Step, decide, failure};
use super::key::Key;
use super::limit::registry::Registry;
use super::metrics::{JobMetrics, Sync};
use super::rival::Rival;
use super::view::{JobView, PodView};
use super::wire::WirePod;
use crate::runtime::cache::{Cache, Cached, Change};
use crate::runtime::config::Config;
use crate::runtime::errors::WriteError;
use crate::runtime::identity::Uid;
use crate::runtime::kit::Kit;
use crate::runtime::queue::Queue;
use crate::runtime::refusals::{Refusals, WriteKind};
use crate::runtime::watch::{CacheState, Synced, WatchMetrics};
use crate::runtime::worker::work;

/// So many steps one Job takes before the others get their turn; fewer, if they come to as many writes as one step may make.
const STEPS_A_TURN: usize = 16;
/// Maximum number of pods of a deleted Job whose finalizers one sync removes.
const LEFT_BEHIND_A_TURN: usize = 100;
/// How soon it is looked again whether the watch has told of a Job.
const NEWS: Duration = Duration::from_secs(1);
/// Number of pods without a Job from which on old refusals are forgotten.
const LOOSE_PODS: usize = 4096;

/// A write of a step: its kind, and the pod that it changes, if it changes one.
type Write = (WriteKind, Option<Uid>);

/// Writes of one kind to these pods.
fn on_pods(cause: WriteKind, pods: &[Arc<PodView>]) -> Vec<Write> {
    pods.iter().map(|pod| (cause, Some(pod.identity.uid.clone()))).collect()
}

/// The writes that a step consists of.
fn writes_of(step: &Step) -> Vec<Write> {
    match step {
        Step::Nothing | Step::Refuse(_) => Vec::new(),
        Step::Claim { adopt, release } => [on_pods(ADOPT, adopt), on_pods(RELEASE, release)].concat(),
        Step::CreatePods { .. } => vec![(CREATE, None)],
        Step::DeletePods { pods, uncounted: false } => on_pods(DELETE, pods),
        Step::DeletePods { pods, uncounted: true } => [on_pods(DELETE, pods), on_pods(UNTRACK, pods)].concat(),
        Step::Untrack(pods) => on_pods(UNTRACK, pods),
        Step::WriteStatus { .. } => vec![(STATUS, None)],
        Step::TellWaiting { .. } | Step::WithdrawWaiting => vec![(WAITING, None)],
    }
}

/// The Job controller.
pub struct Controller {
    actor: Actor,
    config: Config,
    memory: Mutex<HashMap<Uid, Memory>>,
    /// When a pod of a Job was last taken away by force.
    vanished: Mutex<HashMap<Uid, Timestamp>>,
    /// Refused writes to pods that no Job controls.
    loose: Mutex<Refusals>,
    jobs_synced: Synced,
    jobs_watched: WatchMetrics,
    pods_synced: Synced,
    pods_watched: WatchMetrics,
    /// Whether the cache holds all pods, not only those with the label of a generated selector.
    all_pods_synced: Synced,
    /// Which Jobs are admitted, where Jobs are limited.
    admissions: Registry,
    heeds_limits: OnceLock<()>,
    limits_synced: Synced,
    limits_watched: WatchMetrics,
    /// Where another controller was seen to work on our Jobs.
    rival: watch::Sender<Option<Rival>>,
}

/// What is remembered of a Job between syncs.
#[derive(Clone, Default)]
struct Memory {
    backoff: Backoff,
    /// Since when numbers of the status are out of date.
    numbers_stale: Option<Timestamp>,
    /// A creation went unanswered, so there may be a pod we know nothing of.
    recount: bool,
    /// Writes that the API server refused.
    refusals: Refusals,
}

impl Memory {
    /// Takes note of what happened to the writes of a step.
    fn note(&mut self, writes: &[Write], failed: &[Failed], live: impl Fn() -> usize, now: Timestamp) {
        record(&mut self.refusals, writes, failed, now);
        for Failed { cause, error, .. } in failed {
            self.recount |= *cause == CREATE && error.is_ambiguous();
            if error.is_quota() {
                self.refusals.mark_quota(*cause, live());
            }
        }
    }
}

/// Takes note of which of these writes succeeded and which failed. A failed one lengthens its own back-off alone.
fn record(refusals: &mut Refusals, writes: &[Write], failed: &[Failed], now: Timestamp) {
    for (cause, pod) in writes {
        if !failed.iter().any(|failed| failed.cause == *cause && failed.pod == *pod) {
            refusals.succeed(*cause, pod.as_ref());
        }
    }
    for Failed { cause, pod, error } in failed {
        refusals.refuse(*cause, pod.as_ref(), error, now);
    }
}

/// What a sync fails with after one more failed write: what is refused has its own back-off; what failed otherwise is retried after
/// an outage, too.
fn worse(failure: Option<WriteError>, error: WriteError) -> Option<WriteError> {
    if error.is_refusal() { failure.or(Some(WriteError::Deferred)) } else { Some(error) }
}

impl Controller {
    /// A controller that neither watches nor works yet.
    pub fn new(kit: Kit, config: Config, metrics: JobMetrics) -> Self {
        let actor = Actor {
            log_tail: config.log_tail,
            kit,
            metrics,
            given_up: Mutex::default(),
            jobs: Arc::default(),
            pods: Cache::default(),
            all_pods: watch::Sender::new(false),
            // Orphaned pods come one by one, and one user's may be thousands.
            queue: Queue::closed_with_minor(|key| matches!(key, Key::Orphan(_))),
        };
        Self {
            actor,
            config,
            memory: Mutex::default(),
            vanished: Mutex::default(),
            loose: Mutex::default(),
            jobs_synced: Synced::default(),
            jobs_watched: WatchMetrics::default(),
            pods_synced: Synced::default(),
            pods_watched: WatchMetrics::default(),
            all_pods_synced: Synced::default(),
            admissions: Registry::default(),
            heeds_limits: OnceLock::new(),
            limits_synced: Synced::default(),
            limits_watched: WatchMetrics::default(),
            rival: watch::Sender::new(None),
        }
    }

    /// There may be JobLimits. To be said before it watches; without it there are none.
    pub fn heed_limits(&self) {
        self.heeds_limits.get_or_init(|| ());
    }

    fn heeds_limits(&self) -> bool {
        self.heeds_limits.get().is_some()
    }

    /// Begins to keep the caches in step with the API server.
    pub fn watch(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        let controller = self.clone();
        tasks.spawn(async move { controller.watch_jobs().await });
        if self.config.drives_pods {
            let controller = self.clone();
            tasks.spawn(async move { controller.watch_pods().await });
            if self.heeds_limits() {
                let controller = self.clone();
                tasks.spawn(async move { controller.watch_limits().await });
            }
        }
    }

    /// Begins to work, on everything there is. Nothing is remembered of what was before: somebody else may have worked.
    pub fn begin(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        if !self.config.drives_pods {
            return;
        }
        self.forget_all();
        if self.heeds_limits() {
            let changes = self.open_admissions();
            let controller = self.clone();
            tasks.spawn(async move { controller.follow_jobs(changes).await });
        }
        self.actor.queue.open();
        self.enqueue_all();
        let controller = self.clone();
        tasks.spawn(async move { controller.find_strays().await });
        for _ in 0..self.config.concurrency.max(1) {
            let controller = self.clone();
            tasks.spawn(async move { controller.work().await });
        }
    }

    /// Forgets what it remembers between syncs; to be called when no work is left under way.
    pub fn forget_all(&self) {
        self.memory().clear();
        self.vanished().clear();
        *self.loose() = Refusals::default();
        self.actor.forget_given_up();
    }

    /// Begins no more work.
    pub fn end(&self) {
        self.actor.queue.close();
    }

    /// Resolves when another controller is seen to work on our Jobs.
    pub async fn rival(&self) -> Rival {
        let mut rival = self.rival.subscribe();
        let seen = rival.wait_for(Option::is_some).await.ok().and_then(|rival| rival.clone());
        match seen {
            Some(rival) => rival,
            None => std::future::pending().await,
        }
    }

    /// All Jobs, as this controller sees them, for others that look at them too.
    pub fn jobs(&self) -> Arc<Cache<JobView>> {
        self.actor.jobs.clone()
    }

    /// What this controller's caches hold, by resource.
    pub fn caches(&self) -> Vec<(&'static str, CacheState)> {
        let jobs = CacheState::of(&self.actor.jobs, self.jobs_synced.is_done(), &self.jobs_watched);
        let mut caches = vec![("jobs", jobs)];
        if self.config.drives_pods {
            let known = self.pods_synced.is_done() || self.all_pods_synced.is_done();
            caches.push(("pods", CacheState::of(&self.actor.pods, known, &self.pods_watched)));
            if self.heeds_limits() {
                let state = CacheState::of(&self.admissions.limits, self.limits_synced.is_done(), &self.limits_watched);
                caches.push(("joblimits", state));
            }
        }
        caches
    }

    /// How many Jobs wait to be looked at.
    pub fn queue_depth(&self) -> usize {
        self.actor.queue.len()
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
            if self.heeds_limits() {
                self.limits_synced.wait().await;
            }
        }
    }

    /// Wants the caches to know all that had happened by `since`; [`Self::ready`] waits for it.
    pub fn want(&self, since: Instant) {
        for synced in [&self.jobs_synced, &self.pods_synced, &self.all_pods_synced, &self.limits_synced] {
            synced.want(since);
        }
    }

    /// Looks at everything there is: every Job, and every pod that somebody has to let go.
    fn enqueue_all(&self) {
        let mut jobs = self.actor.jobs.all(|_| true);
        // Those that wait for their first pods come before those that go on, and those that are over come last.
        jobs.sort_by_key(|job| (job.status.is_finished(), job.status.start_time.is_some()));
        for job in jobs {
            self.actor.metrics.job_added(&job);
            self.actor.queue.add(Key::Job(job.identity.uid.clone()));
        }
        for pod in self.actor.pods.all(|pod| pod.tracked) {
            match &pod.owner {
                Some(owner) if owner.is_job => self.actor.queue.add(Key::Job(owner.uid.clone())),
                Some(_) => {}
                None => self.actor.queue.add(Key::Orphan(pod.identity.uid.clone())),
            }
            self.actor.metrics.pod_changed(&Change { before: None, after: Some(pod) });
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
        work(&self.actor.queue, "job", &self.actor.kit.syncs, sync).await;
    }

    /// Brings one Job as far as it can be brought now.
    async fn sync(&self, uid: &Uid) -> Result<(), WriteError> {
        let Some(job) = self.actor.jobs.get(uid) else {
            self.forget(uid);
            return self.release_left_behind(uid).await;
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
            self.actor.metrics.synced(&job, sync, result.is_ok(), start.elapsed());
        }
        result
    }

    async fn sync_claimed(&self, uid: &Uid, sync: &mut Sync) -> Result<(), WriteError> {
        let mut memory = self.recall(uid);
        let mut failure: Option<WriteError> = None;
        let mut writes = 0;
        for _ in 0..STEPS_A_TURN {
            let Some(job) = self.actor.jobs.get(uid) else { break };
            if memory.recount {
                self.actor.recount(&job).await?;
                memory.recount = false;
            }
            // Each version of the Job is evaluated before it is decided on, whoever brought it.
            let Some((job, admission)) = self.admission(&job) else { break };
            let pods = self.candidates(&job);
            self.update_refusals(&mut memory.refusals, &job, &pods);
            let vanished = self.vanished().get(uid).copied();
            let situation = Situation {
                admission: &admission,
                job: &job,
                pods: &pods,
                backoff: &memory.backoff,
                vanished,
                numbers_stale: memory.numbers_stale,
                refusals: &memory.refusals,
            };
            let now = self.actor.kit.clock.now();
            let decision = decide(&situation, now, &self.config.limits);
            let again = memory.refusals.next(now);
            memory.backoff = decision.backoff;
            memory.numbers_stale = decision.numbers_stale;
            self.remember(&job, &memory);
            if let Some(wake) = decision.wake {
                self.actor.queue.add_at(Key::Job(uid.clone()), self.actor.kit.clock.instant_of(wake));
            }
            if let Some(again) = again {
                self.actor.queue.add_at(Key::Job(uid.clone()), self.actor.kit.clock.instant_of(again));
            }
            if matches!(decision.step, Step::Nothing) {
                return failure.map_or(Ok(()), Err);
            }
            tracing::debug!(step = ?decision.step.brief(), "next step");
            sync.note(&job, &decision.step);
            writes += decision.step.writes();
            let last = matches!(decision.step, Step::Refuse(_));
            let mut step = decision.step;
            failure::explain(&job, &mut step, || self.actor.pods.all(|pod| pod.controller() == Some(uid)));
            let attempted = writes_of(&step);
            let failed = match self.actor.act(&job, step).await {
                Ok(()) if last => return Ok(()),
                Ok(()) => Vec::new(),
                Err(Failure::Changed) => continue,
                Err(Failure::Writes(failed)) => failed,
                Err(Failure::Other(error)) => return Err(failure.unwrap_or(error)),
            };
            memory.note(&attempted, &failed, || self.live(&job), self.actor.kit.clock.now());
            self.remember(&job, &memory);
            for Failed { error, .. } in failed {
                if error.is_stopping() {
                    return Err(error);
                }
                failure = worse(failure, error);
            }
            if writes >= self.config.limits.max_pods_per_sync && failure.as_ref().is_none_or(WriteError::is_refusal) {
                break;
            }
        }
        if let Some(again) = memory.refusals.next(self.actor.kit.clock.now()) {
            self.actor.queue.add_at(Key::Job(uid.clone()), self.actor.kit.clock.instant_of(again));
        }
        if failure.as_ref().is_none_or(WriteError::is_refusal) {
            // There is more to do; the others come first. After another failure the rest comes with the retry.
            self.actor.queue.add(Key::Job(uid.clone()));
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
        let pods = self.actor.pods.owned(&job.identity.uid, &job.identity.namespace);
        pods.iter().filter(|pod| !pod.is_ended()).count()
    }

    /// The pods a decision about this Job looks at.
    fn candidates(&self, job: &JobView) -> Vec<Arc<PodView>> {
        let naming = self.actor.pods.naming(&job.identity.uid);
        let (mut pods, pretenders): (Vec<_>, Vec<_>) =
            naming.into_iter().partition(|pod| pod.identity.namespace == job.identity.namespace);
        for pod in pretenders.iter().filter(|pod| pod.tracked) {
            self.actor.queue.add(Key::Orphan(pod.identity.uid.clone()));
        }
        let may_adopt = |pod: &PodView| pod.identity.namespace == job.identity.namespace && job.selects(&pod.labels);
        pods.extend(self.actor.pods.orphans(may_adopt));
        pods
    }

    /// A Job that is gone for good: nobody will count its pods, so they are let go.
    async fn release_left_behind(&self, uid: &Uid) -> Result<(), WriteError> {
        let tracked = self.actor.pods.naming(uid).into_iter().filter(|pod| pod.tracked);
        let mut left: Vec<_> = tracked.collect();
        let Some((namespace, owner)) =
            left.first().and_then(|pod| Some((pod.identity.namespace.clone(), pod.owner.clone()?)))
        else {
            return Ok(());
        };
        if !self.actor.jobs.is_deleted(uid) {
            // The Job may only be news that has not reached us.
            if self.actor.read(&namespace, &owner.name, uid).await?.is_some() {
                self.actor.queue.add_at(Key::Job(uid.clone()), Instant::now() + NEWS);
                return Ok(());
            }
            // That says nothing of other namespaces, whose pods come next.
            let all = left.len();
            left.retain(|pod| pod.identity.namespace == namespace);
            if left.len() < all {
                self.actor.queue.add(Key::Job(uid.clone()));
            }
        }
        let now = self.actor.kit.clock.now();
        left.retain(|pod| !self.loose().holds(UNTRACK, Some(&pod.identity.uid), now));
        let is_more = left.len() > LEFT_BEHIND_A_TURN;
        left.truncate(LEFT_BEHIND_A_TURN);
        let failed = self.actor.untrack(&left).await;
        if is_more && failed.len() < left.len() {
            // The rest comes after what waits by now.
            self.actor.queue.add(Key::Job(uid.clone()));
        }
        let mut loose = self.loose();
        record(&mut loose, &on_pods(UNTRACK, &left), &failed, now);
        let failure = failed.into_iter().fold(None, |failure, Failed { error, .. }| worse(failure, error));
        self.wake_loose(&mut loose, Key::Job(uid.clone()), now);
        failure.map_or(Ok(()), Err)
    }

    /// Wakes a key when the next of the pods without a Job may be written to again.
    fn wake_loose(&self, loose: &mut Refusals, key: Key, now: Timestamp) {
        if loose.len() > LOOSE_PODS {
            loose.forget_old(now);
        }
        if let Some(again) = loose.next(now) {
            self.actor.queue.add_at(key, self.actor.kit.clock.instant_of(again));
        }
    }

    /// A pod with our finalizer that no Job controls: the finalizer comes off.
    async fn sync_orphan(&self, uid: &Uid) -> Result<(), WriteError> {
        match self.actor.pods.get(uid) {
            Some(pod) if pod.tracked && !self.is_controlled(&pod) => self.untrack_orphan(&pod).await,
            _ => {
                self.loose().succeed(UNTRACK, Some(uid));
                Ok(())
            }
        }
    }

    async fn untrack_orphan(&self, pod: &PodView) -> Result<(), WriteError> {
        let (uid, now) = (&pod.identity.uid, self.actor.kit.clock.now());
        let held = self.loose().until(UNTRACK, Some(uid), now);
        let result = match held {
            Some(_) => Ok(()),
            None => self.actor.untrack_orphan(pod).await,
        };
        let mut loose = self.loose();
        match &result {
            Err(error) if !error.is_stopping() => {
                loose.refuse(UNTRACK, Some(uid), error, now);
            }
            Ok(()) if held.is_none() => {
                loose.succeed(UNTRACK, Some(uid));
                if self.actor.pods.get(uid).is_some_and(|pod| pod.tracked) {
                    // It changed meanwhile: what is known of it now decides.
                    self.actor.queue.add(Key::Orphan(uid.clone()));
                }
            }
            _ => {}
        }
        self.wake_loose(&mut loose, Key::Orphan(uid.clone()), now);
        result.map_err(|error| if error.is_refusal() { WriteError::Deferred } else { error })
    }

    /// Whether a pod has a controller that it can have: one that is no Job of another namespace.
    fn is_controlled(&self, pod: &PodView) -> bool {
        pod.controller().is_some_and(|owner| {
            self.actor.jobs.get(owner).is_none_or(|job| job.identity.namespace == pod.identity.namespace)
        })
    }

    /// Ends the back-offs of what failed for want of an answer.
    fn outage_over(&self) {
        self.loose().outage_over();
        let mut memory = self.memory();
        for (uid, memory) in memory.iter_mut() {
            if memory.refusals.outage_over() {
                self.actor.queue.add(Key::Job(uid.clone()));
            }
        }
    }

    fn loose(&self) -> MutexGuard<'_, Refusals> {
        self.loose.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> MutexGuard<'_, HashMap<Uid, Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn vanished(&self) -> MutexGuard<'_, HashMap<Uid, Timestamp>> {
        self.vanished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recall(&self, uid: &Uid) -> Memory {
        self.memory().get(uid).cloned().unwrap_or_default()
    }

    fn remember(&self, job: &JobView, memory: &Memory) {
        let is_left =
            |kind: WriteKind, pod: &Uid| kind == UNTRACK && self.actor.pods.get(pod).is_some_and(|pod| pod.tracked);
        if job.status.is_finished() && !memory.refusals.any_part(is_left) {
            self.forget(&job.identity.uid);
        } else {
            self.memory().insert(job.identity.uid.clone(), memory.clone());
        }
    }

    /// Forgets a Job that is finished, gone, or another controller's, and the times at which it was to be looked at.
    fn forget(&self, uid: &Uid) {
        self.memory().remove(uid);
        self.vanished().remove(uid);
        self.actor.queue.cancel(&Key::Job(uid.clone()));
    }

    /// How many entries it remembers between syncs, by what they are; of pods given up, those that are gone. All are 0 when
    /// every Job is finished or gone.
    pub fn remembered(&self) -> [(&'static str, usize); 4] {
        let given_up = self.actor.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        let given_up = given_up.iter().filter(|pod| self.actor.pods.get(pod).is_none()).count();
        [
            ("memory", self.memory().len()),
            ("vanished", self.vanished().len()),
            ("given_up", given_up),
            ("timers", self.actor.queue.timers()),
        ]
    }
}

#[cfg(test)]
mod fairness_tests;
