//! Differential test: the built-in Job controller and Jobwright run on one API server. The same Jobs, with pods driven
//! by the same script, must have the same statuses, pods and events.
//!
//! If pods finish while the controllers write, the results depend on timing and the two sides are not compared;
//! `counts` compares each side with its own pods.
//!
//! `DIFFERENTIAL_RANDOM` sets the number of random scenarios, `DIFFERENTIAL_SEED` the first seed, `DIFFERENTIAL_COUNTS`
//! the number of Jobs whose pods finish at random times, and `DIFFERENTIAL_ONLY` selects scenarios by a part of their
//! names.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a failed expectation ends the test, and the modules of a test are no library"
)]

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
use testbed::Version;

/// Default number of random scenarios.
const RANDOM: usize = 200;
/// Default maximum number of scenarios that run concurrently. Scenarios spend most of their time waiting.
const MAX_CONCURRENT: usize = 64;

#[test]
fn names_of_scenarios_are_unique() {
    let names: Vec<String> = scenarios::all().into_iter().map(|scenario| scenario.name).collect();
    let unique: BTreeSet<&String> = names.iter().collect();
    assert_eq!(unique.len(), names.len(), "scenarios have equal names");
    assert!(names.len() >= 120, "only {} scenarios", names.len());
}

/// Returns whether the tests have to be skipped, because they start control planes of their own.
fn is_skipped() -> bool {
    let given = std::env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty());
    if given {
        testbed::skipped!("this test starts its own control plane, but KUBECONFIG is set; unset it");
    }
    given
}

#[tokio::test(flavor = "multi_thread")]
async fn gang_scheduling_gives_equal_workloads_pod_groups_and_pods() -> Result<()> {
    if is_skipped() {
        return Ok(());
    }
    if Version::selected()? < Version::new(37) {
        testbed::skipped!("scheduling.k8s.io/v1beta1 is served from Kubernetes 1.37 on");
        return Ok(());
    }
    let scenarios = scenarios::gang_scheduling::all();
    let count = scenarios.len();
    let mut stage = Stage::start(true).await?;
    let different = run::run(&stage, scenarios, MAX_CONCURRENT).await?;
    println!("differential: {count} scenarios with gang scheduling, {} differences", different.len());
    stage.check()?;
    assert!(different.is_empty(), "the controllers differ in:\n{}", different.join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn jobwright_and_the_builtin_job_controller_give_equal_results() -> Result<()> {
    if is_skipped() {
        return Ok(());
    }
    let mut written = scenarios::all();
    if let Ok(part) = std::env::var("DIFFERENTIAL_ONLY") {
        written.retain(|scenario| scenario.name.contains(&part));
    }
    let version = Version::selected()?;
    written.retain(|scenario| {
        let missing = scenario.needs.filter(|feature| version < feature.since());
        if let Some(feature) = missing {
            let reason = format!("{} is on from Kubernetes {} on", feature.gate(), feature.since());
            testbed::report::skipped_part(&format!("{:?}", scenario.name), &reason);
        }
        missing.is_none()
    });
    let count = number("DIFFERENTIAL_RANDOM", RANDOM)?;
    let first = number("DIFFERENTIAL_SEED", 0)?;
    let random = (first..first + count).map(random::scenario);
    let scenarios = written.len();
    let all = written.into_iter().chain(random).collect();
    let mut stage = Stage::start(false).await?;
    let different = run::run(&stage, all, number("DIFFERENTIAL_AT_ONCE", MAX_CONCURRENT)?).await?;
    let wrong = counts::run(&stage, first, number("DIFFERENTIAL_COUNTS", counts::JOBS)?).await?;
    let compared = format!("{scenarios} by hand, {count} random; {} differ", different.len());
    testbed::report::observed("scenarios compared with the built-in Job controller", &compared);
    println!("differential: {scenarios} scenarios, {count} random, {} differences", different.len());
    stage.check()?;
    assert!(wrong.is_empty(), "pods are counted incorrectly:\n{}", wrong.join("\n"));
    assert!(different.is_empty(), "the controllers differ in:\n{}", different.join("\n"));
    Ok(())
}
