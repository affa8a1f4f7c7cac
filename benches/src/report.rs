//! Figures of all measurements, their comparison pair by pair, and their output as a table and as JSON.

use std::collections::BTreeMap;

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
    pub work: Vec<(&'static str, Runs)>,
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

    /// Jobwright's over another's, pair by pair.
    pub fn ratios(&self, figure: &str, over: System) -> Vec<f64> {
        let (ours, theirs) = (self.values(System::Jobwright, figure), self.values(over, figure));
        ours.iter().zip(theirs).filter(|(_, theirs)| *theirs > 0.0).map(|(ours, theirs)| ours / theirs).collect()
    }
}

impl Report {
    /// Adds one run.
    pub fn add(&mut self, name: &'static str, what: &str, system: System, figures: Figures) {
        let place = self.work.iter().position(|(is, _)| *is == name).unwrap_or_else(|| {
            self.work.push((name, Runs { what: what.to_owned(), ..Runs::default() }));
            self.work.len() - 1
        });
        self.work[place].1.by_system.entry(system).or_default().push(figures);
    }

    /// Returns the report as JSON, for other tools.
    pub fn json(&self) -> Value {
        let mut workloads = Map::new();
        let mut floor = Value::Null;
        for (name, runs) in &self.work {
            let medians = |system: System| -> Value {
                let median =
                    |figure: &&'static str| Some(((*figure).to_owned(), json!(median(&runs.values(system, figure))?)));
                runs.figures().iter().filter_map(median).collect::<Map<_, _>>().into()
            };
            if *name == "floor" {
                floor = medians(System::Jobwright);
                continue;
            }
            let systems: Map<_, _> =
                runs.by_system.keys().map(|system| (system.name().to_owned(), medians(*system))).collect();
            let ratio = |over: System| -> Value {
                let ratio =
                    |figure: &&'static str| Some(((*figure).to_owned(), json!(median(&runs.ratios(figure, over))?)));
                runs.figures().iter().filter_map(ratio).collect::<Map<_, _>>().into()
            };
            let all = json!({
                "what": runs.what,
                "systems": systems,
                "ratio": ratio(System::Builtin),
                "ratio_to_as_shipped": ratio(System::BuiltinAsShipped),
                "runs": runs.by_system.iter().map(|(system, runs)| (system.name().to_owned(), json!(runs))).collect::<Map<_, _>>(),
            });
            workloads.insert((*name).to_owned(), all);
        }
        json!({"machine": self.machine, "workloads": workloads, "floor": floor})
    }

    /// Returns the report as a text table with one row for each figure.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<9} {:<24} {:>11} {:>11} {:>7}  {:>11} {:>7}\n",
            "work", "figure", "jobwright", "builtin", "ratio", "as shipped", "ratio"
        );
        for (name, runs) in &self.work {
            for figure in runs.figures() {
                let show = |value: Option<f64>| value.map_or("-".to_owned(), figure_text);
                let medians = [System::Jobwright, System::Builtin, System::BuiltinAsShipped]
                    .map(|system| show(median(&runs.values(system, figure))));
                let ratios =
                    [System::Builtin, System::BuiltinAsShipped].map(|over| show(median(&runs.ratios(figure, over))));
                text += &format!(
                    "{name:<9} {figure:<24} {:>11} {:>11} {:>7}  {:>11} {:>7}\n",
                    medians[0], medians[1], ratios[0], medians[2], ratios[1]
                );
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
}
