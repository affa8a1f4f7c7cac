//! What only time brings out: faults of real parts at bad moments, and long runs.
//!
//! `make chaos` and `make soak`; `make test` runs a short form of the first. Jobs run behind proxies on a real control
//! plane, their pods are played, and each Job has to come to exactly the end that its manifest implies.

mod chaos;
mod cron;
mod faults;
mod kubelet;
mod load;
mod proxy;
mod replicas;
mod soak;

use std::time::Duration;

use anyhow::Result;
use testbed::cluster::unthrottled;
use testbed::{Cluster, Options};

/// A control plane of the test's own.
async fn cluster() -> Result<Cluster> {
    Cluster::start(&Options { control_plane: unthrottled(), ..Options::default() }).await
}

/// A number of seconds from the environment.
fn seconds(name: &str) -> Option<Duration> {
    std::env::var(name).ok()?.parse().ok().map(Duration::from_secs)
}
