//! Suspending and resuming Jobs with `spec.suspend`.

use anyhow::{Context, Result};
use serde_json::json;

use crate::harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn suspending_a_job_deletes_its_pods_and_resuming_it_creates_new_ones() -> Result<()> {
    let scene = Scene::new("suspend").await?;
    scene.create("job", json!({"completions": 4, "parallelism": 2})).await?;
    let pods = scene.active("job", 2).await?;
    scene.kubelet.succeed(&pods[0]).await?;
    scene.job_until("job", "1 succeeded", |status| status.succeeded == Some(1)).await?;
    scene.active("job", 2).await?;
    scene.change("job", json!({"suspend": true})).await?;
    let status = scene.condition("job", "Suspended").await?;
    let suspended = condition(&status, "Suspended").context("missing suspended")?;
    assert_eq!(suspended.reason.as_deref(), Some("JobSuspended"));
    assert_eq!(suspended.message.as_deref(), Some("Job suspended"));
    assert_eq!(status.start_time, None);
    let status = scene.job_until("job", "nothing active", |status| status.active.is_none()).await?;
    assert_eq!((status.succeeded, status.failed), (Some(1), None), "suspension does not count as a pod failure");
    scene.active("job", 0).await?;
    scene.nothing_tracked().await?;
    scene.event("job", "Suspended", "Job suspended").await?;

    scene.change("job", json!({"suspend": false})).await?;
    let status = scene.job_until("job", "2 active", |status| status.active == Some(2)).await?;
    let resumed = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "Suspended")
        .context("missing resumed")?;
    assert_eq!((resumed.status.as_str(), resumed.reason.as_deref()), ("False", Some("JobResumed")));
    assert!(status.start_time.is_some());
    scene.event("job", "Resumed", "Job resumed").await?;
    let _playing = scene.succeed_all();
    assert_eq!(scene.condition("job", "Complete").await?.succeeded, Some(4));
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_created_suspended_starts_when_it_is_resumed() -> Result<()> {
    let scene = Scene::new("born-suspended").await?;
    scene.create("job", json!({"suspend": true, "activeDeadlineSeconds": 2})).await?;
    let status = scene.condition("job", "Suspended").await?;
    assert_eq!(status.start_time, None);
    // Waits longer than the deadline: suspension stops the time of activeDeadlineSeconds.
    stays(2.5, || async {
        assert!(scene.pods_of("job").await?.is_empty());
        Ok(())
    })
    .await?;
    scene.change("job", json!({"suspend": false})).await?;
    let pod = scene.active("job", 1).await?.remove(0);
    scene.kubelet.succeed(&pod).await?;
    scene.condition("job", "Complete").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_resumed_job_follow_the_template_changed_during_suspension() -> Result<()> {
    let scene = Scene::new("mutable").await?;
    scene.create("job", json!({"suspend": true})).await?;
    scene.condition("job", "Suspended").await?;
    scene.change("job", json!({"template": {"spec": {"nodeSelector": {"disk": "fast"}}}})).await?;
    scene.change("job", json!({"suspend": false})).await?;
    let pod = scene.active("job", 1).await?.remove(0);
    let spec = scene.pods.get(&pod).await?.spec.context("missing spec")?;
    assert_eq!(spec.node_selector.and_then(|selector| selector.get("disk").cloned()).as_deref(), Some("fast"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_ends_while_it_is_suspended_is_complete() -> Result<()> {
    let scene = Scene::new("ends-suspended").await?;
    let spec = json!({
        "suspend": true, "manualSelector": true,
        "selector": {"matchLabels": {"app": "mine"}}, "template": {"metadata": {"labels": {"app": "mine"}}},
    });
    let pod = json!({
        "metadata": {"name": "by-hand", "labels": {"app": "mine"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox:1.36"}]},
    });
    scene.pods.create(&Default::default(), &serde_json::from_value(pod)?).await?;
    scene.kubelet.succeed("by-hand").await?;
    scene.create("suspended", spec).await?;
    let status = scene.condition("suspended", "Complete").await?;
    assert_eq!(status.succeeded, Some(1));
    assert!(status.start_time.is_some(), "the API server rejects completionTime without startTime");
    Ok(())
}
