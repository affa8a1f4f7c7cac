//! Accounting that counts each finished pod exactly once, wherever the controller crashes
//! ([KEP-2307](https://github.com/kubernetes/enhancements/tree/master/keps/sig-apps/2307-job-tracking-without-lingering-pods)).
//!
//! The controller stores the UID of a finished pod in `status.uncountedTerminatedPods`, and only then removes the pod's
//! tracking finalizer. After that, one write removes the UID from the list and increments a counter. Therefore a pod is
//! at any time in exactly one of three states: tracked by its finalizer alone, in the list, or in a counter.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::outcome::Outcome;
use super::pod_failure_policy::{PolicyDecision, policy_decision};
use super::pod_replacement_policy::is_failed;
use super::summary::PodSummary;
use super::{Step, completions, suspend};
use crate::job::config::SyncConfig;
use crate::job::index::CompletionIndex;
use crate::job::status::{COMPLETE, Condition, FAILED, FAILURE_TARGET, JobStatus, SUCCESS_CRITERIA_MET};
use crate::job::view::{JobView, Phase, PodView};
use crate::runtime::clock::whole_seconds;
use crate::runtime::events::EventText;
use crate::runtime::identity::Uid;

/// The disposition of a tracked pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disposition {
    /// The pod keeps its finalizer.
    Keep,
    /// The pod counts as succeeded, by its UID.
    Succeeded,
    /// The pod counts as succeeded, by its index.
    IndexSucceeded(CompletionIndex),
    /// The pod counts as failed.
    Failed,
    /// The pod loses its finalizer without being counted.
    ReleaseUncounted,
}

fn disposition(job: &JobView, summary: &PodSummary, pod: &PodView, outcome: Option<&Outcome>) -> Disposition {
    let over = outcome.is_some() || job.deleting;
    if pod.phase == Phase::Succeeded {
        return match job.index_of(pod) {
            _ if !job.is_indexed() => Disposition::Succeeded,
            Some(index) if summary.succeeded_indexes().contains(index) => Disposition::IndexSucceeded(index),
            _ => Disposition::ReleaseUncounted,
        };
    }
    // Once the success is stored, a terminating pod is being deleted because of the success.
    let of_no_use = pod.is_terminating() && job.status.true_condition(SUCCESS_CRITERIA_MET).is_some();
    let failed = is_failed(job, pod) && !of_no_use;
    // When the Job fails, every pod that has not succeeded counts as failed.
    if !failed && !outcome.is_some_and(Outcome::is_failure) {
        return if over { Disposition::ReleaseUncounted } else { Disposition::Keep };
    }
    if !over && summary.is_record(pod) {
        Disposition::Keep
    } else if job.can_count(pod) && policy_decision(job, pod) != PolicyDecision::Ignore {
        Disposition::Failed
    } else {
        Disposition::ReleaseUncounted
    }
}

/// Returns the pods whose tracking finalizer can be removed because the stored status accounts for them, at most
/// `max_uncounted_pods`. An active pod keeps its finalizer because it has to be deleted first. Pods for which
/// `backed_off` returns true are left out.
pub fn accounted(
    job: &JobView,
    summary: &PodSummary,
    outcome: Option<&Outcome>,
    backed_off: impl Fn(&PodView) -> bool,
    config: &SyncConfig,
) -> Vec<Arc<PodView>> {
    let outcome_stored = outcome.is_none() || job.status.has_outcome();
    let may_go = |pod: &Arc<PodView>| {
        let is_listed = summary.is_listed(pod);
        match disposition(job, summary, pod, outcome) {
            Disposition::Keep => false,
            Disposition::Succeeded | Disposition::Failed => is_listed,
            Disposition::IndexSucceeded(index) => job.status.completed_indexes.set.contains(index),
            Disposition::ReleaseUncounted => is_listed || job.deleting || outcome_stored,
        }
    };
    let may_go = |pod: &Arc<PodView>| may_go(pod) && !backed_off(pod);
    let most = config.max_uncounted_pods;
    if job.deleting {
        return summary.tracked_pods().filter(may_go).take(most).collect();
    }
    summary.inactive().iter().filter(|pod| may_go(pod)).take(most).cloned().collect()
}

/// Returns whether the number of uncounted ended pods has reached the limit, so that they must be counted before any
/// other step.
pub fn is_pressing(job: &JobView, summary: &PodSummary, config: &SyncConfig) -> bool {
    let uncounted = summary.new_succeeded().len() + summary.new_failed().len() + job.status.uncounted.len();
    uncounted >= config.max_uncounted_pods
}

/// Returns the step that writes the status that the Job should have, or [`Step::None`] if that status is stored
/// already. If `pending` is true, the Job waits for a limit and gets no start time and no resumption. `unclaimed` are
/// pods whose adoption or release the API server refuses for now. Adoption adds the tracking finalizer, so until one of
/// these succeeds, the status must not count the pods as pods without the finalizer.
pub fn write_status(
    job: &JobView,
    summary: &PodSummary,
    unclaimed: &HashSet<Uid>,
    outcome: Option<&Outcome>,
    pending: bool,
    now: Timestamp,
    config: &SyncConfig,
) -> Step {
    let mut status = job.status.clone();
    let mut events = Vec::new();
    if status.start_time.is_none() && !job.spec.suspend && !pending {
        status.start_time = Some(whole_seconds(now));
    }
    let complete = outcome.is_none() && unclaimed.is_empty() && completions::is_complete(job, summary);
    let reached = complete.then(|| Outcome::completions_reached(job));
    let outcome = outcome.or(reached.as_ref());
    if outcome.is_none() && !job.deleting && !pending {
        events.extend(suspend::apply(job, &mut status, now));
    }

    status.active = i32::try_from(summary.active()).unwrap_or(i32::MAX);
    status.ready = Some(summary.ready());
    status.terminating = Some(i32::try_from(summary.terminating()).unwrap_or(i32::MAX));
    count_untracked(&mut status, summary, unclaimed);
    list_uncounted(&mut status, job, summary, outcome, config);
    if job.is_indexed() {
        status.completed_indexes = summary.succeeded_indexes().clone().into();
        status.succeeded = summary.succeeded().try_into().unwrap_or(i32::MAX);
    }
    let per_index = job.spec.backoff_limit_per_index.is_some();
    status.failed_indexes = per_index.then(|| summary.failed_indexes().clone().into());
    if let Some(outcome) = outcome {
        conclude(&mut status, &mut events, job, summary.is_idle() && unclaimed.is_empty(), outcome, now);
    }
    if status == job.status {
        Step::None
    } else {
        Step::WriteStatus { status: Box::new(status), events, report: None, annotations: None, result: None }
    }
}

/// Moves listed pods that no longer have the finalizer from the lists into the counters.
fn count_untracked(status: &mut JobStatus, summary: &PodSummary, unclaimed: &HashSet<Uid>) {
    let settle = |list: &mut Vec<Uid>| -> i32 {
        let before = list.len();
        list.retain(|uid| summary.is_tracked(uid) || unclaimed.contains(uid));
        i32::try_from(before - list.len()).unwrap_or(i32::MAX)
    };
    status.succeeded = status.succeeded.saturating_add(settle(&mut status.uncounted.succeeded));
    status.failed = status.failed.saturating_add(settle(&mut status.uncounted.failed));
}

/// Adds pods that count to the lists, until the lists are full.
fn list_uncounted(
    status: &mut JobStatus,
    job: &JobView,
    summary: &PodSummary,
    outcome: Option<&Outcome>,
    config: &SyncConfig,
) {
    let most = config.max_uncounted_pods;
    let mut list = |pod: &PodView| {
        let uncounted = &mut status.uncounted;
        if uncounted.len() < most && !summary.is_listed(pod) {
            match disposition(job, summary, pod, outcome) {
                Disposition::Succeeded => uncounted.succeeded.push(pod.identity.uid.clone()),
                Disposition::Failed => uncounted.failed.push(pod.identity.uid.clone()),
                Disposition::IndexSucceeded(_) | Disposition::Keep | Disposition::ReleaseUncounted => {}
            }
        }
        uncounted.len() < most
    };
    for pod in summary.inactive().iter() {
        if !list(pod) {
            return;
        }
    }
    // When the Job fails, active pods count as failed too.
    if outcome.is_some_and(Outcome::is_failure) && summary.active() > 0 {
        for pod in summary.active_pods().filter(|pod| pod.tracked) {
            if !list(pod) {
                return;
            }
        }
    }
}

/// Sets the interim condition first. A later, separate write sets the terminal condition, when the pods are `settled`:
/// all have ended and are counted.
fn conclude(
    status: &mut JobStatus,
    events: &mut Vec<EventText>,
    job: &JobView,
    settled: bool,
    outcome: &Outcome,
    now: Timestamp,
) {
    let (interim, terminal, reason, message) = match outcome {
        Outcome::Complete { reason, message } => (SUCCESS_CRITERIA_MET, COMPLETE, reason, message),
        Outcome::Failed { reason, message } => (FAILURE_TARGET, FAILED, reason, message),
    };
    if status.true_condition(interim).is_none() {
        status.set_condition(Condition::new(interim, true, reason, message, now));
        return;
    }
    if !settled || !status.uncounted.is_empty() {
        return;
    }
    let finished = Condition::new(terminal, true, reason, message, now);
    let had_nothing_to_do = job.spec.suspend && job.spec.completions == Some(0);
    if status.start_time.is_none() && !had_nothing_to_do {
        // The Job ended while it was suspended. The API server accepts no finished Job without a start time.
        status.start_time = finished.last_transition_time;
    }
    match outcome {
        Outcome::Complete { .. } => {
            // A start time from another clock can be in the future. The API server rejects an end before the start.
            status.completion_time = finished.last_transition_time.max(status.start_time);
            if job.spec.completions.is_some_and(|completions| status.succeeded > completions) {
                let message = "Too many succeeded pods running after completion count reached";
                events.push(EventText::warning("TooManySucceededPods", message));
            }
            events.push(EventText::normal("Completed", "Job completed"));
        }
        Outcome::Failed { .. } => events.push(EventText::warning(reason.clone(), message.clone())),
    }
    status.set_condition(finished);
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::*;

    fn status(job: &Job, pods: &[Pod]) -> JobStatus {
        match job.decide(pods).step {
            Step::WriteStatus { status, .. } => *status,
            other => panic!("no status to write: {other:?}"),
        }
    }

    #[test]
    fn finished_pod_is_listed_then_untracked_then_counted() {
        let job = Job::new().completions(3).parallelism(1).started(0);
        let running = pod("b").running(2);
        let listed = status(&job, &[pod("a").succeeded(5), running.clone()]);
        assert_eq!((listed.succeeded, &listed.uncounted.succeeded[..]), (0, &["uid-a".into()][..]));

        let job = job.with_status(listed);
        let Step::RemoveFinalizers(released) = job.decide(&[pod("a").succeeded(5), running.clone()]).step else {
            panic!()
        };
        assert_eq!(names(&released), ["a"]);

        let counted = status(&job, &[pod("a").succeeded(5).untracked(), running.clone()]);
        assert_eq!((counted.succeeded, counted.uncounted.len()), (1, 0));
        let job = job.with_status(counted);
        let step = job.decide(&[pod("a").succeeded(5).untracked(), running]).step;
        assert!(matches!(step, Step::None), "{step:?}");
    }

    #[test]
    fn one_write_counts_one_batch_and_lists_the_next() {
        let job = Job::new().completions(9).parallelism(1).started(0).uncounted(&["uid-a"], &[]);
        let pods = [pod("a").succeeded(5).untracked(), pod("b").succeeded(6), pod("c").running(7)];
        let next = status(&job, &pods);
        assert_eq!((next.succeeded, &next.uncounted.succeeded[..]), (1, &["uid-b".into()][..]));
    }

    #[test]
    fn listed_pod_that_is_gone_is_counted() {
        let job = Job::new().completions(1).started(0).uncounted(&["uid-gone"], &[]);
        assert_eq!(status(&job, &[]).succeeded, 1);
    }

    #[test]
    fn lists_of_uncounted_pods_are_bounded() {
        let job = Job::new().completions(1000).parallelism(1000).started(0).refused();
        let pods: Vec<_> = (0..700).map(|n| pod(&format!("{n:03}")).succeeded(5)).collect();
        assert_eq!(status(&job, &pods).uncounted.len(), 500);
    }

    #[test]
    fn interim_condition_is_written_first_and_terminal_condition_last() {
        let job = Job::new().completions(1).started(0);
        let first = status(&job, &[pod("a").succeeded(5)]);
        assert!(first.true_condition(SUCCESS_CRITERIA_MET).is_some());
        assert!(!first.is_finished() && first.completion_time.is_none());
        let job = job.with_status(first);
        assert!(matches!(job.decide(&[pod("a").succeeded(5)]).step, Step::RemoveFinalizers(_)));
        let Step::WriteStatus { status, events, .. } = job.decide(&[pod("a").succeeded(5).untracked()]).step else {
            panic!()
        };
        let complete = status.true_condition(COMPLETE).unwrap();
        assert_eq!(complete.reason, "CompletionsReached");
        assert_eq!(complete.message, "Reached expected number of succeeded pods");
        assert_eq!(status.completion_time, complete.last_transition_time);
        assert_eq!((events.len(), &*events[0].reason), (1, "Completed"));
    }

    #[test]
    fn job_is_not_finished_while_a_pod_is_terminating() {
        let job = Job::new().completions(1).started(0).condition(SUCCESS_CRITERIA_MET).counted(1, 0);
        assert!(!status(&job, &[pod("a").running(1).untracked().deleting(5)]).is_finished());
        assert!(status(&job, &[]).is_finished());
    }

    #[test]
    fn unfinished_pods_of_a_failed_job_count_as_failed() {
        let job = Job::new().completions(2).parallelism(2).backoff_limit(0).started(0);
        let pods = [pod("a").failed(5), pod("b").running(1)];
        let failing = status(&job, &pods);
        assert_eq!(failing.uncounted.failed.len(), 2);
        let target = failing.true_condition(FAILURE_TARGET).unwrap();
        assert_eq!(target.message, "Job has reached the specified backoff limit");
        let job = job.with_status(failing);
        let Step::DeletePods { pods: deleted, uncounted } = job.decide(&pods).step else { panic!() };
        assert_eq!((names(&deleted), uncounted), (vec!["b".to_owned()], false));
        let backed_off = job.clone().refused();
        let Step::RemoveFinalizers(released) = backed_off.decide(&pods).step else { panic!() };
        assert_eq!(names(&released), ["a"], "a pod that could not be deleted keeps its finalizer");
        let Step::RemoveFinalizers(released) = job.decide(&[pod("a").failed(5), pod("b").running(1).deleting(6)]).step
        else {
            panic!()
        };
        assert_eq!(names(&released), ["a", "b"]);
        let ending = status(&job, &[pod("a").failed(5).untracked(), pod("b").running(1).untracked().deleting(6)]);
        assert_eq!((ending.active, ending.terminating, ending.failed), (0, Some(1), 2));
    }

    #[test]
    fn pods_deleted_because_the_job_failed_fail_no_index() {
        let job = Job::new().indexed(3).parallelism(3).per_index(0).max_failed(0).started(0);
        let pods = |rest: Pod| [pod("a").index(0).failed(5), rest.index(1)];
        let failing = status(&job, &pods(pod("b").running(1)));
        assert_eq!(failing.failed_indexes.clone().unwrap().set.to_string(), "0");
        let job = job.with_status(failing);
        let after = job.summary(&pods(pod("b").running(1).deleting(6)));
        assert_eq!(after.failed_indexes().to_string(), "0");
    }

    #[test]
    fn failed_job_records_its_reason_as_an_event() {
        let job = Job::new().completions(1).started(0).condition(FAILURE_TARGET);
        let Step::WriteStatus { status, events, .. } = job.decide(&[]).step else { panic!() };
        assert!(status.true_condition(FAILED).is_some() && status.completion_time.is_none());
        assert_eq!((&*events[0].reason, events[0].message.as_str()), ("BackoffLimitExceeded", "message"));
    }

    #[test]
    fn succeeded_index_is_stored_then_its_pod_is_untracked() {
        let job = Job::new().indexed(5).parallelism(2).started(0);
        let pods = [
            pod("b").index(3).succeeded(5),
            pod("a").index(1).succeeded(5),
            pod("c").index(0).running(1),
            pod("d").index(2),
        ];
        let first = status(&job, &pods);
        assert_eq!((first.succeeded, first.completed_indexes.set.to_string().as_str()), (2, "1,3"));
        assert!(first.uncounted.is_empty(), "completed indexes record the successes");
        let Step::RemoveFinalizers(released) = job.with_status(first).decide(&pods).step else { panic!() };
        assert_eq!(names(&released), ["a", "b"], "in order of their indexes");
    }

    #[test]
    fn pods_without_a_valid_index_lose_their_finalizers_uncounted() {
        let job = Job::new().indexed(1).parallelism(1).started(0).refused();
        let pods = [pod("a").index(1).succeeded(5), pod("b").failed(5), pod("c").index(0)];
        let Step::RemoveFinalizers(released) = job.decide(&pods).step else { panic!() };
        assert_eq!(names(&released), ["b", "a"]);
    }

    #[test]
    fn indexes_beyond_completions_are_dropped_when_the_job_is_scaled_down() {
        let job = Job::new().indexed(3).parallelism(3).started(0).completed("0,2-5").counted(5, 0);
        let scaled = status(&job, &[pod("a").index(1)]);
        assert_eq!((scaled.succeeded, scaled.completed_indexes.set.to_string().as_str()), (2, "0,2"));
    }

    #[test]
    fn failure_record_of_an_index_keeps_its_finalizer_until_there_is_a_new_pod() {
        let job = Job::new().indexed(1).per_index(3).started(0).refused();
        let record = pod("a").index(0).failed(NOW);
        let waiting = status(&job, std::slice::from_ref(&record));
        assert_eq!(waiting.failed_indexes.as_ref().map(|failed| failed.set.to_string()).as_deref(), Some(""));
        assert!(waiting.uncounted.is_empty());
        let replaced = status(&job.with_status(waiting), &[record, pod("b").index(0)]);
        assert_eq!(replaced.uncounted.failed, ["uid-a".into()]);
    }

    #[test]
    fn ignored_failure_loses_its_finalizer_uncounted() {
        let job = Job::new().completions(1).backoff_limit(0).started(0).rule("Ignore", 42).refused();
        let job = job.with_status(status(&job, &[]));
        let Step::RemoveFinalizers(released) = job.decide(&[pod("a").failed(NOW).exit("main", 42)]).step else {
            panic!()
        };
        assert_eq!(names(&released), ["a"]);
    }

    #[test]
    fn pods_deleted_after_an_early_success_are_not_counted() {
        let rules = serde_json::json!([{"succeededCount": 1}]);
        let job = Job::new().indexed(3).parallelism(3).started(0).success_rules(rules);
        let (done, gone) = (pod("a").index(0).succeeded(5), pod("b").index(1).running(1).deleting(2));
        let pods = [done.clone(), gone.clone(), pod("c").index(2).running(1)];
        let met = status(&job, &pods);
        assert_eq!(met.true_condition(SUCCESS_CRITERIA_MET).unwrap().message, "Matched rules at index 0");
        assert_eq!(met.uncounted.failed, ["uid-b".into()], "another client deleted the pod before the success");
        let job = job.with_status(met);
        let Step::DeletePods { pods: rest, uncounted } = job.decide(&pods).step else { panic!() };
        assert_eq!((names(&rest), uncounted), (vec!["c".to_owned()], false));
        let pods = [done, gone, pod("c").index(2).running(1).deleting(NOW)];
        let Step::RemoveFinalizers(released) = job.decide(&pods).step else { panic!() };
        assert_eq!(names(&released), ["a", "b", "c"]);
    }

    #[test]
    fn job_with_too_many_successes_completes_with_a_warning() {
        let job = Job::new().completions(1).started(0).condition(SUCCESS_CRITERIA_MET).counted(2, 0);
        let Step::WriteStatus { events, .. } = job.decide(&[]).step else { panic!() };
        let reasons: Vec<_> = events.iter().map(|event| &*event.reason).collect();
        assert_eq!(reasons, ["TooManySucceededPods", "Completed"]);
    }

    #[test]
    fn job_that_ends_while_suspended_gets_its_start_time_with_its_end() {
        let ending = Job::new().completions(1).suspend(true).condition(SUCCESS_CRITERIA_MET).counted(1, 0);
        let ended = status(&ending, &[]);
        assert!(ended.is_finished());
        assert_eq!((ended.start_time, ended.completion_time), (Some(time(NOW)), Some(time(NOW))));
        let idle = Job::new().completions(0).suspend(true).condition(SUCCESS_CRITERIA_MET);
        assert_eq!(status(&idle, &[]).start_time, None, "the Job has never started");
    }

    #[test]
    fn new_job_gets_its_start_time_unless_it_is_suspended() {
        let backed_off = Job::new().completions(1).refused();
        assert_eq!(status(&backed_off, &[]).start_time, Some(time(NOW)));
        let suspended = status(&Job::new().completions(1).suspend(true), &[]);
        assert_eq!((suspended.start_time, suspended.conditions.len()), (None, 1));
    }
}
