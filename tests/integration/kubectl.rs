//! Jobs with the commands of kubectl that users have in scripts.

use anyhow::{Context, Result};
use k8s_openapi::api::batch::v1::CronJob;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::Kubectl;

use crate::harness::*;

/// Returns kubectl in the scene's namespace.
fn kubectl(scene: &Scene) -> Result<Kubectl> {
    Kubectl::new(scene.cluster, scene.namespace.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_wait_returns_when_the_job_has_ended() -> Result<()> {
    let scene = Scene::new("kubectl-wait").await?;
    let kubectl = kubectl(&scene)?;
    scene.create("good", json!({"completions": 2, "parallelism": 2})).await?;
    scene.create("bad", json!({"backoffLimit": 0})).await?;
    let ends = async {
        for pod in scene.active("good", 2).await? {
            scene.kubelet.succeed(&pod).await?;
        }
        let pod = scene.active("bad", 1).await?.remove(0);
        scene.kubelet.fail(&pod, 1).await?;
        anyhow::Ok(())
    };
    let (complete, failed, ended) = tokio::join!(
        kubectl.run(&["wait", "--for=condition=complete", "job/good", "--timeout=30s"]),
        kubectl.run(&["wait", "--for=condition=failed", "job/bad", "--timeout=30s"]),
        ends
    );
    ended?;
    assert_eq!(complete?.trim(), "job.batch/good condition met");
    assert_eq!(failed?.trim(), "job.batch/bad condition met");
    // Scripts also wait for the counter, and for the pods of the Job.
    kubectl.run(&["wait", "--for=jsonpath={.status.succeeded}=2", "job/good", "--timeout=30s"]).await?;
    let ready = ["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod", "-l", "job-name=good", "--timeout=30s"];
    kubectl.run(&ready).await?;
    kubectl.run(&["delete", "job/good", "job/bad", "--timeout=30s"]).await?;
    let rest = kubectl.run(&["get", "jobs", "--output=name"]).await?;
    assert_eq!(rest, "");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn job_created_from_a_cron_job_runs() -> Result<()> {
    let scene = Scene::new("kubectl-from").await?;
    let kubectl = kubectl(&scene)?;
    let api: Api<CronJob> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let cron_job = json!({
        "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job("job", json!({}))?.spec}},
    });
    api.create(&PostParams::default(), &serde_json::from_value(cron_job)?).await?;
    kubectl.run(&["create", "job", "now", "--from=cronjob/nightly"]).await?;
    let pod = scene.active("now", 1).await?.remove(0);
    scene.kubelet.succeed(&pod).await?;
    scene.condition("now", "Complete").await?;
    let job = scene.jobs.get("now").await?;
    assert_eq!(job.annotations()["cronjob.kubernetes.io/instantiate"], "manual");
    assert_eq!(job.owner_references()[0].kind, "CronJob");
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply_conflicts_with_users_and_not_with_the_controller() -> Result<()> {
    let scene = Scene::new("kubectl-apply").await?;
    let kubectl = kubectl(&scene)?;
    let file = tempfile::NamedTempFile::with_suffix(".json")?;
    let path = file.path().to_str().context("the path is not UTF-8")?;
    let write = |parallelism: i32| -> Result<()> {
        let mut manifest = serde_json::to_value(job("job", json!({"completions": 4, "parallelism": parallelism}))?)?;
        manifest["apiVersion"] = json!("batch/v1");
        manifest["kind"] = json!("Job");
        Ok(std::fs::write(file.path(), manifest.to_string())?)
    };
    let apply = ["apply", "--server-side", "-f", path];
    write(1)?;
    kubectl.run(&apply).await?;
    scene.active("job", 1).await?;
    scene.job_until("job", "1 active", |status| status.active == Some(1)).await?;

    // The controller has stored the status. It owns no field of the manifest.
    write(2)?;
    assert_eq!(kubectl.run(&apply).await?.trim(), "job.batch/job serverside-applied");
    let pods = scene.active("job", 2).await?;

    // Another manager changes a field of the manifest.
    let patch = ["patch", "job/job", "--type=merge", "--field-manager=other", "-p", r#"{"spec":{"parallelism":3}}"#];
    kubectl.run(&patch).await?;
    scene.active("job", 3).await?;
    let refused = kubectl.run(&apply).await.expect_err("another manager owns the field").to_string();
    assert!(refused.contains("conflict with \"other\"") && refused.contains(".spec.parallelism"), "{refused}");
    assert!(!refused.contains("jobwright"), "{refused}");
    kubectl.run(&[&apply[..], &["--force-conflicts"]].concat()).await?;
    scene.active("job", 2).await?;

    // The same manifest is applied while the Job runs and after it has ended.
    for pod in &pods {
        // The controller may have deleted one of the two first pods for the smaller parallelism.
        let _ = scene.kubelet.succeed(pod).await;
    }
    let _playing = scene.succeed_all();
    scene.condition("job", "Complete").await?;
    let before = scene.jobs.get("job").await?;
    kubectl.run(&apply).await?;
    let after = scene.jobs.get("job").await?;
    assert_eq!(before.resource_version(), after.resource_version(), "the manifest has no change");
    assert_eq!(after.status.and_then(|status| status.succeeded), Some(4));
    Ok(())
}
