//! Two replicas under load: the leader crashes, is deleted or is upgraded. No completion is lost, and no pod is created
//! twice.

use std::time::Instant;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::json;

use crate::environment::{Environment, SYSTEM, in_progress, kill};
use crate::harness::{Scene, until};
use crate::kubectl;

/// Number of Jobs while the leader is killed and deleted.
const JOBS: usize = 100;
/// Number of Jobs during the upgrade.
const JOBS_OF_UPGRADE: usize = 60;

/// Returns a List of Jobs with one short pod each.
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

/// Returns the number of complete Jobs.
async fn complete(scene: &Scene) -> Result<usize> {
    let jobs = scene.jobs.list(&Default::default()).await?.items;
    Ok(jobs.iter().filter(|job| job.status.as_ref().is_some_and(|status| status.completion_time.is_some())).count())
}

/// Waits until all Jobs are complete, and checks that each has exactly one pod.
async fn all_exact(scene: &Scene, jobs: usize) -> Result<()> {
    for number in 0..jobs {
        let status = scene.condition(&format!("job-{number}"), "Complete").await?;
        assert_eq!((status.succeeded, status.failed), (Some(1), None), "job-{number}");
    }
    let pods = scene.pods.list(&Default::default()).await?.items;
    assert_eq!(pods.len(), jobs, "one pod per Job, none created in excess");
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_of_the_leader_under_load_loses_no_job() -> Result<()> {
    let Some(environment) = Environment::exclusive().await? else { return Ok(()) };
    environment.install_ready(&[]).await?;
    let scene = environment.user("leader").await?;
    let apply = testbed::Kubectl::new(environment.cluster, scene.namespace.clone())?;
    apply.apply(&load(JOBS)).await?;
    in_progress("Jobs before the leader is killed", JOBS, async || complete(&scene).await).await?;
    let leader = environment.leader().await?;
    let begun = Instant::now();
    if environment.is_ours() {
        // The kubelet restarts the container of the killed process. Either this container or the other replica acquires
        // the Lease.
        kill(&leader)?;
        let killed = Timestamp::now();
        until("a renewed Lease", || async {
            let renewed = environment.renewed(&scene).await?;
            Ok(if renewed > killed { Ok(()) } else { Err(renewed.to_string()) })
        })
        .await?;
        println!("hand-over after the leader's process was killed: {} ms", begun.elapsed().as_millis());
    }
    // The pod is deleted without a shutdown, as after the loss of its node, so the Lease has to expire.
    let leader = environment.leader().await?;
    let begun = Instant::now();
    environment.kubectl()?.run(&["delete", "pod", &leader, "--grace-period=0", "--force"]).await?;
    environment.another_leader(&[leader]).await?;
    println!("hand-over after the leader's pod was deleted without a grace period: {} ms", begun.elapsed().as_millis());
    all_exact(&scene, JOBS).await?;
    kubectl(&scene, &["delete", "jobs", "--all", "--wait=false"]).await?;
    environment.cluster.delete_namespace(&scene.namespace).await?;
    environment.uninstall(SYSTEM, "jobwright").await
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_under_load_loses_no_job() -> Result<()> {
    let Some(environment) = Environment::exclusive().await? else { return Ok(()) };
    environment.install_ready(&[]).await?;
    let scene = environment.user("upgrade").await?;
    let before = environment.pods().await?;
    testbed::Kubectl::new(environment.cluster, scene.namespace.clone())?.apply(&load(JOBS_OF_UPGRADE)).await?;
    in_progress("Jobs before the upgrade", JOBS_OF_UPGRADE, async || complete(&scene).await).await?;
    let begun = Instant::now();
    environment.install_ready(&["--set", "image.tag=upgrade"]).await?;
    println!("upgrade of both replicas: {} ms", begun.elapsed().as_millis());
    environment.another_leader(&before).await?;
    all_exact(&scene, JOBS_OF_UPGRADE).await?;
    kubectl(&scene, &["delete", "jobs", "--all", "--wait=false"]).await?;
    environment.cluster.delete_namespace(&scene.namespace).await?;
    environment.uninstall(SYSTEM, "jobwright").await
}
