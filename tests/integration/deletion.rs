//! Deletion of Jobs under all three propagation policies, and the pods that remain.

use anyhow::Result;
use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams, PropagationPolicy};
use serde_json::json;

use crate::harness::*;

async fn delete(scene: &Scene, name: &str, policy: PropagationPolicy) -> Result<()> {
    let params = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
    scene.jobs.delete(name, &params).await?;
    until("the Job to be gone", || async {
        Ok(if scene.jobs.get_opt(name).await?.is_none() { Ok(()) } else { Err("the Job still exists".to_owned()) })
    })
    .await
}

async fn no_pods(scene: &Scene, job: &str) -> Result<()> {
    until("no pods", || async {
        let left: Vec<_> = scene.pods_of(job).await?.iter().map(ResourceExt::name_any).collect();
        Ok(if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) })
    })
    .await
}

async fn busy_job(scene: &Scene) -> Result<()> {
    scene.create("job", json!({"completions": 6, "parallelism": 3})).await?;
    let pods = scene.active("job", 3).await?;
    scene.kubelet.succeed(&pods[0]).await?;
    scene.kubelet.run(&pods[1], true).await?;
    scene.active("job", 3).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn background_deletion_leaves_no_pod_stuck() -> Result<()> {
    let scene = Scene::new("background").await?;
    busy_job(&scene).await?;
    delete(&scene, "job", PropagationPolicy::Background).await?;
    no_pods(&scene, "job").await
}

#[tokio::test(flavor = "multi_thread")]
async fn foreground_deletion_completes() -> Result<()> {
    let scene = Scene::new("foreground").await?;
    busy_job(&scene).await?;
    delete(&scene, "job", PropagationPolicy::Foreground).await?;
    no_pods(&scene, "job").await
}

#[tokio::test(flavor = "multi_thread")]
async fn orphaned_pods_remain_without_the_tracking_finalizer() -> Result<()> {
    let scene = Scene::new("orphan").await?;
    busy_job(&scene).await?;
    delete(&scene, "job", PropagationPolicy::Orphan).await?;
    scene.nothing_tracked().await?;
    let pods = scene.pods_of("job").await?;
    assert_eq!(pods.len(), 4);
    assert!(pods.iter().all(|pod| pod.owner_references().is_empty()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_job_deleted_while_no_controller_ran_lose_their_finalizers() -> Result<()> {
    let mut scene = Scene::new("left-behind").await?;
    busy_job(&scene).await?;
    scene.controller = None;
    delete(&scene, "job", PropagationPolicy::Background).await?;
    scene.start_controller().await?;
    no_pods(&scene, "job").await
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_without_an_owner_loses_the_tracking_finalizer() -> Result<()> {
    let scene = Scene::new("ownerless").await?;
    let pod = serde_json::from_value(json!({
        "metadata": {
            "name": "ownerless", "finalizers": [TRACKING_FINALIZER],
            "labels": {"batch.kubernetes.io/controller-uid": "0b1c", "batch.kubernetes.io/job-name": "gone"},
        },
        "spec": {"containers": [{"name": "main", "image": "busybox:1.36"}]},
    }))?;
    scene.pods.create(&PostParams::default(), &pod).await?;
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn recreated_job_of_the_same_name_inherits_no_backoff_and_no_counts() -> Result<()> {
    let scene = Scene::with_flags("same-name", &["--pod-failure-backoff=30s"]).await?;
    scene.create("job", json!({"backoffLimit": 1})).await?;
    let pod = scene.active("job", 1).await?.remove(0);
    scene.kubelet.fail(&pod, 1).await?;
    scene.job_until("job", "1 failed", |status| status.failed == Some(1)).await?;
    delete(&scene, "job", PropagationPolicy::Background).await?;
    scene.create("job", json!({"backoffLimit": 1})).await?;
    // The back-off of the first Job would delay this pod by 30 s.
    let next = scene.active("job", 1).await?.remove(0);
    assert_ne!(next, pod);
    let status = scene.job_until("job", "1 active", |status| status.active == Some(1)).await?;
    assert_eq!(status.failed, None);
    scene.kubelet.succeed(&next).await?;
    assert_eq!(scene.condition("job", "Complete").await?.failed, None);
    Ok(())
}
