//! `docs/performance.md` and its plots.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Result;
use plotters::prelude::*;

use crate::report::{Report, figure_text, median};
use crate::system::System;

const PAIR: [System; 2] = [System::Jobwright, System::Builtin];

/// Writes the page and its plots below `docs`.
pub fn write(report: &Report, docs: &Path) -> Result<()> {
    let plots = [("wall_s", "seconds"), ("controller_cpu_s", "seconds of processor"), ("controller_rss_mib", "MiB")];
    for (figure, unit) in plots {
        plot(report, figure, unit, &docs.join(format!("performance-{figure}.svg")))?;
    }
    fs::write(docs.join("performance.md"), text(report)?)?;
    Ok(())
}

fn text(report: &Report) -> Result<String> {
    let mut text = String::from(
        "# Performance\n\n\
         Measured by `make bench PAGE=1`, which writes this page: Jobwright as the chart installs it, and\n\
         kube-controller-manager 1.37 with nothing but its Job, CronJob and TTL controllers on and its limits lifted\n\
         (`--kube-api-qps=10000 --kube-api-burst=10000 --concurrent-job-syncs=50 --concurrent-cron-job-syncs=50`), or as it comes. Each runs\n\
         alone on a fresh control plane with simulated nodes, in turn. A figure is the median of its runs, a ratio the median of the\n\
         ratios of pairs of runs; less is better, but for pods/s. In brackets are the least and the most.\n\n",
    );
    writeln!(text, "Machine: {}.\n", report.machine)?;
    writeln!(text, "![Wall time](performance-wall_s.svg)\n")?;
    writeln!(text, "![Processor time of the controller](performance-controller_cpu_s.svg)\n")?;
    writeln!(text, "![Memory of the controller](performance-controller_rss_mib.svg)\n")?;
    for (name, runs) in &report.work {
        writeln!(text, "## {name}\n\n{}.\n", runs.what)?;
        let others: Vec<System> = [System::Builtin, System::BuiltinAsShipped]
            .into_iter()
            .filter(|system| runs.by_system.contains_key(system))
            .collect();
        let heads: String =
            others.iter().map(|system| format!(" {} | ratio |", system.name().replace('_', " "))).collect();
        writeln!(text, "| | jobwright |{heads}\n|---|---|{}", "---|---|".repeat(others.len()))?;
        for figure in runs.figures() {
            let cell = |system| spread(&runs.values(system, figure));
            let mut row = format!("| {figure} | {} |", cell(System::Jobwright));
            for &other in &others {
                let ratio = median(&runs.ratios(figure, other)).map_or("-".to_owned(), figure_text);
                write!(row, " {} | {ratio} |", cell(other))?;
            }
            writeln!(text, "{row}")?;
        }
        writeln!(text)?;
    }
    Ok(text.trim_end().to_owned() + "\n")
}

fn spread(values: &[f64]) -> String {
    let Some(middle) = median(values) else { return "-".to_owned() };
    if values.len() < 2 {
        return figure_text(middle);
    }
    let (least, most) =
        (values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(f64::MIN, f64::max));
    format!("{} ({}–{})", figure_text(middle), figure_text(least), figure_text(most))
}

/// A pair of bars for each piece of work that has this figure for both.
fn plot(report: &Report, figure: &str, unit: &str, path: &Path) -> Result<()> {
    let rows: Vec<(&str, [f64; 2])> = report
        .work
        .iter()
        .filter_map(|(name, runs)| {
            let [ours, theirs] = PAIR.map(|system| median(&runs.values(system, figure)));
            Some((*name, [ours?, theirs?]))
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let most = rows.iter().flat_map(|(_, values)| values).copied().fold(0.0, f64::max);
    let root = SVGBackend::new(path, (760, 60 + 46 * u32::try_from(rows.len())?)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..most * 1.12, 0.0..rows.len() as f64)?;
    let name_of = |y: &f64| {
        let place = rows.len() as f64 - y;
        let middle = (place.fract() - 0.5).abs() < 0.01;
        rows.get(place as usize).filter(|_| middle).map_or(String::new(), |(name, _)| (*name).to_owned())
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .x_desc(unit)
        .y_labels(rows.len() * 2 + 1)
        .y_label_formatter(&name_of)
        .draw()?;
    for (place, (system, colour)) in
        PAIR.iter().zip([RGBColor(0xb7, 0x41, 0x0e), RGBColor(0x32, 0x6c, 0xe5)]).enumerate()
    {
        let bars = rows.iter().enumerate().map(|(row, (_, values))| {
            let top = rows.len() as f64 - row as f64 - 0.12 - 0.38 * place as f64;
            Rectangle::new([(0.0, top), (values[place], top - 0.36)], colour.filled())
        });
        chart
            .draw_series(bars)?
            .label(system.name())
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    root.present()?;
    Ok(())
}
