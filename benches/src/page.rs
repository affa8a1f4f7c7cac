//! Writer of `docs/results/performance.md` and `docs/results/scale.md` with their plots.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Result;
use plotters::prelude::*;

use crate::report::{Report, Runs, figure_text, median};
use crate::scale::Sample;
use crate::system::System;
use crate::work::Work;

const PAIR: [System; 2] = [System::Jobwright, System::Builtin];
/// Colours of the two series of a plot.
const COLOURS: [RGBColor; 2] = [RGBColor(0xb7, 0x41, 0x0e), RGBColor(0x32, 0x6c, 0xe5)];

/// Writes the page and its plots to the folder `docs`, which is `docs/results`.
pub fn write(report: &Report, docs: &Path) -> Result<()> {
    let plots = [("wall_s", "seconds"), ("controller_cpu_s", "seconds of processor"), ("controller_rss_mib", "MiB")];
    for (figure, unit) in plots {
        plot(report, figure, unit, &docs.join(format!("performance-{figure}.svg")))?;
    }
    fs::write(docs.join("performance.md"), text(report)?)?;
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
        plot_samples(samples, &docs.join(&name))?;
        writeln!(
            text,
            "## {}\n\n{}.\n\n![Pods done in a second, and memory, over time]({name})\n",
            work.name, work.what
        )?;
        let runs = report.work.iter().find(|(is, _)| *is == work.name).map(|(_, runs)| runs);
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

/// Plots the pods done per second and the memory of the controller over time.
fn plot_samples(samples: &[Sample], path: &Path) -> Result<()> {
    let rates: Vec<(f64, f64)> = samples
        .windows(2)
        .filter(|pair| pair[1].seconds > pair[0].seconds)
        .map(|pair| (pair[1].seconds, (pair[1].done - pair[0].done) as f64 / (pair[1].seconds - pair[0].seconds)))
        .collect();
    let memory: Vec<(f64, f64)> = samples.iter().map(|sample| (sample.seconds, sample.mib)).collect();
    let top = |values: &[(f64, f64)]| values.iter().map(|(_, value)| *value).fold(1.0, f64::max) * 1.15;
    let end = samples.last().map_or(1.0, |sample| sample.seconds);
    let root = SVGBackend::new(path, (760, 320)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(56)
        .right_y_label_area_size(56)
        .build_cartesian_2d(0.0..end, 0.0..top(&rates))?
        .set_secondary_coord(0.0..end, 0.0..top(&memory));
    chart.configure_mesh().x_desc("seconds").y_desc("pods/s").draw()?;
    chart.configure_secondary_axes().y_desc("MiB").draw()?;
    let [rust, blue] = COLOURS;
    let legend = |colour: RGBColor| move |(x, y)| PathElement::new([(x, y), (x + 12, y)], colour.stroke_width(2));
    chart.draw_series(LineSeries::new(rates, rust.stroke_width(2)))?.label("pods/s").legend(legend(rust));
    chart.draw_secondary_series(LineSeries::new(memory, blue.stroke_width(2)))?.label("MiB").legend(legend(blue));
    draw_legend(&mut chart)?;
    root.present()?;
    Ok(())
}

fn draw_legend<'a, 'b: 'a, C: CoordTranslate>(chart: &mut ChartContext<'a, SVGBackend<'b>, C>) -> Result<()> {
    let mut legend = chart.configure_series_labels();
    legend.position(SeriesLabelPosition::LowerRight).background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    Ok(())
}

fn text(report: &Report) -> Result<String> {
    let mut text = String::from(
        "# Performance\n\n\
         Measured by `make bench PAGE=1`, which writes this page. It compares Jobwright as the chart installs\n\
         it with kube-controller-manager 1.37, of which only the Job, CronJob and TTL controllers run. Its\n\
         limits are either lifted (`--kube-api-qps=10000 --kube-api-burst=10000 --concurrent-job-syncs=50\n\
         --concurrent-cron-job-syncs=50`) or left at their defaults (as shipped). Each controller runs alone\n\
         on a new control plane with simulated nodes; the two take turns.\n\n\
         A figure is the median of its runs. A ratio is the median of the ratios of pairs of runs. The range\n\
         in parentheses is the minimum and the maximum. Lower is better, except for `pods_per_s`.\n\n",
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

/// Returns the median of values and, for more than one, their range in parentheses.
fn spread(values: &[f64]) -> String {
    let Some(middle) = median(values) else { return "-".to_owned() };
    if values.len() < 2 {
        return figure_text(middle);
    }
    let (min, max) = (values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(f64::MIN, f64::max));
    format!("{} ({}–{})", figure_text(middle), figure_text(min), figure_text(max))
}

/// Plots a pair of bars for each piece of work that has this figure for both systems.
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
    let max = rows.iter().flat_map(|(_, values)| values).copied().fold(0.0, f64::max);
    let root = SVGBackend::new(path, (760, 60 + 46 * u32::try_from(rows.len())?)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..max * 1.12, 0.0..rows.len() as f64)?;
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
    for (place, (system, colour)) in PAIR.iter().zip(COLOURS).enumerate() {
        let bars = rows.iter().enumerate().map(|(row, (_, values))| {
            let top = rows.len() as f64 - row as f64 - 0.12 - 0.38 * place as f64;
            Rectangle::new([(0.0, top), (values[place], top - 0.36)], colour.filled())
        });
        chart
            .draw_series(bars)?
            .label(system.name())
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
    }
    draw_legend(&mut chart)?;
    root.present()?;
    Ok(())
}
