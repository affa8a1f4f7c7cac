//! The pods of a Job with their states.

use maud::{Markup, html};

use super::Opened;
use crate::client::explain::explanation::PodReport;
use crate::runtime::errors::message;
use crate::ui::components::{Header, State, empty, state, table_region};
use crate::ui::text::{name, neutral, truncated};

/// Maximum number of rows. The pods that need attention come first.
const ROWS: usize = 200;
/// Maximum number of characters of a name.
const NAME: usize = 50;
/// Maximum number of characters of a message.
const MESSAGE: usize = 300;

pub(super) fn table(opened: &Opened) -> Markup {
    if let Err(error) = &opened.pods {
        return empty("The pods cannot be read.", html! { p { (neutral(&message(error))) } });
    }
    let mut pods: Vec<&PodReport> = opened.explanation.pods.iter().collect();
    if pods.is_empty() {
        return empty("No pods.", html! { p { "None has been created yet, or all were deleted." } });
    }
    pods.sort_by_key(|pod| (severity(pod), pod.index, &pod.name));
    let more = pods.len().saturating_sub(ROWS);
    let column = |label| Header { label, ..Header::default() };
    let number = |label| Header { label, is_number: true, ..Header::default() };
    let headers = [
        column("Pod"),
        column("State"),
        number("Index"),
        number("Exit"),
        number("Restarts"),
        column("Node"),
        column("Message"),
    ];
    let rows = html! { @for pod in pods.iter().take(ROWS) { (row(pod)) } };
    html! {
        (table_region("Pods", crate::ui::components::table("Pods, those that need attention first", &headers, rows)))
        @if more > 0 { p { (more) " more pods are not shown." } }
    }
}

fn severity(pod: &PodReport) -> u8 {
    match (pod.stuck, pod.phase.as_str()) {
        (true, _) => 0,
        (_, "Failed") => 1,
        (_, "Succeeded") => 3,
        _ => 2,
    }
}

fn row(pod: &PodReport) -> Markup {
    let shown = match (pod.stuck, pod.phase.as_str()) {
        (true, _) => State::Stuck,
        (_, phase) => State::from_name(phase),
    };
    html! {
        tr {
            th scope="row" { (name(&pod.name, NAME)) }
            td { (state(shown)) }
            td.n data-l="Index" { @if let Some(index) = pod.index { (index) } }
            td.n data-l="Exit" { @if let Some(code) = pod.exit_code { (code) } }
            td.n data-l="Restarts" { @if pod.restarts > 0 { (pod.restarts) } }
            td data-l="Node" { @if let Some(node) = &pod.node { (name(node, NAME)) } }
            td { (truncated(&pod.message, MESSAGE)) }
        }
    }
}
