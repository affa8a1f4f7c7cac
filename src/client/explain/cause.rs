//! The state of a Job and its cause in one line, for commands that list Jobs or wait for them.
//!
//! The entry point is [`find`]. It reads no cluster and writes no text longer than one line.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::ResourceExt;
use schemars::JsonSchema;
use serde::Serialize;

use super::super::cluster::{condition, end};
use super::super::one_line::one_line;
use super::super::suggest::Suggestions;
use super::super::terminal::Color;
use super::pod::{self, Surroundings};
use super::span;
use super::warnings::is_recent;
use crate::job::FAILURE_ANNOTATION;
use crate::job::admission::{Reason, WAITING_ANNOTATION, WaitingStatus};
use crate::job::decide::failure_report::FailureReport;
use crate::job::managed_by::{BUILTIN_MANAGED_BY, MANAGED_BY};
use crate::job::view::kueue::QUEUE_LABEL;

/// Time that a controller or a finalizer gets before a Job counts as stuck because of it.
const GRACE: SignedDuration = SignedDuration::from_secs(30);

/// State of a Job, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub(crate) enum State {
    /// The Job has failed.
    Failed,
    /// The Job makes no progress until a user changes something.
    Stuck,
    /// The Job runs, but pods or containers have failed.
    Failing,
    /// The Job waits, and goes on without a change by a user.
    Waiting,
    /// A user or Kueue has suspended the Job, or its parallelism is 0.
    Suspended,
    /// The Job runs.
    Running,
    /// The Job is complete.
    Complete,
}

impl State {
    /// Returns whether a user has to act.
    pub(crate) fn is_trouble(self) -> bool {
        self <= Self::Failing
    }

    /// Returns the color of the state in a table.
    pub(crate) fn color(self) -> Color {
        match self {
            Self::Failed | Self::Stuck => Color::Red,
            Self::Failing | Self::Waiting | Self::Suspended => Color::Yellow,
            Self::Running => Color::Blue,
            Self::Complete => Color::Green,
        }
    }

    /// Returns the state as one word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Failed => "Failed",
            Self::Stuck => "Stuck",
            Self::Failing => "Failing",
            Self::Waiting => "Waiting",
            Self::Suspended => "Suspended",
            Self::Running => "Running",
            Self::Complete => "Complete",
        }
    }
}

/// Objects from which the state of a Job is found.
#[derive(Clone, Copy)]
pub(crate) struct JobFacts<'a> {
    /// The Job.
    pub job: &'a Job,
    /// Pods that the Job controls.
    pub pods: &'a [&'a Pod],
    /// Whether the pods were read. If not, the numbers in the status of the Job stand for them.
    pub pods_known: bool,
    /// Warning events about the Job and its pods, the newest first.
    pub warnings: &'a [Event],
}

/// State of a Job, with its cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// State of the Job.
    pub state: State,
    /// Reason as one word in CamelCase.
    pub reason: String,
    /// Cause in one line.
    pub cause: String,
    /// Time from which the Job has had the state, as far as the objects contain it.
    pub since: Option<Timestamp>,
}

impl Finding {
    fn new(state: State, reason: &str, cause: &str) -> Self {
        Self { state, reason: reason.to_owned(), cause: one_line(cause), since: None }
    }
}

/// Returns the state of a Job at the time `now`, and its cause.
pub(crate) fn find(facts: &JobFacts<'_>, now: Timestamp) -> Finding {
    let default = JobStatus::default();
    let status = facts.job.status.as_ref().unwrap_or(&default);
    let started = status.start_time.as_ref().map(|time| time.0);
    let created = facts.job.creation_timestamp().map(|time| time.0);
    if let Some(end) = end(status) {
        let since = end.last_transition_time.as_ref().map(|time| time.0);
        return Finding { since, ..ended(facts, status) };
    }
    Finding { since: started.or(created), ..unfinished(facts, status, now) }
}

/// Returns the state of a Job at the time `now` from the Job alone, without its pods and warnings.
#[cfg(feature = "ui")]
pub(crate) fn find_without_pods(job: &Job, now: Timestamp) -> Finding {
    find(&JobFacts { job, pods: &[], pods_known: false, warnings: &[] }, now)
}

fn ended(facts: &JobFacts<'_>, status: &JobStatus) -> Finding {
    let Some(end) = end(status) else { return Finding::new(State::Running, "Running", "") };
    let (reason, message) = (end.reason.as_deref().unwrap_or_default(), end.message.as_deref().unwrap_or_default());
    if end.type_ == "Complete" {
        return Finding::new(State::Complete, reason, message);
    }
    Finding::new(State::Failed, reason, &failure_of(facts).unwrap_or_else(|| message.to_owned()))
}

/// Returns the failure of the pod that made the Job fail: the report of the controller, or else the pod that failed
/// last.
fn failure_of(facts: &JobFacts<'_>) -> Option<String> {
    let report = facts.job.annotations().get(FAILURE_ANNOTATION);
    let report = report.and_then(|text| serde_json::from_str::<FailureReport>(text).ok());
    report.filter(|report| !report.pod.is_empty()).map(|report| report.event().message).or_else(|| last_failure(facts))
}

fn last_failure(facts: &JobFacts<'_>) -> Option<String> {
    let failed = facts.pods.iter().filter(|pod| pod::is_failed(pod));
    failed.max_by_key(|pod| pod::ended_at(pod)).map(|pod| pod::failure(pod))
}

fn unfinished(facts: &JobFacts<'_>, status: &JobStatus, now: Timestamp) -> Finding {
    let job = facts.job;
    let spec = job.spec.as_ref();
    if let Some(deleted) = &job.metadata.deletion_timestamp {
        let held = format!("it is being deleted, and has the finalizers {}", job.finalizers().join(", "));
        let late = now.duration_since(deleted.0) > GRACE && !job.finalizers().is_empty();
        let state = if late { State::Stuck } else { State::Waiting };
        return Finding::new(state, "Deleting", if late { &held } else { "it is being deleted" });
    }
    let queue = job.labels().get(QUEUE_LABEL);
    if spec.is_some_and(|spec| spec.suspend == Some(true)) {
        return match queue {
            Some(queue) => Finding::new(
                State::Suspended,
                "Queued",
                &format!("Kueue has not admitted it (queue {queue}), or has suspended it"),
            ),
            None => Finding::new(State::Suspended, "Suspended", "spec.suspend is true"),
        };
    }
    if let Some(waiting) = waiting(job) {
        let text = format!("JobLimit {}: {}", waiting.limit, waiting.message);
        return match waiting.reason {
            Reason::TooLarge => Finding::new(State::Stuck, "TooLarge", &text),
            Reason::NoPods => Finding::new(State::Suspended, "NoPods", "spec.parallelism is 0"),
            Reason::Queue | Reason::Group => Finding::new(State::Waiting, "Queued", &text),
            Reason::After => Finding::new(State::Waiting, "WaitingForJobs", &waiting.message),
        };
    }
    if let Some(target) = condition(status, "FailureTarget") {
        let message = target.message.clone().unwrap_or_default();
        let cause = failure_of(facts).unwrap_or(message);
        return Finding::new(State::Failing, target.reason.as_deref().unwrap_or("FailureTarget"), &cause);
    }
    let live: Vec<&Pod> = facts.pods.iter().copied().filter(|pod| pod::is_live(pod)).collect();
    let active_by_status = !facts.pods_known && status.active.is_some_and(|active| active > 0);
    if live.is_empty() && !active_by_status {
        return without_pods(facts, status, now);
    }
    let blocked: Vec<(String, String)> = live.iter().filter_map(|pod| blocked(facts, pod, now)).collect();
    if let Some((reason, text)) = blocked.first() {
        let state = if blocked.len() == live.len() { State::Stuck } else { State::Failing };
        let more = if blocked.len() > 1 { format!(" ({} pods in all)", blocked.len()) } else { String::new() };
        return Finding::new(state, reason, &format!("{}{more}", text.trim_end_matches('.')));
    }
    if let Some(failed) = failures_so_far(facts, status) {
        return Finding::new(State::Failing, "PodsFailed", &failed);
    }
    let succeeded = status.succeeded.unwrap_or_default();
    let of = spec.and_then(|spec| spec.completions).map_or_else(String::new, |of| format!(" of {of}"));
    let text = format!("{} active, {succeeded}{of} succeeded", status.active.unwrap_or_default());
    Finding::new(State::Running, "Running", &text)
}

/// Returns what a Job waits for at a JobLimit, from its annotation.
fn waiting(job: &Job) -> Option<WaitingStatus> {
    let waiting: WaitingStatus = serde_json::from_str(job.annotations().get(WAITING_ANNOTATION)?).ok()?;
    Some(waiting).filter(|waiting| !waiting.limit.is_empty() || waiting.reason == Reason::After)
}

fn without_pods(facts: &JobFacts<'_>, status: &JobStatus, now: Timestamp) -> Finding {
    let spec = facts.job.spec.as_ref();
    if spec.is_some_and(|spec| spec.parallelism == Some(0)) {
        return Finding::new(State::Suspended, "NoPods", "spec.parallelism is 0");
    }
    let uid = facts.job.uid();
    if let Some(warning) = warning(facts, uid.as_deref(), now) {
        let reason = warning.reason.as_deref().unwrap_or("Warning");
        return Finding::new(State::Stuck, reason, warning.message.as_deref().unwrap_or_default());
    }
    if status.start_time.is_none() {
        let created = facts.job.creation_timestamp();
        let late = created.is_some_and(|created| now.duration_since(created.0) > GRACE);
        let who = match spec.and_then(|spec| spec.managed_by.as_deref()) {
            None | Some(BUILTIN_MANAGED_BY) => "no controller has started it".to_owned(),
            Some(MANAGED_BY) => format!("Jobwright has not started it (spec.managedBy: {MANAGED_BY})"),
            Some(other) => format!("the controller {other} (spec.managedBy) has not started it"),
        };
        return Finding::new(if late { State::Stuck } else { State::Waiting }, "NotStarted", &who);
    }
    match failures_so_far(facts, status) {
        Some(failed) => Finding::new(State::Failing, "PodsFailed", &failed),
        None => Finding::new(State::Waiting, "NoPods", "it has no pods at the moment"),
    }
}

/// Returns the newest warning about this object, if it is recent enough that its cause probably continues.
fn warning<'a>(facts: &JobFacts<'a>, uid: Option<&str>, now: Timestamp) -> Option<&'a Event> {
    let about = |event: &&Event| event.involved_object.uid.as_deref() == uid && uid.is_some();
    facts.warnings.iter().filter(about).find(|event| is_recent(event, now))
}

/// Returns why a pod does not run, as reason and sentence. `None` if nothing blocks the pod.
fn blocked(facts: &JobFacts<'_>, pod: &Pod, now: Timestamp) -> Option<(String, String)> {
    let (nodes, suggest) = (BTreeMap::new(), Suggestions::new("jobwright", None, Vec::new()));
    let around = Surroundings { events: facts.warnings, nodes: &nodes, suggest: &suggest, now };
    let state = pod::state(pod, &around);
    state.blocker?;
    Some((state.reason.unwrap_or_else(|| "PodBlocked".to_owned()), state.text))
}

/// Describes the failures of an unfinished Job. `None` if no pod has failed and no container was restarted.
fn failures_so_far(facts: &JobFacts<'_>, status: &JobStatus) -> Option<String> {
    let counted = status.failed.unwrap_or_default();
    let present = facts.pods.iter().filter(|pod| pod::is_failed(pod)).count();
    let failed = usize::try_from(counted).unwrap_or_default().max(present);
    if failed > 0 {
        let limit = facts.job.spec.as_ref().and_then(|spec| spec.backoff_limit);
        let limit = limit
            .filter(|limit| *limit < i32::MAX)
            .map_or_else(String::new, |limit| format!(" (backoffLimit {limit})"));
        let plural = if failed == 1 { "pod has" } else { "pods have" };
        let last = last_failure(facts).map_or_else(String::new, |text| format!("; the last one: {text}"));
        return Some(format!("{failed} {plural} failed{limit}{last}"));
    }
    facts.pods.iter().filter(|pod| !pod::is_ended(pod)).find_map(|pod| {
        let sidecars: Vec<&str> = pod::sidecars(pod).collect();
        let is_app = |container: &&ContainerStatus| !sidecars.contains(&container.name.as_str());
        let container = pod::containers(pod).filter(is_app).find(|container| container.restart_count > 0)?;
        let ended = container.last_state.as_ref()?.terminated.as_ref()?;
        (ended.exit_code != 0).then(|| {
            let (pod, name, restarts) = (pod.name_any(), &container.name, container.restart_count);
            let plural = if restarts == 1 { "restart" } else { "restarts" };
            format!("Pod {pod}: container {name} exited with code {} ({restarts} {plural})", ended.exit_code)
        })
    })
}

/// Formats the time since a state began, such as `1 h 5 min`.
pub(crate) fn age(finding: &Finding, now: Timestamp) -> String {
    finding.since.map_or_else(|| "-".to_owned(), |since| span(since, now))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-01-01T01:00:00Z";

    fn job(change: impl Fn(&mut Value)) -> Job {
        let mut job = json!({
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"completions": 3, "backoffLimit": 6, "template": {}},
            "status": {"startTime": "2026-01-01T00:00:00Z", "active": 1},
        });
        change(&mut job);
        serde_json::from_value(job).unwrap()
    }

    fn pod(change: impl Fn(&mut Value)) -> Pod {
        let mut pod = json!({
            "metadata": {"name": "a-1", "uid": "p"}, "spec": {"nodeName": "n", "containers": []},
            "status": {"phase": "Running"},
        });
        change(&mut pod);
        serde_json::from_value(pod).unwrap()
    }

    fn warning(uid: &str, reason: &str, message: &str, at: &str) -> Event {
        let about = json!({"uid": uid});
        let event =
            json!({"metadata": {}, "involvedObject": about, "reason": reason, "message": message, "lastTimestamp": at});
        serde_json::from_value(event).unwrap()
    }

    fn found(job: &Job, pods: &[Pod], warnings: &[Event]) -> (State, String, String) {
        let pods: Vec<&Pod> = pods.iter().collect();
        let finding = find(&JobFacts { job, pods: &pods, pods_known: true, warnings }, NOW.parse().unwrap());
        (finding.state, finding.reason, finding.cause)
    }

    fn check(job: &Job, pods: &[Pod], warnings: &[Event], state: State, reason: &str, cause: &str) {
        assert_eq!(found(job, pods, warnings), (state, reason.to_owned(), cause.to_owned()));
    }

    #[test]
    fn job_without_pods_is_stuck_if_a_user_has_to_act() {
        use State::{Stuck, Suspended, Waiting};
        let old = "2026-01-01T00:50:00Z";
        check(&job(|_| {}), &[], &[], Waiting, "NoPods", "it has no pods at the moment");
        let quota = warning("u", "FailedCreate", "exceeded quota:\nnone", "2026-01-01T00:59:00Z");
        check(&job(|_| {}), &[], &[quota], Stuck, "FailedCreate", "exceeded quota: none");
        let past = warning("u", "FailedCreate", "exceeded quota", old);
        check(&job(|_| {}), &[], &[past], Waiting, "NoPods", "it has no pods at the moment");
        let new = |managed_by: Value, created: &'static str| {
            job(move |job| {
                job["status"] = json!({});
                job["spec"]["managedBy"] = managed_by.clone();
                job["metadata"]["creationTimestamp"] = json!(created);
            })
        };
        check(&new(Value::Null, old), &[], &[], Stuck, "NotStarted", "no controller has started it");
        check(
            &new(Value::Null, "2026-01-01T00:59:50Z"),
            &[],
            &[],
            Waiting,
            "NotStarted",
            "no controller has started it",
        );
        let cause = "the controller example.com/x (spec.managedBy) has not started it";
        check(&new(json!("example.com/x"), old), &[], &[], Stuck, "NotStarted", cause);
        check(
            &job(|job| job["spec"]["suspend"] = json!(true)),
            &[],
            &[],
            Suspended,
            "Suspended",
            "spec.suspend is true",
        );
        check(
            &job(|job| job["spec"]["parallelism"] = json!(0)),
            &[],
            &[],
            Suspended,
            "NoPods",
            "spec.parallelism is 0",
        );
        let waits = |reason: &str| {
            let text =
                json!({"limit": "l", "position": 2, "reason": reason, "message": "2 of 2 pods in use"}).to_string();
            job(move |job| job["metadata"]["annotations"] = json!({"jobwright.dev/waiting": text}))
        };
        check(&waits("Queue"), &[], &[], Waiting, "Queued", "JobLimit l: 2 of 2 pods in use");
        check(&waits("TooLarge"), &[], &[], Stuck, "TooLarge", "JobLimit l: 2 of 2 pods in use");
        let deleted = |at: &'static str| {
            job(move |job| {
                job["metadata"]["deletionTimestamp"] = json!(at);
                job["metadata"]["finalizers"] = json!(["example.com/held"]);
            })
        };
        let held = "it is being deleted, and has the finalizers example.com/held";
        check(&deleted("2026-01-01T00:50:00Z"), &[], &[], Stuck, "Deleting", held);
        check(&deleted("2026-01-01T00:59:50Z"), &[], &[], Waiting, "Deleting", "it is being deleted");
    }

    #[test]
    fn job_whose_pods_do_not_start_is_stuck_and_others_are_failing() {
        use State::{Failing, Running, Stuck};
        let unscheduled = pod(|pod| {
            pod["status"] = json!({"phase": "Pending", "conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available.",
            }]});
        });
        let cause = "Pod a-1 has no node: 0/3 nodes are available";
        check(&job(|_| {}), std::slice::from_ref(&unscheduled), &[], Stuck, "Unschedulable", cause);
        check(&job(|_| {}), &[unscheduled, pod(|_| {})], &[], Failing, "Unschedulable", cause);
        let pending = pod(|pod| pod["status"] = json!({"phase": "Pending"}));
        let mount = warning("p", "FailedMount", "secret \"nope\" not found", "2026-01-01T00:59:00Z");
        let cause = "Pod a-1 cannot start: FailedMount: secret \"nope\" not found";
        check(&job(|_| {}), std::slice::from_ref(&pending), &[mount], Stuck, "FailedMount", cause);
        check(&job(|_| {}), &[pending], &[], Running, "Running", "1 active, 0 of 3 succeeded");
        let terminating = |at: &'static str| pod(move |pod| pod["metadata"]["deletionTimestamp"] = json!(at));
        assert_eq!(found(&job(|_| {}), &[terminating("2026-01-01T00:50:00Z")], &[]).1, "Terminating");
        assert_eq!(found(&job(|_| {}), &[terminating("2026-01-01T01:00:10Z")], &[]).0, Running);
    }

    #[test]
    fn failures_are_reported_with_the_last_one() {
        use State::{Complete, Failed, Failing};
        let failed = pod(|pod| {
            pod["status"] = json!({"phase": "Failed", "containerStatuses": [{
                "name": "main", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 3, "reason": "Error", "message": "disk full\n"}},
            }]});
        });
        let cause =
            "1 pod has failed (backoffLimit 6); the last one: Pod a-1: container main exited with code 3: disk full";
        check(&job(|_| {}), std::slice::from_ref(&failed), &[], Failing, "PodsFailed", cause);
        let restarted = pod(|pod| {
            pod["status"]["containerStatuses"] = json!([{
                "name": "main", "image": "i", "imageID": "", "ready": false, "restartCount": 2,
                "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 7}},
            }]);
        });
        let cause = "Pod a-1: container main exited with code 7 (2 restarts)";
        check(&job(|_| {}), &[restarted], &[], Failing, "PodsFailed", cause);
        let over = |type_: &str, reason: &str| {
            let condition = json!({"type": type_, "status": "True", "reason": reason, "message": "too many failures"});
            job(move |job| job["status"]["conditions"] = json!([condition]))
        };
        let end = over("Failed", "BackoffLimitExceeded");
        check(
            &end,
            &[failed],
            &[],
            Failed,
            "BackoffLimitExceeded",
            "Pod a-1: container main exited with code 3: disk full",
        );
        check(&end, &[], &[], Failed, "BackoffLimitExceeded", "too many failures");
        check(&over("Complete", "CompletionsReached"), &[], &[], Complete, "CompletionsReached", "too many failures");
        assert!(Failed < Failing && Failing.is_trouble() && !Complete.is_trouble());
    }
}
