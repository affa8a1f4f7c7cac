//! What a Job is doing: the explanation, its facts, the failure report, the pods over time, events, and commands.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use maud::{Markup, html};

use super::{Opened, chart, events, indexes};
use crate::client::explain::explanation::{Explanation, Hint, Unread};
use crate::client::suggest::Suggestions;
use crate::job::decide::failure_report::FailureReport;
use crate::job::view::controlling_owner;
use crate::job::{CONTROLLER_UID_LABEL, FAILURE_ANNOTATION};
use crate::ui::components::{command, definitions, progress, section};
use crate::ui::jobs::JobQuery;
use crate::ui::text::{duration_markup, neutral, neutral_lines, relative_time};

/// Labels that the API server sets on each Job with a generated selector.
const GENERATED_LABELS: [&str; 4] =
    [CONTROLLER_UID_LABEL, "batch.kubernetes.io/job-name", "controller-uid", "job-name"];

pub(super) fn content(opened: &Opened, suggest: &Suggestions, zone: &TimeZone, now: Timestamp) -> Markup {
    let Opened { job, explanation, .. } = opened;
    html! {
        (section("explanation", "What it is doing", explained(explanation)))
        (facts(opened, zone, now))
        @if let Some(report) = report(job) { (section("failure", "Failure report", failure(&report))) }
        @if let Some(grid) = indexes::grid(job, opened.pods.as_deref().unwrap_or_default()) {
            (section("indexes", "Indexes", grid))
        }
        (section("time", "Pods over time", chart::chart(opened, zone, now)))
        (section("events", "Conditions and events", events::list(opened, zone, now)))
        (section("commands", "The same on the command line", commands(job, suggest)))
    }
}

/// Returns the explanation as `jobwright explain` prints it.
pub(in crate::ui::views) fn explained(explanation: &Explanation) -> Markup {
    let Explanation { headline, details, next_step, hints, unread, .. } = explanation;
    html! {
        p.headline { (neutral(headline)) }
        @for detail in details {
            @let (first, quoted) = detail.split_once('\n').unwrap_or((detail, ""));
            p { (neutral(first)) }
            // The lines after the first are quoted, such as the end of a log.
            @if !quoted.is_empty() { pre { (neutral_lines(quoted)) } }
        }
        @if let Some(step) = next_step { p { "Next: " (neutral(step)) } }
        @for Unread { resource, reason, effect } in unread {
            p.warn { "Not read: " (neutral(resource)) " (" (neutral(reason)) "): " (neutral(effect)) "." }
        }
        @for Hint { purpose, command: to_run } in hints {
            @match to_run {
                Some(to_run) => { p { "To " (neutral(purpose)) ":" } (command(to_run)) },
                None => p { "To do: " (neutral(purpose)) "." },
            }
        }
    }
}

fn facts(opened: &Opened, zone: &TimeZone, now: Timestamp) -> Markup {
    let Opened { job, explanation, .. } = opened;
    let status = job.status.clone().unwrap_or_default();
    let mut entries: Vec<(&str, Markup)> = Vec::new();
    if let Some(owner) = controlling_owner(&job.metadata) {
        let text = format!("{}/{}", owner.kind.to_lowercase(), owner.name);
        let namespace = job.namespace().unwrap_or_default();
        let link = JobQuery::of_namespace(&namespace).with(|query| query.owner = Some(text.clone())).url();
        entries.push(("Owner", html! { a href=(link) { (neutral(&text)) } }));
    }
    if let Some(counts) = explanation.counts {
        let count = |number: i32| u64::try_from(number).unwrap_or_default();
        let total = counts.completions.map(count);
        let bar = progress(count(counts.succeeded), count(counts.failed), count(counts.active), total);
        entries.push(("Progress", bar));
        entries.push(("Active pods", html! { (counts.active) " (" (counts.ready) " ready)" }));
    }
    if let Some(created) = &job.metadata.creation_timestamp {
        entries.push(("Created", relative_time(created.0, now, zone)));
    }
    let started = status.start_time.as_ref().map(|time| time.0);
    if let Some(started) = started {
        entries.push(("Started", relative_time(started, now, zone)));
    }
    let ended = crate::client::cluster::end(&status).and_then(|end| end.last_transition_time.as_ref());
    let ended = ended.map(|time| time.0);
    if let Some(ended) = ended {
        entries.push(("Ended", relative_time(ended, now, zone)));
    }
    if let Some(started) = started {
        entries.push(("Duration", duration_markup(ended.unwrap_or(now).duration_since(started))));
    }
    // The API server sets these labels from the name and the UID of the Job.
    let labels: Vec<_> = job.labels().iter().filter(|(key, _)| !GENERATED_LABELS.contains(&key.as_str())).collect();
    if !labels.is_empty() {
        let shown = html! { @for (key, value) in labels { code.label { (neutral(key)) "=" (neutral(value)) } " " } };
        entries.push(("Labels", shown));
    }
    definitions(&entries)
}

fn report(job: &Job) -> Option<FailureReport> {
    serde_json::from_str(job.annotations().get(FAILURE_ANNOTATION)?).ok()
}

fn failure(report: &FailureReport) -> Markup {
    html! {
        p { (neutral(&report.event().message)) }
        @if !report.log.is_empty() {
            p { "End of the log:" }
            pre tabindex="0" { (neutral_lines(&report.log.join("\n"))) }
        }
    }
}

fn commands(job: &Job, suggest: &Suggestions) -> Markup {
    let name = job.name_any();
    let all = [
        suggest.jobwright(&format!("explain job/{name}")),
        suggest.jobwright(&format!("timeline job/{name}")),
        suggest.jobwright(&format!("logs job/{name}")),
        suggest.kubectl(&format!("describe job {name}")),
        suggest.kubectl(&format!("get job {name} -o yaml")),
    ];
    html! { @for one in all { (command(&one)) } }
}
