//! Taking over Jobs that the built-in controller has half done, handing Jobs back to the built-in controller, and both
//! controllers running concurrently on the same Jobs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use testbed::{Cluster, Options, control_plane};

use crate::harness::*;

/// Creates two Jobs without `spec.managedBy`: a plain one, and an Indexed one with a back-off limit per index.
async fn two_jobs(scene: &Scene, completions: i32) -> Result<()> {
    let usual = |more: Value| {
        let mut spec = json!({"managedBy": null, "completions": completions, "parallelism": 5});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        spec
    };
    scene.create("plain", usual(json!({}))).await?;
    scene.create("indexed", usual(json!({"completionMode": "Indexed", "backoffLimitPerIndex": 2}))).await?;
    Ok(())
}

async fn half_done(scene: &Scene, at_least: i32) -> Result<()> {
    for name in ["plain", "indexed"] {
        scene.job_until(name, "some done", |status| status.succeeded.unwrap_or_default() >= at_least).await?;
    }
    Ok(())
}

async fn all_done(scene: &Scene, completions: i32) -> Result<()> {
    for name in ["plain", "indexed"] {
        let status = scene.condition(name, "Complete").await?;
        assert_eq!((status.succeeded, status.failed), (Some(completions), None), "{name}");
        assert_eq!(scene.pods_of(name).await?.len(), completions as usize, "{name}: no pod was created in excess");
    }
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn half_done_jobs_are_taken_over_and_handed_back() -> Result<()> {
    let settings = control_plane::Options { builtin_job_controllers: true, ..Default::default() };
    let options = Options { control_plane: settings, ..Options::default() };
    // Leaked because a scene borrows its cluster for 'static. The cluster's processes end with this process.
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(&options).await?));
    let control = cluster.control.as_ref().context("the cluster has no control plane of its own")?;
    let mut scene = Scene::on(cluster, "takeover", &["--claim=all"]).await?;
    let playing = scene.succeed_all();
    two_jobs(&scene, 40).await?;
    half_done(&scene, 10).await?;
    control.switch_builtin_job_controllers(false).await?;
    scene.start_controller().await?;
    half_done(&scene, 20).await?;
    scene.controller = None;
    control.switch_builtin_job_controllers(true).await?;
    half_done(&scene, 30).await?;
    control.switch_builtin_job_controllers(false).await?;
    scene.start_controller().await?;
    all_done(&scene, 40).await?;
    drop(playing);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicting_built_in_controller_ends_the_run_with_an_error() -> Result<()> {
    let mut scene = Scene::without_controller("conflict", &["--claim=all"]).await?;
    if scene.cluster.control.is_none() {
        testbed::skipped!("the built-in controllers of a given cluster can be on");
        return Ok(());
    }
    // A status write from before the start does not count: the built-in controller may have been switched off since.
    scene.create("job", json!({"managedBy": null, "completions": 5})).await?;
    write_as_builtin(&scene, json!({"active": 7})).await?;
    scene.start_controller().await?;
    scene.job_until("job", "1 active", |status| status.active == Some(1)).await?;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    write_as_builtin(&scene, json!({"active": 9})).await?;
    let mut controller = scene.controller.take().context("the controller is not running")?;
    let deadline = Instant::now() + Duration::from_secs(20);
    let ended = loop {
        match controller.process.ended() {
            Some(ended) => break ended,
            None => {
                assert!(Instant::now() < deadline, "the controller still runs: {}", controller.process.log_tail(20))
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let log = controller.process.log_tail(20);
    assert!(!ended.success(), "{log}");
    assert!(
        log.contains("kube-controller-manager works on the same Jobs") && log.contains("--claim=managed-by"),
        "{log}"
    );
    scene.event("job", "OtherController", "Jobwright stops").await
}

async fn write_as_builtin(scene: &Scene, status: Value) -> Result<()> {
    let params = PatchParams { field_manager: Some("kube-controller-manager".to_owned()), ..PatchParams::default() };
    scene.jobs.patch_status("job", &params, &Patch::Merge(json!({"status": status}))).await?;
    Ok(())
}
