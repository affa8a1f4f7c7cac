//! Actions of a user on Jobs whose pods run on a real node: suspend, resume, scale and delete.

use anyhow::Result;
use kube::ResourceExt;
use testbed::Kubectl;

use crate::harness::*;
use crate::{kubectl, scene};

/// Returns the manifest of a Job whose pods run until SIGTERM and then exit immediately with this exit code.
fn endless(name: &str, parallelism: usize, exit_code: i32) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  managedBy: jobwright.dev/controller\n  \
         parallelism: {parallelism}\n  completions: {parallelism}\n  template:\n    spec:\n      restartPolicy: Never\n      \
         containers:\n      - name: main\n        image: busybox:1.36\n        \
         command: [sh, -c, \"trap 'exit {exit_code}' TERM; sleep 600 & wait\"]\n"
    )
}

async fn apply(scene: &Scene, manifest: &str) -> Result<()> {
    Kubectl::new(scene.cluster, scene.namespace.clone())?.apply(manifest).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_is_suspended_resumed_scaled_and_deleted() -> Result<()> {
    let Some(scene) = scene("user").await? else { return Ok(()) };
    apply(&scene, &endless("busy", 2, 0)).await?;
    scene.job_until("busy", "2 ready", |status| status.ready == Some(2)).await?;
    kubectl(&scene, &["patch", "job", "busy", "--type=merge", "-p", r#"{"spec":{"suspend":true}}"#]).await?;
    let status = scene.condition("busy", "Suspended").await?;
    assert_eq!((status.failed, status.succeeded), (None, None));
    scene
        .job_until("busy", "none terminating", |status| status.terminating == Some(0) && status.active.is_none())
        .await?;
    kubectl(&scene, &["patch", "job", "busy", "--type=merge", "-p", r#"{"spec":{"suspend":false}}"#]).await?;
    scene.job_until("busy", "2 ready again", |status| status.ready == Some(2)).await?;
    kubectl(&scene, &["patch", "job", "busy", "--type=merge", "-p", r#"{"spec":{"parallelism":1}}"#]).await?;
    scene.job_until("busy", "1 active", |status| status.active == Some(1)).await?;
    let description = kubectl(&scene, &["describe", "job", "busy"]).await?;
    assert!(description.contains("Suspended") && description.contains("jobwright"), "{description}");
    kubectl(&scene, &["delete", "job", "busy", "--cascade=foreground", "--timeout=30s"]).await?;
    assert!(scene.pods_of("busy").await?.is_empty(), "foreground deletion waits for the pods");
    scene.cluster.delete_namespace(&scene.namespace).await
}

#[tokio::test(flavor = "multi_thread")]
async fn orphaned_pods_keep_running() -> Result<()> {
    let Some(scene) = scene("orphans").await? else { return Ok(()) };
    apply(&scene, &endless("left", 1, 0)).await?;
    scene.job_until("left", "1 ready", |status| status.ready == Some(1)).await?;
    kubectl(&scene, &["delete", "job", "left", "--cascade=orphan"]).await?;
    scene.nothing_tracked().await?;
    let pods = scene.pods_of("left").await?;
    assert_eq!(pods.len(), 1);
    assert_eq!(phase(&pods[0]), "Running");
    assert!(pods[0].owner_references().is_empty());
    scene.cluster.delete_namespace(&scene.namespace).await
}

#[tokio::test(flavor = "multi_thread")]
async fn manually_deleted_pod_is_replaced() -> Result<()> {
    let Some(scene) = scene("replaced").await? else { return Ok(()) };
    apply(&scene, &endless("job", 1, 1)).await?;
    scene.job_until("job", "1 ready", |status| status.ready == Some(1)).await?;
    let first = scene.active("job", 1).await?.remove(0);
    kubectl(&scene, &["delete", "pod", &first]).await?;
    let status = scene
        .job_until("job", "1 failed and 1 ready", |status| status.failed == Some(1) && status.ready == Some(1))
        .await?;
    assert_eq!(status.active, Some(1));
    assert_ne!(scene.active("job", 1).await?[0], first);
    scene.cluster.delete_namespace(&scene.namespace).await
}
