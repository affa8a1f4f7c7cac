//! Controllers and clients that users run on top of Jobs, with the Jobs of Jobwright and of the built-in controller.
//!
//! `make peers` runs these tests. They are ignored otherwise, because they build JobSet and Kueue, which takes minutes.
//! `PEERS_ONLY` selects scenarios by a part of their names, and `PEERS_PAGE=1` writes `docs/results/peers.md`.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a failed expectation ends the test, and the modules of a test are no library"
)]

mod controllers;
mod jobset;
mod kueue;
mod player;
mod run;
mod scenario;
mod snapshot;
mod stage;

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
    let configurations = [
        (kueue::pods_ready(), kueue::with_pods_ready()),
        (kueue::block_admission(), kueue::with_blocked_admission()),
    ];
    for (configuration, scenarios) in configurations {
        let scenarios = selected(scenarios)?;
        if !scenarios.is_empty() {
            stage.kueue.lock().await.restart_kueue(&stage.cluster, &configuration).await?;
            outcomes.extend(run::run(&stage, scenarios, MAX_CONCURRENT).await);
        }
    }
    stage.check().await?;
    let different: Vec<_> = outcomes.iter().filter(|outcome| outcome.difference.is_some()).collect();
    for outcome in &outcomes {
        println!("{} | {}\n  built-in: {}\n  Jobwright: {}", outcome.peer, outcome.name, outcome.ends[0], outcome.ends[1]);
    }
    assert!(different.is_empty(), "{} scenarios differ", different.len());
    Ok(())
}

/// Returns the scenarios that `PEERS_ONLY` selects: those whose controller or name contains its value.
fn selected(mut scenarios: Vec<Scenario>) -> Result<Vec<Scenario>> {
    if let Ok(part) = std::env::var("PEERS_ONLY") {
        scenarios.retain(|scenario| format!("{}: {}", scenario.peer, scenario.name).contains(&part));
    }
    Ok(scenarios)
}
