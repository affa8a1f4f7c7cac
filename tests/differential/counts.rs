//! Pods that finish between any two writes of a controller: each pod is in exactly one counter.
//!
//! The outcome of such a race depends on timing. Therefore the two sides are not compared with each other; each side is
//! compared with its own pods.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::batch::v1::JobStatus;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use testbed::Kubelet;
use tokio::task::JoinSet;

use crate::stage::Stage;

/// Number of Jobs on each side.
pub const JOBS: usize = 24;
/// Maximum number of Jobs that run concurrently.
const MAX_CONCURRENT: usize = 24;
/// Maximum duration of a Job.
const TIMEOUT: Duration = Duration::from_secs(90);
/// Exit code that fails a Job with a FailJob rule.
const FATAL: i32 = 42;

/// Observed state of a pod.
#[derive(Clone, Copy, Default)]
struct Seen {
    deleting: bool,
    ended: bool,
    /// Whether the simulated kubelet has started to handle the pod as running, and as being deleted.
    begun: (bool, bool),
    /// Whether the simulated kubelet has determined how the pod finishes.
    decided: bool,
}

type Ledger = Arc<Mutex<BTreeMap<String, Seen>>>;

/// Runs the Jobs on both sides. Returns a description of each Job with incorrect counters.
pub async fn run(stage: &Stage, first: usize, jobs: usize) -> Result<Vec<String>> {
    let runs = (first..first + jobs).flat_map(|seed| [(seed, false), (seed, true)]);
    let runs = runs.map(|(seed, ours)| async move {
        let side = if ours { "ours" } else { "builtin" };
        let namespace = format!("counts-{side}-{:x}-{seed}", std::process::id());
        stage.namespace(&namespace).await?;
        let result = one(stage, &namespace, seed, ours).await;
        stage.clear(&namespace).await?;
        Ok(result.err().map(|error| format!("counts of seed {seed}, {side}: {error:#}")))
    });
    let results: Vec<Result<Option<String>>> = stream::iter(runs).buffer_unordered(MAX_CONCURRENT).collect().await;
    Ok(results.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// Runs one Job whose pods finish while its controller writes.
async fn one(stage: &Stage, namespace: &str, seed: usize, ours: bool) -> Result<()> {
    let spec = spec(seed);
    let ledger = Ledger::default();
    let player = tokio::spawn(play(stage.client.clone(), namespace.to_owned(), seed as u64, ledger.clone()));
    stage.create(namespace, "job", &spec, ours).await?;
    let deadline = Instant::now() + TIMEOUT;
    let result = loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let status = stage.side(namespace).jobs.get("job").and_then(|job| job.status.clone()).unwrap_or_default();
        let seen: Vec<Seen> = locked(&ledger).values().copied().collect();
        if is_over(&status) && seen.iter().all(|pod| pod.ended || pod.deleting) {
            break check(&status, &seen, ours).with_context(|| format!("{spec}\n{status:?}"));
        }
        if Instant::now() > deadline {
            break Err(anyhow::anyhow!("the Job does not finish: {spec}\n{status:?}"));
        }
    };
    player.abort();
    result
}

/// Checks the counters of a finished Job. A failed Job counts all of its pods. A complete Job counts all of them too in
/// this test, because it never has more pods than missing completions.
fn check(status: &JobStatus, seen: &[Seen], ours: bool) -> Result<()> {
    let counted = status.succeeded.unwrap_or_default() + status.failed.unwrap_or_default();
    let pods = i32::try_from(seen.len())?;
    ensure!(counted <= pods, "{counted} pods are counted, but only {pods} existed");
    ensure!(!ours || counted == pods, "{counted} of {pods} pods are counted");
    Ok(())
}

fn is_over(status: &JobStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|one| matches!(one.type_.as_str(), "Complete" | "Failed") && one.status == "True")
}

/// Returns the spec of a Job, of either completion mode, that fails while its other pods run.
fn spec(seed: usize) -> Value {
    let mut spec = json!({"completions": 5, "parallelism": 5, "backoffLimit": 3});
    if !seed.is_multiple_of(4) {
        spec["completionMode"] = json!("Indexed");
    }
    match seed % 4 {
        2 => {
            spec["backoffLimitPerIndex"] = json!(1);
            spec["maxFailedIndexes"] = json!(0);
            spec["backoffLimit"] = json!(i32::MAX);
        }
        3 => {
            let rule = json!({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [FATAL]}});
            spec["podFailurePolicy"] = json!({"rules": [rule]});
        }
        _ => spec["backoffLimit"] = json!(0),
    }
    spec
}

/// Simulates a kubelet. Running pods finish at random times. Deleted pods finish a moment after the deletion, most of
/// them with exit code 0.
async fn play(client: Client, namespace: String, seed: u64, ledger: Ledger) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(seed);
    let kubelet = Arc::new(Kubelet::new(client, &namespace));
    let mut tasks = JoinSet::new();
    let mut pods = watcher(kubelet.pods().clone(), watcher::Config::default()).default_backoff().boxed();
    while let Some(event) = pods.try_next().await? {
        let (watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) | watcher::Event::Delete(pod)) = event else {
            continue;
        };
        let now = {
            let mut ledger = locked(&ledger);
            let seen = ledger.entry(pod.uid().unwrap_or_default()).or_default();
            let before = seen.begun;
            seen.deleting |= pod.metadata.deletion_timestamp.is_some();
            seen.ended |= phase(&pod) == "Succeeded" || phase(&pod) == "Failed";
            seen.begun = (true, seen.deleting);
            (seen.ended, seen.deleting && !before.1, !before.0)
        };
        let wait = Duration::from_millis(random.u64(0..30));
        let (kubelet, ledger) = (kubelet.clone(), ledger.clone());
        match now {
            (_, true, _) => {
                let code = if random.u32(0..4) == 0 { 143 } else { 0 };
                tasks.spawn(async move {
                    tokio::time::sleep(wait).await;
                    end(&kubelet, &ledger, &pod, code).await;
                    let now = DeleteParams::default().grace_period(0);
                    let _ = kubelet.pods().delete(&pod.name_any(), &now).await;
                });
            }
            (false, false, true) => {
                // Half of the pods run until they are deleted; the others finish without a deletion.
                let code = [None, None, Some(0), Some(FATAL)][random.usize(0..4)];
                tasks.spawn(async move {
                    tokio::time::sleep(Duration::from_millis(1_500) + wait * 10).await;
                    // A pod that is not deleted has to finish before the timeout.
                    match code {
                        Some(code) => end(&kubelet, &ledger, &pod, code).await,
                        None => {
                            tokio::time::sleep(Duration::from_secs(8)).await;
                            end(&kubelet, &ledger, &pod, 0).await;
                        }
                    }
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Finishes a pod, unless it has been finished already: the outcome of a pod never changes.
async fn end(kubelet: &Kubelet, ledger: &Ledger, pod: &Pod, code: i32) {
    let name = pod.name_any();
    let decided = {
        let mut ledger = locked(ledger);
        let seen = ledger.entry(pod.uid().unwrap_or_default()).or_default();
        std::mem::replace(&mut seen.decided, true)
    };
    if decided {
        return;
    }
    loop {
        let result = if code == 0 { kubelet.succeed(&name).await } else { kubelet.fail(&name, code).await };
        if result.is_ok() || matches!(kubelet.pods().get_opt(&name).await, Ok(None)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn locked(ledger: &Ledger) -> std::sync::MutexGuard<'_, BTreeMap<String, Seen>> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
