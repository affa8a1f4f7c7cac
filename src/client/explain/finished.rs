//! Explains a finished Job: its outcome, and why it failed.

use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::explanation::{Explanation, Hint, State, counted};
use super::job::{Facts, counts_text};
use super::{pod, span};
use crate::client::one_line::one_line;
use crate::job::decide::failure_report::FailureReport;
use crate::job::decide::result_report::{JobResult, PodResult};
use crate::job::{FAILURE_ANNOTATION, RESULT_ANNOTATION};

/// Maximum number of failed pods that an explanation lists individually.
const MAX_FAILED_SHOWN: usize = 3;
/// Maximum number of results that an explanation lists individually.
const MAX_RESULTS_SHOWN: usize = 5;

/// Returns the explanation of a Job with this terminal condition.
pub(crate) fn ended(facts: &Facts<'_>, status: &JobStatus, end: &JobCondition) -> Explanation {
    let (job, name) = (facts.job, facts.name());
    let times = status.start_time.as_ref().zip(end.last_transition_time.as_ref());
    let took = |word: &str| times.map_or_else(String::new, |(start, end)| format!(" {word} {}", span(start.0, end.0)));
    let counts = counts_text(job, status);
    if end.type_ == "Complete" {
        let headline = format!("Job {name} completed{}: {counts}.", took("in"));
        let mut explanation =
            Explanation { headline, state: State::Complete, reason: end.reason.clone(), ..Explanation::default() };
        if end.reason.as_deref() == Some("SuccessPolicy") {
            let message = end.message.as_deref().unwrap_or_default();
            explanation.details.push(format!("Its successPolicy ended the Job before all completions: {message}."));
        }
        explanation.details.extend(results(facts));
        return explanation;
    }
    let (reason, message) = (end.reason.clone().unwrap_or_default(), end.message.clone().unwrap_or_default());
    let mut explanation = Explanation {
        headline: format!("Job {name} failed{}: {reason}: {message}. {counts}.", took("after")),
        state: State::Failed,
        reason: Some(reason.clone()),
        ..Explanation::default()
    };
    if let Some(indexes) = status.failed_indexes.as_deref().filter(|indexes| !indexes.is_empty()) {
        explanation.details.push(format!("These indexes failed: {indexes}."));
    }
    failures(facts, &mut explanation);
    recorded_failure(facts, &reason, &mut explanation);
    explanation.hint(again(facts));
    explanation
}

/// Returns a sentence with each result that the controller recorded of a Job that succeeded.
fn results(facts: &Facts<'_>) -> Vec<String> {
    let recorded = facts.job.annotations().get(RESULT_ANNOTATION).and_then(|text| serde_json::from_str(text).ok());
    let JobResult { results, omitted } = recorded.unwrap_or_default();
    let more = results.len().saturating_sub(MAX_RESULTS_SHOWN) + omitted;
    let sentence = |result: &PodResult| {
        let index = result.index.map_or_else(String::new, |index| format!(" (index {index})"));
        format!("Result of pod {}{index}: {}", result.pod, one_line(&result.message))
    };
    let shown = results.iter().take(MAX_RESULTS_SHOWN).map(sentence);
    shown.chain((more > 0).then(|| format!("{} not shown.", counted(more, "more result")))).collect()
}

/// Adds what the controller recorded in the annotation of a failed Job: the cause, unless the pod still exists, and the
/// end of the log.
fn recorded_failure(facts: &Facts<'_>, reason: &str, explanation: &mut Explanation) {
    let report: Option<FailureReport> =
        facts.job.annotations().get(FAILURE_ANNOTATION).and_then(|text| serde_json::from_str(text).ok());
    let pods = facts.pods();
    let exists = |report: &FailureReport| pods.iter().any(|pod| pod::is_failed(pod) && pod.name_any() == report.pod);
    let shown = report.as_ref().is_some_and(exists);
    if let Some(report) = report.as_ref().filter(|_| !shown) {
        explanation.details.push(format!("Recorded cause: {}.", report.event().message.trim_end_matches('.')));
    }
    let log = report.map(|report| report.log).unwrap_or_default();
    if !log.is_empty() {
        explanation.details.push(format!("End of the log of the failed container:\n    {}", log.join("\n    ")));
    }
    if facts.pods.is_some() && !pods.iter().any(pod::is_failed) && log.is_empty() {
        let restarts = facts.job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()?.restart_policy.as_deref());
        explanation.details.push(
            match (reason, restarts) {
                (_, Some("OnFailure")) => {
                    "Its pods were deleted, and their logs with them. With restartPolicy: Never, failed pods are kept."
                }
                ("DeadlineExceeded", _) => "The pods that were still running were deleted, and their logs with them.",
                _ => "No failed pod is left, and the logs are deleted with the pods.",
            }
            .to_owned(),
        );
    }
}

/// Returns the hint how to run a finished Job again under another name.
fn again(facts: &Facts<'_>) -> Hint {
    Hint::new("run the Job again", facts.suggest.jobwright(&format!("rerun job/{}", facts.name())))
}

/// Adds the failures of the last pods that failed.
pub(crate) fn failures(facts: &Facts<'_>, explanation: &mut Explanation) {
    let mut failed: Vec<&Pod> = facts.pods().iter().filter(|pod| pod::is_failed(pod)).collect();
    failed.sort_by_key(|pod| std::cmp::Reverse(pod::ended_at(pod)));
    let more = failed.len().saturating_sub(MAX_FAILED_SHOWN);
    if let Some(last) = failed.first() {
        let logs = facts.suggest.kubectl(&format!("logs {} --all-containers", last.name_any()));
        explanation.hint(Hint::new("see the logs of its last failed pod", logs));
    }
    explanation.details.extend(failed.into_iter().take(MAX_FAILED_SHOWN).map(pod::failure));
    if more > 0 {
        explanation.details.push(format!("{} more.", counted(more, "failed pod")));
    }
}
