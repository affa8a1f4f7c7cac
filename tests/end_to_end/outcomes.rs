//! The outcome of each manifest in `examples/`, as its first lines state it, and the check of these outcomes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use futures::future::try_join_all;

use crate::harness::*;
use crate::kubectl;

/// Name of the file and of its Job, condition, numbers of succeeded and failed pods, and reason of the condition.
pub type Row = (&'static str, &'static str, Option<i32>, Option<i32>, &'static str);

pub const OUTCOMES: &[Row] = &[
    ("backoff-limit-per-index", "Failed", Some(2), Some(2), "FailedIndexes"),
    ("backoff-limit", "Failed", None, Some(2), "BackoffLimitExceeded"),
    ("completions", "Complete", Some(3), None, "CompletionsReached"),
    ("deadline", "Failed", None, Some(1), "DeadlineExceeded"),
    ("hello", "Complete", Some(1), None, "CompletionsReached"),
    ("indexed", "Complete", Some(4), None, "CompletionsReached"),
    ("parallel", "Complete", Some(6), None, "CompletionsReached"),
    ("pod-failure-policy", "Failed", None, Some(1), "PodFailurePolicy"),
    ("restart-on-failure", "Complete", Some(1), None, "CompletionsReached"),
    ("success-policy", "Complete", Some(1), None, "SuccessPolicy"),
    ("suspend-and-resume", "Complete", Some(4), None, "CompletionsReached"),
    ("suspended", "Suspended", None, None, "JobSuspended"),
    ("work-queue", "Complete", Some(3), None, "CompletionsReached"),
];

/// Returns the folder of the examples.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// Examples whose outcome depends on what their containers do.
const NEED_PROCESSES: &[&str] =
    &["backoff-limit-per-index", "backoff-limit", "deadline", "pod-failure-policy", "success-policy"];

/// Applies every example as a user does, and checks its outcome. On simulated nodes, where every pod succeeds, checks
/// the examples that succeed there too.
pub async fn check_outcomes(scene: &Scene) -> Result<()> {
    kubectl(scene, &["apply", "-f", folder().to_str().context("the path is not UTF-8")?]).await?;
    let applies = |name: &str| scene.cluster.runs_processes() || !NEED_PROCESSES.contains(&name);
    let checks =
        OUTCOMES.iter().filter(|row| applies(row.0)).map(|&(name, outcome, succeeded, failed, reason)| async move {
            let status = scene.condition(name, outcome).await?;
            assert_eq!(status.succeeded, succeeded, "{name}: {status:?}");
            assert_eq!(status.failed, failed, "{name}: {status:?}");
            let found = condition(&status, outcome).and_then(|condition| condition.reason.as_deref());
            assert_eq!(found, Some(reason), "{name}");
            anyhow::Ok(())
        });
    try_join_all(checks).await?;
    scene.nothing_tracked().await?;
    if !scene.cluster.runs_processes() {
        kubectl(scene, &["patch", "job", "suspended", "--type=merge", "-p", r#"{"spec":{"suspend":false}}"#]).await?;
        kubectl(scene, &["wait", "--for=condition=complete", "job/suspended", "--timeout=30s"]).await?;
        let part = format!("the logs and {}", NEED_PROCESSES.join(", "));
        testbed::report::skipped_part(&part, "the pods of simulated nodes are no processes");
        return Ok(());
    }

    let log = kubectl(scene, &["logs", "job/hello"]).await?;
    assert_eq!(log.trim(), "Hello from a Job run by Rust");
    let index = &["-l", "batch.kubernetes.io/job-name=indexed,batch.kubernetes.io/job-completion-index=2"];
    let log = kubectl(scene, &[&["logs"], index.as_slice()].concat()).await?;
    assert_eq!(log.trim(), "part 2 on indexed-2");
    let indexes = "jsonpath={.status.completedIndexes} {.status.failedIndexes}";
    assert_eq!(kubectl(scene, &["get", "job", "backoff-limit-per-index", "-o", indexes]).await?, "0,2 1");
    let log = kubectl(scene, &["logs", "job/backoff-limit"]).await?;
    assert_eq!(log.trim(), "this will not work");
    let codes = kubectl(
        scene,
        &[
            "get",
            "pods",
            "-l",
            "job-name=backoff-limit",
            "-o",
            "jsonpath={.items[*].status.containerStatuses[0].state.terminated.exitCode}",
        ],
    )
    .await?;
    assert_eq!(codes, "3 3");
    let table = kubectl(scene, &["get", "jobs"]).await?;
    assert!(
        table.lines().any(|line| line.starts_with("parallel ") && line.contains("Complete") && line.contains("6/6")),
        "{table}"
    );

    kubectl(scene, &["patch", "job", "suspended", "--type=merge", "-p", r#"{"spec":{"suspend":false}}"#]).await?;
    kubectl(scene, &["wait", "--for=condition=complete", "job/suspended", "--timeout=30s"]).await?;
    assert_eq!(kubectl(scene, &["logs", "job/suspended"]).await?.trim(), "resumed");
    Ok(())
}
