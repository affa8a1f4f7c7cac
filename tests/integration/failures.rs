//! Failing and deleted pods: back-off limits, back-off, deadlines and replacement.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::batch::v1::JobStatus;
use serde_json::json;

use crate::harness::*;

fn assert_failed(status: &JobStatus, reason: &str, message: &str) {
    let types: Vec<_> = status.conditions.iter().flatten().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(types, ["FailureTarget", "Failed"]);
    for condition in status.conditions.iter().flatten() {
        assert_eq!(condition.reason.as_deref(), Some(reason));
        assert_eq!(condition.message.as_deref(), Some(message));
    }
    assert_eq!((status.active, status.terminating, status.ready), (None, Some(0), Some(0)));
    assert!(status.completion_time.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failure_more_than_the_limit_fails_the_job_and_ends_its_other_pods() -> Result<()> {
    let scene = Scene::new("limit").await?;
    scene.create("limit", json!({"completions": 5, "parallelism": 2, "backoffLimit": 1})).await?;
    let pods = scene.active("limit", 2).await?;
    scene.kubelet.fail(&pods[0], 3).await?;
    scene.job_until("limit", "1 failed", |status| status.failed == Some(1)).await?;
    let pods = scene.active("limit", 2).await?;
    scene.kubelet.fail(&pods[0], 3).await?;
    let status = scene.condition("limit", "Failed").await?;
    assert_failed(&status, "BackoffLimitExceeded", "Job has reached the specified backoff limit");
    assert_eq!(status.failed, Some(3), "the pod that was still active failed with the Job");
    scene.active("limit", 0).await?;
    scene.nothing_tracked().await?;
    scene.event("limit", "BackoffLimitExceeded", "Job has reached the specified backoff limit").await
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_in_place_count_against_the_limit_under_on_failure() -> Result<()> {
    let scene = Scene::new("restarts").await?;
    let spec = json!({"backoffLimit": 3, "template": {"spec": {"restartPolicy": "OnFailure"}}});
    scene.create("restarts", spec).await?;
    let pod = scene.active("restarts", 1).await?.remove(0);
    scene.kubelet.restarted(&pod, 2).await?;
    stays(0.5, || async {
        assert!(condition(&scene.jobs.get("restarts").await?.status.unwrap_or_default(), "Failed").is_none());
        Ok(())
    })
    .await?;
    scene.kubelet.restarted(&pod, 3).await?;
    let status = scene.condition("restarts", "Failed").await?;
    assert_failed(&status, "BackoffLimitExceeded", "Job has reached the specified backoff limit");
    assert_eq!(status.failed, Some(1));
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_doubles_the_backoff_and_a_success_ends_it() -> Result<()> {
    let scene = Scene::with_flags("backoff", &["--pod-failure-backoff=2s"]).await?;
    scene.create("waits", json!({"completions": 9, "backoffLimit": 9})).await?;
    let pod = scene.active("waits", 1).await?.remove(0);
    let mut failed_at = Instant::now();
    scene.kubelet.fail(&pod, 1).await?;
    // The status of a pod stores its end to the second, so the controller can count up to one second of waiting in
    // advance.
    for (number, (least, most)) in [(1.0, 4.0), (3.0, 7.0)].into_iter().enumerate() {
        let next = scene.active("waits", 1).await?.remove(0);
        let waited = failed_at.elapsed().as_secs_f64();
        assert!((least..most).contains(&waited), "back-off {number} was {waited} s");
        failed_at = Instant::now();
        if number == 0 {
            scene.kubelet.fail(&next, 1).await?;
        } else {
            scene.kubelet.succeed(&next).await?;
        }
    }
    scene.active("waits", 1).await?;
    assert!(failed_at.elapsed() < Duration::from_secs(1), "the pod after a success was delayed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_past_its_deadline_fails() -> Result<()> {
    let scene = Scene::new("deadline").await?;
    scene.create("late", json!({"completions": 4, "parallelism": 2, "activeDeadlineSeconds": 2})).await?;
    let pods = scene.active("late", 2).await?;
    scene.kubelet.succeed(&pods[0]).await?;
    let status = scene.condition("late", "Failed").await?;
    assert_failed(&status, "DeadlineExceeded", "Job was active longer than specified deadline");
    assert_eq!((status.succeeded, status.failed), (Some(1), Some(2)));
    let start = status.start_time.as_ref().context("missing start")?.0;
    let failed = condition(&status, "Failed")
        .and_then(|failed| failed.last_transition_time.clone())
        .context("missing failed")?
        .0;
    assert!((2..5).contains(&(failed.as_second() - start.as_second())));
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn deadline_changed_while_the_job_runs_takes_effect() -> Result<()> {
    let scene = Scene::new("moved").await?;
    scene.create("moved", json!({"activeDeadlineSeconds": 3600})).await?;
    scene.active("moved", 1).await?;
    scene.change("moved", json!({"activeDeadlineSeconds": 1})).await?;
    scene.condition("moved", "Failed").await?;
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_deleted_by_a_user_counts_as_failed_and_is_replaced() -> Result<()> {
    let scene = Scene::new("deleted-pod").await?;
    scene.create("job", json!({})).await?;
    let pod = scene.active("job", 1).await?.remove(0);
    scene.pods.delete(&pod, &Default::default()).await?;
    scene.job_until("job", "1 failed", |status| status.failed == Some(1)).await?;
    let next = scene.active("job", 1).await?.remove(0);
    assert_ne!(next, pod);
    scene.kubelet.succeed(&next).await?;
    let status = scene.condition("job", "Complete").await?;
    assert_eq!((status.succeeded, status.failed), (Some(1), Some(1)));
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn terminating_pod_is_replaced_only_after_it_has_ended_under_replacement_policy_failed() -> Result<()> {
    let scene = Scene::new("replacement").await?;
    scene.create("job", json!({"podReplacementPolicy": "Failed"})).await?;
    let pod = scene.active("job", 1).await?.remove(0);
    // On a node, a deleted pod runs until its kubelet reports its end. Here, a finalizer keeps the pod.
    scene
        .pods
        .patch(
            &pod,
            &Default::default(),
            &kube::api::Patch::Merge(json!({"metadata": {"finalizers": [TRACKING_FINALIZER, "example.com/hold"]}})),
        )
        .await?;
    scene.pods.delete(&pod, &Default::default()).await?;
    let status = scene.job_until("job", "1 terminating", |status| status.terminating == Some(1)).await?;
    assert_eq!(status.failed, None);
    stays(0.5, || async {
        assert_eq!(scene.pods_of("job").await?.len(), 1);
        Ok(())
    })
    .await?;
    scene.kubelet.fail(&pod, 137).await?;
    scene.job_until("job", "1 failed", |status| status.failed == Some(1)).await?;
    scene.active("job", 1).await?;
    let release = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/hold"]}});
    scene.pods.patch(&pod, &Default::default(), &kube::api::Patch::Strategic(release)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_deleted_without_its_finalizer_is_replaced_after_a_delay() -> Result<()> {
    let scene = Scene::new("force").await?;
    scene.create("job", json!({"completions": 2, "parallelism": 2})).await?;
    let pods = scene.active("job", 2).await?;
    for pod in &pods {
        let untracked = json!({"metadata": {"finalizers": null}});
        scene.pods.patch(pod, &Default::default(), &kube::api::Patch::Merge(untracked)).await?;
    }
    let deleted = Instant::now();
    scene.pods.delete_collection(&Default::default(), &Default::default()).await?;
    scene.active("job", 2).await?;
    assert!(deleted.elapsed() >= Duration::from_millis(900), "replaced after {:?}", deleted.elapsed());
    let status = scene.job_until("job", "2 active", |status| status.active == Some(2)).await?;
    assert_eq!(status.failed, None, "a pod that disappeared without a final phase does not count as failed");
    Ok(())
}
