//! Simulated nodes, for thousands of pods: kwok acts as their kubelets, and the pods of a Job succeed immediately.

use std::fs;
use std::path::Path;

use anyhow::Result;
use k8s_openapi::api::core::v1::Node;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::assets;
use crate::control_plane::ControlPlane;
use crate::process::Process;

/// Name of the first simulated node. A pod with this `nodeName` needs no scheduler.
pub const NODE_NAME: &str = "simulated-0";

/// Starts kwok and creates `nodes` simulated nodes, named `simulated-0`, `simulated-1`, …, with room for any number of
/// pods.
pub async fn start(dir: &Path, control: &ControlPlane, client: &Client, nodes: usize) -> Result<Process> {
    let process = run(dir, control)?;
    for number in 0..nodes {
        node(client, &format!("simulated-{number}"), "100k").await?;
    }
    Ok(process)
}

/// Starts kwok, which simulates the nodes that [`node`] creates.
pub fn run(dir: &Path, control: &ControlPlane) -> Result<Process> {
    assets::ensure(&[assets::KWOK])?;
    fs::create_dir_all(dir)?;
    let stages = dir.join("stages.yaml");
    fs::write(&stages, assets::kwok_stages()?)?;
    let args = [
        format!("--kubeconfig={}", control.kubeconfig.display()),
        format!("--config={}", stages.display()),
        "--manage-all-nodes=false".to_owned(),
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake".to_owned(),
        "--node-lease-duration-seconds=40".to_owned(),
    ];
    Process::start("kwok", dir, &assets::KWOK.path()?, &args)
}

/// Creates a simulated node with this number of processors.
pub async fn node(client: &Client, name: &str, cpu: &str) -> Result<()> {
    let node: Node = serde_json::from_value(serde_json::json!({
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
            "labels": {"type": "kwok", "kubernetes.io/os": "linux"},
        },
        "status": {
            "allocatable": {"cpu": cpu, "memory": "100Ti", "pods": "1M"},
            "capacity": {"cpu": cpu, "memory": "100Ti", "pods": "1M"},
        },
    }))?;
    Api::<Node>::all(client.clone()).create(&PostParams::default(), &node).await?;
    Ok(())
}
