//! Uninstallation by Helm: refused while pods would stay in deletion, allowed afterwards, and no pod stays in deletion.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::api::{DeleteParams, PropagationPolicy};
use serde_json::json;

use crate::environment::{Environment, SYSTEM, file};
use crate::harness::{Scene, until};

/// Creates a Job whose pods run for an hour.
async fn long_job(scene: &Scene, name: &str) -> Result<()> {
    let sleep = json!([{"name": "main", "image": "busybox:1.36", "command": ["sleep", "3600"]}]);
    let spec = json!({
        "parallelism": 2, "completions": 2,
        "template": {"spec": {"terminationGracePeriodSeconds": 0, "containers": sleep}},
    });
    scene.create(name, spec).await?;
    scene.job_until(name, "2 ready", |status| status.ready == Some(2)).await?;
    Ok(())
}

/// Deletes a Job in the foreground, and waits until the Job is deleted.
async fn delete(scene: &Scene, job: &str) -> Result<()> {
    let params = DeleteParams { propagation_policy: Some(PropagationPolicy::Foreground), ..DeleteParams::default() };
    scene.jobs.delete(job, &params).await?;
    until("the Job to be gone", || async {
        Ok(if scene.jobs.get_opt(job).await?.is_none() { Ok(()) } else { Err("the Job still exists".to_owned()) })
    })
    .await
}

/// Returns the names of the check's objects that exist in the namespace of the installation, cluster-wide and in
/// kube-system.
async fn left_of_check(environment: &Environment) -> Result<String> {
    let kinds = "pods,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings";
    let selector = "--selector=app.kubernetes.io/name=jobwright-uninstall-check";
    let kubectl = environment.kubectl()?;
    let here = kubectl.run(&["get", kinds, selector, "--output=name"]).await?;
    let of_lease = ["--namespace=kube-system", "get", "roles,rolebindings", selector, "--output=name"];
    Ok(here + &kubectl.run(&of_lease).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn uninstall_is_refused_while_a_job_runs_and_allowed_after_its_deletion() -> Result<()> {
    let Some(environment) = Environment::exclusive().await? else { return Ok(()) };
    let scene = environment.user("uninstall-refused").await?;
    environment.install_ready(&["--set", "replicas=1,uninstall.waitSeconds=0"]).await?;
    long_job(&scene, "busy").await?;
    let refused = environment.uninstall(SYSTEM, "jobwright").await.expect_err("a Job is running").to_string();
    let log = environment.kubectl()?.run(&["logs", "pod/jobwright-uninstall-check"]).await?;
    for part in [&format!("job/busy in namespace {}: 2 pods", scene.namespace), "uninstall.removeFinalizers=true"] {
        ensure!(log.contains(part), "{part:?} is missing from the log of the check:\n{log}\nhelm: {refused}");
    }
    assert_eq!(left_of_check(&environment).await?, "pod/jobwright-uninstall-check\n", "what is left of the check");
    // The refused uninstallation leaves the controller running.
    environment.rolled_out().await?;
    delete(&scene, "busy").await?;
    environment.uninstall(SYSTEM, "jobwright").await?;
    assert_eq!(left_of_check(&environment).await?, "");
    environment.cluster.delete_namespace(&scene.namespace).await
}

#[tokio::test(flavor = "multi_thread")]
async fn uninstall_removes_finalizers_where_a_value_allows_it() -> Result<()> {
    let Some(environment) = Environment::exclusive().await? else { return Ok(()) };
    let scene = environment.user("uninstall-removes").await?;
    environment.install_ready(&["--set", "uninstall.waitSeconds=0"]).await?;
    long_job(&scene, "busy").await?;
    ensure!(environment.uninstall(SYSTEM, "jobwright").await.is_err(), "a Job is running");
    // Helm does not upgrade a release whose uninstallation has failed. docs/uninstalling.md describes the rollback.
    environment.helm(&["rollback", "jobwright", "1", "--namespace", SYSTEM])?;
    environment.install_ready(&["--set", "uninstall.removeFinalizers=true,uninstall.waitSeconds=0"]).await?;
    environment.uninstall(SYSTEM, "jobwright").await?;
    assert_eq!(left_of_check(&environment).await?, "");
    scene.nothing_tracked().await?;
    assert_eq!(scene.pods_of("busy").await?.len(), 2, "the pods keep running");
    delete(&scene, "busy").await?;
    environment.cluster.delete_namespace(&scene.namespace).await
}

#[tokio::test(flavor = "multi_thread")]
async fn uninstall_in_place_of_the_built_in_controllers_leaves_nothing_that_hangs() -> Result<()> {
    let Some(environment) = Environment::exclusive().await? else { return Ok(()) };
    let Some(control) = &environment.cluster.control else {
        testbed::skipped!("the test cannot switch the built-in controllers of a given cluster");
        return Ok(());
    };
    let scene = environment.user("uninstall-all").await?;
    control.switch_builtin_job_controllers(false).await?;
    let values = file("deploy/chart/values-claim-all.yaml");
    let flags = "uninstall.removeFinalizers=true,uninstall.claim=all,uninstall.waitSeconds=0";
    environment.install_ready(&["--values", &values, "--set", flags]).await?;
    long_job(&scene, "ours").await?;
    scene.create("plain", json!({"managedBy": null, "completions": 3})).await?;
    // After the uninstallation, no Job controller could run the check as a Job or remove finalizers of pods.
    environment.uninstall(SYSTEM, "jobwright").await?;
    assert_eq!(left_of_check(&environment).await?, "");
    tokio::time::sleep(Duration::from_secs(1)).await;
    scene.nothing_tracked().await?;
    for job in ["ours", "plain"] {
        delete(&scene, job).await?;
    }
    control.switch_builtin_job_controllers(true).await?;
    environment.cluster.delete_namespace(&scene.namespace).await
}
