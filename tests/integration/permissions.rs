//! The permissions that the chart grants: the controller checks all of them at start, uses all of them, and uses no
//! others.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use jobwright::limit::types::JobLimit;
use jobwright::policy::types::JobPolicy;
use jobwright::schedule::calendar::types::Calendar;
use jobwright::schedule::job_schedule::types::JobSchedule;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::permissions::Permissions;

use crate::harness::*;
use crate::metrics::get;

/// Verb and resource of a permission.
type Permission = (String, String);

fn permissions(namespace: &str) -> Permissions {
    Permissions { namespace: Some(namespace.to_owned()), claim: "all".to_owned(), logs: false, gangs: false }
}

/// Returns verb and resource of every permission that the chart grants.
fn granted(namespace: &str) -> Result<BTreeSet<Permission>> {
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

/// Removes one permission from a rule.
fn without(rule: &mut PolicyRule, (verb, resource): &Permission) {
    if rule.resources.iter().flatten().any(|is| is == resource) {
        rule.verbs.retain(|is| is != verb);
        // A rule must not be without verbs. The verb `use` grants nothing on these resources.
        rule.verbs.push("use".to_owned());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_permission_is_named() -> Result<()> {
    let scene = Scene::without_controller("permissions", &["--claim=all"]).await?;
    if scene.cluster.control.is_none() {
        testbed::skipped!("a given cluster issues no certificates for test users");
        return Ok(());
    }
    let all = granted(&scene.namespace)?;
    assert!(all.len() > 20, "{all:?}");
    for (number, permission) in all.iter().enumerate() {
        let dir = tempfile::tempdir()?;
        let user = format!("lacking-{number}-{}", scene.namespace);
        let lacking = |rule: &mut PolicyRule| without(rule, permission);
        let kubeconfig = permissions(&scene.namespace).grant(scene.cluster, &user, dir.path(), lacking).await?;
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_jobwright"))
            .args(["run", "--leader-elect=true"])
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .args(&scene.flags)
            .output()
            .await?;
        let text = String::from_utf8_lossy(&output.stderr);
        let (verb, resource) = permission;
        assert!(
            !output.status.success() && text.contains(&format!("missing permissions: {verb} {resource} ")),
            "{text}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_granted_while_the_controller_waits_are_detected() -> Result<()> {
    let [port] = testbed::control_plane::free_ports()?;
    let scene = Scene::without_controller("granted", &[]).await?;
    let Some(control) = &scene.cluster.control else {
        testbed::skipped!("a given cluster issues no certificates for test users");
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
    until("readiness to name the missing permissions", || async {
        let (code, text) = ready().await.unwrap_or_default();
        let named = "; create, delete, get, list, patch, watch jobs in namespace";
        Ok(if code == 503 && text.contains(named) { Ok(()) } else { Err(format!("{code} {text}")) })
    })
    .await?;
    assert_eq!(get(port, "/livez").await?.0, 200);
    let permissions = Permissions {
        namespace: Some(scene.namespace.clone()),
        claim: "managed-by".to_owned(),
        logs: false,
        gangs: false,
    };
    permissions.grant(scene.cluster, &user, dir.path(), |_| {}).await?;
    until("the controller to be ready", || async {
        let (code, text) = ready().await.unwrap_or_default();
        Ok(if code == 200 { Ok(()) } else { Err(format!("{code} {text}")) })
    })
    .await?;
    scene.create("job", json!({})).await?;
    scene.active("job", 1).await?;
    process.check()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_granted_permission_is_used_and_no_other() -> Result<()> {
    let [port] = testbed::control_plane::free_ports()?;
    let listen = format!("--listen=127.0.0.1:{port}");
    let flags = ["--claim=all", "--leader-elect=true", "--leader-elect-retry-period=200ms", &listen];
    let mut scene = Scene::without_controller("used", &flags).await?;
    if scene.cluster.control.is_none() {
        testbed::skipped!("the built-in controllers of a given cluster can be on");
        return Ok(());
    }
    scene.start_controller().await?;
    // The many similar events are combined into one event, which the controller patches.
    scene.create("many", json!({"managedBy": null, "parallelism": 20, "completions": 20})).await?;
    let pods = scene.active("many", 20).await?;
    // The controller reads a pod from the API server after the pod has left the watch by losing its label.
    let unlabelled = json!({"metadata": {"labels": {"batch.kubernetes.io/controller-uid": null}}});
    scene.pods.patch(&pods[0], &PatchParams::default(), &Patch::Merge(unlabelled)).await?;
    scene.change("many", json!({"parallelism": 1})).await?;
    // The pods of a JobPolicy do not succeed before the controller acts on them.
    let _playing = scene.succeed_selected("!policy");
    // The controller reads a finished Job again before it deletes the Job after its TTL.
    scene.create("brief", json!({"managedBy": null, "ttlSecondsAfterFinished": 0})).await?;
    // The CronJob starts a Job. A Job that names it as owner and is not in its status makes the controller read the
    // CronJob again. A Job beyond the history limit is deleted.
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
    let mut unexpected: Job = job("unexpected", json!({"managedBy": null, "suspend": true}))?;
    unexpected.metadata.owner_references = Some(vec![serde_json::from_value(json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "name": "cron", "uid": cron_job.uid(), "controller": true,
    }))?]);
    scene.jobs.create(&PostParams::default(), &unexpected).await?;
    // The same holds for a JobSchedule.
    let schedules: Api<JobSchedule> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let schedule: JobSchedule = serde_json::from_value(json!({
        "apiVersion": "jobwright.dev/v1beta1", "kind": "JobSchedule", "metadata": {"name": "schedule"},
        "spec": {"schedules": ["0 0 1 1 *"], "jobTemplate": {"spec": template["spec"]}},
    }))?;
    let schedule = schedules.create(&PostParams::default(), &schedule).await?;
    let mut unexpected: Job = job("unexpected-too", json!({"managedBy": null, "suspend": true}))?;
    unexpected.metadata.owner_references = Some(vec![serde_json::from_value(json!({
        "apiVersion": "jobwright.dev/v1beta1", "kind": "JobSchedule", "name": "schedule", "uid": schedule.uid(), "controller": true,
    }))?]);
    scene.jobs.create(&PostParams::default(), &unexpected).await?;
    // The controller stores the status of a JobLimit.
    let limits: Api<JobLimit> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let limit = json!({
        "apiVersion": "jobwright.dev/v1beta1", "kind": "JobLimit", "metadata": {"name": "limit"},
        "spec": {"maxActiveJobs": 100},
    });
    limits.create(&PostParams::default(), &serde_json::from_value(limit)?).await?;
    // The same holds for a Calendar.
    let calendars: Api<Calendar> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let calendar = json!({
        "apiVersion": "jobwright.dev/v1beta1", "kind": "Calendar", "metadata": {"name": "calendar"},
        "spec": {"periods": [{"date": "12-25"}]},
    });
    calendars.create(&PostParams::default(), &serde_json::from_value(calendar)?).await?;
    // A JobPolicy sets a condition of a pod without a node, and suspends a Job.
    let policies: Api<JobPolicy> = Api::namespaced(scene.client.clone(), &scene.namespace);
    for (name, action) in [("retry", "RetryPod"), ("suspend", "Suspend")] {
        let policy = json!({
            "apiVersion": "jobwright.dev/v1beta1", "kind": "JobPolicy", "metadata": {"name": name},
            "spec": {
                "selector": {"matchLabels": {"policy": name}},
                "startDeadlines": {"other": {"seconds": 0, "action": action}},
            },
        });
        policies.create(&PostParams::default(), &serde_json::from_value(policy)?).await?;
        until("the policy to be known", || async {
            let known = policies.get(name).await?.status.is_some_and(|status| !status.conditions.is_empty());
            Ok(if known { Ok(()) } else { Err(String::new()) })
        })
        .await?;
        let labels = json!({"metadata": {"labels": {"policy": name}}});
        let mut governed = job(name, json!({"managedBy": null, "template": labels}))?;
        governed.metadata.labels = Some([("policy".to_owned(), name.to_owned())].into());
        scene.jobs.create(&PostParams::default(), &governed).await?;
    }
    // A foreign write changes the version of the Lease, so that its holder reads the Lease again.
    let leases: Api<k8s_openapi::api::coordination::v1::Lease> =
        Api::namespaced(scene.client.clone(), &scene.namespace);
    let touch = json!({"metadata": {"labels": {"touched": "true"}}});
    leases.patch("jobwright", &PatchParams::default(), &Patch::Merge(touch)).await?;

    let mut granted = granted(&scene.namespace)?;
    // An admission plugin that is off by default requires these permissions. No request shows them.
    granted.retain(|(_, resource)| !resource.ends_with("/finalizers"));
    // Only a replica that stands by watches the Lease. This test runs a leader only.
    let standing_by = [("list", "leases"), ("watch", "leases")].map(|(verb, resource)| (verb.into(), resource.into()));
    // The API server allows these requests to every authenticated user.
    let free = [("get", ""), ("create", "selfsubjectaccessreviews")];
    let wanted: BTreeSet<Permission> =
        granted.iter().filter(|permission| !standing_by.contains(permission)).cloned().collect();
    until("all permissions to be used", || async {
        let (_, text) = get(port, "/metrics").await?;
        let used = used(&text)?;
        let more: Vec<_> = used
            .iter()
            .filter(|permission| {
                !granted.contains(*permission) && !free.contains(&(permission.0.as_str(), permission.1.as_str()))
            })
            .collect();
        assert!(more.is_empty(), "used and not granted: {more:?}");
        let unused: Vec<_> = wanted.iter().filter(|permission| !used.contains(*permission)).collect();
        Ok(if unused.is_empty() { Ok(()) } else { Err(format!("unused: {unused:?}")) })
    })
    .await?;
    cron_jobs.delete("cron", &DeleteParams::default()).await?;
    Ok(())
}

/// Returns verb and resource of every request that the controller has sent.
fn used(metrics: &str) -> Result<BTreeSet<Permission>> {
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
