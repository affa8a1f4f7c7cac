//! The failure report that stays in an annotation of a failed Job after its pods are deleted.

use anyhow::Result;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::harness::*;

const ANNOTATION: &str = "jobwright.dev/failure";

async fn report(scene: &Scene, name: &str) -> Result<Option<Value>> {
    let job = scene.jobs.get(name).await?;
    Ok(job.annotations().get(ANNOTATION).map(|text| serde_json::from_str(text)).transpose()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_job_reports_pod_container_and_exit_code() -> Result<()> {
    let scene = Scene::new("report").await?;
    scene.create("bad", json!({"backoffLimit": 1})).await?;
    let first = scene.active("bad", 1).await?.remove(0);
    scene.kubelet.fail(&first, 1).await?;
    let second = scene.active("bad", 1).await?.remove(0);
    scene.kubelet.fail(&second, 42).await?;
    scene.condition("bad", "Failed").await?;
    let kept = report(&scene, "bad").await?.expect("the Job has a failure report");
    assert_eq!((&kept["pod"], &kept["exitCode"]), (&json!(second), &json!(42)), "{kept}");
    scene.event("bad", "FailureCause", &format!("Pod {second}, container main: exit code 42")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn restarting_container_is_reported_after_its_pod_is_deleted_with_the_job() -> Result<()> {
    let scene = Scene::new("report-restarts").await?;
    let template = json!({"spec": {"restartPolicy": "OnFailure"}});
    scene.create("loops", json!({"backoffLimit": 1, "template": template})).await?;
    let pod = scene.active("loops", 1).await?.remove(0);
    let last = json!({"terminated": {"exitCode": 137, "signal": 9, "reason": "OOMKilled", "message": "too much of everything"}});
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let container = json!({
        "name": "main", "image": "x", "imageID": "", "ready": false, "restartCount": 2, "state": waiting, "lastState": last,
    });
    scene.kubelet.patch(&pod, json!({"phase": "Running", "containerStatuses": [container]})).await?;
    scene.condition("loops", "Failed").await?;
    let kept = report(&scene, "loops").await?.expect("the Job has a failure report");
    let expected = json!({
        "pod": pod, "unfinished": true, "restarts": 2, "container": "main", "exitCode": 137, "signal": 9,
        "reason": "OOMKilled", "message": "too much of everything",
    });
    assert_eq!(kept, expected);
    assert!(scene.pods_of("loops").await?.is_empty(), "the pod is deleted");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_is_reported_long_after_its_pod_was_counted() -> Result<()> {
    // The back-off is longer than the Job's deadline, so no second pod is created.
    let scene = Scene::with_flags("report-late", &["--pod-failure-backoff=10m"]).await?;
    scene.create("late", json!({"activeDeadlineSeconds": 3})).await?;
    let pod = scene.active("late", 1).await?.remove(0);
    scene.kubelet.fail(&pod, 7).await?;
    let status = scene.condition("late", "Failed").await?;
    assert_eq!(condition(&status, "Failed").and_then(|failed| failed.reason.as_deref()), Some("DeadlineExceeded"));
    let kept = report(&scene, "late").await?.expect("the Job has a failure report");
    assert_eq!((&kept["pod"], &kept["exitCode"]), (&json!(pod), &json!(7)), "{kept}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn completed_job_has_no_failure_report() -> Result<()> {
    let scene = Scene::new("report-none").await?;
    scene.create("good", json!({})).await?;
    let first = scene.active("good", 1).await?.remove(0);
    scene.kubelet.fail(&first, 1).await?;
    let second = scene.active("good", 1).await?.remove(0);
    scene.kubelet.succeed(&second).await?;
    scene.condition("good", "Complete").await?;
    assert_eq!(report(&scene, "good").await?, None);
    Ok(())
}
