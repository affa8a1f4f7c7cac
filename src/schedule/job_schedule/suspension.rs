//! Why a JobSchedule starts no Jobs although its schedule is valid: `spec.suspend`, or runs in a row that have failed.
//!
//! `spec.suspendAfterFailures` ends a series of failures without a change of the spec, which GitOps tools would revert. A
//! run that succeeds, such as one that a user has started, or a new value of the annotation [`RESUME`] ends the
//! suspension.

use std::cmp::Reverse;

use super::RESUME;
use super::runs;
use super::view::{Failures, JobScheduleView};
use crate::runtime::events::EventText;
use crate::schedule::source::EndedRun;

/// Reason of the event and of the condition `Suspended`.
pub const TOO_MANY_FAILURES: &str = "TooManyFailures";

/// Whether, and why, a JobSchedule starts no Jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspension {
    /// Jobs are started.
    None,
    /// `spec.suspend` is true.
    BySpec,
    /// As many runs in a row have failed as `spec.suspendAfterFailures`, which is this number, allows.
    AfterFailures(i32),
}

/// Returns the failures that are stored, changed by a new value of the annotation and by the runs that have ended since.
pub fn failures(schedule: &JobScheduleView, ended: &[EndedRun]) -> Failures {
    let mut failures = schedule.stored.failures.clone();
    if schedule.resume.is_some() && schedule.resume != failures.resume {
        failures = Failures { in_a_row: 0, resume: schedule.resume.clone() };
    }
    // The order is that of the history, whose first run is the newest.
    let mut runs: Vec<&EndedRun> = ended.iter().collect();
    runs.sort_by_key(|run| Reverse(runs::finished(run)));
    for run in runs.into_iter().rev() {
        failures.in_a_row = match runs::outcome(run) {
            "Succeeded" => 0,
            "Failed" => failures.in_a_row.saturating_add(1),
            _ => failures.in_a_row,
        };
    }
    failures
}

/// Returns whether a JobSchedule with these failures starts no Jobs.
pub fn suspension(schedule: &JobScheduleView, failures: &Failures) -> Suspension {
    if schedule.base.spec.suspend {
        return Suspension::BySpec;
    }
    reached(schedule.suspend_after_failures, failures.in_a_row).map_or(Suspension::None, Suspension::AfterFailures)
}

/// Returns `spec.suspendAfterFailures` if as many runs in a row have failed.
pub fn reached(suspend_after_failures: Option<i32>, in_a_row: i32) -> Option<i32> {
    suspend_after_failures.filter(|allowed| in_a_row >= *allowed)
}

impl Suspension {
    /// Returns whether no Jobs are started.
    pub fn is_some(self) -> bool {
        self != Self::None
    }

    /// Returns the event to record once for a suspension that the user has not set.
    pub fn event(self) -> Option<EventText> {
        let Self::AfterFailures(allowed) = self else { return None };
        Some(EventText::warning(TOO_MANY_FAILURES, message(allowed)))
    }
}

/// Returns the message of the event and of the condition.
pub fn message(allowed: i32) -> String {
    let failed = match allowed {
        1 => "the last run has".to_owned(),
        _ => format!("the last {allowed} runs have"),
    };
    format!(
        "{failed} failed (spec.suspendAfterFailures); no Jobs are started until a run succeeds or the annotation {RESUME} \
         has a new value"
    )
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::job::status::{COMPLETE, FAILED};
    use crate::schedule::creation::Creation;
    use crate::schedule::cron_job::view::{ActiveJob, CronJobStatus};
    use crate::schedule::fixtures;
    use crate::schedule::job_schedule::conditions::SUSPENDED;
    use crate::schedule::job_schedule::view::WireJobSchedule;
    use crate::schedule::source::{Facts, ScheduleSource};

    const NOW: &str = "2026-01-05T12:00:30Z";

    /// Returns a JobSchedule that is due every minute and is suspended after three failures.
    fn schedule(annotations: &Value, status: &Value) -> JobScheduleView {
        let wire = json!({
            "metadata": {
                "name": "nightly", "namespace": "default", "uid": "uid", "resourceVersion": "7",
                "creationTimestamp": "2026-01-05T10:00:00Z", "annotations": annotations,
            },
            "spec": {"schedules": ["* * * * *"], "suspendAfterFailures": 3, "historyLimit": 0,
                     "jobTemplate": {"spec": {"template": {}}}},
            "status": status,
        });
        let wire: WireJobSchedule = serde_json::from_str(&wire.to_string()).unwrap();
        JobScheduleView::parse(wire).unwrap()
    }

    /// Returns a run that ended this number of seconds after 11:00.
    fn ended(condition: Option<&str>, second: i64) -> EndedRun {
        let at: Timestamp = "2026-01-05T11:00:00Z".parse().unwrap();
        let at = (at + SignedDuration::from_secs(second)).to_string();
        let name = format!("nightly-{second}");
        let job = fixtures::job(&name, condition, &at);
        let wire = json!({"metadata": {"name": name}, "spec": {"template": {}}}).to_string();
        let end = condition.map(|_| ((*job).clone(), serde_json::from_str(&wire).unwrap()));
        EndedRun { job: ActiveJob::new(&job), end, replaced: false }
    }

    fn facts<'a>(status: &'a CronJobStatus, ended: &'a [EndedRun], now: Timestamp) -> Facts<'a> {
        Facts { status, ended, jobs: &[], backfilled: None, now }
    }

    fn of(schedule: &JobScheduleView, ended: &[EndedRun]) -> Suspension {
        suspension(schedule, &failures(schedule, ended))
    }

    #[test]
    fn third_failure_in_a_row_suspends_and_is_told() {
        let two = schedule(&json!({}), &json!({"failedRunsInARow": 2}));
        assert_eq!(of(&two, &[]), Suspension::None);
        assert_eq!(of(&two, &[ended(None, 1)]), Suspension::None, "a deleted Job is no failure");
        let third = [ended(Some(FAILED), 1)];
        assert_eq!(of(&two, &third), Suspension::AfterFailures(3));
        let (status, now) = (&two.base.status, NOW.parse().unwrap());
        // The run that falls due at the end of the third one is not started.
        let due = two.due(facts(status, &third, now));
        assert_eq!((due.start, due.events[0].reason.as_ref()), (None, TOO_MANY_FAILURES));
        assert!(two.due(facts(status, &[], now)).start.is_some());
        let patch = two.status_patch(status, &third, &Creation::Untried, now).unwrap();
        assert_eq!((&patch["failedRunsInARow"], &patch["nextScheduleTime"]), (&json!(3), &Value::Null));
        let conditions = patch["conditions"].as_array().unwrap();
        let suspended = conditions.iter().find(|condition| condition["type"] == SUSPENDED).unwrap();
        assert_eq!(suspended["reason"], TOO_MANY_FAILURES);
    }

    #[test]
    fn success_and_each_new_value_of_the_annotation_resume() {
        let status = json!({"failedRunsInARow": 5, "lastResume": "1"});
        let suspended = schedule(&json!({RESUME: "1"}), &status);
        assert_eq!(of(&suspended, &[]), Suspension::AfterFailures(3), "the value is not new");
        assert_eq!(of(&schedule(&json!({}), &status), &[]), Suspension::AfterFailures(3));
        assert_eq!(of(&suspended, &[ended(Some(COMPLETE), 1)]), Suspension::None);
        let resumed = schedule(&json!({RESUME: "2"}), &status);
        let expected = Failures { in_a_row: 1, resume: Some("2".to_owned()) };
        assert_eq!(failures(&resumed, &[ended(Some(FAILED), 1)]), expected);
        let patch = resumed.status_patch(&resumed.base.status, &[], &Creation::Untried, NOW.parse().unwrap()).unwrap();
        assert_eq!((&patch["failedRunsInARow"], &patch["lastResume"]), (&json!(0), &json!("2")));
    }

    proptest! {
        /// The count does not depend on how the ended runs are spread over the syncs, nor on their order in a sync.
        #[test]
        fn failures_are_those_since_the_last_success(
            outcomes in prop::collection::vec(0..3, 0..12),
            cuts in prop::collection::vec(any::<bool>(), 12),
        ) {
            let run = |(second, outcome): (usize, &i32)| {
                let condition = [Some(COMPLETE), Some(FAILED), None][usize::try_from(*outcome).unwrap()];
                ended(condition, i64::try_from(second).unwrap())
            };
            let runs: Vec<EndedRun> = outcomes.iter().enumerate().map(run).collect();
            let (mut stored, mut batch) = (schedule(&json!({}), &json!({})), Vec::new());
            for (run, cut) in runs.into_iter().zip(cuts) {
                batch.insert(0, run);
                if cut {
                    stored.stored.failures = failures(&stored, &std::mem::take(&mut batch));
                }
            }
            let expected = outcomes.iter().rev().take_while(|outcome| **outcome != 0).filter(|outcome| **outcome == 1);
            prop_assert_eq!(failures(&stored, &batch).in_a_row, i32::try_from(expected.count()).unwrap());
        }
    }
}
