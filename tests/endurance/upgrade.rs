//! Upgrade test: replicas of the last release and of this tree take turns under load, and all counters stay exact.
//!
//! `make upgrades` builds the last release and runs this test. RELEASE.md states when `previous-release`, the revision of
//! the last release, is changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cron::CronJobs;
use crate::load::Load;
use crate::proxy::ProxyFaults;
use crate::replicas::Replicas;

/// Number of Jobs that run concurrently.
const SLOTS: usize = 10;
/// Duration for which a pair of versions runs before the next replica is replaced.
const PAUSE: Duration = Duration::from_secs(5);

/// Replica that a step replaces, by its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Leader,
    Standby,
}

/// A step: the replica of this role is replaced by one of the other version. `graceful` states whether the replica ends
/// by SIGTERM, as in an upgrade of a Deployment, or by SIGKILL.
type Step = (Role, bool);

/// Upgrade and rollback with the standby first, and then with the leader first; after that the same with crashes.
const STEPS: [Step; 8] = [
    (Role::Standby, true),
    (Role::Leader, true),
    (Role::Leader, true),
    (Role::Standby, true),
    (Role::Leader, false),
    (Role::Leader, false),
    (Role::Standby, false),
    (Role::Leader, false),
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the program of the last release: make upgrades"]
async fn counts_are_exact_during_upgrades_and_rollbacks() -> Result<()> {
    let previous =
        std::env::var("PREVIOUS_JOBWRIGHT").context("PREVIOUS_JOBWRIGHT names no program: run make upgrades")?;
    let previous = std::path::absolute(PathBuf::from(previous))?;
    let present = PathBuf::from(env!("CARGO_BIN_EXE_jobwright"));
    let cluster = crate::cluster().await?;
    let proxy_faults: &'static ProxyFaults = Box::leak(Box::default());
    let load = Load::new(&cluster).await?;
    let dir = tempfile::tempdir()?;
    let mut replicas = Replicas::start(&cluster, &load.namespace, dir.path(), proxy_faults).await?;
    for number in 0..2 {
        replicas.replace(number, &previous, true)?;
    }
    replicas.one_leads().await?;
    let cron_jobs = CronJobs::create(&load, 1000).await?;

    let rounds = 3;
    let steps = u32::try_from(STEPS.len() * rounds)?;
    // A step takes the pause and the time until a replica leads, which is the duration of the Lease at most.
    let until = Instant::now() + (PAUSE + Duration::from_secs(4)) * steps;
    let mut handovers = BTreeMap::new();
    let outcome = tokio::try_join!(
        load.run_many(SLOTS, Duration::ZERO, until),
        take_turns(&mut replicas, &previous, &present, &mut handovers, rounds)
    );
    outcome.with_context(|| format!("after {handovers:?}; end of the logs:\n{}", replicas.logs(40)))?;
    let scheduled = cron_jobs.check(&load).await?;
    load.all_gone().await?;
    replicas.check()?;

    let (jobs, pods) = (load.tally.jobs.load(Ordering::Relaxed), load.tally.pods.load(Ordering::Relaxed));
    println!("pairs of leaders: {handovers:?}");
    println!("{jobs} Jobs and {scheduled} Jobs of CronJobs reached their outcome, {pods} pods");
    for pair in [("previous", "present"), ("present", "previous")] {
        ensure!(handovers.contains_key(&pair), "no change of the leader from {} to {}: {handovers:?}", pair.0, pair.1);
    }
    ensure!(jobs > 2 * SLOTS, "only {jobs} Jobs finished");
    Ok(())
}

/// Replaces replicas as in [`STEPS`], and counts the changes of the leader by the versions before and after.
async fn take_turns(
    replicas: &mut Replicas,
    previous: &Path,
    present: &Path,
    handovers: &mut BTreeMap<(&'static str, &'static str), usize>,
    rounds: usize,
) -> Result<()> {
    let version = |program: &Path| if program == previous { "previous" } else { "present" };
    for (role, graceful) in STEPS.iter().cycle().take(STEPS.len() * rounds) {
        replicas.one_leads().await?;
        let leader = replicas.leader().await.context("the leader has just changed")?;
        let before = version(replicas.program(leader));
        let number = if *role == Role::Leader { leader } else { 1 - leader };
        let next = if replicas.program(number) == previous { present } else { previous };
        println!(
            "replace the {} {role:?} by {}, graceful {graceful}",
            version(replicas.program(number)),
            version(next)
        );
        replicas.replace(number, next, *graceful)?;
        tokio::time::sleep(PAUSE).await;
        replicas.one_leads().await?;
        let after = replicas.leader().await.context("the leader has just changed")?;
        if *role == Role::Leader {
            *handovers.entry((before, version(replicas.program(after)))).or_default() += 1;
        }
        replicas.check()?;
    }
    Ok(())
}
