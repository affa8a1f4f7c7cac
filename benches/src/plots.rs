//! Plots of the pages in `docs/results`.

use std::path::Path;

use anyhow::Result;
use plotters::prelude::*;

use crate::growth::Kind;
use crate::report::{Report, median};
use crate::scale::Sample;
use crate::system::System;

const PAIR: [System; 2] = [System::Jobwright, System::Builtin];
/// Colours of the two series of a plot.
const COLOURS: [RGBColor; 2] = [RGBColor(0xb7, 0x41, 0x0e), RGBColor(0x32, 0x6c, 0xe5)];

/// Plots the pods done per second and the memory of the controller over time.
pub fn samples(of: &[Sample], path: &Path) -> Result<()> {
    let rates: Vec<(f64, f64)> = of
        .windows(2)
        .filter(|pair| pair[1].seconds > pair[0].seconds)
        .map(|pair| (pair[1].seconds, (pair[1].done - pair[0].done) as f64 / (pair[1].seconds - pair[0].seconds)))
        .collect();
    let memory: Vec<(f64, f64)> = of.iter().map(|sample| (sample.seconds, sample.mib)).collect();
    let top = |values: &[(f64, f64)]| values.iter().map(|(_, value)| *value).fold(1.0, f64::max) * 1.15;
    let end = of.last().map_or(1.0, |sample| sample.seconds);
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

/// Plots a pair of bars for each piece of work that has this figure for both systems.
pub fn bars(report: &Report, figure: &str, unit: &str, path: &Path) -> Result<()> {
    let rows: Vec<(&str, [f64; 2])> = report
        .work
        .iter()
        // The bursts have a plot of their own, and are much larger.
        .filter(|(name, _)| !name.starts_with("growth-") && name != "fair")
        .filter_map(|(name, runs)| {
            let [ours, theirs] = PAIR.map(|system| median(&runs.values(system, figure)));
            Some((name.as_str(), [ours?, theirs?]))
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

/// Returns the sizes of the bursts of a kind and the processor time of a controller for each pod, in milliseconds.
fn costs(report: &Report, system: System, kind: Kind) -> Vec<(f64, f64)> {
    let cost = |size: usize| report.runs(&kind.work_name(size))?.median(system, "controller_ms_per_pod");
    kind.sizes().iter().filter_map(|&size| Some((size as f64, cost(size)?))).collect()
}

/// Plots the processor time of the controller for each pod over the size of the burst. Returns whether there are any
/// values.
pub fn growth(report: &Report, path: &Path) -> Result<bool> {
    let all: Vec<(f64, f64)> = PAIR
        .into_iter()
        .flat_map(|system| Kind::ALL.into_iter().flat_map(move |kind| costs(report, system, kind)))
        .collect();
    if all.is_empty() {
        return Ok(false);
    }
    let top = all.iter().map(|(_, cost)| *cost).fold(0.0, f64::max) * 1.15;
    let root = SVGBackend::new(path, (760, 380)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(56)
        .build_cartesian_2d((200.0..12_000.0).log_scale(), 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc("pods that are created together")
        .y_desc("ms of processor for each pod")
        .x_label_formatter(&|size| format!("{size:.0}"))
        .draw()?;
    for (system, colour) in PAIR.into_iter().zip(COLOURS) {
        for (number, kind) in Kind::ALL.into_iter().enumerate() {
            let values = costs(report, system, kind);
            if values.is_empty() {
                continue;
            }
            // The kinds differ in the size of the points and the width of the line.
            let (width, radius) = if kind == Kind::Indexed { (3, 5) } else { (1, 2 + number as i32) };
            let points = values.iter().map(|&at| Circle::new(at, radius, colour.filled()));
            chart.draw_series(points)?;
            chart
                .draw_series(LineSeries::new(values.iter().copied(), colour.stroke_width(width)))?
                .label(format!("{}, {}", system.name(), kind.name()))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 12, y)], colour.stroke_width(width)));
        }
    }
    draw_legend(&mut chart)?;
    root.present()?;
    Ok(true)
}
