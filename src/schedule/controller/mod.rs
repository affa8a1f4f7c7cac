//! Controller of objects that start Jobs at scheduled times: watches the objects of one kind, waits until they are due, and
//! starts their Jobs.
//!
//! [`Controller`] is the entry point. One queue holds the objects to sync and their timers. The decisions are those of
//! [`ScheduleSource`].

mod samples;
mod starts;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PropagationPolicy};
use parking_lot::Mutex;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::backfill;
use super::calendar::controller::Calendars;
use super::creation::Creation;
use super::cron_job::decide::{history, is_run_recorded, reconcile_active_list};
use super::cron_job::view::{ActiveJob, CronJobStatus};
use super::once::Once;
use super::source::{EndedRun, Facts, ScheduleSource};
use super::workload::RunCounts;
use super::write_kinds::{CREATE, DELETE, STATUS};
use crate::job::creation::REVERTED;
use crate::job::view::JobView;
use crate::job::wire::WireJob;
use crate::runtime::cache::{Cache, Source};
use crate::runtime::context::ControllerContext;
use crate::runtime::controller;
use crate::runtime::errors::WriteError;
use crate::runtime::events::EventText;
use crate::runtime::identity::Uid;
use crate::runtime::maps::FastMap;
use crate::runtime::objects::Objects;
use crate::runtime::queue::Queue;
use crate::runtime::refusals::{self, ObjectRefusals, Refusals, WriteKind};
use crate::runtime::watch::{CacheEvent, CacheState, Synced, Watch, WatchMetrics};
use crate::runtime::worker::{Target, run_workers};
use crate::runtime::write_gate::{delete_params, is_gone, patch_params};

/// Maximum number of objects that are synced concurrently.
const MAX_CONCURRENT_SYNCS: usize = 1000;
/// Maximum time for which a status write waits for the Jobs of other objects to be started.
const START_PRIORITY_TIMEOUT: Duration = Duration::from_secs(5);

/// Controller of the objects of one kind: CronJobs or JobSchedules.
pub struct Controller<S: ScheduleSource> {
    context: ControllerContext,
    /// Cache of all Jobs, which the Job controller feeds.
    jobs: Arc<Cache<JobView>>,
    metrics: ScheduleMetrics,
    /// Calendars that the objects can name.
    calendars: Calendars,
    objects: Cache<S>,
    synced: Synced,
    watched: WatchMetrics,
    queue: Queue<Uid>,
    /// Writes that the API server refused.
    refusals: ObjectRefusals,
    /// Number of Jobs that are being started.
    starting: AtomicUsize,
    /// Notified when that number falls to 0.
    started: Notify,
    once: Once,
    /// Last runs of each object whose status could not be stored since.
    unstored: Mutex<FastMap<Uid, Unstored>>,
    /// Last refusal of a Job of each object, until a Job exists: the generation of the object, and the text.
    refused: Mutex<FastMap<Uid, (Option<i64>, String)>>,
    /// Runs of each object, for the metrics.
    counts: Mutex<FastMap<Uid, RunCounts>>,
    /// Whether the log states that the API server drops fields of the status.
    reported_pruning: AtomicBool,
}

/// Runs that the stored status may not include.
#[derive(Clone, Default)]
struct Unstored {
    /// Scheduled time of the last run.
    scheduled: Option<Timestamp>,
    /// Scheduled time of the last run of a backfill.
    backfilled: Option<Timestamp>,
    /// Scheduled times of the runs whose Jobs were started.
    started: Vec<Timestamp>,
    /// Jobs that were started. The watch may not have delivered them yet.
    jobs: Vec<ActiveJob>,
}

/// Metrics of the controller; those of CronJobs have the names of the built-in controller.
#[derive(Clone)]
pub struct ScheduleMetrics {
    skew: Histogram,
}

impl ScheduleMetrics {
    /// Registers the metrics with this prefix.
    pub fn new(registry: &mut Registry, name: &str) -> Self {
        let skew = Histogram::new(exponential_buckets(1.0, 2.0, 10));
        registry.sub_registry_with_prefix(format!("{name}_controller")).register(
            "job_creation_skew_duration_seconds",
            "Time between the scheduled time and the creation of a Job",
            skew.clone(),
        );
        Self { skew }
    }
}

impl<S: ScheduleSource> Controller<S> {
    /// Creates a controller that neither watches nor works yet. The Job controller feeds `jobs`, and the controller of
    /// Calendars feeds `calendars`.
    pub fn new(
        context: ControllerContext,
        jobs: Arc<Cache<JobView>>,
        calendars: Calendars,
        metrics: ScheduleMetrics,
    ) -> Self {
        Self {
            context,
            jobs,
            metrics,
            calendars,
            objects: Cache::default(),
            synced: Synced::default(),
            watched: WatchMetrics::default(),
            queue: Queue::closed(),
            refusals: ObjectRefusals::default(),
            starting: AtomicUsize::new(0),
            started: Notify::new(),
            once: Once::default(),
            unstored: Mutex::default(),
            refused: Mutex::default(),
            counts: Mutex::default(),
            reported_pruning: AtomicBool::new(false),
        }
    }

    /// Keeps the cache in step with the API server for as long as the future is polled.
    async fn watch_objects(&self) {
        let objects = self.context.watched(&self.watched);
        let watch: Watch<S::Wire, S> = Watch { objects, label: None, parse: S::parse, metrics: self.watched.clone() };
        watch.feed(&self.objects, &self.synced, |event| self.on_event(event)).await;
    }

    /// Syncs all objects until the future is dropped. The caches hold all Jobs: a Job that is not in its cache would count
    /// as missing.
    async fn work(&self) {
        self.queue.open();
        // An earlier term may have ended while Jobs were being started.
        self.starting.store(0, Ordering::SeqCst);
        self.refusals.clear();
        self.unstored.lock().clear();
        self.refused.lock().clear();
        let (mut changes, mut calendars) = (self.jobs.subscribe(), self.calendars.cache().subscribe());
        self.objects.all(|_| true).iter().for_each(|object| self.queue.add(object.identity().uid.clone()));
        let listen = async {
            while let Some(change) = changes.recv().await {
                if let Some(owner) = change.controller {
                    self.queue.add(owner);
                }
            }
        };
        let listen_to_calendars = async {
            while let Some(change) = calendars.recv().await {
                let changed = self.objects.orphans(&change.namespace, S::names_calendars);
                changed.iter().for_each(|object| self.queue.add(object.identity().uid.clone()));
            }
        };
        let sync = |uid| async move { self.sync(&uid).await };
        let target = |uid: &Uid| Target {
            kind: S::KIND,
            uid: uid.clone(),
            identity: self.objects.get(uid).map(|object| object.identity().clone()),
        };
        let syncs = run_workers(&self.queue, S::NAME, &self.context.syncs, MAX_CONCURRENT_SYNCS, target, sync);
        tokio::join!(listen, listen_to_calendars, syncs);
    }

    fn on_event(&self, event: CacheEvent<S>) {
        let change = match event {
            CacheEvent::Changed(change) => change,
            CacheEvent::WatchRecovered => return self.queue.retry_now(),
        };
        let Some(now) = change.after.as_ref() else {
            if let Some(before) = &change.before {
                self.once.forget(&before.identity().uid);
                // The sync forgets what is remembered of the object.
                self.queue.add(before.identity().uid.clone());
            }
            return;
        };
        self.queue.add(now.identity().uid.clone());
    }

    async fn sync(&self, uid: &Uid) -> Result<(), WriteError> {
        let Some(object) = self.objects.get(uid) else {
            self.refusals.forget(uid);
            self.unstored.lock().remove(uid);
            self.refused.lock().remove(uid);
            self.counts.lock().remove(uid);
            self.queue.cancel(uid);
            return Ok(());
        };
        let object = object.with_calendars(&self.calendars).map_or(object, Arc::new);
        self.refusals.of(uid, |refusals| refusals.seen(object.base().generation));
        let result = self.sync_known(uid, &object).await;
        let next_retry = self.refusals.of(uid, |refusals| refusals.next(self.context.clock.now()));
        if let Some(next_retry) = next_retry {
            self.queue.add_at(uid.clone(), self.context.clock.instant_of(next_retry));
        }
        result
    }

    async fn sync_known(&self, uid: &Uid, object: &S) -> Result<(), WriteError> {
        let base = object.base();
        let jobs = self.jobs.owned(uid, &base.identity.namespace);
        let mut status = base.status.clone();
        // A Job that was started may be gone by now, deleted by its TTL or a user. It is not started again.
        let unstored = self.unstored_of(uid, &jobs);
        let unlisted = unlisted_runs(object, &jobs, self.context.clock.now());
        let mut started: BTreeSet<Timestamp> =
            unlisted.iter().filter(|run| !backfill::has_started(&run.job)).map(|run| run.time).collect();
        started.extend(unstored.started.iter().filter(|time| !is_run_recorded(base, Some(**time))));
        status.last_schedule = status.last_schedule.max(unstored.scheduled).max(started.last().copied());
        // A Job that the watch has not delivered yet would not count as active.
        let unknown = unstored.jobs.iter().filter(|job| S::RECORDS_HISTORY && !base.status.is_active(&job.uid));
        status.active.extend(unknown.cloned());
        status.started_runs += started.len();
        let mut ended = self.ended(object, &jobs, &unlisted).await?;
        for job in history(base, &jobs) {
            // Until the status includes the time, the name of the Job is all that keeps the time from being run again.
            if !object.is_recorded(&job.identity.name) || self.is_backed_off(object, DELETE, Some(&job.identity.uid)) {
                continue;
            }
            if self.delete(object, &job.identity.name, &job.identity.uid).await.is_ok() {
                status.drop_active(&job.identity.uid);
            }
        }
        // The result of a Job that was just deleted still counts.
        let update = reconcile_active_list(&status, &jobs);
        let mut status = update.status;
        update.events.into_iter().for_each(|event| self.record_event(object, event));
        if !update.unexpected.is_empty() && self.is_outdated(object).await? {
            self.queue.add(uid.clone());
            return Ok(());
        }
        for job in &update.unexpected {
            let scheduled = object.scheduled_time(&job.identity.name).filter(|time| *time <= self.context.clock.now());
            if S::RECORDS_HISTORY || scheduled.is_some() {
                // The status was not stored after the Job was created. If the list did not contain the Job, Forbid and
                // Replace would start another Job beside it.
                status.active.push(ActiveJob::new(job));
                status.last_schedule = status.last_schedule.max(scheduled.filter(|_| !backfill::has_started(job)));
                continue;
            }
            let message = format!("Saw a job that the controller did not create or forgot: {}", job.identity.name);
            self.record_event(object, EventText::warning("UnexpectedJob", message));
        }
        for active in &update.missing {
            let found = self.wire_jobs(object).get_opt(&active.name).await?;
            // A Job of the same name that was created later is another Job. The built-in controller of CronJobs compares
            // the names alone.
            if found.is_none_or(|found| S::RECORDS_HISTORY && !is_same(active, &found)) {
                status.drop_active(&active.uid);
                self.forget_job(object, &active.uid);
                ended.push(EndedRun { job: active.clone(), end: None, replaced: false });
                self.record_event(
                    object,
                    EventText::normal("MissingJob", format!("Active job went missing: {}", active.name)),
                );
            }
        }
        // The stored status and the decision use the same time.
        let now = self.context.clock.now();
        let facts = Facts { status: &status, ended: &ended, jobs: &jobs, backfilled: unstored.backfilled, now };
        let mut due = object.due(facts);
        status.backfill = due.backfill.take();
        std::mem::take(&mut due.events).into_iter().for_each(|event| self.record_event(object, event));
        let started = match due.start {
            Some(scheduled) => {
                self.starting.fetch_add(1, Ordering::SeqCst);
                if due.replace {
                    let replaced = status.active.iter().cloned();
                    ended.extend(replaced.map(|job| EndedRun { job, end: None, replaced: true }));
                }
                let started = self.start(object, &mut status, &jobs, scheduled, &due).await;
                self.yield_to_pending_starts().await;
                started
            }
            None => Ok(Creation::Untried),
        };
        let creation = match &started {
            Ok(creation) => creation.clone(),
            Err(_) => self.refusal_of(object).map_or(Creation::Untried, Creation::Refused),
        };
        // A Job that is still active was not replaced.
        ended.retain(|ended| !status.is_active(&ended.job.uid));
        // The next run does not wait until the status can be stored.
        if let Some(wake) = due.wake {
            self.queue.add_at(uid.clone(), self.context.clock.instant_of(wake));
        }
        // The status is stored whether or not a Job was started.
        if self.write_status(object, &status, &ended, &creation, now).await? {
            self.count_ended(object, &ended, &jobs);
        }
        started?;
        Ok(())
    }

    /// Returns the Jobs of the active list and the unlisted runs that have ended, as the API server has them now: their
    /// deletion can follow.
    async fn ended(
        &self,
        object: &S,
        jobs: &[Arc<JobView>],
        unlisted: &[UnlistedRun],
    ) -> Result<Vec<EndedRun>, WriteError> {
        let mut ended = Vec::new();
        if !S::RECORDS_HISTORY {
            return Ok(ended);
        }
        let listed = &object.base().status.active;
        let unlisted = unlisted.iter().map(|run| ActiveJob::new(&run.job));
        let unlisted = unlisted.filter(|run| !listed.iter().any(|active| active.uid == run.uid));
        for active in listed.iter().cloned().chain(unlisted) {
            let finished = jobs.iter().find(|job| job.identity.uid == active.uid && job.status.is_finished());
            let Some(finished) = finished else { continue };
            let found = self.wire_jobs(object).get_opt(&active.name).await?;
            let end = found.filter(|found| is_same(&active, found)).map(|found| ((**finished).clone(), found));
            ended.push(EndedRun { job: active, end, replaced: false });
        }
        Ok(ended)
    }

    /// Waits until no Job is being started. If many objects are due concurrently, their Jobs start before the first status
    /// is written.
    async fn yield_to_pending_starts(&self) {
        let started = self.started.notified();
        if self.starting.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.started.notify_waiters();
            return;
        }
        let _ = tokio::time::timeout(START_PRIORITY_TIMEOUT, started).await;
    }

    async fn delete(&self, object: &S, name: &str, uid: &Uid) -> Result<(), WriteError> {
        let jobs = self.wire_jobs(object);
        let params = delete_params(uid, Some(PropagationPolicy::Background));
        match self.context.write_gate.run(&object.identity().uid, jobs.delete(name, &params)).await {
            Ok(_) => {
                self.succeeded(object, DELETE, Some(uid));
                self.forget_job(object, uid);
                tracing::info!(job = name, "deleted a Job");
                self.record_event(object, EventText::normal("SuccessfulDelete", format!("Deleted job {name}")));
                Ok(())
            }
            Err(error) => {
                if is_gone(&jobs, name, uid, &error).await? {
                    self.succeeded(object, DELETE, Some(uid));
                    self.forget_job(object, uid);
                    return Ok(());
                }
                Err(self.failed(object, DELETE, Some((uid, name)), error))
            }
        }
    }

    /// Returns the runs that the stored status of an object may not include, and forgets the Jobs that the watch has
    /// delivered meanwhile.
    fn unstored_of(&self, uid: &Uid, jobs: &[Arc<JobView>]) -> Unstored {
        let mut unstored = self.unstored.lock();
        let Some(unstored) = unstored.get_mut(uid) else { return Unstored::default() };
        unstored.jobs.retain(|job| !jobs.iter().any(|known| known.identity.uid == job.uid));
        unstored.clone()
    }

    /// Forgets a Job that was started before the status was stored, and does not exist any more.
    fn forget_job(&self, object: &S, job: &Uid) {
        if let Some(unstored) = self.unstored.lock().get_mut(&object.identity().uid) {
            unstored.jobs.retain(|active| active.uid != *job);
        }
    }

    fn is_backed_off(&self, object: &S, kind: WriteKind, job: Option<&Uid>) -> bool {
        let now = self.context.clock.now();
        self.refusals.of(&object.identity().uid, |refusals| refusals.is_backed_off(kind, job, now))
    }

    fn succeeded(&self, object: &S, kind: WriteKind, job: Option<&Uid>) {
        self.refusals.of(&object.identity().uid, |refusals| refusals.succeed(kind, job));
    }

    /// Records that a write failed, in an event and in the log, and returns the error of the sync. A refused write has its
    /// own back-off, which no other event shortens.
    fn failed(&self, object: &S, kind: WriteKind, job: Option<(&Uid, &str)>, error: WriteError) -> WriteError {
        if error.is_gate_closed() || error.is_namespace_terminating() {
            return error;
        }
        let identity = object.identity();
        if error.is_refusal() || kind != STATUS {
            self.record_event(object, refusals::event(kind, job.map(|(_, name)| name), &error));
        }
        tracing::warn!(controller = S::NAME, namespace = %identity.namespace, name = %identity.name, reason = kind.reason, %error, "a write failed");
        if !error.is_refusal() {
            return error;
        }
        if kind == CREATE {
            self.refused.lock().insert(identity.uid.clone(), (object.base().generation, error.to_string()));
        }
        let now = self.context.clock.now();
        let refuse = |refusals: &mut Refusals| {
            // The refusals of another generation are forgotten first.
            refusals.seen(object.base().generation);
            refusals.refuse(kind, job.map(|(uid, _)| uid), &error, now)
        };
        self.refusals.of(&identity.uid, refuse);
        WriteError::Deferred
    }

    /// Returns the text with which the API server refused the last Job of this generation, if no Job exists since.
    fn refusal_of(&self, object: &S) -> Option<String> {
        let refused = self.refused.lock();
        let (generation, text) = refused.get(&object.identity().uid)?;
        (*generation == object.base().generation).then(|| text.clone())
    }

    /// Returns whether the API server has a newer version than the cache. The cache then holds the newer version.
    async fn is_outdated(&self, object: &S) -> Result<bool, WriteError> {
        let found = self.wire_objects(object).get_opt(&object.identity().name).await?.and_then(S::parse);
        let Some(found) = found else { return Ok(true) };
        let outdated = found.identity().resource_version > object.identity().resource_version;
        self.objects.apply(found, Source::Answer);
        Ok(outdated)
    }

    /// Stores a changed status on the version of the object that it was decided from. Returns whether it was stored.
    async fn write_status(
        &self,
        object: &S,
        status: &CronJobStatus,
        ended: &[EndedRun],
        creation: &Creation,
        now: Timestamp,
    ) -> Result<bool, WriteError> {
        let (status, annotations) = (object.status_patch(status, ended, creation, now), object.annotations(now));
        if status.is_none() && annotations.is_none() || self.is_backed_off(object, STATUS, None) {
            return Ok(false);
        }
        let identity = object.identity();
        let mut patch = json!({
            "metadata": {"uid": identity.uid, "resourceVersion": identity.resource_version.to_string()},
            "status": status.unwrap_or_else(|| json!({})),
        });
        if let Some(annotations) = annotations {
            patch["metadata"]["annotations"] = annotations;
        }
        let objects = self.wire_objects(object);
        let patch = Patch::Merge(&patch);
        match self
            .context
            .write_gate
            .run(&identity.uid, objects.patch_status(&identity.name, &patch_params(), &patch))
            .await
        {
            Ok(written) => {
                let Some(written) = S::parse(written) else { return Ok(true) };
                let took_effect = written.identity().resource_version != identity.resource_version;
                let pruned = written.is_pruned();
                if pruned && !self.reported_pruning.swap(true, Ordering::SeqCst) {
                    tracing::warn!(
                        controller = S::NAME,
                        "the API server drops fields of the status: the CustomResourceDefinition is older than this version; apply \
                         crds/jobwright.yaml"
                    );
                }
                self.objects.apply(written, Source::Answer);
                if !took_effect && !pruned {
                    return Err(self.failed(object, STATUS, None, WriteError::Altered(REVERTED)));
                }
                self.succeeded(object, STATUS, None);
                self.unstored.lock().remove(&identity.uid);
                Ok(true)
            }
            Err(error) => {
                // The next sync decides from the newer version. Without a newer version there is no conflict.
                if (error.is_conflict() || error.is_not_found()) && self.is_outdated(object).await? {
                    return Err(error);
                }
                Err(self.failed(object, STATUS, None, error))
            }
        }
    }

    fn wire_jobs(&self, object: &S) -> Objects<WireJob> {
        self.context.objects_in(&object.identity().namespace)
    }

    fn wire_objects(&self, object: &S) -> Api<S::Wire> {
        self.context.namespaced(&object.identity().namespace)
    }

    fn record_event(&self, object: &S, event: EventText) {
        if !self.once.is_new(&object.identity().uid, &event) {
            return;
        }
        self.context.record_event(S::API_VERSION, S::KIND, object.identity(), event);
    }
}

/// Run whose Job exists and that the stored status does not include: it was not stored after the Job was created.
struct UnlistedRun {
    time: Timestamp,
    job: Arc<JobView>,
}

/// Returns the runs that the stored status does not include.
fn unlisted_runs<S: ScheduleSource>(object: &S, jobs: &[Arc<JobView>], now: Timestamp) -> Vec<UnlistedRun> {
    let run = |job: &Arc<JobView>| {
        let name = &job.identity.name;
        let time = object.scheduled_time(name).filter(|time| *time <= now)?;
        let is_recorded = match backfill::has_started(job) {
            true => object.is_recorded(name),
            false => is_run_recorded(object.base(), Some(time)),
        };
        // After a change of lastScheduleTime by a user, the history can have the run nevertheless.
        let is_unlisted = !is_recorded && !object.has_recorded_end(job);
        is_unlisted.then(|| UnlistedRun { time, job: job.clone() })
    };
    jobs.iter().filter(|_| S::RECORDS_HISTORY).filter_map(run).collect()
}

/// Returns whether a Job that the API server has is that of the active list, and not another one of its name.
fn is_same(active: &ActiveJob, found: &WireJob) -> bool {
    found.metadata.uid.as_deref().is_some_and(|uid| active.uid.is(uid))
}

impl<S: ScheduleSource> controller::Controller for Controller<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn watch(self: Arc<Self>, tasks: &mut JoinSet<()>) {
        tasks.spawn(async move { self.watch_objects().await });
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        self.synced.wait().boxed()
    }

    fn require_since(&self, since: Instant) {
        self.synced.require_since(since);
    }

    fn begin(self: Arc<Self>, tasks: &mut JoinSet<()>) {
        tasks.spawn(async move { self.work().await });
    }

    fn end(&self) {
        self.queue.close();
    }

    fn caches(&self) -> Vec<(&'static str, CacheState)> {
        vec![(S::RESOURCE, CacheState::of(&self.objects, self.synced.is_done(), &self.watched))]
    }

    fn queue_depth(&self) -> Option<usize> {
        Some(self.queue.len())
    }
}
