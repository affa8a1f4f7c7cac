//! Writes of Workloads that the API server accepts or refuses in a way that no repetition changes: the controller backs
//! off, as after every other failed write.

use anyhow::{Context, Result};
use kube::ResourceExt;
use kube::api::PostParams;
use serde_json::json;

use crate::gang_scheduling::{GATE, cluster, gang, is_older_than_the_api, names_of, scene, sized, workloads};
use crate::harness::*;
use crate::metrics::get;
use crate::policies::Policy;

/// Maximum number of writes of one object within [`WATCHED`]: 1, and the repetitions of a back-off that begins with a
/// second at the earliest. A loop without a back-off makes hundreds.
const MAX_WRITES: f64 = 8.0;
/// Number of seconds for which the writes are counted.
const WATCHED: f64 = 4.0;

/// Returns the number of writes of Workloads that a controller has sent.
async fn writes(port: u16) -> Result<f64> {
    let (_, text) = get(port, "/metrics").await?;
    let is_write = |line: &&str| {
        line.starts_with("jobwright_api_requests_total{")
            && line.contains("resource=\"workloads\"")
            && ["create", "patch"].iter().any(|verb| line.contains(&format!("verb=\"{verb}\"")))
    };
    let numbers = text.lines().filter(is_write).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(numbers.sum())
}

/// Checks that a write which was sent is repeated a few times only.
async fn writes_back_off(port: u16) -> Result<()> {
    let before = writes(port).await?;
    anyhow::ensure!(before > 0.0, "no write was counted");
    stays(WATCHED, || async {
        let repeated = writes(port).await? - before;
        anyhow::ensure!(repeated <= MAX_WRITES, "{repeated} repetitions");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn size_that_a_policy_reverts_is_reported_and_backed_off() -> Result<()> {
    if is_older_than_the_api()? {
        return Ok(());
    }
    let [port] = testbed::control_plane::free_ports()?;
    let scene = scene("gang-reverted", &[GATE, &format!("--listen=127.0.0.1:{port}")]).await?;
    scene.create("kept", gang(8, 4)).await?;
    sized(&scene, "kept", 4).await?;
    let path = "/spec/podGroupTemplates/0/schedulingPolicy/gang/minCount";
    let revert = format!("[JSONPatch{{op: 'replace', path: '{path}', value: 4}}]");
    let policy = Policy::mutate(&scene, "kept", &[("scheduling.k8s.io", "workloads", "UPDATE")], &revert).await?;
    scene.change("kept", json!({"scheduling": {"schedulingPolicy": {"gang": {"minCount": 6}}}})).await?;
    scene.event("kept", "FailedGangResize", "without the change: a mutating admission").await?;
    writes_back_off(port).await?;
    policy.lift().await?;
    sized(&scene, "kept", 6).await
}

#[tokio::test(flavor = "multi_thread")]
async fn workload_of_another_owner_with_the_name_is_reported_and_backed_off() -> Result<()> {
    if is_older_than_the_api()? {
        return Ok(());
    }
    let [port] = testbed::control_plane::free_ports()?;
    let flags = [GATE, &format!("--listen=127.0.0.1:{port}")];
    let mut scene = Scene::on(cluster().await?, "gang-foreign", &flags).await?;
    let job = scene.create("job", gang(2, 2)).await?;
    let (name, _) = names_of(&job);
    let template = json!({"name": "other", "schedulingPolicy": {"gang": {"minCount": 2}}});
    let foreign = json!({"metadata": {"name": name}, "spec": {"podGroupTemplates": [template]}});
    workloads(&scene).create(&PostParams::default(), &serde_json::from_value(foreign)?).await?;
    scene.start_controller().await?;
    scene.event("job", "FailedWorkloadCreate", "already exists").await?;
    writes_back_off(port).await?;
    assert!(scene.pods_of("job").await?.is_empty(), "no pod is created without its PodGroup");
    let stored = workloads(&scene).get(&name).await?;
    let templates = stored.spec.pod_group_templates.as_deref().unwrap_or_default();
    assert_eq!(templates.first().context("no template")?.name, "other", "{} is unchanged", stored.name_any());
    Ok(())
}
