//! Pods that end between any two writes of a controller: each of them is in exactly one count.
//!
//! What such a race comes to depends on who is quicker, so the two sides are not compared; each is held to what is true of
//! its own pods.

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

/// How many Jobs are tried on each side.
pub const JOBS: usize = 24;
/// How many of them at once.
const MAX_CONCURRENT: usize = 24;
/// How long a Job may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// The exit code that fails a Job with a FailJob rule.
const FATAL: i32 = 42;

/// What is known of a pod.
#[derive(Clone, Copy, Default)]
struct Seen {
    deleting: bool,
    ended: bool,
    /// The player has begun with it as one that runs, and as one that is being deleted.
    begun: (bool, bool),
    /// The player has said how it ends.
    decided: bool,
}

type Ledger = Arc<Mutex<BTreeMap<String, Seen>>>;

/// Runs the Jobs on both sides; returns what is wrong with their counts.
pub async fn run(stage: &Stage, first: usize, jobs: usize) -> Result<Vec<String>> {
    let runs = (first..first + jobs).flat_map(|seed| [(seed, false), (seed, true)]);
    let runs = runs.map(|(seed, ours)| async move {
        let who = if ours { "ours" } else { "builtin" };
        let namespace = format!("counts-{who}-{:x}-{seed}", std::process::id());
        stage.namespace(&namespace).await?;
        let result = one(stage, &namespace, seed, ours).await;
        stage.clear(&namespace).await?;
        Ok(result.err().map(|error| format!("counts of seed {seed}, {who}: {error:#}")))
    });
    let results: Vec<Result<Option<String>>> = stream::iter(runs).buffer_unordered(MAX_CONCURRENT).collect().await;
    Ok(results.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// One Job, whose pods end while its controller writes.
async fn one(stage: &Stage, namespace: &str, seed: usize, ours: bool) -> Result<()> {
    let spec = spec(seed);
    let ledger = Ledger::default();
    let player = tokio::spawn(play(stage.client.clone(), namespace.to_owned(), seed as u64, ledger.clone()));
    stage.create(namespace, "job", &spec, ours).await?;
    let deadline = Instant::now() + PATIENCE;
    let result = loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let status = stage.side(namespace).jobs.get("job").and_then(|job| job.status.clone()).unwrap_or_default();
        let seen: Vec<Seen> = locked(&ledger).values().copied().collect();
        if is_over(&status) && seen.iter().all(|pod| pod.ended || pod.deleting) {
            break check(&status, &seen, ours).with_context(|| format!("{spec}\n{status:?}"));
        }
        if Instant::now() > deadline {
            break Err(anyhow::anyhow!("{spec} does not end: {status:?}"));
        }
    };
    player.abort();
    result
}

/// A failed Job has counted all of its pods; a Job that is complete has let none go uncounted here either, as it has never
/// had more pods than completions to reach.
fn check(status: &JobStatus, seen: &[Seen], ours: bool) -> Result<()> {
    let counted = status.succeeded.unwrap_or_default() + status.failed.unwrap_or_default();
    let pods = i32::try_from(seen.len())?;
    ensure!(counted <= pods, "{counted} pods are counted, and there were {pods}");
    ensure!(!ours || counted == pods, "{counted} of {pods} pods are counted");
    Ok(())
}

fn is_over(status: &JobStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|one| matches!(one.type_.as_str(), "Complete" | "Failed") && one.status == "True")
}

/// Jobs of every completion mode that fail while their other pods run.
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

/// Plays the kubelet: pods end at random times, and those that are being deleted a moment later, most of them with 0.
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
                // Most stay until they are deleted; some fail.
                let code = [None, None, Some(0), Some(FATAL)][random.usize(0..4)];
                tasks.spawn(async move {
                    tokio::time::sleep(Duration::from_millis(1_500) + wait * 10).await;
                    // What nothing deletes ends in time.
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

/// Ends a pod, unless it has been ended already: how a pod ended never changes.
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
