//! Whole histories of a cluster, simulated: unmodified Jobwright on a simulated API server, with faults at the worst
//! moments. One seed is one history. Nothing here runs in real time: tokio's clock is stopped and moved.
//!
//! `SIMULATION_SEEDS=10000` tries that many, `SIMULATION_FROM=77` begins there; `make simulate` sets both.

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

/// So many histories are tried by `make test`.
const SEEDS: u64 = 500;
/// So many broken histories are enough; one, where nothing but that is asked (`SIMULATION_BRIEF=1`).
const ENOUGH: usize = 3;

/// Histories that once showed a fault of the product's: a Job deleted in a conflict, a Job read before it was heard of, a pod
/// that lost its labels before it was adopted, pods that stayed in the cache, a creation that went unheard next to one that was
/// refused. Always tried, whatever else is.
const FOUND: &[u64] = &[624, 1960, 4524, 6485, 12443, 23812];

/// The same, with their chapters: a short Retry-After that ended a longer one, and a Job of a CronJob whose status could not
/// be stored, so that the next Job was started beside it although it was to be replaced.
const FOUND_IN_CHAPTERS: &[u64] = &[755, 1772];

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) if !text.is_empty() => {
            text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}; give a whole number"))
        }
        _ => default,
    }
}

#[test]
fn no_history_breaks_an_invariant() {
    let (from, seeds) = (number("SIMULATION_FROM", 0), number("SIMULATION_SEEDS", SEEDS));
    let prints = number("SIMULATION_LOG", 0) > 0;
    let brief = number("SIMULATION_BRIEF", 0) > 0;
    let enough = if brief { 1 } else { ENOUGH };
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
                    if seed >= from + seeds || outcome.lock().unwrap().1.len() >= enough {
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
    assert!(seeds < 100 || totals.is_varied(), "the histories leave out what they are for: {totals}");
}

/// Prints a broken history, cut down to what breaks it.
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
    eprintln!("  in short: {failure}");
    eprintln!("    {} replicas, {} of 100 pods fail, {:?}", scenario.replicas, scenario.failing, scenario.faults);
    for (at, action) in &scenario.actions {
        eprintln!("    {at:>7} ms {action:?}");
    }
}

#[test]
fn what_was_found_once_stays_mended() {
    let plain = FOUND.iter().map(|seed| Scenario::plain(*seed));
    for scenario in plain.chain(FOUND_IN_CHAPTERS.iter().map(|seed| Scenario::new(*seed))) {
        let seed = scenario.seed;
        if let Err(failure) = run(&scenario, false) {
            report_failure(&scenario, &failure, true);
            panic!("seed {seed} is broken again");
        }
    }
}

#[test]
fn one_seed_is_one_history() {
    for seed in [3, 14, 15, 92, 65] {
        let [one, other] = [(), ()].map(|()| run(&Scenario::new(seed), false));
        assert_eq!(one, other, "seed {seed}");
    }
}
