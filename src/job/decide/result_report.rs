//! The results of a Job that succeeds: an annotation with the termination messages of its pods. A user who looks for a
//! result later may find no pods (kubernetes/kubernetes issue 113641).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Step;
use crate::job::index::CompletionIndex;
use crate::job::status::SUCCESS_CRITERIA_MET;
use crate::job::view::{JobView, Phase, PodView};
use crate::runtime::text::beginning;

/// Annotation of a Job that succeeded, with the termination messages of its pods.
pub const RESULT_ANNOTATION: &str = "jobwright.dev/result";
/// Maximum size of the annotation in bytes.
pub const MAX_RESULT_BYTES: usize = 4096;
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

/// Attaches the results to the step that stores the success of the Job. `pods` returns the pods of the Job, including
/// those that are already counted and released.
pub fn attach(job: &JobView, step: &mut Step, pods: impl FnOnce() -> Vec<Arc<PodView>>) {
    if let Step::WriteStatus { status, result, .. } = step
        && status.true_condition(SUCCESS_CRITERIA_MET).is_some()
        && job.status.true_condition(SUCCESS_CRITERIA_MET).is_none()
    {
        *result = results(job, &pods());
    }
}

/// Returns the text of the annotation; none if no pod that succeeded has a message.
fn results(job: &JobView, pods: &[Arc<PodView>]) -> Option<String> {
    let own = pods.iter().filter(|pod| pod.owner.as_ref().is_some_and(|owner| owner.uid == job.identity.uid));
    let succeeded = own.filter(|pod| pod.phase == Phase::Succeeded && job.can_count(pod));
    let mut with_message: Vec<_> = succeeded.filter(|pod| pod.result.is_some()).collect();
    with_message.sort_by_key(|pod| (job.index_of(pod), pod.finished_at, pod.identity.name.clone()));
    let mut report = JobResult::default();
    for pod in &with_message {
        report.results.push(PodResult {
            pod: pod.identity.name.to_string(),
            index: job.index_of(pod),
            message: beginning(pod.result.as_deref().unwrap_or_default(), MAX_MESSAGE_BYTES).to_owned(),
        });
        if report.text().len() > MAX_RESULT_BYTES - MAX_OMITTED_BYTES {
            report.results.pop();
            break;
        }
    }
    report.omitted = with_message.len() - report.results.len();
    (!with_message.is_empty()).then(|| report.text())
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
    use super::super::fixtures::*;
    use super::*;

    fn with_result(pod: Pod, message: &str) -> Pod {
        pod.with(|pod| pod.result = Some(message.into()))
    }

    #[test]
    fn results_are_stored_with_the_success_in_the_order_of_the_indexes() {
        let job = Job::new().indexed(3).parallelism(3).started(0);
        let pods = [
            with_result(pod("b").index(2).succeeded(5), "two"),
            with_result(pod("a").index(0).succeeded(9), "zero"),
            pod("c").index(1).succeeded(7),
        ];
        let mut step = job.decide(&pods).step;
        attach(&job.view, &mut step, || views(&pods));
        let Step::WriteStatus { result: Some(result), .. } = step else { panic!("{step:?}") };
        let expected = r#"{"results":[{"pod":"a","index":0,"message":"zero"},{"pod":"b","index":2,"message":"two"}]}"#;
        assert_eq!(result, expected);
    }

    #[test]
    fn job_that_has_not_succeeded_or_has_no_messages_gets_no_results() {
        let attached = |job: &Job, pods: &[Pod]| {
            let mut step = job.decide(pods).step;
            attach(&job.view, &mut step, || views(pods));
            matches!(step, Step::WriteStatus { result: Some(_), .. })
        };
        let job = Job::new().started(0);
        assert!(attached(&job, &[with_result(pod("a").succeeded(5), "m")]));
        assert!(!attached(&job, &[pod("a").succeeded(5)]));
        assert!(!attached(&job, &[with_result(pod("a").running(5), "m")]));
        assert!(!attached(&Job::new().completions(2).started(0), &[with_result(pod("a").succeeded(5), "m")]));
        assert!(!attached(&job, &[with_result(pod("a").succeeded(5).orphan(), "m")]));
    }

    #[test]
    fn annotation_is_bounded_and_states_how_many_results_it_omits() {
        let job = Job::new().indexed(100).parallelism(100).started(0);
        let pods: Vec<Pod> = (0..100)
            .map(|index| with_result(pod(&format!("p{index}")).index(index).succeeded(5), &"\u{1}".repeat(50)))
            .collect();
        let text = results(&job.view, &views(&pods)).unwrap();
        assert!(text.len() <= MAX_RESULT_BYTES, "{}", text.len());
        let read: JobResult = serde_json::from_str(&text).unwrap();
        assert!(!read.results.is_empty() && read.results.len() + read.omitted == 100, "{read:?}");
        let long = [with_result(pod("a").succeeded(5), &"\u{1}".repeat(10_000))];
        let text = results(&Job::new().view, &views(&long)).unwrap();
        assert_eq!(
            serde_json::from_str::<JobResult>(&text).unwrap().omitted,
            1,
            "a message that fits in no way is counted"
        );
    }
}
