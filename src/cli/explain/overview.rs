//! `jobwright explain` without a name: the Jobs that are stuck, failing or failed, with one line of cause each.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use serde::Serialize;
use serde_json::{Value, json};

use super::cause::{Finding, State, age};
use super::collect::Related;
use crate::cli::table::Table;

/// Job that needs attention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Trouble {
    namespace: String,
    name: String,
    state: State,
    reason: String,
    cause: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    #[serde(skip)]
    age: String,
}

/// Returns the Jobs that need attention, the worst first and among equals the newest first. With `failed`, only Jobs
/// that have failed.
pub(crate) fn troubles(jobs: &[Job], related: &Related, failed: bool, now: Timestamp) -> Vec<Trouble> {
    let wanted = |finding: &Finding| if failed { finding.state == State::Failed } else { finding.state.is_trouble() };
    let mut troubles: Vec<Trouble> = jobs
        .iter()
        .filter_map(|job| {
            let finding = Some(related.find(job, now)).filter(wanted)?;
            Some(Trouble {
                namespace: job.namespace().unwrap_or_default(),
                name: job.name_any(),
                state: finding.state,
                age: age(&finding, now),
                since: finding.since,
                reason: finding.reason,
                cause: finding.cause,
            })
        })
        .collect();
    troubles.sort_by(|one, other| {
        let key = |trouble: &Trouble| (trouble.state, std::cmp::Reverse(trouble.since));
        let name = |trouble: &Trouble| (trouble.namespace.clone(), trouble.name.clone());
        key(one).cmp(&key(other)).then_with(|| name(one).cmp(&name(other)))
    });
    troubles
}

/// Returns the table for a person, and a last line with the number of Jobs that were read.
pub(crate) fn text(troubles: &[Trouble], jobs: usize, namespaces: bool) -> String {
    let read = format!("{jobs} {}", if jobs == 1 { "Job" } else { "Jobs" });
    if troubles.is_empty() {
        return format!("None of {read} is stuck, failing or failed.\n");
    }
    let mut table = Table::new(&["NAMESPACE", "JOB", "STATE", "SINCE", "CAUSE"]);
    for trouble in troubles {
        let Trouble { namespace, name, state, reason, cause, age, .. } = trouble;
        let cause = if cause.is_empty() { reason.clone() } else { format!("{reason}: {cause}") };
        let cause = if trouble.cause.contains(reason.as_str()) { trouble.cause.clone() } else { cause };
        table.row([namespace.clone(), name.clone(), state.word().to_owned(), age.clone(), cause]);
    }
    format!("{}{} of {read} need attention.\n", table.text(usize::from(!namespaces)), troubles.len())
}

/// Returns the Jobs as an object for programs.
pub(crate) fn json(troubles: &[Trouble], jobs: usize, unread: &[String]) -> Value {
    json!({"jobs": jobs, "items": troubles, "unread": unread})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str, change: Value) -> Job {
        let mut job = json!({
            "metadata": {"name": name, "namespace": "n", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"template": {}},
        });
        job["status"] = change;
        serde_json::from_value(job).unwrap()
    }

    #[test]
    fn jobs_are_listed_the_worst_and_newest_first() {
        let failed = |at: &str| json!({"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long", "lastTransitionTime": at}]});
        let jobs = [
            job("stuck", json!({})),
            job("old", failed("2026-01-01T00:10:00Z")),
            job("failing", json!({"startTime": "2026-01-01T00:30:00Z", "failed": 2})),
            job("new", failed("2026-01-01T00:50:00Z")),
            job("fine", json!({"startTime": "2026-01-01T00:59:00Z"})),
        ];
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        let all = troubles(&jobs, &Related::default(), false, now);
        assert_eq!(
            text(&all, jobs.len(), false),
            "\
JOB      STATE    SINCE   CAUSE
new      Failed   10 min  DeadlineExceeded: too long
old      Failed   50 min  DeadlineExceeded: too long
stuck    Stuck    1 h     NotStarted: no controller has started it
failing  Failing  30 min  PodsFailed: 2 pods have failed
4 of 5 Jobs need attention.
"
        );
        let failed = troubles(&jobs, &Related::default(), true, now);
        assert_eq!(failed.iter().map(|trouble| trouble.name.as_str()).collect::<Vec<_>>(), ["new", "old"]);
        let json = json(&all, 5, &[]);
        assert_eq!((&json["items"][2]["state"], &json["items"][2]["reason"]), (&json!("Stuck"), &json!("NotStarted")));
        assert_eq!(text(&[], 1, false), "None of 1 Job is stuck, failing or failed.\n");
    }
}
