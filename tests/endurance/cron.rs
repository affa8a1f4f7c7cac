//! CronJobs with a schedule of every minute, each of which has to start one Job for each minute.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::kubelet::SUCCEED;
use crate::load::{Load, template};

const NAMES: [&str; 3] = ["often", "also-often", "forbid"];
/// Maximum time until the last Jobs are complete.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Returns the current minute, counted from 1970.
fn minute() -> i64 {
    Timestamp::now().as_second().div_euclid(60)
}

/// The running CronJobs.
pub struct CronJobs {
    /// First minute during which all CronJobs existed from the beginning.
    first: i64,
}

impl CronJobs {
    /// Creates the CronJobs. `kept` is the history limit for their Jobs.
    pub async fn create(load: &Load, kept: i32) -> Result<Self> {
        let api: Api<CronJob> = Api::namespaced(load.client.clone(), &load.namespace);
        for (number, name) in NAMES.into_iter().enumerate() {
            let cron_job = serde_json::from_value(json!({
                "metadata": {"name": name},
                "spec": {
                    "schedule": "* * * * *", "successfulJobsHistoryLimit": kept, "failedJobsHistoryLimit": kept,
                    "concurrencyPolicy": if number == 2 { "Forbid" } else { "Allow" },
                    "jobTemplate": {"spec": {"completions": 2, "parallelism": 2, "template": template(SUCCEED)}},
                },
            }))?;
            api.create(&PostParams::default(), &cron_job).await?;
        }
        Ok(Self { first: minute() + 1 })
    }

    /// Waits until all Jobs of the CronJobs are complete, checks that each minute has its Job, and deletes the
    /// CronJobs. Returns the number of Jobs.
    ///
    /// # Errors
    /// Returns the minutes without a Job, or a Job that did not complete in time.
    pub async fn check(self, load: &Load) -> Result<usize> {
        let api: Api<Job> = Api::namespaced(load.client.clone(), &load.namespace);
        let last = minute() - 1;
        let deadline = Instant::now() + TIMEOUT;
        let (mut count, mut minutes) = (0, Vec::new());
        loop {
            let problem = match api.list(&ListParams::default()).await {
                Ok(list) => {
                    let ours = list.items.into_iter().filter(|job| !job.owner_references().is_empty());
                    let ours: Vec<Job> = ours.collect();
                    count = ours.len();
                    minutes = NAMES.map(|name| minutes_of(&ours, name)).to_vec();
                    ours.iter().find_map(unfinished)
                }
                Err(error) => Some(error.to_string()),
            };
            let Some(problem) = problem else { break };
            ensure!(Instant::now() < deadline, "{problem}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let expected: BTreeSet<i64> = (self.first..=last).collect();
        for (name, minutes) in NAMES.iter().zip(minutes).take(2) {
            let missing: Vec<_> = expected.difference(&minutes).collect();
            ensure!(missing.is_empty(), "CronJob {name} has no Job for the minutes {missing:?} of {expected:?}");
        }
        Self::delete(load).await?;
        Ok(count)
    }

    /// Deletes the CronJobs with their Jobs.
    pub async fn delete(load: &Load) -> Result<()> {
        let cron_jobs: Api<CronJob> = Api::namespaced(load.client.clone(), &load.namespace);
        for name in NAMES {
            cron_jobs.delete(name, &DeleteParams::background()).await.context("deleting a CronJob")?;
        }
        Ok(())
    }
}

/// Returns the minutes for which a CronJob has started a Job. Two Jobs for one minute would have the same name.
fn minutes_of(jobs: &[Job], cron_job: &str) -> BTreeSet<i64> {
    let theirs = jobs.iter().filter(|job| job.owner_references()[0].name == cron_job);
    theirs.filter_map(|job| job.name_any().rsplit_once('-')?.1.parse().ok()).collect()
}

/// Returns a description of a Job that is not complete.
fn unfinished(job: &Job) -> Option<String> {
    let status = job.status.clone().unwrap_or_default();
    let complete = status.conditions.iter().flatten().any(|one| one.type_ == "Complete" && one.status == "True");
    (!complete || status.succeeded < Some(2)).then(|| format!("Job {}: {status:#?}", job.name_any()))
}
