//! What to do next for a Job: pure functions from what is known to a [`Decision`].
//!
//! [`decide`] looks at one state and names one [`Step`]. The step's answers go into the cache, and `decide` looks
//! again, until there is nothing to do. Because every step follows from stored state alone, a crash between any two
//! writes is no special case: the next look continues from what the API server holds.
//!
//! One rule of the API is one file here. Nothing here knows a client, a clock, a log or chance; time is an argument.

pub mod accounting;
pub mod active_deadline;
pub mod admission;
pub mod backoff;
pub mod backoff_limit;
pub mod backoff_limit_per_index;
pub mod claims;
pub mod completion_mode;
pub mod completions;
pub mod deletion_order;
pub mod failure_report;
pub mod listed;
pub mod max_failed_indexes;
pub mod outcome;
pub mod parallelism;
pub mod pod_failure_policy;
pub mod pod_replacement_policy;
pub mod status_batching;
pub mod success_policy;
pub mod suspend;
pub mod tally;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod scale_tests;

use std::sync::Arc;

use jiff::Timestamp;

use self::backoff::Backoff;
use self::failure_report::FailureReport;
use self::outcome::Outcome;
use self::parallelism::PodPlan;
use self::tally::Tally;
use super::admission::{Admission, WAITING_ANNOTATION, WaitingStatus};
use super::index::CompletionIndex;
use super::status::JobStatus;
use super::view::{CompletionMode, IndexFailures, JobView, PodView};
use super::write_kinds::{ADOPT, CREATE, DELETE, RELEASE, STATUS, UNTRACK, WAITING};
use crate::job::config::SyncConfig;
use crate::runtime::events::EventText;
use crate::runtime::refusals::Refusals;

/// What is known when a decision is made.
#[derive(Clone, Copy, Debug)]
pub struct DecisionInput<'a> {
    /// The Job.
    pub job: &'a JobView,
    /// The pods it controls, and pods without a controller that its selector matches.
    pub pods: &'a [Arc<PodView>],
    /// Its pod failures so far, as remembered.
    pub backoff: &'a Backoff,
    /// When a pod of it was last taken away by force, so that it cannot be counted.
    pub last_untracked_deletion: Option<Timestamp>,
    /// Since when numbers of the status are out of date, as remembered.
    pub counters_dirty_since: Option<Timestamp>,
    /// Whether limits admit it.
    pub admission: &'a Admission,
    /// What the API server refused: those writes wait for the end of their back-offs, and all else goes on.
    pub refusals: &'a Refusals,
}

/// What to do next, and when to look again if nothing happens before.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What to do next.
    pub step: Step,
    /// When to look again.
    pub wake: Option<Timestamp>,
    /// The pod failures so far, to be remembered.
    pub backoff: Backoff,
    /// Since when numbers of the status are out of date, to be remembered.
    pub counters_dirty_since: Option<Timestamp>,
}

/// A pod to create, beyond what the template says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewPod {
    /// Its completion index, if the Job is Indexed.
    pub index: Option<CompletionIndex>,
    /// The failures of its index before it, if each index has a limit.
    pub failures: Option<IndexFailures>,
}

/// Why pods are created, in the words of the built-in controller's metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreationReason {
    /// Nothing has failed.
    New,
    /// Pods have failed, and are replaced once they have ended.
    Failed,
    /// Pods have failed or are being deleted, and are replaced at once.
    TerminatingOrFailed,
}

/// One kind of writes, which may be made in any order and at once.
#[derive(Clone, Debug)]
pub enum Step {
    /// All is as it should be.
    None,
    /// This Job is not to be worked on, for the reason the event gives.
    RejectInvalid(EventText),
    /// Make these pods its own, and let those go.
    ClaimPods {
        /// Pods without a controller that its selector matches.
        adopt: Vec<Arc<PodView>>,
        /// Pods it controls that its selector no longer matches.
        release: Vec<Arc<PodView>>,
    },
    /// Create these pods.
    CreatePods {
        /// Which.
        pods: Vec<NewPod>,
        /// Why, for the metrics.
        reason: CreationReason,
    },
    /// Delete these pods.
    DeletePods {
        /// Which.
        pods: Vec<Arc<PodView>>,
        /// Take the tracking finalizer off first, so that they count neither as succeeded nor as failed.
        uncounted: bool,
    },
    /// Take the tracking finalizer off these pods: what they came to is stored.
    RemoveFinalizers(Vec<Arc<PodView>>),
    /// Store this status.
    WriteStatus {
        /// The status to store.
        status: Box<JobStatus>,
        /// What to tell people once it is stored.
        events: Vec<EventText>,
        /// Why the Job fails, to be kept with it.
        report: Option<Box<FailureReport>>,
    },
    /// Write what it waits for into its annotation.
    PublishWaiting {
        /// What it waits for.
        waiting: WaitingStatus,
        /// The event to record, if it waits for another reason than before.
        event: Option<EventText>,
    },
    /// Remove the annotation that it waits.
    RemoveWaiting,
}

/// Decides what to do next.
pub fn decide(input: &DecisionInput<'_>, now: Timestamp, config: &SyncConfig) -> Decision {
    let DecisionInput { job, pods, backoff, counters_dirty_since, .. } = *input;
    let simple = |step| Decision { step, wake: None, backoff: backoff.clone(), counters_dirty_since };
    let backed_off = |cause, pod: &PodView| input.refusals.is_backed_off(cause, Some(&pod.identity.uid), now);
    if job.status.is_finished() {
        let left = claims::controlled(job, pods).filter(|pod| pod.tracked && !backed_off(UNTRACK, pod));
        let left: Vec<_> = left.take(config.max_pods_per_sync).cloned().collect();
        return simple(if left.is_empty() { Step::None } else { Step::RemoveFinalizers(left) });
    }
    if let Some(event) = refusal(job) {
        return simple(Step::RejectInvalid(event));
    }
    let is_backed_off = |pod: &PodView| backed_off(ADOPT, pod) || backed_off(RELEASE, pod);
    let claimable: Vec<Arc<PodView>> = pods.iter().filter(|pod| !is_backed_off(pod)).cloned().collect();
    if let Some(step) = claims::claims(job, &claimable, config) {
        return simple(step);
    }
    let is_adoption_backed_off = pods.iter().any(|pod| pod.owner.is_none() && backed_off(ADOPT, pod));

    let mut tally = Tally::of(job, claims::owned(job, pods));
    let unclaimed = pods.iter().filter(|pod| is_backed_off(pod));
    tally.unclaimed = unclaimed.map(|pod| pod.identity.uid.clone()).collect();
    let backoff = backoff.after(job, &tally.new_failed, &tally.new_succeeded);
    let deadline = active_deadline::deadline(job, now);
    let waiting = admission::waiting_status(input);
    let may_annotate = !input.refusals.is_backed_off(WAITING, None, now);
    let publish = |waiting| admission::publish(input, waiting).filter(|_| may_annotate).unwrap_or(Step::None);
    if let Some(waiting) = waiting.filter(|_| tally.is_idle() && admission::has_never_run(job)) {
        return simple(publish(waiting));
    }
    let outcome = outcome::outcome(job, &tally, now);
    let mut wake = deadline.filter(|_| outcome.is_none() && !job.deleting);

    // An outcome is stored before pods are deleted because of it, or it would look as if they had failed by themselves.
    let is_unstored = outcome.is_none() && admission::is_admission_unstored(input);
    let is_annotated = is_unstored && job.status.start_time.is_some() && admission::should_remove_waiting(input);
    if is_annotated && may_annotate {
        return Decision { step: Step::RemoveWaiting, wake, backoff, counters_dirty_since };
    }
    let to_store = is_unstored || outcome.is_some() && !job.status.has_outcome();
    if to_store || accounting::is_pressing(job, &tally, config) {
        let step = account(input, &tally, outcome.as_ref(), now, config);
        let is_backed_off = to_store && input.refusals.is_backed_off(STATUS, None, now);
        if is_backed_off || !matches!(step, Step::None) {
            return Decision { step, wake, backoff, counters_dirty_since };
        }
    }
    let plan = match outcome {
        Some(_) => parallelism::clear(&tally, config),
        None if job.deleting => PodPlan::Nothing,
        None => parallelism::manage(job, &tally, &backoff, input.last_untracked_deletion, now, config),
    };
    let step = match plan {
        PodPlan::Nothing => None,
        PodPlan::Wait(until) => {
            wake = Some(earlier(wake, until));
            None
        }
        // What is left of it from before it was suspended is seen to; more has to wait.
        PodPlan::Create(_) if waiting.is_some() || is_annotated => None,
        // A pod that could not be adopted may be the one that is missing.
        PodPlan::Create(_) if is_adoption_backed_off || input.refusals.is_backed_off(CREATE, None, now) => None,
        PodPlan::Create(pods) => Some(Step::CreatePods { pods, reason: creation_reason(job, &tally) }),
        PodPlan::Delete { mut pods, uncounted } => {
            pods.retain(|pod| !(backed_off(DELETE, pod) || uncounted && backed_off(UNTRACK, pod)));
            (!pods.is_empty()).then_some(Step::DeletePods { pods, uncounted })
        }
    };
    if let Some(step) = step {
        return Decision { step, wake, backoff, counters_dirty_since };
    }
    let step = match account(input, &tally, outcome.as_ref(), now, config) {
        Step::None => match waiting {
            Some(waiting) => publish(waiting),
            None if may_annotate && admission::should_remove_waiting(input) => Step::RemoveWaiting,
            None => Step::None,
        },
        step => step,
    };
    let can_wait = outcome.is_none() && !job.deleting;
    let since = counters_dirty_since.unwrap_or(now);
    if let Some(due) = can_wait.then(|| status_batching::defer_until(job, &step, since, now, config)).flatten() {
        let wake = Some(earlier(wake, due));
        return Decision { step: Step::None, wake, backoff, counters_dirty_since: Some(since) };
    }
    let counters_dirty_since = counters_dirty_since.filter(|_| matches!(step, Step::RemoveFinalizers(_)));
    Decision { step, wake, backoff, counters_dirty_since }
}

fn earlier(wake: Option<Timestamp>, other: Timestamp) -> Timestamp {
    wake.map_or(other, |wake| wake.min(other))
}

/// Counts what has ended and stores what has become of the Job.
fn account(
    input: &DecisionInput<'_>,
    tally: &Tally,
    outcome: Option<&Outcome>,
    now: Timestamp,
    config: &SyncConfig,
) -> Step {
    let job = input.job;
    let refusals = input.refusals;
    let backed_off = |pod: &PodView| refusals.is_backed_off(UNTRACK, Some(&pod.identity.uid), now);
    let untrack = accounting::accounted(job, tally, outcome, backed_off, config);
    if untrack.is_empty() && refusals.is_backed_off(STATUS, None, now) {
        Step::None
    } else if untrack.is_empty() {
        accounting::write_status(job, tally, outcome, input.admission.is_pending(), now, config)
    } else {
        // What is stored may be taken off before more is stored: one write then does both for a growing batch.
        Step::RemoveFinalizers(untrack)
    }
}

fn creation_reason(job: &JobView, tally: &Tally) -> CreationReason {
    if job.spec.replace_only_failed && tally.failed > 0 {
        CreationReason::Failed
    } else if tally.failed > 0 || !tally.terminating.is_empty() {
        CreationReason::TerminatingOrFailed
    } else {
        CreationReason::New
    }
}

/// Why this Job is not to be worked on at all, if so.
fn refusal(job: &JobView) -> Option<EventText> {
    if let CompletionMode::Unknown(_) = &job.spec.completion_mode {
        let message = "Skipped Job sync because completion mode is unknown";
        return Some(EventText::warning("UnknownCompletionMode", message));
    }
    None
}

impl Outcome {
    /// Whether the Job is to fail.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

/// A step in a word and a number, for the log.
struct StepSummary<'a>(&'a Step);

impl Step {
    /// How many writes it takes, about.
    pub fn writes(&self) -> usize {
        match self {
            Self::None | Self::RejectInvalid(_) => 0,
            Self::ClaimPods { adopt, release } => adopt.len() + release.len(),
            Self::CreatePods { pods, .. } => pods.len(),
            Self::DeletePods { pods, uncounted } => pods.len() * if *uncounted { 2 } else { 1 },
            Self::RemoveFinalizers(pods) => pods.len(),
            _ => 1,
        }
    }

    /// In a word and a number, for the log.
    pub fn summary(&self) -> impl std::fmt::Debug {
        StepSummary(self)
    }
}

impl std::fmt::Debug for StepSummary<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Step::None => write!(f, "nothing"),
            Step::RejectInvalid(event) => write!(f, "refuse ({})", event.reason),
            Step::ClaimPods { adopt, release } => write!(f, "adopt {} pods, release {}", adopt.len(), release.len()),
            Step::CreatePods { pods, .. } => write!(f, "create {} pods", pods.len()),
            Step::DeletePods { pods, .. } => write!(f, "delete {} pods", pods.len()),
            Step::RemoveFinalizers(pods) => write!(f, "untrack {} pods", pods.len()),
            Step::PublishWaiting { waiting, .. } => write!(f, "wait, {}", waiting.message),
            Step::RemoveWaiting => write!(f, "remove the annotation {WAITING_ANNOTATION}"),
            Step::WriteStatus { status, .. } => write!(
                f,
                "write status: active {}, succeeded {}, failed {}, uncounted {}",
                status.active,
                status.succeeded,
                status.failed,
                status.uncounted.len()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::*;
    use super::*;

    #[test]
    fn an_unknown_completion_mode_is_refused_with_an_event() {
        let job = Job::new().mode(CompletionMode::Unknown("Sorted".to_owned()));
        let decision = job.decide(&[]);
        let Step::RejectInvalid(event) = decision.step else { panic!("{decision:?}") };
        assert_eq!(event.reason, "UnknownCompletionMode");
        assert_eq!(event.message, "Skipped Job sync because completion mode is unknown");
    }

    #[test]
    fn a_finished_job_only_loses_the_finalizers_left_on_its_pods() {
        let job = Job::new().completions(1).condition("FailureTarget").condition("Failed");
        let pods = [pod("a").failed(5), pod("b").untracked().succeeded(6)];
        let Step::RemoveFinalizers(left) = job.decide(&pods).step else { panic!() };
        assert_eq!(names(&left), ["a"]);
        assert!(matches!(job.decide(&pods[1..]).step, Step::None));
        // Its release was refused until the Job was finished.
        let Step::RemoveFinalizers(left) = job.decide(&[pod("c").running(1).label("app", "other")]).step else {
            panic!()
        };
        assert_eq!(names(&left), ["c"]);
    }

    #[test]
    fn work_of_one_step_is_bounded_for_jobs_of_any_size() {
        let job = Job::new().completions(10_000).parallelism(10_000).started(0);
        let running: Vec<_> = (0..10_000).map(|n| pod(&format!("{n:05}")).running(1)).collect();
        let orphans: Vec<_> = running.iter().cloned().map(Pod::orphan).collect();
        let relabelled: Vec<_> = running.iter().cloned().map(|pod| pod.label("app", "other")).collect();
        let failing = job.clone().condition("FailureTarget");
        let finished = failing.clone().condition("Failed");
        let steps = [
            finished.decide(&running).step,
            failing.decide(&running).step,
            job.clone().suspend(true).decide(&running).step,
            job.decide(&orphans).step,
            job.decide(&relabelled).step,
        ];
        for step in steps {
            let writes = match &step {
                Step::RemoveFinalizers(pods) | Step::DeletePods { pods, .. } => pods.len(),
                Step::ClaimPods { adopt, release } => adopt.len() + release.len(),
                other => panic!("{:?}", other.summary()),
            };
            assert_eq!(writes, SyncConfig::default().max_pods_per_sync, "{:?}", step.summary());
        }
    }

    #[test]
    fn refused_untracking_of_a_finished_job_is_not_repeated_in_the_same_sync() {
        let mut job = Job::new().completions(1).condition("FailureTarget").condition("Failed");
        assert!(matches!(job.decide(&[pod("a").failed(5)]).step, Step::RemoveFinalizers(_)));
        job = job.refused_untracking();
        assert!(matches!(job.decide(&[pod("a").failed(5)]).step, Step::None));
    }

    #[test]
    fn creation_comes_before_the_status_so_that_no_step_waits_for_it() {
        let job = Job::new().completions(3).parallelism(1).started(0);
        let Step::CreatePods { pods, .. } = job.decide(&[pod("a").succeeded(5)]).step else { panic!() };
        assert_eq!(pods, [NewPod::default()]);
    }

    #[test]
    fn after_a_refused_creation_the_finished_pods_are_counted_all_the_same() {
        let job = Job::new().completions(3).parallelism(2).started(0).refused();
        let Step::WriteStatus { status, .. } = job.decide(&[pod("a").succeeded(5)]).step else { panic!() };
        assert_eq!(status.uncounted.succeeded, ["uid-a".into()]);
    }

    #[test]
    fn a_job_being_deleted_gets_no_pods_and_gives_its_pods_free() {
        let job = Job::new().completions(3).parallelism(2).started(0).deleting();
        let pods = [pod("a").running(1), pod("b").succeeded(5)];
        let Step::RemoveFinalizers(released) = job.decide(&pods).step else { panic!() };
        assert_eq!(names(&released), ["a"], "b is not counted yet");
        let rest = [pod("a").untracked().running(1), pod("b").succeeded(5)];
        let Step::WriteStatus { status, .. } = job.decide(&rest).step else { panic!() };
        assert_eq!(status.uncounted.succeeded, ["uid-b".into()]);
    }

    #[test]
    fn a_refused_status_keeps_no_pod_from_being_created() {
        let job = Job::new().completions(3).parallelism(2).refuses(STATUS, None);
        assert!(matches!(job.decide(&[]).step, Step::CreatePods { pods, .. } if pods.len() == 2));
        let pods = [pod("a").running(1), pod("b").running(1)];
        assert!(matches!(job.decide(&pods).step, Step::None), "the start is not stored yet, and that waits");
    }

    #[test]
    fn no_pod_is_deleted_for_an_outcome_that_cannot_be_stored() {
        let job = Job::new().completions(3).parallelism(2).backoff_limit(0).started(0);
        let pods = [pod("a").failed(5), pod("b").running(1)];
        assert!(matches!(job.decide(&pods).step, Step::WriteStatus { .. }));
        assert!(matches!(job.refuses(STATUS, None).decide(&pods).step, Step::None));
    }

    #[test]
    fn a_pod_that_is_refused_waits_alone() {
        let job = Job::new().completions(9).parallelism(1).started(0).uncounted(&["uid-a", "uid-b"], &[]);
        let pods = [pod("a").succeeded(5), pod("b").succeeded(5), pod("c").running(6)];
        let Step::RemoveFinalizers(untracked) = job.clone().refuses(UNTRACK, Some("a")).decide(&pods).step else {
            panic!()
        };
        assert_eq!(names(&untracked), ["b"]);
        let surplus = [pod("a").running(1), pod("b").running(1), pod("c").running(1)];
        let scaled = job.clone().parallelism(0).refuses(DELETE, Some("a")).refuses(UNTRACK, Some("b"));
        let Step::DeletePods { pods, .. } = scaled.decide(&surplus).step else { panic!() };
        assert_eq!(names(&pods), ["c"]);
        let finished = Job::new().completions(1).condition("FailureTarget").condition("Failed");
        let left = [pod("a").failed(5), pod("b").failed(6)];
        let Step::RemoveFinalizers(untracked) = finished.refuses(UNTRACK, Some("b")).decide(&left).step else {
            panic!()
        };
        assert_eq!(names(&untracked), ["a"]);
    }

    #[test]
    fn a_refused_adoption_holds_creation_and_nothing_else() {
        let job = Job::new().completions(3).parallelism(2).started(0).refuses(ADOPT, Some("orphan"));
        let pods = [pod("a").succeeded(5), pod("orphan").orphan()];
        let Step::WriteStatus { status, .. } = job.decide(&pods).step else { panic!() };
        assert_eq!(status.uncounted.succeeded, ["uid-a".into()]);
        let another = [pod("other").orphan(), pod("orphan").orphan()];
        let Step::ClaimPods { adopt, .. } = job.decide(&another).step else { panic!() };
        assert_eq!(names(&adopt), ["other"]);
    }

    #[test]
    fn listed_pod_whose_adoption_or_release_is_refused_stays_listed_and_keeps_its_job_from_completing() {
        let job = || Job::new().completions(2).parallelism(2).started(0).uncounted(&["uid-a", "uid-b"], &[]);
        let without_owner = (job().refuses(ADOPT, Some("a")), pod("a").succeeded(5).orphan());
        let without_label = (job().refuses(RELEASE, Some("a")), pod("a").succeeded(5).label("app", "other"));
        let [status, _] = [without_owner, without_label].map(|(job, a)| {
            let pods = [a, pod("b").succeeded(5).untracked()];
            let Step::WriteStatus { status, .. } = job.decide(&pods).step else { panic!() };
            assert_eq!((status.succeeded, status.uncounted.succeeded.clone()), (1, vec!["uid-a".into()]));
            assert!(!status.has_outcome(), "{status:?}");
            status
        });
        // Once the pod is adopted and its finalizer is removed, both are counted.
        let adopted = Job::new().completions(2).parallelism(2).started(0).with_status(*status);
        let pods = [pod("a").succeeded(5).untracked()];
        let Step::WriteStatus { status, .. } = adopted.decide(&pods).step else { panic!() };
        assert_eq!((status.succeeded, status.has_outcome()), (2, true));
    }
}
