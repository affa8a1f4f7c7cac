//! Command line of the benchmark.

use std::path::PathBuf;

use clap::Parser;

use crate::environment::NodeKind;
use crate::growth::Kind;

/// Jobwright and kube-controller-manager on the same work, in turn
#[derive(Clone, Debug, Parser)]
pub struct Arguments {
    /// Less of everything, and no cron, idle and crowd unless `--only` names them: under five minutes
    #[arg(long)]
    pub quick: bool,
    /// Only this work, such as chain, growth or restart
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Only these sizes of the bursts of growth
    #[arg(long, value_name = "PODS", value_delimiter = ',')]
    pub sizes: Vec<usize>,
    /// Only these kinds of Jobs in growth
    #[arg(long, value_enum, value_name = "KIND", value_delimiter = ',')]
    pub kinds: Vec<Kind>,
    /// Also one Job of 100,000 indexes, and 50,000 finished Jobs: an hour on two cores
    #[arg(long)]
    pub large: bool,
    /// Only Jobwright, to see what a change does
    #[arg(long)]
    pub ours: bool,
    /// No floor: the wall time is not compared with that of a bare client
    #[arg(long)]
    pub no_floor: bool,
    /// Simulated nodes of the work that measures throughput
    #[arg(long, value_enum, default_value = "lean")]
    pub nodes: NodeKind,
    /// Jobwright binary to measure, instead of one that is built from the sources
    #[arg(long, value_name = "PATH", env = "BENCH_BINARY")]
    pub binary: Option<PathBuf>,
    /// Measure the console of this binary, with 50,000 Jobs, and nothing else
    #[arg(long, value_name = "PATH", conflicts_with = "scale")]
    pub console: Option<PathBuf>,
    /// Number of pairs of runs of the short work
    #[arg(long, default_value_t = 3)]
    pub pairs: usize,
    /// Add to the figures of the last report, to measure one piece of work after the other
    #[arg(long, conflicts_with = "scale")]
    pub add: bool,
    /// Write docs/results/performance.md and its plots
    #[arg(long)]
    pub page: bool,
    /// Only 50,000 Jobs that are created together and a Job of 100,000 indexes, by Jobwright alone: an hour on two
    /// cores
    #[arg(long)]
    pub scale: bool,
    /// Act for the lean nodes of the cluster of this kubeconfig. The benchmark starts this process itself
    #[arg(long, hide = true, value_name = "KUBECONFIG")]
    pub serve_nodes: Option<PathBuf>,
}

impl Arguments {
    /// Returns whether a piece of work is selected.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// Returns whether a piece of work is selected that a quick run leaves out.
    pub fn wants_slow(&self, name: &str) -> bool {
        self.wants(name) && !(self.quick && self.only.is_empty())
    }

    /// Returns the number of pairs of runs.
    pub fn pairs(&self) -> usize {
        if self.quick { 1 } else { self.pairs }
    }
}
