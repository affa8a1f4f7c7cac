//! CronJobs at the start of a minute: the controller is killed around this moment, and a thousand CronJobs are due
//! concurrently.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::harness::*;

/// Creates CronJobs that are due every minute. Their Jobs are suspended and create no pods.
async fn create(scene: &Scene, count: usize) -> Result<()> {
    let api: Api<CronJob> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let created = stream::iter(0..count).map(|number| {
        let api = api.clone();
        async move {
            let cron_job = serde_json::from_value(json!({
                "metadata": {"name": format!("cron-{number}")},
                "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"suspend": true, "template": {"spec": {
                    "restartPolicy": "Never", "containers": [{"name": "main", "image": "i"}],
                }}}}},
            }))?;
            api.create(&PostParams::default(), &cron_job).await?;
            anyhow::Ok(())
        }
    });
    created.buffer_unordered(20).try_collect::<()>().await
}

async fn jobs(scene: &Scene) -> Result<Vec<Job>> {
    Ok(scene.jobs.list(&ListParams::default()).await?.items)
}

/// Returns the scheduled minute of a Job, as its name states it.
fn minute(job: &Job) -> Option<i64> {
    job.name_any().rsplit_once('-')?.1.parse().ok()
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

#[tokio::test(flavor = "multi_thread")]
async fn controller_killed_around_the_minute_starts_one_job_for_each_time() -> Result<()> {
    let mut scene = Scene::without_controller("cron-killed", &["--claim=all"]).await?;
    if scene.cluster.control.is_none() {
        testbed::skipped!("the built-in controllers of a given cluster can be on");
        return Ok(());
    }
    let count = 20;
    create(&scene, count).await?;
    let first = now().div_euclid(60) + 1;
    scene.start_controller().await?;
    // Around the start of two minutes, each controller process lives for a fraction of a second.
    let (mut kills, last) = (0_u64, first + 1);
    while now() < last * 60 + 12 {
        let second = now().rem_euclid(60);
        if (8..57).contains(&second) {
            tokio::time::sleep(Duration::from_millis(500)).await;
            continue;
        }
        tokio::time::sleep(Duration::from_millis(90 + 137 * (kills % 7))).await;
        scene.controller.take().context("the controller is not running")?.process.kill();
        kills += 1;
        scene.start_controller().await?;
    }
    println!("survived {kills} kills");
    assert!(kills > 10, "expected more than 10 kills, got {kills}");
    let expected: BTreeSet<(usize, i64)> =
        (0..count).flat_map(|number| [first, last].map(|minute| (number, minute))).collect();
    until("a Job for each CronJob and minute", || async {
        let mut seen = BTreeMap::new();
        for job in jobs(&scene).await? {
            let minute = minute(&job).context("missing minute")?;
            let owner = job.owner_references()[0].name.clone();
            let number: usize = owner.trim_start_matches("cron-").parse()?;
            // A slow run can see Jobs of the minute after the last.
            if minute <= last {
                *seen.entry((number, minute)).or_insert(0) += 1;
            }
        }
        let once = seen.values().all(|times| *times == 1) && seen.keys().copied().collect::<BTreeSet<_>>() == expected;
        Ok(if once { Ok(()) } else { Err(format!("{seen:?}")) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn thousand_cron_jobs_due_in_the_same_minute_are_all_started() -> Result<()> {
    let mut scene = Scene::without_controller("cron-thousand", &["--claim=all"]).await?;
    if scene.cluster.control.is_none() {
        testbed::skipped!("the built-in controllers of a given cluster can be on");
        return Ok(());
    }
    scene.start_controller().await?;
    let count = 1_000;
    create(&scene, count).await?;
    let due = now().div_euclid(60) + 1;
    tokio::time::sleep(Duration::from_secs((due * 60 - now()).unsigned_abs())).await;
    let made = until("a Job for each CronJob", || async {
        let made = jobs(&scene).await?.into_iter().filter(|job| minute(job) == Some(due)).collect::<Vec<_>>();
        Ok(if made.len() == count { Ok(made) } else { Err(format!("{} Jobs", made.len())) })
    })
    .await?;
    let mut lags: Vec<i64> = made
        .iter()
        .filter_map(|job| job.creation_timestamp())
        .map(|created| created.0.as_second() - due * 60)
        .collect();
    lags.sort_unstable();
    let at = |share: usize| lags[(lags.len() - 1) * share / 100];
    println!("lag of 1,000 Jobs due in one minute: median {} s, p99 {} s, maximum {} s", at(50), at(99), at(100));
    // The Jobs stay until the cluster ends. Their garbage collection would slow down the other tests, and no controller
    // starts further Jobs.
    Ok(())
}
