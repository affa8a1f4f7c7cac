//! The runs of a schedule: outcomes, durations, and a table from which two runs are compared.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::Query;
use crate::ui::charts::{DurationPoint, Outcome, OutcomeCell, outcome_legend, outcome_links, trend, zone_name};
use crate::ui::components::{Pager, State, empty, figure, hidden, pager, section, state, table, table_region};
use crate::ui::schedules::{Plan, Record, Run};
use crate::ui::text::{duration, exact, name, relative_time, truncated};

/// Number of runs on a page of the table.
const ROWS: usize = 15;
/// Maximum number of runs in the chart and in the strip.
const CHART: usize = 20;
/// Maximum number of characters of a name or a reason.
const NAME: usize = 50;
/// Maximum number of characters of a cause.
const CAUSE: usize = 120;

pub(super) fn content(plan: &Plan, record: &Record<'_>, query: &Query, now: Timestamp) -> Markup {
    let zone = &query.zone;
    if record.runs.is_empty() {
        return section(
            "runs",
            "Runs",
            empty(
                "No runs are known.",
                html! {
                    p { "Runs are known from the Jobs that exist, and from the history of a JobSchedule." }
                },
            ),
        );
    }
    let last = &record.runs[record.runs.len().saturating_sub(CHART)..];
    let cells: Vec<OutcomeCell> = last.iter().map(|run| cell(plan, run, zone)).collect();
    let points: Vec<DurationPoint> = last.iter().filter_map(|run| point(plan, run)).collect();
    html! {
        @if query.compare.is_none() {
        (figure("Outcomes", "The newest run is at the right", html! { (outcome_links(&cells)) (outcome_legend()) }))
        (figure("Durations", "Of the runs that have ended", trend(&points, zone)))
        }
        (section("runs", "Runs", rows(plan, record, query, now)))
    }
}

fn link(plan: &Plan, run: &Run<'_>) -> Option<String> {
    run.exists().then(|| crate::ui::views::job_path(&plan.identity().namespace, run.job()))
}

fn cell(plan: &Plan, run: &Run<'_>, zone: &TimeZone) -> OutcomeCell {
    let length = run.duration().map(|length| format!(", {}", duration(length))).unwrap_or_default();
    OutcomeCell { outcome: run.outcome, link: link(plan, run), title: format!("{}{length}", exact(run.started, zone)) }
}

fn point(plan: &Plan, run: &Run<'_>) -> Option<DurationPoint> {
    Some(DurationPoint { started: run.started, duration: run.duration()?, outcome: run.outcome, link: link(plan, run) })
}

fn shown(outcome: Outcome) -> State {
    match outcome {
        Outcome::Succeeded => State::Succeeded,
        Outcome::Failed => State::Failed,
        Outcome::Running => State::Running,
        Outcome::Missed => State::Missed,
        Outcome::Replaced => State::Replaced,
        Outcome::Due => State::Due,
    }
}

fn rows(plan: &Plan, record: &Record<'_>, query: &Query, now: Timestamp) -> Markup {
    let zone = &query.zone;
    let headers =
        crate::ui::views::headers(["Job", "Outcome", "Due", "Started", "Duration", "Reason", "Cause", "Compare"]);
    let total = record.runs.len();
    let last = total.div_ceil(ROWS).max(1);
    let page = query.page.min(last);
    let first = (page - 1) * ROWS;
    let url = |page: usize| query.url(plan, page);
    let (previous, next) = ((page > 1).then(|| url(page - 1)), (page < last).then(|| url(page + 1)));
    let count = |number: usize| u64::try_from(number).unwrap_or_default();
    let place = Pager {
        first: count(first + 1),
        last: count((first + ROWS).min(total)),
        total: count(total),
        noun: "runs",
        previous: previous.as_deref(),
        next: next.as_deref(),
    };
    let listed = || record.runs.iter().rev().skip(first).take(ROWS);
    let can_compare = listed().filter(|run| run.exists()).count() > 1;
    let rows = html! {
        @for run in listed() {
            tr {
                th scope="row" {
                    @match link(plan, run) {
                        Some(link) => a href=(link) { (name(run.job(), NAME)) },
                        None => { (name(run.job(), NAME)) " " small { "deleted" } },
                    }
                }
                td data-l="Outcome" { (state(shown(run.outcome))) }
                td data-l="Due" { @match run.scheduled { Some(at) => (exact(at, zone)), None => "manual" } }
                td data-l="Started" { (relative_time(run.started, now, zone)) }
                td data-l="Duration" { @if let Some(length) = run.duration() { (duration(length)) } }
                td data-l="Reason" { @if run.outcome != Outcome::Succeeded { (truncated(run.reason(now), NAME)) } }
                td data-l="Cause" { (truncated(run.message(now), CAUSE)) }
                td data-l="Compare" { @if can_compare && run.exists() { (choice("a", run)) " " (choice("b", run)) } }
            }
        }
    };
    html! {
        form method="get" action=(plan.path()) {
            @if *zone != TimeZone::UTC { (hidden("zone", zone_name(zone))) }
            (table_region("Runs", table("Runs, the newest first", &headers, rows)))
            @if can_compare { div.actions { button type="submit" { "Compare the two chosen runs" } } }
        }
        @if last > 1 { (pager(&place)) }
    }
}

fn choice(field: &str, run: &Run<'_>) -> Markup {
    let label = if field == "a" { "First" } else { "Second" };
    html! {
        label { input type="radio" name=(field) value=(run.job()) required; " " (label) span.vh { ": " (name(run.job(), NAME)) } }
    }
}
