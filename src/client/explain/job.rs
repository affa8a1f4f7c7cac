//! Explains the state of a Job from the objects that the API server stores: progress, failures, and what the Job waits
//! for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt;

use super::explanation::{Counts, Explanation, Hint, State, Unread, counted};
use super::finished::{ended, failures};
use super::groups::{self, GroupState};
use super::indexes;
use super::next_step::decision;
use super::pod::{self, Blocker, NodeState, PodState, Surroundings};
use super::policy::{self, PolicyState};
use super::warnings::{self, policy_hint, refusal};
use super::{span, worked_on};
use crate::client::cluster::{condition, end};
use crate::client::leases::{Leases, Liveness};
use crate::client::suggest::Suggestions;
use crate::job::admission::{Admission, PRIORITY_ANNOTATION, Reason, WaitingStatus};
use crate::job::config::SyncConfig;
use crate::job::managed_by::{BUILTIN_MANAGED_BY, MANAGED_BY};
use crate::job::view::index_subset::INDEXES_ANNOTATION;
use crate::job::view::kueue::QUEUE_LABEL;
use crate::job::view::retention::Retention;
use crate::job::write_kinds::{CREATE, DELETE, EXPIRE, STATUS, UNTRACK};

/// Maximum number of unfinished pods that an explanation lists individually.
const MAX_PODS_SHOWN: usize = 5;

/// Objects from which a Job is explained.
#[derive(Clone)]
pub(crate) struct Facts<'a> {
    /// The Job.
    pub job: &'a Job,
    /// Pods that the Job controls. `None` if they cannot be read.
    pub pods: Option<&'a [Pod]>,
    /// Warning events about the Job, the newest first.
    pub events: &'a [Event],
    /// Warning events about pods, the newest first.
    pub pod_events: &'a [Event],
    /// Nodes of pods that may be lost.
    pub nodes: &'a BTreeMap<String, NodeState>,
    /// Limits with which the controller decides. The explanation assumes the defaults.
    pub limits: &'a SyncConfig,
    /// Admission of the Job by JobLimits.
    pub admission: &'a Admission,
    /// JobPolicy that governs the Job.
    pub policy: &'a PolicyState,
    /// PodGroup of the Job, if `spec.scheduling` asks for one and it was read.
    pub group: Option<&'a GroupState>,
    /// Leases of the controllers.
    pub leases: &'a Leases,
    /// Writes the commands of hints.
    pub suggest: &'a Suggestions,
    /// Objects that could not be read.
    pub unread: &'a [Unread],
}

impl<'a> Facts<'a> {
    /// Returns the name of the Job.
    pub(crate) fn name(&self) -> String {
        self.job.name_any()
    }

    /// Returns the pods, or none if they cannot be read.
    pub(crate) fn pods(&self) -> &'a [Pod] {
        self.pods.unwrap_or_default()
    }

    fn surroundings(&self, now: Timestamp) -> Surroundings<'a> {
        Surroundings { events: self.pod_events, nodes: self.nodes, suggest: self.suggest, now }
    }
}

/// Returns the explanation of a Job at the time `now`.
pub(crate) fn explain(facts: &Facts<'_>, now: Timestamp) -> Explanation {
    let job = facts.job;
    let name = facts.name();
    let status = job.status.clone().unwrap_or_default();
    let mut explanation = match end(&status) {
        Some(end) => ended(facts, &status, end),
        None => unfinished(facts, &status, now),
    };
    if let Some(deleted) = &job.metadata.deletion_timestamp {
        terminating(facts, span(deleted.0, now), &mut explanation, now);
    }
    if end(&status).is_none() {
        explanation.details.extend(groups::explained(job, facts.group));
        explanation.details.extend(policy::sentences(job, facts.pods(), facts.policy, now));
        let before = explanation.details.join("\n");
        // A warning whose words the explanation has already is left out.
        let new = |event: &&Event| {
            event
                .message
                .as_deref()
                .is_none_or(|message| !before.contains(message) && !explanation.headline.contains(message))
        };
        let new: Vec<&Event> = facts.events.iter().filter(new).collect();
        explanation.details.extend(warnings::lines(new, &name, now));
        explanation.hints.extend(policy_hint(facts.events, facts.suggest));
        not_worked_on(facts, &status, &mut explanation, now);
    } else if let Some(refusal) = refusal(facts.events, &[UNTRACK.reason, EXPIRE.reason], now) {
        // The Job is finished, but the API server refuses to delete the Job or to remove the finalizers of its pods.
        explanation.details.push(format!("The API server refuses to clean up the Job: {refusal}"));
        explanation.hints.extend(policy_hint(facts.events, facts.suggest));
    }
    if let Some(listed) = indexes::listed(facts) {
        explanation.details.insert(0, listed);
    }
    if let Some(error) = Retention::parse(job.metadata.annotations.as_ref()).parse_error {
        explanation.details.push(format!("The Job is not deleted automatically: {error}."));
    }
    let around = facts.surroundings(now);
    explanation.unread.extend_from_slice(facts.unread);
    Explanation {
        kind: "Job".to_owned(),
        namespace: job.namespace().unwrap_or_default(),
        name,
        counts: Some(counts(job, &status)),
        pods: facts.pods().iter().map(|pod| pod::report(pod, &around)).collect(),
        ..explanation
    }
}

/// Returns the numbers of pods of a Job.
pub(crate) fn counts(job: &Job, status: &JobStatus) -> Counts {
    let number = |count: Option<i32>| count.unwrap_or_default();
    Counts {
        completions: job.spec.as_ref().and_then(|spec| spec.completions),
        active: number(status.active),
        ready: number(status.ready),
        succeeded: number(status.succeeded),
        failed: number(status.failed),
        terminating: number(status.terminating),
    }
}

/// Returns the counters of the status in words, such as `2 of 3 succeeded, 1 failed`.
pub(crate) fn counts_text(job: &Job, status: &JobStatus) -> String {
    let counts = counts(job, status);
    let of = counts.completions.map_or_else(String::new, |completions| format!(" of {completions}"));
    let mut text = format!("{}{of} succeeded, {} failed", counts.succeeded, counts.failed);
    for (count, what) in [(counts.active, "active"), (counts.terminating, "terminating")] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    text
}

/// Turns the explanation into that of a Job that is being deleted.
fn terminating(facts: &Facts<'_>, lasts: String, explanation: &mut Explanation, now: Timestamp) {
    explanation.headline = format!("Job {} has been terminating for {lasts}.", facts.name());
    explanation.state = State::Terminating;
    let mut details = Vec::new();
    let mut hints = Vec::new();
    for finalizer in facts.job.finalizers() {
        match finalizer.as_str() {
            "foregroundDeletion" => {
                details.push("The Job is removed once its pods are removed (foreground deletion).".to_owned());
            }
            "orphan" => {
                details
                    .push("The Job is removed once its pods no longer name it as their owner (orphaning).".to_owned());
            }
            other => {
                details.push(format!("The finalizer {other} keeps the Job until its owner removes it."));
                hints.push(Hint::advice(format!("find the controller that set the finalizer {other}")));
                explanation.reason = Some("Finalizer".to_owned());
            }
        }
    }
    // For a finished Job, the pods were not described.
    if facts.job.status.as_ref().is_some_and(|status| end(status).is_some()) {
        describe_pods(facts, now, explanation);
    }
    details.append(&mut explanation.details);
    hints.append(&mut explanation.hints);
    (explanation.details, explanation.hints) = (details, hints);
}

fn unfinished(facts: &Facts<'_>, status: &JobStatus, now: Timestamp) -> Explanation {
    let (job, name) = (facts.job, facts.name());
    let spec = job.spec.clone().unwrap_or_default();
    let counts = counts_text(job, status);
    let mut explanation = Explanation::default();
    match spec.managed_by.as_deref() {
        None | Some(MANAGED_BY | BUILTIN_MANAGED_BY) => {}
        Some(other) => {
            return Explanation {
                headline: format!(
                    "Job {name} is managed by {other} (spec.managedBy); Jobwright and the built-in controller ignore it: {counts}."
                ),
                state: State::ManagedExternally,
                hints: vec![Hint::advice(format!("check that the controller of {other} is running"))],
                ..Explanation::default()
            };
        }
    }
    let queue = job.labels().get(QUEUE_LABEL);
    if let Some(queue) = queue {
        explanation.details.push(format!("Kueue decides when the Job starts: it is in the queue {queue}."));
        let workloads = format!("get workloads --selector kueue.x-k8s.io/job-uid={}", job.uid().unwrap_or_default());
        explanation.hint(Hint::new("see its place in the queue", facts.suggest.kubectl(&workloads)));
    }
    let (step, wake) = decision(facts, now);
    explanation.next_step = step;
    if spec.suspend == Some(true) {
        explanation.state = if queue.is_some() { State::Pending } else { State::Suspended };
        explanation.headline = format!("Job {name} is suspended: {counts}.");
        explanation.details.extend(suspended_by(job, now));
        let resume = format!("patch job {name} --type=merge -p '{{\"spec\":{{\"suspend\":false}}}}'");
        if queue.is_none() {
            explanation.hint(Hint::new("resume the Job", facts.suggest.kubectl(&resume)));
        }
        describe_pods(facts, now, &mut explanation);
        return explanation;
    }
    if let Some(waiting) = pending(facts) {
        limited(facts, waiting, &counts, &mut explanation);
        return explanation;
    }
    if let Some(interim) = condition(status, "FailureTarget").or_else(|| condition(status, "SuccessCriteriaMet")) {
        finishing(facts, interim, &counts, &mut explanation, now);
        return explanation;
    }
    active(facts, status, &counts, wake, &mut explanation, now);
    explanation
}

/// Explains a Job that waits for a JobLimit, or for other Jobs.
fn limited(facts: &Facts<'_>, waiting: &WaitingStatus, counts: &str, explanation: &mut Explanation) {
    if waiting.reason == Reason::After {
        explanation.headline = format!("Job {} waits for other Jobs: {counts}.", facts.name());
        explanation.reason = Some("WaitingForJobs".to_owned());
        explanation.state = State::Pending;
        explanation.details.push(format!("{}.", waiting.message));
        return;
    }
    let (name, limit) = (facts.name(), &waiting.limit);
    let message = if waiting.message.is_empty() {
        format!("position {} in the queue of JobLimit {limit}", waiting.position)
    } else {
        waiting.message.clone()
    };
    explanation.state = State::Pending;
    explanation.reason = Some("JobLimit".to_owned());
    explanation.headline = format!("Job {name} waits for a JobLimit: {message}. {counts}.");
    explanation.hint(Hint::new("raise the limit", facts.suggest.kubectl(&format!("edit joblimit {limit}"))));
    if waiting.reason.is_queue() {
        let annotate = format!("annotate job {name} --overwrite {PRIORITY_ANNOTATION}=10");
        explanation.hint(Hint::new("move the Job to the front of the queue", facts.suggest.kubectl(&annotate)));
    }
    let priority = facts.job.annotations().get(PRIORITY_ANNOTATION);
    if let Some(text) = priority.filter(|text| text.parse::<i32>().is_err()) {
        let text: String = text.chars().take(40).collect();
        explanation
            .details
            .push(format!("The annotation {PRIORITY_ANNOTATION} {text:?} is not a whole number; the priority is 0."));
    }
}

/// Explains a Job that has succeeded or failed, and whose pods have not ended.
fn finishing(facts: &Facts<'_>, interim: &JobCondition, counts: &str, explanation: &mut Explanation, now: Timestamp) {
    let name = facts.name();
    let what = if interim.type_ == "FailureTarget" { "has failed" } else { "has succeeded" };
    let (reason, message) = (interim.reason.clone().unwrap_or_default(), interim.message.clone().unwrap_or_default());
    let refused = refusal(facts.events, &[STATUS.reason, UNTRACK.reason, DELETE.reason], now);
    describe_pods(facts, now, explanation);
    let around = facts.surroundings(now);
    let held =
        facts.pods().iter().filter(|pod| pod::is_live(pod)).filter(|pod| pod::state(pod, &around).blocker.is_some());
    let held = held.count();
    (explanation.state, explanation.headline) = match refused {
        Some(refused) => {
            (State::Stuck, format!("Job {name} {what} ({reason}: {message}), and cannot finish: {refused}. {counts}."))
        }
        None if held > 0 => (
            State::Stuck,
            format!(
                "Job {name} {what} ({reason}: {message}), and cannot finish: {} not terminate. {counts}.",
                if held == 1 { "its pod does".to_owned() } else { format!("{held} of its pods do") }
            ),
        ),
        None => (
            State::Finishing,
            format!("Job {name} {what} ({reason}: {message}), and finishes once its pods have terminated: {counts}."),
        ),
    };
    explanation.reason = Some(reason);
    failures(facts, explanation);
}

/// Explains a started Job whose outcome is open.
fn active(
    facts: &Facts<'_>,
    status: &JobStatus,
    counts: &str,
    wake: Option<Timestamp>,
    explanation: &mut Explanation,
    now: Timestamp,
) {
    let (name, spec) = (facts.name(), facts.job.spec.clone().unwrap_or_default());
    let around = facts.surroundings(now);
    let states: Vec<PodState> =
        facts.pods().iter().filter(|pod| !pod::is_ended(pod)).map(|pod| pod::state(pod, &around)).collect();
    let blocked: Vec<&PodState> = states.iter().filter(|state| state.blocker.is_some()).collect();
    let not_started = status.start_time.is_none();
    let refused_pods = refusal(facts.events, &[CREATE.reason], now);
    let refused_status = refusal(facts.events, &[STATUS.reason], now);
    let backs_off = wake.filter(|until| *until > now);
    let invalid_indexes = indexes::problem(facts);
    (explanation.state, explanation.reason, explanation.headline) = if let Some(problem) = invalid_indexes {
        let annotate = format!("annotate job {name} --overwrite {INDEXES_ANNOTATION}=3,7-9");
        explanation.hint(Hint::new("correct the list of indexes", facts.suggest.kubectl(&annotate)));
        let (state, what) =
            if states.is_empty() { (State::Stuck, "is stuck") } else { (State::Running, "gets no more pods") };
        (state, Some("InvalidIndexes".to_owned()), format!("Job {name} {what}: {problem}. {counts}."))
    } else if spec.parallelism == Some(0) {
        let patch = format!("patch job {name} --type=merge -p '{{\"spec\":{{\"parallelism\":1}}}}'");
        explanation.hint(Hint::new("start pods", facts.suggest.kubectl(&patch)));
        (State::Paused, None, format!("Job {name} has no pods because spec.parallelism is 0: {counts}."))
    } else if facts.pods.is_none() && status.active.unwrap_or_default() > 0 {
        (State::Running, None, format!("Job {name} has active pods, which cannot be read: {counts}."))
    } else if let (true, Some(refused)) = (states.is_empty(), refused_pods) {
        let reason = Some(CREATE.reason.to_owned());
        (State::Stuck, reason, format!("Job {name} is stuck: the API server refuses its pods: {refused}. {counts}."))
    } else if let (true, Some(until)) = (states.is_empty(), backs_off) {
        let failed = counted(usize::try_from(status.failed.unwrap_or_default()).unwrap_or_default(), "failure");
        let limit = spec.backoff_limit.unwrap_or(6);
        let (wait, until) = (span(now, until), second(until));
        let headline = format!(
            "Job {name} waits {wait} before its next pod, until {until}, after {failed} (backoffLimit {limit}): {counts}."
        );
        (State::BackingOff, Some("PodFailures".to_owned()), headline)
    } else if let (true, true, Some(refused)) = (states.is_empty(), not_started, refused_status) {
        let reason = Some(STATUS.reason.to_owned());
        (State::Stuck, reason, format!("Job {name} is stuck: the API server refuses its status: {refused}."))
    } else if states.is_empty() && not_started {
        (State::NotStarted, None, format!("Job {name} has not been started by a controller yet."))
    } else if states.is_empty() && facts.pods.is_none() {
        (State::Running, None, format!("Job {name} is running: {counts}."))
    } else if states.is_empty() {
        (State::Running, None, format!("Job {name} has no pods at the moment: {counts}."))
    } else if blocked.len() == states.len() {
        let (what, reason) = stuck(&blocked);
        let because = reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
        (State::Stuck, reason, format!("Job {name} is stuck: {what}{because}. {counts}."))
    } else if blocked.is_empty() {
        (State::Running, None, format!("Job {name} is running: {counts}."))
    } else {
        let (some, all) = (blocked.len(), states.len());
        let (_, reason) = stuck(&blocked);
        (State::Running, reason, format!("Job {name} is running, but {some} of its {all} pods are stuck: {counts}."))
    };
    describe_pods(facts, now, explanation);
    failures(facts, explanation);
}

/// Describes in a few words why no pod of these makes progress, with the common reason.
fn stuck(blocked: &[&PodState]) -> (String, Option<String>) {
    let first = blocked.first();
    let same_kind = blocked.iter().all(|state| state.blocker == first.and_then(|first| first.blocker));
    let same_reason = blocked.iter().all(|state| state.reason == first.and_then(|first| first.reason.clone()));
    let one = blocked.len() == 1;
    let what = match first.and_then(|first| first.blocker).filter(|_| same_kind) {
        Some(Blocker::Start) if one => "its pod cannot start".to_owned(),
        Some(Blocker::Start) => format!("none of its {} pods can start", blocked.len()),
        Some(Blocker::Crash) if one => "its pod keeps crashing".to_owned(),
        Some(Blocker::Crash) => format!("all of its {} pods keep crashing", blocked.len()),
        Some(Blocker::Terminate) if one => "its pod does not terminate".to_owned(),
        Some(Blocker::Terminate) => format!("none of its {} pods terminates", blocked.len()),
        Some(Blocker::Node) if one => "the node of its pod is lost".to_owned(),
        _ => format!("none of its {} pods makes progress", blocked.len()),
    };
    (what, first.and_then(|first| first.reason.clone()).filter(|_| same_reason))
}

/// Returns what the Job waits for at a JobLimit. A Job with parallelism 0 waits for its user instead, so it is left
/// out.
fn pending<'a>(facts: &Facts<'a>) -> Option<&'a WaitingStatus> {
    match facts.admission {
        Admission::Pending(waiting) if waiting.reason != Reason::NoPods => Some(waiting),
        _ => None,
    }
}

/// Adds the states of the unfinished pods, the stuck ones first.
fn describe_pods(facts: &Facts<'_>, now: Timestamp, explanation: &mut Explanation) {
    let around = facts.surroundings(now);
    let live = facts.pods().iter().filter(|pod| pod::is_live(pod));
    let mut states: Vec<PodState> = live.map(|pod| pod::state(pod, &around)).collect();
    states.sort_by_key(|state| (state.blocker.is_none(), state.reason.is_none()));
    let more = states.len().saturating_sub(MAX_PODS_SHOWN);
    for state in states.into_iter().take(MAX_PODS_SHOWN) {
        explanation.details.push(state.text);
        state.hints.into_iter().take(2).for_each(|hint| {
            if explanation.hints.len() < 6 {
                explanation.hint(hint)
            }
        });
    }
    if more > 0 {
        explanation.details.push(format!("{more} more unfinished pods."));
    }
}

/// Adds that the controller of an unfinished Job is not running, or that this is not known.
fn not_worked_on(facts: &Facts<'_>, status: &JobStatus, explanation: &mut Explanation, now: Timestamp) {
    if matches!(explanation.state, State::ManagedExternally | State::Suspended) {
        return;
    }
    let managed_by = facts.job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
    let liveness = facts.leases.liveness(managed_by, now);
    let stopped = matches!(liveness, Liveness::Stopped(_));
    if let Some(text) = worked_on("the Job", &liveness, status.start_time.is_none(), now) {
        explanation.details.insert(0, text);
    }
    if stopped {
        explanation.reason = Some("ControllerNotRunning".to_owned());
        explanation.next_step =
            explanation.next_step.take().map(|step| format!("{step}, once a controller is running"));
    }
    if let (Liveness::Unknown, true, Some(error)) =
        (&liveness, explanation.state == State::NotStarted, facts.leases.error())
    {
        let effect = "whether a controller is running is not known".to_owned();
        explanation.unread.push(Unread { resource: "leases".to_owned(), reason: error.to_owned(), effect });
    }
}

/// Formats a time with a resolution of one second.
pub(crate) fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Returns the field manager that last set `spec.suspend`, if the managed fields name one.
fn suspended_by(job: &Job, now: Timestamp) -> Option<String> {
    let entries = job.metadata.managed_fields.iter().flatten();
    let sets = entries
        .filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| !fields.0["f:spec"]["f:suspend"].is_null()));
    let last = sets.max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?;
    let ago = last.time.as_ref().map_or_else(String::new, |time| format!(" {} ago", span(time.0, now)));
    Some(format!("spec.suspend was set by {}{ago}.", last.manager.as_deref().unwrap_or("an unnamed field manager")))
}

#[cfg(test)]
#[path = "job_tests.rs"]
pub(crate) mod tests;
