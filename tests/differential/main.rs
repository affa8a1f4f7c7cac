//! The built-in Job controller and ours, side by side on one API server: the same Jobs, and pods driven by the same
//! script, come to the same statuses, pods and events.
//!
//! Where pods end while the controllers write, the sides are not compared; `counts` holds each to its own pods.
//!
//! `DIFFERENTIAL_RANDOM` sets how many random scenarios are tried, `DIFFERENTIAL_SEED` the first seed,
//! `DIFFERENTIAL_COUNTS` how many Jobs race with their pods, `DIFFERENTIAL_ONLY` a part of the names of those to run.

mod counts;
mod cron_jobs;
mod random;
mod run;
mod scenario;
mod scenarios;
mod snapshot;
mod stage;

use std::collections::BTreeSet;

use anyhow::Result;

use stage::{Stage, number};

/// So many random scenarios are tried unless told otherwise.
const RANDOM: usize = 200;
/// So many scenarios run at once: most of their time is waiting.
const MAX_CONCURRENT: usize = 64;

#[test]
fn every_scenario_has_a_name_of_its_own() {
    let names: Vec<String> = scenarios::all().into_iter().map(|scenario| scenario.name).collect();
    let unique: BTreeSet<&String> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
    assert!(names.len() >= 120, "only {} scenarios", names.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn both_controllers_do_the_same() -> Result<()> {
    if std::env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty()) {
        eprintln!("skipped: this needs a control plane of its own, and KUBECONFIG names another; unset it");
        return Ok(());
    }
    let mut written = scenarios::all();
    if let Ok(part) = std::env::var("DIFFERENTIAL_ONLY") {
        written.retain(|scenario| scenario.name.contains(&part));
    }
    let count = number("DIFFERENTIAL_RANDOM", RANDOM)?;
    let first = number("DIFFERENTIAL_SEED", 0)?;
    let random = (first..first + count).map(random::scenario);
    let scenarios = written.len();
    let all = written.into_iter().chain(random).collect();
    let mut stage = Stage::start().await?;
    let different = run::run(&stage, all, number("DIFFERENTIAL_AT_ONCE", MAX_CONCURRENT)?).await?;
    let wrong = counts::run(&stage, first, number("DIFFERENTIAL_COUNTS", counts::JOBS)?).await?;
    println!("differential: {scenarios} scenarios, {count} random, {} differences", different.len());
    stage.check()?;
    assert!(wrong.is_empty(), "pods are counted wrongly:\n{}", wrong.join("\n"));
    assert!(different.is_empty(), "the controllers differ in:\n{}", different.join("\n"));
    Ok(())
}
