//! Log lines in JSON, and the export of traces to a collector.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::*;

/// Reads one HTTP request, head and body, and responds with 200.
async fn receive(mut stream: TcpStream) -> Result<Vec<u8>> {
    let mut request = Vec::new();
    loop {
        let mut part = [0; 16 * 1024];
        let length = stream.read(&mut part).await?;
        request.extend(&part[..length]);
        let text = String::from_utf8_lossy(&request).to_lowercase();
        let wanted = text.split_once("\r\n\r\n").and_then(|(head, _)| {
            let length = head.split("content-length:").nth(1)?.split("\r\n").next()?.trim().parse::<usize>().ok()?;
            Some(head.len() + 4 + length)
        });
        if length == 0 || wanted.is_some_and(|wanted| request.len() >= wanted) {
            break;
        }
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await?;
    Ok(request)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sync_is_exported_as_a_span() -> Result<()> {
    let collector = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("--otlp-endpoint=http://{}", collector.local_addr()?);
    let received: Arc<Mutex<Vec<u8>>> = Arc::default();
    let into = received.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = collector.accept().await {
            let request = receive(stream).await.unwrap_or_default();
            into.lock().expect("no test panics here").extend(request);
        }
    });
    let mut scene = Scene::with_flags("traces", &[&endpoint]).await?;
    scene.create("traced-job", json!({})).await?;
    let pod = scene.active("traced-job", 1).await?.remove(0);
    scene.kubelet.succeed(&pod).await?;
    scene.condition("traced-job", "Complete").await?;
    // The process exports the remaining spans when it stops.
    scene.controller.as_mut().context("the controller is not running")?.process.stop(Duration::from_secs(10))?;
    let received = received.lock().expect("no test panics here").clone();
    let text = String::from_utf8_lossy(&received);
    for part in ["POST /v1/traces", "jobwright", "sync", "traced-job", &scene.namespace] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_trace_collector_blocks_no_job() -> Result<()> {
    let [port] = testbed::control_plane::free_ports()?;
    let mut scene = Scene::with_flags("untraced", &[&format!("--otlp-endpoint=http://127.0.0.1:{port}")]).await?;
    scene.create("job", json!({})).await?;
    let pod = scene.active("job", 1).await?.remove(0);
    scene.kubelet.succeed(&pod).await?;
    scene.condition("job", "Complete").await?;
    let status =
        scene.controller.as_mut().context("the controller is not running")?.process.stop(Duration::from_secs(10))?;
    assert!(status.success(), "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn json_log_lines_are_one_object_each() -> Result<()> {
    let scene = Scene::with_flags("json", &["--log-format=json"]).await?;
    scene.create("job", json!({})).await?;
    scene.active("job", 1).await?;
    let controller = scene.controller.as_ref().context("the controller is not running")?;
    let log = controller.process.log_tail(1000);
    let lines = log.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let step = lines.iter().find(|line| line["message"] == "next step").context("no log line of a step")?;
    let facts = ["level", "step", "controller", "namespace", "name"].map(|field| step[field].clone());
    assert_eq!(facts, ["DEBUG", "create 1 pods", "job", &scene.namespace, "job"].map(|text| json!(text)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_log_line_about_a_job_has_its_namespace_and_name() -> Result<()> {
    let scene = Scene::with_flags("names", &["--log-format=json"]).await?;
    scene.create("good", json!({"completions": 2, "parallelism": 2})).await?;
    scene.create("bad", json!({"backoffLimit": 0})).await?;
    scene.create("idle", json!({"suspend": true})).await?;
    for pod in scene.active("good", 2).await? {
        scene.kubelet.succeed(&pod).await?;
    }
    let pod = scene.active("bad", 1).await?.remove(0);
    scene.kubelet.fail(&pod, 3).await?;
    scene.condition("good", "Complete").await?;
    scene.condition("bad", "Failed").await?;
    scene.condition("idle", "Suspended").await?;
    let mut identities = Vec::new();
    for job in ["good", "bad", "idle"] {
        let job = scene.jobs.get(job).await?;
        identities.push((job.metadata.name.context("a name")?, job.metadata.uid.context("a UID")?));
    }
    let expected =
        ["good: Job started", "good: Job completed", "bad: Job started", "bad: Job failed", "idle: Job suspended"];
    // A line is written after the response of the API server.
    until("all messages", || async {
        let controller = scene.controller.as_ref().context("the controller is not running")?;
        let log = controller.process.log_tail(10_000);
        let lines = log.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        let mut messages = Vec::new();
        for (name, uid) in &identities {
            for line in lines.iter().filter(|line| line.to_string().contains(uid)) {
                assert_eq!((&line["namespace"], &line["name"]), (&json!(scene.namespace), &json!(name)), "{line}");
                if line["level"] == "INFO" {
                    messages.push(format!("{name}: {}", line["message"].as_str().unwrap_or_default()));
                }
            }
        }
        Ok(if messages == expected { Ok(()) } else { Err(format!("{messages:?}")) })
    })
    .await
}

#[test]
fn log_line_with_a_uid_and_no_name_is_found() {
    let line =
        |fields: &str| format!("2026-01-01T00:00:00.000000Z  WARN jobwright::runtime::worker: sync failed {fields}");
    let uid = "uid=ec8da474-a18b-4f6e-9c70-3f6b1d2e4a55";
    for (fields, is_found) in [
        (uid.to_owned(), true),
        (format!("controller=job {uid}"), true),
        (format!("namespace=default name=two {uid}"), false),
        ("retry_in=60s".to_owned(), false),
    ] {
        assert_eq!(names_an_object_by_its_uid_alone(&line(&fields)), is_found, "{fields}");
    }
    let other = format!("DEBUG kube_runtime::watcher: {uid}");
    assert!(!names_an_object_by_its_uid_alone(&other), "lines of libraries have no names");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_log_lines_are_pairs_with_quoted_values() -> Result<()> {
    let scene = Scene::new("pairs").await?;
    testbed::quota::enforce(&scene.client, &scene.namespace, "none", &[("count/pods", "0")]).await?;
    scene.create("refused", json!({})).await?;
    scene.event("refused", "FailedCreate", "exceeded quota").await?;
    let log = scene.controller.as_ref().context("the controller is not running")?.process.log_tail(1000);
    let failed = log.lines().find(|line| line.contains("a write failed")).context("no line of a failed write")?;
    let begin = " WARN jobwright::job::execute: a write failed controller=job uid=";
    assert!(failed.contains(begin), "{failed}");
    let object = format!(" namespace={} name=refused reason=FailedCreate error=\"pods ", scene.namespace);
    assert!(failed.contains(&object), "{failed}");
    assert_eq!(failed.matches("namespace=").count(), 1, "{failed}");
    Ok(())
}
