//! The cluster that `testbed up` leaves running: a process in the background, and a file with its process id and
//! kubeconfig.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde::{Deserialize, Serialize};
use testbed::{Cluster, Options, assets};
use tokio::signal::unix::{SignalKind, signal};

/// Process id and paths of the cluster in the background.
#[derive(Serialize, Deserialize)]
struct Running {
    pid: i32,
    kubeconfig: PathBuf,
    logs: PathBuf,
}

fn state_file() -> PathBuf {
    std::env::temp_dir().join("jobwright-testbed-up.json")
}

/// Returns the cluster that `up` has started, if it is still running.
fn running() -> Option<Running> {
    let text = fs::read(state_file()).ok()?;
    let running: Running = serde_json::from_slice(&text).ok()?;
    test_kill_process(Pid::from_raw(running.pid)?).ok()?;
    Some(running)
}

fn print_running(running: &Running) {
    println!("export KUBECONFIG={}", running.kubeconfig.display());
    eprintln!("testbed: running; logs in {}", running.logs.display());
    if let Ok(kubectl) = assets::KUBECTL.path() {
        eprintln!("testbed: kubectl of the same version: {}", kubectl.display());
    }
}

/// Starts a cluster in the background, unless one is running, and prints its kubeconfig.
pub async fn up(flags: &[String]) -> Result<()> {
    if let Some(running) = running() {
        print_running(&running);
        return Ok(());
    }
    // The build runs in the foreground, so that its progress is visible.
    assets::ensure(assets::CONTROL_PLANE)?;
    let _ = fs::remove_file(state_file());
    let log_path = std::env::temp_dir().join("jobwright-testbed-up.log");
    let log = File::create(&log_path)?;
    let mut child = std::process::Command::new("setsid")
        .arg(std::env::current_exe()?)
        .arg("serve")
        .args(flags)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("starting the cluster in the background by setsid")?;
    let deadline = Instant::now() + Duration::from_secs(900);
    loop {
        if let Some(running) = running() {
            print_running(&running);
            return Ok(());
        }
        let ended = child.try_wait()?.is_some_and(|status| !status.success());
        if ended || Instant::now() > deadline {
            bail!("the cluster did not start:\n{}", fs::read_to_string(&log_path).unwrap_or_default());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Stops the cluster in the background, and waits until its process has ended.
pub async fn down() -> Result<()> {
    let Some(running) = running() else {
        eprintln!("testbed: no cluster is running");
        return Ok(());
    };
    let pid = Pid::from_raw(running.pid).context("the process id is 0")?;
    kill_process(pid, Signal::TERM)?;
    while test_kill_process(pid).is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eprintln!("testbed: stopped");
    Ok(())
}

/// Prints the kubeconfig of the cluster. Returns a failure code if no cluster is running.
pub fn status() -> Result<ExitCode> {
    if let Some(running) = running() {
        print_running(&running);
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("testbed: no cluster is running");
    Ok(ExitCode::FAILURE)
}

/// Starts a cluster, and keeps it running until SIGTERM, SIGINT or the end of one of its processes.
pub async fn serve(options: &Options) -> Result<()> {
    let mut cluster = Cluster::start(options).await?;
    let running = Running {
        pid: i32::try_from(std::process::id())?,
        kubeconfig: cluster.kubeconfig.clone(),
        logs: cluster.dir().context("the cluster has no folder")?.to_owned(),
    };
    // The file is renamed into place, so that a reader never sees a partial file.
    let unfinished = state_file().with_extension("unfinished");
    fs::write(&unfinished, serde_json::to_vec(&running)?)?;
    fs::rename(&unfinished, state_file())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let result = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                if let Err(error) = cluster.check() {
                    break Err(error);
                }
            }
        }
    };
    let _ = fs::remove_file(state_file());
    result
}
