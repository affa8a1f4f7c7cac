//! Every manifest in `examples/beyond/` behaves as its first line states. These examples use features that the built-in
//! controllers lack.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::harness::*;
use crate::{kubectl, scene_with};

const EXAMPLES: &[&str] = &[
    "after",
    "calendar",
    "holidays",
    "indexes",
    "limit",
    "memory",
    "queue",
    "retention",
    "spread",
    "start-deadlines",
    "why",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/beyond")
}

async fn apply(scene: &Scene, name: &str) -> Result<()> {
    let file = folder().join(format!("{name}.yaml"));
    kubectl(scene, &["apply", "-f", file.to_str().context("the path is not UTF-8")?]).await.map(drop)
}

async fn object(scene: &Scene, what: &[&str]) -> Result<Value> {
    let text = kubectl(scene, &[&["get"], what, &["-o", "json"]].concat()).await?;
    Ok(serde_json::from_str(&text)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_behaves_as_its_first_line_states() -> Result<()> {
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(folder())? {
        let name = entry?.file_name().into_string().ok().context("the file name is not UTF-8")?;
        files.insert(name.trim_end_matches(".yaml").to_owned());
    }
    assert_eq!(files, EXAMPLES.iter().map(|&name| name.to_owned()).collect());
    let Some(scene) = scene_with("beyond", &["--log-tail=10"]).await? else { return Ok(()) };
    for name in EXAMPLES {
        apply(&scene, name).await?;
    }
    schedules(&scene).await?;
    limit(&scene).await?;
    kept(&scene).await?;
    indexes(&scene).await?;
    start_deadlines(&scene).await?;
    after(&scene).await?;
    memory(&scene).await?;
    scene.cluster.delete_namespace(&scene.namespace).await
}

async fn schedules(scene: &Scene) -> Result<()> {
    until("the next time of all JobSchedules", || async {
        let list = object(scene, &["jobschedules"]).await?;
        let due = list["items"].as_array().into_iter().flatten();
        let due = due.filter(|schedule| schedule["status"]["nextScheduleTime"].is_string()).count();
        Ok(if due == 5 { Ok(()) } else { Err(format!("{list:#}")) })
    })
    .await?;
    let table = kubectl(scene, &["get", "jobschedules"]).await?;
    println!("{table}");
    let calendar = table.lines().find(|line| line.starts_with("calendar ")).context("no line of calendar")?;
    assert!(calendar.contains("Europe/Paris") && calendar.contains("T02:30:00+0"), "{table}");

    // After a long time without a controller, the last three missed runs start, one after another.
    let since = r#"{"status":{"lastScheduleTime":"2026-01-01T00:00:00Z","timesSince":"2026-01-01T00:00:00Z"}}"#;
    kubectl(scene, &["patch", "jobschedule", "queue", "--subresource=status", "--type=merge", "-p", since]).await?;
    let history = until("three runs", || async {
        let queue = object(scene, &["jobschedule", "queue"]).await?;
        let history = queue["status"]["history"].as_array().cloned().unwrap_or_default();
        Ok(if history.len() >= 3 { Ok(history) } else { Err(format!("{queue:#}")) })
    })
    .await?;
    for (newer, older) in history.iter().zip(&history[1..]) {
        let time = |run: &Value, field: &str| run[field].as_str().unwrap_or_default().to_owned();
        assert!(time(newer, "scheduled") > time(older, "scheduled"), "{history:#?}");
        assert!(time(newer, "started") >= time(older, "finished"), "{history:#?}");
        assert_eq!(newer["outcome"], "Succeeded", "{history:#?}");
    }
    let job = history[0]["job"].as_str().unwrap_or_default();
    let log = kubectl(scene, &["logs", &format!("job/{job}")]).await?;
    let scheduled: jiff::Timestamp = history[0]["scheduled"].as_str().unwrap_or_default().parse()?;
    assert_eq!(log.trim(), format!("for {scheduled}"));

    let text = jobwright(scene, &["trigger", "jobschedule/spread", "--watch"]).await?;
    assert!(text.contains("Complete"), "{text}");
    calendars_and_parameters(scene).await
}

/// Runs the command line, which must succeed, and returns its output.
async fn jobwright(scene: &Scene, arguments: &[&str]) -> Result<String> {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_jobwright"))
        .args(arguments)
        .args(["--namespace", &scene.namespace])
        .arg("--kubeconfig")
        .arg(&scene.cluster.kubeconfig)
        .output()
        .await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

async fn calendars_and_parameters(scene: &Scene) -> Result<()> {
    let closing = object(scene, &["jobschedule", "closing"]).await?;
    let next = closing["status"]["nextScheduleTime"].as_str().unwrap_or_default();
    let ends = ["-03-31T20:00:00", "-06-30T20:00:00", "-09-30T20:00:00", "-12-31T20:00:00"];
    assert!(ends.iter().any(|end| next.contains(end)), "{next}");
    // The containers of a real node have the values as they were given.
    let trigger = ["trigger", "jobschedule/reports", "--name=report-now", "--set", "REGION=$(HOME) us$", "--watch"];
    jobwright(scene, &trigger).await?;
    assert_eq!(kubectl(scene, &["logs", "job/report-now"]).await?.trim(), "report of $(HOME) us$");

    let backfill = ["backfill", "jobschedule/reports", "--from=2025-12-24", "--to=2025-12-26", "--set=REGION=asia"];
    let text = jobwright(scene, &backfill).await?;
    assert!(text.contains("reports backfills 2 runs, skips 0"), "Christmas Day is a holiday: {text}");
    kubectl(scene, &["wait", "--for=condition=BackfillComplete", "jobschedule/reports", "--timeout=60s"]).await?;
    let logs = kubectl(scene, &["logs", "-l", "jobwright.dev/backfill"]).await?;
    assert_eq!(logs.lines().collect::<Vec<_>>(), ["report of asia", "report of asia"]);
    Ok(())
}

async fn limit(scene: &Scene) -> Result<()> {
    let names = ["licensed-1", "licensed-2", "licensed-urgent"];
    for name in names {
        kubectl(scene, &["wait", "--for=condition=complete", &format!("job/{name}"), "--timeout=60s"]).await?;
    }
    let mut spans = Vec::new();
    for name in names {
        let status = object(scene, &["job", name]).await?["status"].clone();
        let time = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
        spans.push((time("startTime"), time("completionTime"), name));
    }
    spans.sort();
    for (one, next) in spans.iter().zip(&spans[1..]) {
        assert!(one.1 <= next.0, "two Jobs ran concurrently: {spans:?}");
    }
    assert_ne!(spans[2].2, "licensed-urgent", "{spans:?}");
    scene.event(spans[2].2, "WaitingForLimit", "at JobLimit one-at-a-time").await
}

/// A real kubelet and the real scheduler report why the pods do not start.
async fn start_deadlines(scene: &Scene) -> Result<()> {
    let causes = [
        ("image-typo", "Image", "ErrImagePull|ImagePullBackOff"),
        ("secret-missing", "Config", "CreateContainerConfigError"),
        ("no-node", "Unschedulable", "Unschedulable"),
    ];
    for (name, cause, reasons) in causes {
        kubectl(scene, &["wait", "--for=condition=failed", &format!("job/{name}"), "--timeout=120s"]).await?;
        let job = object(scene, &["job", name]).await?;
        let conditions = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let failed = conditions.iter().find(|one| one["type"] == "Failed").context("no condition Failed")?;
        assert_eq!(failed["reason"], "StartDeadlineExceeded", "{job:#}");
        let message = failed["message"].as_str().unwrap_or_default();
        assert!(reasons.split('|').any(|reason| message.contains(reason)), "{cause}: {message}");
        assert_eq!(job["metadata"]["annotations"]["jobwright.dev/governed-by"], "fail-fast");
        let text = jobwright(scene, &["explain", &format!("job/{name}")]).await?;
        println!("{text}");
        assert!(text.contains("StartDeadlineExceeded: Pod "), "{text}");
    }
    // A pod without a node is not deleted, and has the condition.
    let pods = object(scene, &["pods", "-l", "job-name=no-node"]).await?;
    let conditions = pods["items"][0]["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let exceeded = conditions.iter().find(|one| one["type"] == "jobwright.dev/StartDeadlineExceeded");
    assert_eq!(exceeded.map(|one| one["reason"].clone()), Some("Unschedulable".into()), "{pods:#}");
    Ok(())
}

/// The kernel kills a container that exceeds its limit, and the next one has room.
async fn memory(scene: &Scene) -> Result<()> {
    kubectl(scene, &["wait", "--for=condition=complete", "job/hungry", "--timeout=120s"]).await?;
    let job = object(scene, &["job", "hungry"]).await?;
    assert_eq!((&job["status"]["failed"], &job["status"]["succeeded"]), (&json!(1), &json!(1)), "{job:#}");
    assert_eq!(job["metadata"]["annotations"]["jobwright.dev/memory"], r#"{"main":"128Mi"}"#);
    scene.event("hungry", "MemoryRaised", "container main 128Mi").await
}

async fn after(scene: &Scene) -> Result<()> {
    kubectl(scene, &["wait", "--for=condition=complete", "job/report", "--timeout=60s"]).await?;
    let job = async |name: &str| object(scene, &["job", name]).await;
    let (report, extract, load) = (job("report").await?, job("extract").await?, job("load").await?);
    let time = |job: &Value, pointer: &str| job.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let ended = load["status"]["conditions"].as_array().into_iter().flatten().find(|one| one["type"] == "Failed");
    let ended = time(ended.context("load has not failed")?, "/lastTransitionTime");
    let started = time(&report, "/status/startTime");
    assert!(time(&extract, "/status/completionTime") <= started && ended <= started, "{report:#}");
    let result: Value = serde_json::from_str(&time(&report, "/metadata/annotations/jobwright.dev~1result"))?;
    assert_eq!(result["results"][0]["message"], "120 rows", "{result:#}");
    Ok(())
}

async fn indexes(scene: &Scene) -> Result<()> {
    kubectl(scene, &["wait", "--for=condition=complete", "job/two-of-five", "--timeout=60s"]).await?;
    let table = kubectl(scene, &["get", "job", "two-of-five"]).await?;
    assert!(table.contains("Complete") && table.contains("2/5"), "{table}");
    let job = object(scene, &["job", "two-of-five"]).await?;
    assert_eq!(job["status"]["completedIndexes"], "1,3", "{job:#}");
    let logs = kubectl(scene, &["logs", "-l", "batch.kubernetes.io/job-name=two-of-five"]).await?;
    let mut parts: Vec<&str> = logs.lines().collect();
    parts.sort_unstable();
    assert_eq!(parts, ["part 1", "part 3"]);
    Ok(())
}

async fn kept(scene: &Scene) -> Result<()> {
    until("the Job that succeeded to be gone", || async {
        let there = scene.jobs.get_opt("kept-if-it-fails").await?.is_some();
        Ok(if there { Err("the Job still exists".to_owned()) } else { Ok(()) })
    })
    .await?;
    kubectl(scene, &["wait", "--for=condition=failed", "job/why", "--timeout=60s"]).await?;
    assert!(
        scene.pods_of("why").await?.iter().all(|pod| pod.metadata.deletion_timestamp.is_some()),
        "the pod of the failed Job must not be deleted"
    );
    let job = object(scene, &["job", "why"]).await?;
    let text = job["metadata"]["annotations"]["jobwright.dev/failure"].as_str().context("missing report")?;
    println!("{text}");
    let report: Value = serde_json::from_str(text)?;
    let reported = ["container", "exitCode", "message", "log"].map(|field| report[field].clone());
    let log = json!(["looking for the disk", "no disk found"]);
    assert_eq!(reported, [json!("main"), json!(28), json!("disk full"), log], "{text}");
    scene.event("why", "FailureCause", "container main: exit code 28").await
}
