//! Explains the state of a JobSchedule: when it is due next, or why it starts no Jobs.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Event;

use super::explanation::{Explanation, Hint, State, Unread, counted};
use super::{span, warnings, worked_on};
use crate::client::leases::Leases;
use crate::client::suggest::Suggestions;
use crate::job::managed_by::MANAGED_BY;
use crate::runtime::conditions::find;
use crate::schedule::cron_job::decide::time_in_future;
use crate::schedule::job_schedule::backfill;
use crate::schedule::job_schedule::conditions::{BACKFILL_COMPLETE, TOO_MANY_TIMES};
use crate::schedule::job_schedule::decide;
use crate::schedule::job_schedule::suspension::{self, Suspension, TOO_MANY_FAILURES};
use crate::schedule::job_schedule::timetable::Timetable;
use crate::schedule::job_schedule::types::{ConcurrencyPolicy, Run};
use crate::schedule::job_schedule::view::JobScheduleView;

/// Maximum number of finished runs that an explanation lists, the newest first.
const MAX_RUNS_SHOWN: usize = 3;
/// Maximum number of queued runs that are counted.
const MAX_QUEUED: usize = 1000;

/// Objects from which a JobSchedule is explained.
#[derive(Clone)]
pub(crate) struct Facts<'a> {
    /// The JobSchedule.
    pub schedule: &'a JobScheduleView,
    /// Warning events about the JobSchedule, the newest first.
    pub events: &'a [Event],
    /// Leases of the controllers.
    pub leases: &'a Leases,
    /// Writes the commands of hints.
    pub suggest: &'a Suggestions,
    /// Objects that could not be read.
    pub unread: &'a [Unread],
}

/// Returns the explanation of a JobSchedule at the time `now`.
pub(crate) fn explain(facts: &Facts<'_>, now: Timestamp) -> Explanation {
    let (schedule, suggest) = (facts.schedule, facts.suggest);
    let base = &schedule.base;
    let name = base.identity.name.to_string();
    let suspension = suspension::suspension(schedule, &suspension::failures(schedule, &[]));
    let mut explanation = Explanation::default();
    let active: Vec<&str> = base.status.active.iter().map(|job| &*job.name).collect();
    (explanation.state, explanation.headline) = match (&schedule.timetable, suspension) {
        (Err(wrong), _) => (State::Invalid, format!("JobSchedule {name} starts no Jobs: {wrong}.")),
        (Ok(_), Suspension::BySpec) => {
            let resume = format!("patch jobschedule {name} --type=merge -p '{{\"spec\":{{\"suspend\":false}}}}'");
            explanation.hint(Hint::new("resume the JobSchedule", suggest.kubectl(&resume)));
            (State::Suspended, format!("JobSchedule {name} is suspended: it starts no Jobs."))
        }
        (Ok(_), Suspension::AfterFailures(allowed)) => {
            explanation.reason = Some(TOO_MANY_FAILURES.to_owned());
            let trigger = suggest.jobwright(&format!("trigger jobschedule/{name} --watch"));
            explanation.hint(Hint::new("start a run, whose success resumes the JobSchedule", trigger));
            let resume = suggest.jobwright(&format!("resume jobschedule/{name}"));
            explanation.hint(Hint::new("resume the JobSchedule without a run", resume));
            (State::Suspended, format!("JobSchedule {name} is suspended: {}.", suspension::message(allowed)))
        }
        (Ok(table), Suspension::None) => {
            let next = decide::next(schedule, &base.status, suspension, now);
            explanation.next_run = next.map(|next| next.to_string());
            let refused = warnings::refusal(facts.events, &["FailedCreate"], now);
            match (refused, next) {
                (Some(refused), _) => {
                    explanation.reason = Some("FailedCreate".to_owned());
                    (State::Stuck, format!("JobSchedule {name} is stuck: the API server refuses its Job: {refused}."))
                }
                (None, None) if schedule.runs_left(&base.status) == Some(0) => {
                    let runs = counted(base.status.started_runs, "run");
                    (State::NeverDue, format!("JobSchedule {name} is complete: {runs} started (spec.maxRuns)."))
                }
                (None, None) => (State::NeverDue, format!("JobSchedule {name} is never due again.")),
                (None, Some(next)) => due(schedule, table, next, &active, now),
            }
        }
    };
    if time_in_future(base.status.last_schedule, now).is_some() {
        explanation.ahead("jobschedule", &name, suggest, now);
    }
    explanation.details.push(last_run(schedule, now));
    if let Some(left) = schedule.runs_left(&base.status).filter(|left| *left > 0) {
        explanation.details.push(format!("It will start {} more (spec.maxRuns).", counted(left, "run")));
    }
    explanation.details.extend(backfill_line(schedule));
    if let Some(first) = active.first() {
        let meanwhile = match schedule.policy {
            ConcurrencyPolicy::Forbid => "; runs that fall due meanwhile are skipped (concurrencyPolicy: Forbid)",
            ConcurrencyPolicy::Replace => "; the next run replaces them (concurrencyPolicy: Replace)",
            ConcurrencyPolicy::Queue => "; runs that fall due meanwhile are queued (concurrencyPolicy: Queue)",
            ConcurrencyPolicy::Allow => "",
        };
        explanation.details.push(format!("Active: {}{meanwhile}.", active.join(", ")));
        let explain = suggest.jobwright(&format!("explain job/{first}"));
        explanation.hint(Hint::new(format!("see the state of job/{first}"), explain));
    }
    explanation.details.extend(schedule.stored.history.iter().take(MAX_RUNS_SHOWN).map(|run| format_run(run, now)));
    // The warning about an invalid spec is outdated once the spec is valid.
    let valid = schedule.timetable.is_ok();
    let current = facts.events.iter().filter(|event| !(valid && event.reason.as_deref() == Some("InvalidSchedule")));
    let known = |event: &&Event| event.message.as_deref().is_none_or(|message| !explanation.headline.contains(message));
    let lines = warnings::lines(current.filter(known), &name, now);
    explanation.details.extend(lines);
    explanation.hints.extend(warnings::policy_hint(facts.events, suggest));
    if let Some(text) = worked_on("the JobSchedule", &facts.leases.liveness(Some(MANAGED_BY), now), false, now) {
        explanation.details.insert(0, text);
        explanation.reason = Some("ControllerNotRunning".to_owned());
    }
    Explanation {
        kind: crate::schedule::job_schedule::KIND.to_owned(),
        namespace: base.identity.namespace.to_string(),
        name,
        unread: facts.unread.to_vec(),
        ..explanation
    }
}

/// Returns the state and headline of a JobSchedule that is due at `next`.
fn due(
    schedule: &JobScheduleView,
    table: &Timetable,
    next: Timestamp,
    active: &[&str],
    now: Timestamp,
) -> (State, String) {
    let name = &schedule.base.identity.name;
    if next <= now {
        let before = next.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(next);
        let queued = table.times(before).take_while(|time| *time <= now).take(MAX_QUEUED).count();
        let (runs, jobs) = (counted(queued, "run"), counted(active.len(), "active Job"));
        let are = if queued == 1 { "is" } else { "are" };
        let oldest = span(next, now);
        return (
            State::Blocked,
            format!("JobSchedule {name}: {runs} {are} queued (oldest due {oldest} ago) behind {jobs}."),
        );
    }
    let start = table.start_of(next);
    let jitter = if start > next {
        format!(" (+{} jitter, starts at {})", span(next, start), schedule.format_time(start))
    } else {
        String::new()
    };
    let when = format!("{}{jitter}, in {}", schedule.format_time(next), span(now, next));
    match active.first().filter(|_| schedule.policy == ConcurrencyPolicy::Forbid) {
        Some(job) => {
            let headline = format!(
                "JobSchedule {name} starts no Job while job/{job} is active (concurrencyPolicy: Forbid). Next time: {when}."
            );
            (State::Blocked, headline)
        }
        None => (State::Scheduled, format!("JobSchedule {name}: next run at {when}.")),
    }
}

/// Returns the progress of the backfill, if the JobSchedule has one.
fn backfill_line(schedule: &JobScheduleView) -> Option<String> {
    let backfill = schedule.backfill.as_ref()?;
    let [from, to] = [backfill.range.from, backfill.range.to].map(|time| schedule.format_time(time));
    let progress = match schedule.backfill_progress() {
        Some(progress) if progress.completed.is_some() => format!("complete: {}", backfill::summary(progress)),
        Some(progress) => format!("{}, {} left", backfill::summary(progress), progress.remaining()),
        None => {
            let condition = find(&schedule.stored.conditions, BACKFILL_COMPLETE);
            condition
                .filter(|condition| condition.reason == TOO_MANY_TIMES)
                .map_or_else(|| "not begun".to_owned(), |condition| condition.message.trim_end_matches('.').to_owned())
        }
    };
    Some(format!("Backfill from {from} to {to}: {progress}."))
}

fn last_run(schedule: &JobScheduleView, now: Timestamp) -> String {
    let base = &schedule.base;
    let Some(last) = base.status.last_schedule else {
        let ago = span(base.created, now);
        let due = schedule.timetable.as_ref().ok().and_then(|table| table.next(base.created)).filter(|due| *due <= now);
        return match due {
            Some(due) => {
                let due = schedule.format_time(due);
                format!("It was created {ago} ago and has started no Job, although it was due at {due}.")
            }
            None => format!("It has not been due since it was created {ago} ago."),
        };
    };
    match time_in_future(Some(last), now) {
        Some(_) => {
            format!("Its status.lastScheduleTime is {}, {} from now.", schedule.format_time(last), span(now, last))
        }
        None => format!("It was last due {} ago, at {}.", span(last, now), schedule.format_time(last)),
    }
}

fn format_run(run: &Run, now: Timestamp) -> String {
    let ago = run.finished.as_ref().map_or_else(String::new, |at| format!(" {} ago", span(at.0, now)));
    let why = if run.message.is_empty() { &run.reason } else { &run.message };
    let why = if run.outcome == "Failed" && !why.is_empty() { format!(": {why}") } else { String::new() };
    format!("Job {}: {}{ago}{why}.", run.job, run.outcome.to_lowercase())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn with(spec: &Value, status: &Value, events: &[Event]) -> Explanation {
        let mut whole = json!({"schedules": ["30 4 * * *"], "jobTemplate": {"spec": {"template": {}}}});
        spec.as_object().unwrap().iter().for_each(|(key, value)| whole[key] = value.clone());
        let metadata = json!({
            "name": "a", "namespace": "default", "uid": "u", "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        });
        let wire = json!({"metadata": metadata, "spec": whole, "status": status}).to_string();
        let view = JobScheduleView::parse(serde_json::from_str(&wire).unwrap()).unwrap();
        let (leases, suggest) = (Leases::default(), Suggestions::default());
        let facts = Facts { schedule: &view, events, leases: &leases, suggest: &suggest, unread: &[] };
        explain(&facts, "2026-01-02T04:00:00Z".parse().unwrap())
    }

    fn explained(spec: &Value, status: &Value) -> Explanation {
        with(spec, status, &[])
    }

    #[test]
    fn each_state_has_a_headline() {
        let headline = |spec: Value, status: Value| {
            let explained = explained(&spec, &status);
            (explained.state, explained.headline)
        };
        let is = |state, headline: &str| (state, headline.to_owned());
        let served = json!({"lastScheduleTime": "2026-01-01T04:30:00Z"});
        assert_eq!(
            headline(json!({}), served.clone()),
            is(State::Scheduled, "JobSchedule a: next run at 2026-01-02T04:30:00Z, in 30 min.")
        );
        assert_eq!(
            headline(json!({"suspend": true}), served.clone()),
            is(State::Suspended, "JobSchedule a is suspended: it starts no Jobs.")
        );
        assert_eq!(
            headline(json!({"timeZone": "Mars"}), json!({})),
            is(
                State::Invalid,
                "JobSchedule a starts no Jobs: spec.timeZone: \"Mars\" is not an IANA time zone such as Europe/Paris."
            )
        );
        assert_eq!(
            headline(json!({"schedules": ["0 0 31 2 *"]}), json!({})),
            is(State::NeverDue, "JobSchedule a is never due again.")
        );
        let active = json!({"active": [{"uid": "j", "name": "a-1"}]});
        assert_eq!(
            headline(json!({"concurrencyPolicy": "Queue"}), active),
            is(State::Blocked, "JobSchedule a: 1 run is queued (oldest due 23 h 30 min ago) behind 1 active Job.")
        );
        let active = json!({"active": [{"uid": "j", "name": "a-1"}], "lastScheduleTime": "2026-01-01T04:30:00Z"});
        assert_eq!(
            headline(json!({"concurrencyPolicy": "Forbid"}), active),
            is(
                State::Blocked,
                "JobSchedule a starts no Job while job/a-1 is active (concurrencyPolicy: Forbid). Next time: 2026-01-02T04:30:00Z, in 30 min."
            )
        );
    }

    #[test]
    fn last_schedule_time_in_the_future_is_explained() {
        let explanation = explained(&json!({}), &json!({"lastScheduleTime": "2026-02-01T04:30:00Z"}));
        assert_eq!(explanation.headline, "JobSchedule a: next run at 2026-02-02T04:30:00Z, in 31 d.");
        assert_eq!(
            explanation.details,
            [
                "Its status.lastScheduleTime is later than now: no Job is started before the first time after it.",
                "Its status.lastScheduleTime is 2026-02-01T04:30:00Z, 30 d from now.",
            ]
        );
        let command = explanation.hints[0].command.as_deref().unwrap();
        assert!(command.contains("kubectl patch jobschedule a --subresource=status"), "{command}");
    }

    #[test]
    fn last_runs_are_listed() {
        let run = json!({"job": "a-9", "outcome": "Failed", "finished": "2026-01-02T03:00:00Z", "reason": "R", "message": "exit code 3"});
        let explanation = explained(&json!({}), &json!({"history": [run]}));
        assert_eq!(
            explanation.details,
            [
                "It was created 1 d 4 h ago and has started no Job, although it was due at 2026-01-01T04:30:00Z.",
                "Job a-9: failed 1 h ago: exit code 3.",
            ]
        );
    }

    #[test]
    fn refused_job_makes_the_schedule_stuck_and_an_old_warning_about_the_spec_is_left_out() {
        let event = |reason: &str, message: &str| -> Event {
            serde_json::from_value(json!({"metadata": {}, "involvedObject": {}, "type": "Warning", "reason": reason,
                "message": message, "lastTimestamp": "2026-01-02T03:59:00Z"}))
            .unwrap()
        };
        let events = [event("FailedCreate", "Error creating job: no"), event("InvalidSchedule", "bad zone")];
        let explanation = with(&json!({}), &json!({}), &events);
        assert_eq!(explanation.state, State::Stuck);
        assert_eq!(
            explanation.headline,
            "JobSchedule a is stuck: the API server refuses its Job: Error creating job: no."
        );
        assert!(!explanation.details.iter().any(|detail| detail.contains("bad zone")), "{explanation:?}");
    }
}
