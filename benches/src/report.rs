//! Figures of all measurements, their comparison pair by pair, and their output as a table and as JSON.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::system::System;

/// Figures of one run of one piece of work by one system, by name.
pub type Figures = BTreeMap<&'static str, f64>;

/// All figures of one piece of work.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    /// Description of the work.
    pub what: String,
    /// Figures by system, one entry for each run, in the order of measurement.
    pub by_system: BTreeMap<System, Vec<Figures>>,
}

/// All measurements.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Pieces of work with their names, in the order of the benchmark.
    pub work: Vec<(String, Runs)>,
    /// Description of the machine.
    pub machine: String,
}

/// Returns the median; for an even number of values, the mean of the two middle ones. None if there are no values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// Returns the smallest value that at least the given share of all values does not exceed. None if there are no values.
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(place).copied()
}

impl Runs {
    /// Returns all values of one figure.
    pub fn values(&self, system: System, figure: &str) -> Vec<f64> {
        let runs = self.by_system.get(&system).into_iter().flatten();
        runs.filter_map(|figures| figures.get(figure).copied()).collect()
    }

    /// Returns the names of the figures of all systems.
    pub fn figures(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.by_system.values().flatten().flat_map(|figures| figures.keys().copied()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Returns the median of the values of one figure.
    pub fn median(&self, system: System, figure: &str) -> Option<f64> {
        median(&self.values(system, figure))
    }

    /// Returns the figure of one system over that of another, pair by pair.
    pub fn ratios(&self, figure: &str, of: System, over: System) -> Vec<f64> {
        let (of, over) = (self.values(of, figure), self.values(over, figure));
        of.iter().zip(over).filter(|(_, over)| *over > 0.0).map(|(of, over)| of / over).collect()
    }

    /// Returns the median of the ratios of one system over another, pair by pair.
    pub fn ratio(&self, figure: &str, of: System, over: System) -> Option<f64> {
        median(&self.ratios(figure, of, over))
    }
}

impl Report {
    /// Adds one run.
    pub fn add(&mut self, name: &str, what: &str, system: System, figures: Figures) {
        let place = self.work.iter().position(|(is, _)| is == name).unwrap_or_else(|| {
            self.work.push((name.to_owned(), Runs { what: what.to_owned(), ..Runs::default() }));
            self.work.len() - 1
        });
        self.work[place].1.by_system.entry(system).or_default().push(figures);
    }

    /// Returns the runs of one piece of work.
    pub fn runs(&self, name: &str) -> Option<&Runs> {
        self.work.iter().find(|(is, _)| is == name).map(|(_, runs)| runs)
    }

    /// Returns the report as JSON, for other tools.
    pub fn json(&self) -> Value {
        let mut workloads = Map::new();
        for (name, runs) in &self.work {
            let medians = |system: System| -> Value {
                let median = |figure: &&'static str| Some(((*figure).to_owned(), json!(runs.median(system, figure)?)));
                runs.figures().iter().filter_map(median).collect::<Map<_, _>>().into()
            };
            let systems: Map<_, _> =
                runs.by_system.keys().map(|system| (system.name().to_owned(), medians(*system))).collect();
            let ratio = |over: System| -> Value {
                let ratio = |figure: &&'static str| {
                    Some(((*figure).to_owned(), json!(runs.ratio(figure, System::Jobwright, over)?)))
                };
                runs.figures().iter().filter_map(ratio).collect::<Map<_, _>>().into()
            };
            let all = json!({
                "what": runs.what,
                "systems": systems,
                "ratio": ratio(System::Builtin),
                "ratio_to_as_shipped": ratio(System::BuiltinAsShipped),
                "ratio_to_floor": ratio(System::Floor),
                "runs": runs.by_system.iter().map(|(system, runs)| (system.name().to_owned(), json!(runs))).collect::<Map<_, _>>(),
            });
            workloads.insert(name.clone(), all);
        }
        let order: Vec<&String> = self.work.iter().map(|(name, _)| name).collect();
        json!({"machine": self.machine, "order": order, "workloads": workloads})
    }

    /// Returns the runs of a report that [`Report::json`] has returned.
    pub fn parse(json: &Value) -> Result<Self> {
        let mut report = Self { machine: json["machine"].as_str().context("machine")?.to_owned(), ..Self::default() };
        for name in json["order"].as_array().context("order")? {
            let name = name.as_str().context("a name in order")?;
            let work = &json["workloads"][name];
            let what = work["what"].as_str().with_context(|| format!("what of {name}"))?;
            for system in System::ALL {
                for run in work["runs"][system.name()].as_array().into_iter().flatten() {
                    let run = run.as_object().with_context(|| format!("a run of {name}"))?;
                    // The names of figures live as long as the process. There are few of them.
                    let figures =
                        run.iter().filter_map(|(figure, value)| Some((&*figure.clone().leak(), value.as_f64()?)));
                    report.add(name, what, system, figures.collect());
                }
            }
        }
        Ok(report)
    }

    /// Returns the report as a text table with one row for each figure.
    pub fn table(&self) -> String {
        let show = |value: Option<f64>| value.map_or("-".to_owned(), figure_text);
        let mut text = format!(
            "{:<22} {:<30} {:>11} {:>11} {:>7}  {:>11} {:>7}  {:>11} {:>7}\n",
            "work", "figure", "jobwright", "builtin", "ratio", "as shipped", "ratio", "floor", "ratio"
        );
        for (name, runs) in &self.work {
            for figure in runs.figures() {
                text += &format!("{name:<22} {figure:<30} {:>11}", show(runs.median(System::Jobwright, figure)));
                for over in [System::Builtin, System::BuiltinAsShipped, System::Floor] {
                    let ratio = show(runs.ratio(figure, System::Jobwright, over));
                    text += &format!(" {:>11} {ratio:>7} ", show(runs.median(over, figure)));
                }
                text = text.trim_end().to_owned() + "\n";
            }
        }
        text
    }
}

/// Returns a value with three significant digits.
pub fn figure_text(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        large if large >= 100.0 => format!("{value:.0}"),
        medium if medium >= 10.0 => format!("{value:.1}"),
        small if small >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_quantile_handle_odd_even_and_empty_lists() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&hundred, 0.99), Some(99.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn ratio_is_the_median_of_the_ratios_of_pairs() {
        let mut report = Report::default();
        for (ours, theirs) in [(1.0, 2.0), (4.0, 4.0), (1.0, 4.0)] {
            report.add("chain", "", System::Jobwright, Figures::from([("wall_s", ours)]));
            report.add("chain", "", System::Builtin, Figures::from([("wall_s", theirs)]));
        }
        let json = report.json();
        assert_eq!(json["workloads"]["chain"]["ratio"]["wall_s"], 0.5);
        assert_eq!(json["workloads"]["chain"]["systems"]["builtin"]["wall_s"], 4.0);
    }

    #[test]
    fn report_that_was_written_can_be_continued() {
        let mut report = Report { machine: "some machine".to_owned(), ..Report::default() };
        report.add("waves", "a Job", System::Jobwright, Figures::from([("wall_s", 2.0)]));
        report.add("chain", "pods", System::Floor, Figures::from([("wall_s", 1.0)]));
        report.add("chain", "pods", System::Floor, Figures::from([("wall_s", 3.0)]));
        let mut read = Report::parse(&report.json()).unwrap();
        assert_eq!(read.json(), report.json());
        read.add("waves", "a Job", System::Jobwright, Figures::from([("wall_s", 4.0)]));
        assert_eq!(read.runs("waves").unwrap().median(System::Jobwright, "wall_s"), Some(3.0));
        Report::parse(&json!({})).expect_err("the report has no machine");
    }
}
