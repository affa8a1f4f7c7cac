//! Transitions of a Job that operators search for in logs: one INFO line for each, when the status that shows it is stored.

use super::status::{COMPLETE, FAILED, JobStatus, SUSPENDED};

/// A change of a Job's state between two stored statuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// The Job started: its first start time is stored, or it was resumed.
    Started,
    /// The Job was suspended.
    Suspended,
    /// The Job completed.
    Completed {
        /// Number of succeeded pods, or of completed indexes.
        succeeded: i32,
        /// Number of failed pods.
        failed: i32,
    },
    /// The Job failed.
    Failed {
        /// Reason of the condition `Failed`.
        reason: String,
        /// Message of the condition `Failed`.
        message: String,
        /// Number of succeeded pods, or of completed indexes.
        succeeded: i32,
        /// Number of failed pods.
        failed: i32,
    },
}

/// Returns the transitions between the status before a write and the status that was written.
pub fn transitions(before: &JobStatus, after: &JobStatus) -> Vec<Transition> {
    let begins = |condition| before.true_condition(condition).is_none() && after.true_condition(condition).is_some();
    let (succeeded, failed) = (after.succeeded, after.failed);
    let mut transitions = Vec::new();
    if before.start_time.is_none() && after.start_time.is_some() {
        transitions.push(Transition::Started);
    }
    if begins(SUSPENDED) {
        transitions.push(Transition::Suspended);
    }
    if begins(COMPLETE) {
        transitions.push(Transition::Completed { succeeded, failed });
    }
    if let Some(condition) = after.true_condition(FAILED).filter(|_| begins(FAILED)) {
        let (reason, message) = (condition.reason.to_string(), condition.message.to_string());
        transitions.push(Transition::Failed { reason, message, succeeded, failed });
    }
    transitions
}

impl Transition {
    /// Logs the transition. The span of the sync names the Job.
    pub fn log(&self) {
        match self {
            Self::Started => tracing::info!("Job started"),
            Self::Suspended => tracing::info!("Job suspended"),
            Self::Completed { succeeded, failed } => tracing::info!(succeeded, failed, "Job completed"),
            Self::Failed { reason, message, succeeded, failed } => {
                // The message is a text of the Job's spec or of its pods, which the log writes on one line.
                tracing::info!(reason, condition = message, succeeded, failed, "Job failed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::decide::fixtures::time;
    use crate::job::status::Condition;

    fn with(conditions: &[(&str, bool)], started: bool) -> JobStatus {
        let mut status = JobStatus { succeeded: 2, failed: 1, ..JobStatus::default() };
        status.start_time = started.then(|| time(0));
        for (condition, holds) in conditions {
            status.set_condition(Condition::new(condition, *holds, "Reason", "message", time(1)));
        }
        status
    }

    #[test]
    fn each_transition_is_reported_by_the_write_that_stores_it() {
        let failed =
            Transition::Failed { reason: "Reason".to_owned(), message: "message".to_owned(), succeeded: 2, failed: 1 };
        let cases = [
            (with(&[], false), with(&[], true), vec![Transition::Started]),
            (with(&[], true), with(&[], true), vec![]),
            (with(&[], true), with(&[(SUSPENDED, true)], false), vec![Transition::Suspended]),
            (with(&[(SUSPENDED, true)], false), with(&[(SUSPENDED, false)], true), vec![Transition::Started]),
            (with(&[], true), with(&[("FailureTarget", true)], true), vec![]),
            (
                with(&[("FailureTarget", true)], true),
                with(&[("FailureTarget", true), (FAILED, true)], true),
                vec![failed],
            ),
            (with(&[], true), with(&[(COMPLETE, true)], true), vec![Transition::Completed { succeeded: 2, failed: 1 }]),
            (with(&[(COMPLETE, true)], true), with(&[(COMPLETE, true)], true), vec![]),
        ];
        for (before, after, expected) in cases {
            assert_eq!(transitions(&before, &after), expected, "{before:?} -> {after:?}");
        }
    }
}
