//! Differential test of CronJobs: the built-in CronJob controller and Jobwright, each on its own control plane, run the
//! same CronJobs over two minutes and must have the same Jobs, statuses and events.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Event;
use kube::api::{Patch, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use testbed::permissions::Permissions;
use testbed::{Cluster, Options, control_plane};

const NAMESPACE: &str = "default";

/// Returns the CronJobs with their names, and whether their last run was days ago.
fn cron_jobs() -> Vec<(&'static str, Value, bool)> {
    let never = json!({"suspend": true});
    let immediately_complete = json!({"completions": 0});
    vec![
        ("allow", json!({"concurrencyPolicy": "Allow", "job": never}), false),
        ("forbid", json!({"concurrencyPolicy": "Forbid", "job": never}), false),
        ("replace", json!({"concurrencyPolicy": "Replace", "job": never}), false),
        ("zoned", json!({"timeZone": "Asia/Kolkata", "job": never}), false),
        ("history", json!({"successfulJobsHistoryLimit": 1, "job": immediately_complete}), false),
        ("no-history", json!({"successfulJobsHistoryLimit": 0, "job": immediately_complete}), false),
        ("suspended", json!({"suspend": true, "job": never}), true),
        ("behind", json!({"schedule": "0 0 * * *", "timeZone": "UTC", "job": never}), true),
        ("far-behind", json!({"job": never}), true),
        (
            "too-late",
            json!({"schedule": "0 0 * * *", "timeZone": "UTC", "startingDeadlineSeconds": 60, "job": never}),
            true,
        ),
        ("in-time", json!({"startingDeadlineSeconds": 30, "job": immediately_complete}), false),
        ("impossible", json!({"schedule": "0 0 31 2 *", "job": never}), true),
    ]
}

fn manifest(name: &str, spec: &Value) -> Result<CronJob> {
    let mut job = json!({"template": {
        "metadata": {"labels": {"app": name}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "i"}]},
    }});
    let mut cron_job = json!({"schedule": "* * * * *"});
    for (key, value) in spec.as_object().into_iter().flatten() {
        if key == "job" {
            for (key, value) in value.as_object().into_iter().flatten() {
                job[key] = value.clone();
            }
        } else {
            cron_job[key] = value.clone();
        }
    }
    cron_job["jobTemplate"] = json!({"metadata": {"labels": {"of": name}, "annotations": {"note": name}}, "spec": job});
    Ok(serde_json::from_value(json!({"metadata": {"name": name}, "spec": cron_job}))?)
}

/// Returns everything that a user can see, by the name of the CronJob. Names and annotations that contain times are
/// compared too, because both sides run at the same times.
async fn seen(client: &Client) -> Result<BTreeMap<String, Value>> {
    let cron_jobs: Api<CronJob> = Api::namespaced(client.clone(), NAMESPACE);
    let jobs: Api<Job> = Api::namespaced(client.clone(), NAMESPACE);
    let events: Api<Event> = Api::namespaced(client.clone(), NAMESPACE);
    let all_jobs = jobs.list(&Default::default()).await?.items;
    let all_events = events.list(&Default::default()).await?.items;
    let mut seen = BTreeMap::new();
    for cron_job in cron_jobs.list(&Default::default()).await?.items {
        let name = cron_job.name_any();
        let status = cron_job.status.clone().unwrap_or_default();
        let active: BTreeSet<_> = status
            .active
            .iter()
            .flatten()
            .map(|active| json!([active.api_version, active.kind, active.namespace, active.name,]).to_string())
            .collect();
        let of = |job: &&Job| job.labels().get("of") == Some(&name);
        let jobs: BTreeMap<_, _> = all_jobs
            .iter()
            .filter(of)
            .map(|job| {
                let owner = &job.owner_references()[0];
                let owner =
                    json!([owner.api_version, owner.kind, owner.name, owner.controller, owner.block_owner_deletion]);
                (job.name_any(), json!([job.labels(), job.annotations(), owner, job.finalizers()]))
            })
            .collect();
        let about = |event: &&Event| event.involved_object.name.as_deref() == Some(&name);
        let events: BTreeSet<_> = all_events
            .iter()
            .filter(about)
            .map(|event| json!([event.type_, event.reason, event.message]).to_string())
            .collect();
        seen.insert(
            name,
            json!({
                "active": active, "lastScheduleTime": status.last_schedule_time,
                "succeeded": status.last_successful_time.is_some(), "jobs": jobs, "events": events,
            }),
        );
    }
    Ok(seen)
}

/// Removes MissingJob events for Jobs that the built-in controller itself has deleted. Whether it records them depends
/// on which of its caches is updated first (docs/differences.md). Jobwright never records them, so its events stay
/// unchanged.
fn remove_missing_job_events(builtin: &mut Value) {
    let Some(events) = builtin["events"].as_array_mut() else { return };
    let recorded: BTreeSet<String> = events.iter().filter_map(|event| event.as_str().map(str::to_owned)).collect();
    events.retain(|event| {
        let missing =
            event.as_str().and_then(|event| event.strip_prefix(r#"["Normal","MissingJob","Active job went missing: "#));
        missing.is_none_or(|job| !recorded.contains(&format!(r#"["Normal","SuccessfulDelete","Deleted job {job}"#)))
    });
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobwright_and_the_builtin_cronjob_controller_give_equal_results() -> Result<()> {
    if std::env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty()) {
        testbed::skipped!("this test starts its own control planes, but KUBECONFIG is set; unset it");
        return Ok(());
    }
    let options = |builtin| {
        let control_plane = control_plane::Options { builtin_job_controllers: builtin, ..Default::default() };
        Options { control_plane, ..Options::default() }
    };
    let (with, without) = (options(true), options(false));
    let (builtin, ours) = tokio::join!(Cluster::start(&with), Cluster::start(&without));
    let (builtin, ours) = (builtin?, ours?);
    let home = tempfile::tempdir()?;
    let binary = Path::new(env!("CARGO_BIN_EXE_jobwright"));
    let flags = ["--claim=all".to_owned()];
    let permissions = Permissions { namespace: None, claim: "all".to_owned(), logs: false, gangs: false };
    let kubeconfig = permissions.grant(&ours, "jobwright", home.path(), |_| {}).await?;
    let mut jobwright = testbed::jobwright::start(binary, home.path(), &kubeconfig, &flags, "info,kube=error").await?;
    // The setup takes a few seconds and has to be complete before the next minute begins.
    if now().rem_euclid(60) > 40 {
        tokio::time::sleep(Duration::from_secs((61 - now().rem_euclid(60)).unsigned_abs())).await;
    }
    let clients = [builtin.client().await?, ours.client().await?];
    for client in &clients {
        let api: Api<CronJob> = Api::namespaced(client.clone(), NAMESPACE);
        for (name, spec, behind) in cron_jobs() {
            api.create(&PostParams::default(), &manifest(name, &spec)?).await.with_context(|| name.to_owned())?;
            if behind {
                let midnight = Timestamp::from_second(now().div_euclid(86_400) * 86_400 - 3 * 86_400)?;
                let status = json!({"status": {"lastScheduleTime": midnight.to_string()}});
                api.patch_status(name, &Default::default(), &Patch::Merge(status)).await?;
            }
        }
    }
    let second_minute = (now().div_euclid(60) + 2) * 60;
    tokio::time::sleep(Duration::from_secs((second_minute + 15 - now()).unsigned_abs())).await;
    let (mut left, right) = (seen(&clients[0]).await?, seen(&clients[1]).await?);
    left.values_mut().for_each(remove_missing_job_events);
    jobwright.check()?;
    assert_eq!(left.len(), cron_jobs().len(), "CronJobs are missing");
    let mut different = Vec::new();
    for (name, builtin) in &left {
        let ours = right.get(name).unwrap_or(&Value::Null);
        if builtin != ours {
            different.push(format!("{name}:\n  built-in {builtin}\n  ours     {ours}"));
        }
    }
    println!("cron differential: {} CronJobs, {} differences", left.len(), different.len());
    assert!(different.is_empty(), "{}\n{}", different.join("\n"), jobwright.log_tail(20));
    Ok(())
}
