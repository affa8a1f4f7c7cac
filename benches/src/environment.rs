//! Environment of a measurement: a new control plane with simulated nodes, and one running system.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use kube::Client;
use testbed::control_plane::{self, ControlPlane};
use testbed::kwok::NODE_NAME;
use testbed::process::Process;
use testbed::{Cluster, Kubectl, Nodes, Options};

use crate::machine::Times;
use crate::nodes;
use crate::report::{Figures, median, quantile};
use crate::requests::{self, Requests};
use crate::syncs::{self, Syncs};
use crate::system::{self, Controller, System};
use crate::work::{Mode, Outcome, Work};
use crate::{floor, usage};

/// Maximum duration of one round of a piece of work.
const WORK_TIMEOUT: Duration = Duration::from_secs(3600);
/// Time after a piece of work in which late requests, such as those for events, are measured.
const LATE: Duration = Duration::from_millis(500);

/// Kind of the simulated nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NodeKind {
    /// Nodes of the benchmark, which take less processor time and can fail pods
    Lean,
    /// kwok
    Kwok,
}

/// Control plane with simulated nodes.
pub struct Environment {
    pub cluster: Cluster,
    pub client: Client,
    pub kubectl: Kubectl,
    lean: Option<Process>,
    starts: usize,
}

/// Resources used up to one moment.
struct Mark {
    requests: Requests,
    syncs: Option<Syncs>,
    times: Times,
}

impl Environment {
    /// Starts a control plane with nodes that kwok simulates.
    pub async fn start() -> Result<Self> {
        Self::start_with(Nodes::Simulated).await
    }

    /// Starts a control plane with nodes of this kind.
    pub async fn start_on(nodes: NodeKind) -> Result<Self> {
        if nodes == NodeKind::Kwok {
            return Self::start().await;
        }
        let mut environment = Self::start_with(Nodes::None).await?;
        let dir = environment.cluster.dir().context("a folder")?.join("lean-nodes");
        environment.lean = Some(nodes::start(&dir, environment.control()?, &environment.client).await?);
        Ok(environment)
    }

    async fn start_with(nodes: Nodes) -> Result<Self> {
        let flags = ["--kube-api-qps=1000", "--kube-api-burst=2000", "--concurrent-gc-syncs=20"].map(str::to_owned);
        let control_plane =
            control_plane::Options { controller_manager_flags: flags.to_vec(), ..control_plane::Options::default() };
        let cluster = Cluster::start(&Options { control_plane, nodes }).await?;
        let client = cluster.client().await?;
        let kubectl = Kubectl::new(&cluster, String::new())?;
        Ok(Self { cluster, client, kubectl, lean: None, starts: 0 })
    }

    pub fn control(&self) -> Result<&ControlPlane> {
        self.cluster.control.as_ref().context("the cluster has no control plane")
    }

    /// Returns the name of a node on which pods run and then end.
    fn node(&self) -> &'static str {
        if self.lean.is_some() { nodes::ENDS } else { NODE_NAME }
    }

    /// Starts a system.
    pub fn begin(&mut self, system: System) -> Result<Controller> {
        self.starts += 1;
        let dir: PathBuf = self.cluster.dir().context("a folder")?.join(format!("{}-{}", system.name(), self.starts));
        system.start(self.control()?, &dir)
    }

    /// Starts a system and waits until it has completed a first Job.
    pub async fn begin_warm(&mut self, system: System) -> Result<Controller> {
        let mut controller = self.begin(system)?;
        let first = Work::new("warm", 1, 1, 1, Mode::Plain);
        let namespace = self.cluster.namespace("warm").await?;
        first
            .run(&self.client, &namespace, self.node(), Duration::from_secs(60), &AtomicUsize::default())
            .await
            .with_context(|| controller.log_tail(10))?;
        controller.check()?;
        Ok(controller)
    }

    pub async fn end(&self, controller: Controller) -> Result<()> {
        system::stop(controller, &self.kubectl).await
    }

    /// Returns the processor times so far of the parts that [`crate::machine::PARTS`] names.
    async fn times(&self, controller: Option<&Controller>) -> Result<Times> {
        let control = self.control()?;
        let of = |pid: Option<u32>| pid.map_or(Ok(0.0), |pid| anyhow::Ok(usage::of(pid)?.cpu_s));
        let scheduler = control.scheduler.as_ref().map(Process::id);
        Times::now([
            of(Some(control.apiserver_id().await))?,
            of(Some(control.etcd_id().await))?,
            of(controller.map(Controller::id))?,
            of(self.lean.as_ref().map(Process::id).or(self.cluster.kwok_id()))?,
            of(Some(std::process::id()))?,
            of(Some(control.controller_manager_id().await))? + of(scheduler)?,
        ])
    }

    /// Returns the resources used so far. The processor times are read last at the beginning of a measurement and first
    /// at its end, because the API server uses processor time to return its metrics.
    async fn mark(&self, controller: Option<&Controller>, times: Option<Times>) -> Result<Mark> {
        let requests = requests::so_far(&self.client).await?;
        let syncs = match controller {
            Some(controller) => Some(syncs::so_far(&controller.metrics).await?),
            None => None,
        };
        let times = match times {
            Some(times) => times,
            None => self.times(controller).await?,
        };
        Ok(Mark { requests, syncs, times })
    }

    /// Measures a piece of work that a running system does, or without a system the lower bound for the work.
    pub async fn measure(&self, controller: Option<&Controller>, work: &Work) -> Result<Figures> {
        let prefix = work.name.clone();
        let mut namespaces = Vec::new();
        for _ in 0..work.rounds {
            namespaces.push(self.cluster.namespace(&prefix).await?);
        }
        if let Some(controller) = controller {
            usage::reset_peak(controller.id())?;
        }
        let before = self.mark(controller, None).await?;
        let mut outcome = Outcome::default();
        for namespace in &namespaces {
            outcome.add(match controller {
                Some(_) => {
                    work.run(&self.client, namespace, self.node(), WORK_TIMEOUT, &AtomicUsize::default()).await?
                }
                None => {
                    let wall_s = floor::round(&self.client, namespace, self.node(), work).await?;
                    Outcome { wall_s, ..Outcome::default() }
                }
            });
        }
        tokio::time::sleep(LATE).await;
        let times = self.times(controller).await?;
        let after = self.mark(controller, Some(times)).await?;
        let mut figures = figures_between(&before, &after, work.pods(), controller.is_some());
        if let Some(controller) = controller {
            figures.insert("controller_rss_mib", usage::of(controller.id())?.peak_mib);
        }
        figures.extend(figures_of(&outcome, work.pods()));
        // The objects are not deleted: the deletion would add work to the next measurement.
        Ok(figures)
    }

    /// Begins a measurement of processor time.
    pub async fn begin_times(&self, controller: &Controller) -> Result<Times> {
        self.times(Some(controller)).await
    }

    /// Returns the shares of the machine since `before`, and the processor times for each of `pods` pods.
    pub async fn times_since(&self, before: &Times, controller: &Controller, pods: usize) -> Result<Figures> {
        let after = self.times(Some(controller)).await?;
        let mut figures = after.shares_since(before);
        figures.extend(per_pod(before, &after, pods, true));
        Ok(figures)
    }
}

/// Returns the processor times of the API server and the controller, in total and for each pod.
fn per_pod(before: &Times, after: &Times, pods: usize, controller: bool) -> Figures {
    let used = |part: usize| after.parts[part] - before.parts[part];
    let ms = |part: usize| used(part) * 1000.0 / pods as f64;
    let mut figures = Figures::from([("apiserver_cpu_s", used(0)), ("apiserver_ms_per_pod", ms(0))]);
    if controller {
        figures.extend([("controller_cpu_s", used(2)), ("controller_ms_per_pod", ms(2))]);
    }
    figures
}

fn figures_between(before: &Mark, after: &Mark, pods: usize, controller: bool) -> Figures {
    let made = requests::of_controllers(&before.requests, &after.requests);
    let events: f64 = made.iter().filter(|(what, _)| what.ends_with(" events")).map(|(_, count)| count).sum();
    let all: f64 = made.values().sum();
    if std::env::var_os("BENCH_REQUESTS").is_some() {
        let sorted: BTreeMap<_, _> = made.iter().collect();
        eprintln!("  {sorted:?} in {:.1} s", after.times.at.duration_since(before.times.at).as_secs_f64());
    }
    let mut figures = after.times.shares_since(&before.times);
    figures.extend(per_pod(&before.times, &after.times, pods, controller));
    let pods = pods as f64;
    // The requests include those with which the benchmark creates the Jobs, equally for both systems.
    figures.insert("requests_per_pod", (all - events) / pods);
    figures.insert("events_per_pod", events / pods);
    if let (Some(before), Some(after)) = (before.syncs, after.syncs) {
        let syncs = after.all - before.all;
        figures.insert("syncs_per_pod", syncs / pods);
        if let Some(nothing) = after.nothing.filter(|_| syncs > 0.0) {
            figures.insert("syncs_nothing_percent", (nothing - before.nothing.unwrap_or_default()) / syncs * 100.0);
        }
    }
    figures
}

fn figures_of(outcome: &Outcome, pods: usize) -> Figures {
    let mut figures = Figures::from([("wall_s", outcome.wall_s), ("pods_per_s", pods as f64 / outcome.wall_s)]);
    figures.extend(spread(["first_pod_median_s", "first_pod_p99_s"], &outcome.first_pod_s));
    figures.extend(spread(["next_pod_median_s", "next_pod_p99_s"], &outcome.next_pod_s));
    figures
}

/// Returns the median and the 99th percentile of latencies as figures with these names.
pub fn spread(names: [&'static str; 2], values: &[f64]) -> Figures {
    let both = [(names[0], median(values)), (names[1], quantile(values, 0.99))];
    both.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(controller_s: f64, syncs: Syncs) -> Mark {
        let times = Times {
            parts: [0.0, 0.0, controller_s, 0.0, 0.0, 0.0],
            total: controller_s * 4.0,
            idle: 0.0,
            at: std::time::Instant::now(),
        };
        Mark { requests: Requests::new(), syncs: Some(syncs), times }
    }

    #[test]
    fn cost_is_divided_by_the_number_of_pods() {
        let before = mark(1.0, Syncs { all: 10.0, nothing: None });
        let after = mark(1.5, Syncs { all: 110.0, nothing: Some(25.0) });
        let figures = figures_between(&before, &after, 100, true);
        assert_eq!(figures["controller_ms_per_pod"], 5.0);
        assert_eq!(figures["syncs_per_pod"], 1.0);
        assert_eq!(figures["syncs_nothing_percent"], 25.0, "the metric appears with its first sync");
        assert_eq!(figures["machine_controller_percent"], 25.0);
        assert!(!figures_between(&before, &after, 100, false).contains_key("controller_ms_per_pod"));
    }
}
