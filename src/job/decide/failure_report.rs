//! The failure report of a Job: an annotation that the controller writes on the Job when it decides that the Job fails.
//! A user who looks for the cause later finds no pods, because the Job's failure deletes them (kubernetes/kubernetes
//! issues 74848, 71364, 78644).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Step;
use super::pod_failure_policy::{PolicyDecision, policy_decision};
use super::pod_replacement_policy::is_failed;
use crate::job::index::CompletionIndex;
use crate::job::status::{FAILED, FAILURE_TARGET, JobStatus};
use crate::job::view::cause::Cause;
use crate::job::view::{JobView, PodView};
use crate::runtime::events::EventText;
use crate::runtime::text::{beginning, ending};

/// Maximum size of the annotation in bytes.
pub const MAX_REPORT_BYTES: usize = 4096;

/// The reason why a Job failed: the content of the annotation `jobwright.dev/failure`, in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FailureReport {
    /// Name of the pod that caused the failure.
    pub pod: String,
    /// Completion index of that pod, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<CompletionIndex>,
    /// Whether the pod had not ended: the Job exceeded its deadline or its limit of failures while the pod was in the
    /// state that `reason` names.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
    /// Number of restarts of the pod's containers.
    #[serde(skip_serializing_if = "is_zero")]
    pub restarts: i64,
    /// Cause of the pod's failure, or of its not starting.
    #[serde(flatten)]
    pub cause: Cause,
    /// Last lines of the container's log, if the controller is configured to keep them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Attaches the failure report to the step that stores the Job's failure. `pods` returns the pods of the Job, including
/// those that are already counted and released.
pub fn attach(job: &JobView, step: &mut Step, pods: impl FnOnce() -> Vec<Arc<PodView>>) {
    if is_due(job, step)
        && let Step::WriteStatus { report: why, .. } = step
    {
        *why = report(job, &pods()).map(Box::new);
    }
}

/// Returns whether this step stores the Job's failure, so that the report has to be written with it. The report is due
/// with the interim condition, when the pods still exist. If another client set that condition and wrote no report, the
/// report is due with the terminal condition.
pub fn is_due(job: &JobView, step: &Step) -> bool {
    let Step::WriteStatus { status, .. } = step else { return false };
    let becomes_true = |type_| is_true(status, type_) && !is_true(&job.status, type_);
    becomes_true(FAILURE_TARGET) || becomes_true(FAILED) && !job.has_failure_report
}

fn is_true(status: &JobStatus, type_: &str) -> bool {
    status.true_condition(type_).is_some()
}

/// Returns the failure report from the pods of the Job. `None` if no pod caused the failure.
///
/// The pod that a `FailJob` rule matches, or that fails the Job because it did not start, comes first, then the failed pod that ended last, then a pod that has not
/// ended.
pub fn report(job: &JobView, pods: &[Arc<PodView>]) -> Option<FailureReport> {
    let own = || pods.iter().filter(|pod| pod.owner.as_ref().is_some_and(|owner| owner.uid == job.identity.uid));
    let failed = || own().filter(|pod| is_failed(job, pod));
    let fails_job = |pod: &&Arc<PodView>| {
        matches!(policy_decision(job, pod), PolicyDecision::FailJob(_) | PolicyDecision::StartFailsJob(_))
    };
    let failed_start = || own().filter(|pod| pod.start_failure.is_some());
    let named = || failed().find(fails_job).or_else(|| failed_start().find(fails_job));
    let counted =
        || failed().filter(|pod| policy_decision(job, pod) != PolicyDecision::Ignore).max_by_key(|pod| newest(pod));
    let unfinished =
        || own().filter(|pod| !pod.is_ended()).max_by_key(|pod| (pod.cause.is_some(), pod.restarts, newest(pod)));
    let pod = named().or_else(counted).or_else(unfinished)?;
    Some(FailureReport {
        pod: pod.identity.name.to_string(),
        index: job.index_of(pod),
        unfinished: !pod.is_ended(),
        restarts: pod.restarts,
        cause: pod.cause.as_deref().cloned().unwrap_or_default(),
        log: Vec::new(),
    })
}

/// Returns the sort key of the pod that ended last. End times have a resolution of one second. Among pods with equal
/// times, tracked pods come after those without the finalizer, and then pods with the higher resourceVersion.
fn newest(pod: &PodView) -> impl Ord + use<> {
    let at = if pod.is_ended() { pod.finished_at } else { pod.created };
    (at, pod.tracked, pod.identity.resource_version)
}

impl FailureReport {
    /// Returns the text of the annotation: JSON of at most [`MAX_REPORT_BYTES`] bytes, with those last lines of the log
    /// that fit.
    pub fn to_text(&self) -> String {
        let mut report = self.clone();
        report.log.clear();
        while report.json().len() > MAX_REPORT_BYTES && report.shorten() {}
        // The 9 bytes are `,"log":[]`. Each line adds its JSON and a comma.
        let mut left = MAX_REPORT_BYTES.saturating_sub(report.json().len() + 9);
        for line in self.log.iter().rev() {
            let size = serde_json::to_string(line).map_or(usize::MAX, |json| json.len() + 1);
            if size <= left {
                left -= size;
                report.log.push(line.clone());
                continue;
            }
            if report.log.is_empty() {
                // The 3 bytes are the quotes and a comma. Each byte of the line takes at most 6 bytes in JSON.
                let end = ending(line, left.saturating_sub(3) / 6);
                report.log.extend((!end.is_empty()).then(|| end.to_owned()));
            }
            break;
        }
        report.log.reverse();
        report.json()
    }

    fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Halves the longest text of the report. Returns false if all texts are empty.
    fn shorten(&mut self) -> bool {
        let Cause { container, reason, message, disruption, .. } = &mut self.cause;
        let mut words = vec![&mut self.pod, reason, disruption];
        words.extend(container);
        let Some(longest) = words.into_iter().max_by_key(|word| word.len()) else { return false };
        if message.len() > longest.len() {
            *message = ending(message, message.len() / 2).to_owned();
        } else if longest.is_empty() {
            return false;
        } else {
            *longest = beginning(longest, longest.len() / 2).to_owned();
        }
        true
    }

    /// Returns the event with the cause of the failure.
    pub fn event(&self) -> EventText {
        let Cause { container, exit_code, signal, reason, message, disruption } = &self.cause;
        let mut text = format!("Pod {}", self.pod);
        if let Some(index) = self.index {
            text += &format!(" (index {index})");
        }
        if let Some(container) = container {
            text += &format!(", container {container}");
        }
        match (exit_code, signal) {
            (_, Some(signal)) => text += &format!(": ended by signal {signal}"),
            (Some(code), None) => text += &format!(": exit code {code}"),
            (None, None) if self.unfinished => text += ": had not ended",
            (None, None) => text += ": failed",
        }
        let words: Vec<&str> = [reason.as_str(), disruption].into_iter().filter(|word| !word.is_empty()).collect();
        match &words[..] {
            [] => {}
            [one, other] if one == other => text += &format!(" ({one})"),
            words => text += &format!(" ({})", words.join(", ")),
        }
        if !message.is_empty() {
            text += &format!(": {message}");
        }
        EventText::warning("FailureCause", text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixtures::*;
    use super::*;

    fn because(code: i32, reason: &str) -> Cause {
        Cause {
            container: Some("main".to_owned()),
            exit_code: Some(code),
            reason: reason.to_owned(),
            ..Cause::default()
        }
    }

    fn report_of(job: &Job, pods: &[Pod]) -> Option<FailureReport> {
        report(&job.view, &views(pods))
    }

    #[test]
    fn last_failure_is_reported() {
        let pods = [
            pod("a").failed(5).cause(because(1, "Error")),
            pod("b").failed(9).cause(because(137, "OOMKilled")),
            pod("c").succeeded(20),
            pod("d").running(1),
        ];
        let report = report_of(&Job::new(), &pods).unwrap();
        assert_eq!((&*report.pod, report.unfinished, report.cause.exit_code), ("b", false, Some(137)));
        assert_eq!(report.event().message, "Pod b, container main: exit code 137 (OOMKilled)");
        assert_eq!(report.to_text(), r#"{"pod":"b","container":"main","exitCode":137,"reason":"OOMKilled"}"#);
    }

    #[test]
    fn unfinished_pod_in_the_worst_state_is_reported_if_no_pod_failed() {
        let pods = [pod("a").running(1), pod("b").running(1).restarts(3).cause(because(2, "Error"))];
        let report = report_of(&Job::new().indexed(2), &pods).unwrap();
        assert_eq!((&*report.pod, report.unfinished, report.restarts), ("b", true, 3));
        let unfinished =
            Cause { reason: "Unschedulable".to_owned(), message: "0/3 nodes".to_owned(), ..Cause::default() };
        let report = report_of(&Job::new().indexed(2), &[pod("a").index(1).cause(unfinished)]).unwrap();
        assert_eq!(report.event().message, "Pod a (index 1): had not ended (Unschedulable): 0/3 nodes");
        assert_eq!(report_of(&Job::new(), &[pod("a").succeeded(3)]), None);
        assert_eq!(report_of(&Job::new(), &[]), None);
    }

    #[test]
    fn report_is_written_with_the_failure_and_later_only_if_it_is_missing() {
        let failing = Job::new().backoff_limit(0).started(0);
        let decision = failing.decide(&[pod("a").failed(5)]);
        assert!(is_due(&failing.view, &decision.step), "{:?}", decision.step);
        let mut ending = Job::new().started(0).condition(FAILURE_TARGET);
        let step = ending.decide(&[]).step;
        assert!(is_due(&ending.view, &step), "{step:?}");
        ending.view.has_failure_report = true;
        assert!(!is_due(&ending.view, &step));
        let running = Job::new().started(0);
        assert!(!is_due(&running.view, &running.decide(&[pod("a").running(1)]).step));
    }

    #[test]
    fn annotation_is_bounded_and_keeps_the_last_lines() {
        let mut report = report_of(&Job::new(), &[pod("a").failed(5).cause(because(1, "Error"))]).unwrap();
        report.log = (0..200).map(|line| format!("line {line} {}", "\u{1}".repeat(30))).collect();
        let text = report.to_text();
        assert!(
            text.len() <= MAX_REPORT_BYTES && text.contains("line 199") && !text.contains("line 0 "),
            "{}",
            text.len()
        );
        report.cause.message = "\u{1}".repeat(1024);
        assert!(report.to_text().len() <= MAX_REPORT_BYTES);
    }

    #[test]
    fn end_of_one_long_line_is_kept() {
        let mut report = report_of(&Job::new(), &[pod("a").failed(5).cause(because(1, "Error"))]).unwrap();
        report.log = vec![format!("{} the end", "ü".repeat(50_000))];
        let text = report.to_text();
        assert!(text.len() <= MAX_REPORT_BYTES && text.contains("üü the end"), "{text}");
    }

    fn text() -> impl Strategy<Value = String> {
        let long = prop_oneof![Just("\u{1}"), Just("\""), Just("x"), Just("ü"), Just("𝄞")];
        prop_oneof![3 => ".{0,20}", 1 => (long, 0_usize..20_000).prop_map(|(text, count)| text.repeat(count))]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn report_of_any_texts_is_valid_json_within_its_limit(
            (pod, reason, message, disruption) in (text(), text(), text(), text()),
            container in prop::option::of(text()),
            log in prop::collection::vec(text(), 0..8),
        ) {
            let cause = Cause { container, reason, message, disruption, exit_code: Some(-1), ..Cause::default() };
            let report = FailureReport { pod, index: Some(u32::MAX), cause, log, ..FailureReport::default() };
            let text = report.to_text();
            prop_assert!(text.len() <= MAX_REPORT_BYTES, "{}", text.len());
            let read: FailureReport = serde_json::from_str(&text).unwrap();
            let whole = serde_json::to_string(&report).unwrap();
            prop_assert!(whole.len() > MAX_REPORT_BYTES || read == report, "a report that fits is written in full");
            if read.pod == report.pod && report.cause == read.cause {
                let kept = read.log.iter().rev().zip(report.log.iter().rev());
                prop_assert!(kept.clone().all(|(kept, line)| line.ends_with(kept.as_str())));
            }
        }
    }
}
