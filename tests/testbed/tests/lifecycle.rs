//! Testbeds run concurrently, and no process or folder of a testbed outlives it.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a failed expectation ends the test, and the modules of a test are no library"
)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use testbed::{Cluster, Options};

/// Returns the command lines of the processes that contain this text.
fn processes(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let is_process = entry.file_name().to_string_lossy().chars().all(|c| c.is_ascii_digit());
        if is_process && command.contains(text) {
            found.push(command);
        }
    }
    found
}

async fn until_gone(dir: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let text = dir.display().to_string();
    while !processes(&text).is_empty() {
        if Instant::now() > deadline {
            bail!("processes are still running: {:#?}", processes(&text));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_concurrent_testbeds_leave_nothing_behind() -> Result<()> {
    let options = Options::default();
    let start = Instant::now();
    let (first, second) = tokio::join!(Cluster::start(&options), Cluster::start(&options));
    println!("two testbeds were ready in {:.1} s", start.elapsed().as_secs_f64());
    let (first, second) = (first?, second?);
    let namespace = first.namespace("only-here").await?;
    let elsewhere: kube::Api<k8s_openapi::api::core::v1::Namespace> = kube::Api::all(second.client().await?);
    assert!(elsewhere.get_opt(&namespace).await?.is_none(), "both testbeds use the same cluster");
    for cluster in [first, second] {
        let dir = cluster.dir().map(Path::to_owned).expect("a cluster of our own");
        assert!(processes(&dir.display().to_string()).len() >= 3);
        drop(cluster);
        until_gone(&dir).await?;
        assert!(!dir.exists());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_testbed_takes_its_processes_with_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let marker = dir.path().join("kubeconfig-is");
    let mut testbed = Command::new(env!("CARGO_BIN_EXE_testbed"))
        .args([
            "run",
            "--nodes=none",
            "--",
            "sh",
            "-c",
            &format!("echo $KUBECONFIG > {0}.new; mv {0}.new {0}; exec sleep 600", marker.display()),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while !marker.exists() {
        if Instant::now() > deadline {
            bail!("the testbed did not start in 60 s");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let kubeconfig = std::fs::read_to_string(&marker)?;
    let home = Path::new(kubeconfig.trim()).parent().expect("a folder").to_owned();
    assert!(processes(&home.display().to_string()).len() >= 3);
    testbed.kill()?;
    testbed.wait()?;
    until_gone(&home).await
}
