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

mod arguments;
mod bench;
mod cron;
mod crowded;
mod environment;
mod fair;
mod floor;
mod goals;
mod growth;
mod hand_over;
mod limit;
mod machine;
mod nodes;
mod page;
mod plots;
mod policy;
mod ready;
mod report;
mod requests;
mod rest;
mod scale;
mod syncs;
mod system;
mod ui;
mod usage;
mod work;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;

use arguments::Arguments;
use bench::Bench;
use report::Report;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(kubeconfig) = &arguments.serve_nodes {
        return nodes::serve(kubeconfig).await;
    }
    let begun = Instant::now();
    if arguments.console.is_none() {
        system::select_binary(arguments.binary.as_deref())?;
    }
    let target = PathBuf::from("target/bench");
    fs::create_dir_all(&target)?;
    let file = target.join(if arguments.scale { "scale.json" } else { "report.json" });
    let report = if arguments.add { last(&file)? } else { Report::default() };
    let report = Report { machine: machine::description()?, ..report };
    let mut bench = Bench { arguments, report, file };
    bench.run().await?;
    let Bench { arguments, report, file } = &bench;
    println!("\n{}\n{}", report.machine, report.table());
    if !arguments.scale {
        for goal in goals::goals(report).iter().filter(|goal| goal.value.is_some()) {
            println!("{}, at most {}: {}; {}", goal.text, goal.limit, goal.measured(), goal.result());
        }
        if arguments.page {
            page::write(report, Path::new("docs/results"))?;
        }
    }
    println!("{} s; {}", begun.elapsed().as_secs(), file.display());
    Ok(())
}

/// Returns the last report.
fn last(file: &Path) -> Result<Report> {
    let text = fs::read(file).with_context(|| format!("--add: {}", file.display()))?;
    Report::parse(&serde_json::from_slice(&text)?).with_context(|| format!("--add: {}", file.display()))
}
