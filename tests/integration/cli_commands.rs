//! The subcommands for users: `explain`, `next`, `trigger`, `timeline` and `top` on a real API server, `check` on
//! files, and the plugin, completions and man page.

use std::process::{Output, Stdio};

use anyhow::{Context, Result};
use jobwright::schedule::job_schedule::types::JobSchedule;
use k8s_openapi::api::batch::v1::CronJob;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::*;

impl Scene {
    /// Runs a subcommand on the scene's namespace.
    async fn jobwright(&self, args: &[&str]) -> Result<Output> {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_jobwright"));
        command.args(args).arg(format!("--namespace={}", self.namespace));
        command.arg(format!("--kubeconfig={}", self.cluster.kubeconfig.display())).stdin(Stdio::null());
        Ok(command.output().await?)
    }

    /// Runs a subcommand that must succeed, and returns its stdout.
    async fn stdout_of(&self, args: &[&str]) -> Result<String> {
        let output = self.jobwright(args).await?;
        anyhow::ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Waits until the output of `explain` contains this text, and returns the output.
    pub(crate) async fn explained(&self, subject: &str, text: &str) -> Result<String> {
        until(&format!("{text:?} of {subject}"), || async {
            let explanation = self.stdout_of(&["explain", subject]).await?;
            Ok(if explanation.contains(text) { Ok(explanation) } else { Err(explanation) })
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_reports_what_blocks_a_job() -> Result<()> {
    let scene = Scene::with_flags("explain", &["--pod-failure-backoff=60s"]).await?;
    scene.create("held", json!({"suspend": true})).await?;
    let text = scene.explained("job/held", "Job held is suspended").await?;
    assert!(
        text.contains("spec.suspend was set by")
            && text.contains(&format!(
                "kubectl patch job held --type=merge -p '{{\"spec\":{{\"suspend\":false}}}}' -n {}",
                scene.namespace
            )),
        "{text}"
    );

    scene.create("theirs", json!({"managedBy": "example.com/other"})).await?;
    scene.explained("job/theirs", "Job theirs is managed by example.com/other").await?;

    scene.create("failing", json!({"completions": 1})).await?;
    let pod = scene.active("failing", 1).await?.remove(0);
    scene.kubelet.fail(&pod, 3).await?;
    let text = scene.explained("job/failing", "before its next pod").await?;
    assert!(text.contains(&format!("Pod {pod}: container main exited with code 3")), "{text}");
    assert!(text.contains("Next: the controller syncs the Job at"), "{text}");
    assert!(text.contains(&format!("kubectl logs {pod} --all-containers -n {}", scene.namespace)), "{text}");

    testbed::quota::enforce(&scene.client, &scene.namespace, "no-pods", &[("pods", "0")]).await?;
    scene.create("refused", json!({})).await?;
    let text = scene.explained("job/refused", "exceeded quota: no-pods").await?;
    assert!(text.contains("Job refused is stuck: the API server refuses its pods"), "{text}");
    assert!(text.contains("kubectl describe resourcequota -n"), "{text}");

    scene.create("over", json!({"completions": 0})).await?;
    scene.explained("job/over", "Job over completed").await?;
    let json: Value = serde_json::from_str(&scene.stdout_of(&["explain", "job/over", "--output=json"]).await?)?;
    assert!(json["headline"].as_str().context("missing headline")?.contains("completed"), "{json}");
    let identity = ["kind", "namespace", "name", "state"].map(|field| json[field].as_str().unwrap_or_default());
    assert_eq!(identity, ["Job", &*scene.namespace, "over", "Complete"], "{json}");
    assert_eq!((&json["counts"]["succeeded"], &json["counts"]["completions"]), (&json!(0), &json!(0)), "{json}");
    let yaml = scene.stdout_of(&["explain", "job/over", "--output=yaml"]).await?;
    assert!(
        yaml.contains("state: Complete\n") && yaml.starts_with("kind: Job\n") || yaml.contains("\nkind: Job\n"),
        "{yaml}"
    );

    // Names as kubectl prints and accepts them, and several objects.
    for name in ["job.batch/over", "jobs/over", "jobs.batch/over", "Job/over"] {
        assert!(scene.stdout_of(&["explain", name]).await?.starts_with("Job over completed"), "{name}");
    }
    let both = scene.stdout_of(&["explain", "job", "over", "held"]).await?;
    assert!(both.contains("Job over completed") && both.contains("Job held is suspended"), "{both}");
    let all: Value = serde_json::from_str(&scene.stdout_of(&["explain", "jobs", "-o", "json"]).await?)?;
    assert_eq!(all["items"].as_array().map(Vec::len), Some(5), "{all}");
    let none: Value = serde_json::from_str(&scene.stdout_of(&["explain", "jobs", "-l", "a=b", "-o", "json"]).await?)?;
    assert_eq!(none["items"], json!([]));

    let missing = scene.jobwright(&["explain", "job/missing"]).await?;
    let text = String::from_utf8(missing.stderr)?;
    assert!(!missing.status.success() && text.contains("cannot read job/missing"), "{text}");
    let some = scene.jobwright(&["explain", "job/missing", "job/over"]).await?;
    assert_eq!(some.status.code(), Some(1));
    assert!(
        String::from_utf8(some.stdout)?.contains("Job over completed"),
        "one missing object does not hide the others"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn global_flags_reach_the_api_server() -> Result<()> {
    let scene = Scene::without_controller("flags", &[]).await?;
    scene.create("a", json!({})).await?;
    let stderr = |output: Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let as_jane = scene.jobwright(&["--as=jane", "--as-group=dev", "explain", "job/a"]).await?;
    assert!(stderr(as_jane).contains("User \"jane\" cannot get resource \"jobs\""));
    let token = stderr(scene.jobwright(&["explain", "job/a", "--token=wrong"]).await?);
    assert!(token.contains("rejected the credentials (401") && !token.contains("wrong"), "{token}");
    let [port] = testbed::control_plane::free_ports()?;
    let server = stderr(scene.jobwright(&["explain", "job/a", &format!("--server=https://127.0.0.1:{port}")]).await?);
    assert!(server.contains("connection refused; check that the server is running"), "{server}");
    assert!(!server.contains("os error"), "{server}");
    // As with kubectl, an address is enough without a kubeconfig.
    let mut alone = tokio::process::Command::new(env!("CARGO_BIN_EXE_jobwright"));
    alone.args(["explain", "job/a", &format!("--server=https://127.0.0.1:{port}")]).stdin(Stdio::null());
    let alone = alone.env_remove("KUBECONFIG").env("HOME", "/nonexistent").output().await?;
    let refused = stderr(alone);
    assert!(refused.contains("cannot reach the API server at https://127.0.0.1:"), "{refused}");
    for (flag, what) in [("--context", "context"), ("--cluster", "cluster"), ("--user", "user")] {
        let unknown = stderr(scene.jobwright(&["explain", "job/a", flag, "nope"]).await?);
        assert!(unknown.contains(&format!("{what} \"nope\" does not exist in the kubeconfig; it has ")), "{unknown}");
    }
    let logged = scene.jobwright(&["top", "--once", "-v", "6"]).await?;
    assert!(logged.status.success());
    assert!(stderr(logged).contains("/apis/batch/v1/namespaces/"), "each request is logged");

    // The command itself, with the variables of the controller and a list of kubeconfigs.
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_jobwright"));
    let list = std::env::join_paths(["/nonexistent".into(), scene.cluster.kubeconfig.clone()])?;
    command.args(["-n", &scene.namespace, "explain", "job.batch/a", "--request-timeout=10s"]).env("KUBECONFIG", list);
    command.env("JOBWRIGHT_NAMESPACE", "elsewhere").env("JOBWRIGHT_CONTEXT", "nope").stdin(Stdio::null());
    let output = command.output().await?;
    let text = String::from_utf8(output.stdout)?;
    assert!(
        text.starts_with("Job a has not been started by a controller yet"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn next_prints_the_times_of_a_schedule_in_the_cluster() -> Result<()> {
    let scene = Scene::new("next").await?;
    let schedules: Api<JobSchedule> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let schedule = json!({
        "apiVersion": "jobwright.dev/v1beta1", "kind": "JobSchedule", "metadata": {"name": "spread"},
        "spec": {"schedules": ["H 3 * * *"], "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": []}}}}},
    });
    schedules.patch("spread", &PatchParams::apply("test"), &Patch::Apply(schedule)).await?;
    let scheduled = until("the next time in the status", || async {
        let status = schedules.get("spread").await?.status.unwrap_or_default();
        Ok(status.next_schedule_time.ok_or_else(String::new))
    })
    .await?;
    let text = scene.stdout_of(&["next", "jobschedule/spread", "--count=1"]).await?;
    assert!(
        text.lines().nth(1).is_some_and(|line| line.ends_with(&scheduled)),
        "the status contains {scheduled}, next prints {text}"
    );
    assert!(text.contains(&format!("for {}/spread", scene.namespace)), "{text}");
    let missing = scene.jobwright(&["next", "jobschedule/missing"]).await?;
    let text = String::from_utf8(missing.stderr)?;
    assert!(!missing.status.success() && text.contains("cannot read jobschedule/missing"), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn trigger_starts_a_job_of_a_cron_job_and_watches_it_to_its_end() -> Result<()> {
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
    let text = scene.stdout_of(&["next", "cronjob/nightly"]).await?;
    assert!(text.contains("cronjob/nightly: \"0 3 * * *\" in UTC") && text.contains("it is suspended"), "{text}");

    let playing = scene.succeed_all();
    let followed = scene.jobwright(&["trigger", "cronjob/nightly", "--watch"]).await?;
    let text = String::from_utf8(followed.stdout)?;
    assert_eq!(followed.status.code(), Some(0), "{text}");
    assert!(text.contains("job/nightly-manual-") && text.contains("2 of 2 succeeded"), "{text}");
    assert!(text.lines().last().is_some_and(|line| line.contains(": Complete")), "{text}");
    drop(playing);

    let failing = async {
        let pod = scene.active("by-name", 1).await?.remove(0);
        scene.kubelet.fail(&pod, 1).await
    };
    let args = ["trigger", "cronjob/nightly", "--watch", "--name=by-name"];
    let (followed, failed) = tokio::join!(scene.jobwright(&args), failing);
    failed?;
    let followed = followed?;
    let text = String::from_utf8(followed.stdout)?;
    assert_eq!(followed.status.code(), Some(2), "{text}");
    assert!(text.contains("Failed (BackoffLimitExceeded"), "{text}");
    let job = scene.jobs.get("by-name").await?;
    assert_eq!(job.metadata.annotations.context("missing annotations")?["cronjob.kubernetes.io/instantiate"], "manual");
    let owner = &job.metadata.owner_references.context("the Job has no owner")?[0];
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("CronJob", "nightly"));

    let again = scene.jobwright(&args).await?;
    let text = String::from_utf8(again.stderr)?;
    assert!(again.status.code() == Some(1) && text.contains("already exists"), "{text}");
    let missing = scene.jobwright(&["trigger", "cronjob/missing"]).await?;
    assert!(String::from_utf8(missing.stderr)?.contains("cannot read cronjob/missing"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn trigger_reports_what_blocks_the_job_and_ends_at_the_timeout() -> Result<()> {
    let scene = Scene::new("trigger-stuck").await?;
    let crons: Api<CronJob> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let cron = serde_json::from_value(json!({
        "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 3 * * *", "timeZone": "UTC", "suspend": true, "jobTemplate": {"spec": {
            "managedBy": "jobwright.dev/controller",
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "i"}]}},
        }}},
    }))?;
    crons.create(&PostParams::default(), &cron).await?;
    let blocked = async {
        let pod = scene.active("stuck", 1).await?.remove(0);
        let waiting = json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}});
        let status =
            json!([{"name": "main", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": waiting}]);
        scene.kubelet.patch(&pod, json!({"containerStatuses": status})).await?;
        anyhow::Ok(pod)
    };
    let args = ["trigger", "cronjob/nightly", "--name=stuck", "--watch", "--timeout=8s"];
    let (followed, pod) = tokio::join!(scene.jobwright(&args), blocked);
    let (followed, pod) = (followed?, pod?);
    let (text, error) = (String::from_utf8(followed.stdout)?, String::from_utf8(followed.stderr)?);
    assert_eq!(followed.status.code(), Some(124), "{text}{error}");
    let cause = format!("job/stuck is stuck: Pod {pod}: container main is in ErrImagePull: no such image\n");
    assert_eq!(text.matches(&cause).count(), 1, "a cause is printed once: {text}");
    assert_eq!(error, "jobwright: the timeout has passed; job/stuck keeps running\n");
    assert!(scene.jobs.get("stuck").await?.status.is_some_and(|status| status.active == Some(1)));
    Ok(())
}

fn check(args: &[&str]) -> Result<(Option<i32>, String, String)> {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_jobwright")).arg("check").args(args).output()?;
    Ok((output.status.code(), String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
}

#[test]
fn check_reports_findings_with_rule_and_position() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("jobs.yaml");
    std::fs::write(
        &file,
        "# A nightly report.\napiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nightly}\nspec:\n  schedule: '30 2 * * *'\n  timeZone: Europe/Paris\n  \
         jobTemplate: {spec: {activeDeadlineSeconds: 60, template: {spec: {restartPolicy: OnFailure, containers: [{name: main, image: i}]}}}}\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n---\n\
         apiVersion: batch/v1\nkind: Job\nmetadata: {name: once, annotations: {jobwright.dev/check-ignore: no-deadline}}\n\
         spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: i}]}}}\n",
    )?;
    let path = file.display().to_string();
    let (code, text, _) = check(&["-f", &path])?;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(code, Some(1), "{text}");
    assert!(
        lines[0].starts_with(&format!("{path}:2: cronjob/nightly: warning: ")) && lines[0].ends_with("[clock-change]"),
        "{text}"
    );
    assert!(
        lines[1].contains("spec.jobTemplate.spec.template.spec.restartPolicy") && lines[1].ends_with("[logs-lost]"),
        "{text}"
    );
    assert_eq!(lines[2], "0 errors, 2 warnings, 0 info (3 of lower severity hidden)", "{text}");
    let (_, all, _) = check(&["-f", &path, "--min-severity=info"])?;
    let cleanup = all.lines().find(|line| line.ends_with("[no-cleanup]")).context("a finding of no-cleanup")?;
    assert!(cleanup.starts_with(&format!("{path}:14: job/once: info: ")), "{all}");
    assert_eq!(check(&["-f", &path, "--least=info"])?.1, all, "the former name of the flag");

    assert_eq!(check(&["-f", &path, "--fail-on=error"])?.0, Some(0));
    let (code, text, _) = check(&["-f", &path, "--ignore=clock-change,logs-lost,no-clean-up,no-resources"])?;
    assert_eq!((code, text.as_str()), (Some(0), "0 errors, 0 warnings, 0 info\n"));
    let (_, text, _) = check(&["-f", &path, "--output=json"])?;
    let found: Value = serde_json::from_str(&text)?;
    assert_eq!(found[1]["rule"], "logs-lost");
    let (_, text, _) = check(&["-f", &path, "--output=sarif"])?;
    let log: Value = serde_json::from_str(&text)?;
    let result = &log["runs"][0]["results"][0];
    assert_eq!((log["version"].as_str(), result["level"].as_str()), (Some("2.1.0"), Some("warning")));
    assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 2);
    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().context("missing rules")?;
    assert!(rules.iter().any(|rule| rule["id"] == result["ruleId"]));
    Ok(())
}

#[test]
fn check_reports_unreadable_input_and_unknown_rules() -> Result<()> {
    let (code, _, text) = check(&["-f", "/nonexistent.yaml"])?;
    assert!(code == Some(2) && text.contains("cannot read /nonexistent.yaml"), "{text}");
    let (code, _, text) = check(&["-f", "x", "--ignore=no-such-rule"])?;
    assert!(code == Some(2) && text.contains("there is no rule") && text.contains("no-cleanup"), "{text}");
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("odd.yaml");
    std::fs::write(
        &file,
        "apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\nspec: {parallelism: many, template: {}}\n",
    )?;
    let (code, text, _) = check(&["-f", &file.display().to_string()])?;
    assert!(code == Some(1) && text.contains("[unreadable]") && text.contains("many"), "{text}");
    Ok(())
}

#[test]
fn check_is_quiet_on_the_examples_and_reads_folders_on_request() -> Result<()> {
    let (code, text, error) = check(&["-R", "-f", "examples"])?;
    assert_eq!((code, error.as_str()), (Some(0), ""), "{text}");
    assert_eq!(text.lines().count(), 1, "only the summary: {text}");
    assert!(text.starts_with("0 errors, 0 warnings, 0 info ("), "{text}");
    let (code, _, error) = check(&["-f", "examples"])?;
    assert!(code == Some(0) && error.contains("the folders in examples are not read; -R"), "{error}");
    Ok(())
}

#[test]
fn check_fails_when_it_finds_nothing_to_check() -> Result<()> {
    for args in [&["-f", "deploy"][..], &["-f", "/dev/null"], &["-R", "-f", "crds"]] {
        let (code, text, error) = check(args)?;
        assert_eq!(code, Some(2), "{args:?}: {text}");
        assert!(
            error.contains("no Jobs, CronJobs, JobSchedules, JobLimits, JobPolicies or Calendars found in"),
            "{args:?}: {error}"
        );
    }
    Ok(())
}

#[test]
fn check_reports_what_the_api_server_refuses_and_what_does_not_exist() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("wrong.yaml");
    std::fs::write(
        &file,
        "apiVersion: batch/v1\nkind: Job\nmetadata: {name: a, annotations: {jobwright.dev/ttl-after-success: '60'}}\n\
         spec: {managedBy: jobwright.dev/controler, template: {spec: {contaners: [], containers: [{name: main, image: i}]}}}\n---\n\
         apiVersion: jobwright.dev/v1beta1\nkind: JobLimit\nmetadata: {name: lim}\nspec: {maxActiveJob: 3}\n---\n\
         apiVersion: jobwright.dev/v1beta1\nkind: JobSchedule\nmetadata: {name: s}\n\
         spec: {schedules: ['61 * * * *'], timeZone: Mars, jitterr: 5m, maxCatchUp: 3, jobTemplate: {spec: {template: {spec: \
         {restartPolicy: Never, containers: [{name: main, image: i}]}}}}}\n",
    )?;
    let (code, text, _) = check(&["-f", &file.display().to_string()])?;
    assert_eq!(code, Some(1), "{text}");
    for expected in [
        "there is no annotation jobwright.dev/ttl-after-success",
        "spec.managedBy \"jobwright.dev/controler\" names no controller",
        "restartPolicy must be set to Never or OnFailure",
        "spec.maxActiveJob does not exist",
        "spec must have maxActiveJobs, maxActivePods or both",
        "spec.jitterr does not exist",
        "spec.maxCatchUp requires spec.catchUp: All",
        "[unknown-time-zone]",
        "[bad-schedule]",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn timeline_draws_the_pods_of_a_job_and_top_lists_active_jobs() -> Result<()> {
    let scene = Scene::new("drawn").await?;
    scene.create("etl", json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed"})).await?;
    let none = scene.jobwright(&["timeline", "job/missing"]).await?;
    assert!(String::from_utf8(none.stderr)?.contains("cannot read job/missing"));
    let pods = scene.active("etl", 2).await?;
    scene.kubelet.succeed(&pods[0]).await?;
    scene.job_until("etl", "1 succeeded", |status| status.succeeded == Some(1)).await?;
    let chart = scene.stdout_of(&["timeline", "job/etl"]).await?;
    assert!(chart.starts_with("job/etl is running: 1 succeeded, 0 failed\n"), "{chart}");
    assert!(chart.lines().any(|line| line.starts_with(&pods[0]) && line.ends_with('✓')), "{chart}");
    assert!(chart.lines().any(|line| line.starts_with(&pods[1]) && line.ends_with('…')), "{chart}");
    let picture = scene.stdout_of(&["timeline", "job/etl", "--output=svg"]).await?;
    assert!(picture.starts_with("<svg ") && picture.contains(&pods[1]), "{picture}");
    let page = scene.stdout_of(&["timeline", "job/etl", "--output=html"]).await?;
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("<svg "), "{page}");

    let listed = scene.stdout_of(&["top"]).await?;
    let line = listed.lines().find(|line| line.starts_with("etl ")).context("missing line")?;
    assert!(line.contains("50%") && line.contains("1/2") && line.contains("running"), "{listed}");
    scene.kubelet.succeed(&pods[1]).await?;
    scene.condition("etl", "Complete").await?;
    assert!(scene.stdout_of(&["top"]).await?.contains(&format!("no unfinished Jobs in namespace {}", scene.namespace)));
    assert!(scene.stdout_of(&["top", "--all"]).await?.contains("100%"));
    let json: Value = serde_json::from_str(&scene.stdout_of(&["top", "--all", "-o", "json"]).await?)?;
    let row = &json["items"][0];
    assert_eq!((row["name"].as_str(), row["state"].as_str()), (Some("etl"), Some("complete")), "{json}");
    let yaml = scene.stdout_of(&["top", "--all", "-o", "yaml"]).await?;
    assert!(yaml.starts_with("items:") && yaml.contains("name: etl"), "{yaml}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_works_as_a_kubectl_plugin() -> Result<()> {
    let cluster = testbed::Cluster::shared().await?;
    if cluster.control.is_none() {
        testbed::skipped!("a given cluster has its own kubectl");
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
fn completions_and_man_page_contain_the_subcommands() -> Result<()> {
    let stdout_of = |args: &[&str]| -> Result<String> {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_jobwright")).args(args).output()?;
        anyhow::ensure!(output.status.success(), "{args:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    for shell in ["bash", "zsh", "fish"] {
        let completions = stdout_of(&["completions", shell])?;
        assert!(completions.contains("jobwright") && completions.contains("__complete --"), "{shell}: {completions}");
    }
    let commands = stdout_of(&["__complete", "--", ""])?;
    assert!(commands.contains("explain\t") && commands.contains("timeline\t"), "{commands}");
    assert!(stdout_of(&["man", "wait"])?.contains(".TH jobwright-wait 1"));
    let page = stdout_of(&["man"])?;
    assert!(page.contains(".TH jobwright 1") && page.contains("explain"), "{page}");
    Ok(())
}
