//! Benchmark (`make bench`): Jobwright and kube-controller-manager do the same work on the same kind of control plane.
//!
//! Each system runs alone on a new control plane with simulated nodes. The systems alternate, so that other load on the
//! machine affects both, and figures are compared pair by pair. The benchmark writes `target/bench/report.json` and,
//! with `--page`, `docs/results/performance.md` with its plots.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a benchmark measures time, prints its results and ends at the first error"
)]

mod cron;
mod crowded;
mod environment;
mod floor;
mod limit;
mod page;
mod report;
mod requests;
mod scale;
mod system;
mod usage;
mod work;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;

use crowded::Size;
use environment::Environment;
use report::Report;
use system::System;
use work::Work;

#[derive(Parser)]
struct Arguments {
    /// Less of everything: under five minutes
    #[arg(long)]
    quick: bool,
    /// Only this work, such as chain or restart
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Only Jobwright, to see what a change does
    #[arg(long)]
    ours: bool,
    /// Number of pairs of runs of the short work
    #[arg(long, default_value_t = 3)]
    pairs: usize,
    /// Write docs/results/performance.md and its plots
    #[arg(long)]
    page: bool,
    /// Only 50,000 Jobs that are created together and a Job of 100,000 indexes, by Jobwright alone: an hour on two
    /// cores
    #[arg(long)]
    scale: bool,
}

/// Returns the pieces of work that consist of Jobs only.
fn short_work(quick: bool) -> Vec<Work> {
    let less = |full: usize, quick_: usize| if quick { quick_ } else { full };
    let (waves, burst) = (less(1000, 300), less(1000, 300));
    vec![
        Work::new("chain", 1, 20, 1, false),
        Work::new("waves", 1, waves, 50, false),
        Work::new("burst", 1, burst, burst, true),
        Work::new("many", less(300, 100), 1, 1, false),
        Work::new("stair", less(100, 30), 5, 1, true),
    ]
}

/// Returns the pieces of work for the built-in controllers with their default limits, under which larger ones would
/// take too long.
fn work_as_shipped() -> Vec<Work> {
    vec![Work::new("burst-200", 1, 200, 200, true), Work::new("many-50", 50, 1, 1, false)]
}

struct Bench {
    arguments: Arguments,
    report: Report,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let begun = Instant::now();
    system::build()?;
    let mut bench = Bench { arguments, report: Report { machine: machine()?, ..Report::default() } };
    if bench.arguments.scale {
        bench.scale().await?;
    } else {
        bench.short().await?;
        bench.as_shipped().await?;
        bench.cron().await?;
        bench.crowded().await?;
        bench.limit().await?;
    }
    let report = &bench.report;
    println!("\n{}\n{}", report.machine, report.table());
    let target = PathBuf::from("target/bench");
    fs::create_dir_all(&target)?;
    let file = target.join(if bench.arguments.scale { "scale.json" } else { "report.json" });
    fs::write(&file, serde_json::to_string_pretty(&report.json())? + "\n")?;
    if bench.arguments.page && !bench.arguments.scale {
        page::write(report, Path::new("docs/results"))?;
    }
    println!("{} s; {}", begun.elapsed().as_secs(), file.display());
    Ok(())
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        self.arguments.only.is_empty() || self.arguments.only.iter().any(|only| only == name)
    }

    fn systems(&self) -> &'static [System] {
        if self.arguments.ours { &[System::Jobwright] } else { &[System::Jobwright, System::Builtin] }
    }

    fn pairs(&self) -> usize {
        if self.arguments.quick { 1 } else { self.arguments.pairs }
    }

    fn print(name: &str, system: System, figures: &report::Figures) {
        let text: Vec<String> =
            figures.iter().map(|(figure, value)| format!("{figure} {}", report::figure_text(*value))).collect();
        println!("{name:<9} {:<18} {}", system.name(), text.join(", "));
    }

    fn add(&mut self, name: &'static str, what: &str, system: System, figures: report::Figures) {
        Self::print(name, system, &figures);
        self.report.add(name, what, system, figures);
    }

    async fn short(&mut self) -> Result<()> {
        let all: Vec<Work> =
            short_work(self.arguments.quick).into_iter().filter(|work| self.wants(work.name)).collect();
        let pods = if self.arguments.quick { 300 } else { 1000 };
        let floor = self.wants("floor");
        for _ in 0..self.pairs() {
            for &system in self.systems() {
                if all.is_empty() && !(floor && system == System::Jobwright) {
                    continue;
                }
                let mut environment = Environment::start().await?;
                if floor && system == System::Jobwright {
                    let what = format!("a bare client: {pods} pods created, their finalizers removed");
                    let figures = floor::measure(&environment, pods, 64).await?;
                    self.add("floor", &what, system, figures);
                }
                let process = environment.begin_warm(system).await?;
                for work in &all {
                    let figures = environment
                        .measure(&process, work)
                        .await
                        .with_context(|| format!("{} {}", system.name(), work.name))?;
                    self.add(work.name, &work.what, system, figures);
                }
                environment.end(process).await?;
            }
        }
        Ok(())
    }

    async fn as_shipped(&mut self) -> Result<()> {
        let all: Vec<Work> = work_as_shipped().into_iter().filter(|work| self.wants(work.name)).collect();
        if self.arguments.quick || self.arguments.ours || all.is_empty() {
            return Ok(());
        }
        for system in [System::Jobwright, System::BuiltinAsShipped] {
            let mut environment = Environment::start().await?;
            let process = environment.begin_warm(system).await?;
            for work in &all {
                let figures = environment.measure(&process, work).await?;
                self.add(work.name, &work.what, system, figures);
            }
            environment.end(process).await?;
        }
        Ok(())
    }

    async fn scale(&mut self) -> Result<()> {
        let mut series = Vec::new();
        for work in scale::work(self.arguments.quick) {
            if !self.wants(work.name) {
                continue;
            }
            let mut environment = Environment::start().await?;
            let process = environment.begin_warm(System::Jobwright).await?;
            let (figures, samples) = scale::measure(&environment, &process, &work).await?;
            self.add(work.name, &work.what, System::Jobwright, figures);
            environment.end(process).await?;
            series.push((work, samples));
        }
        if self.arguments.page {
            page::write_scale(&self.report, &series, Path::new("docs/results"))?;
        }
        Ok(())
    }

    async fn cron(&mut self) -> Result<()> {
        if !self.wants("cron") {
            return Ok(());
        }
        let count = if self.arguments.quick { 100 } else { 500 };
        for &system in self.systems() {
            let mut environment = Environment::start().await?;
            let process = environment.begin_warm(system).await?;
            let figures = cron::measure(&environment, &process, count).await?;
            self.add("cron", &format!("{count} CronJobs due in the same minute"), system, figures);
            environment.end(process).await?;
        }
        Ok(())
    }

    /// Measures a JobLimit, with Jobwright alone, because the built-in controllers have no such limit.
    async fn limit(&mut self) -> Result<()> {
        if !self.wants("limit") {
            return Ok(());
        }
        let size = if self.arguments.quick {
            limit::Size { jobs: 1000, length: Duration::from_secs(20) }
        } else {
            limit::Size { jobs: 10_000, length: Duration::from_secs(60) }
        };
        let mut environment = Environment::start().await?;
        let mut process = environment.begin_warm(System::Jobwright).await?;
        let figures = limit::measure(&environment, &mut process, size).await?;
        let what = format!(
            "{} Jobs wait for a JobLimit of 20 active Jobs; ten end each second for {} s, and a Job in another namespace starts \
             every half second",
            size.jobs,
            size.length.as_secs()
        );
        self.add("limit", &what, System::Jobwright, figures);
        environment.end(process).await
    }

    async fn crowded(&mut self) -> Result<()> {
        let wanted = ["restart", "idle", "crowd"].map(|name| self.wants(name));
        if !wanted.contains(&true) {
            return Ok(());
        }
        let size = if self.arguments.quick {
            Size { jobs: 500, finished: 1000, unrelated: 2000, idle: Duration::from_secs(15) }
        } else {
            Size { jobs: 5000, finished: 10_000, unrelated: 20_000, idle: Duration::from_secs(60) }
        };
        let mut environment = Environment::start().await?;
        crowded::fill(&mut environment, size).await?;
        if wanted[0] {
            let what = format!("{} Jobs with {} pods, {} finished Jobs", size.jobs, size.jobs * 4, size.finished);
            for _ in 0..self.pairs() {
                for &system in self.systems() {
                    let figures = crowded::restart(&mut environment, system).await?;
                    self.add("restart", &what, system, figures);
                }
            }
        }
        if wanted[1] {
            let what = format!("the same, for {} s in which nothing happens", size.idle.as_secs());
            for &system in self.systems() {
                let figures = crowded::idle(&mut environment, system, size.idle).await?;
                self.add("idle", &what, system, figures);
            }
        }
        if wanted[2] {
            crowded::add_unrelated_pods(&environment, size.unrelated).await?;
            let what = format!("the same, and {} pods without a Job", size.unrelated);
            for &system in self.systems() {
                let figures = crowded::restart(&mut environment, system).await?;
                self.add("crowd", &what, system, figures);
            }
        }
        Ok(())
    }
}

/// Returns a description of the machine.
fn machine() -> Result<String> {
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
