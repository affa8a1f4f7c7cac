//! Explains the state of a Job from the objects that the API server stores: progress, failures, and what the Job waits
//! for.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt;

use super::super::cluster::{condition, end};
use super::{Explanation, hint, pod, refusal, span, warnings};
use crate::job::FAILURE_ANNOTATION;
use crate::job::admission::{Admission, PRIORITY_ANNOTATION, Reason, WaitingStatus};
use crate::job::config::SyncConfig;
use crate::job::decide::backoff::Backoff;
use crate::job::decide::failure_report::FailureReport;
use crate::job::decide::summary::PodSummary;
use crate::job::decide::{DecisionInput, Step, decide};
use crate::job::managed_by::{BUILTIN_MANAGED_BY, MANAGED_BY};
use crate::job::view::kueue::QUEUE_LABEL;
use crate::job::view::{JobView, PodView};
use crate::job::write_kinds::{DELETE, EXPIRE, STATUS, UNTRACK};
use crate::runtime::refusals::Refusals;

/// Maximum number of pods that an explanation lists individually.
const MAX_PODS_SHOWN: usize = 5;

/// Objects from which a Job is explained.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// The Job.
    pub job: &'a Job,
    /// Pods that the Job controls.
    pub pods: &'a [Pod],
    /// Warning events about the Job, the newest first.
    pub events: &'a [Event],
    /// Limits with which the controller decides. The explanation assumes the defaults.
    pub limits: &'a SyncConfig,
    /// Admission of the Job by JobLimits.
    pub admission: &'a Admission,
}

/// Returns the explanation of a Job at the time `now`.
pub(crate) fn explain(facts: &Facts<'_>, now: Timestamp) -> Explanation {
    let Facts { job, pods, events, .. } = *facts;
    let name = job.name_any();
    let status = job.status.clone().unwrap_or_default();
    let mut explanation = match end(&status) {
        Some(end) => ended(&name, &status, end, job, pods),
        None => unfinished(facts, &status, now),
    };
    if let Some(deleted) = &job.metadata.deletion_timestamp {
        explanation = going(&name, job, span(deleted.0, now), explanation);
    }
    if end(&status).is_none() {
        explanation.details.extend(warnings(events, now));
        explanation.next.extend(hint(events));
    } else if let Some(refusal) = refusal(events, &[UNTRACK.reason, EXPIRE.reason], now) {
        // The Job is finished, but the API server refuses to delete the Job or to remove the finalizers of its pods.
        explanation.details.push(format!("The API server refuses to clean it up: {refusal}"));
        explanation.next.extend(hint(events));
    }
    explanation
}

/// Returns the counters of the status in words, such as `2 of 3 succeeded, 1 failed`.
fn counts(job: &Job, status: &JobStatus) -> String {
    let number = |count: Option<i32>| count.unwrap_or_default();
    let of = job.spec.as_ref().and_then(|spec| spec.completions);
    let of = of.map_or_else(String::new, |completions| format!(" of {completions}"));
    let mut text = format!("{}{of} succeeded, {} failed", number(status.succeeded), number(status.failed));
    for (count, what) in [(status.active, "active"), (status.terminating, "being deleted")] {
        if number(count) > 0 {
            text += &format!(", {} {what}", number(count));
        }
    }
    text
}

fn ended(name: &str, status: &JobStatus, end: &JobCondition, job: &Job, pods: &[Pod]) -> Explanation {
    let times = status.start_time.as_ref().zip(end.last_transition_time.as_ref());
    let took = times.map_or_else(String::new, |(start, end)| format!(" after {}", span(start.0, end.0)));
    let counts = counts(job, status);
    if end.type_ == "Complete" {
        let headline = format!("Job {name} is complete{took}: {counts}.");
        return Explanation { headline, ..Explanation::default() };
    }
    let (reason, message) = (end.reason.clone().unwrap_or_default(), end.message.clone().unwrap_or_default());
    let mut explanation = Explanation {
        headline: format!("Job {name} failed{took}: {reason}: {message}. {counts}."),
        ..Explanation::default()
    };
    if let Some(indexes) = status.failed_indexes.as_deref().filter(|indexes| !indexes.is_empty()) {
        explanation.details.push(format!("These indexes failed: {indexes}."));
    }
    failures(pods, &mut explanation);
    if pods.iter().all(|pod| !pod::is_failed(pod)) {
        let kept = kept(job);
        let format_report = |report: &FailureReport| format!("{}.", report.event().message.trim_end_matches('.'));
        explanation.details.extend(kept.as_ref().map(format_report));
        let log = kept.map(|report| report.log).unwrap_or_default();
        if log.is_empty() {
            explanation.details.push(
                "Its failed pods are gone, and their logs with them; with restartPolicy Never they are kept."
                    .to_owned(),
            );
        } else {
            explanation.details.push(format!("The last lines of its log:\n    {}", log.join("\n    ")));
        }
    }
    explanation.next.push(format!("run it again: kubectl get job {name} -o yaml, take status, selector and its labels out, and create it under another name"));
    explanation
}

/// Returns the failure report that the controller stored with the Job.
fn kept(job: &Job) -> Option<FailureReport> {
    serde_json::from_str(job.annotations().get(FAILURE_ANNOTATION)?).ok()
}

/// Adds the failures of the last three pods that failed.
fn failures(pods: &[Pod], explanation: &mut Explanation) {
    let mut failed: Vec<&Pod> = pods.iter().filter(|pod| pod::is_failed(pod)).collect();
    failed.sort_by_key(|pod| std::cmp::Reverse(pod::ended_at(pod)));
    for (place, pod) in failed.into_iter().take(3).enumerate() {
        let failure = pod::failure(pod);
        explanation.details.push(failure.text);
        if place == 0 {
            explanation.next.push(format!("see its last words: kubectl logs {} --all-containers", failure.pod));
        }
    }
}

fn going(name: &str, job: &Job, since: String, before: Explanation) -> Explanation {
    let finalizers = job.finalizers();
    let headline = format!("Job {name} is being deleted since {since}.");
    let mut details = Vec::new();
    let mut next = Vec::new();
    for finalizer in finalizers {
        match finalizer.as_str() {
            "foregroundDeletion" => details.push("It goes once its pods are gone (foreground deletion).".to_owned()),
            "orphan" => details.push("It goes once its pods have been told to stay (orphaning).".to_owned()),
            other => {
                details.push(format!("It is held by the finalizer {other}, which its owner has to take off."));
                next.push(format!("look at the controller that set {other}"));
            }
        }
    }
    details.extend(before.details);
    Explanation { headline, details, next, decision: before.decision }
}

fn unfinished(facts: &Facts<'_>, status: &JobStatus, now: Timestamp) -> Explanation {
    let Facts { job, pods, .. } = *facts;
    let name = job.name_any();
    let spec = job.spec.clone().unwrap_or_default();
    let counts = counts(job, status);
    let mut explanation = Explanation::default();
    match spec.managed_by.as_deref() {
        None | Some(MANAGED_BY | BUILTIN_MANAGED_BY) => {}
        Some(other) => {
            return Explanation {
                headline: format!(
                    "Job {name} is to be worked on by {other} (spec.managedBy), and by nobody else: {counts}."
                ),
                next: vec![format!("see whether the controller of {other} runs")],
                ..Explanation::default()
            };
        }
    }
    if let Some(queue) = job.labels().get(QUEUE_LABEL) {
        explanation.details.push(format!("Kueue decides when it starts: it is in the queue {queue}."));
        explanation.next.push(format!(
            "see its place: kubectl get workloads --selector kueue.x-k8s.io/job-uid={}",
            job.uid().unwrap_or_default()
        ));
    }
    let (step, wake) = decision(facts, now);
    explanation.decision = Some(step);
    if spec.suspend == Some(true) {
        explanation.headline = format!("Job {name} is suspended: {counts}.");
        if let Some(who) = suspended_by(job, now) {
            explanation.details.push(who);
        }
        explanation
            .next
            .push(format!("resume it: kubectl patch job {name} --type=merge -p '{{\"spec\":{{\"suspend\":false}}}}'"));
        return explanation;
    }
    if let Some(waiting) = pending(facts) {
        explanation.headline = format!("Job {name} waits for a JobLimit: {}. {counts}.", waiting.message);
        explanation.next.push(format!("raise the limit: kubectl edit joblimit {}", waiting.limit));
        if waiting.reason.is_queue() {
            explanation.next.push(format!(
                "admit it before other Jobs: kubectl annotate job {name} --overwrite {PRIORITY_ANNOTATION}=10"
            ));
        }
        return explanation;
    }
    if let Some(interim) = condition(status, "FailureTarget").or_else(|| condition(status, "SuccessCriteriaMet")) {
        let what = if interim.type_ == "FailureTarget" { "has failed" } else { "has succeeded" };
        let (reason, message) =
            (interim.reason.clone().unwrap_or_default(), interim.message.clone().unwrap_or_default());
        let refused = refusal(facts.events, &[STATUS.reason, UNTRACK.reason, DELETE.reason], now);
        explanation.headline = match refused {
            Some(refused) => {
                format!("Job {name} {what} ({reason}: {message}) and cannot be finished: {refused}. {counts}.")
            }
            None => format!("Job {name} {what} ({reason}: {message}) and is over once its pods have ended: {counts}."),
        };
        describe_pods(pods, now, &mut explanation);
        failures(pods, &mut explanation);
        return explanation;
    }
    let live: Vec<&Pod> = pods.iter().filter(|pod| !pod::is_ended(pod)).collect();
    let blocked = live.iter().filter(|pod| pod::state(pod, now).1).count();
    explanation.headline = if spec.parallelism == Some(0) {
        explanation.next.push(format!(
            "let it go on: kubectl patch job {name} --type=merge -p '{{\"spec\":{{\"parallelism\":1}}}}'"
        ));
        format!("Job {name} is held: spec.parallelism is 0, so it gets no pods. {counts}.")
    } else if live.is_empty() {
        match wake {
            Some(until) if until > now => {
                let failed = status.failed.unwrap_or_default();
                format!(
                    "Job {name} waits {} before its next pod, until {}, because pods have failed ({failed} so far, {} are borne): {counts}.",
                    span(now, until),
                    second(until),
                    spec.backoff_limit.unwrap_or(6),
                )
            }
            _ if status.start_time.is_none() && refusal(facts.events, &[STATUS.reason], now).is_some() => {
                let refused = refusal(facts.events, &[STATUS.reason], now).unwrap_or_default();
                format!("Job {name} has been seen by its controller, but its status cannot be stored: {refused}.")
            }
            _ if status.start_time.is_none() => {
                explanation.next.push(
                    "see whether a controller works on Jobs here: kubectl get lease -n kube-system jobwright kube-controller-manager"
                        .to_owned(),
                );
                format!("Job {name} has not been looked at by any controller yet.")
            }
            _ => format!("Job {name} has no pods at the moment: {counts}."),
        }
    } else if blocked == live.len() {
        let wait = if blocked == 1 { "its pod waits".to_owned() } else { format!("all of its {blocked} pods wait") };
        format!("Job {name} does not get on: {wait}. {counts}.")
    } else if blocked > 0 {
        format!("Job {name} is under way, and {blocked} of its {} pods wait: {counts}.", live.len())
    } else {
        format!("Job {name} is under way: {counts}.")
    };
    describe_pods(pods, now, &mut explanation);
    failures(pods, &mut explanation);
    explanation
}

/// Returns what the Job waits for at a JobLimit. A Job with parallelism 0 waits for its user instead, so it is left
/// out.
fn pending<'a>(facts: &Facts<'a>) -> Option<&'a WaitingStatus> {
    match facts.admission {
        Admission::Pending(waiting) if waiting.reason != Reason::NoPods => Some(waiting),
        _ => None,
    }
}

/// Adds the states of the unfinished pods, the waiting ones first.
fn describe_pods(pods: &[Pod], now: Timestamp, explanation: &mut Explanation) {
    let live = pods.iter().filter(|pod| !pod::is_ended(pod));
    let mut states: Vec<(String, bool)> = live.map(|pod| pod::state(pod, now)).collect();
    states.sort_by_key(|(_, blocked)| !blocked);
    let more = states.len().saturating_sub(MAX_PODS_SHOWN);
    explanation.details.extend(states.into_iter().take(MAX_PODS_SHOWN).map(|(text, _)| text));
    if more > 0 {
        explanation.details.push(format!("And {more} more pods."));
    }
}

/// Returns the next step of the controller, and the time until which back-off delays the next pod, if it does.
fn decision(facts: &Facts<'_>, now: Timestamp) -> (String, Option<Timestamp>) {
    let views = serde_json::to_value(facts.job).and_then(serde_json::from_value).map(JobView::parse);
    let Ok(Some(job)) = views else { return ("unknown: the Job cannot be read".to_owned(), None) };
    let parse = |pod: &Pod| PodView::parse(serde_json::from_value(serde_json::to_value(pod).ok()?).ok()?).map(Arc::new);
    let pods: Vec<Arc<PodView>> = facts.pods.iter().filter_map(parse).collect();
    let ended = |wanted: crate::job::view::Phase| -> Vec<Arc<PodView>> {
        pods.iter().filter(|pod| pod.phase == wanted).cloned().collect()
    };
    let (failed, succeeded) = (ended(crate::job::view::Phase::Failed), ended(crate::job::view::Phase::Succeeded));
    // The controller keeps the back-off in memory. The pods that still exist are enough for an approximation of that
    // state.
    let backoff = Backoff::default().after(&job, &failed, &succeeded);
    let (orphans, owned): (Vec<_>, Vec<_>) = pods.into_iter().partition(|pod| pod.owner.is_none());
    let input = DecisionInput {
        admission: facts.admission,
        job: &job,
        pods: &PodSummary::new(&job, owned),
        orphans: &orphans,
        backoff: &backoff,
        last_untracked_deletion: None,
        counters_dirty_since: None,
        refusals: &Refusals::default(),
    };
    let decision = decide(&input, now, facts.limits);
    let step = match (&decision.step, decision.wake) {
        (Step::None, Some(wake)) => format!("nothing before {}, or before something changes", second(wake)),
        (Step::None, None) => "nothing before something changes".to_owned(),
        (step, _) => format!("{:?}", step.summary()),
    };
    (step, backoff.over_at(facts.limits))
}

/// Formats a time with a resolution of one second.
fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Returns the field manager that last set `spec.suspend`, if the managed fields name one.
fn suspended_by(job: &Job, now: Timestamp) -> Option<String> {
    let entries = job.metadata.managed_fields.iter().flatten();
    let sets = entries
        .filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| !fields.0["f:spec"]["f:suspend"].is_null()));
    let last = sets.max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?;
    let ago = last.time.as_ref().map_or_else(String::new, |time| format!(" {} ago", span(time.0, now)));
    Some(format!("spec.suspend was set by {}{ago}.", last.manager.as_deref().unwrap_or("somebody unnamed")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-01-01T01:00:00Z";

    fn job(change: impl Fn(&mut Value)) -> Job {
        let mut job = json!({
            "metadata": {"name": "a", "namespace": "default", "uid": "u", "resourceVersion": "7"},
            "spec": {
                "completions": 3, "parallelism": 1, "backoffLimit": 6,
                "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
                "template": {"metadata": {"labels": {"batch.kubernetes.io/controller-uid": "u"}}, "spec": {"containers": []}},
            },
            "status": {"startTime": "2026-01-01T00:00:00Z"},
        });
        change(&mut job);
        serde_json::from_value(job).unwrap()
    }

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": "a-1", "namespace": "default", "uid": "p", "resourceVersion": "8", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"batch.kubernetes.io/controller-uid": "u"},
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "a", "uid": "u", "controller": true}],
            },
            "spec": {"nodeName": "n", "containers": []},
            "status": status,
        }))
        .unwrap()
    }

    fn explained(job: &Job, pods: &[Pod]) -> Explanation {
        let limits = SyncConfig::default();
        explain(
            &Facts { job, pods, events: &[], limits: &limits, admission: &Admission::Unlimited },
            NOW.parse().unwrap(),
        )
    }

    fn warning(reason: &str, message: &str, at: &str) -> Event {
        serde_json::from_value(json!({
            "metadata": {}, "involvedObject": {}, "type": "Warning", "reason": reason, "message": message, "lastTimestamp": at,
        }))
        .unwrap()
    }

    #[test]
    fn refused_write_is_named_as_the_cause() {
        let limits = SyncConfig::default();
        let explained = |job: &Job, reason: &str, at: &str| {
            let events = [warning(reason, "Error: ValidatingAdmissionPolicy 'p' denied request: no", at)];
            explain(
                &Facts { job, pods: &[], events: &events, limits: &limits, admission: &Admission::Unlimited },
                NOW.parse().unwrap(),
            )
        };
        let (recent, old) = ("2026-01-01T00:59:00Z", "2026-01-01T00:50:00Z");
        let new = job(|job| job["status"] = json!({}));
        let headline = explained(&new, "FailedStatusUpdate", recent).headline;
        assert_eq!(
            headline,
            "Job a has been seen by its controller, but its status cannot be stored: Error: ValidatingAdmissionPolicy 'p' denied request: no."
        );
        assert_eq!(
            explained(&new, "FailedStatusUpdate", old).headline,
            "Job a has not been looked at by any controller yet."
        );
        let over = job(|job| {
            job["status"]["conditions"] = json!([{"type": "SuccessCriteriaMet", "status": "True", "reason": "CompletionsReached", "message": "enough"}]);
        });
        let explanation = explained(&over, "FailedFinalizerRemoval", recent);
        assert_eq!(
            explanation.headline,
            "Job a has succeeded (CompletionsReached: enough) and cannot be finished: Error: ValidatingAdmissionPolicy 'p' denied request: no. 0 of 3 succeeded, 0 failed."
        );
        assert!(explanation.next.iter().any(|next| next.contains("validatingadmissionpolicies")), "{explanation:?}");
        assert!(explained(&over, "FailedFinalizerRemoval", old).headline.contains("once its pods have ended"));
    }

    #[test]
    fn each_state_has_a_headline() {
        let cases: [(Job, &[Pod], &str); 8] = [
            (job(|_| {}), &[], "Job a has no pods at the moment: 0 of 3 succeeded, 0 failed."),
            (job(|job| job["status"] = json!({})), &[], "Job a has not been looked at by any controller yet."),
            (job(|job| job["spec"]["suspend"] = json!(true)), &[], "Job a is suspended: 0 of 3 succeeded, 0 failed."),
            (
                job(|job| job["spec"]["parallelism"] = json!(0)),
                &[],
                "Job a is held: spec.parallelism is 0, so it gets no pods. 0 of 3 succeeded, 0 failed.",
            ),
            (
                job(|job| job["spec"]["managedBy"] = json!("example.com/other")),
                &[],
                "Job a is to be worked on by example.com/other (spec.managedBy), and by nobody else: 0 of 3 succeeded, 0 failed.",
            ),
            (
                job(|job| {
                    job["status"]["conditions"] = json!([{
                        "type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:02:05Z",
                    }])
                }),
                &[],
                "Job a is complete after 2 min 5 s: 0 of 3 succeeded, 0 failed.",
            ),
            (
                job(|job| {
                    job["status"]["conditions"] = json!([{
                        "type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long",
                        "lastTransitionTime": "2026-01-01T00:02:00Z",
                    }])
                }),
                &[],
                "Job a failed after 2 min: DeadlineExceeded: too long. 0 of 3 succeeded, 0 failed.",
            ),
            (
                job(|job| {
                    job["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:59:00Z");
                    job["metadata"]["finalizers"] = json!(["example.com/held"]);
                }),
                &[],
                "Job a is being deleted since 1 min.",
            ),
        ];
        for (job, pods, headline) in cases {
            assert_eq!(explained(&job, pods).headline, headline);
        }
    }

    #[test]
    fn waiting_pod_is_listed_with_the_message_of_its_condition_or_container() {
        let unscheduled = pod(json!({"phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient cpu.",
        }]}));
        let explained_unscheduled = explained(&job(|_| {}), &[unscheduled]);
        assert_eq!(explained_unscheduled.headline, "Job a does not get on: its pod waits. 0 of 3 succeeded, 0 failed.");
        assert_eq!(
            explained_unscheduled.details,
            ["Pod a-1 has no node: 0/3 nodes are available: 3 Insufficient cpu."]
        );
        let pulling = pod(json!({"phase": "Pending", "containerStatuses": [{
            "name": "main", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"nowhere/i\""}},
        }]}));
        let details = explained(&job(|_| {}), &[pulling]).details;
        assert_eq!(details, ["Pod a-1: container main is in ImagePullBackOff: Back-off pulling image \"nowhere/i\""]);
    }

    #[test]
    fn back_off_after_failures_is_listed_with_its_end() {
        let failed = pod(json!({"phase": "Failed", "containerStatuses": [{
            "name": "main", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 3, "reason": "Error", "message": "disk full", "finishedAt": "2026-01-01T00:59:55Z"}},
        }]}));
        let waiting = job(|job| {
            job["status"] = json!({
                "startTime": "2026-01-01T00:00:00Z", "failed": 1, "ready": 0, "terminating": 0, "uncountedTerminatedPods": {},
            });
        });
        let explained = explained(&waiting, &[failed]);
        assert_eq!(
            explained.headline,
            "Job a waits 5 s before its next pod, until 2026-01-01T01:00:05Z, because pods have failed (1 so far, 6 are borne): 0 of 3 succeeded, 1 failed."
        );
        assert_eq!(explained.details, ["Pod a-1: container main exited with 3: disk full"]);
        assert_eq!(explained.decision.unwrap(), "nothing before 2026-01-01T01:00:05Z, or before something changes");
    }

    #[test]
    fn field_manager_that_suspended_the_job_is_named() {
        let suspended = job(|job| {
            job["spec"]["suspend"] = json!(true);
            job["metadata"]["managedFields"] = json!([{
                "manager": "kubectl-patch", "operation": "Update", "apiVersion": "batch/v1", "time": "2026-01-01T00:58:00Z",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:suspend": {}}},
            }]);
        });
        assert_eq!(explained(&suspended, &[]).details, ["spec.suspend was set by kubectl-patch 2 min ago."]);
    }
}
