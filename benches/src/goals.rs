//! Goals of the performance, and whether a run reached them.
//!
//! The entry point is [`goals`]. A goal whose figures are missing, or were measured with less work than the goal names, is
//! not measured.

use crate::growth::Kind;
use crate::report::{Report, figure_text};
use crate::system::System;

/// A goal, and the result of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    /// The goal as a text.
    pub text: String,
    /// The largest value with which the goal is reached.
    pub limit: f64,
    /// The measured value, or None if it was not measured.
    pub value: Option<f64>,
    /// Explanation of the value, such as the piece of work from which it is.
    pub note: String,
}

impl Goal {
    fn new(text: impl Into<String>, limit: f64, value: Option<f64>) -> Self {
        Self { text: text.into(), limit, value, note: String::new() }
    }

    /// Returns a goal for the largest of several values, each with the name of its piece of work.
    fn largest(text: impl Into<String>, limit: f64, values: Vec<(String, f64)>) -> Self {
        let over = values.iter().filter(|(_, value)| *value > limit).count();
        let count = values.len();
        let largest = values.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let note =
            largest.as_ref().map_or(String::new(), |(name, _)| format!("{name}; {over} of {count} above the goal"));
        Self { text: text.into(), limit, value: largest.map(|(_, value)| value), note }
    }

    /// Returns whether the goal was reached and by how much.
    pub fn result(&self) -> String {
        let Some(value) = self.value else { return "not measured".to_owned() };
        if value <= self.limit {
            format!("reached: {:.0} % below the goal", (1.0 - value / self.limit) * 100.0)
        } else {
            format!("not reached: {:.0} % above the goal", (value / self.limit - 1.0) * 100.0)
        }
    }

    /// Returns the measured value with its explanation.
    pub fn measured(&self) -> String {
        let value = self.value.map_or("-".to_owned(), figure_text);
        if self.note.is_empty() { value } else { format!("{value} ({})", self.note) }
    }
}

/// Returns all goals with the results of this report.
pub fn goals(report: &Report) -> Vec<Goal> {
    let mut goals = controller_time(report);
    goals.push(Goal::largest(
        "processor time of the API server in every piece of work, over the built-in's",
        1.0,
        ratios(report, "apiserver_ms_per_pod", System::Builtin),
    ));
    goals.extend(latencies(report));
    goals.extend(memory(report));
    goals.push(Goal::largest(
        "wall time of every piece of work, over the floor",
        1.1,
        ratios(report, "wall_s", System::Floor),
    ));
    goals
}

/// Returns Jobwright's figure over that of another system, for each piece of work that has both.
fn ratios(report: &Report, figure: &str, over: System) -> Vec<(String, f64)> {
    let ratio = |(name, runs): &(String, crate::report::Runs)| {
        Some((name.clone(), runs.ratio(figure, System::Jobwright, over)?))
    };
    report.work.iter().filter_map(ratio).collect()
}

/// Returns the goals of the controller's processor time for each pod, and of its growth.
fn controller_time(report: &Report) -> Vec<Goal> {
    let mut goals = Vec::new();
    for kind in Kind::ALL {
        let sizes = kind.sizes();
        let mut costs = Vec::new();
        for &size in sizes {
            let runs = report.runs(&kind.work_name(size));
            let ratio = runs.and_then(|runs| runs.ratio("controller_ms_per_pod", System::Jobwright, System::Builtin));
            let text =
                format!("controller processor time for each of {size} pods, {}, over the built-in's", kind.title());
            goals.push(Goal::new(text, 0.5, ratio));
            costs.extend(runs.and_then(|runs| runs.median(System::Jobwright, "controller_ms_per_pod")));
        }
        let (least, most) = (costs.iter().copied().fold(f64::MAX, f64::min), costs.iter().copied().fold(0.0, f64::max));
        let growth = (costs.len() > 1 && least > 0.0).then(|| (most / least - 1.0) * 100.0);
        let text = format!("difference of the time for each pod between these sizes, {}, in percent", kind.title());
        let note =
            if costs.len() < sizes.len() { format!("{} of {} sizes", costs.len(), sizes.len()) } else { String::new() };
        goals.push(Goal { note, ..Goal::new(text, 15.0, growth) });
    }
    let large = report.runs("growth-large");
    let ratio = large.and_then(|runs| runs.ratio("controller_ms_per_pod", System::Jobwright, System::Builtin));
    goals.push(Goal::new("controller processor time for each pod of one Job of 100,000 completions, 5,000 in parallel, over the built-in's", 0.5, ratio));
    goals
}

/// Returns the goals of latencies.
fn latencies(report: &Report) -> Vec<Goal> {
    let value = |work: &str, figure: &str, size: (&str, f64)| {
        let runs = report.runs(work)?;
        // A smaller run is no measurement of the goal.
        let is_full = runs.median(System::Jobwright, size.0).is_some_and(|value| value >= size.1);
        runs.median(System::Jobwright, figure).filter(|_| is_full)
    };
    let ratio = |work: &str, figure: &str, size: (&str, f64)| {
        value(work, figure, size)?;
        report.runs(work)?.ratio(figure, System::Jobwright, System::Builtin)
    };
    let fair = ("pods", 4000.0);
    let many = ("pods", 20_000.0);
    let any = ("ready_median_s", 0.0);
    vec![
        Goal::new(
            "seconds to the pod of a new Job while a Job of 4,000 pods starts, median",
            0.25,
            value("fair", "new_job_pod_median_s", fair),
        ),
        Goal::new(
            "seconds to the pod of a new Job while a Job of 4,000 pods starts, p99",
            1.0,
            value("fair", "new_job_pod_p99_s", fair),
        ),
        Goal::new(
            "seconds from an ended pod of another Job to its next pod in the meantime, p99",
            0.1,
            value("fair", "next_pod_p99_s", fair),
        ),
        Goal::new(
            "seconds from the last ready pod to status.ready, median",
            0.1,
            value("ready", "ready_median_s", any),
        ),
        Goal::new(
            "seconds from a restart of the controller to status.ready, median, over the built-in's",
            1.0,
            ratio("ready", "restart_ready_median_s", any),
        ),
        Goal::new(
            "start with 20,000 pods to the first new pod, over the built-in's",
            0.5,
            ratio("restart", "to_first_pod_s", many),
        ),
        Goal::new(
            "delay of the last of 1,000 CronJobs that are due in one minute, over the built-in's",
            1.0,
            ratio("cron", "lag_last_s", ("cron_jobs", 1000.0)),
        ),
        Goal::new(
            "seconds to hand over to a warm replica with 20,000 pods",
            0.2,
            value("hand-over", "hand_over_s", many),
        ),
    ]
}

/// Returns the goals of the controller's memory.
fn memory(report: &Report) -> Vec<Goal> {
    let mib = |work: &str, figure: &str| report.runs(work)?.median(System::Jobwright, figure);
    let many = |work: &str, figure: &str| mib(work, figure).filter(|_| mib(work, "pods") >= Some(20_000.0));
    vec![
        Goal::new("MiB at rest", 14.0, mib("rest", "controller_rss_mib")),
        Goal::new("MiB with 20,000 pods", 60.0, many("restart", "controller_rss_after_mib")),
        Goal::new("MiB with 50,000 finished Jobs", 120.0, mib("finished", "controller_rss_after_mib")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Figures;

    fn report(work: &[(&str, System, Figures)]) -> Report {
        let mut report = Report::default();
        for (name, system, figures) in work {
            report.add(name, "", *system, figures.clone());
        }
        report
    }

    fn find(report: &Report, text: &str) -> Goal {
        let all = goals(report);
        all.iter().find(|goal| goal.text.contains(text)).unwrap_or_else(|| panic!("{text}: {all:#?}")).clone()
    }

    #[test]
    fn goal_without_figures_is_not_measured() {
        for goal in goals(&Report::default()) {
            assert_eq!(goal.result(), "not measured", "{goal:?}");
        }
    }

    #[test]
    fn cost_of_the_controller_is_compared_and_its_growth_is_found() {
        let cost = |ms| Figures::from([("controller_ms_per_pod", ms)]);
        let report = report(&[
            ("growth-indexed-250", System::Jobwright, cost(1.0)),
            ("growth-indexed-250", System::Builtin, cost(4.0)),
            ("growth-indexed-1000", System::Jobwright, cost(1.5)),
            ("growth-indexed-1000", System::Builtin, cost(2.0)),
        ]);
        let small = find(&report, "each of 250 pods, Indexed Jobs,");
        assert_eq!((small.value, small.result().as_str()), (Some(0.25), "reached: 50 % below the goal"));
        let large = find(&report, "each of 1000 pods, Indexed Jobs,");
        assert_eq!((large.value, large.result().as_str()), (Some(0.75), "not reached: 50 % above the goal"));
        let growth = find(&report, "between these sizes, Indexed Jobs,");
        assert_eq!((growth.value, growth.note.as_str()), (Some(50.0), "2 of 4 sizes"));
        assert_eq!(find(&report, "between these sizes, NonIndexed Jobs,").value, None);
    }

    #[test]
    fn worst_work_decides_about_the_api_server_and_the_wall_time() {
        let figures = |ms, wall| Figures::from([("apiserver_ms_per_pod", ms), ("wall_s", wall)]);
        let report = report(&[
            ("chain", System::Jobwright, figures(5.0, 11.0)),
            ("chain", System::Builtin, figures(10.0, 20.0)),
            ("chain", System::Floor, figures(4.0, 10.0)),
            ("many", System::Jobwright, figures(12.0, 12.0)),
            ("many", System::Builtin, figures(10.0, 12.0)),
        ]);
        let server = find(&report, "API server");
        assert_eq!((server.value, server.note.as_str()), (Some(1.2), "many; 1 of 2 above the goal"));
        assert_eq!(find(&report, "over the floor").result(), "reached: 0 % below the goal");
    }

    #[test]
    fn smaller_run_does_not_measure_a_goal() {
        let figures =
            |pods| Figures::from([("pods", pods), ("new_job_pod_median_s", 0.1), ("controller_rss_after_mib", 30.0)]);
        let small =
            report(&[("fair", System::Jobwright, figures(1000.0)), ("restart", System::Jobwright, figures(2000.0))]);
        assert_eq!(find(&small, "new Job while").value, None);
        assert_eq!(find(&small, "with 20,000 pods").value, None);
        let full =
            report(&[("fair", System::Jobwright, figures(4000.0)), ("restart", System::Jobwright, figures(20_000.0))]);
        assert_eq!(find(&full, "new Job while").value, Some(0.1));
        assert_eq!(find(&full, "MiB with 20,000 pods").value, Some(30.0));
    }
}
