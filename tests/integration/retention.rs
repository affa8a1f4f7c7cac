//! How long finished Jobs are kept by annotations, where the Job itself, its namespace or the controller says so.

use anyhow::Result;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::*;

const AFTER_SUCCESS: &str = "jobwright.dev/ttl-seconds-after-success";
const AFTER_FAILURE: &str = "jobwright.dev/ttl-seconds-after-failure";

/// Creates a Job with these annotations and lets its pod end so.
async fn finished(scene: &Scene, name: &str, annotations: Value, spec: Value, exit_code: i32) -> Result<()> {
    let mut job = job(name, spec)?;
    job.metadata.annotations = serde_json::from_value(annotations)?;
    job.spec.get_or_insert_default().backoff_limit = Some(0);
    scene.jobs.create(&Default::default(), &job).await?;
    let pod = scene.active(name, 1).await?.remove(0);
    if exit_code == 0 {
        scene.kubelet.succeed(&pod).await?;
    } else {
        scene.kubelet.fail(&pod, exit_code).await?;
    }
    Ok(())
}

async fn gone(scene: &Scene, name: &str) -> Result<()> {
    until(&format!("{name} to be gone"), || async {
        Ok(if scene.jobs.get_opt(name).await?.is_some() { Err("it is there".to_owned()) } else { Ok(()) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn success_and_failure_are_kept_for_times_of_their_own() -> Result<()> {
    // Beside the built-in controllers, which know nothing of these annotations.
    let scene = Scene::new("retention").await?;
    let both = json!({AFTER_SUCCESS: "0", AFTER_FAILURE: "3600"});
    finished(&scene, "good", both.clone(), json!({}), 0).await?;
    finished(&scene, "bad", both, json!({}), 1).await?;
    gone(&scene, "good").await?;
    scene.condition("bad", "Failed").await?;
    let patch = json!({"metadata": {"annotations": {AFTER_FAILURE: "0"}}});
    scene.jobs.patch("bad", &PatchParams::default(), &Patch::Merge(&patch)).await?;
    gone(&scene, "bad").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_told_and_the_job_kept() -> Result<()> {
    let scene = Scene::new("retention-wrong").await?;
    finished(&scene, "odd", json!({AFTER_SUCCESS: "7d"}), json!({}), 0).await?;
    let message = format!("annotation {AFTER_SUCCESS}: \"7d\" is not a whole number of seconds");
    scene.event("odd", "InvalidRetention", &message).await?;
    let patch = json!({"metadata": {"annotations": {AFTER_SUCCESS: "0"}}});
    scene.jobs.patch("odd", &PatchParams::default(), &Patch::Merge(&patch)).await?;
    gone(&scene, "odd").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controllers_default_is_for_jobs_that_nothing_is_said_of() -> Result<()> {
    let scene = Scene::with_flags("retention-flag", &["--ttl-after-success=0s"]).await?;
    finished(&scene, "kept", json!({AFTER_SUCCESS: "3600"}), json!({}), 0).await?;
    finished(&scene, "plain", json!({}), json!({}), 0).await?;
    gone(&scene, "plain").await?;
    scene.condition("kept", "Complete").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_says_how_long_its_jobs_are_kept() -> Result<()> {
    let scene = Scene::everywhere("retention-namespace", &[]).await?;
    finished(&scene, "own", json!({}), json!({}), 0).await?;
    scene.condition("own", "Complete").await?;
    let namespaces: Api<Namespace> = Api::all(scene.client.clone());
    let patch = json!({"metadata": {"annotations": {AFTER_SUCCESS: "0"}}});
    namespaces.patch(&scene.namespace, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    gone(&scene, "own").await
}
