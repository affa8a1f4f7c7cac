//! Faults of real parts at any moment: counts stay exact and nothing is stuck.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cron::CronJobs;
use crate::faults::Faults;
use crate::load::Load;
use crate::proxy::Weather;
use crate::replicas::Replicas;

/// How long things go wrong in the short form.
const SHORT: Duration = Duration::from_secs(75);
/// Jobs at once.
const SLOTS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_exact_whatever_is_killed_paused_or_cut() -> Result<()> {
    let cluster = crate::cluster().await?;
    let control = cluster.control.as_ref().context("a control plane of our own")?;
    let weather: &'static Weather = Box::leak(Box::default());
    let load = Load::new(&cluster).await?;
    let dir = tempfile::tempdir()?;
    let mut replicas = Replicas::start(&cluster, &load.namespace, dir.path(), weather).await?;
    replicas.one_leads().await?;
    let cron_jobs = CronJobs::create(&load, 1000).await?;

    let until = Instant::now() + crate::seconds("CHAOS_SECONDS").unwrap_or(SHORT);
    let mut faults = Faults { control, replicas: &mut replicas, weather, made: BTreeMap::new() };
    let outcome = tokio::try_join!(load.run_many(SLOTS, Duration::ZERO, until), faults.run(until));
    let made = faults.made;
    outcome.with_context(|| format!("after {made:?}; the logs end:\n{}", replicas.logs(40)))?;
    let scheduled = cron_jobs.check(&load).await?;
    load.all_gone().await?;
    replicas.check()?;

    let count = |count: &std::sync::atomic::AtomicUsize| count.load(Ordering::Relaxed);
    let (jobs, pods, beyond) = (count(&load.tally.jobs), count(&load.tally.pods), count(&load.tally.beyond));
    let changes = replicas.changes().await?;
    println!("survived {made:?}");
    println!(
        "requests spoilt: {}, watches cut: {}, changes of leaders: {changes}",
        weather.spoilt.load(Ordering::Relaxed),
        weather.cut.load(Ordering::Relaxed)
    );
    println!(
        "{jobs} Jobs and {scheduled} of CronJobs came to their exact ends, {pods} pods, {beyond} more than asked for"
    );
    ensure!(jobs > 2 * SLOTS, "only {jobs} Jobs ended");
    ensure!(made.len() >= 5, "only {made:?} went wrong");
    // Only a request that the API server carries out after the next leader has begun can make a pod too many.
    ensure!(beyond <= made.values().sum(), "{beyond} pods beyond completions");
    Ok(())
}
