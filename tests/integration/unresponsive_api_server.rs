//! Connections that become silent: no data passes in either direction, and no reset closes them. A proxy between the
//! controller and the API server stands for the network.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use testbed::wire::{Silence, Wire};

use crate::harness::*;
use crate::metrics::get;

#[tokio::test(flavor = "multi_thread")]
async fn replica_whose_connections_all_go_silent_works_again_within_a_minute() -> Result<()> {
    let [port] = testbed::control_plane::free_ports()?;
    let mut scene = Scene::without_controller("silent", &[]).await?;
    let server = &scene.cluster.control.as_ref().context("the cluster has no control plane of its own")?.server;
    let (wire, through) = Wire::before(server, &scene.kubeconfig).await?;
    scene.kubeconfig = through;
    scene.flags.extend(["--leader-elect=true".to_owned(), format!("--listen=127.0.0.1:{port}")]);
    scene.start_controller().await?;
    let _playing = scene.succeed_all();
    scene.create("before", json!({"completions": 20, "parallelism": 5})).await?;
    scene.condition("before", "Complete").await?;

    scene.create("during", json!({"completions": 50, "parallelism": 2})).await?;
    scene.job_until("during", "some succeeded", |status| status.succeeded.unwrap_or_default() > 5).await?;
    wire.silence(Silence::All);
    let silent = Instant::now();
    let created = scene.create("after", json!({"completions": 3, "parallelism": 3})).await;
    created.context("the tests do not use the proxy")?;
    for (job, completions) in [("after", 3), ("during", 50)] {
        let status = scene.condition(job, "Complete").await?;
        assert_eq!((status.succeeded, status.failed), (Some(completions), None), "{job}");
        assert_eq!(
            scene.pods_of(job).await?.len(),
            usize::try_from(completions)?,
            "{job}: no pod was created in excess"
        );
        println!("{job} was complete {} s after the connections became silent", silent.elapsed().as_secs());
    }
    assert_eq!(
        get(port, "/livez").await?,
        (200, "ok\n".to_owned()),
        "a dead connection does not fail the liveness probe"
    );
    let controller = scene.controller.as_mut().context("the controller is not running")?;
    let log = controller.process.log_tail(100_000);
    assert!(!log.contains("no longer leading"), "the dead connections caused the loss of the Lease");
    let signalled = Instant::now();
    assert!(controller.process.stop(Duration::from_secs(30))?.success());
    println!("stopped in {} ms", signalled.elapsed().as_millis());
    scene.nothing_tracked().await
}
