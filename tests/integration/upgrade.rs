//! An API server that is replaced by one of another version on the same etcd, while Jobs run. `make compatibility` runs
//! these tests, because they need the builds of two Kubernetes versions.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::JobStatus;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};
use testbed::control_plane::ControlPlane;
use testbed::report::observed;
use testbed::version::SUPPORTED;
use testbed::{Cluster, Options, Version, control_plane};

use crate::harness::*;

/// Flags of the newest API server that make it store a field that older versions do not have.
const NEW_FIELDS: &str = "--feature-gates=GenericWorkload=true,WorkloadWithJob=true";

/// Creates a scene on a control plane of this version.
async fn scene_of(version: Version, prefix: &str, flags: &[&str]) -> Result<(Scene, &'static ControlPlane)> {
    let apiserver_flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    let control_plane = control_plane::Options { version: Some(version), apiserver_flags, ..Default::default() };
    let cluster: &'static Cluster =
        Box::leak(Box::new(Cluster::start(&Options { control_plane, ..Options::default() }).await?));
    let mut scene = Scene::on(cluster, prefix, &["--pod-failure-backoff=50ms"]).await?;
    scene.start_controller().await?;
    Ok((scene, cluster.control.as_ref().context("the cluster has no control plane of its own")?))
}

/// Replaces the API server by one of this version.
async fn replace(scene: &Scene, control: &ControlPlane, version: Version, flags: &[String]) -> Result<()> {
    control.stop_apiserver().await?;
    control.restart_apiserver_as(version, flags).await?;
    let running = scene.cluster.version().await?;
    ensure!(running == version, "the API server reports {running}");
    Ok(())
}

/// Ends every pod as soon as it exists: each with an `f` or an `x` at the end of its name fails, the others succeed.
fn end_all(scene: &Scene) -> Playing {
    let (pods, kubelet) = (scene.pods.clone(), scene.kubelet.clone());
    Playing::new(async move {
        loop {
            if let Ok(list) = pods.list(&ListParams::default()).await {
                let active: Vec<String> =
                    list.items.iter().filter(|pod| is_active(pod)).map(ResourceExt::name_any).collect();
                let ends = active.iter().map(async |name| match name.ends_with(['f', 'x']) {
                    true => kubelet.fail(name, 1).await,
                    false => kubelet.succeed(name).await,
                });
                // A pod may be deleted, and the API server may be gone. The next list shows what is left.
                let _ = futures::future::join_all(ends).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

/// Checks that a Job counts exactly its pods. Nothing deletes pods of these Jobs, so each still exists.
async fn check_counts(scene: &Scene, name: &str, status: &JobStatus, completions: i32) -> Result<()> {
    let pods = scene.pods_of(name).await?;
    let ended = |wanted: &str| pods.iter().filter(|pod| phase(pod) == wanted).count() as i32;
    let counted = (status.succeeded.unwrap_or_default(), status.failed.unwrap_or_default());
    assert_eq!(counted, (ended("Succeeded"), ended("Failed")), "{name}: {status:?}");
    assert_eq!(counted.0, completions, "{name}: {status:?}");
    assert_eq!(pods.len() as i32, counted.0 + counted.1, "{name}: every pod is counted");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the builds of two Kubernetes versions: make compatibility"]
async fn api_server_upgraded_and_rolled_back_under_load_loses_no_count() -> Result<()> {
    let new = Version::selected()?;
    let Some(old) = SUPPORTED.into_iter().rev().find(|version| *version < new) else {
        testbed::skipped!("{new} is the oldest version, so no upgrade to it can be tested");
        return Ok(());
    };
    let (mut scene, control) = scene_of(old, "upgrade", &[]).await?;
    let playing = end_all(&scene);
    let jobs = [("plain", 300, json!({})), ("indexed", 200, json!({"completionMode": "Indexed"}))];
    for (name, completions, more) in &jobs {
        let mut spec = json!({"completions": completions, "parallelism": 5, "backoffLimit": 10_000});
        testbed::manifest::lay_over(&mut spec, more);
        scene.create(name, spec).await?;
    }
    let done = |at_least: i32| move |status: &JobStatus| status.succeeded.unwrap_or_default() >= at_least;
    scene.job_until("plain", "some done", done(30)).await?;
    replace(&scene, control, new, &[]).await?;
    let upgraded = scene.jobs.get("plain").await?.status.and_then(|status| status.succeeded).unwrap_or_default();
    scene.job_until("plain", "some more done", done(upgraded + 30)).await?;
    replace(&scene, control, old, &[]).await?;
    let status = scene.jobs.get("plain").await?.status.unwrap_or_default();
    assert!(
        condition(&status, "Complete").is_none(),
        "the Job ended before the API server was rolled back: {status:?}"
    );
    for (name, completions, _) in &jobs {
        let status = scene.condition(name, "Complete").await?;
        check_counts(&scene, name, &status, *completions).await?;
    }
    drop(playing);
    scene.nothing_tracked().await?;
    let controller = scene.controller.as_mut().context("the controller is not running")?;
    controller.process.check()?;
    observed("API server upgraded from the version before and rolled back while Jobs run", "counts are exact");
    Ok(())
}

/// Returns `spec.scheduling` of a Job, as the API server returns it.
async fn scheduling(scene: &Scene, name: &str) -> Result<Value> {
    let path = format!("/apis/batch/v1/namespaces/{}/jobs/{name}", scene.namespace);
    let job: Value = scene.client.request(http::Request::get(path).body(Vec::new())?).await?;
    Ok(job["spec"]["scheduling"].clone())
}

/// Creates a Job with a field that only the newest version has.
async fn create_with_scheduling(scene: &Scene, name: &str, spec: Value) -> Result<()> {
    let mut manifest = serde_json::to_value(job(name, spec)?)?;
    manifest["spec"]["scheduling"] = json!({"schedulingPolicy": {"basic": {}}});
    let path = format!("/apis/batch/v1/namespaces/{}/jobs", scene.namespace);
    let _: Value = scene.client.request(http::Request::post(path).body(serde_json::to_vec(&manifest)?)?).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the builds of two Kubernetes versions: make compatibility"]
async fn job_with_newer_fields_runs_after_a_downgrade_and_keeps_them_unless_it_is_written() -> Result<()> {
    let old = Version::selected()?;
    if old == Version::NEWEST {
        testbed::skipped!("{old} is the newest version, so no downgrade to it can be tested");
        return Ok(());
    }
    let (scene, control) = scene_of(Version::NEWEST, "downgrade", &[NEW_FIELDS]).await?;
    for name in ["runs", "waits"] {
        create_with_scheduling(&scene, name, json!({"suspend": true, "completions": 6, "parallelism": 2})).await?;
        scene.condition(name, "Suspended").await?;
        let field = scheduling(&scene, name).await?;
        assert_eq!(field["schedulingPolicy"]["basic"], json!({}), "{name}: the write of the status keeps the field");
    }
    replace(&scene, control, old, &[]).await?;
    assert_eq!(scheduling(&scene, "runs").await?, Value::Null, "{old} has no such field");
    let playing = end_all(&scene);
    scene.change("runs", json!({"suspend": false, "backoffLimit": 10_000})).await?;
    let status = scene.condition("runs", "Complete").await?;
    check_counts(&scene, "runs", &status, 6).await?;

    replace(&scene, control, Version::NEWEST, &[NEW_FIELDS.to_owned()]).await?;
    assert_eq!(scheduling(&scene, "waits").await?["schedulingPolicy"]["basic"], json!({}), "no write, no change");
    let written = scheduling(&scene, "runs").await?;
    assert_eq!(written, Value::Null, "the older API server stores only the fields that it has");
    let after = scene.jobs.get("runs").await?.status.unwrap_or_default();
    assert_eq!((after.succeeded, after.failed), (status.succeeded, status.failed), "a finished Job stays as it was");
    drop(playing);
    observed("Job with a field of 1.37 under this version's API server, on the same etcd", "runs to its exact end");
    observed("field of 1.37 in a Job that is not written meanwhile, after the return to 1.37", "kept");
    observed("field of 1.37 in a Job that is written meanwhile, after the return to 1.37", "dropped by the API server");
    Ok(())
}
