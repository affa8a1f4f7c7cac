//! The next step for a Job: pure functions from the known state to a [`Decision`].
//!
//! [`decide`] evaluates one state and returns one [`Step`]. The responses to the step's writes go into the cache, and
//! `decide` evaluates the new state, until there is nothing to do. Every step follows from stored state alone.
//! Therefore a crash between any two writes needs no special treatment: the next sync continues from the state on the
//! API server.
//!
//! ```
//! use jobwright::job::admission::Admission;
//! use jobwright::job::config::SyncConfig;
//! use jobwright::job::decide::backoff::Backoff;
//! use jobwright::job::decide::start_waits::StartWaits;
//! use jobwright::job::decide::summary::PodSummary;
//! use jobwright::job::decide::{DecisionInput, Step, decide};
//! use jobwright::job::gang::plan::GroupObjects;
//! use jobwright::job::view::JobView;
//! use jobwright::runtime::refusals::Refusals;
//! use serde_json::json;
//!
//! let labels = json!({"batch.kubernetes.io/controller-uid": "u"});
//! let job = serde_json::from_value(json!({
//!     "metadata": {"namespace": "default", "name": "sums", "uid": "u", "resourceVersion": "1"},
//!     "spec": {
//!         "parallelism": 2, "completions": 3, "selector": {"matchLabels": labels},
//!         "template": {"metadata": {"labels": labels}, "spec": {"restartPolicy": "Never", "containers": []}},
//!     },
//! }))?;
//! let job = JobView::parse(job).expect("a UID and a version");
//! let input = DecisionInput {
//!     job: &job,
//!     pods: &PodSummary::new(&job, []),
//!     orphans: &[],
//!     backoff: &Backoff::default(),
//!     last_untracked_deletion: None,
//!     counters_dirty_since: None,
//!     admission: &Admission::Unlimited,
//!     groups: GroupObjects::Unmanaged,
//!     policy: None,
//!     starts: &StartWaits::default(),
//!     refused_memory: None,
//!     retries: None,
//!     refusals: &Refusals::default(),
//! };
//! let decision = decide(&input, "2026-01-01T00:00:00Z".parse().expect("a time"), &SyncConfig::default());
//! // Two pods run concurrently.
//! assert!(matches!(decision.step, Step::CreatePods { pods, .. } if pods.len() == 2));
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! Each rule of the API has its own file in this module. No function in it uses a client, a clock, a log or random
//! numbers; the time is an argument.

pub mod accounting;
pub mod active_deadline;
pub mod admission;
pub mod after;
pub mod backoff;
pub mod backoff_limit;
pub mod backoff_limit_per_index;
pub mod claims;
pub mod completion_mode;
pub mod completions;
pub mod deletion_order;
pub mod failure_report;
mod groups;
pub mod index_subset;
pub mod jitter;
pub mod listed;
pub mod max_failed_indexes;
pub mod outcome;
pub mod parallelism;
pub mod pod_failure_policy;
pub mod pod_replacement_policy;
pub mod progress_deadline;
pub mod relevance;
pub mod result_report;
pub mod retry_deadline;
pub mod retry_memory;
pub mod start_deadline;
pub mod start_waits;
pub mod status_batching;
pub mod step;
pub mod success_policy;
pub mod summary;
pub mod suspend;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod scale_tests;

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;

use self::backoff::Backoff;
use self::groups::GroupPlan;
use self::jitter::Jitter;
use self::outcome::Outcome;
use self::parallelism::PodPlan;
use self::retry_memory::RefusedMemory;
use self::start_waits::StartWaits;
pub use self::step::{CreationReason, NewPod, Raised, Step};
use self::summary::PodSummary;
use super::admission::Admission;
use super::gang::plan::GroupObjects;
use super::policy::PolicyRules;
use super::retry_budget::Allowance;
use super::view::policy_annotations::PolicyAnnotations;
use super::view::{CompletionMode, JobView, PodView};
use super::write_kinds::{ADOPT, ANNOTATE, CREATE, DELETE, RELEASE, STATUS, UNTRACK, WAITING};
use crate::job::config::SyncConfig;
use crate::runtime::events::EventText;
use crate::runtime::identity::Uid;
use crate::runtime::refusals::Refusals;

/// The state from which a decision is made.
#[derive(Clone, Copy, Debug)]
pub struct DecisionInput<'a> {
    /// Job to decide about.
    pub job: &'a JobView,
    /// Summary of the pods that the Job controls, for the same version of the Job.
    pub pods: &'a PodSummary,
    /// Pods without a controller that the Job's selector matches.
    pub orphans: &'a [Arc<PodView>],
    /// Pod failures so far, as remembered from the previous decision.
    pub backoff: &'a Backoff,
    /// Time at which another client last deleted an active pod of the Job and removed its finalizer, so that the pod
    /// cannot be counted.
    pub last_untracked_deletion: Option<Timestamp>,
    /// Time since which the counters in the status are out of date, as remembered from the previous decision.
    pub counters_dirty_since: Option<Timestamp>,
    /// Whether limits admit the Job.
    pub admission: &'a Admission,
    /// Workloads and PodGroups that concern the Job.
    pub groups: GroupObjects<'a>,
    /// Rules of the JobPolicy that governs the Job.
    pub policy: Option<&'a PolicyRules>,
    /// Pods that have not started, with the time since which the cause of each has held.
    pub starts: &'a StartWaits,
    /// Retries that the budget of the policy allows. None if the budget does not limit the Job at present.
    pub retries: Option<Allowance>,
    /// Memory of containers that the API server refused.
    pub refused_memory: Option<&'a RefusedMemory>,
    /// Writes that the API server refused. They wait for the end of their back-off; all other writes continue.
    pub refusals: &'a Refusals,
}

/// The next step, and the time of the next sync if no event causes one earlier.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Next step.
    pub step: Step,
    /// Time of the next sync. `None` if only an event can change the decision.
    pub wake: Option<Timestamp>,
    /// Pod failures so far, to be remembered for the next decision.
    pub backoff: Backoff,
    /// Time since which the counters in the status are out of date, to be remembered for the next decision.
    pub counters_dirty_since: Option<Timestamp>,
}

/// Returns the next step for a Job.
pub fn decide(input: &DecisionInput<'_>, now: Timestamp, config: &SyncConfig) -> Decision {
    let mut decision = by_rules(input, now, config);
    if let Step::WriteStatus { status, events, annotations, result, .. } = &mut decision.step {
        *result = result_report::record(input.job, input.pods, status);
        let (desired, new_events) = progress_deadline::annotations(input, Some(status), now);
        *annotations = Some(Box::new(desired)).filter(|desired| **desired != stored_annotations(input.job));
        events.extend(new_events);
    }
    decision
}

fn stored_annotations(job: &JobView) -> PolicyAnnotations {
    job.policy.as_deref().cloned().unwrap_or_default()
}

/// Returns the step that writes the annotations about the policy of a Job, if they are out of date.
fn annotate(input: &DecisionInput<'_>, now: Timestamp) -> Step {
    let (desired, events) = progress_deadline::annotations(input, None, now);
    if desired == stored_annotations(input.job) || input.refusals.is_backed_off(ANNOTATE, None, now) {
        return Step::None;
    }
    Step::Annotate { annotations: Box::new(desired), events }
}

fn by_rules(input: &DecisionInput<'_>, now: Timestamp, config: &SyncConfig) -> Decision {
    let DecisionInput { job, pods: summary, orphans, backoff, counters_dirty_since, .. } = *input;
    let simple = |step| Decision { step, wake: None, backoff: backoff.clone(), counters_dirty_since };
    let backed_off = |cause, pod: &PodView| input.refusals.is_backed_off(cause, Some(&pod.identity.uid), now);
    if job.status.is_finished() {
        let left = summary.tracked_in_any_case().filter(|pod| !backed_off(UNTRACK, pod));
        let left: Vec<_> = left.take(config.max_pods_per_sync).cloned().collect();
        return simple(if left.is_empty() { Step::None } else { Step::RemoveFinalizers(left) });
    }
    if let Some(event) = refusal(job) {
        return simple(Step::RejectInvalid(event));
    }
    let invalid_indexes = index_subset::refusal(job);
    let is_backed_off = |pod: &PodView| backed_off(ADOPT, pod) || backed_off(RELEASE, pod);
    if let Some(step) = claims::claims(job, summary, orphans, is_backed_off, config) {
        return simple(step);
    }
    let is_adoption_backed_off = orphans.iter().any(|pod| backed_off(ADOPT, pod));
    let unclaimed = orphans.iter().chain(summary.unselected().iter()).filter(|pod| is_backed_off(pod));
    let unclaimed: HashSet<Uid> = unclaimed.map(|pod| pod.identity.uid.clone()).collect();
    let account = |outcome: Option<&Outcome>| account(input, &unclaimed, outcome, now, config);
    let backoff = backoff.after(job, summary.new_failed(), summary.new_succeeded());
    let deadline = active_deadline::deadline(job, now);
    let waiting = admission::waiting_status(input);
    let may_annotate = !input.refusals.is_backed_off(WAITING, None, now);
    let publish = |waiting| admission::publish(input, waiting).filter(|_| may_annotate).unwrap_or(Step::None);
    let remove_waiting = || (may_annotate && admission::should_remove_waiting(input)).then_some(Step::RemoveWaiting);
    let is_new = summary.is_idle() && admission::has_never_run(job);
    if let Some(event) = invalid_indexes.clone().filter(|_| is_new && index_subset::prevents_start(job)) {
        return simple(remove_waiting().unwrap_or(Step::RejectInvalid(event)));
    }
    if let Some(waiting) = waiting.filter(|_| is_new) {
        return simple(publish(waiting));
    }
    let outcome = outcome::outcome(input, now);
    let deadlines = deadline.into_iter().chain(start_deadline::wake(input, now));
    let deadlines = deadlines.chain(progress_deadline::wake(input, now)).min();
    let mut wake = deadlines.filter(|_| outcome.is_none() && !job.deleting);

    let group = GroupPlan::new(input, outcome.as_ref(), now);
    if let Some(step) = group.step(input) {
        return Decision { step, wake, backoff, counters_dirty_since };
    }

    // An outcome is stored before pods are deleted because of it. Otherwise the deletions would look like independent
    // failures.
    let is_unstored = outcome.is_none() && admission::is_admission_unstored(input);
    let is_annotated = is_unstored && job.status.start_time.is_some() && admission::should_remove_waiting(input);
    if is_annotated && may_annotate {
        return Decision { step: Step::RemoveWaiting, wake, backoff, counters_dirty_since };
    }
    let to_store = is_unstored || outcome.is_some() && !job.status.has_outcome();
    if to_store || accounting::is_pressing(job, summary, config) {
        let step = account(outcome.as_ref());
        let is_backed_off = to_store && input.refusals.is_backed_off(STATUS, None, now);
        if is_backed_off || !matches!(step, Step::None) {
            return Decision { step, wake, backoff, counters_dirty_since };
        }
    }
    if outcome.is_none()
        && let Some(step) = start_deadline::step(input, now, config)
    {
        return Decision { step, wake, backoff, counters_dirty_since };
    }
    let plan = match outcome {
        Some(_) => parallelism::clear(summary, config),
        None if job.deleting => PodPlan::Nothing,
        None => {
            let jitter = Jitter::of(job, input.policy);
            parallelism::manage(job, summary, &backoff, input.last_untracked_deletion, now, config, jitter)
        }
    };
    let step = match plan {
        PodPlan::Nothing => None,
        PodPlan::Wait(until) => {
            wake = Some(earlier(wake, until));
            None
        }
        // The pods that a Job has are still handled. New pods could have the wrong indexes.
        PodPlan::Create(_) if invalid_indexes.is_some() => None,
        // Pods from before the Job was suspended are still handled. New pods have to wait.
        PodPlan::Create(_) if waiting.is_some() || is_annotated => None,
        // A pod that could not be adopted may be the missing one.
        PodPlan::Create(_) if is_adoption_backed_off || input.refusals.is_backed_off(CREATE, None, now) => None,
        // Pods come after their group.
        PodPlan::Create(_) if group.delays_pods() => None,
        PodPlan::Create(mut pods) => {
            let (allowed, next) = input.retries.map_or((pods.len(), None), |retries| retries.allowed(pods.len()));
            pods.truncate(allowed);
            wake = next.map(|next| earlier(wake, next)).or(wake);
            let memory = retry_memory::of_new_pods(input, now);
            let raised = Raised { memory, deadline_seconds: retry_deadline::seconds(input) };
            let (reason, group) = (creation_reason(job, summary), group.name());
            (!pods.is_empty()).then_some(Step::CreatePods { pods, reason, group, raised })
        }
        PodPlan::Delete { mut pods, uncounted } => {
            pods.retain(|pod| !(backed_off(DELETE, pod) || uncounted && backed_off(UNTRACK, pod)));
            (!pods.is_empty()).then_some(Step::DeletePods { pods, uncounted })
        }
    };
    if let Some(step) = step {
        return Decision { step, wake, backoff, counters_dirty_since };
    }
    let step = match account(outcome.as_ref()) {
        Step::None => match waiting {
            Some(waiting) => publish(waiting),
            None => remove_waiting().unwrap_or(Step::None),
        },
        step => step,
    };
    let step = if matches!(step, Step::None) { annotate(input, now) } else { step };
    let can_wait = outcome.is_none() && !job.deleting;
    let since = counters_dirty_since.unwrap_or(now);
    if let Some(due) = can_wait.then(|| status_batching::defer_until(job, &step, since, now, config)).flatten() {
        let wake = Some(earlier(wake, due));
        return Decision { step: Step::None, wake, backoff, counters_dirty_since: Some(since) };
    }
    let counters_dirty_since = counters_dirty_since.filter(|_| matches!(step, Step::RemoveFinalizers(_)));
    let step = match (step, invalid_indexes.or_else(|| group.refusal()).filter(|_| can_wait)) {
        (Step::None, Some(event)) => Step::RejectInvalid(event),
        (step, _) => step,
    };
    Decision { step, wake, backoff, counters_dirty_since }
}

fn earlier(wake: Option<Timestamp>, other: Timestamp) -> Timestamp {
    wake.map_or(other, |wake| wake.min(other))
}

/// Returns the step that counts ended pods and stores the result of the Job.
fn account(
    input: &DecisionInput<'_>,
    unclaimed: &HashSet<Uid>,
    outcome: Option<&Outcome>,
    now: Timestamp,
    config: &SyncConfig,
) -> Step {
    let DecisionInput { job, pods: summary, refusals, .. } = *input;
    let backed_off = |pod: &PodView| refusals.is_backed_off(UNTRACK, Some(&pod.identity.uid), now);
    let untrack = accounting::accounted(job, summary, outcome, backed_off, config);
    if untrack.is_empty() && refusals.is_backed_off(STATUS, None, now) {
        Step::None
    } else if untrack.is_empty() {
        let pending = input.admission.is_pending() || index_subset::prevents_start(job);
        accounting::write_status(job, summary, unclaimed, outcome, pending, now, config)
    } else {
        // Finalizers of stored pods are removed before more pods are stored. One status write then counts the first
        // batch and lists the next.
        Step::RemoveFinalizers(untrack)
    }
}

fn creation_reason(job: &JobView, summary: &PodSummary) -> CreationReason {
    if job.spec.replace_only_failed && summary.failed() > 0 {
        CreationReason::Failed
    } else if summary.failed() > 0 || summary.terminating() > 0 {
        CreationReason::TerminatingOrFailed
    } else {
        CreationReason::New
    }
}

/// Returns the event with the reason why the controller rejects this Job, if it does.
fn refusal(job: &JobView) -> Option<EventText> {
    if let CompletionMode::Unknown(_) = &job.spec.completion_mode {
        let message = "Skipped Job sync because completion mode is unknown";
        return Some(EventText::warning("UnknownCompletionMode", message));
    }
    None
}

impl Outcome {
    /// Returns whether the Job fails.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::*;
    use super::*;

    #[test]
    fn unknown_completion_mode_is_rejected_with_an_event() {
        let job = Job::new().mode(CompletionMode::Unknown("Sorted".to_owned()));
        let decision = job.decide(&[]);
        let Step::RejectInvalid(event) = decision.step else { panic!("{decision:?}") };
        assert_eq!(event.reason, "UnknownCompletionMode");
        assert_eq!(event.message, "Skipped Job sync because completion mode is unknown");
    }

    #[test]
    fn finished_job_only_removes_the_finalizers_left_on_its_pods() {
        let job = Job::new().completions(1).condition("FailureTarget").condition("Failed");
        let pods = [pod("a").failed(5), pod("b").untracked().succeeded(6)];
        let Step::RemoveFinalizers(left) = job.decide(&pods).step else { panic!() };
        assert_eq!(names(&left), ["a"]);
        assert!(matches!(job.decide(&pods[1..]).step, Step::None));
        // The release of this pod was refused until the Job had finished.
        let Step::RemoveFinalizers(left) = job.decide(&[pod("c").running(1).label("app", "other")]).step else {
            panic!()
        };
        assert_eq!(names(&left), ["c"]);
    }

    #[test]
    fn writes_of_one_step_are_bounded_for_jobs_of_any_size() {
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
    fn replacement_is_created_before_the_status_is_written() {
        let job = Job::new().completions(3).parallelism(1).started(0);
        let Step::CreatePods { pods, .. } = job.decide(&[pod("a").succeeded(5)]).step else { panic!() };
        assert_eq!(pods, [NewPod::default()]);
    }

    #[test]
    fn finished_pods_are_counted_after_a_refused_creation() {
        let job = Job::new().completions(3).parallelism(2).started(0).refused();
        let Step::WriteStatus { status, .. } = job.decide(&[pod("a").succeeded(5)]).step else { panic!() };
        assert_eq!(status.uncounted.succeeded, ["uid-a".into()]);
    }

    #[test]
    fn job_being_deleted_gets_no_pods_and_releases_its_pods() {
        let job = Job::new().completions(3).parallelism(2).started(0).deleting();
        let pods = [pod("a").running(1), pod("b").succeeded(5)];
        let Step::RemoveFinalizers(released) = job.decide(&pods).step else { panic!() };
        assert_eq!(names(&released), ["a"], "b is not counted yet");
        let rest = [pod("a").untracked().running(1), pod("b").succeeded(5)];
        let Step::WriteStatus { status, .. } = job.decide(&rest).step else { panic!() };
        assert_eq!(status.uncounted.succeeded, ["uid-b".into()]);
    }

    #[test]
    fn refused_status_write_does_not_delay_creation() {
        let job = Job::new().completions(3).parallelism(2).refuses(STATUS, None);
        assert!(matches!(job.decide(&[]).step, Step::CreatePods { pods, .. } if pods.len() == 2));
        let pods = [pod("a").running(1), pod("b").running(1)];
        assert!(matches!(job.decide(&pods).step, Step::None), "the start time is not stored yet, and its write waits");
    }

    #[test]
    fn pods_are_not_deleted_for_an_outcome_that_cannot_be_stored() {
        let job = Job::new().completions(3).parallelism(2).backoff_limit(0).started(0);
        let pods = [pod("a").failed(5), pod("b").running(1)];
        assert!(matches!(job.decide(&pods).step, Step::WriteStatus { .. }));
        assert!(matches!(job.refuses(STATUS, None).decide(&pods).step, Step::None));
    }

    #[test]
    fn refused_write_of_one_pod_delays_no_other_pod() {
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
    fn refused_adoption_delays_creation_and_nothing_else() {
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
