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

/// Metric of all syncs, which both systems have.
const ALL: &str = "job_controller_job_syncs_total{";
/// Metric of the syncs that took no step, which Jobwright has.
const WITHOUT_STEPS: &str = "job_controller_job_syncs_without_steps_total ";

/// Returns the syncs so far.
pub async fn so_far(metrics: &Client) -> Result<Syncs> {
    let text = metrics.request_text(http::Request::get("/metrics").body(Vec::new())?).await;
    Ok(parse(&text.context("the metrics of the controller")?))
}

/// Returns the syncs in the text of a metrics page.
fn parse(text: &str) -> Syncs {
    let sum = |metric: &str| -> Option<f64> {
        let samples = text.lines().filter(|line| line.starts_with(metric));
        samples.map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).collect::<Option<Vec<_>>>().and_then(
            |values| {
                let has_any = !values.is_empty();
                has_any.then(|| values.into_iter().sum())
            },
        )
    };
    Syncs { all: sum(ALL).unwrap_or_default(), nothing: sum(WITHOUT_STEPS) }
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
        let with_steps = format!("{common}job_controller_job_syncs_without_steps_total 4\n");
        assert_eq!(parse(&with_steps), Syncs { all: 10.0, nothing: Some(4.0) });
        assert_eq!(parse(""), Syncs::default());
    }
}
