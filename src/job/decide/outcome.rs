//! Whether a Job's end is decided, and how: the first rule that applies.
//!
//! An outcome once stored (`FailureTarget`, `SuccessCriteriaMet`) stands, whatever happens later.

use jiff::Timestamp;

use super::tally::Tally;
use super::{active_deadline, backoff_limit};
use crate::job::status::{FAILURE_TARGET, JobStatus, SUCCESS_CRITERIA_MET};
use crate::job::view::JobView;

/// How a Job ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With success.
    Complete {
        /// A word for programs.
        reason: String,
        /// A sentence for people.
        message: String,
    },
    /// With failure.
    Failed {
        /// A word for programs.
        reason: String,
        /// A sentence for people.
        message: String,
    },
}

impl Outcome {
    /// The outcome that is stored already.
    pub fn stored(status: &JobStatus) -> Option<Self> {
        if let Some(met) = status.true_condition(SUCCESS_CRITERIA_MET) {
            return Some(Self::Complete { reason: met.reason.clone(), message: met.message.clone() });
        }
        let target = status.true_condition(FAILURE_TARGET)?;
        Some(Self::Failed { reason: target.reason.clone(), message: target.message.clone() })
    }

    fn failed(reason: &str, message: &str) -> Self {
        Self::Failed { reason: reason.to_owned(), message: message.to_owned() }
    }

    /// As many successes as were asked for.
    pub fn completions_reached() -> Self {
        Self::Complete {
            reason: "CompletionsReached".to_owned(),
            message: "Reached expected number of succeeded pods".to_owned(),
        }
    }
}

/// The outcome that is stored, or that the pods and the time now call for. That all completions are reached is
/// decided later, once no pod is left to manage ([`super::completions`]).
pub fn outcome(job: &JobView, tally: &Tally, now: Timestamp) -> Option<Outcome> {
    if let Some(stored) = Outcome::stored(&job.status) {
        return Some(stored);
    }
    if backoff_limit::is_exceeded(job, tally) {
        return Some(Outcome::failed("BackoffLimitExceeded", "Job has reached the specified backoff limit"));
    }
    if active_deadline::deadline(job, now).is_some_and(|deadline| now >= deadline) {
        return Some(Outcome::failed("DeadlineExceeded", "Job was active longer than specified deadline"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::*;

    fn reason(job: &Job, pods: &[Pod], now: i64) -> Option<String> {
        outcome(&job.view, &job.tally(pods), time(now)).map(|outcome| match outcome {
            Outcome::Complete { reason, .. } | Outcome::Failed { reason, .. } => reason,
        })
    }

    #[test]
    fn too_many_failures_come_before_a_deadline_that_has_passed() {
        let job = Job::new().backoff_limit(0).active_deadline(10).started(0);
        assert_eq!(reason(&job, &[pod("a").failed(5)], 50).as_deref(), Some("BackoffLimitExceeded"));
        assert_eq!(reason(&job, &[], 50).as_deref(), Some("DeadlineExceeded"));
        assert_eq!(reason(&job, &[], 10).as_deref(), Some("DeadlineExceeded"));
        assert_eq!(reason(&job, &[], 9), None);
    }

    #[test]
    fn a_stored_outcome_stands() {
        let met = Job::new().backoff_limit(0).condition(SUCCESS_CRITERIA_MET);
        let outcome = outcome(&met.view, &met.tally(&[pod("a").failed(5)]), time(9)).unwrap();
        assert!(!outcome.is_failure());
        let failing = Job::new().completions(1).condition(FAILURE_TARGET);
        assert!(Outcome::stored(&failing.view.status).unwrap().is_failure());
    }
}
