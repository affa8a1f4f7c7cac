//! NonIndexed Jobs with one pod, a fixed number of completions or a work queue, from creation to completion.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kube::ResourceExt;
use serde_json::json;

use crate::harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_one_pod_runs_and_completes() -> Result<()> {
    let scene = Scene::new("one-pod").await?;
    let job = scene
        .create("once", json!({"template": {"metadata": {"labels": {"app": "once"}, "annotations": {"note": "kept"}}}}))
        .await?;
    let pod = scene.active("once", 1).await?.remove(0);
    let made = scene.pods.get(&pod).await?;
    assert!(pod.starts_with("once-"));
    assert!(is_tracked(&made));
    assert_eq!(made.labels()["app"], "once");
    assert_eq!(made.labels()["batch.kubernetes.io/controller-uid"], job.uid().context("missing uid")?);
    assert_eq!(made.annotations()["note"], "kept");
    let owner = &made.owner_references()[0];
    assert_eq!((owner.kind.as_str(), owner.controller, owner.block_owner_deletion), ("Job", Some(true), Some(true)));

    let status = scene.job_until("once", "active 1", |status| status.active == Some(1)).await?;
    assert!(status.start_time.is_some());
    scene.kubelet.run(&pod, true).await?;
    scene.job_until("once", "ready 1", |status| status.ready == Some(1)).await?;
    scene.kubelet.succeed(&pod).await?;
    let status = scene.condition("once", "Complete").await?;
    assert_eq!(status.succeeded, Some(1));
    assert_eq!((status.active, status.ready, status.terminating, status.failed), (None, Some(0), Some(0), None));
    let types: Vec<_> = status.conditions.iter().flatten().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(types, ["SuccessCriteriaMet", "Complete"]);
    let complete = condition(&status, "Complete").context("missing complete")?;
    assert_eq!(complete.reason.as_deref(), Some("CompletionsReached"));
    assert_eq!(complete.message.as_deref(), Some("Reached expected number of succeeded pods"));
    assert_eq!(status.completion_time.as_ref(), complete.last_transition_time.as_ref());
    scene.nothing_tracked().await?;
    scene.event("once", "SuccessfulCreate", &format!("Created pod: {pod}")).await?;
    scene.event("once", "Completed", "Job completed").await
}

#[tokio::test(flavor = "multi_thread")]
async fn fixed_number_of_completions_runs_within_the_parallelism() -> Result<()> {
    let scene = Scene::new("fixed").await?;
    scene.create("five", json!({"completions": 5, "parallelism": 2})).await?;
    for done in 0..4 {
        let active = scene.active("five", 2).await?;
        assert_eq!(scene.pods_of("five").await?.len(), 2 + done, "at most two pods are active");
        scene.kubelet.succeed(&active[0]).await?;
    }
    let last = scene.active("five", 1).await?;
    let status = scene.job_until("five", "4 succeeded", |status| status.succeeded == Some(4)).await?;
    assert_eq!(status.active, Some(1));
    scene.kubelet.succeed(&last[0]).await?;
    assert_eq!(scene.condition("five", "Complete").await?.succeeded, Some(5));
    assert_eq!(scene.pods_of("five").await?.len(), 5);
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn work_queue_completes_when_its_last_pod_ends_after_one_success() -> Result<()> {
    let scene = Scene::new("queue").await?;
    scene.create("queue", json!({"parallelism": 3, "completions": null})).await?;
    let pods = scene.active("queue", 3).await?;
    scene.kubelet.succeed(&pods[0]).await?;
    scene.job_until("queue", "1 succeeded", |status| status.succeeded == Some(1)).await?;
    scene.kubelet.fail(&pods[1], 1).await?;
    scene.job_until("queue", "1 failed", |status| status.failed == Some(1)).await?;
    stays(0.5, || async {
        assert_eq!(scene.pods_of("queue").await?.len(), 3, "no pod is created after the first success");
        Ok(())
    })
    .await?;
    scene.kubelet.succeed(&pods[2]).await?;
    let status = scene.condition("queue", "Complete").await?;
    assert_eq!((status.succeeded, status.failed), (Some(2), Some(1)));
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn chain_of_twenty_pods_takes_less_than_one_second_per_pod() -> Result<()> {
    let scene = Scene::new("chain").await?;
    let _playing = scene.succeed_all();
    let start = Instant::now();
    scene.create("chain", json!({"completions": 20, "parallelism": 1})).await?;
    let status = scene.condition("chain", "Complete").await?;
    println!("a chain of 20 took {:.2} s", start.elapsed().as_secs_f64());
    assert_eq!(status.succeeded, Some(20));
    assert_eq!(scene.pods_of("chain").await?.len(), 20);
    // The bound is no performance target. It detects a wait of 1 s per step, which the built-in controller has.
    assert!(start.elapsed() < Duration::from_secs(20));
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn lower_parallelism_deletes_the_least_advanced_pods_and_higher_parallelism_adds_pods() -> Result<()> {
    let scene = Scene::new("scale").await?;
    scene.create("scale", json!({"completions": 10, "parallelism": 3})).await?;
    let pods = scene.active("scale", 3).await?;
    scene.kubelet.run(&pods[0], true).await?;
    scene.kubelet.run(&pods[1], false).await?;
    scene.job_until("scale", "1 ready", |status| status.ready == Some(1)).await?;
    scene.change("scale", json!({"parallelism": 2})).await?;
    assert_eq!(scene.active("scale", 2).await?, pods[..2], "the pending pod is deleted first");
    scene.change("scale", json!({"parallelism": 1})).await?;
    assert_eq!(scene.active("scale", 1).await?, pods[..1], "the pod that is not ready is deleted second");
    scene.event("scale", "SuccessfulDelete", &format!("Deleted pod: {}", pods[2])).await?;
    scene.change("scale", json!({"parallelism": 4})).await?;
    scene.active("scale", 4).await?;
    let status = scene.job_until("scale", "4 active", |status| status.active == Some(4)).await?;
    assert_eq!((status.failed, status.succeeded), (None, None), "pods deleted by scaling do not count as failed");
    scene.change("scale", json!({"parallelism": 0})).await?;
    scene.active("scale", 0).await?;
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn job_with_zero_completions_completes_immediately() -> Result<()> {
    let scene = Scene::new("none").await?;
    scene.create("none", json!({"completions": 0})).await?;
    scene.condition("none", "Complete").await?;
    assert!(scene.pods_of("none").await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_managed_by_another_controller_are_ignored() -> Result<()> {
    let scene = Scene::new("claim").await?;
    // A Job without managedBy is not created here: it belongs to the built-in controller, which can be on.
    scene.create("foreign", json!({"managedBy": "example.com/other"})).await?;
    scene.create("ours", json!({})).await?;
    scene.active("ours", 1).await?;
    stays(0.5, || async {
        assert!(scene.pods_of("foreign").await?.is_empty());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn claim_all_covers_jobs_without_managed_by_and_jobs_of_the_built_in_controller() -> Result<()> {
    let scene = Scene::without_controller("claim-all", &["--claim=all"]).await?;
    if scene.cluster.control.is_none() {
        testbed::skipped!("the built-in controllers of a given cluster can be on");
        return Ok(());
    }
    let mut scene = scene;
    scene.start_controller().await?;
    scene.create("plain", json!({"managedBy": null})).await?;
    scene.create("builtin", json!({"managedBy": "kubernetes.io/job-controller"})).await?;
    scene.create("foreign", json!({"managedBy": "example.com/other"})).await?;
    scene.active("plain", 1).await?;
    scene.active("builtin", 1).await?;
    stays(0.3, || async {
        assert!(scene.pods_of("foreign").await?.is_empty());
        Ok(())
    })
    .await
}
