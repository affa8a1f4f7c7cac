//! The machine: its description, and the shares of its processor time that the parts of a measurement take.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::report::Figures;

/// Prefix of the figures of this module.
pub const PREFIX: &str = "machine_";

/// Share of the API server.
pub const APISERVER: &str = "machine_apiserver_percent";
/// Share of the simulated nodes.
pub const NODES: &str = "machine_nodes_percent";
/// Parts of a measurement whose processor time is reported, in the order of [`Times::parts`].
pub const PARTS: [&str; 6] = [
    APISERVER,
    "machine_etcd_percent",
    "machine_controller_percent",
    NODES,
    "machine_benchmark_percent",
    "machine_control_plane_percent",
];
/// Processes that are no part of the measurement.
pub const OTHERS: &str = "machine_others_percent";
/// Processor time that no process used.
pub const IDLE: &str = "machine_idle_percent";

/// Processor times up to one moment, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Processor time of each of the [`PARTS`].
    pub parts: [f64; PARTS.len()],
    /// Time of all processors.
    pub total: f64,
    /// Time for which processors were idle.
    pub idle: f64,
    /// The moment.
    pub at: Instant,
}

impl Times {
    /// Returns the times of these parts up to now.
    pub fn now(parts: [f64; PARTS.len()]) -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let (total, idle) = processors(&stat).context("the first line of /proc/stat")?;
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        Ok(Self { parts, total: total / ticks, idle: idle / ticks, at: Instant::now() })
    }

    /// Returns the share of each part since `before`, in percent of the time of all processors.
    pub fn shares_since(&self, before: &Self) -> Figures {
        let total = self.total - before.total;
        let percent = |seconds: f64| if total > 0.0 { (seconds / total * 100.0).max(0.0) } else { 0.0 };
        let used: Vec<f64> = self.parts.iter().zip(before.parts).map(|(after, before)| after - before).collect();
        let idle = self.idle - before.idle;
        let mut figures: Figures = PARTS.into_iter().zip(used.iter().map(|seconds| percent(*seconds))).collect();
        figures.insert(OTHERS, percent(total - idle - used.iter().sum::<f64>()));
        figures.insert(IDLE, percent(idle));
        figures
    }
}

/// Returns the time of all processors and the part of it that was idle, in ticks, from the text of `/proc/stat`.
fn processors(stat: &str) -> Option<(f64, f64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    // The columns after the eighth are parts of the first two.
    let columns: Vec<f64> = line.split_whitespace().take(8).map_while(|column| column.parse().ok()).collect();
    Some((columns.iter().sum(), columns.get(3)? + columns.get(4)?))
}

/// Returns a description of the machine.
pub fn description() -> Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, name)| name);
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kib: u64 = memory.split_whitespace().nth(1).context("MemTotal")?.parse()?;
    Ok(format!("{cores} cores ({model}), {} GiB", (kib + (1 << 19)) >> 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_all_parts_add_up_to_the_machine() {
        let at = Instant::now();
        let before = Times { parts: [0.0; 6], total: 100.0, idle: 50.0, at };
        let after = Times { parts: [5.0, 1.0, 1.0, 2.0, 0.5, 0.0], total: 120.0, idle: 60.0, at };
        let shares = after.shares_since(&before);
        assert_eq!(shares[PARTS[0]], 25.0);
        assert_eq!(shares[IDLE], 50.0);
        assert_eq!(shares[OTHERS], 2.5);
        assert_eq!(shares.values().sum::<f64>(), 100.0);
    }

    #[test]
    fn idle_time_includes_the_wait_for_disks() {
        assert_eq!(processors("cpu  10 0 5 70 10 0 3 2 99 0\ncpu0 1"), Some((100.0, 80.0)));
        assert_eq!(processors("intr 5"), None);
    }
}
