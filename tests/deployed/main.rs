//! Jobwright as an administrator runs it: the image, installed by the chart on a cluster with a real node.
//!
//! An installation works on the whole cluster, so these tests run one after another. They start a cluster of their own,
//! or use the one that `KUBECONFIG` names if `JOBWRIGHT_IMAGE` is the name of the image in that cluster.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a failed expectation ends the test, and the modules of a test are no library"
)]

mod console;
mod environment;
#[path = "../integration/harness.rs"]
#[allow(dead_code, reason = "the other suites use the rest")]
mod harness;
mod helm;
mod helm_ui;
mod install;
mod migration;
#[path = "../end_to_end/outcomes.rs"]
mod outcomes;
mod replicas;
mod uninstall;

use anyhow::Result;
use testbed::Kubectl;

use harness::Scene;

/// Runs kubectl in the scene's namespace and returns its stdout.
async fn kubectl(scene: &Scene, args: &[&str]) -> Result<String> {
    Kubectl::new(scene.cluster, scene.namespace.clone())?.run(args).await
}
