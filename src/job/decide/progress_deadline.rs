//! The progress deadline of a JobPolicy: the maximum time for which no pod of a Job ends or becomes ready, and the running
//! deadline: the maximum time from the start of the first pod (kubernetes/kubernetes issue 111948).
//!
//! Time for which the Job is suspended, waits for a limit or a queue, or wants no pods does not count. The times are in
//! annotations, which are written with the status. A policy that begins to govern a Job counts from then, because no
//! earlier time is stored.

use jiff::Timestamp;

use super::outcome::Outcome;
use super::{DecisionInput, admission, completions, retry_deadline, retry_memory};
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

/// Returns whether the Job should make progress: it was started, and wants pods.
fn should_progress(input: &DecisionInput<'_>, started: bool) -> bool {
    let job = input.job;
    let waits = input.admission.is_pending() || admission::is_admission_unstored(input);
    started && !waits && !job.spec.suspend && completions::desired_active(job, input.pods) > 0
}

/// Returns the rule, and the time of the last progress of a Job that should make some. None before that time is stored.
fn progress(input: &DecisionInput<'_>) -> Option<(ProgressDeadline, Timestamp)> {
    let job = input.job;
    let rule = input.policy?.progress.filter(|_| !job.deleting && !job.status.has_outcome())?;
    let started = job.status.start_time.filter(|_| should_progress(input, true))?;
    Some((rule, job.policy.as_ref()?.progressed_at?.max(started)))
}

/// Returns the rule, and the time of the last progress, if the deadline has passed. Progress that the next status shows
/// is stored first.
fn exceeded(input: &DecisionInput<'_>, now: Timestamp) -> Option<(ProgressDeadline, Timestamp)> {
    let (rule, since) = progress(input).filter(|(rule, since)| add(*since, rule.after) <= now)?;
    let pods = input.pods;
    let has_ended = !pods.new_succeeded().is_empty() || pods.new_failed().iter().any(|pod| !pods.is_record(pod));
    let is_ready = pods.ready() > input.job.status.ready.unwrap_or_default();
    (!has_ended && !is_ready).then_some((rule, since))
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
    let (rule, since) = exceeded(input, now).filter(|(rule, _)| rule.fails)?;
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
    let started = status.map_or(job.status.start_time, |status| status.start_time);
    let progressed_at = match stored.and_then(|stored| stored.progressed_at) {
        _ if policy.progress.is_none() => None,
        stored if job.deleting || job.status.has_outcome() => stored,
        // The time counts again when the Job wants pods again.
        _ if !should_progress(input, started.is_some()) => None,
        _ if has_progressed => Some(whole_seconds(now)),
        stored => stored.or(Some(whole_seconds(now))),
    };
    let running_since = match running_since(job) {
        _ if policy.running.is_none() => None,
        None if started.is_some() && !job.spec.suspend && (input.pods.running() > 0 || has_progressed) => {
            // A policy can begin to govern a Job whose pods have been running for long.
            // A node that writes no times, or earlier ones, is of no help.
            let ready = input.pods.active_pods().filter_map(|pod| pod.ready_since);
            let ready = ready.filter(|ready| Some(*ready) >= started).min();
            Some(whole_seconds(ready.unwrap_or(now).max(started.unwrap_or(now))))
        }
        // A time from before the Job was resumed does not count.
        None => stored.and_then(|stored| stored.running_since),
        since => since,
    };
    let report = exceeded(input, now).filter(|(rule, _)| !rule.fails && !has_progressed);
    let stalled_since = report.map(|(_, since)| since);
    let is_new = stalled_since.is_some() && stored.is_none_or(|stored| stored.stalled_since != stalled_since);
    let event = report.filter(|_| is_new).map(|(rule, since)| EventText::warning(PROGRESS, message(rule, since)));
    let governed_by = Some(policy.name.clone());
    let memory = retry_memory::sizes(input);
    let raised = retry_memory::event(stored.and_then(|stored| stored.memory.as_ref()), memory.as_ref());
    let pod_deadline = retry_deadline::seconds(input);
    let later = retry_deadline::event(stored.and_then(|stored| stored.pod_deadline), pod_deadline);
    let annotations =
        PolicyAnnotations { governed_by, progressed_at, running_since, stalled_since, memory, pod_deadline };
    (annotations, event.into_iter().chain(raised).chain(later).collect())
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
    use crate::job::admission::{Admission, WaitingStatus};
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

    fn progressed(at: i64, seconds: u64, fails: bool) -> Job {
        annotated(job().governed(progress(seconds, fails)), |policy| policy.progressed_at = Some(time(at)))
    }

    #[test]
    fn job_without_progress_fails_at_the_deadline() {
        let pods = [pod("a")];
        assert_eq!(failure(&progressed(0, 100, true), &pods).as_deref(), Some(PROGRESS));
        assert_eq!(failure(&progressed(1, 100, true), &pods), None);
        // A resumption sets the start time again.
        assert_eq!(failure(&progressed(5, 20, true).started(90), &pods), None);
        let limited = Admission::Pending(WaitingStatus::default());
        for (case, job) in [
            ("no pod is wanted", progressed(0, 100, true).parallelism(0)),
            ("its success is decided", progressed(0, 100, true).condition("SuccessCriteriaMet")),
            ("its deletion has begun", progressed(0, 100, true).deleting()),
        ] {
            assert_eq!(failure(&job, &pods), None, "{case}");
        }
        let waiting = progressed(0, 100, true).decide_admitted(&pods, &limited).step;
        assert!(!matches!(&waiting, Step::WriteStatus { status, .. } if status.has_outcome()), "{waiting:?}");
        // The admission is stored first, and the time counts from it.
        let released = progressed(0, 100, true).with(|job| job.admission_info.published_waiting = Some(Box::default()));
        let admitted = released.decide_admitted(&[], &Admission::Admitted).step;
        assert!(matches!(admitted, Step::RemoveWaiting), "{admitted:?}");
    }

    #[test]
    fn progress_that_is_not_stored_yet_counts() {
        let job = || progressed(0, 100, true).parallelism(2);
        let running = pod("b").running(1);
        for made in [pod("a").succeeded(5), pod("a").failed(5), pod("a").running(1).ready(5)] {
            assert_eq!(failure(&job(), &[made.clone(), running.clone()]), None, "{made:?}");
        }
        assert_eq!(failure(&job(), &[pod("a").running(1), running]).as_deref(), Some(PROGRESS));
        // The failed pod that records the failures of its index is no progress.
        let per_index = job().indexed(2).per_index(3).with(|job| job.status.failed = 1);
        let record = pod("a").index(0).failed(5);
        let listed = per_index.uncounted(&[], &[]);
        assert_eq!(failure(&listed, &[record, pod("b").index(1).running(1)]).as_deref(), Some(PROGRESS));
    }

    #[test]
    fn policy_that_begins_to_govern_a_job_counts_from_then() {
        let old = job().governed(progress(10, true));
        let Step::WriteStatus { status, annotations: Some(annotations), .. } = old.decide(&[pod("a").running(1)]).step
        else {
            panic!()
        };
        assert!(!status.has_outcome());
        assert_eq!(annotations.progressed_at, Some(time(NOW)));
        // Without another reason to write the status, the annotation has a write of its own.
        let stored = old.with_status(*status);
        let Step::Annotate { annotations, .. } = stored.decide(&[pod("a").running(1)]).step else { panic!() };
        assert_eq!(annotations.progressed_at, Some(time(NOW)));
        // While the Job wants no pods, no time is stored, so that it counts again afterwards.
        let idle = progressed(5, 10, true).parallelism(0);
        let Step::WriteStatus { annotations: Some(annotations), .. } = idle.decide(&[]).step else { panic!() };
        assert_eq!(annotations.progressed_at, None);
        // The time of a running pod is known.
        let late = job().governed(running(1000));
        let pods = [pod("a").running(1).ready(40), pod("b").running(1).ready(30)];
        let Step::WriteStatus { annotations: Some(annotations), .. } = late.parallelism(2).decide(&pods).step else {
            panic!()
        };
        assert_eq!(annotations.running_since, Some(time(30)));
    }

    #[test]
    fn progress_is_recorded_with_the_status_that_shows_it() {
        let recorded = |pods: &[Pod]| match progressed(7, 1000, true).decide(pods).step {
            Step::WriteStatus { annotations, .. } => annotations.and_then(|annotations| annotations.progressed_at),
            other => panic!("{other:?}"),
        };
        assert_eq!(recorded(&[pod("a").running(1).ready(5)]), Some(time(NOW)));
        assert_eq!(recorded(&[pod("a").running(1)]), Some(time(7)), "neither ready nor ended");
    }

    #[test]
    fn report_is_made_once_and_ends_with_progress() {
        let pods = [pod("a").running(1)];
        let job = progressed(0, 100, false);
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
