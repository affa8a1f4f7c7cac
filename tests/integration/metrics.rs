//! The endpoints `/metrics`, `/livez` and `/readyz`, and the metrics that dashboard and alerts use.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use k8s_openapi::api::batch::v1::CronJob;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::*;

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
    let deploy = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let read = |name: &str| std::fs::read_to_string(deploy.join(name)).with_context(|| name.to_owned());
    let dashboard: Value = serde_json::from_str(&read("grafana/jobwright.json")?)?;
    let panels = dashboard["panels"].as_array().context("missing panels")?.iter();
    let mut expressions: Vec<String> = panels
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten())
        .filter_map(|target| Some(target["expr"].as_str()?.to_owned()))
        .collect();
    let alerts: Value = serde_saphyr::from_str(&read("prometheus/alerts.yaml")?)?;
    let rules = alerts["groups"][0]["rules"].as_array().context("missing rules")?;
    expressions.extend(rules.iter().filter_map(|rule| Some(rule["expr"].as_str()?.to_owned())));
    assert!(expressions.len() > 25, "{expressions:?}");

    let [port] = testbed::control_plane::free_ports()?;
    let listen = format!("--listen=127.0.0.1:{port}");
    let scene = Scene::with_flags("dashboard", &["--claim=all", "--leader-elect=true", &listen]).await?;
    if scene.cluster.control.is_none() {
        testbed::skipped!("the built-in controllers of a given cluster can be on");
        return Ok(());
    }
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

    until("every metric that is named", || async {
        let (_, text) = get(port, "/metrics").await?;
        let samples: BTreeSet<&str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split(['{', ' ']).next())
            .collect();
        let named = expressions.iter().flat_map(|expression| metric_names(expression));
        let missing: BTreeSet<&str> = named.filter(|name| !samples.contains(name)).collect();
        Ok(if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} of {samples:#?}")) })
    })
    .await
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
