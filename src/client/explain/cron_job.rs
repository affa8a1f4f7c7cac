//! Explains the state of a CronJob: when it is due next, or why it starts no Jobs.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Event;
use kube::ResourceExt;

use super::explanation::{Explanation, Hint, State, Unread};
use super::{span, warnings, worked_on};
use crate::client::cluster::{INSTANTIATE_ANNOTATION, condition, end};
use crate::client::leases::Leases;
use crate::client::suggest::Suggestions;
use crate::schedule::cron_job::decide::time_in_future;
use crate::schedule::expression::{Schedule, ScheduleError};
use crate::schedule::zones;

/// Maximum number of finished Jobs that an explanation lists, the newest first.
const MAX_JOBS_SHOWN: usize = 3;

/// Objects from which a CronJob is explained.
#[derive(Clone)]
pub(crate) struct Facts<'a> {
    /// The CronJob.
    pub cron_job: &'a CronJob,
    /// All Jobs of its namespace. `None` if they cannot be read.
    pub jobs: Option<&'a [Job]>,
    /// Warning events about the CronJob, the newest first.
    pub events: &'a [Event],
    /// Leases of the controllers.
    pub leases: &'a Leases,
    /// Writes the commands of hints.
    pub suggest: &'a Suggestions,
    /// Objects that could not be read.
    pub unread: &'a [Unread],
}

/// Returns the explanation of a CronJob at the time `now`.
pub(crate) fn explain(facts: &Facts<'_>, now: Timestamp) -> Explanation {
    let (cron_job, suggest) = (facts.cron_job, facts.suggest);
    let name = cron_job.name_any();
    let spec = &cron_job.spec;
    let status = cron_job.status.clone().unwrap_or_default();
    let mut explanation = Explanation::default();
    let owned = |job: &&Job| job.owner_references().iter().any(|owner| Some(&owner.uid) == cron_job.uid().as_ref());
    let mut own: Vec<&Job> = facts.jobs.unwrap_or_default().iter().filter(owned).collect();
    own.sort_by_key(|job| std::cmp::Reverse(job.creation_timestamp()));
    let active: Vec<&Job> = own.iter().copied().filter(|job| outcome(job).is_none()).collect();
    let last = status.last_schedule_time.as_ref().map(|time| time.0);
    let zone = spec.time_zone.as_deref().map_or(Some(TimeZone::UTC), zones::zone);
    let schedule = Schedule::parse(&spec.schedule);
    let ahead = time_in_future(last, now);
    if ahead.is_some() {
        explanation.ahead("cronjob", &name, suggest, now);
    }
    (explanation.state, explanation.headline) = match (&schedule, &zone) {
        (Err(error), _) => {
            (State::Invalid, format!("CronJob {name} starts no Jobs: its schedule is invalid: {error}."))
        }
        (_, None) => {
            let zone = spec.time_zone.as_deref().unwrap_or_default();
            let headline = format!(
                "CronJob {name} starts no Jobs: its time zone {zone:?} is not an IANA time zone (example: Europe/Paris)."
            );
            (State::Invalid, headline)
        }
        _ if spec.suspend == Some(true) => {
            let resume = format!("patch cronjob {name} --type=merge -p '{{\"spec\":{{\"suspend\":false}}}}'");
            explanation.hint(Hint::new("resume the CronJob", suggest.kubectl(&resume)));
            (State::Suspended, format!("CronJob {name} is suspended: it starts no Jobs."))
        }
        _ if warnings::refusal(facts.events, &["FailedCreate"], now).is_some() => {
            let refused = warnings::refusal(facts.events, &["FailedCreate"], now).unwrap_or_default();
            explanation.reason = Some("FailedCreate".to_owned());
            (State::Stuck, format!("CronJob {name} is stuck: the API server refuses its Job: {refused}."))
        }
        (Ok(schedule), Some(zone)) => match schedule.next(ahead.unwrap_or(now), schedule.zone(zone)) {
            None => {
                let headline =
                    format!("CronJob {name} is never due: no time within five years matches {:?}.", spec.schedule);
                (State::NeverDue, headline)
            }
            Some(next) => {
                explanation.next_run = Some(next.to_string());
                let in_zone = spec.time_zone.as_deref().map_or_else(
                    || "(no spec.timeZone; shown in UTC, the zone of the controller applies)".to_owned(),
                    |zone_name| format!("({} in {zone_name})", next.to_zoned(zone.clone()).strftime("%a %H:%M")),
                );
                let when = format!("{next} {in_zone}, in {}", span(now, next));
                match active.first().filter(|_| spec.concurrency_policy.as_deref() == Some("Forbid")) {
                    Some(job) => {
                        let headline = format!(
                            "CronJob {name} starts no Job while job/{} is active (concurrencyPolicy: Forbid). Next time: {when}.",
                            job.name_any()
                        );
                        (State::Blocked, headline)
                    }
                    None => (State::Scheduled, format!("CronJob {name}: next run at {when}.")),
                }
            }
        },
    };
    explanation.details.push(last_run(cron_job, last, &schedule, zone.as_ref(), now));
    describe_active(facts, &active, &mut explanation);
    describe_ended(&own, suggest, &mut explanation, now);
    if let Some(deadline) = spec.starting_deadline_seconds {
        explanation
            .details
            .push(format!("Runs that cannot start within {deadline} s are skipped (startingDeadlineSeconds)."));
    }
    explanation.details.extend(warnings::lines(
        facts.events.iter().filter(|event| is_relevant(event, &own)),
        &name,
        now,
    ));
    let liveness = facts.leases.liveness(None, now);
    if let Some(text) = worked_on("the CronJob", &liveness, false, now) {
        explanation.details.insert(0, text);
        explanation.reason = Some("ControllerNotRunning".to_owned());
    }
    Explanation {
        kind: crate::schedule::cron_job::KIND.to_owned(),
        namespace: cron_job.namespace().unwrap_or_default(),
        name,
        unread: facts.unread.to_vec(),
        ..explanation
    }
}

/// Describes the last time at which the CronJob started a Job.
fn last_run(
    cron_job: &CronJob,
    last: Option<Timestamp>,
    schedule: &Result<Schedule, ScheduleError>,
    zone: Option<&TimeZone>,
    now: Timestamp,
) -> String {
    if let Some(last) = last {
        return match time_in_future(Some(last), now) {
            Some(_) => format!("Its status.lastScheduleTime is {last}, {} from now.", span(now, last)),
            None => format!("It was last due {} ago, at {last}.", span(last, now)),
        };
    }
    let Some(created) = cron_job.creation_timestamp().map(|time| time.0) else {
        return "It has started no Job yet.".to_owned();
    };
    let ago = span(created, now);
    let due = schedule.as_ref().ok().zip(zone).and_then(|(schedule, zone)| schedule.next(created, schedule.zone(zone)));
    match due.filter(|due| *due <= now) {
        Some(due) => format!("It was created {ago} ago and has started no Job, although it was due at {due}."),
        None => format!("It has not been due since it was created {ago} ago."),
    }
}

/// Adds the Jobs that are active, and those that have failed or succeeded and do not finish.
fn describe_active(facts: &Facts<'_>, active: &[&Job], explanation: &mut Explanation) {
    let policy = facts.cron_job.spec.concurrency_policy.as_deref();
    let Some(first) = active.first() else { return };
    let names: Vec<String> = active.iter().map(|job| job.name_any()).collect();
    let meanwhile = match policy {
        Some("Forbid") => "; runs that fall due meanwhile are skipped (concurrencyPolicy: Forbid)",
        Some("Replace") => "; the next run replaces them (concurrencyPolicy: Replace)",
        _ => "",
    };
    explanation.details.push(format!("Active: {}{meanwhile}.", names.join(", ")));
    for job in active {
        let Some(status) = &job.status else { continue };
        let interim = condition(status, "FailureTarget").map(|failed| ("failed", failed));
        let interim = interim.or_else(|| condition(status, "SuccessCriteriaMet").map(|met| ("succeeded", met)));
        if let Some((what, interim)) = interim {
            explanation.details.push(format!(
                "Job {} has {what} ({}), and is not finished: its pods have not terminated.",
                job.name_any(),
                interim.reason.as_deref().unwrap_or("without a reason")
            ));
            explanation.reason = Some("JobDoesNotFinish".to_owned());
        }
    }
    let explain = facts.suggest.jobwright(&format!("explain job/{}", first.name_any()));
    explanation.hint(Hint::new(format!("see the state of job/{}", first.name_any()), explain));
}

/// Adds the last Jobs that ended.
fn describe_ended(own: &[&Job], suggest: &Suggestions, explanation: &mut Explanation, now: Timestamp) {
    let ended = own.iter().filter_map(|job| Some((job, outcome(job)?)));
    let mut explained = false;
    for (job, outcome) in ended.take(MAX_JOBS_SHOWN) {
        let started =
            job.creation_timestamp().map_or_else(String::new, |at| format!(", started {} ago", span(at.0, now)));
        explanation.details.push(format!("Job {}: {outcome}{started}.", job.name_any()));
        if outcome.starts_with("failed") && !explained {
            explained = true;
            let command = suggest.jobwright(&format!("explain job/{}", job.name_any()));
            explanation.hint(Hint::new(format!("see why job/{} failed", job.name_any()), command));
        }
    }
}

/// Returns whether a warning is worth a line: the built-in controller warns about Jobs that a user started.
fn is_relevant(event: &Event, own: &[&Job]) -> bool {
    if event.reason.as_deref() != Some("UnexpectedJob") {
        return true;
    }
    let manual = own.iter().filter(|job| job.annotations().contains_key(INSTANTIATE_ANNOTATION));
    let message = event.message.as_deref().unwrap_or_default();
    !manual.map(|job| job.name_any()).any(|name| message.ends_with(&name))
}

/// Returns the outcome of a finished Job in words. `None` if the Job is unfinished.
fn outcome(job: &Job) -> Option<String> {
    let end = end(job.status.as_ref()?)?;
    Some(match end.type_.as_str() {
        "Complete" => "complete".to_owned(),
        _ => format!("failed ({})", end.reason.as_deref().unwrap_or("without a reason")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::client::explain::job::tests::stopped;

    const NOW: &str = "2026-01-01T04:00:00Z";

    fn with(change: impl Fn(&mut Value), jobs: Option<&[Job]>, events: &[Event], leases: &Leases) -> Explanation {
        let mut cron_job = json!({
            "metadata": {"name": "a", "namespace": "default", "uid": "u", "creationTimestamp": "2025-12-31T00:00:00Z"},
            "spec": {"schedule": "30 4 * * *", "timeZone": "Europe/Paris", "jobTemplate": {"spec": {"template": {}}}},
            "status": {"lastScheduleTime": "2026-01-01T03:30:00Z"},
        });
        change(&mut cron_job);
        let cron_job = serde_json::from_value(cron_job).unwrap();
        let suggest = Suggestions::new("jobwright", Some("ux".to_owned()), Vec::new());
        let facts = Facts { cron_job: &cron_job, jobs, events, leases, suggest: &suggest, unread: &[] };
        explain(&facts, NOW.parse().unwrap())
    }

    fn explained(change: impl Fn(&mut Value), jobs: &[Job]) -> Explanation {
        with(change, Some(jobs), &[], &Leases::default())
    }

    fn job(name: &str, conditions: Value) -> Job {
        serde_json::from_value(json!({
            "metadata": {"name": name, "creationTimestamp": "2026-01-01T03:30:00Z", "ownerReferences": [
                {"apiVersion": "batch/v1", "kind": "CronJob", "name": "a", "uid": "u", "controller": true},
            ]},
            "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    #[test]
    fn each_state_has_a_headline() {
        type Case = (fn(&mut Value), State, &'static str);
        let cases: [Case; 5] = [
            (
                |_| {},
                State::Scheduled,
                "CronJob a: next run at 2026-01-02T03:30:00Z (Fri 04:30 in Europe/Paris), in 23 h 30 min.",
            ),
            (
                |cron_job| cron_job["spec"]["suspend"] = json!(true),
                State::Suspended,
                "CronJob a is suspended: it starts no Jobs.",
            ),
            (
                |cron_job| cron_job["spec"]["schedule"] = json!("0 0 30 2 *"),
                State::NeverDue,
                "CronJob a is never due: no time within five years matches \"0 0 30 2 *\".",
            ),
            (
                |cron_job| cron_job["spec"]["timeZone"] = json!("Europe/Nowhere"),
                State::Invalid,
                "CronJob a starts no Jobs: its time zone \"Europe/Nowhere\" is not an IANA time zone (example: Europe/Paris).",
            ),
            (
                |cron_job| cron_job["spec"]["timeZone"] = Value::Null,
                State::Scheduled,
                "CronJob a: next run at 2026-01-01T04:30:00Z (no spec.timeZone; shown in UTC, the zone of the controller applies), in 30 min.",
            ),
        ];
        for (change, state, headline) in cases {
            let explained = explained(change, &[]);
            assert_eq!((explained.headline.as_str(), explained.state), (headline, state));
            assert_eq!(explained.details, ["It was last due 30 min ago, at 2026-01-01T03:30:00Z."]);
        }
    }

    #[test]
    fn cron_job_that_has_started_nothing_is_measured_from_its_creation() {
        let created = |at: &'static str| {
            let explained = explained(
                |cron_job| {
                    cron_job["status"] = json!({});
                    cron_job["metadata"]["creationTimestamp"] = json!(at);
                },
                &[],
            );
            explained.details[0].clone()
        };
        assert_eq!(created("2026-01-01T03:58:00Z"), "It has not been due since it was created 2 min ago.");
        assert_eq!(
            created("2026-01-01T03:00:00Z"),
            "It was created 1 h ago and has started no Job, although it was due at 2026-01-01T03:30:00Z."
        );
    }

    #[test]
    fn last_schedule_time_in_the_future_is_explained() {
        let explained =
            explained(|cron_job| cron_job["status"]["lastScheduleTime"] = json!("2026-02-01T03:30:00Z"), &[]);
        assert_eq!(
            explained.headline,
            "CronJob a: next run at 2026-02-02T03:30:00Z (Mon 04:30 in Europe/Paris), in 31 d 23 h."
        );
        assert_eq!(
            explained.details,
            [
                "Its status.lastScheduleTime is later than now: no Job is started before the first time after it.",
                "Its status.lastScheduleTime is 2026-02-01T03:30:00Z, 30 d 23 h from now.",
            ]
        );
        let command = explained.hints[0].command.as_deref().unwrap();
        assert!(
            command.starts_with("kubectl patch cronjob a --subresource=status") && command.ends_with(" -n ux"),
            "{command}"
        );
    }

    #[test]
    fn active_and_failed_jobs_are_listed() {
        let failed = json!([{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]);
        let jobs = [job("a-1", failed), job("a-2", json!([]))];
        let explained = explained(|cron_job| cron_job["spec"]["concurrencyPolicy"] = json!("Forbid"), &jobs);
        assert_eq!(explained.state, State::Blocked);
        assert!(explained.headline.starts_with("CronJob a starts no Job while job/a-2 is active"), "{explained:?}");
        assert_eq!(
            explained.details[1..],
            [
                "Active: a-2; runs that fall due meanwhile are skipped (concurrencyPolicy: Forbid).",
                "Job a-1: failed (BackoffLimitExceeded), started 30 min ago.",
            ]
        );
        assert_eq!(
            explained.hints,
            [
                Hint::new("see the state of job/a-2", "jobwright explain job/a-2 -n ux"),
                Hint::new("see why job/a-1 failed", "jobwright explain job/a-1 -n ux"),
            ]
        );
    }

    #[test]
    fn failed_job_that_does_not_finish_blocks_the_next_run() {
        let interim = json!([{"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded"}]);
        let explained =
            explained(|cron_job| cron_job["spec"]["concurrencyPolicy"] = json!("Forbid"), &[job("a-1", interim)]);
        assert_eq!((explained.state, explained.reason.as_deref()), (State::Blocked, Some("JobDoesNotFinish")));
        let expected = "Job a-1 has failed (DeadlineExceeded), and is not finished: its pods have not terminated.";
        assert!(explained.details.iter().any(|detail| detail == expected), "{explained:?}");
    }

    #[test]
    fn warning_about_a_job_that_the_user_started_is_left_out() {
        let mut manual = job("a-manual-x", json!([]));
        manual.annotations_mut().insert(INSTANTIATE_ANNOTATION.to_owned(), "manual".to_owned());
        let event = |name: &str| -> Event {
            serde_json::from_value(json!({"metadata": {}, "involvedObject": {}, "reason": "UnexpectedJob",
                "message": format!("Saw a job that the controller did not create or forgot: {name}")}))
            .unwrap()
        };
        let events = [event("a-manual-x"), event("other")];
        let explained = with(|_| {}, Some(&[manual]), &events, &Leases::default());
        let warnings: Vec<_> = explained.details.iter().filter(|detail| detail.starts_with("Warning")).collect();
        assert_eq!(warnings.len(), 1, "{explained:?}");
        assert!(warnings[0].ends_with("forgot: other"), "{explained:?}");
    }

    #[test]
    fn stopped_controller_is_named_and_unreadable_jobs_leave_the_rest() {
        let explained = with(|_| {}, None, &[], &stopped("2026-01-01T03:48:00Z"));
        assert_eq!(
            explained.details[0],
            "No controller works on the CronJob: the Lease jobwright in namespace kube-system was last renewed 12 min ago by jobwright-0."
        );
        assert_eq!(explained.reason.as_deref(), Some("ControllerNotRunning"));
    }
}
