//! Starts of Jobs: the Job of a scheduled time is created under the first name that is free, or found under it.

use std::sync::Arc;

use jiff::Timestamp;

use super::Controller;
use crate::job::view::JobView;
use crate::job::wire::WireJob;
use crate::runtime::codec::Encoded;
use crate::runtime::errors::WriteError;
use crate::runtime::events::EventText;
use crate::schedule::backfill;
use crate::schedule::creation::Creation;
use crate::schedule::cron_job::decide::Due;
use crate::schedule::cron_job::view::{ActiveJob, CronJobStatus};
use crate::schedule::once::NAME_TAKEN;
use crate::schedule::source::ScheduleSource;
use crate::schedule::write_kinds::{CREATE, DELETE};

impl<S: ScheduleSource> Controller<S> {
    /// Starts the Job of this time, and returns the result. If it replaces the active Jobs, these are deleted first.
    pub(super) async fn start(
        &self,
        object: &S,
        status: &mut CronJobStatus,
        jobs: &[Arc<JobView>],
        scheduled: Timestamp,
        due: &Due,
    ) -> Result<Creation, WriteError> {
        let replace = due.replace;
        let is_deletion_backed_off =
            |active: &ActiveJob| replace && self.is_backed_off(object, DELETE, Some(&active.uid));
        if self.is_backed_off(object, CREATE, None) || status.active.iter().any(is_deletion_backed_off) {
            return Ok(Creation::Untried);
        }
        if replace {
            for active in status.active.clone() {
                self.delete(object, &active.name, &active.uid).await?;
                status.drop_active(&active.uid);
            }
        }
        // A Job can have its second name, so its name alone does not prevent another creation.
        let is_of_this_time =
            |job: &&Arc<JobView>| S::RECORDS_HISTORY && object.scheduled_time(&job.identity.name) == Some(scheduled);
        let made = match jobs.iter().find(is_of_this_time) {
            Some(job) => Ok((**job).clone()),
            None => self.create(object, scheduled, due.is_backfill).await?,
        };
        // The times between are counted before the lock is taken.
        let missed = if due.is_backfill { 0 } else { object.missed(status.last_schedule, scheduled) };
        let (mut begun, mut is_of_backfill) = (None, false);
        let creation = match made {
            Ok(made) => {
                let active = ActiveJob::new(&made);
                // A backfill can have run the time before it was due, with a higher maxRuns.
                is_of_backfill = backfill::has_started(&made);
                if !status.is_active(&active.uid) {
                    status.active.push(active.clone());
                }
                begun = Some(active);
                self.refused.lock().remove(&object.identity().uid);
                Creation::Done
            }
            // A CronJob has no second name. It continues with its next time, as with the built-in controller.
            Err(taken) if !S::RECORDS_HISTORY => return Ok(Creation::NameTaken(taken)),
            Err(taken) => Creation::NameTaken(taken),
        };
        let mut unstored = self.unstored.lock();
        let unstored = unstored.entry(object.identity().uid.clone()).or_default();
        unstored.jobs.extend(begun);
        match status.backfill.as_mut().filter(|_| due.is_backfill) {
            Some(progress) => {
                progress.record(scheduled, &creation);
                unstored.backfilled = Some(scheduled);
            }
            None => {
                let missed = missed + usize::from(creation != Creation::Done);
                let mut counts = self.counts.lock();
                counts.entry(object.identity().uid.clone()).or_default().missed += missed as u64;
                status.last_schedule = Some(scheduled);
                unstored.scheduled = Some(scheduled);
                if creation == Creation::Done && !is_of_backfill {
                    status.started_runs += 1;
                    unstored.started.push(scheduled);
                }
            }
        }
        // The Job enters the cache only by the watch, whose event queues it for the Job controller.
        Ok(creation)
    }

    /// Creates the Job of this time and returns it. If Jobs of other owners have all its names, a text about that is
    /// returned instead.
    async fn create(
        &self,
        object: &S,
        scheduled: Timestamp,
        is_backfill: bool,
    ) -> Result<Result<JobView, String>, WriteError> {
        let names = object.job_names(scheduled);
        let mut taken = String::new();
        for (place, name) in names.iter().enumerate() {
            match self.create_named(object, name, scheduled, is_backfill).await? {
                Some(made) => return Ok(Ok(made)),
                None => {
                    let instead = match names.get(place + 1) {
                        Some(next) => format!("creating job {next} instead"),
                        None => format!("skipping the run of {scheduled}"),
                    };
                    taken = format!("Job {name} exists and belongs to another owner: {instead}");
                    self.record_event(object, EventText::warning(NAME_TAKEN, taken.clone()));
                }
            }
        }
        Ok(Err(taken))
    }

    /// Creates the Job of this name, or returns the Job of this object that has the name; none if that Job belongs to another
    /// owner.
    async fn create_named(
        &self,
        object: &S,
        name: &str,
        scheduled: Timestamp,
        is_backfill: bool,
    ) -> Result<Option<JobView>, WriteError> {
        let body = object.job(name, scheduled, is_backfill).map_err(kube::Error::SerdeError)?;
        match self.context.create::<WireJob>(object.identity(), Encoded::json(body)).await {
            Ok(made) => {
                self.succeeded(object, CREATE, None);
                let created = made.metadata.creation_timestamp.as_ref().map_or(scheduled, |time| time.0);
                if !is_backfill {
                    self.metrics.skew.observe(created.duration_since(scheduled).as_secs_f64());
                }
                let name = made.metadata.name.as_deref().unwrap_or_default();
                tracing::info!(job = name, "created a Job");
                self.record_event(object, EventText::normal("SuccessfulCreate", format!("Created job {name}")));
                Ok(JobView::parse(made))
            }
            Err(error) if error.is_namespace_terminating() => Err(error),
            Err(error) if error.is_conflict() => {
                // A Job has this name: either it was created before a crash, or it belongs to another owner and stays unchanged.
                let found = self.wire_jobs(object).get_opt(name).await?;
                let Some(found) = found.and_then(JobView::parse) else {
                    // No Job has the name, so there is no conflict: a webhook can answer with any code.
                    return Err(self.failed(object, CREATE, None, error));
                };
                Ok(Some(found).filter(|job| job.owner.as_ref() == Some(&object.identity().uid)))
            }
            Err(error) => Err(self.failed(object, CREATE, None, error)),
        }
    }
}
