//! Environment of a measurement: a new control plane with simulated nodes, and one running system.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kube::Client;
use testbed::control_plane::{self, ControlPlane};
use testbed::process::Process;
use testbed::{Cluster, Kubectl, Nodes, Options};

use crate::report::{Figures, median, quantile};
use crate::requests::{self, Requests};
use crate::system::{self, System};
use crate::usage;
use crate::work::{Outcome, Work};

/// Maximum duration of a piece of work.
const WORK_TIMEOUT: Duration = Duration::from_secs(600);

/// Control plane with simulated nodes.
pub struct Environment {
    pub cluster: Cluster,
    pub client: Client,
    pub kubectl: Kubectl,
    starts: usize,
}

/// Resources used up to one moment.
struct Mark {
    requests: Requests,
    controller_cpu: f64,
    apiserver_cpu: f64,
    at: Instant,
}

impl Environment {
    pub async fn start() -> Result<Self> {
        let flags = ["--kube-api-qps=1000", "--kube-api-burst=2000", "--concurrent-gc-syncs=20"].map(str::to_owned);
        let control_plane =
            control_plane::Options { controller_manager_flags: flags.to_vec(), ..control_plane::Options::default() };
        let cluster = Cluster::start(&Options { control_plane, nodes: Nodes::Simulated }).await?;
        let client = cluster.client().await?;
        let kubectl = Kubectl::new(&cluster, String::new())?;
        Ok(Self { cluster, client, kubectl, starts: 0 })
    }

    pub fn control(&self) -> Result<&ControlPlane> {
        self.cluster.control.as_ref().context("the cluster has no control plane")
    }

    /// Starts a system.
    pub fn begin(&mut self, system: System) -> Result<Process> {
        self.starts += 1;
        let dir: PathBuf = self.cluster.dir().context("a folder")?.join(format!("{}-{}", system.name(), self.starts));
        system.start(self.control()?, &dir)
    }

    /// Starts a system and waits until it has completed a first Job.
    pub async fn begin_warm(&mut self, system: System) -> Result<Process> {
        let mut process = self.begin(system)?;
        let first = Work::new("warm", 1, 1, 1, false);
        let namespace = self.cluster.namespace("warm").await?;
        first
            .run(&self.client, &namespace, Duration::from_secs(60), &AtomicUsize::default())
            .await
            .with_context(|| process.log_tail(10))?;
        process.check()?;
        Ok(process)
    }

    pub async fn end(&self, process: Process) -> Result<()> {
        system::stop(process, &self.kubectl).await
    }

    async fn mark(&self, process: &Process) -> Result<Mark> {
        Ok(Mark {
            requests: requests::so_far(&self.client).await?,
            controller_cpu: usage::of(process.id())?.cpu_s,
            apiserver_cpu: usage::of(self.control()?.apiserver_id().await)?.cpu_s,
            at: Instant::now(),
        })
    }

    /// Measures a piece of work that a running system does.
    pub async fn measure(&self, process: &Process, work: &Work) -> Result<Figures> {
        let namespace = self.cluster.namespace(work.name).await?;
        usage::reset_peak(process.id())?;
        let before = self.mark(process).await?;
        let outcome = work.run(&self.client, &namespace, WORK_TIMEOUT, &AtomicUsize::default()).await?;
        // Requests that follow the last status write, such as events, belong to the measurement.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut figures = self.since(&before, process, work.pods()).await?;
        figures.extend(figures_of(&outcome, work.pods()));
        // The objects are not deleted: the deletion would add work to the next measurement.
        Ok(figures)
    }

    async fn since(&self, before: &Mark, process: &Process, pods: usize) -> Result<Figures> {
        let after = self.mark(process).await?;
        let made = requests::of_controllers(&before.requests, &after.requests);
        let events: f64 = made.iter().filter(|(what, _)| what.ends_with(" events")).map(|(_, count)| count).sum();
        let all: f64 = made.values().sum();
        if std::env::var_os("BENCH_REQUESTS").is_some() {
            let sorted: BTreeMap<_, _> = made.iter().collect();
            eprintln!("  {sorted:?} in {:.1} s", before.at.elapsed().as_secs_f64());
        }
        let pods = pods as f64;
        Ok(Figures::from([
            ("controller_cpu_s", after.controller_cpu - before.controller_cpu),
            ("controller_rss_mib", usage::of(process.id())?.peak_mib),
            ("apiserver_cpu_s", after.apiserver_cpu - before.apiserver_cpu),
            // The requests include those with which the benchmark creates the Jobs, equally for both systems.
            ("requests_per_pod", (all - events) / pods),
            ("events_per_pod", events / pods),
        ]))
    }
}

fn figures_of(outcome: &Outcome, pods: usize) -> Figures {
    let mut figures = Figures::from([("wall_s", outcome.wall_s), ("pods_per_s", pods as f64 / outcome.wall_s)]);
    let mut spread = |names: [&'static str; 2], values: &[f64]| {
        figures.extend(median(values).map(|value| (names[0], value)));
        figures.extend(quantile(values, 0.99).map(|value| (names[1], value)));
    };
    spread(["first_pod_median_s", "first_pod_p99_s"], &outcome.first_pod_s);
    spread(["next_pod_median_s", "next_pod_p99_s"], &outcome.next_pod_s);
    figures
}
