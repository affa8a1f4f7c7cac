//! Runs a scenario on both sides concurrently and compares the sides whenever both have settled.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::{StreamExt, stream};
use serde_json::Value;
use testbed::Version;

use crate::scenario::{Scenario, Step};
use crate::snapshot::{Side, Snapshot, differences};
use crate::stage::{Stage, active};

/// Time without a change after which two equal sides have settled. The built-in controller waits 1 s before it acts on
/// most changes.
const QUIET: Duration = Duration::from_millis(1_600);
/// Time without a change after which two sides that differ are expected to differ permanently. It is longer than the
/// first retries of a failed sync, which both controllers wait for, and than the first pod back-off.
const STUCK: Duration = Duration::from_secs(14);
/// The same time if a policy ignores disruptions. Disruptions increase the back-off of the built-in controller only
/// (docs/differences.md), so Jobwright creates the next pod sooner. Before Kubernetes 1.36, the built-in controller stores
/// that no pod is active during a back-off. The time is as long as the back-off after three failures.
const STUCK_IN_BACKOFF: Duration = Duration::from_secs(48);
/// Maximum time until the sides have settled in the awaited state.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Runs all scenarios, at most `max_concurrent` of them concurrently. Returns a description of each scenario in which
/// the controllers differ.
pub async fn run(stage: &Stage, scenarios: Vec<Scenario>, max_concurrent: usize) -> Result<Vec<String>> {
    let total = scenarios.len();
    let mut done = 0;
    let mut different = Vec::new();
    let runs = scenarios.into_iter().enumerate().map(|(number, scenario)| async move {
        let result = one(stage, number, &scenario).await;
        (scenario, result)
    });
    let mut runs = stream::iter(runs).buffer_unordered(max_concurrent);
    let start = Instant::now();
    while let Some((scenario, result)) = runs.next().await {
        done += 1;
        if let Err(error) = result {
            let description = format!("{}:\n{error:#}", scenario.name);
            eprintln!("--- {description}");
            different.push(description);
        }
        if done % 50 == 0 {
            eprintln!("differential: {done} of {total} after {} s", start.elapsed().as_secs());
        }
    }
    Ok(different)
}

async fn one(stage: &Stage, number: usize, scenario: &Scenario) -> Result<()> {
    let unique = format!("{:x}-{number}", std::process::id());
    let namespaces = [format!("builtin-{unique}"), format!("ours-{unique}")];
    for namespace in &namespaces {
        stage.namespace(namespace).await?;
    }
    let result = script(stage, &namespaces, scenario).await;
    for namespace in &namespaces {
        stage.clear(namespace).await?;
    }
    result
}

async fn script(stage: &Stage, namespaces: &[String; 2], scenario: &Scenario) -> Result<()> {
    let [left, right] = namespaces;
    let (left_created, right_created) = tokio::join!(
        stage.create(left, &scenario.job, &scenario.spec, false),
        stage.create(right, &scenario.job, &scenario.spec, true)
    );
    left_created.and(right_created)?;
    let mut steps_done = format!("  created {}\n", scenario.spec);
    let differs_in_backoff = ignores_disruptions(&scenario.spec) || stage.version < Version::new(36);
    let stuck = if differs_in_backoff { STUCK_IN_BACKOFF } else { STUCK };
    let mut seen = settle(stage, namespaces, &mut steps_done, stuck, |_| true).await?;
    for step in &scenario.steps {
        let _ = writeln!(steps_done, "  then {step:?}");
        let (left, right) = tokio::join!(
            stage.perform(&seen[0], &scenario.job, step, false),
            stage.perform(&seen[1], &scenario.job, step, true)
        );
        let happened = match (left, right) {
            (Ok(left), Ok(right)) if left == right => left,
            (Err(left), Err(right)) if code(&left).is_some() && code(&left) == code(&right) => {
                if !scenario.lenient {
                    bail!("{steps_done}\n  the step is refused on both sides: {left:#}");
                }
                let _ = writeln!(steps_done, "    (refused: {left:#})");
                continue;
            }
            (left, right) => bail!("{steps_done}\n  the step has different results: built-in {left:?}, ours {right:?}"),
        };
        if !happened {
            if !scenario.lenient {
                bail!("{steps_done}\n  the step cannot be done: there is no such pod");
            }
            let _ = writeln!(steps_done, "    (there is no such pod)");
            continue;
        }
        seen = match step {
            Step::AwaitActive(count) => {
                settle(stage, namespaces, &mut steps_done, stuck, |side| active(side).len() == *count).await?
            }
            Step::Await(type_) => {
                let holds = |side: &Side| {
                    let conditions = side.jobs.values().filter_map(|job| job.status.as_ref()?.conditions.as_ref());
                    conditions.flatten().any(|condition| condition.type_ == *type_ && condition.status == "True")
                };
                settle(stage, namespaces, &mut steps_done, stuck, holds).await?
            }
            _ => settle(stage, namespaces, &mut steps_done, stuck, |_| true).await?,
        };
    }
    Ok(())
}

/// Returns whether the podFailurePolicy of a Job ignores failures by pod conditions.
fn ignores_disruptions(spec: &Value) -> bool {
    let mut rules = spec["podFailurePolicy"]["rules"].as_array().into_iter().flatten();
    rules.any(|rule| rule["action"] == "Ignore" && !rule["onPodConditions"].is_null())
}

/// Returns the HTTP status code of the API server's response.
fn code(error: &anyhow::Error) -> Option<u16> {
    match error.downcast_ref()? {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Waits until both sides have been equal and in the `wanted` state for the time `QUIET`. Fails if they differ for
/// longer than `stuck`.
async fn settle(
    stage: &Stage,
    namespaces: &[String; 2],
    steps_done: &mut String,
    stuck: Duration,
    wanted: impl Fn(&Side) -> bool,
) -> Result<[Side; 2]> {
    let start = Instant::now();
    let mut last: Option<[Snapshot; 2]> = None;
    let mut since = Instant::now();
    loop {
        let sides = [stage.side(&namespaces[0]), stage.side(&namespaces[1])];
        let now = [0, 1].map(|side: usize| sides[side].snapshot(stage.version));
        // Events that the comparison skips may still change, so equality with the last snapshot is not enough.
        if last.as_ref().is_none_or(|last| *last != now) {
            since = Instant::now();
        }
        let equal = now[0] == now[1];
        let as_wanted = sides.iter().all(&wanted);
        if equal && as_wanted && since.elapsed() >= QUIET {
            return Ok(sides);
        }
        if !equal && since.elapsed() >= stuck || start.elapsed() >= TIMEOUT {
            let difference = differences(&now[0], &now[1]);
            let what = if equal { "the awaited state was not reached".to_owned() } else { difference };
            bail!("{steps_done}  then the sides differ:\n{what}\n  log of Jobwright:\n{}", stage.log(&namespaces[1]));
        }
        last = Some(now);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
