//! The controller process is killed, stopped or interrupted, and started again.

use std::time::Duration;

use anyhow::Result;
use kube::api::ListParams;
use rustix::process::Signal;
use serde_json::json;

use crate::harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn controller_killed_at_any_moment_counts_two_hundred_completions_exactly() -> Result<()> {
    let mut scene = Scene::new("killed").await?;
    let playing = scene.succeed_all();
    scene.create("many", json!({"completions": 200, "parallelism": 20})).await?;
    let mut kills = 0;
    loop {
        // The interval is no round number, so that the kills hit different moments of the work.
        tokio::time::sleep(Duration::from_millis(137 + 61 * (kills % 5))).await;
        let status = scene.jobs.get("many").await?.status.unwrap_or_default();
        if condition(&status, "Complete").is_some() {
            break;
        }
        if let Some(mut controller) = scene.controller.take() {
            controller.process.kill();
            kills += 1;
        }
        assert!(kills < 300, "the Job makes no progress: {status:?}");
        scene.start_controller().await?;
    }
    drop(playing);
    println!("survived {kills} kills");
    assert!(kills >= 3, "expected at least 3 kills, got {kills}");
    let status = scene.jobs.get("many").await?.status.unwrap_or_default();
    assert_eq!((status.succeeded, status.failed, status.active), (Some(200), None, None));
    scene.nothing_tracked().await?;
    let pods = scene.pods.list(&ListParams::default()).await?.items;
    let succeeded = pods.iter().filter(|pod| phase(pod) == "Succeeded").count();
    assert_eq!(succeeded, 200, "no pod was created in excess");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn controller_exits_cleanly_on_sigterm_and_its_successor_continues() -> Result<()> {
    let mut scene = Scene::new("stopped").await?;
    let playing = scene.succeed_all();
    scene.create("job", json!({"completions": 60, "parallelism": 10})).await?;
    scene.job_until("job", "some done", |status| status.succeeded.unwrap_or_default() > 5).await?;
    let mut controller = scene.controller.take().expect("the controller runs");
    let status = controller.process.stop(Duration::from_secs(10))?;
    assert!(status.success(), "{status}: {}", controller.process.log_tail(20));
    let log = controller.process.log_tail(1000);
    assert!(log.contains("SIGTERM") && log.contains("stopped"), "{log}");
    scene.start_controller().await?;
    assert_eq!(scene.condition("job", "Complete").await?.succeeded, Some(60));
    drop(playing);
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn controller_exits_cleanly_on_sigint() -> Result<()> {
    let mut scene = Scene::new("interrupted").await?;
    let mut controller = scene.controller.take().expect("the controller runs");
    controller.process.signal(Signal::INT);
    let status = controller.process.stop(Duration::from_secs(10))?;
    assert!(status.success());
    Ok(())
}
