//! Writer of `docs/results/performance.md` and `docs/results/scale.md` with their plots.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::goals::goals;
use crate::machine::{APISERVER, IDLE, NODES, OTHERS, PARTS, PREFIX};
use crate::plots;
use crate::report::{Report, Runs, figure_text, median};
use crate::scale::Sample;
use crate::system::System;
use crate::work::Work;

/// Writes the page and its plots to the folder `docs`, which is `docs/results`.
pub fn write(report: &Report, docs: &Path) -> Result<()> {
    let plots = [("wall_s", "seconds"), ("controller_cpu_s", "seconds of processor"), ("controller_rss_mib", "MiB")];
    for (figure, unit) in plots {
        plots::bars(report, figure, unit, &docs.join(format!("performance-{figure}.svg")))?;
    }
    let growth = plots::growth(report, &docs.join("performance-growth.svg"))?;
    fs::write(docs.join("performance.md"), text(report, growth)?)?;
    Ok(())
}

/// Writes the page of the large work and its plots to the folder `docs`.
pub fn write_scale(report: &Report, series: &[(Work, Vec<Sample>)], docs: &Path) -> Result<()> {
    let mut text = String::from(
        "# Performance at scale\n\n\
         Measured by `make bench SCALE=1 PAGE=1`, which writes this page. Jobwright runs alone on a control\n\
         plane with simulated nodes. The work is many Jobs that are created at the same time, and one Job\n\
         with many indexes.\n\n",
    );
    writeln!(text, "Machine: {}.\n", report.machine)?;
    for (work, samples) in series {
        let name = format!("scale-{}.svg", work.name);
        plots::samples(samples, &docs.join(&name))?;
        writeln!(
            text,
            "## {}\n\n{}.\n\n![Pods done in a second, and memory, over time]({name})\n",
            work.name, work.what
        )?;
        let runs = report.runs(&work.name);
        writeln!(text, "| | |\n|---|---|")?;
        for figure in runs.map(Runs::figures).unwrap_or_default() {
            let values = runs.map(|runs| runs.values(System::Jobwright, figure)).unwrap_or_default();
            writeln!(text, "| {figure} | {} |", spread(&values))?;
        }
        writeln!(text)?;
    }
    fs::write(docs.join("scale.md"), text.trim_end().to_owned() + "\n")?;
    Ok(())
}

fn text(report: &Report, growth: bool) -> Result<String> {
    let mut text = String::from(
        "# Performance\n\n\
         Measured by `make bench PAGE=1`, which writes this page. It compares Jobwright as the chart installs\n\
         it with kube-controller-manager 1.37, of which only the Job, CronJob and TTL controllers run. Its\n\
         limits are either lifted (`--kube-api-qps=10000 --kube-api-burst=10000 --concurrent-job-syncs=50\n\
         --concurrent-cron-job-syncs=50`) or left at their defaults (as shipped). Each controller runs alone\n\
         on a new control plane with simulated nodes; the systems take turns. The floor is a bare client\n\
         without a controller: it creates the same Jobs and pods, and removes the finalizers of the pods.\n\n\
         A figure is the median of its runs. A ratio is the median of the ratios of pairs of runs. The range\n\
         in parentheses is the minimum and the maximum. Lower is better, except for `pods_per_s`.\n\n",
    );
    writeln!(text, "Machine: {}.\n", report.machine)?;
    text += &summary(report)?;
    text += &shares(report)?;
    writeln!(text, "## Plots\n")?;
    if growth {
        writeln!(text, "![Processor time of the controller for each pod over the size](performance-growth.svg)\n")?;
    }
    writeln!(text, "![Wall time](performance-wall_s.svg)\n")?;
    writeln!(text, "![Processor time of the controller](performance-controller_cpu_s.svg)\n")?;
    writeln!(text, "![Memory of the controller](performance-controller_rss_mib.svg)\n")?;
    for (name, runs) in &report.work {
        text += &details(name, runs)?;
    }
    text += &goal_table(report)?;
    Ok(text.trim_end().to_owned() + "\n")
}

/// Returns a table with the cost of each pod, one row for each piece of work.
fn summary(report: &Report) -> Result<String> {
    let mut text = String::from(
        "## Cost for each pod\n\n\
         The controller's and the API server's processor time for each pod, with the ratio of Jobwright to\n\
         the built-in controller, and the wall time over the floor. Requests and syncs are Jobwright's and\n\
         the built-in's. The last column is the share of Jobwright's syncs that took no step.\n\n\
         | | wall / floor | built-in's | controller, ms | built-in's | ratio | API server, ms | built-in's | ratio | requests | built-in's | syncs | built-in's | without a step |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let show = |value: Option<f64>| value.map_or("-".to_owned(), figure_text);
    let (ours, theirs) = (System::Jobwright, System::Builtin);
    for (name, runs) in &report.work {
        if runs.median(ours, "apiserver_ms_per_pod").is_none() {
            continue;
        }
        let floor = |system| show(runs.ratio("wall_s", system, System::Floor));
        let both = |figure| format!("{} | {}", show(runs.median(ours, figure)), show(runs.median(theirs, figure)));
        let ratio = |figure| show(runs.ratio(figure, ours, theirs));
        writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            floor(ours),
            floor(theirs),
            both("controller_ms_per_pod"),
            ratio("controller_ms_per_pod"),
            both("apiserver_ms_per_pod"),
            ratio("apiserver_ms_per_pod"),
            both("requests_per_pod"),
            both("syncs_per_pod"),
            runs.median(ours, "syncs_nothing_percent").map_or("-".to_owned(), |share| format!("{share:.0} %")),
        )?;
    }
    Ok(text + "\n")
}

/// Returns a table with the shares of the machine's processor time, one row for each piece of work and system.
fn shares(report: &Report) -> Result<String> {
    let mut text = String::from(
        "## Shares of the machine\n\n\
         Shares of the time of all processors during a measurement, in percent. The benchmark is the program\n\
         that creates the Jobs; in the rows of the floor it is the bare client, too. The control plane is\n\
         kube-controller-manager without the measured controllers, and kube-scheduler.\n\n\
         | | | API server | etcd | controller | simulated nodes | benchmark | control plane | other processes | idle |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut largest: Option<f64> = None;
    for (name, runs) in &report.work {
        for system in runs.by_system.keys() {
            let part = |figure| runs.median(*system, figure).filter(|share| *share > 0.0);
            if let (Some(nodes), Some(server)) = (part(NODES), part(APISERVER)) {
                largest = Some(largest.unwrap_or_default().max(nodes / server));
            }
            let columns = PARTS.into_iter().chain([OTHERS, IDLE]);
            let values: Vec<f64> = columns.filter_map(|column| runs.median(*system, column)).collect();
            if !values.is_empty() {
                let cells: Vec<String> = values.iter().map(|value| format!("{value:.0}")).collect();
                writeln!(text, "| {name} | {} | {} |", system.name().replace('_', " "), cells.join(" | "))?;
            }
        }
    }
    if let Some(largest) = largest {
        let largest = figure_text(largest);
        writeln!(text, "\nThe simulated nodes took at most {largest} times the processor time of the API server.")?;
    }
    Ok(text + "\n")
}

/// Returns a section with all figures of one piece of work.
fn details(name: &str, runs: &Runs) -> Result<String> {
    let mut text = format!("## {name}\n\n{}.\n\n", runs.what);
    let others: Vec<System> = [System::Builtin, System::BuiltinAsShipped, System::Floor]
        .into_iter()
        .filter(|system| runs.by_system.contains_key(system))
        .collect();
    let heads: String = others.iter().map(|system| format!(" {} | ratio |", system.name().replace('_', " "))).collect();
    writeln!(text, "| | jobwright |{heads}\n|---|---|{}", "---|---|".repeat(others.len()))?;
    for figure in runs.figures().into_iter().filter(|figure| !figure.starts_with(PREFIX)) {
        let cell = |system| spread(&runs.values(system, figure));
        let mut row = format!("| {figure} | {} |", cell(System::Jobwright));
        for &other in &others {
            let ratio = runs.ratio(figure, System::Jobwright, other).map_or("-".to_owned(), figure_text);
            write!(row, " {} | {ratio} |", cell(other))?;
        }
        writeln!(text, "{row}")?;
    }
    Ok(text + "\n")
}

/// Returns the table of goals.
fn goal_table(report: &Report) -> Result<String> {
    let mut text = String::from("## Goals\n\n| goal | at most | measured | result |\n|---|---|---|---|\n");
    for goal in goals(report) {
        writeln!(text, "| {} | {} | {} | {} |", goal.text, figure_text(goal.limit), goal.measured(), goal.result())?;
    }
    Ok(text)
}

/// Returns the median of values and, for more than one, their range in parentheses.
fn spread(values: &[f64]) -> String {
    let Some(middle) = median(values) else { return "-".to_owned() };
    if values.len() < 2 {
        return figure_text(middle);
    }
    let (min, max) = (values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(f64::MIN, f64::max));
    format!("{} ({}–{})", figure_text(middle), figure_text(min), figure_text(max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Figures;

    #[test]
    fn page_has_the_costs_the_shares_and_the_goals() {
        let figures = |ms, wall| {
            Figures::from([
                ("controller_ms_per_pod", ms),
                ("apiserver_ms_per_pod", 10.0 * ms),
                ("wall_s", wall),
                (APISERVER, 48.0),
                (NODES, 12.0),
            ])
        };
        let mut report = Report { machine: "some machine".to_owned(), ..Report::default() };
        report.add("growth-indexed-250", "a Job", System::Jobwright, figures(1.0, 3.0));
        report.add("growth-indexed-250", "a Job", System::Builtin, figures(4.0, 6.0));
        report.add("growth-indexed-250", "a Job", System::Floor, Figures::from([("wall_s", 2.0)]));
        let page = text(&report, true).unwrap();
        for line in [
            "| growth-indexed-250 | 1.50 | 3.00 | 1.00 | 4.00 | 0.250 | 10.0 | 40.0 | 0.250 | - | - | - | - | - |",
            "| growth-indexed-250 | jobwright | 48 | 12 |",
            "The simulated nodes took at most 0.250 times the processor time of the API server.",
            "| wall_s | 3.00 | 6.00 | 0.500 | 2.00 | 1.50 |",
            "| MiB at rest | 14.0 | - | not measured |",
            "![Processor time of the controller for each pod over the size](performance-growth.svg)",
        ] {
            assert!(page.lines().any(|is| is == line), "{line} is not in\n{page}");
        }
        assert!(!page.contains("| machine_"), "the shares have a table of their own");
        assert_eq!(page.lines().rfind(|line| line.starts_with("## ")), Some("## Goals"), "the goals are last");
    }
}
