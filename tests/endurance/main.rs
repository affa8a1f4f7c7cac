//! Chaos and soak tests: faults of real processes at arbitrary moments, and long runs.
//!
//! `make chaos` and `make soak` run them; `make test` runs a short form of the chaos test. The replicas run behind
//! proxies on a real control plane, the test plays the kubelets, and each Job has to reach exactly the outcome that its
//! manifest implies.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a failed expectation ends the test, and the modules of a test are no library"
)]

mod chaos;
mod cron;
mod faults;
mod kubelet;
mod load;
mod proxy;
mod replicas;
mod soak;
mod upgrade;

use std::time::Duration;

use anyhow::Result;
use testbed::cluster::unthrottled;
use testbed::{Cluster, Options};

/// Starts a control plane for one test.
async fn cluster() -> Result<Cluster> {
    Cluster::start(&Options { control_plane: unthrottled(), ..Options::default() }).await
}

/// Returns a duration from an environment variable in seconds.
fn seconds(name: &str) -> Option<Duration> {
    std::env::var(name).ok()?.parse().ok().map(Duration::from_secs)
}
