//! The controllers that a run consists of, and their life: watching always, working only while this process leads.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::discovery::InstalledResources;
use super::{Arguments, ControllerName};
use crate::job::conflicting_controller::ConflictingController;
use crate::job::controller as job;
use crate::job::metrics::JobMetrics;
use crate::limit::controller as limit;
use crate::runtime::context::ControllerContext;
use crate::runtime::election::lease::Handover;
use crate::runtime::election::record::{CaughtUp, LastWrites};
use crate::runtime::liveness::Signs;
use crate::runtime::watch::CacheState;
use crate::runtime::write_gate::WriteGate;
use crate::schedule::controller::{self as schedule, ScheduleMetrics};
use crate::schedule::cron_job::view::CronJobView;
use crate::schedule::job_schedule::view::JobScheduleView;
use crate::schedule::source::ScheduleSource;
use crate::ttl::controller::{self as ttl, TtlMetrics};

/// How long the watches may take to bring the last writes of a leader that let go; after that they are listed.
const OBSERVE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often it is looked whether they have.
const OBSERVE_POLL_INTERVAL: Duration = Duration::from_millis(5);
/// How long the writes in flight may take to end when work ends; after that they are abandoned.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);
/// How long the tasks of the controllers may take to end after that. They end at their next wait.
const TASK_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// How work ended.
#[derive(Debug)]
pub struct WorkEnd<T> {
    /// What ended it: what was waited for, or another controller that works on our Jobs.
    pub by: Result<T, ConflictingController>,
    /// Each write was answered. Otherwise one may take effect later.
    pub settled: bool,
}

/// The controllers of this run.
pub struct Controllers {
    write_gate: Arc<WriteGate>,
    job: Arc<job::Controller>,
    job_limit: Option<Arc<limit::Controller>>,
    cron_job: Option<Arc<schedule::Controller<CronJobView>>>,
    job_schedule: Option<Arc<schedule::Controller<JobScheduleView>>>,
    ttl: Option<Arc<ttl::Controller>>,
    installed: OnceLock<InstalledResources>,
}

impl Controllers {
    /// The controllers that the arguments name, doing nothing yet.
    pub fn new(arguments: &Arguments, context: &ControllerContext, registry: &mut Registry) -> Self {
        let job = Arc::new(job::Controller::new(context.clone(), arguments.config(), JobMetrics::new(registry)));
        let job_limit = arguments
            .runs(ControllerName::Job)
            .then(|| Arc::new(limit::Controller::new(context.clone(), job.handle())));
        let cron_job = arguments.runs(ControllerName::CronJob).then(|| {
            Arc::new(schedule::Controller::new(
                context.clone(),
                job.jobs(),
                ScheduleMetrics::new(registry, CronJobView::NAME),
            ))
        });
        let job_schedule = arguments.runs(ControllerName::JobSchedule).then(|| {
            let metrics = ScheduleMetrics::new(registry, JobScheduleView::NAME);
            Arc::new(schedule::Controller::new(context.clone(), job.jobs(), metrics))
        });
        let ttl = arguments.runs(ControllerName::Ttl).then(|| {
            let metrics = TtlMetrics::new(registry);
            Arc::new(ttl::Controller::new(context.clone(), job.jobs(), metrics, arguments.claim, arguments.retention()))
        });
        Self {
            write_gate: context.write_gate.clone(),
            job,
            job_limit,
            cron_job,
            job_schedule,
            ttl,
            installed: OnceLock::new(),
        }
    }

    /// Says which of our own resources there are; until then, and where there are none, they are not worked on.
    pub fn set_installed(&self, installed: InstalledResources) {
        let installed = self.installed.get_or_init(|| installed);
        if let Some(job_limit) = self.job_limit.as_ref().filter(|_| installed.job_limits) {
            self.job.set_admission_control(job_limit.clone());
        }
    }

    /// Returns the controller of JobLimits, if there can be any.
    fn job_limit(&self) -> Option<&Arc<limit::Controller>> {
        let there = self.installed.get().is_some_and(|installed| installed.job_limits);
        self.job_limit.as_ref().filter(|_| there)
    }

    /// The controller of JobSchedules, if there can be any.
    fn job_schedule(&self) -> Option<&Arc<schedule::Controller<JobScheduleView>>> {
        let there = self.installed.get().is_some_and(|installed| installed.job_schedules);
        self.job_schedule.as_ref().filter(|_| there)
    }

    /// Begins to keep the caches in step with the API server; ends when the tasks are dropped.
    pub fn watch(&self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        self.job.watch(&mut tasks);
        if let Some(job_limit) = self.job_limit().cloned() {
            tasks.spawn(async move { job_limit.watch().await });
        }
        if let Some(cron_job) = self.cron_job.clone() {
            tasks.spawn(async move { cron_job.watch().await });
        }
        if let Some(job_schedule) = self.job_schedule().cloned() {
            tasks.spawn(async move { job_schedule.watch().await });
        }
        if let Some(ttl) = self.ttl.clone() {
            tasks.spawn(async move { ttl.watch().await });
        }
        tasks
    }

    /// Returns once all caches hold all there is.
    pub async fn ready(&self) {
        self.job.ready().await;
        if let Some(job_limit) = self.job_limit() {
            job_limit.ready().await;
        }
        if let Some(cron_job) = &self.cron_job {
            cron_job.ready().await;
        }
        if let Some(job_schedule) = self.job_schedule() {
            job_schedule.ready().await;
        }
        if let Some(ttl) = &self.ttl {
            ttl.ready().await;
        }
    }

    /// Brings the caches to where they hold all that had happened by `since`, when the Lease became ours.
    pub async fn catch_up(&self, handover: &Handover, since: Instant) -> CaughtUp {
        let caches = self.caches();
        let warm = caches.iter().all(|(_, cache)| cache.synced);
        if let Handover::Released(record) = handover
            && warm
            && record.covers(caches.iter().map(|(resource, _)| *resource))
            && tokio::time::timeout(OBSERVE_TIMEOUT, self.wait_until_observed(record)).await.is_ok()
        {
            return CaughtUp { listed: false, known: self.known() };
        }
        self.job.require_since(since);
        if let Some(job_limit) = self.job_limit() {
            job_limit.require_since(since);
        }
        if let Some(cron_job) = &self.cron_job {
            cron_job.require_since(since);
        }
        if let Some(job_schedule) = self.job_schedule() {
            job_schedule.require_since(since);
        }
        if let Some(ttl) = &self.ttl {
            ttl.require_since(since);
        }
        self.ready().await;
        CaughtUp { listed: true, known: self.known() }
    }

    async fn wait_until_observed(&self, record: &LastWrites) {
        let is_observed =
            |cache: &CacheState, resource| record.0.get(resource).is_none_or(|last| cache.observed_version.0 >= *last);
        while !self.caches().iter().all(|(resource, cache)| is_observed(cache, *resource)) {
            tokio::time::sleep(OBSERVE_POLL_INTERVAL).await;
        }
    }

    /// The newest version of each resource that this process wrote; zero of what it never wrote.
    pub fn last_writes(&self) -> LastWrites {
        self.versions(|cache| cache.written_version.0)
    }

    /// The newest version of each resource that the watches brought.
    fn known(&self) -> LastWrites {
        self.versions(|cache| cache.observed_version.0)
    }

    fn versions(&self, version: impl Fn(&CacheState) -> u64) -> LastWrites {
        let caches = self.caches().into_iter();
        LastWrites(caches.map(|(resource, cache)| (resource.to_owned(), version(&cache))).collect())
    }

    /// Works until `end` resolves, or until another controller is seen to work on our Jobs; then begins no new write, lets
    /// those in flight end, and returns.
    pub async fn work<T>(&self, end: impl Future<Output = T>) -> WorkEnd<T> {
        let mut tasks = JoinSet::new();
        self.job.begin(&mut tasks);
        if let Some(cron_job) = self.cron_job.clone() {
            tasks.spawn(async move { cron_job.work().await });
        }
        if let Some(job_schedule) = self.job_schedule().cloned() {
            tasks.spawn(async move { job_schedule.work().await });
        }
        if let Some(ttl) = self.ttl.clone() {
            tasks.spawn(async move { ttl.work().await });
        }
        let by = tokio::select! {
            biased;
            end = end => Ok(end),
            conflict = self.job.conflicting_controller() => Err(conflict),
        };
        self.job.end();
        if let Some(cron_job) = &self.cron_job {
            cron_job.end();
        }
        if let Some(job_schedule) = self.job_schedule() {
            job_schedule.end();
        }
        if let Some(ttl) = &self.ttl {
            ttl.end();
        }
        let settled = self.write_gate.close_within(DRAIN_TIMEOUT).await;
        if !settled {
            tracing::warn!(waited = ?DRAIN_TIMEOUT, "some writes in flight were not answered; they are abandoned");
        }
        if tokio::time::timeout(TASK_SHUTDOWN_TIMEOUT, tasks.shutdown()).await.is_err() {
            tracing::warn!(waited = ?TASK_SHUTDOWN_TIMEOUT, "some tasks of the controllers have not ended; they write no more");
        }
        // A replica that stands by may do so for months.
        self.job.forget_all();
        WorkEnd { by, settled }
    }

    /// The signs of life of the watches, by resource.
    pub fn signs(&self) -> Vec<(&'static str, Signs)> {
        self.caches().into_iter().map(|(resource, cache)| (resource, cache.watched.pulse.signs())).collect()
    }

    /// What the caches hold, by resource.
    pub fn caches(&self) -> Vec<(&'static str, CacheState)> {
        let mut caches = self.job.caches();
        caches.extend(self.job_limit().map(|job_limit| ("joblimits", job_limit.cache())));
        caches.extend(self.cron_job.as_ref().map(|cron_job| ("cronjobs", cron_job.cache())));
        caches.extend(self.job_schedule().map(|job_schedule| ("jobschedules", job_schedule.cache())));
        caches.extend(self.ttl.as_ref().and_then(|ttl| ttl.cache()).map(|cache| ("namespaces", cache)));
        caches
    }

    /// How many entries are remembered of Jobs between syncs, by what they are. All are 0 when every Job is finished, or gone
    /// if it has a time to live.
    pub fn remembered(&self) -> Vec<(&'static str, usize)> {
        let ttl = self.ttl.as_ref().map(|ttl| ("times to live", ttl.timers()));
        self.job.remembered().into_iter().chain(ttl).collect()
    }

    /// How many objects wait to be looked at, by controller.
    pub fn queue_depths(&self) -> Vec<(&'static str, usize)> {
        let cron_job = self.cron_job.as_ref().map(|cron_job| ("cronjob", cron_job.queue_depth()));
        let ttl = self.ttl.as_ref().map(|ttl| ("ttl", ttl.queue_depth()));
        let job_schedule = self.job_schedule().map(|schedule| (JobScheduleView::NAME, schedule.queue_depth()));
        [Some(("job", self.job.queue_depth())), cron_job, job_schedule, ttl].into_iter().flatten().collect()
    }
}
