//! The controller on a cluster with a real node, whose pods run: a user applies the examples with kubectl.
//!
//! With `TESTBED_NODES=simulated`, the nodes are simulated: pods succeed immediately and have no logs. Tests that need
//! processes are then skipped.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a failed expectation ends the test, and the modules of a test are no library"
)]

#[path = "../integration/harness.rs"]
#[allow(dead_code, reason = "the other suite uses the rest")]
mod harness;

mod beyond;
mod commands;
mod cron_jobs;
mod examples;
mod outcomes;
mod user;

use std::path::PathBuf;

use anyhow::Result;
use testbed::{Cluster, Kubectl, Nodes, Options, crds, node};
use tokio::sync::OnceCell;

use harness::Scene;

static CLUSTER: OnceCell<Option<Cluster>> = OnceCell::const_new();

/// Creates a scene on the cluster that `KUBECONFIG` names, or else on a cluster with a real node. Prints the reason and
/// returns `None` if neither is available.
async fn scene(prefix: &str) -> Result<Option<Scene>> {
    scene_with(prefix, &["--pod-failure-backoff=1s"]).await
}

/// Creates a scene like [`scene`], with these flags of the controller.
async fn scene_with(prefix: &str, flags: &[&str]) -> Result<Option<Scene>> {
    if simulated() {
        testbed::skipped!("the pods of simulated nodes are no processes");
        return Ok(None);
    }
    scene_on_any_node(prefix, flags).await
}

/// Returns whether the nodes are simulated.
fn simulated() -> bool {
    std::env::var("TESTBED_NODES").is_ok_and(|nodes| nodes == "simulated")
        && std::env::var_os("KUBECONFIG").is_none_or(|path| path.is_empty())
}

/// Creates a scene like [`scene_with`], also if the nodes are simulated.
async fn scene_on_any_node(prefix: &str, flags: &[&str]) -> Result<Option<Scene>> {
    let cluster = CLUSTER
        .get_or_try_init(|| async {
            if let Some(path) = std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty()) {
                let cluster = Cluster::given(PathBuf::from(path));
                crds::install(&cluster.client().await?).await?;
                return anyhow::Ok(Some(cluster));
            }
            if simulated() {
                return Ok(Some(Cluster::start(&Options { nodes: Nodes::Simulated, ..Options::default() }).await?));
            }
            if let Some(obstacle) = node::obstacle() {
                testbed::skipped!("{obstacle}; set KUBECONFIG to run this against a cluster");
                return Ok(None);
            }
            Ok(Some(Cluster::start(&Options { nodes: Nodes::Real, ..Options::default() }).await?))
        })
        .await?;
    match cluster {
        Some(cluster) => {
            let mut scene = Scene::on(cluster, prefix, flags).await?;
            scene.start_controller().await?;
            Ok(Some(scene))
        }
        None => Ok(None),
    }
}

/// Runs kubectl in the scene's namespace and returns its stdout.
async fn kubectl(scene: &Scene, args: &[&str]) -> Result<String> {
    Kubectl::new(scene.cluster, scene.namespace.clone())?.run(args).await
}
