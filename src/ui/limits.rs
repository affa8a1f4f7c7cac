//! The Jobs that use a JobLimit, and those that wait for it with their positions.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::client::explain::cause::State;
use crate::job::admission::Reason;
use crate::limit::view::LimitView;
use crate::ui::cache::{JobRow, Visible};

/// Label of the Jobs that Kueue manages. JobLimits do not apply to them.
const KUEUE_LABEL: &str = "kueue.x-k8s.io/queue-name";

/// Unfinished Jobs by their namespace.
pub type ByNamespace = HashMap<Arc<str>, Vec<Arc<JobRow>>>;

/// Returns the unfinished Jobs of the namespaces that have JobLimits.
pub fn by_namespace(jobs: &Visible<'_, JobRow>, limits: &[Arc<LimitView>]) -> ByNamespace {
    let mut found: ByNamespace = limits.iter().map(|limit| (limit.identity.namespace.clone(), Vec::new())).collect();
    jobs.for_each(|job| {
        if job.ended.is_none()
            && let Some(all) = found.get_mut(&job.identity.namespace)
        {
            all.push(job.clone());
        }
    });
    found
}

/// Job that waits for a JobLimit.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Job.
    pub job: Arc<JobRow>,
    /// Position in the queue of the limit, from 1. `None` for a Job that is not in the queue.
    pub position: Option<usize>,
    /// Reason why the Job waits.
    pub reason: Reason,
}

/// Jobs of a JobLimit.
#[derive(Clone, Debug, Default)]
pub struct Use {
    /// Jobs that use the limit, in the order of their start.
    pub users: Vec<Arc<JobRow>>,
    /// Jobs that wait: those in the queue in its order, and then the others.
    pub waiting: Vec<Waiting>,
}

impl Use {
    /// Returns the Jobs of a limit among the unfinished Jobs of its namespace.
    ///
    /// The annotation of a Job has the position at which the Job began to wait. The present position follows from the
    /// order of admission: priority, age and name. The first Jobs are in the order of the status.
    pub fn of(limit: &LimitView, jobs: &[Arc<JobRow>], now: Timestamp) -> Self {
        // Only a controller with `--claim=all` limits Jobs without `spec.managedBy`.
        let claims_all = jobs.iter().any(|job| job.is_of_jobwright.is_none() && job.waiting.is_some());
        let limited = |job: &&Arc<JobRow>| {
            job.is_of_jobwright.unwrap_or(claims_all)
                && !job.labels.contains_key(KUEUE_LABEL)
                && limit.covers(&job.labels)
        };
        let (waiting, others): (Vec<_>, Vec<_>) =
            jobs.iter().filter(limited).cloned().partition(|job| job.waiting.is_some());
        let mut users: Vec<Arc<JobRow>> =
            others.into_iter().filter(|job| job.started.is_some() && job.state(now) != State::Suspended).collect();
        users.sort_by_key(|job| (job.started, job.identity.name.clone()));
        let mut queue = Vec::new();
        let mut rest = Vec::new();
        for job in waiting {
            let Some(published) = &job.waiting else { continue };
            let reason = published.reason;
            let is_of_limit = *published.limit == *limit.identity.name;
            match reason {
                Reason::Queue | Reason::Group => queue.push(Waiting { job, position: None, reason }),
                // These Jobs name the one limit that does not admit them.
                _ if is_of_limit => rest.push(Waiting { job, position: None, reason }),
                _ => {}
            }
        }
        let next = |name: &str| limit.stored.next.iter().position(|next| next == name).unwrap_or(usize::MAX);
        queue.sort_by_key(|one| {
            let job = &one.job;
            (next(&job.identity.name), Reverse(job.priority), job.created, job.identity.name.clone())
        });
        for (place, one) in queue.iter_mut().enumerate() {
            one.position = Some(place + 1);
        }
        rest.sort_by_key(|one| one.job.identity.name.clone());
        queue.append(&mut rest);
        Self { users, waiting: queue }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::job::admission::{PRIORITY_ANNOTATION, WAITING_ANNOTATION};
    use crate::ui::fixtures::job;

    fn limit(next: &[&str]) -> LimitView {
        let object = json!({"metadata": {"namespace": "n", "name": "lim", "uid": "l", "resourceVersion": "1"},
            "spec": {"selector": {"matchLabels": {"app": "a"}}, "maxActiveJobs": 2},
            "status": {"next": next, "used": "2/2 Jobs", "waiting": 3}});
        LimitView::parse(serde_json::from_value(object).unwrap()).unwrap()
    }

    fn row(name: &str, change: impl Fn(&mut Value)) -> Arc<JobRow> {
        let mut object = job("n", name, json!({}));
        object["metadata"]["labels"] = json!({"app": "a"});
        object["spec"]["managedBy"] = json!("jobwright.dev/controller");
        change(&mut object);
        Arc::new(JobRow::parse(serde_json::from_value(object).unwrap()).unwrap())
    }

    fn waiting(name: &str, priority: i32, reason: &str) -> Arc<JobRow> {
        let text = json!({"limit": "lim", "position": 9, "reason": reason}).to_string();
        row(name, |job| {
            job["metadata"]["annotations"] =
                json!({WAITING_ANNOTATION: text, PRIORITY_ANNOTATION: priority.to_string()});
        })
    }

    #[test]
    fn users_and_positions_follow_from_the_jobs() {
        let started = |job: &mut Value| job["status"]["startTime"] = "2026-01-01T00:00:01Z".into();
        let jobs = [
            row("uses", started),
            row("other-label", |job| {
                started(job);
                job["metadata"]["labels"] = json!({"app": "b"});
            }),
            row("other-controller", |job| {
                started(job);
                job["spec"]["managedBy"] = "example.com/x".into();
            }),
            row("of-kueue", |job| {
                started(job);
                job["metadata"]["labels"][KUEUE_LABEL] = "q".into();
            }),
            waiting("low", 0, "Queue"),
            waiting("high", 5, "Queue"),
            waiting("large", 9, "TooLarge"),
        ];
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        let names = |found: &Use| -> Vec<(String, Option<usize>)> {
            found.waiting.iter().map(|one| (one.job.identity.name.to_string(), one.position)).collect()
        };
        let found = Use::of(&limit(&[]), &jobs, now);
        assert_eq!(found.users.iter().map(|job| job.identity.name.to_string()).collect::<Vec<_>>(), ["uses"]);
        let expected = [("high", Some(1)), ("low", Some(2)), ("large", None)].map(|(name, at)| (name.to_owned(), at));
        assert_eq!(names(&found), expected);
        let stored = Use::of(&limit(&["low"]), &jobs, now);
        assert_eq!(names(&stored)[0], ("low".to_owned(), Some(1)), "the status has the order of the controller");
    }

    #[test]
    fn job_without_a_controller_is_limited_if_the_controller_claims_all() {
        let unmanaged = |name: &str| {
            row(name, |job| {
                job["spec"]["managedBy"] = Value::Null;
                job["status"]["startTime"] = "2026-01-01T00:00:01Z".into();
            })
        };
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        assert!(Use::of(&limit(&[]), &[unmanaged("a")], now).users.is_empty());
        let text = json!({"limit": "lim", "position": 1}).to_string();
        let waits = row("b", |job| {
            job["spec"]["managedBy"] = Value::Null;
            job["metadata"]["annotations"] = json!({WAITING_ANNOTATION: text});
        });
        let found = Use::of(&limit(&[]), &[unmanaged("a"), waits], now);
        assert_eq!((found.users.len(), found.waiting.len()), (1, 1));
    }
}
