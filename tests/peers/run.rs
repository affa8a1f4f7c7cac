//! Runs a scenario on both sides concurrently and compares the sides whenever both have settled.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::{StreamExt, stream};

use crate::scenario::{Scenario, Step};
use crate::snapshot::{Snapshot, summary};
use crate::stage::{Side, Stage};

/// Time without a change after which two equal sides have settled.
const QUIET: Duration = Duration::from_millis(1_600);
/// Time without a change after which two sides that differ are expected to differ permanently. It is longer than the
/// first retries of a failed sync and than the first pod back-off.
const STUCK: Duration = Duration::from_secs(25);
/// Maximum time until the sides have settled in the awaited state.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Time between two lists of the objects of a side.
const POLL: Duration = Duration::from_millis(300);

/// Result of a scenario.
pub struct Outcome {
    pub peer: &'static str,
    pub name: &'static str,
    /// Final state with the built-in controller, and with Jobwright.
    pub ends: [String; 2],
    /// Description of the difference, if there is one.
    pub difference: Option<String>,
}

/// Runs the scenarios, at most `max_concurrent` of them concurrently, and returns the results in their order.
pub async fn run(stage: &Stage, scenarios: Vec<Scenario>, max_concurrent: usize) -> Vec<Outcome> {
    let runs = scenarios.into_iter().map(|scenario| async move {
        let started = Instant::now();
        let outcome = one(stage, &scenario).await;
        let verdict = if outcome.difference.is_none() { "equal" } else { "DIFFERENT" };
        eprintln!("peers: {}, {}: {verdict} after {} s", scenario.peer, scenario.name, started.elapsed().as_secs());
        if let Some(difference) = &outcome.difference {
            eprintln!("{difference}");
        }
        outcome
    });
    stream::iter(runs).buffered(max_concurrent).collect().await
}

async fn one(stage: &Stage, scenario: &Scenario) -> Outcome {
    let mut seen = [Snapshot::new(), Snapshot::new()];
    let result = script(stage, scenario, &mut seen).await;
    Outcome {
        peer: scenario.peer,
        name: scenario.name,
        ends: [summary(&seen[0]), summary(&seen[1])],
        difference: result.err().map(|error| format!("{error:#}")),
    }
}

async fn script(stage: &Stage, scenario: &Scenario, seen: &mut [Snapshot; 2]) -> Result<()> {
    let sides = stage.sides().await?;
    let mut done = String::new();
    for step in &scenario.steps {
        let _ = writeln!(done, "  {step:?}");
        let (left, right) = tokio::join!(sides[0].perform(step), sides[1].perform(step));
        if let (Err(left), Err(right)) = (&left, &right) {
            bail!("{done}  the step fails on both sides: {left:#}; {right:#}");
        }
        if left.is_err() != right.is_err() {
            bail!("{done}  the step has different results: built-in {left:?}, ours {right:?}");
        }
        settle(stage, &sides, step, &done, seen).await?;
    }
    for side in &sides {
        stage.cluster.delete_namespace(&side.namespace).await?;
    }
    Ok(())
}

/// Waits until both sides have been equal and in the state of the step for the time `QUIET`.
async fn settle(stage: &Stage, sides: &[Side; 2], step: &Step, done: &str, seen: &mut [Snapshot; 2]) -> Result<()> {
    let start = Instant::now();
    let mut since = Instant::now();
    loop {
        let now = [sides[0].snapshot().await?, sides[1].snapshot().await?];
        if *seen != now {
            since = Instant::now();
        }
        *seen = now;
        let equal = seen[0] == seen[1];
        let reached = seen.iter().all(|side| holds(step, side));
        if equal && reached && since.elapsed() >= QUIET {
            return Ok(());
        }
        let timeout = start.elapsed() >= TIMEOUT;
        if !equal && since.elapsed() >= STUCK || timeout {
            let what = if equal { "the awaited state is not reached" } else { "the sides differ" };
            let logs = stage.logs(&sides[1].namespace).await;
            bail!("{done}  then {what}:\n{}  logs:\n{logs}", differences(seen, equal));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn holds(step: &Step, side: &Snapshot) -> bool {
    match step {
        Step::Until(wanted) => {
            wanted.iter().all(|(object, text)| side.get(*object).is_some_and(|seen| seen.contains(text)))
        }
        Step::Gone(object) => !side.contains_key(*object),
        _ => true,
    }
}

/// Returns the lines of both sides that differ, or all lines.
fn differences(seen: &[Snapshot; 2], all: bool) -> String {
    let mut text = String::new();
    let keys: BTreeSet<&String> = seen.iter().flat_map(Snapshot::keys).collect();
    for key in keys {
        let [left, right] = [&seen[0], &seen[1]].map(|side| side.get(key).map_or("missing", String::as_str));
        if all || left != right {
            let _ = writeln!(text, "    {key}\n      built-in: {left}\n      ours:     {right}");
        }
    }
    text
}
