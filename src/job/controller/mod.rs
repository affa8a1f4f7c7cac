//! The Job controller: watches feed the caches, changes become keys, and workers sync these keys.
//!
//! [`Controller`] is the entry point. `event_handlers` turns changes into keys, `sync` syncs one Job, [`dependencies`] has the Jobs that wait for
//! others, `orphans` handles pods without a Job, `policies` applies the JobPolicies that [`policy_source`] is the interface to, `groups` watches Workloads and PodGroups, `memory` is what the controller remembers between syncs, `summaries` keeps what is known of the pods, and [`admission_control`] is the interface
//! to the rules that limit the active Jobs.

pub mod admission_control;
pub mod dependencies;
mod event_handlers;
#[cfg(test)]
mod fairness_tests;
mod groups;
mod memory;
mod orphans;
mod policies;
pub mod policy_source;
mod summaries;
mod sync;
mod unlabelled_pods;

use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::admission_control::{AdmissionControl, JobsHandle};
use self::dependencies::Dependencies;
use self::groups::Groups;
use self::memory::Memory;
use self::policy_source::PolicySource;
use super::config::Config;
use super::conflicting_controller::ConflictingController;
use super::decide::start_waits::StartWaits;
use super::decide::summary::PodSummary;
use super::execute::StepExecutor;
use super::gang::GangScheduling;
use super::key::Key;
use super::metrics::JobMetrics;
use super::retry_budget::RetryBudget;
use super::view::JobView;
use crate::runtime::cache::{Cache, Change};
use crate::runtime::context::ControllerContext;
use crate::runtime::controller;
use crate::runtime::identity::{Identity, ResourceVersion, Uid};
use crate::runtime::maps::FastMap;
use crate::runtime::queue::Queue;
use crate::runtime::refusals::Refusals;
use crate::runtime::watch::{CacheState, Synced, WatchMetrics};
use crate::runtime::worker::{Target, work};

/// Name of the controller in metrics and logs.
const NAME: &str = "job";

/// Namespace of a Job, and name of the policy that governs it. A default policy has its namespace in its name.
type PolicyKey = (Arc<str>, Arc<str>);

/// The Job controller.
pub struct Controller {
    executor: StepExecutor,
    config: Config,
    memory: Mutex<FastMap<Uid, Memory>>,
    /// Summaries of the pods of Jobs with many pods.
    summaries: Mutex<FastMap<Uid, Box<PodSummary>>>,
    /// Pods that have not started, of Jobs whose policy has start deadlines.
    starts: Mutex<FastMap<Uid, StartWaits>>,
    /// Jobs that start after other Jobs.
    dependencies: Arc<Dependencies>,
    /// Retry budgets of the policies that have one, by the name of the policy.
    retry_budgets: Mutex<FastMap<PolicyKey, RetryBudget>>,
    /// JobPolicies. Without them, no policy governs a Job.
    policies: OnceLock<Arc<dyn PolicySource>>,
    /// Time when a pod of a Job was last removed without being counted.
    untracked_deletions: Mutex<FastMap<Uid, Timestamp>>,
    /// Refused writes to pods that no Job controls.
    orphan_refusals: Mutex<Refusals>,
    jobs_synced: Synced,
    jobs_watched: WatchMetrics,
    pods_synced: Synced,
    pods_watched: WatchMetrics,
    /// Whether the cache holds all pods, not only those with the label of a generated selector.
    all_pods_synced: Synced,
    /// Whether Workloads and PodGroups are managed; unset before the API server was asked.
    gang_scheduling: OnceLock<GangScheduling>,
    groups: Groups,
    /// Rules that admit Jobs. Without them, every Job is allowed to start pods.
    admission_control: OnceLock<Arc<dyn AdmissionControl>>,
    /// Conflicting controller, once it was detected.
    conflicting_controller: watch::Sender<Option<ConflictingController>>,
}

impl Controller {
    /// Creates a controller that neither watches nor works yet.
    pub fn new(context: ControllerContext, config: Config, metrics: JobMetrics) -> Self {
        let pods_watched = WatchMetrics::default();
        let executor = StepExecutor {
            log_tail: config.log_tail,
            context,
            metrics,
            uncounted_deletions: Mutex::default(),
            jobs: Arc::default(),
            pods: Arc::default(),
            workloads: Arc::default(),
            pod_groups: Arc::default(),
            pods_watched: pods_watched.clone(),
            all_pods: watch::Sender::new(false),
            // Each orphaned pod is a key of its own, and one user can have thousands.
            queue: Arc::new(Queue::closed_with_minor(|key| matches!(key, Key::Orphan(_)))),
        };
        let dependencies = Arc::new(Dependencies::new(executor.jobs.clone()));
        Self {
            executor,
            config,
            memory: Mutex::default(),
            summaries: Mutex::default(),
            starts: Mutex::default(),
            dependencies,
            retry_budgets: Mutex::default(),
            policies: OnceLock::new(),
            untracked_deletions: Mutex::default(),
            orphan_refusals: Mutex::default(),
            jobs_synced: Synced::default(),
            jobs_watched: WatchMetrics::default(),
            pods_synced: Synced::default(),
            pods_watched,
            all_pods_synced: Synced::default(),
            gang_scheduling: OnceLock::new(),
            groups: Groups::default(),
            admission_control: OnceLock::new(),
            conflicting_controller: watch::Sender::new(None),
        }
    }

    /// Sets the rules that admit Jobs. The caller sets them before the controller begins to work.
    pub fn set_admission_control(&self, admission_control: Arc<dyn AdmissionControl>) {
        self.admission_control.get_or_init(|| admission_control);
    }

    /// Returns the objects that an admission control reads.
    pub fn handle(&self) -> JobsHandle {
        let StepExecutor { jobs, pods, queue, .. } = &self.executor;
        JobsHandle {
            claim: self.config.claim,
            jobs: jobs.clone(),
            pods: pods.clone(),
            queue: queue.clone(),
            dependencies: self.dependencies.clone(),
        }
    }

    /// Resolves when a conflicting controller is detected on the Jobs of this controller.
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

    /// Returns the cache of all Jobs, for the other controllers that read Jobs.
    pub fn jobs(&self) -> Arc<Cache<JobView>> {
        self.executor.jobs.clone()
    }

    /// Queues every Job, and every pod whose finalizer has to be removed.
    fn enqueue_all(&self) {
        let mut jobs = self.executor.jobs.all(|_| true);
        // Jobs without their first pods come before running Jobs, and finished Jobs come last. An event about a Job
        // comes before the Jobs that have started.
        jobs.sort_by_key(|job| (job.status.is_finished(), job.status.start_time.is_some()));
        for job in jobs {
            self.count_external(&job);
            if job.status.start_time.is_none() {
                // The Job was created while no controller was working.
                self.report_annotation(None, &job);
                self.report_scheduling(&job);
            }
            let key = Key::Job(job.identity.uid.clone());
            if job.status.is_finished() || job.status.start_time.is_some() {
                self.executor.queue.add_minor(key);
            } else {
                self.executor.queue.add(key);
            }
        }
        for pod in self.executor.pods.all(|pod| pod.tracked) {
            match &pod.owner {
                Some(owner) if owner.is_job => self.executor.queue.add_minor(Key::Job(owner.uid.clone())),
                Some(_) => {}
                None => self.executor.queue.add(Key::Orphan(pod.identity.uid.clone())),
            }
            self.executor.metrics.pod_changed(&Change { before: None, after: Some(pod) });
        }
    }

    /// Counts a Job that is new to the cache, if another controller manages it.
    fn count_external(&self, job: &JobView) {
        if !self.claims(job) {
            self.executor.metrics.job_added(job);
        }
    }

    /// Returns whether the controller works on a Job.
    fn claims(&self, job: &JobView) -> bool {
        self.config.claim.covers(job.spec.managed_by.as_deref())
    }

    /// Returns the object that a key stands for.
    fn target(&self, key: &Key) -> Target {
        let (kind, uid, identity) = match key {
            Key::Job(uid) => {
                let known = self.executor.jobs.get(uid).map(|job| job.identity.clone());
                (super::KIND, uid, known.or_else(|| self.deleted_job(uid)))
            }
            Key::Orphan(uid) => ("Pod", uid, self.executor.pods.get(uid).map(|pod| pod.identity.clone())),
        };
        Target { kind, uid: uid.clone(), identity }
    }

    /// Returns the namespace and name of a Job that is gone, as its pods have them.
    fn deleted_job(&self, uid: &Uid) -> Option<Identity> {
        let pods = self.executor.pods.referencing(uid);
        let pod = pods.first()?;
        let (namespace, name) = (pod.identity.namespace.clone(), pod.owner.as_ref()?.name.clone());
        Some(Identity { namespace, name, uid: uid.clone(), resource_version: ResourceVersion::default() })
    }

    /// Runs one worker until the queue is closed.
    async fn work(&self) {
        let sync = |key| async move {
            match &key {
                Key::Job(uid) => self.sync(uid).await,
                Key::Orphan(uid) => self.sync_orphan(uid).await,
            }
        };
        work(&self.executor.queue, NAME, &self.executor.context.syncs, |key| self.target(key), sync).await;
    }
}

impl controller::Controller for Controller {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watch(self: Arc<Self>, tasks: &mut JoinSet<()>) {
        let controller = self.clone();
        tasks.spawn(async move { controller.watch_jobs().await });
        self.watch_groups(tasks);
        if self.config.drives_pods {
            tasks.spawn(async move { self.watch_pods().await });
        }
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        let ready = async {
            self.jobs_synced.wait().await;
            if self.config.drives_pods {
                tokio::select! {
                    biased;
                    () = self.pods_synced.wait() => {}
                    () = self.all_pods_synced.wait() => {}
                }
            }
            if self.manages_groups() {
                self.groups.ready().await;
            }
        };
        ready.boxed()
    }

    fn require_since(&self, since: Instant) {
        let own = [&self.jobs_synced, &self.pods_synced, &self.all_pods_synced];
        for synced in own.into_iter().chain(self.groups.synced()) {
            synced.require_since(since);
        }
    }

    fn begin(self: Arc<Self>, tasks: &mut JoinSet<()>) {
        if !self.config.drives_pods {
            return;
        }
        // Another replica may have worked since the last term of this one.
        self.forget_all();
        if let Some(admission_control) = self.admission_control.get() {
            admission_control.clone().begin(tasks);
        }
        let changes = self.executor.jobs.subscribe();
        tasks.spawn({
            let controller = self.clone();
            async move { controller.follow_awaited_jobs(changes).await }
        });
        self.executor.queue.open();
        self.enqueue_all();
        let controller = self.clone();
        tasks.spawn(async move { controller.keep_releasing_unlabelled_pods().await });
        for _ in 0..self.config.concurrency.max(1) {
            let controller = self.clone();
            tasks.spawn(async move { controller.work().await });
        }
    }

    fn end(&self) {
        self.executor.queue.close();
    }

    fn forget_all(&self) {
        self.memory().clear();
        self.forget_summaries();
        self.untracked_deletions().clear();
        self.starts.lock().clear();
        self.dependencies.clear();
        self.retry_budgets.lock().clear();
        *self.orphan_refusals() = Refusals::default();
        self.executor.clear_uncounted_deletions();
    }

    fn caches(&self) -> Vec<(&'static str, CacheState)> {
        let jobs = CacheState::of(&self.executor.jobs, self.jobs_synced.is_done(), &self.jobs_watched);
        let mut caches = vec![("jobs", jobs)];
        if self.config.drives_pods {
            let known = self.pods_synced.is_done() || self.all_pods_synced.is_done();
            caches.push(("pods", CacheState::of(&self.executor.pods, known, &self.pods_watched)));
        }
        if self.manages_groups() {
            caches.extend(self.groups.caches(self));
        }
        caches
    }

    fn queue_depth(&self) -> Option<usize> {
        Some(self.executor.queue.len())
    }

    /// Of the pods that are deleted uncounted, only those that are gone are counted. All numbers are 0 when every Job is
    /// finished or gone.
    fn remembered(&self) -> Vec<(&'static str, usize)> {
        let uncounted_deletions = self.executor.uncounted_deletions.lock();
        let uncounted_deletions =
            uncounted_deletions.iter().filter(|pod| self.executor.pods.get(pod).is_none()).count();
        vec![
            ("memory", self.memory().len()),
            ("pod_summaries", self.summaries.lock().len()),
            ("untracked_deletions", self.untracked_deletions().len()),
            ("unstarted_pods", self.starts.lock().len()),
            ("awaited_jobs", self.dependencies.len()),
            ("uncounted_deletions", uncounted_deletions),
            ("timers", self.executor.queue.timers()),
        ]
    }
}
