//! Jobs that start after other Jobs, and the results that Jobs leave.

use anyhow::Result;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::*;

const AFTER: &str = "jobwright.dev/after";
const WAITING: &str = "jobwright.dev/waiting";

async fn create(scene: &Scene, name: &str, after: &str) -> Result<()> {
    let mut job = job(name, json!({"backoffLimit": 0}))?;
    job.metadata.annotations = Some([(AFTER.to_owned(), after.to_owned())].into());
    scene.jobs.create(&PostParams::default(), &job).await?;
    Ok(())
}

/// Waits until a Job waits with this message, and checks that it has not started.
async fn waits(scene: &Scene, name: &str, message: &str) -> Result<()> {
    until(&format!("{name} to wait: {message}"), || async {
        let job = scene.jobs.get(name).await?;
        let text = job.annotations().get(WAITING).cloned().unwrap_or_default();
        let started = job.status.as_ref().is_some_and(|status| status.start_time.is_some());
        Ok(if text.contains(message) && !started { Ok(()) } else { Err(text) })
    })
    .await?;
    assert!(scene.pods_of(name).await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn job_starts_when_the_jobs_before_it_have_ended_as_it_needs() -> Result<()> {
    let mut scene = Scene::new("after").await?;
    create(&scene, "report", "job/extract,job/load:finished").await?;
    waits(&scene, "report", "Job extract, which does not exist, and Job load, which does not exist").await?;
    scene.event("report", "WaitingForJobs", "The Job starts after Job extract, which does not exist").await?;
    for name in ["extract", "load"] {
        scene.create(name, json!({"backoffLimit": 0})).await?;
    }
    waits(&scene, "report", "The Job starts after the success of Job extract, and the end of Job load").await?;
    let pod = scene.active("load", 1).await?.remove(0);
    scene.kubelet.fail(&pod, 1).await?;
    waits(&scene, "report", "The Job starts after the success of Job extract\"").await?;
    scene.controller = None;
    let pod = scene.active("extract", 1).await?.remove(0);
    scene.kubelet.succeed(&pod).await?;
    scene.start_controller().await?;
    let pod = scene.active("report", 1).await?.remove(0);
    assert!(!scene.jobs.get("report").await?.annotations().contains_key(WAITING));
    // A Job that has started no longer depends on the others.
    scene.jobs.delete("extract", &DeleteParams::background()).await?;
    scene.kubelet.succeed(&pod).await?;
    scene.condition("report", "Complete").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cycle_failure_and_invalid_annotation_are_reported_and_can_be_fixed() -> Result<()> {
    let scene = Scene::new("after-cycle").await?;
    create(&scene, "a", "job/b").await?;
    create(&scene, "b", "job/a").await?;
    waits(&scene, "b", "this is a cycle: b, a, b").await?;
    create(&scene, "odd", "b").await?;
    waits(&scene, "odd", "write job/NAME").await?;
    let annotate = async |name: &str, after: Value| {
        let patch = json!({"metadata": {"annotations": {AFTER: after}}});
        scene.jobs.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await
    };
    annotate("odd", json!("job/a:failed")).await?;
    annotate("b", json!("job/none:finished")).await?;
    annotate("a", Value::Null).await?;
    let pod = scene.active("a", 1).await?.remove(0);
    waits(&scene, "odd", "The Job starts after the failure of Job a").await?;
    scene.kubelet.succeed(&pod).await?;
    scene.condition("a", "Complete").await?;
    waits(&scene, "odd", "The Job starts after the failure of Job a, which has succeeded").await?;
    waits(&scene, "b", "Job none, which does not exist").await
}

#[tokio::test(flavor = "multi_thread")]
async fn termination_messages_of_a_job_that_succeeds_are_kept() -> Result<()> {
    let scene = Scene::new("results").await?;
    scene.create("sums", json!({"completionMode": "Indexed", "parallelism": 3, "completions": 3})).await?;
    scene.active("sums", 3).await?;
    for pod in scene.pods_of("sums").await? {
        let index = pod.annotations()["batch.kubernetes.io/job-completion-index"].clone();
        let now = "2026-01-01T00:00:00Z";
        let message = if index == "1" { json!(null) } else { json!(format!("sum {index}\n")) };
        let terminated =
            json!({"exitCode": 0, "reason": "Completed", "message": message, "startedAt": now, "finishedAt": now});
        let container = json!({"name": "main", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": terminated}});
        scene.kubelet.patch(&pod.name_any(), json!({"phase": "Succeeded", "containerStatuses": [container]})).await?;
    }
    scene.condition("sums", "Complete").await?;
    let result = scene.jobs.get("sums").await?.annotations()["jobwright.dev/result"].clone();
    let result: Value = serde_json::from_str(&result)?;
    let messages: Vec<_> =
        result["results"].as_array().into_iter().flatten().map(|one| (&one["index"], &one["message"])).collect();
    assert_eq!(messages, [(&json!(0), &json!("sum 0")), (&json!(2), &json!("sum 2"))]);
    scene.explained("job/sums", "(index 2): sum 2").await.map(drop)
}
