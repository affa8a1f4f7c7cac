//! Outages of the API server, and a restart after which no watch can resume.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::batch::v1::JobStatus;
use kube::api::{DeleteParams, Patch};
use rustix::process::Signal;
use serde_json::json;
use testbed::control_plane::ControlPlane;
use testbed::{Cluster, Options};

use crate::harness::*;

/// Creates a scene on a cluster of its own, whose control plane the test can stop.
async fn own_scene(prefix: &str) -> Result<(Scene, &'static ControlPlane)> {
    // Leaked because a scene borrows its cluster for 'static. The cluster's processes end with this process.
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(&Options::default()).await?));
    let scene = Scene::on(cluster, prefix, &["--pod-failure-backoff=50ms"]).await?;
    Ok((scene, cluster.control.as_ref().context("the cluster has no control plane of its own")?))
}

#[tokio::test(flavor = "multi_thread")]
async fn api_server_outage_of_30_seconds_loses_no_completion() -> Result<()> {
    let (mut scene, control) = own_scene("outage").await?;
    scene.start_controller().await?;
    let playing = scene.succeed_all();
    scene.create("job", json!({"completions": 120, "parallelism": 8})).await?;
    scene.job_until("job", "some done", |status| status.succeeded.unwrap_or_default() > 10).await?;
    control.kill_apiserver().await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    control.restart_apiserver().await?;
    let status = scene.condition("job", "Complete").await?;
    assert_eq!((status.succeeded, status.failed), (Some(120), None));
    drop(playing);
    scene.nothing_tracked().await?;
    let controller = scene.controller.as_mut().context("the controller is not running")?;
    controller.process.check()?;
    assert_eq!(scene.pods_of("job").await?.len(), 120, "no pod was created in excess");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_during_an_expired_watch_are_found_by_the_next_list() -> Result<()> {
    let (mut scene, control) = own_scene("expired").await?;
    scene.start_controller().await?;
    scene.create("job", json!({"completions": 5, "parallelism": 3})).await?;
    let pods = scene.active("job", 3).await?;
    let paused = scene.controller.as_ref().context("the controller is not running")?;
    paused.process.signal(Signal::STOP);
    // One pod is removed without its finalizer, one succeeds. Then the API server restarts and has lost the earlier
    // versions.
    scene.pods.patch(&pods[0], &Default::default(), &Patch::Merge(json!({"metadata": {"finalizers": null}}))).await?;
    scene.pods.delete(&pods[0], &DeleteParams::default().grace_period(0)).await?;
    scene.kubelet.succeed(&pods[1]).await?;
    control.kill_apiserver().await;
    control.restart_apiserver().await?;
    paused.process.signal(Signal::CONT);
    let now = scene.active("job", 3).await?;
    assert!(now.contains(&pods[2]) && !now.contains(&pods[0]) && !now.contains(&pods[1]), "{now:?}");
    // The success is counted immediately. The pod that disappeared uncounted is replaced after a delay.
    let settled = |status: &JobStatus| status.succeeded == Some(1) && status.active == Some(3);
    let status = scene.job_until("job", "1 succeeded, 3 active", settled).await?;
    assert_eq!(status.failed, None);
    let _playing = scene.succeed_all();
    assert_eq!(scene.condition("job", "Complete").await?.succeeded, Some(5));
    scene.nothing_tracked().await
}
