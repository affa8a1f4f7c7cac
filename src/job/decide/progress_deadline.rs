//! The progress deadline of a JobPolicy: the maximum time for which no pod of a Job ends or becomes ready, and the running
//! deadline: the maximum time from the start of the first pod (kubernetes/kubernetes issue 111948).
//!
//! Time for which the Job is suspended, or waits for a limit or a queue, does not count: the start time of the Job is set
//! when it is admitted, and again when it is resumed. The other times are in annotations, which are written with the status.

use jiff::Timestamp;

use super::outcome::Outcome;
use super::{DecisionInput, completions, retry_memory};
use crate::job::policy::ProgressDeadline;
use crate::job::status::JobStatus;
use crate::job::view::JobView;
use crate::job::view::policy_annotations::PolicyAnnotations;
use crate::runtime::clock::whole_seconds;
use crate::runtime::events::EventText;

/// Reason of the failure of a Job without progress, and of the event about it.
const PROGRESS: &str = "ProgressDeadlineExceeded";
/// Reason of the failure of a Job that ran for too long.
const RUNNING: &str = "RunningDeadlineExceeded";

/// Returns the time of the last progress of a Job that should make some: it has started, and wants pods.
fn last_progress(input: &DecisionInput<'_>) -> Option<Timestamp> {
    let job = input.job;
    let wants_pods = completions::desired_active(job, input.pods) > 0;
    let counts = !job.spec.suspend && !job.deleting && wants_pods && !input.admission.is_pending();
    let started = job.status.start_time.filter(|_| counts)?;
    Some(job.policy.as_ref().and_then(|policy| policy.progressed_at).map_or(started, |at| at.max(started)))
}

fn progress(input: &DecisionInput<'_>) -> Option<(ProgressDeadline, Timestamp)> {
    let rule = input.policy?.progress?;
    Some((rule, last_progress(input)?))
}

/// Returns the time of the running deadline, if a pod has started.
fn running_until(input: &DecisionInput<'_>) -> Option<Timestamp> {
    let job = input.job;
    let after = input.policy?.running.filter(|_| !job.spec.suspend && !job.deleting)?;
    Some(add(running_since(job)?, after))
}

/// Returns when the first pod started since the Job was started or resumed.
fn running_since(job: &JobView) -> Option<Timestamp> {
    let started = job.status.start_time?;
    job.policy.as_ref()?.running_since.filter(|since| *since >= started)
}

/// Returns the outcome of a Job that exceeds one of the deadlines.
pub fn outcome(input: &DecisionInput<'_>, now: Timestamp) -> Option<Outcome> {
    if running_until(input).is_some_and(|until| until <= now) {
        let message = "Job ran longer than its JobPolicy allows, from the start of its first pod";
        return Some(Outcome::failed(RUNNING, message));
    }
    let (rule, since) = progress(input).filter(|(rule, since)| rule.fails && add(*since, rule.after) <= now)?;
    Some(Outcome::failed(PROGRESS, &message(rule, since)))
}

/// Returns the next time at which one of the deadlines may have passed.
pub fn wake(input: &DecisionInput<'_>, now: Timestamp) -> Option<Timestamp> {
    let progress = progress(input).map(|(rule, since)| add(since, rule.after));
    running_until(input).into_iter().chain(progress).filter(|at| *at > now).min()
}

/// Returns the annotations about the policy that the Job should have, given the status that is to be stored with them, and
/// the events that go with what is new.
pub fn annotations(
    input: &DecisionInput<'_>,
    status: Option<&JobStatus>,
    now: Timestamp,
) -> (PolicyAnnotations, Vec<EventText>) {
    let Some(policy) = input.policy else { return (PolicyAnnotations::default(), Vec::new()) };
    let job = input.job;
    let stored = job.policy.as_deref();
    let has_progressed = status.is_some_and(|status| has_progressed(&job.status, status));
    let progressed_at = match stored.and_then(|stored| stored.progressed_at) {
        _ if policy.progress.is_none() => None,
        _ if has_progressed => Some(whole_seconds(now)),
        stored => stored,
    };
    let started = job.status.start_time.is_some() && !job.spec.suspend;
    let running_since = match running_since(job) {
        _ if policy.running.is_none() => None,
        None if started && (input.pods.running() > 0 || has_progressed) => Some(whole_seconds(now)),
        // A time from before the Job was resumed does not count.
        None => stored.and_then(|stored| stored.running_since),
        since => since,
    };
    let report =
        progress(input).filter(|(rule, since)| !rule.fails && !has_progressed && add(*since, rule.after) <= now);
    let stalled_since = report.map(|(_, since)| since);
    let is_new = stalled_since.is_some() && stored.is_none_or(|stored| stored.stalled_since != stalled_since);
    let event = report.filter(|_| is_new).map(|(rule, since)| EventText::warning(PROGRESS, message(rule, since)));
    let governed_by = Some(policy.name.clone());
    let memory = retry_memory::sizes(input);
    let raised = retry_memory::event(stored.and_then(|stored| stored.memory.as_ref()), memory.as_ref());
    let annotations = PolicyAnnotations { governed_by, progressed_at, running_since, stalled_since, memory };
    (annotations, event.into_iter().chain(raised).collect())
}

/// Returns whether a pod has ended or become ready between two statuses.
fn has_progressed(before: &JobStatus, after: &JobStatus) -> bool {
    let ended =
        |status: &JobStatus| i64::from(status.succeeded) + i64::from(status.failed) + status.uncounted.len() as i64;
    ended(after) > ended(before) || after.ready.unwrap_or_default() > before.ready.unwrap_or_default()
}

fn message(rule: ProgressDeadline, since: Timestamp) -> String {
    format!("No pod of the Job has ended or become ready for {} s, since {since}", rule.after.as_secs())
}

fn add(at: Timestamp, after: std::time::Duration) -> Timestamp {
    at.checked_add(after).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Step;
    use super::super::fixtures::*;
    use super::*;
    use crate::job::policy::PolicyRules;
    use crate::job::status::FAILURE_TARGET;

    fn progress(seconds: u64, fails: bool) -> PolicyRules {
        let progress = Some(ProgressDeadline { after: Duration::from_secs(seconds), fails });
        PolicyRules { name: "strict".into(), progress, ..PolicyRules::default() }
    }

    fn running(seconds: u64) -> PolicyRules {
        PolicyRules { name: "strict".into(), running: Some(Duration::from_secs(seconds)), ..PolicyRules::default() }
    }

    fn job() -> Job {
        Job::new().completions(5).parallelism(1).started(0)
    }

    fn failure(job: &Job, pods: &[Pod]) -> Option<String> {
        let Step::WriteStatus { status, .. } = job.decide(pods).step else { return None };
        status.true_condition(FAILURE_TARGET).map(|target| target.reason.to_string())
    }

    fn annotated(job: Job, change: impl FnOnce(&mut PolicyAnnotations)) -> Job {
        job.with(|job| change(job.policy.get_or_insert_default()))
    }

    #[test]
    fn job_without_progress_fails_at_the_deadline() {
        let pods = [pod("a")];
        let started = |at, seconds| job().started(at).governed(progress(seconds, true));
        assert_eq!(failure(&started(0, 100), &pods).as_deref(), Some(PROGRESS));
        assert_eq!(failure(&started(1, 100), &pods), None);
        let progressed = annotated(started(0, 100), |policy| policy.progressed_at = Some(time(50)));
        assert_eq!(failure(&progressed, &pods), None);
        // A resumption sets the start time again.
        let resumed = annotated(started(90, 20), |policy| policy.progressed_at = Some(time(5)));
        assert_eq!(failure(&resumed, &pods), None);
        assert_eq!(failure(&started(0, 100).parallelism(0), &[]), None, "no pod is wanted");
    }

    #[test]
    fn progress_is_recorded_with_the_status_that_shows_it() {
        let job = job().governed(progress(1000, true));
        let recorded = |pods: &[Pod]| match job.decide(pods).step {
            Step::WriteStatus { annotations: Some(annotations), .. } => annotations.progressed_at,
            other => panic!("{other:?}"),
        };
        assert_eq!(recorded(&[pod("a").running(1).ready(5)]), Some(time(NOW)));
        assert_eq!(recorded(&[pod("a").running(1)]), None, "neither ready nor ended");
    }

    #[test]
    fn report_is_made_once_and_ends_with_progress() {
        let pods = [pod("a").running(1)];
        let job = job().governed(progress(100, false));
        let Step::WriteStatus { status, .. } = job.decide(&pods).step else { panic!() };
        let stored = job.with_status(*status);
        let Step::Annotate { annotations, events } = stored.decide(&pods).step else { panic!() };
        assert_eq!((annotations.stalled_since, &*events[0].reason), (Some(time(0)), PROGRESS));
        let reported = annotated(stored, |policy| *policy = *annotations);
        assert!(matches!(reported.decide(&pods).step, Step::None));
        let Step::WriteStatus { annotations: Some(annotations), .. } =
            reported.decide(&[pod("a").running(1).ready(9)]).step
        else {
            panic!()
        };
        assert_eq!((annotations.stalled_since, annotations.progressed_at), (None, Some(time(NOW))));
    }

    #[test]
    fn running_deadline_counts_from_the_start_of_the_first_pod() {
        let pods = [pod("a").running(1)];
        let job = job().governed(running(30));
        let Step::WriteStatus { annotations: Some(annotations), .. } = job.decide(&pods).step else { panic!() };
        assert_eq!(annotations.running_since, Some(time(NOW)));
        assert!(matches!(
            job.decide(&[pod("a")]).step,
            Step::WriteStatus { annotations: Some(annotations), .. } if annotations.running_since.is_none()
        ));
        let since = |at| annotated(job.clone(), |policy| policy.running_since = Some(time(at)));
        assert_eq!(failure(&since(NOW - 30), &pods).as_deref(), Some(RUNNING));
        assert_eq!(failure(&since(NOW - 29), &pods), None);
        assert_eq!(failure(&since(NOW - 40).started(NOW - 20), &pods), None, "from before the resumption");
    }

    #[test]
    fn job_that_no_policy_governs_any_longer_loses_its_annotations() {
        let pods = [pod("a").running(1)];
        let Step::WriteStatus { status, annotations, .. } = job().decide(&pods).step else { panic!() };
        assert_eq!(annotations, None);
        let left = annotated(job().with_status(*status), |policy| policy.governed_by = Some("gone".into()));
        let Step::Annotate { annotations, events } = left.decide(&pods).step else { panic!() };
        assert!(*annotations == PolicyAnnotations::default() && events.is_empty());
    }
}
