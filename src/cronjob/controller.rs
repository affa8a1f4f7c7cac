//! Watches CronJobs, waits until they are due, and starts their Jobs. One queue holds all the times.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Patch, PropagationPolicy};
use kube::core::Request;
use kube::{Api, Client};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use serde_json::json;

use super::decide::{due, history, upkeep, wake_after_change};
use super::view::{ActiveJob, CronJobStatus, CronJobView};
use super::wire::WireCronJob;
use super::{KIND, job};
use crate::job::API_VERSION;
use crate::job::view::JobView;
use crate::job::wire::WireJob;
use crate::runtime::cache::{Cache, Change, Source};
use crate::runtime::clock::Clock;
use crate::runtime::errors::WriteError;
use crate::runtime::events::{EventText, Recorder, Regarding};
use crate::runtime::identity::Uid;
use crate::runtime::queue::Queue;
use crate::runtime::watch::{News, Synced, Watch};
use crate::runtime::worker::work;
use crate::runtime::writes::{Writes, delete_params, patch_params, post_params};

/// So many CronJobs are worked on at once.
const WORKERS: usize = 32;

/// The CronJob controller.
pub struct Controller {
    /// The connection to the API server.
    pub client: Client,
    /// The namespace to work in; none for all.
    pub namespace: Option<String>,
    /// The gate all writes go through.
    pub writes: Arc<Writes>,
    /// Where events go.
    pub recorder: Recorder,
    /// All Jobs, fed by the Job controller.
    pub jobs: Arc<Cache<JobView>>,
    /// The time of day.
    pub clock: Clock,
    /// What is counted.
    pub metrics: CronJobMetrics,
    /// All CronJobs.
    pub cron_jobs: Cache<CronJobView>,
    /// Whether all CronJobs are known.
    pub synced: Synced,
}

/// The CronJob controller's metrics, under the built-in one's names.
#[derive(Clone)]
pub struct CronJobMetrics {
    skew: Histogram,
}

impl CronJobMetrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let skew = Histogram::new(exponential_buckets(1.0, 2.0, 10));
        registry.sub_registry_with_prefix("cronjob_controller").register(
            "job_creation_skew_duration_seconds",
            "How long after it was due a Job was created",
            skew.clone(),
        );
        Self { skew }
    }
}

impl Controller {
    /// Works until it is dropped. `jobs_synced` resolves once all Jobs are known.
    pub async fn run(&self, jobs_synced: impl Future<Output = ()>) {
        let queue = Queue::default();
        let mut changes = self.jobs.subscribe();
        let listen = async {
            while let Some(change) = changes.recv().await {
                if let Some(owner) = change.controller {
                    queue.add(owner);
                }
            }
        };
        let work = async {
            // A Job that is not known yet would look as if it were missing.
            jobs_synced.await;
            self.synced.wait().await;
            futures::future::join_all((0..WORKERS).map(|_| {
                let (queue, controller) = (&queue, self);
                work(queue, "CronJob", move |uid| async move { controller.sync(&uid, queue).await })
            }))
            .await;
        };
        tokio::join!(self.watch(&queue), listen, work);
    }

    async fn watch(&self, queue: &Queue<Uid>) {
        let api = match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let watch: Watch<WireCronJob, CronJobView> = Watch { api, labels: None, parse: CronJobView::parse };
        watch.feed(&self.cron_jobs, &self.synced, |news| self.heard(news, queue)).await;
    }

    fn heard(&self, news: News<CronJobView>, queue: &Queue<Uid>) {
        let change = match news {
            News::Changed(change) => change,
            News::Recovered => return queue.retry_now(),
        };
        let Some(now) = change.after.as_ref() else { return };
        let uid = now.identity.uid.clone();
        if is_rescheduled(&change) {
            // What was due under the new schedule before it was set is nobody's business.
            if let Some(wake) = wake_after_change(now, self.clock.now()) {
                queue.add_at(uid, self.clock.instant_of(wake));
            }
        } else {
            queue.add(uid);
        }
    }

    async fn sync(&self, uid: &Uid, queue: &Queue<Uid>) -> Result<(), WriteError> {
        let Some(cron_job) = self.cron_jobs.get(uid) else { return Ok(()) };
        let jobs = self.jobs.owned(uid);
        let mut status = cron_job.status.clone();
        for job in history(&cron_job, &jobs) {
            if self.delete(&cron_job, &job.identity.name, &job.identity.uid).await.is_ok() {
                status.drop_active(&job.identity.uid);
            }
        }
        // What a Job that goes now came to still counts.
        let upkeep = upkeep(&status, &jobs);
        let mut status = upkeep.status;
        upkeep.events.into_iter().for_each(|event| self.tell(&cron_job, event));
        if !upkeep.unexpected.is_empty() && self.is_outdated(&cron_job).await? {
            queue.add(uid.clone());
            return Ok(());
        }
        for job in &upkeep.unexpected {
            let message = format!("Saw a job that the controller did not create or forgot: {}", job.identity.name);
            self.tell(&cron_job, EventText::warning("UnexpectedJob", message));
        }
        for active in &upkeep.missing {
            if self.wire_jobs(&cron_job).get_opt(&active.name).await?.is_none() {
                status.drop_active(&active.uid);
                self.tell(
                    &cron_job,
                    EventText::normal("MissingJob", format!("Active job went missing: {}", active.name)),
                );
            }
        }
        let due = due(&cron_job, &status, self.clock.now());
        due.events.into_iter().for_each(|event| self.tell(&cron_job, event));
        let started = match due.start {
            Some(scheduled) => self.start(&cron_job, &mut status, scheduled, due.replace).await,
            None => Ok(()),
        };
        // What was found is stored, whether or not a Job could be started.
        self.write_status(&cron_job, &status).await?;
        started?;
        if let Some(wake) = due.wake {
            queue.add_at(uid.clone(), self.clock.instant_of(wake));
        }
        Ok(())
    }

    /// Starts the Job of this time, the active ones first deleted where they are to be replaced.
    async fn start(
        &self,
        cron_job: &CronJobView,
        status: &mut CronJobStatus,
        scheduled: Timestamp,
        replace: bool,
    ) -> Result<(), WriteError> {
        if replace {
            for active in status.active.clone() {
                self.delete(cron_job, &active.name, &active.uid).await?;
                status.drop_active(&active.uid);
            }
        }
        let body = job::from_template(cron_job, scheduled).map_err(kube::Error::SerdeError)?;
        let path = format!("/apis/batch/v1/namespaces/{}/jobs", cron_job.identity.namespace);
        let create = async {
            let request = Request::new(path).create(&post_params(), body).map_err(kube::Error::BuildRequest)?;
            self.client.request::<WireJob>(request).await
        };
        let made = match self.writes.run(create).await {
            Ok(made) => {
                let created = made.metadata.creation_timestamp.as_ref().map_or(scheduled, |time| time.0);
                self.metrics.skew.observe(created.duration_since(scheduled).as_secs_f64());
                let name = made.metadata.name.as_deref().unwrap_or_default();
                self.tell(cron_job, EventText::normal("SuccessfulCreate", format!("Created job {name}")));
                JobView::parse(made)
            }
            Err(error) if error.is_namespace_terminating() => return Err(error),
            Err(error) if error.is_conflict() => {
                // There is a Job of this name: ours, from before a crash, or somebody else's, which is left alone.
                let found = self.wire_jobs(cron_job).get_opt(&super::decide::job_name(cron_job, scheduled)).await?;
                let found = found.and_then(JobView::parse);
                found.filter(|job| job.owner.as_ref() == Some(&cron_job.identity.uid))
            }
            Err(error) => {
                if !matches!(error, WriteError::Stopping) {
                    self.tell(cron_job, EventText::warning("FailedCreate", format!("Error creating job: {error}")));
                }
                return Err(error);
            }
        };
        let Some(made) = made.filter(|made| !status.is_active(&made.identity.uid)) else { return Ok(()) };
        status.active.push(ActiveJob::new(&made));
        status.last_schedule = Some(scheduled);
        // The Job goes into the cache by its watch alone, which wakes the Job controller.
        Ok(())
    }

    async fn delete(&self, cron_job: &CronJobView, name: &str, uid: &Uid) -> Result<(), WriteError> {
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), &cron_job.identity.namespace);
        let params = delete_params(uid, Some(PropagationPolicy::Background));
        match self.writes.run(jobs.delete(name, &params)).await {
            Ok(_) => {
                self.tell(cron_job, EventText::normal("SuccessfulDelete", format!("Deleted job {name}")));
                Ok(())
            }
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => {
                self.tell(cron_job, EventText::warning("FailedDelete", format!("Deleted job: {error}")));
                Err(error)
            }
        }
    }

    /// Whether the API server holds a newer version than we know; it is then known too.
    async fn is_outdated(&self, cron_job: &CronJobView) -> Result<bool, WriteError> {
        let found = self.wire_cron_jobs(cron_job).get_opt(&cron_job.identity.name).await?.and_then(CronJobView::parse);
        let Some(found) = found else { return Ok(true) };
        let outdated = found.identity.resource_version > cron_job.identity.resource_version;
        self.cron_jobs.apply(found, Source::Answer);
        Ok(outdated)
    }

    /// Stores a status, if it is another, on the version of the CronJob that it was decided from.
    async fn write_status(&self, cron_job: &CronJobView, status: &CronJobStatus) -> Result<(), WriteError> {
        if *status == cron_job.status {
            return Ok(());
        }
        let identity = &cron_job.identity;
        let patch = json!({
            "metadata": {"uid": identity.uid, "resourceVersion": identity.resource_version.to_string()},
            "status": status.to_patch(),
        });
        let cron_jobs = self.wire_cron_jobs(cron_job);
        let patch = Patch::Merge(&patch);
        match self.writes.run(cron_jobs.patch_status(&identity.name, &patch_params(), &patch)).await {
            Ok(written) => {
                if let Some(written) = CronJobView::parse(written) {
                    self.cron_jobs.apply(written, Source::Answer);
                }
                Ok(())
            }
            Err(error) => {
                if error.is_conflict() {
                    // The next try decides from what there is now.
                    self.is_outdated(cron_job).await?;
                }
                Err(error)
            }
        }
    }

    fn wire_jobs(&self, cron_job: &CronJobView) -> Api<WireJob> {
        Api::namespaced(self.client.clone(), &cron_job.identity.namespace)
    }

    fn wire_cron_jobs(&self, cron_job: &CronJobView) -> Api<WireCronJob> {
        Api::namespaced(self.client.clone(), &cron_job.identity.namespace)
    }

    fn tell(&self, cron_job: &CronJobView, event: EventText) {
        let regarding = Regarding { api_version: API_VERSION, kind: KIND, identity: cron_job.identity.clone() };
        self.recorder.publish(regarding, event);
    }
}

fn is_rescheduled(change: &Change<CronJobView>) -> bool {
    let (Some(before), Some(after)) = (&change.before, &change.after) else { return false };
    before.spec.schedule != after.spec.schedule || before.spec.time_zone != after.spec.time_zone
}
