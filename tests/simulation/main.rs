//! Deterministic simulation of whole cluster histories: the unmodified controllers run against a simulated API server
//! with injected faults. One seed is one history. Nothing runs in real time: tokio's clock is paused and advanced.
//!
//! `SIMULATION_SEEDS=10000` sets the number of histories and `SIMULATION_FROM=77` the first seed; `make simulate` sets
//! both. `scenario.rs` generates what happens, `run.rs` runs it, and `checks/` holds the invariants.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a failed expectation ends the test, and the modules of a test are no library"
)]

mod admission;
mod api;
mod catching_up;
mod checks;
mod faults;
mod features;
mod objects;
mod patch;
mod real;
mod replica;
mod run;
mod scenario;
mod store;
mod users;
mod validation;
mod watches;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use run::{Totals, run};
use scenario::Scenario;

/// Number of histories that `make test` runs.
const SEEDS: u64 = 500;
/// Number of broken histories after which the test stops. With `SIMULATION_BRIEF=1` it stops at the first.
const MAX_BROKEN: usize = 3;

/// Seeds that once showed a bug of Jobwright, and that every run replays without features: a Job that was deleted
/// during a conflict, a Job that was read before its watch event arrived, a pod that lost its labels before it was
/// adopted, pods that stayed in the cache, and a creation without a response beside one that was refused.
const FOUND: &[u64] = &[624, 1960, 4524, 6485, 12443, 23812];

/// Seeds that once showed a bug and are replayed with their features: a short Retry-After that ended a longer one, and
/// a CronJob whose status could not be stored after it had started a Job, so that the next Job did not replace that
/// Job but ran beside it; a refusal that was taken for a change, messages that no event reported, and a pod that kept
/// its finalizer because it changed while its Job was deleted, and the refused repair of a pod without a finalizer.
const FOUND_WITH_FEATURES: &[u64] = &[755, 1772, 70_963, 71_301, 74_253, 84_620];

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) if !text.is_empty() => {
            text.parse().unwrap_or_else(|_| panic!("{variable}={text:?} is not a whole number"))
        }
        _ => default,
    }
}

#[test]
fn no_history_breaks_an_invariant() {
    let (from, seeds) = (number("SIMULATION_FROM", 0), number("SIMULATION_SEEDS", SEEDS));
    let prints = number("SIMULATION_LOG", 0) > 0;
    let brief = number("SIMULATION_BRIEF", 0) > 0;
    let max_broken = if brief { 1 } else { MAX_BROKEN };
    if prints {
        let filter = tracing_subscriber::EnvFilter::new("jobwright=debug");
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().without_time().try_init();
    }
    let next = AtomicU64::new(from);
    let outcome = Mutex::new((Totals::default(), Vec::new()));
    let threads = if prints { 1 } else { std::thread::available_parallelism().map_or(1, usize::from) };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds || outcome.lock().unwrap().1.len() >= max_broken {
                        return;
                    }
                    let scenario = Scenario::new(seed);
                    match run(&scenario, prints) {
                        Ok(history) => outcome.lock().unwrap().0.add(&history),
                        Err(failure) => outcome.lock().unwrap().1.push((scenario, failure)),
                    }
                }
            });
        }
    });
    let (totals, broken) = outcome.into_inner().unwrap();
    println!("{totals}");
    for (scenario, failure) in &broken {
        report_failure(scenario, failure, !prints && !brief);
    }
    assert!(broken.is_empty(), "{} broken histories", broken.len());
    assert!(seeds < 100 || totals.is_varied(), "the histories contain too few faults, crashes or Jobs: {totals}");
}

/// Prints a broken history, and the smallest scenario found that still breaks an invariant.
fn report_failure(scenario: &Scenario, failure: &str, shrinks: bool) {
    eprintln!("seed {}: {failure}", scenario.seed);
    eprintln!(
        "  replay: SIMULATION_LOG=1 SIMULATION_FROM={} SIMULATION_SEEDS=1 cargo test --test simulation -- --nocapture no_history",
        scenario.seed
    );
    let (mut scenario, mut failure) = (scenario.clone(), failure.to_owned());
    let mut tries = if shrinks { 300 } else { 0 };
    'shrink: while tries > 0 {
        for simpler in scenario.simpler() {
            tries -= 1;
            if let Err(fails) = run(&simpler, false) {
                (scenario, failure) = (simpler, fails);
                continue 'shrink;
            }
            if tries == 0 {
                break;
            }
        }
        break;
    }
    eprintln!("  shrunk: {failure}");
    eprintln!("    {} replicas, {} of 100 pods fail, {:?}", scenario.replicas, scenario.failing, scenario.faults);
    for (at, action) in &scenario.actions {
        eprintln!("    {at:>7} ms {action:?}");
    }
}

#[test]
fn seeds_that_once_showed_a_bug_break_no_invariant() {
    let plain = FOUND.iter().map(|seed| Scenario::plain(*seed));
    for scenario in plain.chain(FOUND_WITH_FEATURES.iter().map(|seed| Scenario::new(*seed))) {
        let seed = scenario.seed;
        if let Err(failure) = run(&scenario, false) {
            report_failure(&scenario, &failure, true);
            panic!("seed {seed} is broken again");
        }
    }
}

#[test]
fn same_seed_gives_the_same_history() {
    for seed in [3, 14, 15, 92, 65] {
        let [first, second] = [(), ()].map(|()| run(&Scenario::new(seed), false));
        assert_eq!(first, second, "two runs of seed {seed} differ");
    }
}
