//! The permissions that the chart grants: all of them are asked for, all of them are used, and no other is.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use jobwright::schedule::job_schedule::types::JobSchedule;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::permissions::Permissions;

use crate::harness::*;
use crate::metrics::get;

type Right = (String, String);

fn permissions(namespace: &str) -> Permissions {
    Permissions { namespace: Some(namespace.to_owned()), claim: "all".to_owned(), logs: false }
}

/// Verb and resource of every right that is granted.
fn granted(namespace: &str) -> Result<BTreeSet<Right>> {
    let mut granted = BTreeSet::new();
    for object in permissions(namespace).objects()?.into_iter().filter(|object| object["kind"] == "Role") {
        let role: Role = serde_json::from_value(object)?;
        for rule in role.rules.into_iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                granted.extend(rule.verbs.iter().map(|verb| (verb.clone(), resource.clone())));
            }
        }
    }
    Ok(granted)
}

/// Takes one right out of a rule.
fn without(rule: &mut PolicyRule, (verb, resource): &Right) {
    if rule.resources.iter().flatten().any(|is| is == resource) {
        rule.verbs.retain(|is| is != verb);
        // A rule has to name one; this one is for nothing here.
        rule.verbs.push("use".to_owned());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_that_is_taken_away_is_named() -> Result<()> {
    let scene = Scene::without_controller("rights", &["--claim=all"]).await?;
    if scene.cluster.control.is_none() {
        eprintln!("skipped: a given cluster issues no certificates to us");
        return Ok(());
    }
    let all = granted(&scene.namespace)?;
    assert!(all.len() > 20, "{all:?}");
    for (number, right) in all.iter().enumerate() {
        let dir = tempfile::tempdir()?;
        let user = format!("lacking-{number}-{}", scene.namespace);
        let lacking = |rule: &mut PolicyRule| without(rule, right);
        let kubeconfig = permissions(&scene.namespace).grant(scene.cluster, &user, dir.path(), lacking).await?;
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_jobwright"))
            .args(["run", "--leader-elect=true"])
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .args(&scene.flags)
            .output()
            .await?;
        let text = String::from_utf8_lossy(&output.stderr);
        let (verb, resource) = right;
        assert!(
            !output.status.success() && text.contains(&format!("missing permissions: {verb} {resource} ")),
            "{text}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_granted_while_it_waits_is_found() -> Result<()> {
    let [port] = testbed::control_plane::free_ports()?;
    let scene = Scene::without_controller("granted", &[]).await?;
    let Some(control) = &scene.cluster.control else {
        eprintln!("skipped: a given cluster issues no certificates to us");
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("late.kubeconfig");
    let user = format!("late-{}", scene.namespace);
    control.authority.kubeconfig(&path, &control.server, &user, &[])?;
    let mut args =
        vec!["run".to_owned(), format!("--kubeconfig={}", path.display()), format!("--listen=127.0.0.1:{port}")];
    args.extend(scene.flags.iter().cloned());
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_jobwright"));
    let mut process = testbed::process::Process::start("jobwright", dir.path(), binary, &args)?;
    let ready = async || -> Result<(u16, String)> { get(port, "/readyz").await };
    until("it to say what is missing", || async {
        let (code, text) = ready().await.unwrap_or_default();
        let named = "; create, delete, get, list, watch jobs in namespace";
        Ok(if code == 503 && text.contains(named) { Ok(()) } else { Err(format!("{code} {text}")) })
    })
    .await?;
    assert_eq!(get(port, "/livez").await?.0, 200);
    let permissions =
        Permissions { namespace: Some(scene.namespace.clone()), claim: "managed-by".to_owned(), logs: false };
    permissions.grant(scene.cluster, &user, dir.path(), |_| {}).await?;
    until("it to be ready", || async {
        let (code, text) = ready().await.unwrap_or_default();
        Ok(if code == 200 { Ok(()) } else { Err(format!("{code} {text}")) })
    })
    .await?;
    scene.create("job", json!({})).await?;
    scene.active("job", 1).await?;
    process.check()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_right_that_is_granted_is_used_and_no_other() -> Result<()> {
    let [port] = testbed::control_plane::free_ports()?;
    let listen = format!("--listen=127.0.0.1:{port}");
    let flags = ["--claim=all", "--leader-elect=true", "--leader-elect-retry-period=200ms", &listen];
    let mut scene = Scene::without_controller("used", &flags).await?;
    if scene.cluster.control.is_none() {
        eprintln!("skipped: in a given cluster the built-in controllers may be on");
        return Ok(());
    }
    scene.start_controller().await?;
    // So many similar events that they are combined, which patches one.
    scene.create("many", json!({"managedBy": null, "parallelism": 20, "completions": 20})).await?;
    let pods = scene.active("many", 20).await?;
    // A pod that loses what it is watched by is read live.
    let unlabelled = json!({"metadata": {"labels": {"batch.kubernetes.io/controller-uid": null}}});
    scene.pods.patch(&pods[0], &PatchParams::default(), &Patch::Merge(unlabelled)).await?;
    scene.change("many", json!({"parallelism": 1})).await?;
    let _playing = scene.succeed_all();
    // A finished Job is read once more before its TTL deletes it.
    scene.create("brief", json!({"managedBy": null, "ttlSecondsAfterFinished": 0})).await?;
    // A CronJob makes a Job; one that it did not make has it read again; one too many is deleted.
    let cron_jobs: Api<CronJob> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let template = serde_json::to_value(job("x", json!({"managedBy": null}))?)?;
    let cron_job: CronJob = serde_json::from_value(json!({
        "metadata": {"name": "cron"},
        "spec": {
            "schedule": "0 0 1 1 *", "successfulJobsHistoryLimit": 0,
            "jobTemplate": {"spec": template["spec"]},
        },
    }))?;
    let cron_job = cron_jobs.create(&PostParams::default(), &cron_job).await?;
    let last = json!({"status": {"lastScheduleTime": "2020-06-01T00:00:00Z"}});
    cron_jobs.patch_status("cron", &PatchParams::default(), &Patch::Merge(last)).await?;
    let mut stranger: Job = job("stranger", json!({"managedBy": null, "suspend": true}))?;
    stranger.metadata.owner_references = Some(vec![serde_json::from_value(json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "name": "cron", "uid": cron_job.uid(), "controller": true,
    }))?]);
    scene.jobs.create(&PostParams::default(), &stranger).await?;
    // A JobSchedule likewise.
    let schedules: Api<JobSchedule> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let schedule: JobSchedule = serde_json::from_value(json!({
        "apiVersion": "jobwright.dev/v1beta1", "kind": "JobSchedule", "metadata": {"name": "schedule"},
        "spec": {"schedules": ["0 0 1 1 *"], "jobTemplate": {"spec": template["spec"]}},
    }))?;
    let schedule = schedules.create(&PostParams::default(), &schedule).await?;
    let mut stranger: Job = job("another-stranger", json!({"managedBy": null, "suspend": true}))?;
    stranger.metadata.owner_references = Some(vec![serde_json::from_value(json!({
        "apiVersion": "jobwright.dev/v1beta1", "kind": "JobSchedule", "name": "schedule", "uid": schedule.uid(), "controller": true,
    }))?]);
    scene.jobs.create(&PostParams::default(), &stranger).await?;
    // Somebody takes the Lease's version from under its holder, who reads it again.
    let leases: Api<k8s_openapi::api::coordination::v1::Lease> =
        Api::namespaced(scene.client.clone(), &scene.namespace);
    let touch = json!({"metadata": {"labels": {"touched": "true"}}});
    leases.patch("jobwright", &PatchParams::default(), &Patch::Merge(touch)).await?;

    let mut granted = granted(&scene.namespace)?;
    // Asked for by an admission plugin that is off by default; no request shows it.
    granted.retain(|(_, resource)| !resource.ends_with("/finalizers"));
    // A leader has no reason to watch its own Lease; one that stands by does.
    let standing_by = [("list", "leases"), ("watch", "leases")].map(|(verb, resource)| (verb.into(), resource.into()));
    // Beside what everybody who is known to the API server may do.
    let free = [("get", ""), ("create", "selfsubjectaccessreviews")];
    let wanted: BTreeSet<Right> = granted.iter().filter(|right| !standing_by.contains(right)).cloned().collect();
    until("all rights to be used", || async {
        let (_, text) = get(port, "/metrics").await?;
        let used = used(&text)?;
        let more: Vec<_> = used
            .iter()
            .filter(|right| !granted.contains(*right) && !free.contains(&(right.0.as_str(), right.1.as_str())))
            .collect();
        assert!(more.is_empty(), "used and not granted: {more:?}");
        let unused: Vec<_> = wanted.iter().filter(|right| !used.contains(*right)).collect();
        Ok(if unused.is_empty() { Ok(()) } else { Err(format!("unused: {unused:?}")) })
    })
    .await?;
    cron_jobs.delete("cron", &DeleteParams::default()).await?;
    Ok(())
}

/// Verb and resource of every request that was made.
fn used(metrics: &str) -> Result<BTreeSet<Right>> {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("jobwright_api_requests_total{"));
    lines
        .map(|line| {
            let label = |name: &str| {
                let text = line.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
                text.map(str::to_owned).with_context(|| format!("no {name} in {line}"))
            };
            Ok((label("verb")?, label("resource")?))
        })
        .collect()
}
