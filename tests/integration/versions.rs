//! What differs between Kubernetes versions: how the API server and the built-in controller of the version behave, and
//! how Jobwright behaves beside them. `docs/compatibility.md` lists the observations.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::batch::v1::JobStatus;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use testbed::report::{Feature, needs, observed};
use testbed::{Cluster, Options, Version, control_plane};

use crate::harness::*;

/// Creates a scene with the built-in controllers on, on a cluster of its own.
async fn beside_the_builtin_controllers(prefix: &str) -> Result<Option<Scene>> {
    if Cluster::shared().await?.control.is_none() {
        testbed::skipped!("a given cluster has its own flags");
        return Ok(None);
    }
    let control_plane = control_plane::Options { builtin_job_controllers: true, ..Default::default() };
    let cluster = Cluster::start(&Options { control_plane, ..Options::default() }).await?;
    let mut scene = Scene::on(Box::leak(Box::new(cluster)), prefix, &[]).await?;
    scene.start_controller().await?;
    Ok(Some(scene))
}

/// Returns whether the API server accepts a change of a Job's spec. An error other than a refusal fails the test.
async fn accepts(scene: &Scene, name: &str, spec: Value) -> Result<bool> {
    match scene.jobs.patch(name, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 422 => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn accepted(accepted: bool) -> &'static str {
    if accepted { "accepted" } else { "refused" }
}

/// Suspends two Jobs that run, one of each controller, and compares what happens to their start times.
#[tokio::test(flavor = "multi_thread")]
async fn start_time_and_template_of_a_suspended_job_depend_on_the_version() -> Result<()> {
    let Some(scene) = beside_the_builtin_controllers("suspended").await? else { return Ok(()) };
    let version = scene.cluster.version().await?;
    let new = version >= Feature::MutableSchedulingDirectives.since();
    for (name, managed_by, controller) in
        [("built-in", Value::Null, "the built-in controller"), ("ours", json!("jobwright.dev/controller"), "Jobwright")]
    {
        let ours = name == "ours";
        scene.create(name, json!({"managedBy": managed_by})).await?;
        scene.job_until(name, "1 active", |status| status.active == Some(1)).await?;
        scene.change(name, json!({"suspend": true})).await?;
        let idle = |status: &JobStatus| condition(status, "Suspended").is_some() && status.active.is_none();
        let status = scene.job_until(name, "suspended", idle).await?;
        let removed = status.start_time.is_none();
        assert_eq!(removed, new || ours, "{name} on {version}: {status:?}");
        let text = if removed { "removed" } else { "kept" };
        observed(&format!("start time of a Job that is suspended, by {controller}"), text);

        let moved = accepts(&scene, name, json!({"template": {"spec": {"nodeSelector": {"disk": "fast"}}}})).await?;
        assert_eq!(moved, new || ours, "{name} on {version}");
        observed(
            &format!("change of the node selector of a suspended Job that has run, under {controller}"),
            accepted(moved),
        );

        let container = json!({
            "name": "main", "image": "busybox:1.36", "command": ["true"], "resources": {"requests": {"cpu": "10m"}},
        });
        let resized = accepts(&scene, name, json!({"template": {"spec": {"containers": [container]}}})).await?;
        assert_eq!(resized, version >= Feature::MutablePodResources.since(), "{name} on {version}");
        observed(&format!("change of the resources of a suspended Job, under {controller}"), accepted(resized));

        scene.change(name, json!({"suspend": false})).await?;
        let status = scene.job_until(name, "1 active again", |status| status.active == Some(1)).await?;
        assert!(status.start_time.is_some(), "{name}: {status:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn deadline_of_a_job_resumed_late_starts_again_or_has_passed() -> Result<()> {
    let Some(scene) = beside_the_builtin_controllers("deadline").await? else { return Ok(()) };
    let version = scene.cluster.version().await?;
    for (name, managed_by, controller) in
        [("built-in", Value::Null, "the built-in controller"), ("ours", json!("jobwright.dev/controller"), "Jobwright")]
    {
        scene.create(name, json!({"managedBy": managed_by, "activeDeadlineSeconds": 5})).await?;
        scene.job_until(name, "1 active", |status| status.active == Some(1)).await?;
        scene.change(name, json!({"suspend": true})).await?;
        let idle = |status: &JobStatus| condition(status, "Suspended").is_some() && status.active.is_none();
        scene.job_until(name, "suspended", idle).await?;
        tokio::time::sleep(Duration::from_secs(6)).await;
        scene.change(name, json!({"suspend": false})).await?;
        let resumed = |status: &JobStatus| status.active == Some(1) || condition(status, "Failed").is_some();
        let status = scene.job_until(name, "active or failed", resumed).await?;
        let failed = condition(&status, "Failed").is_some();
        let starts_again = name == "ours" || version >= Feature::MutableSchedulingDirectives.since();
        assert_eq!(failed, !starts_again, "{name} on {version}: {status:?}");
        let text = if failed { "the Job fails immediately" } else { "starts again" };
        observed(&format!("deadline of a Job that is resumed after it has passed, by {controller}"), text);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_resumed_job_have_the_resources_changed_during_suspension() -> Result<()> {
    let scene = Scene::new("resized").await?;
    if !needs(scene.cluster, Feature::MutablePodResources).await? {
        return Ok(());
    }
    scene.create("job", json!({"suspend": true})).await?;
    scene.condition("job", "Suspended").await?;
    let container = json!({
        "name": "main", "image": "busybox:1.36", "command": ["true"], "resources": {"requests": {"cpu": "10m"}},
    });
    scene.change("job", json!({"suspend": false, "template": {"spec": {"containers": [container]}}})).await?;
    let pod = scene.active("job", 1).await?.remove(0);
    let spec = scene.pods.get(&pod).await?.spec.context("missing spec")?;
    let requests = spec.containers[0].resources.clone().and_then(|resources| resources.requests).unwrap_or_default();
    assert_eq!(requests.get("cpu").map(|quantity| quantity.0.as_str()), Some("10m"));
    Ok(())
}

/// Back-off is the state in which the built-in controllers of 1.34 and 1.35 store that no pod is active.
#[tokio::test(flavor = "multi_thread")]
async fn active_pods_are_counted_during_back_off() -> Result<()> {
    let Some(scene) = beside_the_builtin_controllers("back-off").await? else { return Ok(()) };
    let version = scene.cluster.version().await?;
    for (name, managed_by, controller) in
        [("built-in", Value::Null, "the built-in controller"), ("ours", json!("jobwright.dev/controller"), "Jobwright")]
    {
        scene.create(name, json!({"managedBy": managed_by, "parallelism": 2, "completions": 2})).await?;
        let pods = scene.active(name, 2).await?;
        scene.job_until(name, "2 active", |status| status.active == Some(2)).await?;
        scene.kubelet.fail(&pods[0], 1).await?;
        let status = scene.job_until(name, "1 failed", |status| status.failed == Some(1)).await?;
        let active = status.active.unwrap_or_default();
        let expected = i32::from(name == "ours" || version >= Version::new(36));
        assert_eq!(active, expected, "{name} on {version}: {status:?}");
        observed(
            &format!("`status.active` during the back-off while one pod runs, by {controller}"),
            &active.to_string(),
        );
    }
    Ok(())
}

/// Feature gates of Jobs, and the versions in which the API server can be started with the gate off.
const GATES: [(&str, Option<Version>); 3] =
    [("JobManagedBy", Some(Version::new(34))), ("JobSuccessPolicy", None), ("JobPodReplacementPolicy", None)];

#[tokio::test(flavor = "multi_thread")]
async fn feature_gates_of_jobs_are_locked_except_managed_by_in_1_34() -> Result<()> {
    if Cluster::shared().await?.control.is_none() {
        testbed::skipped!("a given cluster has its own flags");
        return Ok(());
    }
    let version = Version::selected()?;
    for (gate, last) in GATES {
        let flag = format!("--feature-gates={gate}=false");
        let control_plane = control_plane::Options { apiserver_flags: vec![flag], ..Default::default() };
        let started = Cluster::start(&Options { control_plane, ..Options::default() }).await;
        let expected = last.is_some_and(|last| version <= last);
        let observation = match &started {
            Ok(_) => "possible",
            Err(error) => {
                let text = format!("{error:#}");
                assert!(text.contains("feature gate"), "{text}");
                "refused by the API server at its start"
            }
        };
        assert_eq!(started.is_ok(), expected, "{gate} on {version}");
        observed(&format!("feature gate `{gate}` off"), observation);
        if let Ok(cluster) = started {
            without_managed_by(Box::leak(Box::new(cluster))).await?;
        }
    }
    Ok(())
}

/// Checks that an API server that drops `spec.managedBy` is served like that of a version without the field: no Job is
/// claimed by the field, and with `--claim=all` every Job runs to its end with the conditions in their order.
async fn without_managed_by(cluster: &'static Cluster) -> Result<()> {
    let mut by_field = Scene::on(cluster, "dropped", &[]).await?;
    by_field.start_controller().await?;
    let job = by_field.create("job", json!({})).await?;
    assert_eq!(job.spec.and_then(|spec| spec.managed_by), None, "the API server drops the field");
    let mut all = Scene::on(cluster, "all", &["--claim=all"]).await?;
    all.start_controller().await?;
    all.create("job", json!({"completions": 3, "parallelism": 2})).await?;
    let playing = all.succeed_all();
    let status = all.condition("job", "Complete").await?;
    drop(playing);
    let types: Vec<&str> = status.conditions.iter().flatten().map(|condition| condition.type_.as_str()).collect();
    assert_eq!((types.as_slice(), status.succeeded), (["SuccessCriteriaMet", "Complete"].as_slice(), Some(3)));
    all.create("fails", json!({"backoffLimit": 0})).await?;
    let pod = all.active("fails", 1).await?.remove(0);
    all.kubelet.fail(&pod, 1).await?;
    let status = all.condition("fails", "Failed").await?;
    let types: Vec<&str> = status.conditions.iter().flatten().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(types, ["FailureTarget", "Failed"]);
    all.nothing_tracked().await?;
    assert!(by_field.pods_of("job").await?.is_empty(), "no Job is claimed without the field");
    observed(
        "Jobs of an API server with `JobManagedBy` off",
        "run with `--claim=all`, and none is claimed by its field",
    );
    Ok(())
}

/// Fields that some versions of the API server know and others drop with a warning.
#[tokio::test(flavor = "multi_thread")]
async fn field_that_a_version_does_not_know_is_dropped_and_the_job_runs() -> Result<()> {
    let scene = Scene::new("unknown-field").await?;
    let jobs: Api<kube::api::DynamicObject> = Api::namespaced_with(
        scene.client.clone(),
        &scene.namespace,
        &kube::api::ApiResource::erase::<k8s_openapi::api::batch::v1::Job>(&()),
    );
    let mut manifest = serde_json::to_value(job("job", json!({}))?)?;
    manifest["apiVersion"] = json!("batch/v1");
    manifest["kind"] = json!("Job");
    manifest["spec"]["fromTheFuture"] = json!({"policy": "Sometimes"});
    manifest["spec"]["template"]["spec"]["fromTheFuture"] = json!(1);
    let created = jobs.create(&Default::default(), &serde_json::from_value(manifest)?).await?;
    assert_eq!(created.data["spec"].get("fromTheFuture"), None, "{:#}", created.data);
    let pod = scene.active("job", 1).await?.remove(0);
    scene.kubelet.succeed(&pod).await?;
    scene.condition("job", "Complete").await?;
    tokio::time::timeout(Duration::from_secs(10), scene.nothing_tracked()).await?
}
