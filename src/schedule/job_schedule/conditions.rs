//! Conditions of a JobSchedule: whether it can start Jobs, whether it is suspended, and how its last run ended.
//!
//! The types and fields follow the API conventions of Kubernetes, so that `kubectl wait --for=condition=Ready` and tools
//! that evaluate the status of any resource (kstatus) read them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::backfill;
use super::suspension::{self, Suspension, TOO_MANY_FAILURES};
use super::types::Run;
use crate::runtime::conditions::{ConditionState, find};
use crate::schedule::backfill::Progress;
use crate::schedule::creation::Creation;
use crate::schedule::once::NAME_TAKEN;

/// Condition that the schedule is valid and the API server accepts its Jobs.
pub const READY: &str = "Ready";
/// Condition that no Jobs are started, because `spec.suspend` is set or too many runs in a row have failed.
pub const SUSPENDED: &str = "Suspended";
/// Condition that the last run has succeeded.
pub const HEALTHY: &str = "Healthy";

/// Condition that as many runs were started as `spec.maxRuns` allows, and no Job is active.
pub const COMPLETE: &str = "Complete";
/// Condition that all runs of the backfill were started or skipped, and their Jobs have finished.
pub const BACKFILL_COMPLETE: &str = "BackfillComplete";

/// Reason of [`BACKFILL_COMPLETE`] for a range with more scheduled times than a backfill can have.
pub const TOO_MANY_TIMES: &str = "TooManyTimes";
/// Reason of [`COMPLETE`] after the last run.
const MAX_RUNS_REACHED: &str = "MaxRunsReached";
/// Reason of [`READY`] for a valid JobSchedule.
const VALID: &str = "ScheduleValid";
/// Reason of [`READY`] for an unknown time zone.
const INVALID_TIME_ZONE: &str = "InvalidTimeZone";
/// Reason of [`READY`] for a calendar that does not exist.
const CALENDAR_NOT_FOUND: &str = "CalendarNotFound";
/// Reason of [`READY`] for any other invalid field of the timetable. The event has the same reason.
const INVALID_SCHEDULE: &str = "InvalidSchedule";
/// Reason of [`READY`] where the API server refused the Job of a run.
const JOB_REFUSED: &str = "JobRefused";

/// What the conditions of a JobSchedule are derived from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// `metadata.generation` of the spec.
    pub generation: Option<i64>,
    /// Error in a field that defines the scheduled times.
    pub invalid: Option<&'a str>,
    /// Whether, and why, the JobSchedule is suspended.
    pub suspension: Suspension,
    /// Result for the Job that was due.
    pub creation: &'a Creation,
    /// Progress of the backfill, if the spec has one; it has no progress if its range has too many times or the timetable
    /// is invalid.
    pub backfill: Option<Option<&'a Progress>>,
    /// Runs that `spec.maxRuns` counts, if it is set.
    pub runs: Option<Runs>,
    /// Runs that have ended, the newest first.
    pub history: &'a [Run],
    /// Time of the decision.
    pub now: Timestamp,
}

/// Runs of a JobSchedule with `spec.maxRuns`.
#[derive(Clone, Copy, Debug)]
pub struct Runs {
    /// Number of runs that were started because they were due.
    pub started: usize,
    /// Maximum number of these runs.
    pub max: usize,
    /// Number of active Jobs.
    pub active: usize,
}

/// Returns the conditions to store. `stored` are the present ones. A condition keeps its transition time while its status
/// stays the same.
pub fn conditions(stored: &[Condition], facts: Facts<'_>) -> Vec<Condition> {
    [ready(stored, facts), suspended(facts), healthy(stored, facts)]
        .into_iter()
        .chain(facts.runs.map(complete))
        .chain(backfill_complete(facts))
        .map(|state| state.into_condition(stored, facts.generation, facts.now))
        .collect()
}

fn ready(stored: &[Condition], facts: Facts<'_>) -> ConditionState {
    if let Some(error) = facts.invalid {
        let reason = match error {
            _ if error.starts_with("spec.timeZone") => INVALID_TIME_ZONE,
            _ if ["spec.excludeCalendars", "spec.onlyCalendars"].iter().any(|field| error.starts_with(field)) => {
                CALENDAR_NOT_FOUND
            }
            _ => INVALID_SCHEDULE,
        };
        return ConditionState::new(READY, "False", reason, error);
    }
    match facts.creation {
        Creation::Refused(message) => ConditionState::new(READY, "False", JOB_REFUSED, message),
        Creation::NameTaken(message) => ConditionState::new(READY, "False", NAME_TAKEN, message),
        Creation::Untried => match find(stored, READY) {
            // What was refused with this spec stays refused until a Job is created.
            Some(before)
                if [JOB_REFUSED, NAME_TAKEN].contains(&&*before.reason)
                    && before.observed_generation == facts.generation =>
            {
                ConditionState::new(READY, "False", &before.reason, &before.message)
            }
            _ => valid(),
        },
        Creation::Done => valid(),
    }
}

fn valid() -> ConditionState {
    ConditionState::new(READY, "True", VALID, "The schedule is valid.")
}

fn suspended(facts: Facts<'_>) -> ConditionState {
    match facts.suspension {
        Suspension::BySpec => {
            ConditionState::new(SUSPENDED, "True", "SuspendedBySpec", "spec.suspend is true; no Jobs are started.")
        }
        Suspension::AfterFailures(allowed) => {
            ConditionState::new(SUSPENDED, "True", TOO_MANY_FAILURES, &format!("{}.", suspension::message(allowed)))
        }
        Suspension::None => {
            ConditionState::new(SUSPENDED, "False", "NotSuspended", "Jobs are started when they are due.")
        }
    }
}

/// The last run that has succeeded or failed decides. Replaced and deleted runs are not counted.
fn healthy(stored: &[Condition], facts: Facts<'_>) -> ConditionState {
    let last = facts.history.iter().find(|run| ["Succeeded", "Failed"].contains(&&*run.outcome));
    match (last, find(stored, HEALTHY)) {
        (Some(run), _) if run.outcome == "Succeeded" => {
            ConditionState::new(HEALTHY, "True", "LastRunSucceeded", &format!("Job {} has succeeded.", run.job))
        }
        (Some(run), _) => {
            let why = if run.message.is_empty() { &run.reason } else { &run.message };
            ConditionState::new(HEALTHY, "False", "LastRunFailed", &format!("Job {} has failed: {why}", run.job))
        }
        // The history can be shorter than one run (spec.historyLimit).
        (None, Some(before)) => {
            let status = ["True", "False"].into_iter().find(|status| *status == before.status).unwrap_or("Unknown");
            ConditionState::new(HEALTHY, status, &before.reason, &before.message)
        }
        (None, None) => ConditionState::new(HEALTHY, "Unknown", "NoRunEnded", "No run has ended yet."),
    }
}

fn complete(Runs { started, max, active }: Runs) -> ConditionState {
    let message = format!("{started} of {max} runs started, {active} active.");
    if started < max {
        return ConditionState::new(COMPLETE, "False", "RunsLeft", &message);
    }
    match active {
        0 => ConditionState::new(COMPLETE, "True", MAX_RUNS_REACHED, &message),
        _ => ConditionState::new(COMPLETE, "False", "JobsActive", &message),
    }
}

fn backfill_complete(facts: Facts<'_>) -> Option<ConditionState> {
    Some(match facts.backfill? {
        Some(progress) if progress.completed.is_some() => {
            ConditionState::new(BACKFILL_COMPLETE, "True", backfill::COMPLETED, &sentence(progress))
        }
        Some(progress) => ConditionState::new(BACKFILL_COMPLETE, "False", "InProgress", &sentence(progress)),
        None if facts.invalid.is_some() => {
            ConditionState::new(BACKFILL_COMPLETE, "False", INVALID_SCHEDULE, "The schedule is invalid.")
        }
        None => {
            let most = backfill::MAX_TIMES;
            let message =
                format!("The range of spec.backfill has more than {most} scheduled times; choose a shorter one.");
            ConditionState::new(BACKFILL_COMPLETE, "False", TOO_MANY_TIMES, &message)
        }
    })
}

fn sentence(progress: &Progress) -> String {
    format!("{}.", backfill::summary(progress))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::conditions::MAX_MESSAGE_BYTES;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn facts<'a>(creation: &'a Creation, history: &'a [Run]) -> Facts<'a> {
        let now = at("2026-01-05T12:00:00.5Z");
        Facts {
            generation: Some(2),
            invalid: None,
            suspension: Suspension::None,
            creation,
            backfill: None,
            runs: None,
            history,
            now,
        }
    }

    fn run(outcome: &str, message: &str) -> Run {
        Run { job: "backup-1".into(), outcome: outcome.into(), message: message.into(), ..Run::default() }
    }

    /// Returns status and reason of a condition.
    fn state<'a>(conditions: &'a [Condition], type_: &str) -> (&'a str, &'a str) {
        let condition = find(conditions, type_).unwrap();
        (&condition.status, &condition.reason)
    }

    #[test]
    fn ready_states_why_no_job_can_be_started() {
        let refused = Creation::Refused("admission webhook denied the request".into());
        let taken = Creation::NameTaken("Job a exists and belongs to another owner".into());
        let zone = "spec.timeZone: \"Mars\" is not an IANA time zone such as Europe/Paris";
        let cases = [
            (None, &Creation::Untried, ("True", VALID)),
            (None, &Creation::Done, ("True", VALID)),
            (Some(zone), &Creation::Untried, ("False", INVALID_TIME_ZONE)),
            (Some("spec.schedules[0]: no"), &Creation::Done, ("False", INVALID_SCHEDULE)),
            (None, &refused, ("False", JOB_REFUSED)),
            (None, &taken, ("False", NAME_TAKEN)),
        ];
        for (invalid, creation, expected) in cases {
            let conditions = conditions(&[], Facts { invalid, ..facts(creation, &[]) });
            assert_eq!(state(&conditions, READY), expected, "{invalid:?} {creation:?}");
        }
    }

    #[test]
    fn refusal_stays_until_a_job_is_created_or_the_spec_changes() {
        let refused = conditions(&[], facts(&Creation::Refused("denied".into()), &[]));
        let later = conditions(&refused, facts(&Creation::Untried, &[]));
        assert_eq!(later, refused);
        assert_eq!(state(&conditions(&refused, facts(&Creation::Done, &[])), READY), ("True", VALID));
        let changed = Facts { generation: Some(3), ..facts(&Creation::Untried, &[]) };
        assert_eq!(state(&conditions(&refused, changed), READY), ("True", VALID));
    }

    #[test]
    fn last_run_that_succeeded_or_failed_decides_health() {
        let of = |stored: &[Condition], history: &[Run]| conditions(stored, facts(&Creation::Untried, history));
        let none = of(&[], &[]);
        assert_eq!(state(&none, HEALTHY), ("Unknown", "NoRunEnded"));
        let failed = of(&none, &[run("Deleted", ""), run("Failed", "exit code 3"), run("Succeeded", "")]);
        assert_eq!(state(&failed, HEALTHY), ("False", "LastRunFailed"));
        assert_eq!(find(&failed, HEALTHY).unwrap().message, "Job backup-1 has failed: exit code 3");
        assert_eq!(of(&failed, &[run("Replaced", "")]), failed, "the history is too short");
        assert_eq!(state(&of(&failed, &[run("Succeeded", "")]), HEALTHY), ("True", "LastRunSucceeded"));
    }

    #[test]
    fn transition_time_changes_with_the_status_alone() {
        let first = conditions(&[], facts(&Creation::Untried, &[]));
        assert_eq!(find(&first, SUSPENDED).unwrap().last_transition_time.0, at("2026-01-05T12:00:00Z"));
        let later = Facts { now: at("2026-01-05T13:00:00Z"), generation: Some(3), ..facts(&Creation::Untried, &[]) };
        let unchanged = conditions(&first, later);
        let suspended = conditions(&first, Facts { suspension: Suspension::BySpec, ..later });
        let since = |conditions: &[Condition]| find(conditions, SUSPENDED).unwrap().last_transition_time.0;
        assert_eq!(since(&unchanged), at("2026-01-05T12:00:00Z"));
        assert_eq!(since(&suspended), at("2026-01-05T13:00:00Z"));
        assert_eq!(state(&suspended, SUSPENDED), ("True", "SuspendedBySpec"));
        let failed = conditions(&first, Facts { suspension: Suspension::AfterFailures(3), ..later });
        assert_eq!(state(&failed, SUSPENDED), ("True", TOO_MANY_FAILURES));
        assert!(unchanged.iter().all(|condition| condition.observed_generation == Some(3)));
    }

    #[test]
    fn long_message_of_a_webhook_is_cut() {
        let refused = conditions(&[], facts(&Creation::Refused("é".repeat(2000)), &[]));
        assert_eq!(find(&refused, READY).unwrap().message.len(), MAX_MESSAGE_BYTES);
    }

    #[test]
    fn schedule_is_complete_when_its_last_run_has_ended() {
        let of = |started, active| {
            let runs = Some(Runs { started, max: 3, active });
            let conditions = conditions(&[], Facts { runs, ..facts(&Creation::Untried, &[]) });
            let complete = find(&conditions, COMPLETE).unwrap();
            (complete.status.clone(), complete.reason.clone(), complete.message.clone())
        };
        let is = |status: &str, reason: &str, message: &str| (status.to_owned(), reason.to_owned(), message.to_owned());
        assert_eq!(of(2, 0), is("False", "RunsLeft", "2 of 3 runs started, 0 active."));
        assert_eq!(of(3, 1), is("False", "JobsActive", "3 of 3 runs started, 1 active."));
        assert_eq!(of(3, 0), is("True", "MaxRunsReached", "3 of 3 runs started, 0 active."));
        assert!(find(&conditions(&[], facts(&Creation::Untried, &[])), COMPLETE).is_none(), "only with spec.maxRuns");
    }
}
