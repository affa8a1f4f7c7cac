//! `ttlSecondsAfterFinished` under `--claim=all`, with the built-in TTL controller off.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use crate::harness::*;

/// Creates a scene under `--claim=all`. Returns `None` on a given cluster, whose TTL controller can be on.
async fn scene(prefix: &str) -> Result<Option<Scene>> {
    let mut scene = Scene::without_controller(prefix, &["--claim=all"]).await?;
    if scene.cluster.control.is_none() {
        testbed::skipped!("the built-in controllers of a given cluster can be on");
        return Ok(None);
    }
    scene.start_controller().await?;
    Ok(Some(scene))
}

async fn finished(scene: &Scene, name: &str, ttl: Value) -> Result<()> {
    scene.create(name, json!({"managedBy": null, "ttlSecondsAfterFinished": ttl})).await?;
    let pod = scene.active(name, 1).await?.remove(0);
    scene.kubelet.succeed(&pod).await?;
    Ok(())
}

async fn gone(scene: &Scene, name: &str) -> Result<()> {
    until("the Job and its pods to be gone", || async {
        let there = scene.jobs.get_opt(name).await?.is_some() || !scene.pods_of(name).await?.is_empty();
        Ok(if there { Err("the Job still exists".to_owned()) } else { Ok(()) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_job_is_deleted_with_its_pods_after_its_ttl() -> Result<()> {
    let Some(scene) = scene("ttl").await? else { return Ok(()) };
    finished(&scene, "kept", json!(null)).await?;
    finished(&scene, "immediate", json!(0)).await?;
    gone(&scene, "immediate").await?;
    let end = Instant::now();
    finished(&scene, "later", json!(3)).await?;
    scene.condition("later", "Complete").await?;
    gone(&scene, "later").await?;
    // The status stores times to the second, so up to one second can be missing.
    assert!(end.elapsed() >= Duration::from_secs(2), "deleted after {:?}", end.elapsed());
    scene.condition("kept", "Complete").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ttl_can_be_added_changed_and_removed_after_the_job_has_finished() -> Result<()> {
    let Some(scene) = scene("ttl-change").await? else { return Ok(()) };
    finished(&scene, "added", json!(null)).await?;
    finished(&scene, "shortened", json!(3600)).await?;
    finished(&scene, "removed", json!(3)).await?;
    for name in ["added", "shortened", "removed"] {
        scene.condition(name, "Complete").await?;
    }
    scene.change("removed", json!({"ttlSecondsAfterFinished": null})).await?;
    scene.change("added", json!({"ttlSecondsAfterFinished": 0})).await?;
    scene.change("shortened", json!({"ttlSecondsAfterFinished": 1})).await?;
    gone(&scene, "added").await?;
    gone(&scene, "shortened").await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    scene.condition("removed", "Complete").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn job_whose_ttl_expired_while_no_controller_ran_is_deleted_at_the_start() -> Result<()> {
    let Some(mut scene) = scene("ttl-start").await? else { return Ok(()) };
    finished(&scene, "old", json!(3600)).await?;
    scene.condition("old", "Complete").await?;
    scene.controller = None;
    scene.change("old", json!({"ttlSecondsAfterFinished": 0})).await?;
    scene.start_controller().await?;
    gone(&scene, "old").await
}

#[tokio::test(flavor = "multi_thread")]
async fn ttl_is_left_to_the_built_in_controllers_under_claim_managed_by() -> Result<()> {
    let scene = Scene::new("ttl-left").await?;
    if scene.cluster.control.is_none() {
        testbed::skipped!("the built-in TTL controller of a given cluster can be on");
        return Ok(());
    }
    scene.create("job", json!({"ttlSecondsAfterFinished": 0})).await?;
    let pod = scene.active("job", 1).await?.remove(0);
    scene.kubelet.succeed(&pod).await?;
    scene.condition("job", "Complete").await?;
    stays(1.0, || async {
        assert!(scene.jobs.get_opt("job").await?.is_some());
        Ok(())
    })
    .await
}
