//! Explains the state of a CronJob: when it is due next, or why it starts no Jobs.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Event;
use kube::ResourceExt;

use super::super::cluster::end;
use super::{Explanation, span, warnings};
use crate::schedule::cron_job::decide::time_in_future;
use crate::schedule::expression::Schedule;
use crate::schedule::zones;

/// Maximum number of finished Jobs that an explanation lists, the newest first.
const MAX_JOBS_SHOWN: usize = 3;

/// Returns the explanation of a CronJob. `jobs` are all Jobs of its namespace, and `events` the warnings about the
/// CronJob.
pub(crate) fn explain(cron_job: &CronJob, jobs: &[Job], events: &[Event], now: Timestamp) -> Explanation {
    let name = cron_job.name_any();
    let spec = &cron_job.spec;
    let status = cron_job.status.clone().unwrap_or_default();
    let mut explanation = Explanation::default();
    let mut own: Vec<&Job> = jobs
        .iter()
        .filter(|job| job.owner_references().iter().any(|owner| Some(&owner.uid) == cron_job.uid().as_ref()))
        .collect();
    own.sort_by_key(|job| std::cmp::Reverse(job.creation_timestamp()));
    let active: Vec<String> = own.iter().filter(|job| outcome(job).is_none()).map(|job| job.name_any()).collect();

    let last = status.last_schedule_time.as_ref().map(|time| time.0);
    let last_text = last.map_or_else(
        || "It has never been due.".to_owned(),
        |last| match time_in_future(Some(last), now) {
            Some(_) => format!("Its status.lastScheduleTime is {last}, {} from now.", span(now, last)),
            None => format!("It was last due {} ago, at {last}.", span(last, now)),
        },
    );
    let zone = match &spec.time_zone {
        Some(zone) => zones::zone(zone),
        None => Some(TimeZone::UTC),
    };
    let schedule = Schedule::parse(&spec.schedule);
    let ahead = time_in_future(last, now);
    if ahead.is_some() {
        explanation.ahead("cronjob", &name, now);
    }
    explanation.headline = match (&schedule, &zone) {
        (Err(error), _) => format!("CronJob {name} runs nothing: its schedule cannot be read: {error}."),
        (_, None) => format!(
            "CronJob {name} runs nothing: its time zone {:?} is not known.",
            spec.time_zone.as_deref().unwrap_or_default()
        ),
        _ if spec.suspend == Some(true) => {
            explanation.next.push(format!(
                "resume it: kubectl patch cronjob {name} --type=merge -p '{{\"spec\":{{\"suspend\":false}}}}'"
            ));
            format!("CronJob {name} is suspended: it starts no Jobs.")
        }
        (Ok(schedule), Some(zone)) => match schedule.next(ahead.unwrap_or(now), schedule.zone(zone)) {
            None => format!("CronJob {name} is never due: nothing matches {:?} within five years.", spec.schedule),
            Some(next) => {
                let in_zone = spec.time_zone.as_deref().map_or_else(
                    || " (no spec.timeZone: UTC is taken here; the controller takes its own)".to_owned(),
                    |zone_name| format!(" ({} in {zone_name})", next.to_zoned(zone.clone()).strftime("%a %H:%M")),
                );
                format!("CronJob {name} is due next in {}, at {next}{in_zone}.", span(now, next))
            }
        },
    };
    explanation.details.push(last_text);
    if !active.is_empty() {
        let waits = match spec.concurrency_policy.as_deref() {
            Some("Forbid") => "; while one runs, what is due is left out (concurrencyPolicy Forbid)",
            Some("Replace") => "; what is due next takes their place (concurrencyPolicy Replace)",
            _ => "",
        };
        explanation.details.push(format!("Running now: {}{waits}.", active.join(", ")));
        explanation.next.push(format!("ask on: jobwright explain job/{}", active[0]));
    }
    for job in own.iter().filter(|job| outcome(job).is_some()).take(MAX_JOBS_SHOWN) {
        let started =
            job.creation_timestamp().map_or_else(String::new, |at| format!(", started {} ago", span(at.0, now)));
        let outcome = outcome(job).unwrap_or_default();
        explanation.details.push(format!("Job {}: {outcome}{started}.", job.name_any()));
        if outcome.starts_with("failed") && explanation.next.len() < 2 {
            explanation.next.push(format!("ask why: jobwright explain job/{}", job.name_any()));
        }
    }
    if let Some(deadline) = spec.starting_deadline_seconds {
        explanation
            .details
            .push(format!("What cannot start within {deadline} s is left out (startingDeadlineSeconds)."));
    }
    explanation.details.extend(warnings(events, now));
    explanation
}

/// Returns the outcome of a finished Job in words. `None` if the Job is unfinished.
fn outcome(job: &Job) -> Option<String> {
    let end = end(job.status.as_ref()?)?;
    Some(match end.type_.as_str() {
        "Complete" => "complete".to_owned(),
        _ => format!("failed ({})", end.reason.as_deref().unwrap_or("no reason is given")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn explained(change: impl Fn(&mut Value), jobs: &[Job]) -> Explanation {
        let mut cron_job = json!({
            "metadata": {"name": "a", "uid": "u"},
            "spec": {"schedule": "30 4 * * *", "timeZone": "Europe/Paris", "jobTemplate": {"spec": {"template": {}}}},
            "status": {"lastScheduleTime": "2026-01-01T03:30:00Z"},
        });
        change(&mut cron_job);
        explain(&serde_json::from_value(cron_job).unwrap(), jobs, &[], "2026-01-01T04:00:00Z".parse().unwrap())
    }

    #[test]
    fn each_state_has_a_headline() {
        type Case = (fn(&mut Value), &'static str);
        let cases: [Case; 4] = [
            (|_| {}, "CronJob a is due next in 23 h 30 min, at 2026-01-02T03:30:00Z (Fri 04:30 in Europe/Paris)."),
            (|cron_job| cron_job["spec"]["suspend"] = json!(true), "CronJob a is suspended: it starts no Jobs."),
            (
                |cron_job| cron_job["spec"]["schedule"] = json!("0 0 30 2 *"),
                "CronJob a is never due: nothing matches \"0 0 30 2 *\" within five years.",
            ),
            (
                |cron_job| cron_job["spec"]["timeZone"] = json!("Europe/Nowhere"),
                "CronJob a runs nothing: its time zone \"Europe/Nowhere\" is not known.",
            ),
        ];
        for (change, headline) in cases {
            let explained = explained(change, &[]);
            assert_eq!(explained.headline, headline);
            assert_eq!(explained.details, ["It was last due 30 min ago, at 2026-01-01T03:30:00Z."]);
        }
    }

    #[test]
    fn last_schedule_time_in_the_future_is_explained() {
        let explained =
            explained(|cron_job| cron_job["status"]["lastScheduleTime"] = json!("2026-02-01T03:30:00Z"), &[]);
        assert_eq!(
            explained.headline,
            "CronJob a is due next in 31 d 23 h, at 2026-02-02T03:30:00Z (Mon 04:30 in Europe/Paris)."
        );
        assert_eq!(
            explained.details,
            [
                "Its last schedule time is later than now: no Job is started before the first time after it.",
                "Its status.lastScheduleTime is 2026-02-01T03:30:00Z, 30 d 23 h from now.",
            ]
        );
        assert!(
            explained.next[0]
                .starts_with("if a clock was wrong, set it back: kubectl patch cronjob a --subresource=status")
        );
    }

    #[test]
    fn active_and_failed_jobs_are_listed() {
        let job = |name: &str, conditions: Value| -> Job {
            serde_json::from_value(json!({
                "metadata": {"name": name, "creationTimestamp": "2026-01-01T03:30:00Z", "ownerReferences": [
                    {"apiVersion": "batch/v1", "kind": "CronJob", "name": "a", "uid": "u", "controller": true},
                ]},
                "status": {"conditions": conditions},
            }))
            .unwrap()
        };
        let failed = json!([{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]);
        let jobs = [job("a-1", failed), job("a-2", json!([]))];
        let explained = explained(|cron_job| cron_job["spec"]["concurrencyPolicy"] = json!("Forbid"), &jobs);
        assert_eq!(
            explained.details[1..],
            [
                "Running now: a-2; while one runs, what is due is left out (concurrencyPolicy Forbid).",
                "Job a-1: failed (BackoffLimitExceeded), started 30 min ago.",
            ]
        );
        assert_eq!(explained.next, ["ask on: jobwright explain job/a-2", "ask why: jobwright explain job/a-1"]);
    }
}
