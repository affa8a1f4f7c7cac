//! Syncs of a Job controller, as counted by its metrics.

use anyhow::{Context, Result};
use kube::Client;

/// Syncs so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Syncs {
    /// Number of syncs of Jobs.
    pub all: f64,
    /// Number of these that took no step, or None if the controller does not count them.
    pub nothing: Option<f64>,
}

/// Metric with the label `result` that states whether a sync took steps.
const BY_STEPS: &str = "jobwright_job_syncs_total";
/// Metric that both systems have.
const COMMON: &str = "job_controller_job_syncs_total";

/// Returns the syncs so far.
pub async fn so_far(metrics: &Client) -> Result<Syncs> {
    let text = metrics.request_text(http::Request::get("/metrics").body(Vec::new())?).await;
    Ok(parse(&text.context("the metrics of the controller")?))
}

/// Returns the syncs in the text of a metrics page.
fn parse(text: &str) -> Syncs {
    let samples = |metric: &str| -> Vec<(&str, f64)> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(metric)?.strip_prefix('{')?.rsplit_once("} "));
        lines.filter_map(|(labels, value)| Some((labels, value.trim().parse().ok()?))).collect()
    };
    let (common, by_steps) = (samples(COMMON), samples(BY_STEPS));
    let sum = |samples: &[(&str, f64)]| samples.iter().map(|(_, value)| value).sum();
    if by_steps.is_empty() {
        return Syncs { all: sum(&common), nothing: None };
    }
    let nothing: Vec<_> =
        by_steps.iter().filter(|(labels, _)| labels.contains("result=\"nothing\"")).copied().collect();
    Syncs { all: sum(&by_steps), nothing: Some(sum(&nothing)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_without_a_step_are_known_only_if_the_controller_counts_them() {
        let common = "# TYPE x counter\n\
            job_controller_job_syncs_total{completion_mode=\"Indexed\",result=\"success\"} 7\n\
            job_controller_job_syncs_total{completion_mode=\"NonIndexed\",result=\"error\"} 3\n";
        assert_eq!(parse(common), Syncs { all: 10.0, nothing: None });
        let by_steps = format!(
            "{common}jobwright_job_syncs_total{{result=\"nothing\"}} 4\njobwright_job_syncs_total{{result=\"steps\"}} 8\n"
        );
        assert_eq!(parse(&by_steps), Syncs { all: 12.0, nothing: Some(4.0) });
        assert_eq!(parse(""), Syncs::default());
    }
}
