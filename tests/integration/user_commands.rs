//! The subcommands with which a user works on Jobs: `wait`, `rerun`, `suspend`, `resume`, `history`, `status` and the
//! list of `explain`, on a real API server.

use std::process::{Output, Stdio};

use anyhow::{Context, Result, ensure};
use jobwright::limit::types::JobLimit;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::harness::*;

/// Result of a command: exit code, standard output, and standard error.
pub type Ran = (Option<i32>, String, String);

fn ran(output: Output) -> Result<Ran> {
    Ok((output.status.code(), String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
}

/// Runs a command in the scene's namespace.
pub async fn run(scene: &Scene, args: &[&str]) -> Result<Ran> {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_jobwright"));
    command.arg(format!("--namespace={}", scene.namespace));
    command.arg(format!("--kubeconfig={}", scene.cluster.kubeconfig.display())).args(args).stdin(Stdio::null());
    ran(command.output().await?)
}

/// Runs a command that must have this exit code, and returns its standard output.
pub async fn expect(scene: &Scene, code: i32, args: &[&str]) -> Result<String> {
    let (found, out, error) = run(scene, args).await?;
    ensure!(found == Some(code), "{args:?}: exit code {found:?}\n{out}\n{error}");
    Ok(out)
}

pub async fn fail_one(scene: &Scene, job: &str, code: i32) -> Result<()> {
    let pod = scene.active(job, 1).await?.remove(0);
    scene.kubelet.fail(&pod, code).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_returns_the_outcome_of_jobs() -> Result<()> {
    let scene = Scene::new("wait").await?;
    scene.create("good", json!({})).await?;
    scene.create("bad", json!({"backoffLimit": 0})).await?;
    let args = ["wait", "job/good", "jobs.batch/bad"];
    let ends = async {
        let pod = scene.active("good", 1).await?.remove(0);
        scene.kubelet.succeed(&pod).await?;
        fail_one(&scene, "bad", 3).await
    };
    let (found, ended) = tokio::join!(run(&scene, &args), ends);
    ended?;
    let (code, out, error) = found?;
    assert_eq!(code, Some(1), "{out}{error}");
    assert!(out.contains("job/good complete after ") && out.contains("job/bad failed after "), "{out}");
    assert!(out.contains("BackoffLimitExceeded: "), "{out}");
    assert!(expect(&scene, 0, &["wait", "good"]).await?.contains("job/good complete"));

    let labels = json!({"metadata": {"labels": {"app": "etl"}}});
    scene.jobs.patch("good", &PatchParams::default(), &Patch::Merge(&labels)).await?;
    assert!(expect(&scene, 0, &["wait", "-l", "app=etl"]).await?.contains("job/good complete"));
    let (code, _, error) = run(&scene, &["wait", "-l", "app=other"]).await?;
    assert!(code == Some(2) && error.contains("no Jobs match in namespace"), "{error}");
    let (code, _, error) = run(&scene, &["wait", "job/missing"]).await?;
    assert!(code == Some(2) && error.contains("cannot read job/missing"), "{error}");
    let (code, _, error) = run(&scene, &["wait"]).await?;
    assert!(code == Some(2) && error.contains("no Jobs are selected"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_reports_what_blocks_a_job_and_ends_at_the_timeout() -> Result<()> {
    let scene = Scene::new("waits").await?;
    scene.create("stuck", json!({})).await?;
    let pod = scene.active("stuck", 1).await?.remove(0);
    let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling\nimage"}});
    let status =
        json!([{"name": "main", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": waiting}]);
    scene.kubelet.patch(&pod, json!({"containerStatuses": status})).await?;
    let (code, out, error) = run(&scene, &["wait", "job/stuck", "--timeout=3s"]).await?;
    assert_eq!(code, Some(124), "{out}{error}");
    let cause = format!("job/stuck is stuck: Pod {pod}: container main is in ImagePullBackOff: Back-off pulling image");
    assert!(out.contains(&cause), "{out}");
    assert_eq!(error, "jobwright: the timeout has passed; not finished: job/stuck\n");
    let (code, out, _) = run(&scene, &["wait", "job/stuck", "--timeout=1500ms", "--quiet"]).await?;
    assert_eq!((code, out.as_str()), (Some(124), ""));

    let deleted = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        scene.jobs.delete("stuck", &kube::api::DeleteParams::background()).await
    };
    let (found, deleted) = tokio::join!(run(&scene, &["wait", "job/stuck", "--quiet"]), deleted);
    deleted?;
    let (code, out, error) = found?;
    assert_eq!((code, out.as_str()), (Some(2), "job/stuck was deleted before it finished\n"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rerun_repeats_a_finished_job_with_changes() -> Result<()> {
    let scene = Scene::new("rerun").await?;
    scene.create("etl", json!({"backoffLimit": 0, "completionMode": "Indexed", "completions": 1})).await?;
    let (code, _, error) = run(&scene, &["rerun", "job/etl"]).await?;
    assert!(code == Some(2) && error.contains("cannot run job/etl again: the Job is not finished"), "{error}");
    fail_one(&scene, "etl", 3).await?;
    scene.condition("etl", "Failed").await?;

    let printed = expect(&scene, 0, &["rerun", "etl", "--name=mine", "--dry-run=client", "-o", "json"]).await?;
    let printed: Value = serde_json::from_str(&printed)?;
    assert_eq!(printed["metadata"]["name"], "mine");
    assert!(printed["status"].is_null() && printed["spec"]["selector"].is_null(), "{printed}");
    let checked = expect(&scene, 0, &["rerun", "etl", "--name=mine", "--dry-run=server"]).await?;
    assert_eq!(checked, "job.batch/mine created (server dry run)\n");
    assert!(scene.jobs.get_opt("mine").await?.is_none(), "a dry run stores nothing");

    let args =
        ["rerun", "job.batch/etl", "--image=busybox:1.37", "--env=MODE=fast", "-o", "name", "--", "sh", "-c", "true"];
    let name = expect(&scene, 0, &args).await?;
    let name = name.trim().strip_prefix("job.batch/").context("no name")?.to_owned();
    assert!(name.starts_with("etl-rerun-"), "{name}");
    let (old, new) = (scene.jobs.get("etl").await?, scene.jobs.get(&name).await?);
    assert_eq!(new.annotations()["jobwright.dev/rerun-of"], "etl");
    assert_eq!(Some(&new.annotations()["jobwright.dev/rerun-of-uid"]), old.uid().as_ref());
    assert!(!new.annotations().contains_key("jobwright.dev/failure"), "the failure belongs to the old Job");
    let container = new.spec.context("no spec")?.template.spec.context("no pod spec")?.containers.remove(0);
    assert_eq!(container.image.as_deref(), Some("busybox:1.37"));
    assert_eq!(container.command, Some(["sh", "-c", "true"].map(str::to_owned).to_vec()));
    assert_eq!(container.env.context("no variables")?[0].value.as_deref(), Some("fast"));
    let pod = scene.active(&name, 1).await?.remove(0);
    scene.kubelet.succeed(&pod).await?;
    scene.condition(&name, "Complete").await?;

    let playing = scene.succeed_all();
    let out = expect(&scene, 0, &["rerun", &name, "--watch"]).await?;
    drop(playing);
    assert!(out.contains("job.batch/etl-rerun-") && out.contains(" complete after "), "{out}");

    let history = expect(&scene, 0, &["history", "job/etl"]).await?;
    assert_eq!(history.lines().count(), 4, "{history}");
    assert!(history.contains(&format!("Rerun of {name}")) && history.contains("Rerun of etl"), "{history}");
    let (code, _, error) = run(&scene, &["rerun", "etl", "--container=side", "--env=A=1"]).await?;
    assert!(code == Some(2) && error.contains("there is no container \"side\"; the containers are main"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rerun_of_the_failed_indexes_completes_the_job() -> Result<()> {
    let scene = Scene::new("rerun-indexes").await?;
    let spec = json!({
        "completionMode": "Indexed", "completions": 4, "parallelism": 4, "backoffLimitPerIndex": 0, "maxFailedIndexes": 0,
    });
    scene.create("parts", spec.clone()).await?;
    let pods = scene.active("parts", 4).await?;
    let of_index = |index: usize| pods.iter().find(|pod| pod.starts_with(&format!("parts-{index}-"))).cloned();
    scene.kubelet.succeed(&of_index(0).context("no pod")?).await?;
    scene.job_until("parts", "index 0 completed", |status| status.completed_indexes.as_deref() == Some("0")).await?;
    // The Job fails with its first failed index, so that the other two never complete.
    scene.kubelet.fail(&of_index(2).context("no pod")?, 1).await?;
    let status = scene.condition("parts", "Failed").await?;
    assert_eq!((status.completed_indexes.as_deref(), status.failed_indexes.as_deref()), (Some("0"), Some("2")));

    let (code, out, error) = run(&scene, &["rerun", "job/parts", "--failed-indexes", "-o", "name"]).await?;
    assert_eq!(code, Some(0), "{error}");
    assert!(error.contains("note: the new Job runs 3 of 4 indexes: 1-3"), "{error}");
    let name = out.trim().strip_prefix("job.batch/").context("no name")?.to_owned();
    let new = scene.jobs.get(&name).await?;
    assert_eq!(new.annotations()["jobwright.dev/indexes"], "1-3");
    let new = new.spec.context("no spec")?;
    assert_eq!((new.completions, new.parallelism), (Some(4), Some(3)));
    let explained = expect(&scene, 0, &["explain", &format!("job/{name}")]).await?;
    assert!(explained.contains("The Job runs 3 of 4 indexes: 1-3"), "{explained}");
    for pod in scene.active(&name, 3).await? {
        scene.kubelet.succeed(&pod).await?;
    }
    let status = scene.condition(&name, "Complete").await?;
    assert_eq!((status.completed_indexes.as_deref(), status.succeeded), (Some("1-3"), Some(3)));
    let again = ["rerun", &format!("job/{name}"), "--failed-indexes"];
    let (code, _, error) = run(&scene, &again).await?;
    assert!(code == Some(2) && error.contains("the Job is complete; no index has to run again"), "{error}");

    let refused = async |job: &str, reason: &str| -> Result<()> {
        let (code, out, error) = run(&scene, &["rerun", job, "--failed-indexes", "--force"]).await?;
        assert!(code == Some(2) && error.contains(reason), "{out}{error}");
        Ok(())
    };
    scene.create("plain", json!({})).await?;
    refused("plain", "the Job is not Indexed (spec.completionMode)").await?;
    let mut theirs = spec.clone();
    theirs["managedBy"] = json!("example.com/other");
    scene.create("theirs", theirs).await?;
    refused("theirs", "spec.managedBy is example.com/other, and only Jobwright runs some of the indexes").await?;
    Ok(())
}

fn cron_job(name: &str, managed_by: Option<&str>) -> Result<CronJob> {
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "i"}]}});
    let spec = json!({"managedBy": managed_by, "backoffLimit": 0, "template": template});
    let spec = json!({"schedule": "0 3 * * *", "suspend": false, "jobTemplate": {"spec": spec}});
    Ok(serde_json::from_value(json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn trigger_and_rerun_keep_the_cron_job_as_the_owner() -> Result<()> {
    let scene = Scene::new("owned").await?;
    let crons: Api<CronJob> = Api::namespaced(scene.client.clone(), &scene.namespace);
    crons.create(&PostParams::default(), &cron_job("nightly", Some("jobwright.dev/controller"))?).await?;
    let checked = expect(&scene, 0, &["trigger", "cj/nightly", "--name=first", "--dry-run=server"]).await?;
    assert_eq!(checked, "job.batch/first created (server dry run)\n");
    let args = ["trigger", "cj/nightly", "--name=first", "--env=DAY=monday", "-o", "yaml"];
    let printed: Value = serde_saphyr::from_str(&expect(&scene, 0, &args).await?)?;
    assert_eq!(printed["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"], "monday");
    fail_one(&scene, "first", 9).await?;
    scene.condition("first", "Failed").await?;
    expect(&scene, 0, &["rerun", "job/first", "--name=second"]).await?;
    let owners = |job: &Job| job.owner_references().to_vec();
    let (first, second) = (scene.jobs.get("first").await?, scene.jobs.get("second").await?);
    assert_eq!(owners(&first), owners(&second));
    let pod = scene.active("second", 1).await?.remove(0);
    scene.kubelet.succeed(&pod).await?;
    scene.condition("second", "Complete").await?;

    let table = expect(&scene, 0, &["history", "cronjob/nightly"]).await?;
    let lines: Vec<&str> = table.lines().collect();
    assert!(
        lines[1].starts_with("second") && lines[1].contains("Rerun of first") && lines[1].contains("Succeeded"),
        "{table}"
    );
    assert!(lines[2].starts_with("first") && lines[2].contains("Manual") && lines[2].contains("Failed"), "{table}");
    assert!(lines[2].contains("exit code 9"), "{table}");
    let selected = expect(&scene, 0, &["history", "cj", "-l", "app=nightly"]).await?;
    assert!(selected.starts_with("cronjob/nightly\nJOB ") && selected.lines().count() == 4, "{selected}");
    let names = expect(&scene, 0, &["history", "cronjobs", "-o", "name"]).await?;
    assert_eq!(names, "job.batch/second\njob.batch/first\n");
    let wide = expect(&scene, 0, &["history", "cj/nightly", "-o", "wide"]).await?;
    assert!(wide.starts_with("JOB") && wide.contains("FINISHED") && wide.contains("EXISTS"), "{wide}");
    let next = expect(&scene, 0, &["next", "cj", "-l", "app=nightly", "-A"]).await?;
    assert!(next.contains(&format!("{}/cronjob/nightly: \"0 3 * * *\" in UTC\n", scene.namespace)), "{next}");
    let json: Value = serde_json::from_str(&expect(&scene, 0, &["history", "cj/nightly", "-o", "json"]).await?)?;
    let run = &json["items"][0]["runs"][1];
    assert_eq!((&run["outcome"], &run["exitCode"], &run["trigger"]), (&json!("Failed"), &json!(9), &json!("Manual")));
    let yaml: Value = serde_saphyr::from_str(&expect(&scene, 0, &["history", "cj/nightly", "-o", "yaml"]).await?)?;
    assert_eq!(yaml["items"][0]["name"], "nightly");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_suspended_and_resumed() -> Result<()> {
    let scene = Scene::new("suspend").await?;
    let crons: Api<CronJob> = Api::namespaced(scene.client.clone(), &scene.namespace);
    for name in ["a", "b"] {
        crons.create(&PostParams::default(), &cron_job(name, None)?).await?;
    }
    scene.create("busy", json!({})).await?;
    scene.active("busy", 1).await?;
    let out = expect(&scene, 0, &["suspend", "job/busy", "cronjob/a"]).await?;
    assert_eq!(out, "job.batch/busy suspended\ncronjob.batch/a suspended\n");
    scene.condition("busy", "Suspended").await?;
    let suspended = |name: &'static str| {
        let crons = &crons;
        async move { anyhow::Ok(crons.get(name).await?.spec.suspend == Some(true)) }
    };
    assert!(suspended("a").await? && !suspended("b").await?);
    assert_eq!(expect(&scene, 0, &["suspend", "job", "busy"]).await?, "job.batch/busy unchanged\n");
    let out = expect(&scene, 0, &["suspend", "cj", "-l", "app=b", "--dry-run=server"]).await?;
    assert_eq!(out, "cronjob.batch/b suspended (server dry run)\n");
    assert!(!suspended("b").await?, "a dry run stores nothing");
    let out = expect(&scene, 0, &["suspend", "cj/b", "--dry-run=client", "-o", "json"]).await?;
    assert_eq!(serde_json::from_str::<Value>(&out)?["spec"]["suspend"], true);
    assert!(!suspended("b").await?, "a dry run stores nothing");

    let (code, _, error) = run(&scene, &["suspend", "cronjobs"]).await?;
    assert!(code == Some(1) && error.contains("only with --selector or --all"), "{error}");
    let (code, _, error) = run(&scene, &["suspend", "-l", "app=a"]).await?;
    assert!(code == Some(1) && error.contains("a type with --selector"), "{error}");
    let (code, _, error) = run(&scene, &["suspend", "cj", "-l", "app=none"]).await?;
    assert!(code == Some(1) && error.contains("no cronjobs match"), "{error}");

    assert_eq!(expect(&scene, 0, &["resume", "job/busy", "-o", "name"]).await?, "job.batch/busy\n");
    let pod = scene.active("busy", 1).await?.remove(0);
    scene.kubelet.succeed(&pod).await?;
    scene.condition("busy", "Complete").await?;
    let (code, _, error) = run(&scene, &["suspend", "job/busy"]).await?;
    assert!(code == Some(1) && error.contains("job.batch/busy is not suspended: it is finished"), "{error}");
    let out = expect(&scene, 0, &["resume", "cronjobs", "--all"]).await?;
    assert!(out.contains("cronjob.batch/a resumed\n") && out.contains("cronjob.batch/b unchanged\n"), "{out}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_without_a_name_lists_jobs_that_need_attention() -> Result<()> {
    let scene = Scene::new("overview").await?;
    scene.create("fine", json!({})).await?;
    let pod = scene.active("fine", 1).await?.remove(0);
    scene.kubelet.run(&pod, true).await?;
    assert_eq!(expect(&scene, 0, &["explain"]).await?, "None of 1 Job is stuck, failing or failed.\n");

    scene.create("failed", json!({"backoffLimit": 0})).await?;
    fail_one(&scene, "failed", 7).await?;
    scene.condition("failed", "Failed").await?;
    scene.create("stuck", json!({})).await?;
    let pod = scene.active("stuck", 1).await?.remove(0);
    let unscheduled =
        json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]);
    scene.kubelet.patch(&pod, json!({"conditions": unscheduled})).await?;
    let table = expect(&scene, 1, &["explain"]).await?;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[1].starts_with("failed  Failed") && lines[1].contains("exit code 7"), "{table}");
    assert!(lines[2].starts_with("stuck   Stuck") && lines[2].contains("has no node: 0/3 nodes"), "{table}");
    assert_eq!(lines[3], "2 of 3 Jobs need attention.");
    let table = expect(&scene, 1, &["explain", "--failed"]).await?;
    assert!(table.contains("failed") && !table.contains("stuck"), "{table}");
    assert!(expect(&scene, 0, &["explain", "-l", "app=none"]).await?.starts_with("None of 0 Jobs"));
    let everywhere = expect(&scene, 1, &["explain", "-A"]).await?;
    assert!(everywhere.starts_with("NAMESPACE") && everywhere.contains(&scene.namespace), "{everywhere}");
    assert_eq!(expect(&scene, 1, &["explain", "-o", "name"]).await?, "job.batch/failed\njob.batch/stuck\n");
    let wide = expect(&scene, 1, &["explain", "-o", "wide"]).await?;
    assert!(wide.starts_with("JOB     STATE   REASON") && wide.contains("BackoffLimitExceeded"), "{wide}");
    let json: Value = serde_json::from_str(&expect(&scene, 1, &["explain", "-o", "json"]).await?)?;
    assert_eq!((&json["items"][0]["state"], &json["items"][1]["reason"]), (&json!("Failed"), &json!("Unschedulable")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn list_of_a_restricted_user_names_what_cannot_be_read() -> Result<()> {
    let scene = Scene::new("restricted").await?;
    if scene.cluster.control.is_none() {
        testbed::skipped!("a given cluster has no user with fewer permissions");
        return Ok(());
    }
    scene.create("failed", json!({"backoffLimit": 0})).await?;
    fail_one(&scene, "failed", 7).await?;
    scene.condition("failed", "Failed").await?;
    // The user of the controller is not allowed to list events.
    let with = |args: &'static [&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_jobwright"));
        command.args(args).args(["--namespace", &scene.namespace]).arg("--kubeconfig").arg(&scene.kubeconfig);
        async move { ran(command.output().await?) }
    };
    let (code, out, error) = with(&["explain"]).await?;
    assert!(code == Some(1) && out.contains("exit code 7"), "{out}{error}");
    assert!(error.contains(&format!("events cannot be read in namespace {}", scene.namespace)), "{error}");
    for args in [&["wait", "job/failed"] as &[&str], &["history", "job/failed"]] {
        let (_, out, error) = with(args).await?;
        assert!(out.contains("failed") && !error.contains("panicked"), "{args:?}: {out}{error}");
    }
    let (code, _, error) = with(&["history", "cronjob/none"]).await?;
    assert!(code == Some(1) && error.contains("cannot read cronjob/none") && error.contains("forbidden"), "{error}");
    let (code, _, error) = with(&["suspend", "job/failed"]).await?;
    assert!(code == Some(1) && error.contains("it is finished"), "{error}");
    let (code, _, error) = with(&["explain", "-A"]).await?;
    assert!(code == Some(2) && error.contains("cannot read jobs in all namespaces"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_lists_the_jobs_of_a_limit() -> Result<()> {
    let scene = Scene::new("limited").await?;
    let limits: Api<JobLimit> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let limit = json!({
        "apiVersion": "jobwright.dev/v1beta1", "kind": "JobLimit", "metadata": {"name": "lim"}, "spec": {"maxActiveJobs": 1},
    });
    limits.patch("lim", &PatchParams::apply("test"), &Patch::Apply(limit)).await?;
    scene.create("first", json!({})).await?;
    scene.active("first", 1).await?;
    scene.create("second", json!({})).await?;
    until("the second Job to wait", || async {
        let text = expect(&scene, 0, &["explain", "joblimit/lim"]).await?;
        Ok(if text.contains("Position 1: second.") { Ok(()) } else { Err(text) })
    })
    .await?;
    let text = expect(&scene, 0, &["explain", "jlimit", "lim"]).await?;
    assert!(
        text.starts_with("JobLimit lim: 1 of 1 Jobs in use, 1 Job waits.\n") && text.contains("Admitted: first."),
        "{text}"
    );
    let (code, _, error) = run(&scene, &["explain", "joblimit/none"]).await?;
    assert!(code == Some(1) && error.contains("cannot read joblimit/none") && error.contains("not found"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn status_reports_the_controller_and_the_permissions() -> Result<()> {
    let mut scene = Scene::without_controller("status", &["--leader-elect=true"]).await?;
    let (code, out, error) = run(&scene, &["status"]).await?;
    assert!(out.contains("API server:  v1.") && out.contains("(supported)"), "{out}{error}");
    assert!(out.contains("jobschedules/v1beta1") && out.contains("joblimits/v1beta1"), "{out}");
    assert!(code.is_some_and(|code| code < 2), "{out}{error}");
    scene.start_controller().await?;
    let status = until("the Lease of the controller", || async {
        let (_, out, error) = run(&scene, &["status", "-o", "json"]).await?;
        let status: Value = serde_json::from_str(&out).context(error)?;
        let found = status["controllers"]["found"].as_array().cloned().unwrap_or_default();
        let own = |one: &Value| {
            let lease = one["lease"].as_str().unwrap_or_default();
            lease.starts_with(&format!("{}/", scene.namespace)) && one["alive"] == true
        };
        Ok(if found.iter().any(own) { Ok(status) } else { Err(format!("{status:#}")) })
    })
    .await?;
    assert_eq!(status["server"]["support"], "Supported");
    assert!(status["permissions"].as_array().context("no permissions")?.iter().all(|one| one["allowed"] == true));

    if scene.cluster.control.is_none() {
        testbed::report::skipped_part("the rest", "a given cluster has no user with fewer permissions");
        return Ok(());
    }
    // The user of the controller is not allowed to read Leases of other namespaces, or to change Jobs.
    let mut restricted = tokio::process::Command::new(env!("CARGO_BIN_EXE_jobwright"));
    restricted.args(["status", "--namespace", &scene.namespace]).arg("--kubeconfig").arg(&scene.kubeconfig);
    let (code, out, error) = ran(restricted.output().await?)?;
    assert!(code.is_some_and(|code| code < 2), "{out}{error}");
    assert!(out.contains(&format!("Lease {}/", scene.namespace)) && out.contains("Missing:     patch jobs"), "{out}");
    Ok(())
}
