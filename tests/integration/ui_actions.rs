//! Each action of the console on a real API server: the confirmation sends the request that was shown, and the object
//! changes as it should.

use anyhow::{Context, Result};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::harness::*;
use crate::job_schedule_conditions::{api, apply};
use crate::ui::{Console, confirmation, tenant};

/// Opens the page of an action, confirms the action, and returns the address that the browser opens then.
async fn act(console: &Console, path: &str) -> Result<String> {
    let page = console.confirm(path).await?;
    assert_eq!(page.status, 303, "{path}: {}", page.body);
    let location = page.head.lines().find_map(|line| line.strip_prefix("location: ")).context("no address")?;
    Ok(location.to_owned())
}

/// Returns the name of the Job that an address shows.
fn job_of(location: &str) -> Result<String> {
    let path = location.split('?').next().unwrap_or_default();
    Ok(path.rsplit('/').next().context("no name")?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_on_a_job_change_it() -> Result<()> {
    let scene = Scene::new("ui-actions").await?;
    let Some(control) = &scene.cluster.control else {
        testbed::skipped!("the user of a given cluster may have no kubeconfig file");
        return Ok(());
    };
    let console = Console::start(&control.kubeconfig, &["-n", &scene.namespace]).await?;
    let path = |name: &str, action: &str| format!("/jobs/{}/{name}/{action}", scene.namespace);
    scene.create("runs", json!({})).await?;
    let location = act(&console, &path("runs", "suspend")).await?;
    assert_eq!(location, format!("/jobs/{}/runs?done=suspend", scene.namespace));
    scene.condition("runs", "Suspended").await?;
    let page = console.get(&location).await?.body;
    assert!(page.contains("The object was suspended.") && page.contains("/runs/resume\""), "{page}");
    act(&console, &path("runs", "resume")).await?;
    assert_eq!(scene.jobs.get("runs").await?.spec.and_then(|spec| spec.suspend), Some(false));
    act(&console, &path("runs", "priority?priority=7")).await?;
    assert_eq!(scene.jobs.get("runs").await?.annotations()["jobwright.dev/priority"], "7");
    let stale = confirmation(&console.get(&path("runs", "delete")).await?.body)?;
    let location = act(&console, &path("runs", "delete")).await?;
    assert!(console.get(&location).await?.body.contains("The Job was deleted."), "{location}");
    until("the deletion", || async {
        Ok(if scene.jobs.get_opt("runs").await?.is_none() { Ok(()) } else { Err("it exists".to_owned()) })
    })
    .await?;
    // Another Job has the name now.
    scene.create("runs", json!({})).await?;
    let page = console.post(&path("runs", "delete"), &stale).await?;
    assert!(page.status == 409 && page.body.contains("job/runs has changed since"), "{}", page.body);
    assert!(scene.jobs.get("runs").await?.metadata.deletion_timestamp.is_none());

    let indexed = json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimit": 0});
    scene.create("fails", indexed).await?;
    let pods = scene.active("fails", 2).await?;
    scene.kubelet.fail(&pods[0], 3).await?;
    scene.condition("fails", "Failed").await?;
    for (action, expected) in [("rerun", None), ("rerun-failed-indexes", Some("jobwright.dev/indexes"))] {
        let name = job_of(&act(&console, &path("fails", action)).await?)?;
        let made = scene.jobs.get(&name).await?;
        assert_eq!(made.annotations()["jobwright.dev/rerun-of"], "fails");
        assert!(expected.is_none_or(|key| made.annotations().contains_key(key)), "{:?}", made.annotations());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_on_a_schedule_change_it() -> Result<()> {
    let scene = Scene::new("ui-schedule").await?;
    let Some(control) = &scene.cluster.control else {
        testbed::skipped!("the user of a given cluster may have no kubeconfig file");
        return Ok(());
    };
    let console = Console::start(&control.kubeconfig, &["-n", &scene.namespace]).await?;
    let path = |kind: &str, action: &str| format!("/schedules/{kind}/{}/nightly/{action}", scene.namespace);
    let template = json!({"spec": {"template": {"spec": {"restartPolicy": "Never",
        "containers": [{"name": "main", "image": "example.com/a:1"}]}}}});
    let cron_job: CronJob = serde_json::from_value(json!({"metadata": {"name": "nightly"},
        "spec": {"schedule": "0 0 1 1 *", "jobTemplate": template}}))?;
    let cron_jobs: Api<CronJob> = Api::namespaced(scene.client.clone(), &scene.namespace);
    cron_jobs.create(&PostParams::default(), &cron_job).await?;
    let spec = json!({"schedules": ["0 * * * *"], "parameters": [{"name": "DAY", "default": "x"}]});
    apply(&scene, "nightly", &spec).await?;
    for kind in ["cronjob", "jobschedule"] {
        let trigger = if kind == "cronjob" { "trigger" } else { "trigger?p.DAY=a%20b" };
        let name = job_of(&act(&console, &path(kind, trigger)).await?)?;
        let made: Job = scene.jobs.get(&name).await?;
        assert!(name.starts_with("nightly-manual-") && made.owner_references()[0].name == "nightly", "{name}");
        if kind == "jobschedule" {
            assert_eq!(made.annotations()["jobwright.dev/parameters"], r#"{"DAY":"a b"}"#);
        }
        for (action, suspended) in [("suspend", true), ("resume", false)] {
            act(&console, &path(kind, action)).await?;
            let stored = match kind {
                "cronjob" => cron_jobs.get("nightly").await?.spec.suspend == Some(true),
                _ => schedule(&scene).await?["spec"]["suspend"] == true,
            };
            assert_eq!(stored, suspended, "{kind} {action}");
        }
    }
    let backfill = "backfill?from=2026-01-01&to=2026-01-01T05:30&order=newest-first&maxActive=2&p.DAY=1";
    act(&console, &path("jobschedule", backfill)).await?;
    let stored = schedule(&scene).await?["spec"]["backfill"].clone();
    assert_eq!((&stored["from"], &stored["order"]), (&json!("2026-01-01T00:00:00Z"), &json!("NewestFirst")));
    assert_eq!((&stored["maxActive"], &stored["parameters"][0]["value"]), (&json!(2), &json!("1")));
    Ok(())
}

async fn schedule(scene: &Scene) -> Result<Value> {
    Ok(serde_json::to_value(api(scene).get("nightly").await?)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn user_who_may_only_read_gets_the_refusal_of_the_api_server() -> Result<()> {
    let scene = Scene::without_controller("ui-refused", &[]).await?;
    let dir = tempfile::tempdir()?;
    let Some(kubeconfig) = tenant(&scene, dir.path()).await? else { return Ok(()) };
    let Some(control) = &scene.cluster.control else { return Ok(()) };
    scene.create("own", json!({})).await?;
    let path = format!("/jobs/{}/own", scene.namespace);
    let reader = Console::start(&kubeconfig, &["-n", &scene.namespace]).await?;
    let page = reader.get(&path).await?.body;
    assert!(page.contains("You are not allowed to patch jobs.batch") && !page.contains("/own/suspend\""), "{page}");
    // The same request as that of a user who is allowed, so that its hash is right.
    let admin = Console::start(&control.kubeconfig, &["-n", &scene.namespace]).await?;
    for action in ["suspend", "delete", "priority?priority=3"] {
        let form = confirmation(&admin.get(&format!("{path}/{action}")).await?.body)?;
        let target = format!("{path}/{}", action.split('?').next().unwrap_or_default());
        let page = reader.post(&target, &form).await?;
        assert!(page.status == 403 && page.body.contains("is forbidden: User"), "{}", page.body);
        assert!(page.body.contains("Nothing was changed."), "{}", page.body);
    }
    let read_only = Console::start(&control.kubeconfig, &["-n", &scene.namespace, "--read-only"]).await?;
    assert!(!read_only.get(&path).await?.body.contains("/own/suspend"));
    let form = confirmation(&admin.get(&format!("{path}/suspend")).await?.body)?;
    let page = read_only.post(&format!("{path}/suspend"), &form).await?;
    assert!(page.status == 403 && page.body.contains("--read-only"), "{}", page.body);
    let jobs = scene.jobs.list(&ListParams::default()).await?.items;
    assert!(jobs.len() == 1 && jobs[0].spec.as_ref().is_some_and(|spec| spec.suspend != Some(true)), "{jobs:?}");
    Ok(())
}
