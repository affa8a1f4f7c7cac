//! The subcommands for people, on a real API server: `explain`, `trigger`, `check`.

use std::process::{Output, Stdio};

use anyhow::{Context, Result};
use jobwright::schedule::job_schedule::types::JobSchedule;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::*;

impl Scene {
    /// Runs a subcommand on this scene's namespace.
    async fn jobwright(&self, args: &[&str]) -> Result<Output> {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_jobwright"));
        command.args(args).arg(format!("--namespace={}", self.namespace));
        command.arg(format!("--kubeconfig={}", self.cluster.kubeconfig.display())).stdin(Stdio::null());
        Ok(command.output().await?)
    }

    /// What it says, where it succeeds.
    async fn says(&self, args: &[&str]) -> Result<String> {
        let output = self.jobwright(args).await?;
        anyhow::ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Waits until the explanation holds this.
    async fn explained(&self, subject: &str, text: &str) -> Result<String> {
        until(&format!("{text:?} of {subject}"), || async {
            let said = self.says(&["explain", subject]).await?;
            Ok(if said.contains(text) { Ok(said) } else { Err(said) })
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_what_stands_in_the_way() -> Result<()> {
    let scene = Scene::with_flags("explain", &["--pod-failure-backoff=60s"]).await?;
    scene.create("held", json!({"suspend": true})).await?;
    let said = scene.explained("job/held", "Job held is suspended").await?;
    assert!(said.contains("spec.suspend was set by") && said.contains("kubectl patch job held"), "{said}");

    scene.create("theirs", json!({"managedBy": "example.com/other"})).await?;
    scene.explained("job/theirs", "Job theirs is to be worked on by example.com/other").await?;

    scene.create("failing", json!({"completions": 1})).await?;
    let pod = scene.active("failing", 1).await?.remove(0);
    scene.kubelet.fail(&pod, 3).await?;
    let said = scene.explained("job/failing", "before its next pod").await?;
    assert!(said.contains(&format!("Pod {pod}: container main exited with 3")), "{said}");
    assert!(said.contains("The controller's next step: nothing before"), "{said}");
    assert!(said.contains(&format!("kubectl logs {pod}")), "{said}");

    let quotas: Api<ResourceQuota> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let quota = serde_json::from_value(json!({"metadata": {"name": "no-pods"}, "spec": {"hard": {"pods": "0"}}}))?;
    quotas.create(&PostParams::default(), &quota).await?;
    scene.create("refused", json!({})).await?;
    let said = scene.explained("job/refused", "exceeded quota: no-pods").await?;
    assert!(said.contains("Job refused has no pods at the moment"), "{said}");

    scene.create("over", json!({"completions": 0})).await?;
    scene.explained("job/over", "Job over is complete").await?;
    let json: Value = serde_json::from_str(&scene.says(&["explain", "job/over", "--output=json"]).await?)?;
    assert!(json["headline"].as_str().context("a headline")?.contains("complete"), "{json}");

    let missing = scene.jobwright(&["explain", "job/missing"]).await?;
    let said = String::from_utf8(missing.stderr)?;
    assert!(!missing.status.success() && said.contains("cannot read job/missing"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn next_tells_the_times_of_what_is_in_the_cluster() -> Result<()> {
    let scene = Scene::new("next").await?;
    let schedules: Api<JobSchedule> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let schedule = json!({
        "apiVersion": "jobwright.dev/v1beta1", "kind": "JobSchedule", "metadata": {"name": "spread"},
        "spec": {"schedules": ["H 3 * * *"], "jobTemplate": {"spec": {"template": {}}}},
    });
    schedules.patch("spread", &PatchParams::apply("test"), &Patch::Apply(schedule)).await?;
    let told = until("the next time in the status", || async {
        let status = schedules.get("spread").await?.status.unwrap_or_default();
        Ok(status.next_schedule_time.ok_or_else(String::new))
    })
    .await?;
    let said = scene.says(&["next", "jobschedule/spread", "-n1"]).await?;
    assert!(said.lines().nth(1).is_some_and(|line| line.ends_with(&told)), "the controller says {told}, next {said}");
    assert!(said.contains(&format!("for {}/spread", scene.namespace)), "{said}");
    let missing = scene.jobwright(&["next", "jobschedule/missing"]).await?;
    let said = String::from_utf8(missing.stderr)?;
    assert!(!missing.status.success() && said.contains("cannot read jobschedule/missing"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cron_job_is_triggered_and_followed_to_its_end() -> Result<()> {
    let scene = Scene::new("trigger").await?;
    let crons: Api<CronJob> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let cron = serde_json::from_value(json!({
        "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 3 * * *", "timeZone": "UTC", "suspend": true, "jobTemplate": {"spec": {
            "managedBy": "jobwright.dev/controller", "completions": 2, "parallelism": 1, "backoffLimit": 0,
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "i"}]}},
        }}},
    }))?;
    crons.create(&PostParams::default(), &cron).await?;
    scene.explained("cronjob/nightly", "CronJob nightly is suspended").await?;
    let said = scene.says(&["next", "cronjob/nightly"]).await?;
    assert!(said.contains("cronjob/nightly: \"0 3 * * *\" in UTC") && said.contains("it is suspended"), "{said}");

    let playing = scene.succeed_all();
    let followed = scene.jobwright(&["trigger", "cronjob/nightly", "--watch"]).await?;
    let said = String::from_utf8(followed.stdout)?;
    assert_eq!(followed.status.code(), Some(0), "{said}");
    assert!(said.contains("job/nightly-manual-") && said.contains("2 of 2 succeeded"), "{said}");
    assert!(said.lines().last().is_some_and(|line| line.contains(": Complete")), "{said}");
    drop(playing);

    let failing = async {
        let pod = scene.active("by-name", 1).await?.remove(0);
        scene.kubelet.fail(&pod, 1).await
    };
    let args = ["trigger", "cronjob/nightly", "--watch", "--name=by-name"];
    let (followed, failed) = tokio::join!(scene.jobwright(&args), failing);
    failed?;
    let followed = followed?;
    let said = String::from_utf8(followed.stdout)?;
    assert_eq!(followed.status.code(), Some(2), "{said}");
    assert!(said.contains("Failed (BackoffLimitExceeded"), "{said}");
    let job = scene.jobs.get("by-name").await?;
    assert_eq!(job.metadata.annotations.context("annotations")?["cronjob.kubernetes.io/instantiate"], "manual");
    let owner = &job.metadata.owner_references.context("an owner")?[0];
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("CronJob", "nightly"));

    let again = scene.jobwright(&args).await?;
    let said = String::from_utf8(again.stderr)?;
    assert!(again.status.code() == Some(1) && said.contains("already exists"), "{said}");
    let missing = scene.jobwright(&["trigger", "cronjob/missing"]).await?;
    assert!(String::from_utf8(missing.stderr)?.contains("cannot read cronjob/missing"));
    Ok(())
}

fn check(args: &[&str]) -> Result<(Option<i32>, String, String)> {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_jobwright")).arg("check").args(args).output()?;
    Ok((output.status.code(), String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
}

#[test]
fn check_finds_what_is_likely_to_be_regretted() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("jobs.yaml");
    std::fs::write(
        &file,
        "# A night's work.\napiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nightly}\nspec:\n  schedule: '30 2 * * *'\n  timeZone: Europe/Paris\n  \
         jobTemplate: {spec: {activeDeadlineSeconds: 60, template: {spec: {restartPolicy: OnFailure, containers: []}}}}\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n---\n\
         apiVersion: batch/v1\nkind: Job\nmetadata: {name: once, annotations: {jobwright.dev/check-ignore: no-deadline}}\n\
         spec: {template: {spec: {restartPolicy: Never, containers: []}}}\n",
    )?;
    let path = file.display().to_string();
    let (code, said, _) = check(&["-f", &path])?;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        lines[0].starts_with(&format!("{path}:2: cronjob/nightly: warning: ")) && lines[0].ends_with("[clock-change]"),
        "{said}"
    );
    assert!(
        lines[1].contains("spec.jobTemplate.spec.template.spec.restartPolicy") && lines[1].ends_with("[logs-lost]"),
        "{said}"
    );
    assert!(
        lines[2].starts_with(&format!("{path}:14: job/once: warning: ")) && lines[2].ends_with("[no-clean-up]"),
        "{said}"
    );
    assert_eq!(lines[3], "0 errors, 3 warnings, 0 notes");

    assert_eq!(check(&["-f", &path, "--fail-on=error"])?.0, Some(0));
    let (code, said, _) = check(&["-f", &path, "--ignore=clock-change,logs-lost,no-clean-up"])?;
    assert_eq!((code, said.as_str()), (Some(0), "0 errors, 0 warnings, 0 notes\n"));
    let (_, said, _) = check(&["-f", &path, "--output=json"])?;
    let found: Value = serde_json::from_str(&said)?;
    assert_eq!(found[2]["rule"], "no-clean-up");
    let (_, said, _) = check(&["-f", &path, "--output=sarif"])?;
    let log: Value = serde_json::from_str(&said)?;
    let result = &log["runs"][0]["results"][0];
    assert_eq!((log["version"].as_str(), result["level"].as_str()), (Some("2.1.0"), Some("warning")));
    assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 2);
    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().context("rules")?;
    assert!(rules.iter().any(|rule| rule["id"] == result["ruleId"]));
    Ok(())
}

#[test]
fn check_says_what_it_cannot_read() -> Result<()> {
    let (code, _, said) = check(&["-f", "/nonexistent.yaml"])?;
    assert!(code == Some(2) && said.contains("cannot read /nonexistent.yaml"), "{said}");
    let (code, _, said) = check(&["-f", "x", "--ignore=no-such-rule"])?;
    assert!(code == Some(2) && said.contains("there is no rule") && said.contains("no-clean-up"), "{said}");
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("odd.yaml");
    std::fs::write(
        &file,
        "apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\nspec: {parallelism: many, template: {}}\n",
    )?;
    let (code, said, _) = check(&["-f", &file.display().to_string()])?;
    assert!(code == Some(1) && said.contains("[unreadable]") && said.contains("many"), "{said}");
    Ok(())
}

#[test]
fn the_examples_have_no_errors() -> Result<()> {
    let (code, said, error) = check(&["-f", "examples", "--fail-on=error"])?;
    assert_eq!(code, Some(0), "{said}{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jobs_pods_are_drawn_and_jobs_under_way_listed() -> Result<()> {
    let scene = Scene::new("drawn").await?;
    scene.create("etl", json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed"})).await?;
    let none = scene.jobwright(&["timeline", "job/missing"]).await?;
    assert!(String::from_utf8(none.stderr)?.contains("cannot read job/missing"));
    let pods = scene.active("etl", 2).await?;
    scene.kubelet.succeed(&pods[0]).await?;
    scene.job_until("etl", "1 succeeded", |status| status.succeeded == Some(1)).await?;
    let chart = scene.says(&["timeline", "job/etl"]).await?;
    assert!(chart.starts_with("job/etl under way: 1 succeeded, 0 failed\n"), "{chart}");
    assert!(chart.lines().any(|line| line.starts_with(&pods[0]) && line.ends_with('✓')), "{chart}");
    assert!(chart.lines().any(|line| line.starts_with(&pods[1]) && line.ends_with('…')), "{chart}");
    let picture = scene.says(&["timeline", "job/etl", "--output=svg"]).await?;
    assert!(picture.starts_with("<svg ") && picture.contains(&pods[1]), "{picture}");
    let page = scene.says(&["timeline", "job/etl", "--output=html"]).await?;
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("<svg "), "{page}");

    let listed = scene.says(&["top"]).await?;
    let line = listed.lines().find(|line| line.starts_with("etl ")).context("a line")?;
    assert!(line.contains("50%") && line.contains("1/2") && line.ends_with("running"), "{listed}");
    scene.kubelet.succeed(&pods[1]).await?;
    scene.condition("etl", "Complete").await?;
    assert!(scene.says(&["top"]).await?.contains("no Jobs under way"));
    assert!(scene.says(&["top", "--all"]).await?.contains("100%"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_a_plugin_of_kubectl() -> Result<()> {
    let cluster = testbed::Cluster::shared().await?;
    if cluster.control.is_none() {
        eprintln!("skipped: a given cluster brings a kubectl of its own");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_jobwright"), dir.path().join("kubectl-jobwright"))?;
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH")?);
    let kubectl = |args: &[&str]| -> Result<String> {
        let mut command = std::process::Command::new(testbed::assets::KUBECTL.path()?);
        let output = command.args(args).env("PATH", &path).output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    assert!(kubectl(&["jobwright", "version"])?.contains("Kubernetes API 1.37"));
    let help = kubectl(&["jobwright", "explain", "--help"])?;
    assert!(help.contains("Usage: kubectl jobwright explain"), "{help}");
    Ok(())
}

#[test]
fn shells_and_man_know_its_commands() -> Result<()> {
    let says = |args: &[&str]| -> Result<String> {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_jobwright")).args(args).output()?;
        anyhow::ensure!(output.status.success(), "{args:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    for shell in ["bash", "zsh", "fish"] {
        let completions = says(&["completions", shell])?;
        assert!(completions.contains("explain") && completions.contains("timeline"), "{shell}: {completions}");
    }
    let page = says(&["man"])?;
    assert!(page.contains(".TH jobwright 1") && page.contains("explain"), "{page}");
    Ok(())
}
