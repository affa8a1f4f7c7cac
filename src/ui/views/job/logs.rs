//! The logs of a Job: a form that selects and searches them, and their lines.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};
use maud::{Markup, html};

use super::Opened;
use crate::client::cluster::end;
use crate::job::FAILURE_ANNOTATION;
use crate::job::decide::failure_report::FailureReport;
use crate::runtime::errors::message;
use crate::ui::components::{Choice, Level, empty, filter_form, hidden, notice, search_field, select_field};
use crate::ui::console::Console;
use crate::ui::identity::User;
use crate::ui::logs::check;
use crate::ui::logs::lines::Look;
use crate::ui::logs::query::{LogQuery, TAILS};
use crate::ui::logs::read::{Snapshot, snapshot};
use crate::ui::text::{counted, neutral, neutral_lines, number};

/// Maximum number of pods among which the form lets choose.
const CHOICES: usize = 200;
/// Maximum number of logs that are named when they cannot be read.
const UNREAD: usize = 5;

/// Returns the part of the page, with logs that are read with the permissions of the user.
pub(super) async fn content(console: &Console, user: &User, opened: &Opened, query: &LogQuery) -> Markup {
    let pods = match &opened.pods {
        Ok(pods) => pods,
        Err(error) => return empty("The pods cannot be read.", html! { p { (neutral(&message(error))) } }),
    };
    if let Err(error) = check(console, user, &query.namespace).await {
        return notice(Level::Warning, error.heading(), html! { p { (neutral(&error.text())) } });
    }
    let look = Look { text: query.text.clone(), zone: console.zone.clone() };
    let api: Api<Pod> = console.context(user, &query.namespace).api();
    let logs = snapshot(&api, pods, query, &look).await;
    part(&opened.job, pods, query, &logs, &look)
}

/// Returns the part of the page with these logs.
pub(in crate::ui) fn part(job: &Job, pods: &[Pod], query: &LogQuery, logs: &Snapshot, look: &Look) -> Markup {
    let is_finished = job.status.as_ref().is_some_and(|status| end(status).is_some());
    if pods.is_empty() && is_finished {
        return without_pods(job);
    }
    let live = (!is_finished && !query.previous).then(|| query.url("/logs/live"));
    html! {
        (form(pods, query))
        @if logs.more_pods > 0 {
            p.s.warn { "The logs of " (number(logs.more_pods as u64)) " older pods are not shown. Select a pod to read its log." }
        }
        @for (source, reason) in logs.unread.iter().take(UNREAD) {
            p.s.warn { "The log of " (neutral(&source.container)) " in pod " (neutral(&source.pod)) " cannot be read: " (neutral(reason)) }
        }
        @if logs.unread.len() > UNREAD {
            p.s.warn { (logs.unread.len() - UNREAD) " more logs cannot be read." }
        }
        div.pager {
            p data-log-note { (summary(query, logs)) }
            @if live.is_some() { button type="button" data-pause hidden { "Pause" } }
            a.button href=(query.url("/logs/download")) download { "Download" }
        }
        @if logs.logs == 0 && live.is_none() {
            (empty("No log.", html! { p { "No container that the form selects has a log." } }))
        } @else {
            div.log role="log" aria-label="Logs" aria-live="off" tabindex="0" data-logs=[live] {
                @for row in &logs.rows { (look.row(row)) }
            }
        }
    }
}

fn summary(query: &LogQuery, logs: &Snapshot) -> String {
    if logs.logs == 0 {
        return "No container has started.".to_owned();
    }
    let of = counted(logs.logs as u64, "container", "containers");
    let mut text = match &query.text {
        Some(_) => {
            let searched = counted(logs.searched as u64, "line", "lines");
            format!("{} of {searched} match, in {of}.", number(logs.rows.len() as u64))
        }
        None => format!("{} of {of}.", counted(logs.rows.len() as u64, "line", "lines")),
    };
    if logs.is_cut {
        text.push_str(" Older lines are left out; the file has all of them.");
    }
    text
}

fn form(pods: &[Pod], query: &LogQuery) -> Markup {
    let mut names: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
    names.sort();
    names.truncate(CHOICES);
    let mut containers: Vec<&str> = Vec::new();
    for spec in pods.iter().filter_map(|pod| pod.spec.as_ref()) {
        for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
            if !containers.contains(&&*container.name) {
                containers.push(&container.name);
            }
        }
    }
    fn choices<'a>(all: &'a str, values: impl Iterator<Item = &'a str>) -> Vec<Choice<'a>> {
        let all = std::iter::once(Choice { value: "", label: all });
        all.chain(values.map(|value| Choice { value, label: value })).collect()
    }
    let instances =
        [Choice { value: "", label: "Current" }, Choice { value: "true", label: "Before the last restart" }];
    let tails = TAILS.map(|tail| tail.to_string());
    let tails: Vec<Choice<'_>> = tails.iter().map(|tail| Choice { value: tail, label: tail }).collect();
    let value = |text: &Option<String>| text.clone().unwrap_or_default();
    let fields = [
        hidden("tab", "logs"),
        search_field("q", "Search", &value(&query.text), "text"),
        select_field("pod", "Pod", &choices("All pods", names.iter().map(String::as_str)), &value(&query.pod)),
        select_field(
            "container",
            "Container",
            &choices("All containers", containers.iter().copied()),
            &value(&query.container),
        ),
        select_field("previous", "Instance", &instances, if query.previous { "true" } else { "" }),
        select_field("lines", "Lines of each container", &tails, &query.tail.to_string()),
    ];
    let path = super::super::job_path(&query.namespace, &query.name);
    let reset = format!("{path}?tab=logs");
    filter_form(&path, &fields, Some(&reset))
}

/// Returns the end of the log that the controller has stored with a failed Job, or why there is no log.
fn without_pods(job: &Job) -> Markup {
    let report = job.annotations().get(FAILURE_ANNOTATION);
    let report: Option<FailureReport> = report.and_then(|text| serde_json::from_str(text).ok());
    match report.filter(|report| !report.log.is_empty()) {
        Some(report) => html! {
            (notice(Level::Info, "The pods are deleted", html! {
                p { "These are the last lines of pod " (neutral(&report.pod)) " that the controller stored." }
            }))
            div.code.whole { pre tabindex="0" role="region" aria-label="Stored lines" { code { (neutral_lines(&report.log.join("\n"))) } } }
        },
        None => empty("No log.", html! { p { "The pods are deleted, and their logs with them." } }),
    }
}
