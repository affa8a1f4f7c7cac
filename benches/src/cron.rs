//! Measurement of many CronJobs that are due in the same minute: the delay until their Jobs exist.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::Api;
use kube::api::PostParams;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::json;
use testbed::kwok::NODE_NAME;

use crate::environment::Environment;
use crate::report::{Figures, median, quantile};
use crate::system::Controller;
use crate::usage;
use crate::work::{MAX_CONCURRENT, pod_template};

/// Minimum time, in seconds, between the beginning of the creation of the CronJobs and the minute in which they are
/// due.
const AHEAD: i64 = 15;

/// Creates `count` CronJobs that are due at the next full minute, and measures the delay of their Jobs.
pub async fn measure(environment: &Environment, controller: &Controller, count: usize) -> Result<Figures> {
    let into = Timestamp::now().as_second().rem_euclid(60);
    if into > 60 - AHEAD {
        tokio::time::sleep(Duration::from_secs((61 - into).unsigned_abs())).await;
    }
    let namespace = environment.cluster.namespace("cron").await?;
    let cron_jobs: Api<CronJob> = Api::namespaced(environment.client.clone(), &namespace);
    let jobs: Api<Job> = Api::namespaced(environment.client.clone(), &namespace);
    let cron_job = |number| -> Result<CronJob> {
        Ok(serde_json::from_value(json!({
            "metadata": {"name": format!("cron-{number}")},
            // The Jobs are suspended, because only their creation is measured.
            "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"suspend": true, "template": pod_template(NODE_NAME)}}},
        }))?)
    };
    let manifests = (0..count).map(cron_job).collect::<Result<Vec<_>>>()?;
    let creations = stream::iter(manifests).map(|cron_job| {
        let cron_jobs = cron_jobs.clone();
        async move { cron_jobs.create(&PostParams::default(), &cron_job).await.map(drop) }
    });
    creations.buffer_unordered(MAX_CONCURRENT).try_collect::<()>().await?;
    let due = Timestamp::from_second((Timestamp::now().as_second() / 60 + 1) * 60)?;
    usage::reset_peak(controller.id())?;
    let before = usage::of(controller.id())?.cpu_s;
    let mut events = watcher(jobs, watcher::Config::default()).boxed();
    let mut lags = std::collections::HashMap::new();
    while lags.len() < count {
        let event = tokio::time::timeout(Duration::from_secs(150), events.try_next()).await;
        if let Some(Event::Apply(job) | Event::InitApply(job)) = event.context("no Job was created for 150 s")?? {
            let lag = Timestamp::now().duration_since(due).as_secs_f64();
            lags.entry(job.metadata.name.context("a name")?).or_insert(lag);
        }
    }
    let lags: Vec<f64> = lags.into_values().collect();
    let after = usage::of(controller.id())?;
    let mut figures = Figures::from([
        ("cron_jobs", count as f64),
        ("controller_cpu_s", after.cpu_s - before),
        ("controller_rss_mib", after.peak_mib),
        ("lag_last_s", lags.iter().copied().fold(0.0, f64::max)),
    ]);
    figures.extend(median(&lags).map(|lag| ("lag_median_s", lag)));
    figures.extend(quantile(&lags, 0.99).map(|lag| ("lag_p99_s", lag)));
    Ok(figures)
}
