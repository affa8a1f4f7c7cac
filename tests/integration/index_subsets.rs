//! Indexed Jobs that run the indexes of the annotation `jobwright.dev/indexes` alone.

use anyhow::{Context, Result};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::*;

const ANNOTATION: &str = "jobwright.dev/indexes";

async fn create(scene: &Scene, name: &str, listed: &str, spec: Value) -> Result<()> {
    let mut job = job(name, spec)?;
    job.metadata.annotations = Some([(ANNOTATION.to_owned(), listed.to_owned())].into());
    scene.jobs.create(&PostParams::default(), &job).await?;
    Ok(())
}

async fn list(scene: &Scene, name: &str, listed: Option<&str>) -> Result<()> {
    let patch = json!({"metadata": {"annotations": {ANNOTATION: listed}}});
    scene.jobs.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}

/// Waits for active pods with exactly these indexes, and returns their names in the order of the indexes.
async fn active(scene: &Scene, name: &str, wanted: &[&str]) -> Result<Vec<String>> {
    until(&format!("active pods of {name} with the indexes {wanted:?}"), || async {
        let pods = scene.pods_of(name).await?;
        let index = |pod: &k8s_openapi::api::core::v1::Pod| {
            pod.annotations().get("batch.kubernetes.io/job-completion-index").cloned().unwrap_or_default()
        };
        let mut active: Vec<(String, String)> =
            pods.iter().filter(|pod| is_active(pod)).map(|pod| (index(pod), pod.name_any())).collect();
        active.sort();
        let found: Vec<&str> = active.iter().map(|(index, _)| index.as_str()).collect();
        Ok(if found == wanted {
            Ok(active.iter().map(|(_, name)| name.clone()).collect())
        } else {
            Err(format!("{active:?}"))
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn listed_indexes_alone_run_and_complete_the_job() -> Result<()> {
    let scene = Scene::new("listed").await?;
    let spec = json!({"completionMode": "Indexed", "completions": 10, "parallelism": 3});
    create(&scene, "part", "3,7-9", spec).await?;
    let pods = active(&scene, "part", &["3", "7", "8"]).await?;
    assert!(pods[0].starts_with("part-3-"), "{pods:?}");
    scene.kubelet.succeed(&pods[1]).await?;
    let pods = active(&scene, "part", &["3", "8", "9"]).await?;
    for pod in &pods {
        scene.kubelet.succeed(pod).await?;
    }
    let status = scene.condition("part", "Complete").await?;
    assert_eq!((status.succeeded, status.completed_indexes.as_deref()), (Some(4), Some("3,7-9")));
    let complete = condition(&status, "Complete").context("no condition")?;
    assert_eq!(complete.reason.as_deref(), Some("CompletionsReached"));
    assert_eq!(complete.message.as_deref(), Some("All indexes of the annotation jobwright.dev/indexes have succeeded"));
    assert_eq!(scene.pods_of("part").await?.len(), 4);
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn job_fails_when_its_listed_indexes_have_ended() -> Result<()> {
    let scene = Scene::new("listed-fails").await?;
    let spec = json!({"completionMode": "Indexed", "completions": 5, "parallelism": 5, "backoffLimitPerIndex": 0});
    create(&scene, "part", "1,4", spec).await?;
    let pods = active(&scene, "part", &["1", "4"]).await?;
    scene.kubelet.fail(&pods[0], 1).await?;
    scene.kubelet.succeed(&pods[1]).await?;
    let status = scene.condition("part", "Failed").await?;
    let failed = condition(&status, "Failed").context("no condition")?;
    assert_eq!(failed.reason.as_deref(), Some("FailedIndexes"));
    assert_eq!((status.completed_indexes.as_deref(), status.failed_indexes.as_deref()), (Some("4"), Some("1")));
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_list_gets_a_warning_and_no_pods_until_it_is_corrected() -> Result<()> {
    let scene = Scene::new("listed-bad").await?;
    let spec = || json!({"completionMode": "Indexed", "completions": 5, "parallelism": 5});
    let lists = ["", "4-2", "1,1", "0-999999999", "soon"];
    for (number, listed) in lists.iter().enumerate() {
        create(&scene, &format!("bad-{number}"), listed, spec()).await?;
    }
    create(&scene, "plain", "0", json!({"completions": 5})).await?;
    scene
        .event("bad-3", "InvalidIndexes", "the Job has no index 999999999; list indexes below spec.completions (5)")
        .await?;
    scene.event("plain", "InvalidIndexes", "set spec.completionMode to Indexed").await?;
    for number in 0..lists.len() {
        scene.event(&format!("bad-{number}"), "InvalidIndexes", "metadata.annotations[jobwright.dev/indexes]").await?;
    }
    stays(0.5, || async {
        for name in (0..lists.len()).map(|number| format!("bad-{number}")).chain(["plain".to_owned()]) {
            assert!(scene.pods_of(&name).await?.is_empty(), "{name} has pods");
            assert!(scene.jobs.get(&name).await?.status.unwrap_or_default().start_time.is_none(), "{name} has started");
        }
        Ok(())
    })
    .await?;
    list(&scene, "bad-1", Some("2-4")).await?;
    active(&scene, "bad-1", &["2", "3", "4"]).await?;
    list(&scene, "plain", None).await?;
    scene.active("plain", 1).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_list_applies_to_the_next_pods_and_results_stay() -> Result<()> {
    let mut scene = Scene::new("listed-change").await?;
    let spec = json!({"completionMode": "Indexed", "completions": 6, "parallelism": 6, "backoffLimitPerIndex": 1});
    create(&scene, "part", "0-2", spec).await?;
    let pods = active(&scene, "part", &["0", "1", "2"]).await?;
    scene.kubelet.succeed(&pods[0]).await?;
    scene.job_until("part", "index 0 completed", |status| status.completed_indexes.as_deref() == Some("0")).await?;
    list(&scene, "part", Some("2,5")).await?;
    active(&scene, "part", &["2", "5"]).await?;
    let status = scene.job_until("part", "2 active", |status| status.active == Some(2)).await?;
    assert_eq!(
        (status.completed_indexes.as_deref(), status.failed),
        (Some("0"), None),
        "no result is lost or invented"
    );
    // While the list is invalid, the pods continue. A new controller decides the same.
    list(&scene, "part", Some("2,9")).await?;
    scene.event("part", "InvalidIndexes", "the Job has no index 9").await?;
    scene.controller = None;
    scene.start_controller().await?;
    let pods = active(&scene, "part", &["2", "5"]).await?;
    scene.kubelet.fail(&pods[0], 1).await?;
    active(&scene, "part", &["5"]).await?;
    stays(0.5, || async {
        active(&scene, "part", &["5"]).await?;
        Ok(())
    })
    .await?;
    list(&scene, "part", Some("2,5")).await?;
    for pod in active(&scene, "part", &["2", "5"]).await? {
        scene.kubelet.succeed(&pod).await?;
    }
    let status = scene.condition("part", "Complete").await?;
    assert_eq!((status.completed_indexes.as_deref(), status.succeeded), (Some("0,2,5"), Some(3)));
    assert_eq!(status.failed, Some(1));
    scene.nothing_tracked().await
}
