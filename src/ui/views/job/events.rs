//! Conditions and events of a Job and its pods in one time line, the newest first.

use std::collections::HashSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use maud::{Markup, html};

use super::Opened;
use crate::client::cluster::ClusterContext;
use crate::client::explain::warnings::seen_at;
use crate::client::lists::ListEach;
use crate::runtime::errors::message;
use crate::ui::components::{Header, State, empty, state_with, table, table_region};
use crate::ui::text::{name, neutral, relative_time, truncated};

/// Maximum number of events of each request.
const LISTED: u32 = 500;
/// Maximum number of rows.
const ROWS: usize = 100;
/// Maximum number of characters of a message.
const MESSAGE: usize = 500;
/// Maximum number of characters of a name.
const NAME: usize = 50;

/// Moment in the life of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Moment {
    at: Timestamp,
    /// How important the moment is.
    state: State,
    /// Type of the condition, or reason of the event.
    what: String,
    /// Name of the pod that the moment concerns; empty for the Job.
    pod: String,
    message: String,
    /// Number of times that an event was recorded.
    count: i32,
}

/// Reads the events about a Job and its pods.
pub(super) async fn read(context: &ClusterContext, job: &Job, pods: &[Pod]) -> kube::Result<Vec<Event>> {
    let events: Api<Event> = context.api();
    let uid = job.uid().unwrap_or_default();
    let of_job = ListParams::default().fields(&format!("involvedObject.uid={uid}")).limit(LISTED);
    let mut found = events.list_each(&of_job).await?;
    if !pods.is_empty() {
        let uids: HashSet<String> = pods.iter().filter_map(ResourceExt::uid).collect();
        let of_pods = ListParams::default().fields("involvedObject.kind=Pod").limit(LISTED);
        let about = |event: &Event| event.involved_object.uid.as_ref().is_some_and(|uid| uids.contains(uid));
        found.extend(events.list_each(&of_pods).await?.into_iter().filter(about));
    }
    Ok(found)
}

/// Returns the conditions of a Job and these events, the newest first.
fn moments(job: &Job, events: &[Event]) -> Vec<Moment> {
    let status = job.status.clone().unwrap_or_default();
    let conditions = status.conditions.iter().flatten().filter_map(|one| {
        let at = one.last_transition_time.as_ref()?.0;
        let state = match (one.type_.as_str(), one.status.as_str()) {
            ("Failed" | "FailureTarget", "True") => State::Failed,
            ("Complete" | "SuccessCriteriaMet", "True") => State::Complete,
            ("Suspended", "True") => State::Suspended,
            _ => State::Scheduled,
        };
        let texts = [&one.reason, &one.message].map(|text| text.clone().unwrap_or_default());
        let message = texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ");
        let what = if one.status == "True" { one.type_.clone() } else { format!("{}={}", one.type_, one.status) };
        Some(Moment { at, state, what, pod: String::new(), message, count: 1 })
    });
    let events = events.iter().filter_map(|event| {
        let at = seen_at(event).or(event.metadata.creation_timestamp.as_ref().map(|time| time.0))?;
        let is_warning = event.type_.as_deref() == Some("Warning");
        let about = &event.involved_object;
        let pod = if about.kind.as_deref() == Some("Pod") { about.name.clone() } else { None };
        let series = event.series.as_ref().and_then(|series| series.count);
        Some(Moment {
            at,
            state: if is_warning { State::Failing } else { State::Scheduled },
            what: event.reason.clone().unwrap_or_default(),
            pod: pod.unwrap_or_default(),
            message: event.message.clone().unwrap_or_default(),
            count: series.or(event.count).unwrap_or(1),
        })
    });
    let mut all: Vec<Moment> = conditions.chain(events).collect();
    let begin = [("Created", job.metadata.creation_timestamp.as_ref()), ("Started", status.start_time.as_ref())];
    all.extend(begin.into_iter().filter_map(|(what, time)| {
        let (pod, message) = (String::new(), String::new());
        Some(Moment { at: time?.0, state: State::Scheduled, what: what.to_owned(), pod, message, count: 1 })
    }));
    all.sort_by_key(|moment| std::cmp::Reverse(moment.at));
    all
}

pub(super) fn list(opened: &Opened, zone: &TimeZone, now: Timestamp) -> Markup {
    let none = Vec::new();
    let moments = moments(&opened.job, opened.events.as_ref().unwrap_or(&none));
    let more = moments.len().saturating_sub(ROWS);
    let column = |label| Header { label, ..Header::default() };
    let headers = [column("When"), column("What"), column("Pod"), column("Message")];
    let rows = html! { @for moment in moments.iter().take(ROWS) { (row(moment, zone, now)) } };
    html! {
        @if let Err(error) = &opened.events {
            p.warn { "The events cannot be read: " (neutral(&message(error))) }
        }
        @if moments.is_empty() {
            (empty("No conditions and no events.", html! { p { "The cluster keeps events for an hour." } }))
        } @else {
            (table_region("Conditions and events", table("Conditions and events, the newest first", &headers, rows)))
        }
        @if more > 0 { p { (more) " older ones are not shown." } }
    }
}

fn row(moment: &Moment, zone: &TimeZone, now: Timestamp) -> Markup {
    let Moment { at, state, what, pod, message, count } = moment;
    let what = match count {
        ..=1 => what.clone(),
        count => format!("{what} ({count} times)"),
    };
    html! {
        tr {
            td { (relative_time(*at, now, zone)) }
            td { (state_with(*state, html! { (neutral(&what)) })) }
            td { (name(pod, NAME)) }
            td { (truncated(message, MESSAGE)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_and_events_are_in_one_order() {
        let job: Job = serde_json::from_value(json!({
            "metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"startTime": "2026-01-01T00:00:01Z", "conditions": [
                {"type": "Suspended", "status": "False", "reason": "JobResumed", "message": "Job resumed",
                    "lastTransitionTime": "2026-01-01T00:00:02Z"},
                {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "lastTransitionTime": "2026-01-01T00:10:00Z"},
            ]},
        }))
        .unwrap();
        let events: Vec<Event> = serde_json::from_value(json!([
            {"metadata": {}, "involvedObject": {"kind": "Pod", "name": "a-1"}, "type": "Warning", "reason": "BackOff",
                "message": "restarting", "count": 4, "lastTimestamp": "2026-01-01T00:05:00Z"},
            {"metadata": {}, "involvedObject": {"kind": "Job", "name": "a"}, "type": "Normal", "reason": "SuccessfulCreate",
                "eventTime": "2026-01-01T00:00:03.000000Z"},
        ]))
        .unwrap();
        let moments = moments(&job, &events);
        let words: Vec<(&str, &str, State)> =
            moments.iter().map(|moment| (moment.what.as_str(), moment.pod.as_str(), moment.state)).collect();
        let expected = [
            ("Failed", "", State::Failed),
            ("BackOff", "a-1", State::Failing),
            ("SuccessfulCreate", "", State::Scheduled),
            ("Suspended=False", "", State::Scheduled),
            ("Started", "", State::Scheduled),
            ("Created", "", State::Scheduled),
        ];
        assert_eq!(words, expected);
        assert_eq!(moments[3].message, "JobResumed: Job resumed");
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        assert!(row(&moments[1], &TimeZone::UTC, now).into_string().contains("BackOff (4 times)"));
    }
}
