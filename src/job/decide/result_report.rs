//! The results of a Job: an annotation with the termination messages of the pods that succeeded. A user who looks for a
//! result later may find no pods (kubernetes/kubernetes issue 113641).

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::summary::PodSummary;
use crate::job::MAX_RESULT_BYTES;
use crate::job::index::CompletionIndex;
use crate::job::status::JobStatus;
use crate::job::view::{JobView, PodView};
use crate::runtime::identity::Uid;
use crate::runtime::text::beginning;

/// Maximum number of bytes of a single message. A kubelet keeps 4096 bytes of the messages of a pod.
const MAX_MESSAGE_BYTES: usize = 1024;

/// The results of a Job: the content of the annotation `jobwright.dev/result`, in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobResult {
    /// Results of pods, in the order of their indexes and then of their ends.
    pub results: Vec<PodResult>,
    /// Number of results that do not fit.
    #[serde(skip_serializing_if = "is_zero")]
    pub omitted: usize,
}

/// The result of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodResult {
    /// Name of the pod.
    pub pod: String,
    /// Completion index of the pod, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<CompletionIndex>,
    /// Termination message of its container.
    pub message: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Returns the text of the annotation after the successes that this status counts, if there are new results. It is stored
/// with the status that lists these pods, or their indexes, so that each result is recorded once.
pub fn record(job: &JobView, pods: &PodSummary, status: &JobStatus) -> Option<String> {
    let with_result = || pods.new_succeeded().iter().filter(|pod| pod.result.is_some());
    with_result().next()?;
    let listed: HashSet<&Uid> = status.uncounted.succeeded.iter().collect();
    let is_new = |pod: &Arc<PodView>| match job.index_of(pod).filter(|_| job.is_indexed()) {
        Some(index) => {
            status.completed_indexes.set.contains(index) && !job.status.completed_indexes.set.contains(index)
        }
        None => listed.contains(&pod.identity.uid),
    };
    let mut new: Vec<_> = with_result().filter(|pod| is_new(pod)).collect();
    if new.is_empty() {
        return None;
    }
    new.sort_by_key(|pod| (job.index_of(pod), pod.finished_at, pod.identity.name.clone()));
    new.dedup_by_key(|pod| job.index_of(pod).map_or_else(|| pod.identity.name.to_string(), |index| index.to_string()));
    let mut report: JobResult =
        job.result.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    for pod in new {
        let result = PodResult {
            pod: pod.identity.name.to_string(),
            index: job.index_of(pod),
            message: pod
                .result
                .as_ref()
                .map(|result| beginning(&result.0, MAX_MESSAGE_BYTES).to_owned())
                .unwrap_or_default(),
        };
        report.results.push(result);
        if report.text().len() > MAX_RESULT_BYTES - MAX_OMITTED_BYTES {
            report.results.pop();
            report.omitted = report.omitted.saturating_add(1);
        }
    }
    report.results.sort_by_key(|result| result.index);
    Some(report.text())
}

/// Maximum size of the field `omitted` in bytes.
const MAX_OMITTED_BYTES: usize = 32;

impl JobResult {
    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Step;
    use super::super::fixtures::*;
    use super::*;
    use crate::job::view::TerminationMessage;

    fn with_result(pod: Pod, message: &str) -> Pod {
        pod.with(|pod| pod.result = Some(Box::new(TerminationMessage(message.into()))))
    }

    fn recorded(job: &Job, pods: &[Pod]) -> Option<String> {
        match job.decide(pods).step {
            Step::WriteStatus { result, .. } => result,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn results_are_stored_with_the_status_that_counts_them_in_the_order_of_the_indexes() {
        let job = Job::new().indexed(3).parallelism(3).started(0);
        let first = [with_result(pod("b").index(2).succeeded(5), "two"), pod("c").index(1).running(1)];
        let rest = [with_result(pod("a").index(0).succeeded(9), "zero"), pod("c").index(1).succeeded(9)];
        let third = pod("a").index(0).running(1);
        let text = recorded(&job, &[first.to_vec(), vec![third]].concat()).unwrap();
        assert_eq!(text, r#"{"results":[{"pod":"b","index":2,"message":"two"}]}"#);
        // The pod still has its finalizer, and its index is stored.
        let later = job.completed("2").with(|job| job.result = Some(text.into()));
        let pods = [vec![first[0].clone()], rest.to_vec()].concat();
        let status = later.clone().completed("0-2").view.status;
        let text = record(&later.view, &later.summary(&pods), &status).unwrap();
        let expected = r#"{"results":[{"pod":"a","index":0,"message":"zero"},{"pod":"b","index":2,"message":"two"}]}"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn only_pods_of_the_job_that_succeeded_with_a_message_have_results() {
        let job = Job::new().completions(2).parallelism(2).started(0);
        let running = pod("z").running(1);
        let result = |pod: Pod| recorded(&job, &[pod, running.clone()]);
        assert!(result(with_result(pod("a").succeeded(5), "m")).is_some());
        assert_eq!(result(pod("a").succeeded(5)), None);
        assert_eq!(result(with_result(pod("a").running(5), "m")), None);
        let listed = job.clone().uncounted(&["uid-a"], &[]);
        let pods = [with_result(pod("a").succeeded(5).untracked(), "m"), running.clone()];
        assert_eq!(recorded(&listed, &pods), None, "recorded with the status that lists the pod");
    }

    #[test]
    fn annotation_is_bounded_and_states_how_many_results_it_omits() {
        let job = Job::new().indexed(100).parallelism(100).started(0);
        let pods: Vec<Pod> = (0..100)
            .map(|index| with_result(pod(&format!("p{index}")).index(index).succeeded(5), &"\u{1}".repeat(50)))
            .collect();
        let text = recorded(&job, &pods).unwrap();
        assert!(text.len() <= MAX_RESULT_BYTES, "{}", text.len());
        let read: JobResult = serde_json::from_str(&text).unwrap();
        assert!(!read.results.is_empty() && read.results.len() + read.omitted == 100, "{read:?}");
        let long = [with_result(pod("a").succeeded(5), &"\u{1}".repeat(10_000))];
        let text = recorded(&Job::new().started(0), &long).unwrap();
        assert_eq!(
            serde_json::from_str::<JobResult>(&text).unwrap().omitted,
            1,
            "a message that does not fit is counted"
        );
    }
}
