//! Status of a JobLimit: its usage, the Jobs that wait for it, and its conditions.

use std::sync::Arc;

use jiff::Timestamp;

use super::admission::Usage;
use super::types::JobLimitStatus;
use super::view::LimitView;
use crate::runtime::conditions::ConditionState;

/// Maximum number of waiting Jobs that the status names.
pub const MAX_NEXT: usize = 5;
/// Condition that the limit is valid and applies.
const READY: &str = "Ready";
/// Condition that no further Job or pod fits.
const SATURATED: &str = "Saturated";

/// Usage of a limit, and the Jobs that wait for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Used capacity.
    pub used: Usage,
    /// Number of Jobs that the limit selects and that wait.
    pub waiting: usize,
    /// Names of the first of these Jobs in the order of admission, at most [`MAX_NEXT`].
    pub next: Vec<Arc<str>>,
}

/// Returns the status to store; none if it is stored already.
pub fn status(limit: &LimitView, load: &Load, now: Timestamp) -> Option<JobLimitStatus> {
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let status = JobLimitStatus {
        observed_generation: limit.generation,
        active_jobs: count(load.used.jobs),
        active_pods: count(load.used.pods),
        used: used(limit, load.used),
        waiting: count(load.waiting),
        next: load.next.iter().map(|name| name.to_string()).collect(),
        conditions: [ready(limit), saturated(limit, load.used)]
            .into_iter()
            .map(|state| state.into_condition(&limit.stored.conditions, limit.generation, now))
            .collect(),
    };
    (status != limit.stored).then_some(status)
}

/// Returns used capacity and maximum of each kind that is limited: `3/5 Jobs, 12/20 pods`.
fn used(limit: &LimitView, used: Usage) -> String {
    let jobs = limit.jobs.map(|max| format!("{}/{max} Jobs", used.jobs));
    let pods = limit.pods.map(|max| format!("{}/{max} pods", used.pods));
    jobs.into_iter().chain(pods).collect::<Vec<_>>().join(", ")
}

fn ready(limit: &LimitView) -> ConditionState {
    match &limit.invalid {
        Some(error) => ConditionState::new(READY, "False", "InvalidSpec", error),
        None => ConditionState::new(READY, "True", "LimitValid", "The limit is valid."),
    }
}

fn saturated(limit: &LimitView, used: Usage) -> ConditionState {
    let full: Vec<&str> = [
        limit.jobs.filter(|max| used.jobs >= *max).map(|_| "Jobs"),
        limit.pods.filter(|max| used.pods >= *max).map(|_| "pods"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if full.is_empty() {
        return ConditionState::new(SATURATED, "False", "BelowMaximum", "The limit has room.");
    }
    let message = format!("The maximum number of {} is reached.", full.join(" and "));
    ConditionState::new(SATURATED, "True", "AtMaximum", &message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn limit(spec: &Value, status: &JobLimitStatus) -> LimitView {
        let metadata =
            json!({"name": "five", "namespace": "default", "uid": "u", "resourceVersion": "1", "generation": 2});
        let object = json!({"metadata": metadata, "spec": spec, "status": status});
        LimitView::parse(serde_json::from_value(object).unwrap()).unwrap()
    }

    fn load(jobs: usize, pods: usize, next: &[&str]) -> Load {
        let next: Vec<Arc<str>> = next.iter().map(|name| Arc::from(*name)).collect();
        Load { used: Usage { jobs, pods }, waiting: next.len(), next }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn states(status: &JobLimitStatus) -> Vec<(&str, &str, &str)> {
        let states = status.conditions.iter().map(|one| (&*one.type_, &*one.status, &*one.reason));
        states.collect()
    }

    #[test]
    fn status_has_usage_waiting_jobs_and_saturation() {
        let spec = json!({"maxActiveJobs": 3, "maxActivePods": 20});
        let of = |load: &Load| {
            status(&limit(&spec, &JobLimitStatus::default()), load, at("2026-01-05T12:00:00.5Z")).unwrap()
        };
        let idle = of(&load(0, 0, &[]));
        assert_eq!((&*idle.used, idle.observed_generation), ("0/3 Jobs, 0/20 pods", Some(2)));
        assert_eq!(states(&idle), [(READY, "True", "LimitValid"), (SATURATED, "False", "BelowMaximum")]);
        let cases = [
            (load(3, 4, &["a"]), "The maximum number of Jobs is reached."),
            (load(1, 21, &[]), "The maximum number of pods is reached."),
            (load(3, 20, &["a", "b"]), "The maximum number of Jobs and pods is reached."),
        ];
        for (load, message) in cases {
            let status = of(&load);
            assert_eq!(
                (status.conditions[1].status.as_str(), status.conditions[1].message.as_str()),
                ("True", message)
            );
            assert_eq!((status.waiting, status.next.len()), (load.next.len() as i32, load.next.len()));
        }
    }

    #[test]
    fn only_a_limited_kind_is_shown() {
        let shown = |spec: Value| used(&limit(&spec, &JobLimitStatus::default()), Usage { jobs: 1, pods: 7 });
        assert_eq!(shown(json!({"maxActiveJobs": 3})), "1/3 Jobs");
        assert_eq!(shown(json!({"maxActivePods": 8})), "7/8 pods");
    }

    #[test]
    fn invalid_spec_is_not_ready() {
        let spec = json!({"maxActiveJobs": 1, "selector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}});
        let status = status(&limit(&spec, &JobLimitStatus::default()), &Load::default(), at("2026-01-05T12:00:00Z"));
        assert_eq!(states(&status.unwrap())[0], (READY, "False", "InvalidSpec"));
    }

    #[test]
    fn unchanged_status_is_not_written_and_transition_times_stay() {
        let spec = json!({"maxActiveJobs": 1});
        let first =
            status(&limit(&spec, &JobLimitStatus::default()), &load(1, 1, &[]), at("2026-01-05T12:00:00Z")).unwrap();
        let stored = limit(&spec, &first);
        assert_eq!(status(&stored, &load(1, 1, &[]), at("2026-01-05T13:00:00Z")), None);
        let waiting = status(&stored, &load(1, 1, &["a"]), at("2026-01-05T13:00:00Z")).unwrap();
        assert_eq!(waiting.conditions, first.conditions);
        let free = status(&stored, &load(0, 0, &[]), at("2026-01-05T13:00:00Z")).unwrap();
        let since: Vec<Timestamp> = free.conditions.iter().map(|one| one.last_transition_time.0).collect();
        assert_eq!(since, [at("2026-01-05T12:00:00Z"), at("2026-01-05T13:00:00Z")]);
    }
}
