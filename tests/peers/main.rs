//! Controllers and clients that users run on top of Jobs, with the Jobs of Jobwright and of the built-in controller.
//!
//! The test starts a control plane with the built-in controllers, Jobwright, JobSet and Kueue. It performs each scenario
//! with both kinds of Jobs concurrently and compares the objects after each step. `make peers` runs the test. It is
//! ignored otherwise, because it builds JobSet and Kueue, which takes minutes.
//!
//! `PEERS_ONLY` selects scenarios by a part of their names. `PEERS_PAGE=1` writes `docs/results/peers.md`
//! if all scenarios run.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a failed expectation ends the test, and the modules of a test are no library"
)]

mod clients;
mod controllers;
mod jobset;
mod kueue;
mod kueue_configurations;
mod page;
mod player;
mod run;
mod scenario;
mod snapshot;
mod stage;

use std::collections::BTreeSet;

use anyhow::Result;

use scenario::Scenario;
use stage::Stage;

/// Maximum number of scenarios that run concurrently.
const MAX_CONCURRENT: usize = 4;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "builds JobSet and Kueue; make peers runs it"]
async fn controllers_on_top_of_jobs_reach_equal_ends() -> Result<()> {
    let stage = Stage::start().await?;
    let usual = jobset::all().into_iter().chain(kueue::all()).collect();
    let mut outcomes = run::run(&stage, selected(usual)?, MAX_CONCURRENT).await;
    for (configuration, scenarios) in kueue_configurations::all() {
        let scenarios = selected(scenarios)?;
        if !scenarios.is_empty() {
            stage.kueue.lock().await.restart_kueue(&stage.cluster, &configuration).await?;
            outcomes.extend(run::run(&stage, scenarios, MAX_CONCURRENT).await);
        }
    }
    outcomes.extend(clients::run(&stage).await?);
    stage.check().await?;
    println!("{}", page::table(&outcomes));
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if is_set("PEERS_PAGE") && !is_set("PEERS_ONLY") {
        page::write(&outcomes)?;
    }
    let different = outcomes.iter().filter(|outcome| outcome.difference.is_some()).count();
    assert_eq!(different, 0, "scenarios differ");
    Ok(())
}

#[test]
fn scenarios_have_unique_names() {
    let special = kueue_configurations::all().into_iter().flat_map(|(_, scenarios)| scenarios);
    let names: Vec<&str> =
        jobset::all().into_iter().chain(kueue::all()).chain(special).map(|scenario| scenario.name).collect();
    let unique: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(unique.len(), names.len(), "{names:?}");
}

/// Returns the scenarios that `PEERS_ONLY` selects: those whose controller or name contains its value.
fn selected(mut scenarios: Vec<Scenario>) -> Result<Vec<Scenario>> {
    if let Ok(part) = std::env::var("PEERS_ONLY") {
        scenarios.retain(|scenario| format!("{}: {}", scenario.peer, scenario.name).contains(&part));
    }
    Ok(scenarios)
}
