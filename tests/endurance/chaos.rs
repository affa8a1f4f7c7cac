//! Chaos test: whichever process fails at whichever moment, the counters of Jobs stay exact and every Job finishes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cron::CronJobs;
use crate::faults::Faults;
use crate::load::Load;
use crate::proxy::ProxyFaults;
use crate::replicas::Replicas;

/// Duration of the short form, which `make test` runs.
const SHORT: Duration = Duration::from_secs(75);
/// Number of Jobs that run concurrently.
const SLOTS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_exact_when_processes_are_killed_paused_or_cut_off() -> Result<()> {
    let cluster = crate::cluster().await?;
    let control = cluster.control.as_ref().context("the cluster has no control plane")?;
    let proxy_faults: &'static ProxyFaults = Box::leak(Box::default());
    let load = Load::new(&cluster).await?;
    let dir = tempfile::tempdir()?;
    let mut replicas = Replicas::start(&cluster, &load.namespace, dir.path(), proxy_faults).await?;
    replicas.one_leads().await?;
    let cron_jobs = CronJobs::create(&load, 1000).await?;

    let until = Instant::now() + crate::seconds("CHAOS_SECONDS").unwrap_or(SHORT);
    let mut faults = Faults { control, replicas: &mut replicas, proxy_faults, made: BTreeMap::new() };
    let outcome = tokio::try_join!(load.run_many(SLOTS, Duration::ZERO, until), faults.run(until));
    let made = faults.made;
    outcome.with_context(|| format!("after the faults {made:?}; end of the logs:\n{}", replicas.logs(40)))?;
    let scheduled = cron_jobs.check(&load).await?;
    load.all_gone().await?;
    replicas.check()?;

    let count = |count: &std::sync::atomic::AtomicUsize| count.load(Ordering::Relaxed);
    let (jobs, pods, beyond) = (count(&load.tally.jobs), count(&load.tally.pods), count(&load.tally.beyond));
    let changes = replicas.changes().await?;
    println!("survived {made:?}");
    println!(
        "requests with faults: {}, watches cut: {}, leader changes: {changes}",
        proxy_faults.spoilt.load(Ordering::Relaxed),
        proxy_faults.cut.load(Ordering::Relaxed)
    );
    println!(
        "{jobs} Jobs and {scheduled} Jobs of CronJobs reached their outcome, {pods} pods, {beyond} more than requested"
    );
    ensure!(jobs > 2 * SLOTS, "only {jobs} Jobs finished");
    ensure!(made.len() >= 5, "only these faults were injected: {made:?}");
    // Only a request that the API server carries out after the next leader has started can create a surplus pod.
    ensure!(beyond <= made.values().sum(), "{beyond} pods more than completions");
    Ok(())
}
