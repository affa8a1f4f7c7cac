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

/// Starts kwok and creates `nodes` simulated nodes, named `simulated-0`, `simulated-1`, ….
pub async fn start(dir: &Path, control: &ControlPlane, client: &Client, nodes: usize) -> Result<Process> {
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
    let process = Process::start("kwok", dir, &assets::KWOK.path()?, &args)?;
    let api: Api<Node> = Api::all(client.clone());
    for number in 0..nodes {
        let node: Node = serde_json::from_value(serde_json::json!({
            "metadata": {
                "name": format!("simulated-{number}"),
                "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
                "labels": {"type": "kwok", "kubernetes.io/os": "linux"},
            },
            "status": {
                "allocatable": {"cpu": "100k", "memory": "100Ti", "pods": "1M"},
                "capacity": {"cpu": "100k", "memory": "100Ti", "pods": "1M"},
            },
        }))?;
        api.create(&PostParams::default(), &node).await?;
    }
    Ok(process)
}
