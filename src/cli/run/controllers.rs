//! The controllers of a run: they watch always, and work only while this replica leads.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::discovery::InstalledResources;
use super::{Arguments, ControllerName};
use crate::job::conflicting_controller::ConflictingController;
use crate::job::controller as job;
use crate::job::controller::admission_control::JobsHandle;
use crate::job::metrics::JobMetrics;
use crate::limit::controller as limit;
use crate::policy::controller as policy;
use crate::runtime::context::ControllerContext;
use crate::runtime::controller::Controller;
use crate::runtime::election::lease::Handover;
use crate::runtime::election::record::{CaughtUp, LastWrites};
use crate::runtime::liveness::Signs;
use crate::runtime::watch::CacheState;
use crate::runtime::write_gate::WriteGate;
use crate::schedule::calendar::controller::{self as calendar, Calendars};
use crate::schedule::controller::{self as schedule, ScheduleMetrics};
use crate::schedule::cron_job::view::CronJobView;
use crate::schedule::job_schedule::view::JobScheduleView;
use crate::schedule::source::ScheduleSource;
use crate::schedule::workload::{Sample, SampleKey, bound};
use crate::ttl::controller::{self as ttl, TtlMetrics};

/// Maximum time until the watches have delivered the last writes of a leader that released its Lease. After that, all
/// objects are listed.
const OBSERVE_TIMEOUT: Duration = Duration::from_secs(1);
/// Interval of the checks whether the watches have delivered these writes.
const OBSERVE_POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Maximum time for the writes in flight to end when a term ends. After that, they are abandoned.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);
/// Maximum time for the tasks of the controllers to end after that. A task ends at its next wait.
const TASK_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// End of a term.
#[derive(Debug)]
pub struct WorkEnd<T> {
    /// Cause of the end: the awaited event, or a conflicting controller.
    pub by: Result<T, ConflictingController>,
    /// Whether each write was answered. Otherwise, a write can still take effect later.
    pub settled: bool,
}

/// A controller, and the condition for it to run.
struct Member {
    controller: Arc<dyn Controller>,
    is_installed: fn(InstalledResources) -> bool,
}

/// The controllers of this run.
pub struct Controllers {
    write_gate: Arc<WriteGate>,
    job: Arc<job::Controller>,
    cron_job: Option<Arc<schedule::Controller<CronJobView>>>,
    job_schedule: Option<Arc<schedule::Controller<JobScheduleView>>>,
    job_limit: Option<Arc<limit::Controller>>,
    job_policy: Option<Arc<policy::Controller>>,
    ttl: Option<Arc<ttl::Controller>>,
    /// All controllers, in the order in which they start. The Job controller, on whose caches the others depend, is the
    /// first.
    members: Vec<Member>,
    installed: OnceLock<InstalledResources>,
}

impl Controllers {
    /// Creates the controllers that the arguments name. They neither watch nor work yet.
    pub fn new(arguments: &Arguments, context: &ControllerContext, registry: &mut Registry) -> Self {
        let metrics = JobMetrics::new(registry).with_workload(arguments.workload.job_metrics(registry));
        let job = Arc::new(job::Controller::new(context.clone(), arguments.config(), metrics));
        let (mut cron_jobs, mut job_schedules) = (None, None);
        let mut members = vec![Member { controller: job.clone(), is_installed: |_| true }];
        let job_limit = arguments
            .runs(ControllerName::Job)
            .then(|| Arc::new(limit::Controller::new(context.clone(), job.handle())));
        if let Some(job_limit) = job_limit.clone() {
            members.push(Member { controller: job_limit, is_installed: |installed| installed.job_limits });
        }
        let uses_policies = arguments.runs(ControllerName::Job) || arguments.runs(ControllerName::Ttl);
        let job_policy = uses_policies.then(|| {
            let default = arguments.default_policy.clone();
            Arc::new(policy::Controller::new(context.clone(), job.handle(), default))
        });
        if let Some(job_policy) = job_policy.clone() {
            members.push(Member { controller: job_policy, is_installed: |installed| installed.job_policies });
        }
        let mut ttls = None;
        if arguments.runs(ControllerName::CronJob) {
            let metrics = ScheduleMetrics::new(registry, CronJobView::NAME);
            let calendars = Calendars::default();
            let cron_job = schedule::Controller::<CronJobView>::new(context.clone(), job.jobs(), calendars, metrics);
            let cron_job = Arc::new(cron_job);
            cron_jobs = Some(cron_job.clone());
            members.push(Member { controller: cron_job, is_installed: |_| true });
        }
        if arguments.runs(ControllerName::JobSchedule) {
            let metrics = ScheduleMetrics::new(registry, JobScheduleView::NAME);
            let calendars = Calendars::default();
            // The calendars come first, so that they are known when the first JobSchedule is synced.
            let calendar = calendar::Controller::new(context.clone(), calendars.clone());
            members.push(Member { controller: Arc::new(calendar), is_installed: |installed| installed.calendars });
            let job_schedule =
                schedule::Controller::<JobScheduleView>::new(context.clone(), job.jobs(), calendars, metrics);
            let is_installed = |installed: InstalledResources| installed.job_schedules;
            let job_schedule = Arc::new(job_schedule);
            job_schedules = Some(job_schedule.clone());
            members.push(Member { controller: job_schedule, is_installed });
        }
        if arguments.runs(ControllerName::Ttl) {
            let metrics = TtlMetrics::new(registry);
            let (claim, retention) = (arguments.claim, arguments.retention());
            let ttl = Arc::new(ttl::Controller::new(context.clone(), job.jobs(), metrics, claim, retention));
            ttls = Some(ttl.clone());
            members.push(Member { controller: ttl, is_installed: |_| true });
        }
        Self {
            write_gate: context.write_gate.clone(),
            job,
            cron_job: cron_jobs,
            job_schedule: job_schedules,
            job_limit,
            job_policy,
            ttl: ttls,
            members,
            installed: OnceLock::new(),
        }
    }

    /// Sets which resources of Jobwright the cluster has. Without this call, and for a resource that is not installed, the
    /// controller of the resource does not run.
    pub fn set_installed(&self, installed: InstalledResources) {
        let installed = self.installed.get_or_init(|| installed);
        self.job.set_gang_scheduling(installed.gang_scheduling);
        if let Some(job_limit) = self.job_limit.as_ref().filter(|_| installed.job_limits) {
            self.job.set_admission_control(job_limit.clone());
        }
        if let Some(job_policy) = self.job_policy.as_ref().filter(|_| installed.job_policies) {
            self.job.set_policies(job_policy.clone());
            if let Some(ttl) = &self.ttl {
                ttl.set_policies(job_policy.clone());
            }
        }
    }

    /// Returns the controllers whose resources are installed, in the order in which they start.
    fn controllers(&self) -> impl Iterator<Item = &Arc<dyn Controller>> {
        let installed = self.installed.get().copied().unwrap_or_default();
        let members = self.members.iter().filter(move |member| (member.is_installed)(installed));
        members.map(|member| &member.controller)
    }

    /// Starts to keep the caches in step with the API server. The watches end when the tasks are dropped.
    pub fn watch(&self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        self.controllers().for_each(|controller| controller.clone().watch(&mut tasks));
        tasks
    }

    /// Returns once all caches hold all objects.
    pub async fn ready(&self) {
        for controller in self.controllers() {
            controller.ready().await;
        }
    }

    /// Waits until the caches hold all that had happened by `since`, when this replica acquired the Lease.
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
        self.controllers().for_each(|controller| controller.require_since(since));
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

    /// Returns the newest version of each resource that this process wrote; 0 for a resource that it never wrote.
    pub fn last_writes(&self) -> LastWrites {
        self.versions(|cache| cache.written_version.0)
    }

    /// Returns the newest version of each resource that the watches delivered.
    fn known(&self) -> LastWrites {
        self.versions(|cache| cache.observed_version.0)
    }

    fn versions(&self, version: impl Fn(&CacheState) -> u64) -> LastWrites {
        let caches = self.caches().into_iter();
        LastWrites(caches.map(|(resource, cache)| (resource.to_owned(), version(&cache))).collect())
    }

    /// Works until `end` resolves or a conflicting controller is detected. Then starts no new write, waits for the writes in
    /// flight, and returns.
    pub async fn work<T>(&self, end: impl Future<Output = T>) -> WorkEnd<T> {
        let mut tasks = JoinSet::new();
        self.controllers().for_each(|controller| controller.clone().begin(&mut tasks));
        let by = tokio::select! {
            biased;
            end = end => Ok(end),
            conflict = self.job.conflicting_controller() => Err(conflict),
        };
        self.controllers().for_each(|controller| controller.end());
        let settled = self.write_gate.close_within(DRAIN_TIMEOUT).await;
        if !settled {
            tracing::warn!(waited = ?DRAIN_TIMEOUT, "some writes in flight were not answered; they are abandoned");
        }
        if tokio::time::timeout(TASK_SHUTDOWN_TIMEOUT, tasks.shutdown()).await.is_err() {
            tracing::warn!(waited = ?TASK_SHUTDOWN_TIMEOUT, "some tasks of the controllers have not ended; they write no more");
        }
        // A replica can stand by for months.
        self.controllers().for_each(|controller| controller.forget_all());
        WorkEnd { by, settled }
    }

    /// Returns the signs of life of the watches, by resource.
    pub fn signs(&self) -> Vec<(&'static str, Signs)> {
        self.caches().into_iter().map(|(resource, cache)| (resource, cache.watched.pulse.signs())).collect()
    }

    /// Returns the states of the caches, by resource.
    pub fn caches(&self) -> Vec<(&'static str, CacheState)> {
        self.controllers().flat_map(|controller| controller.caches()).collect()
    }

    /// Returns the number of entries that are remembered of Jobs between syncs, by kind. All numbers are 0 when every Job is
    /// finished, or gone if it has a time to live.
    pub fn remembered(&self) -> Vec<(&'static str, usize)> {
        self.controllers().flat_map(|controller| controller.remembered()).collect()
    }

    /// Returns what the metrics state of the first CronJobs and JobSchedules of the namespaces that are included, at most
    /// `most`, and the number of the others.
    pub fn schedules(
        &self,
        now: Timestamp,
        includes: impl Fn(&str) -> bool + Copy,
        most: usize,
    ) -> (Vec<Sample>, usize) {
        let (cron_jobs, job_schedules) = (self.cron_job.as_ref(), self.job_schedule.as_ref());
        let mut keys = cron_jobs.map(|controller| controller.keys(includes)).unwrap_or_default();
        keys.extend(job_schedules.into_iter().flat_map(|controller| controller.keys(includes)));
        let omitted = bound(&mut keys, most);
        let sample = |key: SampleKey| match key.kind {
            CronJobView::KIND => cron_jobs?.sample(key, now),
            _ => job_schedules?.sample(key, now),
        };
        (keys.into_iter().filter_map(sample).collect(), omitted)
    }

    /// Returns the Jobs and pods of the Job controller.
    pub fn jobs(&self) -> JobsHandle {
        self.job.handle()
    }

    /// Returns the number of keys that wait for a sync, by controller.
    pub fn queue_depths(&self) -> Vec<(&'static str, usize)> {
        self.controllers().filter_map(|controller| Some((controller.name(), controller.queue_depth()?))).collect()
    }
}
