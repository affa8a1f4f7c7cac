//! The demo on a given cluster succeeds and leaves no namespace behind.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a failed expectation ends the test, and the modules of a test are no library"
)]

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use testbed::{Cluster, Nodes, Options};

#[tokio::test(flavor = "multi_thread")]
async fn demo_on_a_given_cluster_succeeds_and_removes_its_objects() -> Result<()> {
    let cluster = Cluster::start(&Options { nodes: Nodes::Auto, ..Options::default() }).await?;
    let testbed = Path::new(env!("CARGO_BIN_EXE_testbed"));
    let jobwright = testbed.parent().context("missing folder")?.join("jobwright");
    assert!(
        jobwright.is_file(),
        "there is no jobwright binary beside {}: run `cargo build --workspace` first",
        testbed.display()
    );
    let mut command = Command::new(testbed);
    command.args(["demo", "--jobwright"]).arg(&jobwright).env("KUBECONFIG", &cluster.kubeconfig);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let text = String::from_utf8(output.stdout)?;
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    if cluster.node.is_some() {
        assert!(text.contains("Hello from a Job run by Rust"), "{text}");
        assert!(text.contains("Suspended   2/4"), "{text}");
    }
    assert!(text.lines().any(|line| line.starts_with("hello ") && line.contains("Complete")), "{text}");
    let namespaces: Api<Namespace> = Api::all(cluster.client().await?);
    let left = namespaces.list(&ListParams::default()).await?.items;
    let left: Vec<_> = left.iter().map(ResourceExt::name_any).filter(|name| name.contains("demo")).collect();
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}
