//! `testbed demo`: shows Jobwright at work, as a user sees Jobs and pods through kubectl.
//!
//! The demo runs on a cluster of its own, or on the one that `KUBECONFIG` names. It creates a namespace and removes it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use testbed::process::Process;
use testbed::{Cluster, Nodes, Options, Version};
use tokio::signal::unix::{SignalKind, signal};

use crate::live::Live;
use testbed::Kubectl;

/// Maximum time of one part of the demo, including the pull of images on a given cluster.
const TIMEOUT: Duration = Duration::from_secs(100);

/// Jobs that the demo shows first. Each is a file in `examples/`.
const SHOWN: &[&str] = &["hello", "completions", "parallel", "work-queue", "backoff-limit", "restart-on-failure"];
/// Job that the demo suspends half-way and resumes.
const PAUSED: &str = "suspend-and-resume";

/// Runs the demo, and removes its objects even after a failure or an interruption.
pub async fn run(jobwright: &Path, nodes: Nodes) -> Result<()> {
    let jobwright = std::path::absolute(jobwright)?;
    if !jobwright.is_file() {
        bail!("there is no jobwright binary at {}: run `cargo build` first, or `make demo`", jobwright.display());
    }
    let started = Instant::now();
    let cluster = match std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty()) {
        Some(path) => {
            announce("Using the cluster that KUBECONFIG names; only Jobs of one new namespace are touched.");
            Cluster::given(PathBuf::from(path))
        }
        None => {
            let version = Version::selected()?;
            announce(&format!(
                "Starting a Kubernetes {version} cluster on loopback, its built-in Job controller switched off …"
            ));
            Cluster::start(&Options { nodes, ..Options::default() }).await?
        }
    };
    announce(&format!("The cluster is ready after {:.0} s.", started.elapsed().as_secs_f64()));
    let kubectl = Kubectl::new(&cluster, cluster.namespace("jobwright-demo").await?)?;
    let shown = tokio::select! {
        shown = show(&jobwright, &kubectl, cluster.control.is_none() || cluster.node.is_some()) => shown,
        () = interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    announce("Cleaning up …");
    let cleaned = clean_up(&cluster, &kubectl).await;
    shown.and(cleaned)?;
    announce(&format!("Done in {:.0} s.", started.elapsed().as_secs_f64()));
    Ok(())
}

/// Shows the Jobs. `real` states that pods run on a real node, so that they have logs, take time and can fail.
async fn show(jobwright: &Path, kubectl: &Kubectl, real: bool) -> Result<()> {
    let home = tempfile::tempdir()?;
    let flags = [
        format!("--namespace={}", kubectl.namespace),
        "--claim=managed-by".to_owned(),
        // A short back-off keeps the demo short.
        "--pod-failure-backoff=1s".to_owned(),
    ];
    let mut controller =
        testbed::jobwright::start(jobwright, home.path(), &kubectl.kubeconfig, &flags, "info,kube=error").await?;
    announce("jobwright run has logged: controller ready");
    let namespace = [format!("--namespace={}", kubectl.namespace)];
    let (_console, address) = testbed::console::start(jobwright, home.path(), &kubectl.kubeconfig, &namespace).await?;
    announce(&format!("$ jobwright ui\nThe console is at {address} until the demo ends. The address works once."));

    let mut files: Vec<String> = vec!["apply".to_owned()];
    // Simulated pods cannot fail, so these two Jobs would show nothing on simulated nodes.
    let failing = ["backoff-limit", "restart-on-failure"];
    let shown: Vec<&str> = SHOWN.iter().copied().filter(|name| real || !failing.contains(name)).collect();
    files.extend(shown.iter().flat_map(|name| ["-f".to_owned(), example(name)]));
    announce(&format!("$ kubectl apply -f examples/{{{}}}.yaml", shown.join(",")));
    kubectl.run(&files).await?;
    let ended = |table: &str| shown.iter().all(|name| state(table, name).is_some_and(|state| is_end(&state)));
    watch(&mut controller, kubectl, ended).await?;

    if real {
        announce("$ kubectl logs job/hello");
        println!("{}", kubectl.run(&["logs", "job/hello"]).await?.trim_end());
        suspend_and_resume(&mut controller, kubectl).await?;
    } else {
        resume(&mut controller, kubectl).await?;
    }
    announce("$ kubectl get jobs");
    println!("{}", kubectl.run(&["get", "jobs"]).await?.trim_end());
    let status = controller.stop(Duration::from_secs(10))?;
    if !status.success() {
        bail!("jobwright ended with {status}:\n{}", controller.log_tail(30));
    }
    Ok(())
}

/// Suspends a Job while its pods run, and resumes the Job.
async fn suspend_and_resume(controller: &mut Process, kubectl: &Kubectl) -> Result<()> {
    announce(&format!("$ kubectl apply -f examples/{PAUSED}.yaml"));
    kubectl.run(&["apply".to_owned(), "-f".to_owned(), example(PAUSED)]).await?;
    // Two pods have succeeded, and the next two are running.
    watch(controller, kubectl, |table| {
        state(table, PAUSED).is_some_and(|state| state.ends_with("2/4")) && running(table, PAUSED) == 2
    })
    .await?;
    patch(kubectl, PAUSED, true).await?;
    watch(controller, kubectl, |table| {
        state(table, PAUSED).is_some_and(|state| state.starts_with("Suspended")) && running(table, PAUSED) == 0
    })
    .await?;
    patch(kubectl, PAUSED, false).await?;
    watch(controller, kubectl, |table| state(table, PAUSED).is_some_and(|state| is_end(&state))).await
}

/// Resumes a Job that was created suspended.
async fn resume(controller: &mut Process, kubectl: &Kubectl) -> Result<()> {
    announce("$ kubectl apply -f examples/suspended.yaml");
    kubectl.run(&["apply".to_owned(), "-f".to_owned(), example("suspended")]).await?;
    watch(controller, kubectl, |table| state(table, "suspended").is_some_and(|state| state.starts_with("Suspended")))
        .await?;
    patch(kubectl, "suspended", false).await?;
    watch(controller, kubectl, |table| state(table, "suspended").is_some_and(|state| is_end(&state))).await
}

async fn patch(kubectl: &Kubectl, job: &str, suspend: bool) -> Result<()> {
    let patch = format!(r#"{{"spec":{{"suspend":{suspend}}}}}"#);
    announce(&format!("$ kubectl patch job {job} --type=merge -p '{patch}'"));
    kubectl.run(&["patch", "job", job, "--type=merge", "-p", &patch]).await?;
    Ok(())
}

/// Shows Jobs and pods as they change, until the table of kubectl satisfies `wanted`.
async fn watch(controller: &mut Process, kubectl: &Kubectl, wanted: impl Fn(&str) -> bool) -> Result<()> {
    announce("$ kubectl get jobs,pods");
    let mut live = Live::new();
    let deadline = Instant::now() + TIMEOUT;
    loop {
        controller.check()?;
        let table = kubectl.run(&["get", "jobs,pods"]).await?;
        let done = wanted(&table);
        live.show(&table);
        if done {
            live.end(&table);
            return Ok(());
        }
        if Instant::now() > deadline {
            live.end(&table);
            bail!(
                "the Jobs did not reach the expected state in {} s; end of the controller's log:\n{}",
                TIMEOUT.as_secs(),
                controller.log_tail(30)
            );
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

/// Deletes the namespace on a given cluster, and waits until it is deleted. A cluster of the demo ends with the demo,
/// so nothing is deleted there.
async fn clean_up(cluster: &Cluster, kubectl: &Kubectl) -> Result<()> {
    if cluster.control.is_some() {
        return Ok(());
    }
    // The controller has stopped. No other controller removes the finalizers from pods of unfinished Jobs.
    let pods = kubectl.run(&["get", "pods", "-o", "name"]).await?;
    for pod in pods.lines() {
        let patch = r#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["batch.kubernetes.io/job-tracking"]}}"#;
        // Another controller may already have removed the finalizer.
        let _ = kubectl.run(&["patch", pod, "-p", patch]).await;
    }
    kubectl
        .run(&["delete", "namespace", &kubectl.namespace, "--timeout=100s"])
        .await
        .context("removing the namespace")?;
    Ok(())
}

/// Returns the columns STATUS and COMPLETIONS of a Job's row.
fn state(table: &str, job: &str) -> Option<String> {
    let row = table.lines().find_map(|line| line.strip_prefix(&format!("job.batch/{job} ")))?;
    let mut columns = row.split_whitespace();
    Some(format!("{} {}", columns.next()?, columns.next()?))
}

fn is_end(state: &str) -> bool {
    state.starts_with("Complete ") || state.starts_with("Failed ")
}

/// Returns the number of this Job's pods that are running.
fn running(table: &str, job: &str) -> usize {
    let pods = table.lines().filter(|line| line.starts_with(&format!("pod/{job}-")));
    pods.filter(|line| line.split_whitespace().nth(2) == Some("Running")).count()
}

fn example(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join("examples").join(format!("{name}.yaml")).display().to_string()
}

fn announce(text: &str) {
    println!("\n▶ {text}");
}

async fn interrupted() {
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "NAME              STATUS      COMPLETIONS   DURATION   AGE\n\
                         job.batch/hello   Complete    1/1           2s         3s\n\
                         job.batch/slow    Suspended   2/4                      9s\n\n\
                         NAME              READY   STATUS      RESTARTS   AGE\n\
                         pod/hello-x2k4l   0/1     Completed   0          3s\n\
                         pod/slow-aaaaa    1/1     Running     0          2s\n";

    #[test]
    fn table_of_kubectl_is_parsed_by_its_columns() {
        assert_eq!(state(TABLE, "hello").as_deref(), Some("Complete 1/1"));
        assert_eq!(state(TABLE, "slow").as_deref(), Some("Suspended 2/4"));
        assert_eq!(state(TABLE, "hell"), None);
        assert!(is_end("Complete 1/1") && !is_end("Suspended 2/4") && !is_end("FailureTarget 0/1"));
        assert_eq!((running(TABLE, "slow"), running(TABLE, "hello")), (1, 0));
    }
}
