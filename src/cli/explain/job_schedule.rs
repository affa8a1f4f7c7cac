//! Explains the state of a JobSchedule: when it is due next, or why it starts no Jobs.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;

use super::{Explanation, span, warnings};
use crate::schedule::cron_job::decide::time_in_future;
use crate::schedule::job_schedule::decide;
use crate::schedule::job_schedule::types::Run;
use crate::schedule::job_schedule::view::JobScheduleView;

/// Maximum number of finished runs that an explanation lists, the newest first.
const MAX_RUNS_SHOWN: usize = 3;

/// Returns the explanation of a JobSchedule. `events` are the warnings about the JobSchedule.
pub(crate) fn explain(schedule: &JobScheduleView, events: &[Event], now: Timestamp) -> Explanation {
    let base = &schedule.base;
    let name = &base.identity.name;
    let mut explanation = Explanation::default();
    explanation.headline = match &schedule.timetable {
        Err(wrong) => format!("JobSchedule {name} runs nothing: {wrong}."),
        Ok(_) if base.spec.suspend => {
            explanation.next.push(format!(
                "resume it: kubectl patch jobschedule {name} --type=merge -p '{{\"spec\":{{\"suspend\":false}}}}'"
            ));
            format!("JobSchedule {name} is suspended: it starts no Jobs.")
        }
        Ok(table) => match decide::next(schedule, &base.status, now) {
            None => format!("JobSchedule {name} is never due again."),
            Some(next) if next <= now => {
                let active = base.status.active.len();
                format!(
                    "JobSchedule {name} waits with what is due since {}: {active} of its Jobs are active.",
                    span(next, now)
                )
            }
            Some(next) => {
                let start = table.start_of(next);
                let late = if start > next {
                    format!(", started {} later (jitter)", span(next, start))
                } else {
                    String::new()
                };
                format!(
                    "JobSchedule {name} is due next in {}, at {}{late}.",
                    span(now, next),
                    schedule.format_time(next)
                )
            }
        },
    };
    if time_in_future(base.status.last_schedule, now).is_some() {
        explanation.ahead("jobschedule", name, now);
    }
    explanation.details.push(base.status.last_schedule.map_or_else(
        || "It has never been due.".to_owned(),
        |last| match time_in_future(Some(last), now) {
            Some(_) => {
                format!("Its status.lastScheduleTime is {}, {} from now.", schedule.format_time(last), span(now, last))
            }
            None => format!("It was last due {} ago, at {}.", span(last, now), schedule.format_time(last)),
        },
    ));
    let active: Vec<&str> = base.status.active.iter().map(|job| job.name.as_str()).collect();
    if let Some(first) = active.first() {
        explanation.details.push(format!(
            "Running now: {}; what is due meanwhile: {:?}.",
            active.join(", "),
            schedule.policy
        ));
        explanation.next.push(format!("ask on: jobwright explain job/{first}"));
    }
    explanation.details.extend(schedule.stored.history.iter().take(MAX_RUNS_SHOWN).map(|run| format_run(run, now)));
    explanation.details.extend(warnings(events, now));
    explanation
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

    fn explained(spec: &Value, status: &Value) -> Explanation {
        let mut whole = json!({"schedules": ["30 4 * * *"], "jobTemplate": {"spec": {"template": {}}}});
        spec.as_object().unwrap().iter().for_each(|(key, value)| whole[key] = value.clone());
        let metadata = json!({
            "name": "a", "namespace": "default", "uid": "u", "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        });
        let wire = json!({"metadata": metadata, "spec": whole, "status": status}).to_string();
        let view = JobScheduleView::parse(serde_json::from_str(&wire).unwrap()).unwrap();
        explain(&view, &[], "2026-01-02T04:00:00Z".parse().unwrap())
    }

    #[test]
    fn each_state_has_a_headline() {
        let headline = |spec: Value, status: Value| explained(&spec, &status).headline;
        let served = json!({"lastScheduleTime": "2026-01-01T04:30:00Z"});
        assert_eq!(
            headline(json!({}), served.clone()),
            "JobSchedule a is due next in 30 min, at 2026-01-02T04:30:00Z."
        );
        assert_eq!(headline(json!({"suspend": true}), served), "JobSchedule a is suspended: it starts no Jobs.");
        assert_eq!(
            headline(json!({"timeZone": "Mars"}), json!({})),
            "JobSchedule a runs nothing: spec.timeZone: \"Mars\" is not an IANA time zone such as Europe/Paris."
        );
        assert_eq!(headline(json!({"schedules": ["0 0 31 2 *"]}), json!({})), "JobSchedule a is never due again.");
        let active = json!({"active": [{"uid": "j", "name": "a-1"}]});
        assert_eq!(
            headline(json!({"concurrencyPolicy": "Queue"}), active),
            "JobSchedule a waits with what is due since 23 h 30 min: 1 of its Jobs are active."
        );
    }

    #[test]
    fn last_schedule_time_in_the_future_is_explained() {
        let explanation = explained(&json!({}), &json!({"lastScheduleTime": "2026-02-01T04:30:00Z"}));
        assert_eq!(explanation.headline, "JobSchedule a is due next in 31 d, at 2026-02-02T04:30:00Z.");
        assert_eq!(
            explanation.details,
            [
                "Its last schedule time is later than now: no Job is started before the first time after it.",
                "Its status.lastScheduleTime is 2026-02-01T04:30:00Z, 30 d from now.",
            ]
        );
        assert!(
            explanation.next[0].contains("kubectl patch jobschedule a --subresource=status"),
            "{:?}",
            explanation.next
        );
    }

    #[test]
    fn last_runs_are_listed() {
        let run = json!({"job": "a-9", "outcome": "Failed", "finished": "2026-01-02T03:00:00Z", "reason": "R", "message": "exit code 3"});
        let explanation = explained(&json!({}), &json!({"history": [run]}));
        assert_eq!(explanation.details, ["It has never been due.", "Job a-9: failed 1 h ago: exit code 3."]);
    }
}
