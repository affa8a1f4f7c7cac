//! Measurement of many CronJobs or JobSchedules that are due in the same minute: the delay until their Jobs exist.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
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

/// Kind of the objects that start Jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    CronJob,
    JobSchedule,
}

/// Creates `count` objects that are due at the next full minute, and measures the delay of their Jobs.
pub async fn measure(environment: &Environment, controller: &Controller, kind: Kind, count: usize) -> Result<Figures> {
    let into = Timestamp::now().as_second().rem_euclid(60);
    if into > 60 - AHEAD {
        tokio::time::sleep(Duration::from_secs((61 - into).unsigned_abs())).await;
    }
    let namespace = environment.cluster.namespace("cron").await?;
    let (group, version, name) = match kind {
        Kind::CronJob => ("batch", "v1", "CronJob"),
        Kind::JobSchedule => ("jobwright.dev", "v1beta1", "JobSchedule"),
    };
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, name));
    let schedules: Api<DynamicObject> = Api::namespaced_with(environment.client.clone(), &namespace, &resource);
    let jobs: Api<Job> = Api::namespaced(environment.client.clone(), &namespace);
    let schedule = |number| -> Result<DynamicObject> {
        let mut object = json!({
            "apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": format!("cron-{number}")},
            // The Jobs are suspended, because only their creation is measured.
            "spec": {"jobTemplate": {"spec": {"suspend": true, "template": pod_template(NODE_NAME)}}},
        });
        match kind {
            Kind::CronJob => object["spec"]["schedule"] = json!("* * * * *"),
            Kind::JobSchedule => object["spec"]["schedules"] = json!(["* * * * *"]),
        }
        Ok(serde_json::from_value(object)?)
    };
    let manifests = (0..count).map(schedule).collect::<Result<Vec<_>>>()?;
    let creations = stream::iter(manifests).map(|schedule| {
        let schedules = schedules.clone();
        async move { schedules.create(&PostParams::default(), &schedule).await.map(drop) }
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
        (if kind == Kind::CronJob { "cron_jobs" } else { "job_schedules" }, count as f64),
        ("controller_cpu_s", after.cpu_s - before),
        ("controller_rss_mib", after.peak_mib),
        ("lag_last_s", lags.iter().copied().fold(0.0, f64::max)),
    ]);
    figures.extend(median(&lags).map(|lag| ("lag_median_s", lag)));
    figures.extend(quantile(&lags, 0.99).map(|lag| ("lag_p99_s", lag)));
    Ok(figures)
}
