//! Adoption of pods by a Job, and release of pods that no longer match its selector.

use anyhow::{Context, Result};
use kube::ResourceExt;
use kube::api::{Patch, PostParams};
use serde_json::json;

use crate::harness::*;

fn by_hand(name: &str, labels: serde_json::Value) -> Result<k8s_openapi::api::core::v1::Pod> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox:1.36"}]},
    }))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_a_manual_selector_matches_is_adopted_and_counted() -> Result<()> {
    let scene = Scene::new("adopt").await?;
    scene.pods.create(&PostParams::default(), &by_hand("by-hand", json!({"app": "mine"}))?).await?;
    scene.pods.create(&PostParams::default(), &by_hand("unrelated", json!({"app": "other"}))?).await?;
    let job = scene
        .create(
            "adopter",
            json!({
                "completions": 2, "parallelism": 2, "manualSelector": true,
                "selector": {"matchLabels": {"app": "mine"}},
                "template": {"metadata": {"labels": {"app": "mine"}}},
            }),
        )
        .await?;
    let adopted = until("adoption", || async {
        let pod = scene.pods.get("by-hand").await?;
        Ok(if is_tracked(&pod) { Ok(pod) } else { Err(format!("{:?}", pod.metadata)) })
    })
    .await?;
    assert_eq!(adopted.owner_references()[0].uid, job.uid().context("missing uid")?);
    scene.job_until("adopter", "2 active", |status| status.active == Some(2)).await?;
    let all = scene.pods.list(&Default::default()).await?.items;
    assert_eq!(all.len(), 3, "one adopted, one new, one unrelated pod");
    for pod in all.iter().filter(|pod| pod.labels()["app"] == "mine") {
        scene.kubelet.succeed(&pod.name_any()).await?;
    }
    assert_eq!(scene.condition("adopter", "Complete").await?.succeeded, Some(2));
    assert!(scene.pods.get("unrelated").await?.owner_references().is_empty());
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_that_loses_its_labels_is_released_and_replaced() -> Result<()> {
    let scene = Scene::new("release").await?;
    scene.create("job", json!({})).await?;
    let pod = scene.active("job", 1).await?.remove(0);
    // The pod no longer matches the label selector of the watch, which therefore reports a deletion.
    let unlabel = json!({"metadata": {"labels": {
        "batch.kubernetes.io/controller-uid": null, "controller-uid": null,
        "batch.kubernetes.io/job-name": null, "job-name": null,
    }}});
    scene.pods.patch(&pod, &Default::default(), &Patch::Merge(&unlabel)).await?;
    until("the release", || async {
        let pod = scene.pods.get(&pod).await?;
        let released = !is_tracked(&pod) && pod.owner_references().is_empty();
        Ok(if released { Ok(()) } else { Err(format!("{:?}", pod.metadata)) })
    })
    .await?;
    let next = scene.active("job", 1).await?.remove(0);
    assert_ne!(next, pod);
    scene.kubelet.succeed(&next).await?;
    let status = scene.condition("job", "Complete").await?;
    assert_eq!((status.succeeded, status.failed), (Some(1), None));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_lost_their_labels_while_no_controller_ran_are_released() -> Result<()> {
    let mut scene = Scene::new("unlabelled").await?;
    for job in ["goes-on", "over"] {
        scene.create(job, json!({})).await?;
    }
    let (unlabelled, over) = (scene.active("goes-on", 1).await?, scene.active("over", 1).await?);
    let mut ownerless = by_hand("ownerless", json!({}))?;
    ownerless.metadata.finalizers = Some(vec![TRACKING_FINALIZER.to_owned()]);
    let unlabel = json!({"metadata": {"labels": {
        "batch.kubernetes.io/controller-uid": null, "controller-uid": null,
        "batch.kubernetes.io/job-name": null, "job-name": null,
    }}});
    scene.controller.take().context("the controller is not running")?.process.kill();
    scene.pods.create(&PostParams::default(), &ownerless).await?;
    for pod in unlabelled.iter().chain(&over) {
        scene.pods.patch(pod, &Default::default(), &Patch::Merge(&unlabel)).await?;
    }
    // Without a propagation policy, the API server orphans the pods of a batch/v1 Job, so the pod stays.
    scene.jobs.delete("over", &Default::default()).await?;
    scene.start_controller().await?;
    for pod in [unlabelled[0].as_str(), over[0].as_str(), "ownerless"] {
        until("the release", || async {
            let pod = scene.pods.get(pod).await?;
            Ok(if is_tracked(&pod) { Err(format!("{:?}", pod.metadata)) } else { Ok(()) })
        })
        .await?;
    }
    let next = scene.active("goes-on", 1).await?.remove(0);
    assert_ne!(next, unlabelled[0], "the Job has a new pod");
    assert!(scene.pods.get(&unlabelled[0]).await?.owner_references().is_empty());
    scene.kubelet.succeed(&next).await?;
    assert_eq!(scene.condition("goes-on", "Complete").await?.succeeded, Some(1));
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_pod_is_created_before_the_pods_to_adopt_are_known() -> Result<()> {
    // The first Job with spec.manualSelector widens the watch of pods. Until the wider watch is synced, the pods of
    // that Job are unknown.
    for number in 0..5 {
        let scene = Scene::new("adopt-first").await?;
        for name in ["one", "two"] {
            scene.pods.create(&PostParams::default(), &by_hand(name, json!({"app": "mine"}))?).await?;
        }
        let spec = json!({
            "completions": 2, "parallelism": 2, "manualSelector": true,
            "selector": {"matchLabels": {"app": "mine"}}, "template": {"metadata": {"labels": {"app": "mine"}}},
        });
        scene.create("adopter", spec).await?;
        scene.job_until("adopter", "2 active", |status| status.active == Some(2)).await?;
        let mut names: Vec<_> =
            scene.pods.list(&Default::default()).await?.items.iter().map(ResourceExt::name_any).collect();
        names.sort();
        assert_eq!(names, ["one", "two"], "attempt {number}");
    }
    Ok(())
}
