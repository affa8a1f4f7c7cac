//! Runs a scenario on both sides at once and compares them whenever both have settled.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::{StreamExt, stream};
use serde_json::Value;

use crate::scenario::{Scenario, Step};
use crate::snapshot::{Side, Snapshot, differences};
use crate::stage::{Stage, active};

/// Both look the same and have not changed for so long: they have settled. The built-in controller waits 1 s before it
/// acts on most changes.
const QUIET: Duration = Duration::from_millis(1_600);
/// They differ and have not changed for so long: they will go on to differ. Longer than the first retries of a sync that
/// failed, which both wait out, and than the first pod back-off.
const STUCK: Duration = Duration::from_secs(14);
/// The same where a policy ignores disruptions: these raise the back-off of the built-in controller alone (docs/differences.md),
/// so ours creates the next pod sooner. As long as the wait after three failures.
const STUCK_IN_BACKOFF: Duration = Duration::from_secs(48);
/// What is awaited by name may take so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs all scenarios, so many at once; returns the stories of those in which the controllers differ.
pub async fn run(stage: &Stage, scenarios: Vec<Scenario>, at_once: usize) -> Result<Vec<String>> {
    let total = scenarios.len();
    let mut done = 0;
    let mut different = Vec::new();
    let runs = scenarios.into_iter().enumerate().map(|(number, scenario)| async move {
        let result = one(stage, number, &scenario).await;
        (scenario, result)
    });
    let mut runs = stream::iter(runs).buffer_unordered(at_once);
    let start = Instant::now();
    while let Some((scenario, result)) = runs.next().await {
        done += 1;
        if let Err(error) = result {
            let story = format!("{}:\n{error:#}", scenario.name);
            eprintln!("--- {story}");
            different.push(story);
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
    let (left_made, right_made) = tokio::join!(
        stage.create(left, &scenario.job, &scenario.spec, false),
        stage.create(right, &scenario.job, &scenario.spec, true)
    );
    left_made.and(right_made)?;
    let mut story = format!("  created {}\n", scenario.spec);
    let stuck = if ignores_disruptions(&scenario.spec) { STUCK_IN_BACKOFF } else { STUCK };
    let mut seen = settle(stage, namespaces, &mut story, stuck, |_| true).await?;
    for step in &scenario.steps {
        let _ = writeln!(story, "  then {step:?}");
        let (left, right) = tokio::join!(
            stage.perform(&seen[0], &scenario.job, step, false),
            stage.perform(&seen[1], &scenario.job, step, true)
        );
        let happened = match (left, right) {
            (Ok(left), Ok(right)) if left == right => left,
            (Err(left), Err(right)) if code(&left).is_some() && code(&left) == code(&right) => {
                if !scenario.lenient {
                    bail!("{story}\n  cannot be done: {left:#}");
                }
                let _ = writeln!(story, "    (refused: {left:#})");
                continue;
            }
            (left, right) => bail!("{story}\n  went differently: built-in {left:?}, ours {right:?}"),
        };
        if !happened {
            if !scenario.lenient {
                bail!("{story}\n  cannot be done: there is no such pod");
            }
            let _ = writeln!(story, "    (there is no such pod)");
            continue;
        }
        seen = match step {
            Step::AwaitActive(count) => {
                settle(stage, namespaces, &mut story, stuck, |side| active(side).len() == *count).await?
            }
            Step::Await(type_) => {
                let holds = |side: &Side| {
                    let conditions = side.jobs.values().filter_map(|job| job.status.as_ref()?.conditions.as_ref());
                    conditions.flatten().any(|condition| condition.type_ == *type_ && condition.status == "True")
                };
                settle(stage, namespaces, &mut story, stuck, holds).await?
            }
            _ => settle(stage, namespaces, &mut story, stuck, |_| true).await?,
        };
    }
    Ok(())
}

/// Whether a policy of this Job ignores failures by pod conditions.
fn ignores_disruptions(spec: &Value) -> bool {
    let mut rules = spec["podFailurePolicy"]["rules"].as_array().into_iter().flatten();
    rules.any(|rule| rule["action"] == "Ignore" && !rule["onPodConditions"].is_null())
}

/// The code of the API server's answer.
fn code(error: &anyhow::Error) -> Option<u16> {
    match error.downcast_ref()? {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Waits until both sides look the same and as wanted for a while; fails if they go on to differ.
async fn settle(
    stage: &Stage,
    namespaces: &[String; 2],
    story: &mut String,
    stuck: Duration,
    wanted: impl Fn(&Side) -> bool,
) -> Result<[Side; 2]> {
    let start = Instant::now();
    let mut last: Option<[Snapshot; 2]> = None;
    let mut since = Instant::now();
    loop {
        let sides = [stage.side(&namespaces[0]), stage.side(&namespaces[1])];
        let now = [sides[0].snapshot(), sides[1].snapshot()];
        // The events that two sets do not compare may go on to change.
        if last.as_ref().is_none_or(|last| *last != now) {
            since = Instant::now();
        }
        let equal = now[0] == now[1];
        let as_wanted = sides.iter().all(&wanted);
        if equal && as_wanted && since.elapsed() >= QUIET {
            return Ok(sides);
        }
        if !equal && since.elapsed() >= stuck || start.elapsed() >= PATIENCE {
            let difference = differences(&now[0], &now[1]);
            let what = if equal { "what was awaited does not come".to_owned() } else { difference };
            bail!("{story}  and differ:\n{what}\n  our log:\n{}", stage.log(&namespaces[1]));
        }
        last = Some(now);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
