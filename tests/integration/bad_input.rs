//! Quotas, tampered status, deleted namespaces and overlapping selectors: an event reports the problem, no count is
//! lost, and other Jobs are unaffected.

use anyhow::Result;
use k8s_openapi::api::core::v1::{Namespace, ResourceQuota};
use kube::Api;
use kube::api::Patch;
use serde_json::json;

use crate::harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn quota_that_refuses_pods_is_reported_and_affects_no_other_job() -> Result<()> {
    let scene = Scene::new("quota").await?;
    let quotas: Api<ResourceQuota> = Api::namespaced(scene.client.clone(), &scene.namespace);
    testbed::quota::enforce(&scene.client, &scene.namespace, "no-cpu", &[("requests.cpu", "1")]).await?;
    let greedy = json!({"template": {"spec": {"containers": [{"name": "main", "image": "busybox:1.36", "resources": {"requests": {"cpu": "4"}}}]}}});
    scene.create("greedy", json!({"parallelism": 5, "completions": 5, "template": greedy["template"]})).await?;
    scene.event("greedy", "FailedCreate", "exceeded quota: no-cpu").await?;
    let modest = json!({"template": {"spec": {"containers": [{"name": "main", "image": "busybox:1.36", "resources": {"requests": {"cpu": "100m"}}}]}}});
    scene.create("modest", modest).await?;
    let pod = scene.active("modest", 1).await?.remove(0);
    scene.kubelet.succeed(&pod).await?;
    scene.condition("modest", "Complete").await?;
    let status = scene.jobs.get("greedy").await?.status.unwrap_or_default();
    assert!(status.start_time.is_some() && status.active.is_none(), "{status:?}");
    quotas.delete("no-cpu", &Default::default()).await?;
    let _playing = scene.succeed_all();
    assert_eq!(scene.condition("greedy", "Complete").await?.succeeded, Some(5));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn manually_changed_status_is_corrected() -> Result<()> {
    let scene = Scene::new("tampered").await?;
    scene.create("job", json!({"completions": 3, "parallelism": 2})).await?;
    let pods = scene.active("job", 2).await?;
    scene.job_until("job", "2 active", |status| status.active == Some(2)).await?;
    let tampered = json!({"status": {
        "active": 77, "ready": 5, "terminating": 9, "startTime": null,
        "uncountedTerminatedPods": {"succeeded": ["missing"], "failed": ["absent"]},
    }});
    // The API server refuses the removal of startTime.
    assert!(scene.jobs.patch_status("job", &Default::default(), &Patch::Merge(&tampered)).await.is_err());
    let tampered = json!({"status": {
        "active": 77, "ready": 5, "terminating": 9,
        "uncountedTerminatedPods": {"succeeded": [], "failed": ["absent"]},
    }});
    scene.jobs.patch_status("job", &Default::default(), &Patch::Merge(&tampered)).await?;
    let correct = |status: &k8s_openapi::api::batch::v1::JobStatus| {
        status.active == Some(2) && status.ready == Some(0) && status.terminating == Some(0) && status.failed == Some(1)
    };
    // A listed pod that does not exist counts, because the controller must assume that it has removed the finalizer.
    scene.job_until("job", "the correct numbers", correct).await?;
    scene.kubelet.succeed(&pods[0]).await?;
    let _playing = scene.succeed_all();
    assert_eq!(scene.condition("job", "Complete").await?.succeeded, Some(3));
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_namespace_terminates_with_its_jobs() -> Result<()> {
    let scene = Scene::new("going").await?;
    scene.create("job", json!({"completions": 50, "parallelism": 10})).await?;
    let pods = scene.active("job", 10).await?;
    scene.kubelet.run(&pods[0], true).await?;
    scene.kubelet.succeed(&pods[1]).await?;
    scene.cluster.delete_namespace(&scene.namespace).await?;
    let namespaces: Api<Namespace> = Api::all(scene.client.clone());
    until("the namespace to be gone", || async {
        let found = namespaces.get_opt(&scene.namespace).await?;
        Ok(if found.is_none() { Ok(()) } else { Err(format!("{:?}", found.map(|found| found.status))) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_jobs_with_one_selector_do_not_take_each_others_pods() -> Result<()> {
    let scene = Scene::new("overlap").await?;
    let spec = json!({
        "manualSelector": true, "selector": {"matchLabels": {"app": "shared"}},
        "template": {"metadata": {"labels": {"app": "shared"}}},
    });
    scene.create("first", spec.clone()).await?;
    scene.create("second", spec).await?;
    for name in ["first", "second"] {
        scene.job_until(name, "1 active", |status| status.active == Some(1)).await?;
    }
    let _playing = scene.succeed_all();
    for name in ["first", "second"] {
        assert_eq!(scene.condition(name, "Complete").await?.succeeded, Some(1));
    }
    scene.nothing_tracked().await
}
