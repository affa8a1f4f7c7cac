//! `jobwright explain` without a name: the Jobs that are stuck, failing or failed, with one line of cause each.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use schemars::JsonSchema;
use serde::Serialize;

use super::cause::{Finding, State, age};
use super::collect::Related;
use super::explanation::{Counts, Unread};
use super::job::counts;
use crate::client::cluster::owner;
use crate::client::names::Kind;
use crate::client::table::Table;
use crate::client::terminal::Screen;

/// Jobs that need attention, as the output for programs has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Overview {
    /// Number of Jobs that were read.
    pub jobs: usize,
    /// Jobs that need attention, the worst first and among equals the newest first.
    pub items: Vec<Trouble>,
    /// Objects that could not be read, so that the answer is incomplete.
    pub unread: Vec<Unread>,
}

/// Job that needs attention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Trouble {
    /// Kind of the object: Job.
    kind: &'static str,
    /// Namespace of the Job.
    namespace: String,
    /// Name of the Job.
    name: String,
    /// State of the Job.
    state: State,
    /// Reason of the state in one word, such as ImagePullBackOff or BackoffLimitExceeded.
    reason: String,
    /// Cause of the state in one line.
    cause: String,
    /// Time since which the Job has had the state, as far as it is known, in UTC (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    since: Option<Timestamp>,
    /// Numbers of pods of the Job.
    counts: Counts,
    /// Controller that owns the Job, such as cronjob/nightly.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(skip)]
    age: String,
}

/// Returns the Jobs that need attention. With `failed`, only Jobs that have failed.
pub(crate) fn overview(jobs: &[Job], related: &Related, failed: bool, now: Timestamp) -> Overview {
    let wanted = |finding: &Finding| if failed { finding.state == State::Failed } else { finding.state.is_trouble() };
    let mut items: Vec<Trouble> = jobs
        .iter()
        .filter_map(|job| {
            let finding = Some(related.find(job, now)).filter(wanted)?;
            Some(Trouble {
                kind: crate::job::KIND,
                namespace: job.namespace().unwrap_or_default(),
                name: job.name_any(),
                state: finding.state,
                age: age(&finding, now),
                since: finding.since,
                counts: counts(job, &job.status.clone().unwrap_or_default()),
                owner: owner(job),
                reason: finding.reason,
                cause: finding.cause,
            })
        })
        .collect();
    items.sort_by(|one, other| {
        let key = |trouble: &Trouble| (trouble.state, std::cmp::Reverse(trouble.since));
        let name = |trouble: &Trouble| (trouble.namespace.clone(), trouble.name.clone());
        key(one).cmp(&key(other)).then_with(|| name(one).cmp(&name(other)))
    });
    Overview { jobs: jobs.len(), items, unread: related.unread.clone() }
}

/// Columns of the table that `-o wide` adds.
const WIDE: &[&str] = &["REASON", "SUCCEEDED", "FAILED", "ACTIVE", "OWNER"];

/// Returns the table for a person, and a last line with the number of Jobs that were read.
pub(crate) fn text(overview: &Overview, namespaces: bool, wide: bool, screen: &Screen) -> String {
    let Overview { jobs, items, .. } = overview;
    let read = format!("{jobs} {}", if *jobs == 1 { "Job" } else { "Jobs" });
    if items.is_empty() {
        return format!("None of {read} is stuck, failing or failed.\n");
    }
    let mut table = Table::new(&[
        "NAMESPACE",
        "JOB",
        "STATE",
        "REASON",
        "SINCE",
        "SUCCEEDED",
        "FAILED",
        "ACTIVE",
        "OWNER",
        "CAUSE",
    ]);
    for trouble in items {
        let Trouble { namespace, name, state, reason, cause, counts, owner, age, .. } = trouble;
        let shown = match cause.as_str() {
            "" => reason.clone(),
            // The wide table has a column for the reason.
            cause if wide || cause.contains(reason.as_str()) => cause.to_owned(),
            cause => format!("{reason}: {cause}"),
        };
        let of = counts.completions.map_or_else(String::new, |of| format!("/{of}"));
        let cells = [
            namespace.clone(),
            name.clone(),
            state.word().to_owned(),
            reason.clone(),
            age.clone(),
            format!("{}{of}", counts.succeeded),
            counts.failed.to_string(),
            counts.active.to_string(),
            owner.clone().unwrap_or_else(|| "-".to_owned()),
            shown,
        ];
        table.painted_row(cells, "STATE", state.color());
    }
    let hidden = if wide { &[] } else { WIDE };
    let table = table.without(hidden).without(if namespaces { &[] } else { &["NAMESPACE"] }).optional(&["SINCE"]);
    let need = if items.len() == 1 { "needs" } else { "need" };
    format!("{}{} of {read} {need} attention.\n", table.text(screen), items.len())
}

/// Returns TYPE/NAME of each Job, as kubectl prints it.
pub(crate) fn names(overview: &Overview) -> String {
    overview.items.iter().map(|trouble| Kind::Job.qualified(&trouble.name) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::client::transcripts::assert_in_page;

    fn job(name: &str, change: Value) -> Job {
        let mut job = json!({
            "metadata": {"name": name, "namespace": "n", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"template": {}},
        });
        job["status"] = change;
        serde_json::from_value(job).unwrap()
    }

    fn jobs() -> Vec<Job> {
        let failed = |at: &str| json!({"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long", "lastTransitionTime": at}]});
        let mut jobs = vec![
            job("stuck", json!({})),
            job("old", failed("2026-01-01T00:10:00Z")),
            job("failing", json!({"startTime": "2026-01-01T00:30:00Z", "failed": 2, "active": 1})),
            job("new", failed("2026-01-01T00:50:00Z")),
            job("fine", json!({"startTime": "2026-01-01T00:59:00Z"})),
        ];
        let owner =
            json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": "c", "controller": true}]);
        jobs[2].metadata.owner_references = serde_json::from_value(owner).unwrap();
        jobs[2].spec.as_mut().unwrap().completions = Some(5);
        jobs
    }

    fn read(failed: bool) -> Overview {
        overview(&jobs(), &Related::default(), failed, "2026-01-01T01:00:00Z".parse().unwrap())
    }

    #[test]
    fn jobs_are_listed_the_worst_and_newest_first() {
        let expected = "\
JOB      STATE    SINCE   CAUSE
new      Failed   10 min  DeadlineExceeded: too long
old      Failed   50 min  DeadlineExceeded: too long
stuck    Stuck    1 h     NotStarted: no controller has started it
failing  Failing  30 min  PodsFailed: 2 pods have failed
4 of 5 Jobs need attention.
";
        assert_eq!(text(&read(false), false, false, &Screen::PLAIN), expected);
        assert_in_page("jobs.md", expected);
        assert_eq!(names(&read(true)), "job.batch/new\njob.batch/old\n");
        let none = Overview { jobs: 1, ..Overview::default() };
        assert_eq!(text(&none, false, false, &Screen::PLAIN), "None of 1 Job is stuck, failing or failed.\n");
    }

    #[test]
    fn wide_table_has_reason_counts_and_owner() {
        let expected = "\
NAMESPACE  JOB      STATE    REASON            SINCE   SUCCEEDED  FAILED  ACTIVE  OWNER            CAUSE
n          new      Failed   DeadlineExceeded  10 min  0          0       0       -                too long
n          old      Failed   DeadlineExceeded  50 min  0          0       0       -                too long
n          stuck    Stuck    NotStarted        1 h     0          0       0       -                no controller has started it
n          failing  Failing  PodsFailed        30 min  0/5        2       1       cronjob/nightly  2 pods have failed
4 of 5 Jobs need attention.
";
        assert_eq!(text(&read(false), true, true, &Screen::PLAIN), expected);
        assert_in_page("jobs.md", expected);
    }

    #[test]
    fn states_have_colors_on_a_terminal() {
        let screen = Screen { width: 40, terminal: true, color: true, ..Screen::PLAIN };
        let table = text(&read(false), false, false, &screen);
        assert!(table.contains("new      \u{1b}[31mFailed\u{1b}[0m   10 min  Deadline"), "{table:?}");
        assert!(table.contains("\u{1b}[33mFailing\u{1b}[0m"), "{table:?}");
    }

    #[test]
    fn output_for_programs_has_state_reason_and_counts() {
        let json = serde_json::to_value(read(false)).unwrap();
        assert_eq!((&json["jobs"], &json["unread"]), (&json!(5), &json!([])));
        let item = &json["items"][3];
        assert_eq!(
            (&item["kind"], &item["name"], &item["state"]),
            (&json!("Job"), &json!("failing"), &json!("Failing"))
        );
        assert_eq!((&item["counts"]["completions"], &item["owner"]), (&json!(5), &json!("cronjob/nightly")));
    }
}
