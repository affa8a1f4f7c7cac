//! The endpoints `/metrics`, `/livez` and `/readyz`, and the metrics that dashboard and alerts use.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::*;
use crate::job_limits::limit;
use crate::job_schedule_conditions;

/// Sends a GET request, and returns status code and body of the response.
pub async fn get(port: u16, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: here\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the response has no head and body")?;
    let code = head.split(' ').nth(1).context("the response has no status code")?.parse()?;
    Ok((code, body.to_owned()))
}

/// Waits until this series of the metrics has this value.
async fn sample(port: u16, series: &str, value: u32) -> Result<()> {
    let line = format!("{series} {value}");
    until(&line, || async {
        let (_, text) = get(port, "/metrics").await?;
        let name = series.split('{').next().unwrap_or(series);
        let seen: String = text.lines().filter(|line| line.contains(name)).map(|line| format!("{line}\n")).collect();
        Ok(if text.lines().any(|is| is == line) { Ok(()) } else { Err(seen) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_the_built_in_controller_are_served_under_the_same_names() -> Result<()> {
    let [port] = testbed::control_plane::free_ports()?;
    let listen = format!("--listen=127.0.0.1:{port}");
    let scene = Scene::with_flags("metrics", &["--pod-failure-backoff=50ms", &listen]).await?;
    assert_eq!(get(port, "/livez").await?, (200, "ok\n".to_owned()));
    assert_eq!(get(port, "/healthz").await?, (200, "ok\n".to_owned()));
    assert_eq!(get(port, "/readyz").await?, (200, "ok\n".to_owned()));
    assert_eq!(get(port, "/other").await?.0, 404);

    scene.create("plain", json!({"completions": 2, "parallelism": 2})).await?;
    let pods = scene.active("plain", 2).await?;
    scene.kubelet.fail(&pods[0], 1).await?;
    scene.job_until("plain", "1 failed", |status| status.failed == Some(1)).await?;
    for pod in scene.active("plain", 2).await? {
        scene.kubelet.succeed(&pod).await?;
    }
    scene.condition("plain", "Complete").await?;
    let indexed = json!({
        "completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimitPerIndex": 0,
        "podFailurePolicy": {"rules": [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}]},
    });
    scene.create("indexed", indexed).await?;
    let pods = scene.active("indexed", 2).await?;
    scene.kubelet.fail(&pods[0], 42).await?;
    scene.kubelet.succeed(&pods[1]).await?;
    scene.condition("indexed", "Failed").await?;
    scene.create("foreign", json!({"managedBy": "example.com/other"})).await?;

    let j = "job_controller_";
    let finished = |mode: &str, result: &str, reason: &str| {
        format!(r#"{j}jobs_finished_total{{completion_mode="{mode}",result="{result}",reason="{reason}"}}"#)
    };
    let pods = |mode: &str, result: &str| {
        format!(r#"{j}job_pods_finished_total{{completion_mode="{mode}",result="{result}"}}"#)
    };
    let samples = [
        (finished("NonIndexed", "succeeded", "CompletionsReached"), 1),
        (finished("Indexed", "failed", "FailedIndexes"), 1),
        (pods("NonIndexed", "succeeded"), 2),
        (pods("NonIndexed", "failed"), 1),
        (pods("Indexed", "succeeded"), 1),
        (pods("Indexed", "failed"), 1),
        (format!(r#"{j}job_finished_indexes_total{{status="succeeded",backoffLimit="perIndex"}}"#), 1),
        (format!(r#"{j}job_finished_indexes_total{{status="failed",backoffLimit="perIndex"}}"#), 1),
        (format!(r#"{j}pod_failures_handled_by_failure_policy_total{{action="FailIndex"}}"#), 1),
        (format!(r#"{j}job_pods_creation_total{{reason="new",status="succeeded"}}"#), 4),
        (format!(r#"{j}job_pods_creation_total{{reason="recreate_terminating_or_failed",status="succeeded"}}"#), 1),
        (format!(r#"{j}terminated_pods_tracking_finalizer_total{{event="add"}}"#), 5),
        (format!(r#"{j}terminated_pods_tracking_finalizer_total{{event="delete"}}"#), 5),
        (format!(r#"{j}jobs_by_external_controller_total{{controller_name="example.com/other"}}"#), 1),
    ];
    for (series, value) in samples {
        sample(port, &series, value).await?;
    }
    let (_, text) = get(port, "/metrics").await?;
    for (name, kind) in
        [("job_sync_duration_seconds", "histogram"), ("job_syncs", "counter"), ("stale_sync_skips", "counter")]
    {
        assert!(text.contains(&format!("# TYPE {j}{name} {kind}")), "{name}: {text}");
    }
    // The bounds of the buckets are 4 ms, doubled 14 times.
    let labels = r#"completion_mode="NonIndexed",result="success",action="pods_created""#;
    for bound in ["0.004", "0.008", "65.536"] {
        let bucket = format!(r#"{j}job_sync_duration_seconds_bucket{{le="{bound}",{labels}}}"#);
        assert!(text.contains(&bucket), "{bucket}: {text}");
    }
    assert!(text.trim_end().ends_with("# EOF"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_address_in_use_is_named() -> Result<()> {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let address = taken.local_addr()?.to_string();
    let error =
        Scene::with_flags("taken", &[&format!("--listen={address}")]).await.err().context("the controller started")?;
    let text = format!("{error:#}");
    assert!(text.contains(&format!("cannot listen on {address}")) && text.contains("--listen"), "{text}");
    Ok(())
}

/// Returns the metrics of Jobwright in a PromQL expression.
fn metric_names(expression: &str) -> Vec<&str> {
    const OURS: [&str; 6] =
        ["jobwright_", "job_controller_", "cronjob_controller_", "ttl_after_finished_", "process_", "leader_election_"];
    let words = expression.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    words.filter(|word| OURS.iter().any(|prefix| word.starts_with(prefix))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboard_and_alerts_name_existing_metrics() -> Result<()> {
    let expressions = expressions()?;
    assert!(expressions.len() > 40, "{expressions:?}");

    let [port] = testbed::control_plane::free_ports()?;
    let listen = format!("--listen=127.0.0.1:{port}");
    let flags = ["--claim=all", "--leader-elect=true", "--stuck-after=1s", &listen];
    let scene = Scene::with_flags("dashboard", &flags).await?;
    if scene.cluster.control.is_none() {
        testbed::skipped!("the built-in controllers of a given cluster can be on");
        return Ok(());
    }
    // A Job that fails, one whose pod starts nowhere, and one that waits; each of a kind that the metrics count.
    scene.create("bad", json!({"managedBy": null, "backoffLimit": 0})).await?;
    scene.kubelet.fail(&scene.active("bad", 1).await?[0], 1).await?;
    scene.condition("bad", "Failed").await?;
    let once = json!({"schedules": ["@every 1s"], "maxRuns": 1, "jobTemplate": {"spec": {"backoffLimit": 0}}});
    job_schedule_conditions::apply(&scene, "failing", &once).await?;
    let pod = until("the pod of the failing schedule", || async {
        let pods: Api<Pod> = Api::namespaced(scene.client.clone(), &scene.namespace);
        let of = ListParams::default().labels("jobwright.dev/jobschedule=failing");
        Ok(pods.list(&of).await?.items.into_iter().next().ok_or_else(|| "none".to_owned()))
    })
    .await?;
    scene.kubelet.fail(&pod.name_any(), 1).await?;
    job_schedule_conditions::condition_is(&scene, "failing", "Healthy", "False", "LastRunFailed").await?;
    // Its first Job never ends, so that a run stays due.
    let held =
        json!({"schedules": ["@every 1s"], "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": {"suspend": true}}});
    job_schedule_conditions::apply(&scene, "held", &held).await?;
    let closed = json!({"maxActiveJobs": 0, "selector": {"matchLabels": {"queue": "closed"}}});
    limit(&scene, "closed", closed).await?;
    sample(port, r#"jobwright_cache_objects{resource="joblimits"}"#, 1).await?;
    let mut waiting = job("waiting", json!({"managedBy": null}))?;
    waiting.metadata.labels = Some([("queue".to_owned(), "closed".to_owned())].into());
    Api::<Job>::namespaced(scene.client.clone(), &scene.namespace).create(&PostParams::default(), &waiting).await?;
    scene.create("stuck", json!({"managedBy": null})).await?;
    sample(port, &format!(r#"jobwright_jobs_stuck{{namespace="{}",cause="unschedulable"}}"#, scene.namespace), 1)
        .await?;
    let _playing = scene.succeed_all();
    scene.create("job", json!({"managedBy": null})).await?;
    // A quota that refuses pods causes a failed sync.
    scene.condition("job", "Complete").await?;
    testbed::quota::enforce(&scene.client, &scene.namespace, "none", &[("pods", "1")]).await?;
    let cron_jobs: Api<CronJob> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let template = serde_json::to_value(job("x", json!({"managedBy": null, "parallelism": 5}))?)?["spec"].clone();
    let cron_job = json!({
        "metadata": {"name": "cron"},
        "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": template}},
    });
    cron_jobs.create(&PostParams::default(), &serde_json::from_value(cron_job)?).await?;
    let last = json!({"status": {"lastScheduleTime": "2020-06-01T00:00:00Z"}});
    cron_jobs.patch_status("cron", &PatchParams::default(), &Patch::Merge(last)).await?;

    // The stuck Job is not stuck any more, and a gauge without Jobs has no series.
    let stuck = "jobwright_jobs_stuck";
    until("every metric that is named", || async {
        let (_, text) = get(port, "/metrics").await?;
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples: BTreeSet<&str> = samples.filter_map(|line| line.split(['{', ' ']).next()).collect();
        let named = expressions.iter().flat_map(|expression| metric_names(expression));
        let missing: BTreeSet<&str> = named.filter(|name| *name != stuck && !samples.contains(name)).collect();
        Ok(if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} of {samples:#?}")) })
    })
    .await
}

/// Returns the PromQL expressions of all dashboards and alert rules.
fn expressions() -> Result<Vec<String>> {
    let mut expressions = Vec::new();
    for entry in std::fs::read_dir(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/chart/monitoring"))? {
        let file: Value = serde_saphyr::from_str(&std::fs::read_to_string(entry?.path())?)?;
        let panels = file["panels"].as_array().into_iter().flatten();
        let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
        let rules = file["groups"][0]["rules"].as_array().into_iter().flatten();
        expressions.extend(targets.chain(rules).filter_map(|source| Some(source["expr"].as_str()?.to_owned())));
    }
    Ok(expressions)
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_schedules_are_counted_once() -> Result<()> {
    let [port] = testbed::control_plane::free_ports()?;
    let scene = Scene::with_flags("run-metrics", &[&format!("--listen=127.0.0.1:{port}")]).await?;
    let _playing = scene.succeed_all();
    let spec = json!({"schedules": ["@every 1s"], "maxRuns": 3, "catchUp": "All", "successfulJobsHistoryLimit": 0});
    job_schedule_conditions::apply(&scene, "three", &spec).await?;
    job_schedule_conditions::condition_is(&scene, "three", "Complete", "True", "MaxRunsReached").await?;
    let labels = |name: &str| format!(r#"kind="JobSchedule",namespace="{}",name="{name}""#, scene.namespace);
    let three = labels("three");
    sample(port, &format!(r#"jobwright_schedule_runs_total{{{three},outcome="succeeded"}}"#), 3).await?;
    sample(port, &format!("jobwright_schedule_run_duration_seconds_count{{{three}}}"), 3).await?;
    sample(port, &format!("jobwright_schedule_missed_runs_total{{{three}}}"), 0).await?;
    sample(port, &format!("jobwright_schedule_suspended{{{three}}}"), 0).await?;
    sample(port, &format!(r#"jobwright_job_first_pod_duration_seconds_count{{namespace="{}"}}"#, scene.namespace), 3)
        .await?;

    // The seconds of the suspension are missed, and the last one is run.
    job_schedule_conditions::apply(&scene, "late", &json!({"schedules": ["@every 1s"], "suspend": true})).await?;
    let late = labels("late");
    sample(port, &format!("jobwright_schedule_suspended{{{late}}}"), 1).await?;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    job_schedule_conditions::apply(&scene, "late", &json!({"schedules": ["@every 1s"], "maxRuns": 1})).await?;
    let ran = job_schedule_conditions::condition_is(&scene, "late", "Complete", "True", "MaxRunsReached").await?;
    let time = |value: &Value| value.as_str().context("no time")?.parse::<Timestamp>().map_err(anyhow::Error::from);
    let created = time(&ran["metadata"]["creationTimestamp"])?;
    let passed = time(&ran["status"]["lastScheduleTime"])?.duration_since(created).as_secs();
    assert!(passed >= 3, "{passed}");
    sample(port, &format!("jobwright_schedule_missed_runs_total{{{late}}}"), u32::try_from(passed - 1)?).await?;

    // The series of a deleted object go.
    let schedules = job_schedule_conditions::api(&scene);
    schedules.delete("three", &DeleteParams::default()).await?;
    until("no series", || async {
        let (_, text) = get(port, "/metrics").await?;
        let left: Vec<&str> = text.lines().filter(|line| line.contains(&three)).collect();
        Ok(if left.is_empty() { Ok(()) } else { Err(left.join("\n")) })
    })
    .await?;

    let [port] = testbed::control_plane::free_ports()?;
    let flags = ["--workload-metrics=false", &format!("--listen=127.0.0.1:{port}")];
    let _off = Scene::with_flags("no-run-metrics", &flags).await?;
    let (_, text) = get(port, "/metrics").await?;
    assert!(text.contains("jobwright_queue_depth") && !text.contains("jobwright_schedule_"), "{text}");
    Ok(())
}

/// Compares the names, types and help texts of all metrics with `docs/reference/metrics.md`; `UPDATE_REFERENCE=1` writes the page.
#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_in_the_reference() -> Result<()> {
    let [port] = testbed::control_plane::free_ports()?;
    let _scene = Scene::with_flags("reference", &[&format!("--listen=127.0.0.1:{port}")]).await?;
    let (_, text) = get(port, "/metrics").await?;
    let mut rows = BTreeSet::new();
    for help in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
        let (name, help) = help.split_once(' ').context("a metric without a help text")?;
        let type_ = text.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {name} "))).unwrap_or("unknown");
        rows.insert(format!("| `{name}` | {type_} | {} |\n", help.replace('|', "\\|")));
    }
    let page = format!(
        "# Metrics\n\nGenerated by `tests/integration/metrics.rs` from `/metrics`. Counters have the suffix `_total`.\n\n\
         | metric | type | description |\n|---|---|---|\n{}",
        rows.into_iter().collect::<String>()
    );
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/metrics.md");
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, &page)?;
    }
    let hint = "docs/reference/metrics.md is outdated: UPDATE_REFERENCE=1 cargo test --test integration every_metric";
    assert_eq!(std::fs::read_to_string(&path)?, page, "{hint}");
    Ok(())
}
