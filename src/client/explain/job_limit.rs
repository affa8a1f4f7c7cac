//! Explains the state of a JobLimit: what is in use, by which Jobs, and which Jobs wait.

use std::sync::Arc;

use kube::api::ListParams;

use super::explanation::{Explanation, Hint, State};
use super::read::waits_for_jobs;
use crate::client::cluster::{ClusterContext, ClusterReadError};
use crate::client::lists::ListEach;
use crate::client::names::Kind;
use crate::client::suggest::Suggestions;
use crate::job::admission::{Reason, WaitingStatus};
use crate::job::managed_by::MANAGED_BY;
use crate::job::view::JobView;
use crate::job::wire::WireJob;
use crate::limit::admission::Admissions;
use crate::limit::view::{LimitView, WireJobLimit};
use crate::limit::workload::Workload;

/// Maximum number of Jobs that an explanation lists in each state.
const MAX_JOBS_SHOWN: usize = 10;

/// Reads a JobLimit with the Jobs of its namespace, and returns the explanation.
///
/// # Errors
/// The JobLimit or the Jobs cannot be read.
pub(crate) async fn read(context: &ClusterContext, name: &str) -> Result<Explanation, ClusterReadError> {
    let what = format!("joblimit/{name}");
    let limits =
        context.api::<WireJobLimit>().list_each(&ListParams::default()).await.map_err(context.unreadable(&what))?;
    let limits: Vec<Arc<LimitView>> = limits.into_iter().filter_map(LimitView::parse).map(Arc::new).collect();
    let limit = limits.iter().find(|limit| &*limit.identity.name == name).cloned();
    let missing = || ClusterReadError::Unreadable {
        what,
        scope: format!("in namespace {}", context.namespace),
        reason: format!("joblimits.jobwright.dev {name:?} not found"),
    };
    let limit = limit.ok_or_else(missing)?;
    let jobs = context.api::<WireJob>().list_each(&ListParams::default()).await.map_err(context.unreadable("jobs"))?;
    let views: Vec<JobView> = jobs.into_iter().filter_map(JobView::parse).collect();
    let workload = |view: &JobView| Workload::of(view, waits_for_jobs(view, &views), || 0);
    let managed = of_jobwright(&views).into_iter().filter_map(workload);
    Ok(explain(&limit, limits, &managed.collect::<Vec<_>>(), &context.suggest))
}

/// Returns the Jobs that Jobwright manages: those whose `spec.managedBy` names it, and those without `spec.managedBy` if
/// one of them waits for a JobLimit, which only a controller with `--claim=all` writes.
fn of_jobwright(jobs: &[JobView]) -> Vec<&JobView> {
    let claims_all =
        jobs.iter().any(|job| job.spec.managed_by.is_none() && job.admission_info.published_waiting.is_some());
    let is_managed = |job: &&JobView| match job.spec.managed_by.as_deref() {
        Some(controller) => controller == MANAGED_BY,
        None => claims_all,
    };
    jobs.iter().filter(is_managed).collect()
}

/// Returns the explanation of a JobLimit. `limits` are all JobLimits of the namespace, and `jobs` the unfinished Jobs
/// that the same controller manages.
pub(crate) fn explain(
    limit: &LimitView,
    limits: Vec<Arc<LimitView>>,
    jobs: &[Workload],
    suggest: &Suggestions,
) -> Explanation {
    let name = &*limit.identity.name;
    if limit.selector.is_none() {
        return Explanation {
            headline: format!("JobLimit {name} limits no Jobs: it is malformed, or it is being deleted."),
            state: State::Invalid,
            ..empty(limit)
        };
    }
    let mut admissions = Admissions::default();
    admissions.load(limits, jobs.iter().cloned());
    let (used, users) = admissions.usage_of(name).unwrap_or_default();
    let mut waiting: Vec<(&str, WaitingStatus)> = jobs
        .iter()
        .filter_map(|job| Some((&*job.name, admissions.describe_waiting_status(&job.uid)?)))
        .filter(|(_, status)| status.limit == name && status.reason != Reason::NoPods)
        .collect();
    waiting.sort_by_key(|(name, status)| (status.position, *name));
    let (never, queue): (Vec<_>, Vec<_>) =
        waiting.into_iter().partition(|(_, status)| status.reason == Reason::TooLarge);
    let of = |max: Option<usize>, used: usize, what: &str| max.map(|max| format!("{used} of {max} {what}"));
    let parts: Vec<String> =
        [of(limit.jobs, used.jobs, "Jobs"), of(limit.pods, used.pods, "pods")].into_iter().flatten().collect();
    let parts =
        if parts.is_empty() { "nothing is limited".to_owned() } else { format!("{} in use", parts.join(" and ")) };
    let waits = match queue.len() {
        0 => "no Job waits".to_owned(),
        1 => "1 Job waits".to_owned(),
        count => format!("{count} Jobs wait"),
    };
    let headline = format!("JobLimit {name}: {parts}, {waits}.");
    let state = if queue.is_empty() { State::Running } else { State::Pending };
    let mut explanation = Explanation { headline, state, ..empty(limit) };
    if !users.is_empty() {
        explanation.details.push(format!("Admitted: {}.", some(&users)));
    }
    explanation.details.extend(listed(&queue, |(job, status)| format!("Position {}: {job}.", status.position)));
    explanation.details.extend(listed(&never, |(job, status)| format!("Job {job} {}.", status.message)));
    if let Some((job, _)) = queue.first() {
        let command = suggest.jobwright(&format!("explain job/{job}"));
        explanation.hint(Hint::new("see what the first of them waits for", command));
    }
    explanation
}

fn empty(limit: &LimitView) -> Explanation {
    let (namespace, name) = (limit.identity.namespace.to_string(), limit.identity.name.to_string());
    Explanation { kind: Kind::JobLimit.kind().to_owned(), namespace, name, ..Explanation::default() }
}

/// Returns the first names, and the number of the others.
fn some(names: &[&str]) -> String {
    let more = names.len().saturating_sub(MAX_JOBS_SHOWN);
    let shown = names.iter().take(MAX_JOBS_SHOWN).copied().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

fn listed<T>(items: &[T], line: impl Fn(&T) -> String) -> Vec<String> {
    let more = items.len().saturating_sub(MAX_JOBS_SHOWN);
    let lines = items.iter().take(MAX_JOBS_SHOWN).map(line);
    lines.chain((more > 0).then(|| format!("{more} more Jobs wait."))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::job::view::JobView;
    use crate::limit::view::WireJobLimit;

    fn limit(spec: &Value) -> Arc<LimitView> {
        let metadata = json!({"name": "lim", "namespace": "n", "uid": "l", "resourceVersion": "1"});
        let limit =
            json!({"apiVersion": "jobwright.dev/v1beta1", "kind": "JobLimit", "metadata": metadata, "spec": spec});
        Arc::new(LimitView::parse(serde_json::from_value::<WireJobLimit>(limit).unwrap()).unwrap())
    }

    fn job(name: &str, parallelism: i32, started: bool) -> Workload {
        let at = "2026-01-01T00:00:00Z";
        let status = if started { json!({"startTime": at, "active": parallelism}) } else { json!({}) };
        let job = json!({
            "metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": "1", "creationTimestamp": at},
            "spec": {
                "parallelism": parallelism, "completions": parallelism, "backoffLimit": 6,
                "selector": {"matchLabels": {"x": name}}, "template": {"metadata": {"labels": {"x": name}}, "spec": {"containers": []}},
            },
            "status": status,
        });
        Workload::of(&JobView::parse(serde_json::from_value(job).unwrap()).unwrap(), false, || 0).unwrap()
    }

    #[test]
    fn usage_queue_and_jobs_that_never_fit_are_listed() {
        let suggest = Suggestions::new("jobwright", None, Vec::new());
        let view = limit(&json!({"maxActivePods": 2}));
        let jobs = [job("first", 2, true), job("second", 1, false), job("third", 1, false), job("toobig", 5, false)];
        let explained = explain(&view, vec![view.clone()], &jobs, &suggest);
        assert_eq!(explained.headline, "JobLimit lim: 2 of 2 pods in use, 2 Jobs wait.");
        assert_eq!(explained.details[..3], ["Admitted: first.", "Position 1: second.", "Position 2: third."]);
        assert!(
            explained.details[3].starts_with("Job toobig needs 5 pods, but JobLimit lim allows 2"),
            "{explained:?}"
        );
        assert_eq!(explained.hints[0].command.as_deref(), Some("jobwright explain job/second"));
        assert_eq!((explained.state, explained.kind.as_str()), (State::Pending, "JobLimit"));
        let free = explain(&view, vec![view.clone()], &[], &suggest);
        assert_eq!(free.headline, "JobLimit lim: 0 of 2 pods in use, no Job waits.");
        let malformed = limit(&json!({"maxActivePods": "two"}));
        assert!(explain(&malformed, vec![malformed.clone()], &[], &suggest).headline.contains("limits no Jobs"));
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..12).map(|number| number.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(some(&names).ends_with("9 and 2 more"));
        assert_eq!(listed(&names, |name| (*name).to_owned()).last().unwrap(), "2 more Jobs wait.");
    }
}
