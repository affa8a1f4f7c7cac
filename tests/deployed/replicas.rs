//! Two replicas under load: the leader dies, is deleted, is upgraded; nothing is lost and nothing is made twice.

use std::time::Instant;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::json;

use crate::environment::{Environment, SYSTEM, kill, under_way};
use crate::harness::{Scene, until};
use crate::kubectl;

/// So many Jobs are under way when the leader goes.
const JOBS: usize = 100;
/// So many when it is upgraded.
const JOBS_OF_UPGRADE: usize = 60;

/// Jobs of one short pod each.
fn load(jobs: usize) -> String {
    let job = |number| {
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": format!("job-{number}")},
            "spec": {
                "managedBy": "jobwright.dev/controller",
                "backoffLimit": 0,
                "template": {"spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": false,
                    "containers": [{"name": "main", "image": "busybox:1.36", "command": ["true"]}],
                }},
            },
        })
    };
    json!({"apiVersion": "v1", "kind": "List", "items": (0..jobs).map(job).collect::<Vec<_>>()}).to_string()
}

async fn complete(scene: &Scene) -> Result<usize> {
    let jobs = scene.jobs.list(&Default::default()).await?.items;
    Ok(jobs.iter().filter(|job| job.status.as_ref().is_some_and(|status| status.completion_time.is_some())).count())
}

/// Waits until all are complete, with one pod each.
async fn all_exact(scene: &Scene, jobs: usize) -> Result<()> {
    for number in 0..jobs {
        let status = scene.condition(&format!("job-{number}"), "Complete").await?;
        assert_eq!((status.succeeded, status.failed), (Some(1), None), "job-{number}");
    }
    let pods = scene.pods.list(&Default::default()).await?.items;
    assert_eq!(pods.len(), jobs, "one pod a Job, none made in vain");
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_of_the_leader_under_load_loses_no_job() -> Result<()> {
    let Some(environment) = Environment::turn().await? else { return Ok(()) };
    environment.install_ready(&[]).await?;
    let scene = environment.user("leader").await?;
    let apply = testbed::Kubectl::new(environment.cluster, scene.namespace.clone())?;
    apply.apply(&load(JOBS)).await?;
    under_way("Jobs before the leader is killed", JOBS, async || complete(&scene).await).await?;
    let leader = environment.leader().await?;
    let begun = Instant::now();
    if environment.is_ours() {
        // The process dies. Its container, once it is started again, takes its own Lease back, if the other replica has not.
        kill(&leader)?;
        let killed = Timestamp::now();
        until("a renewed Lease", || async {
            let renewed = environment.renewed(&scene).await?;
            Ok(if renewed > killed { Ok(()) } else { Err(renewed.to_string()) })
        })
        .await?;
        println!("hand-over after the leader's process was killed: {} ms", begun.elapsed().as_millis());
    }
    // The pod is gone without a word, as when its node dies: the Lease has to run out.
    let leader = environment.leader().await?;
    let begun = Instant::now();
    environment.kubectl()?.run(&["delete", "pod", &leader, "--grace-period=0", "--force"]).await?;
    environment.another_leader(&[leader]).await?;
    println!("hand-over after the leader's pod was deleted by force: {} ms", begun.elapsed().as_millis());
    all_exact(&scene, JOBS).await?;
    kubectl(&scene, &["delete", "jobs", "--all", "--wait=false"]).await?;
    environment.cluster.delete_namespace(&scene.namespace).await?;
    environment.uninstall(SYSTEM, "jobwright").await
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_under_load_loses_no_job() -> Result<()> {
    let Some(environment) = Environment::turn().await? else { return Ok(()) };
    environment.install_ready(&[]).await?;
    let scene = environment.user("upgrade").await?;
    let before = environment.pods().await?;
    testbed::Kubectl::new(environment.cluster, scene.namespace.clone())?.apply(&load(JOBS_OF_UPGRADE)).await?;
    under_way("Jobs before the upgrade", JOBS_OF_UPGRADE, async || complete(&scene).await).await?;
    let begun = Instant::now();
    environment.install_ready(&["--set", "image.tag=upgrade"]).await?;
    println!("upgrade of both replicas: {} ms", begun.elapsed().as_millis());
    environment.another_leader(&before).await?;
    all_exact(&scene, JOBS_OF_UPGRADE).await?;
    kubectl(&scene, &["delete", "jobs", "--all", "--wait=false"]).await?;
    environment.cluster.delete_namespace(&scene.namespace).await?;
    environment.uninstall(SYSTEM, "jobwright").await
}
