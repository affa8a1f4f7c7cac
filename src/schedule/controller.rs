//! Watches CronJobs, or other objects that start Jobs, waits until they are due, and starts their Jobs. One queue holds all
//! the times.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::{Patch, PropagationPolicy};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::cron_job::decide::{history, reconcile_active_list};
use super::cron_job::view::{ActiveJob, CronJobStatus};
use super::once::{NAME_TAKEN, Once};
use super::source::{EndedRun, ScheduleSource};
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
use crate::runtime::queue::Queue;
use crate::runtime::refusals::{self, ObjectRefusals, Refusals, WriteKind};
use crate::runtime::watch::{CacheEvent, CacheState, Synced, Watch, WatchMetrics};
use crate::runtime::worker::run_workers;
use crate::runtime::write_gate::{delete_params, is_gone, patch_params};

/// So many CronJobs are worked on at once.
const MAX_CONCURRENT_SYNCS: usize = 1000;
/// How long a status waits for the Jobs of other CronJobs to be started.
const START_PRIORITY_TIMEOUT: Duration = Duration::from_secs(5);

/// The controller of CronJobs, or of what else is [`ScheduleSource`].
pub struct Controller<S: ScheduleSource> {
    context: ControllerContext,
    /// All Jobs, fed by the Job controller.
    jobs: Arc<Cache<JobView>>,
    metrics: ScheduleMetrics,
    objects: Cache<S>,
    synced: Synced,
    watched: WatchMetrics,
    queue: Queue<Uid>,
    /// Writes that the API server refused.
    refusals: ObjectRefusals,
    /// How many Jobs are being started.
    starting: AtomicUsize,
    /// None is being started any more.
    started: Notify,
    once: Once,
}

/// The controller's metrics; those of CronJobs under the built-in one's names.
#[derive(Clone)]
pub struct ScheduleMetrics {
    skew: Histogram,
}

impl ScheduleMetrics {
    /// Registers them.
    pub fn new(registry: &mut Registry, name: &str) -> Self {
        let skew = Histogram::new(exponential_buckets(1.0, 2.0, 10));
        registry.sub_registry_with_prefix(format!("{name}_controller")).register(
            "job_creation_skew_duration_seconds",
            "How long after it was due a Job was created",
            skew.clone(),
        );
        Self { skew }
    }
}

impl<S: ScheduleSource> Controller<S> {
    /// A controller that neither watches nor works yet. `jobs` is fed by the Job controller.
    pub fn new(context: ControllerContext, jobs: Arc<Cache<JobView>>, metrics: ScheduleMetrics) -> Self {
        Self {
            context,
            jobs,
            metrics,
            objects: Cache::default(),
            synced: Synced::default(),
            watched: WatchMetrics::default(),
            queue: Queue::closed(),
            refusals: ObjectRefusals::default(),
            starting: AtomicUsize::new(0),
            started: Notify::new(),
            once: Once::default(),
        }
    }

    /// Keeps the cache in step with the API server for as long as the future is polled.
    async fn watch_objects(&self) {
        let api = self.context.watched_api(&self.watched);
        let watch: Watch<S::Wire, S> = Watch { api, label: None, parse: S::parse, metrics: self.watched.clone() };
        watch.feed(&self.objects, &self.synced, |event| self.on_event(event)).await;
    }

    /// Syncs all objects until the future is dropped. The caches hold all Jobs: a Job that is not in its cache would count
    /// as missing.
    async fn work(&self) {
        self.queue.open();
        // An earlier term may have ended in the midst of it.
        self.starting.store(0, Ordering::SeqCst);
        self.refusals.clear();
        let mut changes = self.jobs.subscribe();
        self.objects.all(|_| true).iter().for_each(|object| self.queue.add(object.identity().uid.clone()));
        let listen = async {
            while let Some(change) = changes.recv().await {
                if let Some(owner) = change.controller {
                    self.queue.add(owner);
                }
            }
        };
        let sync = |uid| async move { self.sync(&uid).await };
        let syncs = run_workers(&self.queue, S::NAME, &self.context.syncs, MAX_CONCURRENT_SYNCS, sync);
        tokio::join!(listen, syncs);
    }

    fn on_event(&self, event: CacheEvent<S>) {
        let change = match event {
            CacheEvent::Changed(change) => change,
            CacheEvent::WatchRecovered => return self.queue.retry_now(),
        };
        let Some(now) = change.after.as_ref() else {
            if let Some(before) = &change.before {
                self.once.forget(&before.identity().uid);
            }
            return;
        };
        self.queue.add(now.identity().uid.clone());
    }

    async fn sync(&self, uid: &Uid) -> Result<(), WriteError> {
        let Some(object) = self.objects.get(uid) else {
            self.refusals.forget(uid);
            self.queue.cancel(uid);
            return Ok(());
        };
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
        let mut ended = self.ended(object, &jobs).await?;
        for job in history(base, &jobs) {
            if self.is_backed_off(object, DELETE, Some(&job.identity.uid)) {
                continue;
            }
            if self.delete(object, &job.identity.name, &job.identity.uid).await.is_ok() {
                status.drop_active(&job.identity.uid);
            }
        }
        // What a Job that goes now came to still counts.
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
                // The status could not be stored after the Job was created. Without the Job in the list, Forbid and Replace
                // would start another one beside it.
                status.active.push(ActiveJob::new(job));
                status.last_schedule = status.last_schedule.max(scheduled);
                continue;
            }
            let message = format!("Saw a job that the controller did not create or forgot: {}", job.identity.name);
            self.record_event(object, EventText::warning("UnexpectedJob", message));
        }
        for active in &update.missing {
            if self.wire_jobs(object).get_opt(&active.name).await?.is_none() {
                status.drop_active(&active.uid);
                ended.push(EndedRun { job: active.clone(), end: None, replaced: false });
                self.record_event(
                    object,
                    EventText::normal("MissingJob", format!("Active job went missing: {}", active.name)),
                );
            }
        }
        // What is stored follows from the same time as what is decided.
        let now = self.context.clock.now();
        let due = object.due(&status, now);
        due.events.into_iter().for_each(|event| self.record_event(object, event));
        let started = match due.start {
            Some(scheduled) => {
                self.starting.fetch_add(1, Ordering::SeqCst);
                if due.replace {
                    let replaced = status.active.iter().cloned();
                    ended.extend(replaced.map(|job| EndedRun { job, end: None, replaced: true }));
                }
                let started = self.start(object, &mut status, &jobs, scheduled, due.replace).await;
                self.yield_to_pending_starts().await;
                started
            }
            None => Ok(()),
        };
        // What is still there was not replaced after all.
        ended.retain(|ended| !status.is_active(&ended.job.uid));
        // What was found is stored, whether or not a Job could be started.
        self.write_status(object, &status, &ended, now).await?;
        started?;
        if let Some(wake) = due.wake {
            self.queue.add_at(uid.clone(), self.context.clock.instant_of(wake));
        }
        Ok(())
    }

    /// The Jobs of the active list that have ended, as the API server has them now: they may be deleted in a moment.
    async fn ended(&self, object: &S, jobs: &[Arc<JobView>]) -> Result<Vec<EndedRun>, WriteError> {
        let mut ended = Vec::new();
        if !S::RECORDS_HISTORY {
            return Ok(ended);
        }
        for active in &object.base().status.active {
            let finished = jobs.iter().find(|job| job.identity.uid == active.uid && job.status.is_finished());
            let Some(finished) = finished else { continue };
            let found = self.wire_jobs(object).get_opt(&active.name).await?;
            let found = found.filter(|found| found.metadata.uid.as_deref() == Some(active.uid.as_str()));
            let end = found.map(|found| ((**finished).clone(), found));
            ended.push(EndedRun { job: active.clone(), end, replaced: false });
        }
        Ok(ended)
    }

    /// Where many are due at once, no Job waits for the status of another's CronJob to be written.
    async fn yield_to_pending_starts(&self) {
        let started = self.started.notified();
        if self.starting.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.started.notify_waiters();
            return;
        }
        let _ = tokio::time::timeout(START_PRIORITY_TIMEOUT, started).await;
    }

    /// Starts the Job of this time, the active ones first deleted where they are to be replaced.
    async fn start(
        &self,
        object: &S,
        status: &mut CronJobStatus,
        jobs: &[Arc<JobView>],
        scheduled: Timestamp,
        replace: bool,
    ) -> Result<(), WriteError> {
        let is_deletion_backed_off =
            |active: &ActiveJob| replace && self.is_backed_off(object, DELETE, Some(&active.uid));
        if self.is_backed_off(object, CREATE, None) || status.active.iter().any(is_deletion_backed_off) {
            return Ok(());
        }
        if replace {
            for active in status.active.clone() {
                self.delete(object, &active.name, &active.uid).await?;
                status.drop_active(&active.uid);
            }
        }
        // Only its first name keeps the API server from creating a Job again.
        let is_of_this_time =
            |job: &&Arc<JobView>| S::RECORDS_HISTORY && object.scheduled_time(&job.identity.name) == Some(scheduled);
        let made = match jobs.iter().find(is_of_this_time) {
            Some(job) => Some((**job).clone()),
            None => self.create(object, scheduled).await?,
        };
        match made {
            Some(made) if !status.is_active(&made.identity.uid) => status.active.push(ActiveJob::new(&made)),
            // A CronJob has no other name to try, and goes on with its next time as the built-in controller does.
            None if !S::RECORDS_HISTORY => return Ok(()),
            _ => {}
        }
        status.last_schedule = Some(scheduled);
        // The Job goes into the cache by its watch alone, which wakes the Job controller.
        Ok(())
    }

    /// Creates the Job of this time; none if Jobs of other owners have all its names.
    async fn create(&self, object: &S, scheduled: Timestamp) -> Result<Option<JobView>, WriteError> {
        let names = object.job_names(scheduled);
        for (place, name) in names.iter().enumerate() {
            match self.create_named(object, name, scheduled).await? {
                Some(made) => return Ok(Some(made)),
                None => {
                    let instead = match names.get(place + 1) {
                        Some(next) => format!("creating job {next} instead"),
                        None => format!("skipping the run of {scheduled}"),
                    };
                    let message = format!("Job {name} exists and belongs to another owner: {instead}");
                    self.record_event(object, EventText::warning(NAME_TAKEN, message));
                }
            }
        }
        Ok(None)
    }

    /// Creates the Job of this name, or returns our own that has the name; none if it belongs to another owner.
    async fn create_named(&self, object: &S, name: &str, scheduled: Timestamp) -> Result<Option<JobView>, WriteError> {
        let body = object.job(name, scheduled).map_err(kube::Error::SerdeError)?;
        match self.context.create::<WireJob>(&object.identity().namespace, body).await {
            Ok(made) => {
                self.succeeded(object, CREATE, None);
                let created = made.metadata.creation_timestamp.as_ref().map_or(scheduled, |time| time.0);
                self.metrics.skew.observe(created.duration_since(scheduled).as_secs_f64());
                let name = made.metadata.name.as_deref().unwrap_or_default();
                self.record_event(object, EventText::normal("SuccessfulCreate", format!("Created job {name}")));
                Ok(JobView::parse(made))
            }
            Err(error) if error.is_namespace_terminating() => Err(error),
            Err(error) if error.is_conflict() => {
                // There is a Job of this name: ours, from before a crash, or somebody else's, which is left alone.
                let found = self.wire_jobs(object).get_opt(name).await?;
                let Some(found) = found.and_then(JobView::parse) else {
                    // Then it was no conflict: a webhook may answer with any code.
                    return Err(self.failed(object, CREATE, None, error));
                };
                Ok(Some(found).filter(|job| job.owner.as_ref() == Some(&object.identity().uid)))
            }
            Err(error) => Err(self.failed(object, CREATE, None, error)),
        }
    }

    async fn delete(&self, object: &S, name: &str, uid: &Uid) -> Result<(), WriteError> {
        let jobs: Api<Job> = self.context.namespaced(&object.identity().namespace);
        let params = delete_params(uid, Some(PropagationPolicy::Background));
        match self.context.write_gate.run(jobs.delete(name, &params)).await {
            Ok(_) => {
                self.succeeded(object, DELETE, Some(uid));
                self.record_event(object, EventText::normal("SuccessfulDelete", format!("Deleted job {name}")));
                Ok(())
            }
            Err(error) => {
                if is_gone(&self.wire_jobs(object), name, uid, &error).await? {
                    self.succeeded(object, DELETE, Some(uid));
                    return Ok(());
                }
                Err(self.failed(object, DELETE, Some((uid, name)), error))
            }
        }
    }

    fn is_backed_off(&self, object: &S, kind: WriteKind, job: Option<&Uid>) -> bool {
        let now = self.context.clock.now();
        self.refusals.of(&object.identity().uid, |refusals| refusals.is_backed_off(kind, job, now))
    }

    fn succeeded(&self, object: &S, kind: WriteKind, job: Option<&Uid>) {
        self.refusals.of(&object.identity().uid, |refusals| refusals.succeed(kind, job));
    }

    /// Records that a write failed, in an event and in the log; returns what the sync fails with. A refused write gets a
    /// back-off of its own, which no other event shortens.
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
        let now = self.context.clock.now();
        let refuse = |refusals: &mut Refusals| {
            // What was remembered of another generation is forgotten before.
            refusals.seen(object.base().generation);
            refusals.refuse(kind, job.map(|(uid, _)| uid), &error, now)
        };
        self.refusals.of(&identity.uid, refuse);
        WriteError::Deferred
    }

    /// Whether the API server holds a newer version than we know; it is then known too.
    async fn is_outdated(&self, object: &S) -> Result<bool, WriteError> {
        let found = self.wire_objects(object).get_opt(&object.identity().name).await?.and_then(S::parse);
        let Some(found) = found else { return Ok(true) };
        let outdated = found.identity().resource_version > object.identity().resource_version;
        self.objects.apply(found, Source::Answer);
        Ok(outdated)
    }

    /// Stores a status, if it is another, on the version of the CronJob that it was decided from.
    async fn write_status(
        &self,
        object: &S,
        status: &CronJobStatus,
        ended: &[EndedRun],
        now: Timestamp,
    ) -> Result<(), WriteError> {
        let (status, annotations) = (object.status_patch(status, ended, now), object.annotations(now));
        if status.is_none() && annotations.is_none() || self.is_backed_off(object, STATUS, None) {
            return Ok(());
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
        match self.context.write_gate.run(objects.patch_status(&identity.name, &patch_params(), &patch)).await {
            Ok(written) => {
                let Some(written) = S::parse(written) else { return Ok(()) };
                let took_effect = written.identity().resource_version != identity.resource_version;
                self.objects.apply(written, Source::Answer);
                if !took_effect {
                    return Err(self.failed(object, STATUS, None, WriteError::Altered(REVERTED)));
                }
                self.succeeded(object, STATUS, None);
                Ok(())
            }
            Err(error) => {
                // The next try decides from what there is now. If that is the same, it was no conflict.
                if (error.is_conflict() || error.is_not_found()) && self.is_outdated(object).await? {
                    return Err(error);
                }
                Err(self.failed(object, STATUS, None, error))
            }
        }
    }

    fn wire_jobs(&self, object: &S) -> Api<WireJob> {
        self.context.namespaced(&object.identity().namespace)
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
