//! The outcome of a Job: the first rule that applies decides whether the Job succeeds or fails.
//!
//! A stored outcome (`FailureTarget`, `SuccessCriteriaMet`) is final, whatever happens later.

use jiff::Timestamp;

use super::{DecisionInput, active_deadline, backoff_limit, backoff_limit_per_index, max_failed_indexes};
use super::{pod_failure_policy, progress_deadline, start_deadline, success_policy};
use crate::job::status::{Condition, FAILURE_TARGET, JobStatus, SUCCESS_CRITERIA_MET};
use crate::job::view::JobView;
use crate::job::view::index_subset::INDEXES_ANNOTATION;
use crate::runtime::text::beginning;

/// Limits of the API in bytes for a condition's reason and message. The API server does not enforce them on Jobs, and
/// another client may have written the interim condition whose texts the terminal condition repeats.
const LONGEST_REASON: usize = 1024;
const LONGEST_MESSAGE: usize = 32_768;

/// The outcome of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The Job succeeds.
    Complete {
        /// Machine-readable reason, one word in CamelCase.
        reason: String,
        /// Human-readable message.
        message: String,
    },
    /// The Job fails.
    Failed {
        /// Machine-readable reason, one word in CamelCase.
        reason: String,
        /// Human-readable message.
        message: String,
    },
}

impl Outcome {
    /// Returns the outcome that the status already contains.
    pub fn stored(status: &JobStatus) -> Option<Self> {
        let texts = |condition: &Condition| {
            let (reason, message) = (&condition.reason, &condition.message);
            (beginning(reason, LONGEST_REASON).to_owned(), beginning(message, LONGEST_MESSAGE).to_owned())
        };
        if let Some((reason, message)) = status.true_condition(SUCCESS_CRITERIA_MET).map(texts) {
            return Some(Self::Complete { reason, message });
        }
        let (reason, message) = status.true_condition(FAILURE_TARGET).map(texts)?;
        Some(Self::Failed { reason, message })
    }

    pub(super) fn failed(reason: &str, message: &str) -> Self {
        Self::Failed { reason: reason.to_owned(), message: message.to_owned() }
    }

    /// Returns the outcome of a Job that has reached the requested number of successes.
    pub fn completions_reached(job: &JobView) -> Self {
        let message = match job.listed_indexes() {
            Some(_) => format!("All indexes of the annotation {INDEXES_ANNOTATION} have succeeded"),
            None => "Reached expected number of succeeded pods".to_owned(),
        };
        Self::Complete { reason: "CompletionsReached".to_owned(), message }
    }
}

/// Returns the stored outcome, or the outcome that follows from the pods and the time. Whether all completions are
/// reached is decided later, when no pod is left to manage ([`super::completions`]).
pub fn outcome(input: &DecisionInput<'_>, now: Timestamp) -> Option<Outcome> {
    let (job, summary) = (input.job, input.pods);
    if let Some(stored) = Outcome::stored(&job.status) {
        return Some(stored);
    }
    if let Some(message) = pod_failure_policy::fail_job(job, summary.failing().iter()) {
        return Some(Outcome::failed("PodFailurePolicy", &message));
    }
    if backoff_limit::is_exceeded(job, summary) {
        return Some(Outcome::failed("BackoffLimitExceeded", "Job has reached the specified backoff limit"));
    }
    if active_deadline::deadline(job, now).is_some_and(|deadline| now >= deadline) {
        return Some(Outcome::failed("DeadlineExceeded", "Job was active longer than specified deadline"));
    }
    if let Some(outcome) = start_deadline::outcome(input, now).or_else(|| progress_deadline::outcome(input, now)) {
        return Some(outcome);
    }
    if max_failed_indexes::is_exceeded(job, summary.failed_indexes()) {
        let message = "Job has exceeded the specified maximal number of failed indexes";
        return Some(Outcome::failed("MaxFailedIndexesExceeded", message));
    }
    if backoff_limit_per_index::is_over(job, summary.ended_indexes()) {
        return Some(Outcome::failed("FailedIndexes", "Job has failed indexes"));
    }
    let rule = success_policy::matched(job, summary.succeeded_indexes())?;
    Some(Outcome::Complete { reason: "SuccessPolicy".to_owned(), message: format!("Matched rules at index {rule}") })
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::*;

    fn reason(job: &Job, pods: &[Pod], now: i64) -> Option<String> {
        job.outcome(pods, now).map(|outcome| match outcome {
            Outcome::Complete { reason, .. } | Outcome::Failed { reason, .. } => reason,
        })
    }

    #[test]
    fn exceeded_backoff_limit_precedes_an_exceeded_deadline() {
        let job = Job::new().backoff_limit(0).active_deadline(10).started(0);
        assert_eq!(reason(&job, &[pod("a").failed(5)], 50).as_deref(), Some("BackoffLimitExceeded"));
        assert_eq!(reason(&job, &[], 50).as_deref(), Some("DeadlineExceeded"));
        assert_eq!(reason(&job, &[], 10).as_deref(), Some("DeadlineExceeded"));
        assert_eq!(reason(&job, &[], 9), None);
    }

    #[test]
    fn pod_failure_policy_precedes_all_other_rules() {
        let job = Job::new().backoff_limit(0).active_deadline(10).started(0).rule("FailJob", 4);
        assert_eq!(reason(&job, &[pod("a").failed(5).exit("main", 4)], 50).as_deref(), Some("PodFailurePolicy"));
    }

    #[test]
    fn job_fails_when_too_many_indexes_failed_or_all_have_ended() {
        let job = Job::new().indexed(3).per_index(0).max_failed(1);
        let failed = |index| pod(&format!("f{index}")).index(index).failed(5);
        assert_eq!(reason(&job, &[failed(0)], 9), None);
        assert_eq!(reason(&job, &[failed(0), failed(1)], 9).as_deref(), Some("MaxFailedIndexesExceeded"));
        let job = Job::new().indexed(3).per_index(0).completed("0,1");
        assert_eq!(reason(&job, &[failed(2)], 9).as_deref(), Some("FailedIndexes"));
        let policy = job.success_rules(serde_json::json!([{"succeededCount": 1}]));
        assert_eq!(reason(&policy, &[failed(2)], 9).as_deref(), Some("FailedIndexes"), "failure precedes success");
        assert_eq!(reason(&policy, &[], 9).as_deref(), Some("SuccessPolicy"));
    }

    #[test]
    fn stored_outcome_is_final() {
        let met = Job::new().backoff_limit(0).condition(SUCCESS_CRITERIA_MET);
        let outcome = met.outcome(&[pod("a").failed(5)], 9).unwrap();
        assert!(!outcome.is_failure());
        let failing = Job::new().completions(1).condition(FAILURE_TARGET);
        assert!(Outcome::stored(&failing.view.status).unwrap().is_failure());
    }

    #[test]
    fn stored_texts_are_cut_to_the_limits_of_the_api() {
        let mut job = Job::new().condition(FAILURE_TARGET);
        job.view.status.conditions[0].reason = "R".repeat(100_000).into();
        job.view.status.conditions[0].message = "ü".repeat(100_000).into();
        let Some(Outcome::Failed { reason, message }) = Outcome::stored(&job.view.status) else { panic!() };
        assert_eq!((reason.len(), message.len()), (LONGEST_REASON, LONGEST_MESSAGE));
    }
}
