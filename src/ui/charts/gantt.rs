//! The pods of a Job over time.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::axis::ticks;
use super::{Percent, counts_text, zone_name};
use crate::ui::components::state::{State, state, state_with};
use crate::ui::text::{counted, duration, exact, local_link, name, neutral, truncated};

/// Maximum number of rows of a chart.
pub const MAX_ROWS: usize = 500;
/// Maximum number of ticks.
const TICKS: usize = 6;
/// Smallest width of a bar, so that short phases are visible.
const MIN_WIDTH: f64 = 0.4;
/// Maximum number of characters of the name of a pod.
const NAME: usize = 34;
/// Maximum number of characters of a reason.
const REASON: usize = 60;

/// Phase of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodPhase {
    /// The pod has no node.
    Pending,
    /// The pod has a node, and its containers have not started.
    Starting,
    /// A container has started.
    Running,
    /// The kubelet waits before it restarts a container that failed.
    BackOff,
}

impl PodPhase {
    /// All phases.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Starting, Self::Running, Self::BackOff];

    fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::BackOff => "back-off",
        }
    }
}

/// End of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodEnd {
    /// The pod has not ended. The text is the reason why the pod makes no progress.
    Unfinished(Option<String>),
    /// The pod succeeded.
    Succeeded,
    /// The pod failed. The text is the exit code or the reason.
    Failed(String),
}

/// Phase of a pod with its begin and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GanttSpan {
    /// Phase.
    pub phase: PodPhase,
    /// Begin of the phase.
    pub from: Timestamp,
    /// End of the phase, or now.
    pub to: Timestamp,
}

/// Row of a chart: one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GanttRow {
    /// Name of the pod.
    pub pod: String,
    /// Page of the pod.
    pub link: Option<String>,
    /// Completion index of the pod, for an Indexed Job.
    pub index: Option<String>,
    /// Phases in ascending order.
    pub spans: Vec<GanttSpan>,
    /// End of the pod.
    pub end: PodEnd,
}

/// Pods of a Job over time.
#[derive(Clone, Copy, Debug)]
pub struct Gantt<'a> {
    /// Name of the chart, which differs from those of other charts in the page. It consists of letters and hyphens.
    pub id: &'a str,
    /// Caption of the table.
    pub caption: &'a str,
    /// Begin of the axis of time.
    pub from: Timestamp,
    /// End of the axis of time.
    pub to: Timestamp,
    /// Zone of the times.
    pub zone: &'a TimeZone,
    /// Rows in the order in which they are shown. Rows beyond [`MAX_ROWS`] are counted.
    pub rows: &'a [GanttRow],
}

/// Returns the chart as a table with one row for each pod.
pub fn gantt(chart: &Gantt<'_>) -> Markup {
    let Gantt { id, caption, from, to, zone, rows } = *chart;
    let shown = &rows[..rows.len().min(MAX_ROWS)];
    let rest = &rows[shown.len()..];
    let indexed = rows.iter().any(|row| row.index.is_some());
    let axis = ticks(from, to, zone, TICKS);
    html! {
        div.gantt {
            (legend())
            table {
                caption.vh { (neutral(caption)) }
                thead { tr {
                    @if indexed { th.gi scope="col" { "Index" } }
                    th.gn scope="col" { "Pod" }
                    th.ga scope="col" {
                        span.vh { "From " (exact(from, zone)) " to " (exact(to, zone)) }
                        svg aria-hidden="true" {
                            g id=(id) { @for tick in &axis { (line(Percent::of_time(tick.time, from, to))) } }
                            @for tick in &axis {
                                @let place = Percent::of_time(tick.time, from, to);
                                // A label at the end of the axis would be cut.
                                @if place.0 < 93.0 { text x=(place) dx="4" y="14" { (tick.label) } }
                            }
                        }
                    }
                    th.ge scope="col" { "Result" }
                } }
                tbody { @for row in shown { (pod_row(row, chart, indexed)) } }
            }
            p.hint {
                @if !rest.is_empty() { (more(rest)) " " }
                "Times are in the zone " (zone_name(zone)) "."
            }
        }
    }
}

fn line(place: Percent) -> Markup {
    html! { line x1=(place) x2=(place) y2="100%" {} }
}

fn pod_row(row: &GanttRow, chart: &Gantt<'_>, indexed: bool) -> Markup {
    html! {
        tr {
            @if indexed { td.gi { (neutral(row.index.as_deref().unwrap_or("–"))) } }
            th.gn scope="row" {
                @match row.link.as_deref().and_then(local_link) {
                    Some(link) => a href=(link) { (name(&row.pod, NAME)) },
                    None => (name(&row.pod, NAME)),
                }
            }
            td.gb {
                svg role="img" {
                    title { (phases_text(row)) }
                    use href=(format_args!("#{}", chart.id)) {}
                    @for span in &row.spans { (bar(span, &row.end, chart)) }
                }
            }
            td.ge { (result(&row.end)) }
        }
    }
}

fn bar(span: &GanttSpan, end: &PodEnd, chart: &Gantt<'_>) -> Markup {
    let begin = Percent::of_time(span.from, chart.from, chart.to);
    let width = Percent::of_time(span.to, chart.from, chart.to).0 - begin.0;
    let width = width.max(MIN_WIDTH);
    let begin = Percent(begin.0.min(100.0 - width));
    // The height differs as well as the colour, so that a reader needs no colours.
    let (y, height) = heights(span.phase);
    html! { rect class=(class(span.phase, end)) x=(begin) width=(Percent(width)) y=(y) height=(height) rx="1" {} }
}

/// Returns the place and the height of a bar in its row of 20 pixels.
fn heights(phase: PodPhase) -> (u8, u8) {
    match phase {
        PodPhase::Pending => (9, 3),
        PodPhase::Starting => (7, 7),
        PodPhase::Running => (4, 13),
        PodPhase::BackOff => (14, 3),
    }
}

fn class(phase: PodPhase, end: &PodEnd) -> &'static str {
    match (phase, end) {
        (PodPhase::Pending, _) => "wait",
        (PodPhase::BackOff, _) => "warn",
        (PodPhase::Starting, _) => "due",
        (PodPhase::Running, PodEnd::Succeeded) => "ok",
        (PodPhase::Running, PodEnd::Failed(_)) => "bad",
        (PodPhase::Running, PodEnd::Unfinished(_)) => "run",
    }
}

/// Returns the phases with their durations, such as `pending 3s, running 90s`.
fn phases_text(row: &GanttRow) -> String {
    let phases =
        row.spans.iter().map(|span| format!("{} {}", span.phase.word(), duration(span.to.duration_since(span.from))));
    phases.collect::<Vec<_>>().join(", ")
}

fn result(end: &PodEnd) -> Markup {
    match end {
        PodEnd::Succeeded => state(State::Succeeded),
        PodEnd::Failed(reason) => state_with(State::Failed, truncated(reason, REASON)),
        PodEnd::Unfinished(Some(reason)) => state_with(State::Failing, truncated(reason, REASON)),
        PodEnd::Unfinished(None) => state(State::Running),
    }
}

fn more(rest: &[GanttRow]) -> Cow<'static, str> {
    let count = |is: fn(&PodEnd) -> bool| rest.iter().filter(|row| is(&row.end)).count() as u64;
    let counts = counts_text([
        (count(|end| *end == PodEnd::Succeeded), "succeeded"),
        (count(|end| matches!(end, PodEnd::Failed(_))), "failed"),
        (count(|end| matches!(end, PodEnd::Unfinished(_))), "unfinished"),
    ]);
    format!("{} not shown: {counts}.", counted(rest.len() as u64, "more pod is", "more pods are")).into()
}

fn legend() -> Markup {
    let unfinished = PodEnd::Unfinished(None);
    let samples = [
        (PodPhase::Pending, &unfinished, "pending"),
        (PodPhase::Starting, &unfinished, "starting"),
        (PodPhase::BackOff, &unfinished, "back-off"),
        (PodPhase::Running, &unfinished, "running"),
        (PodPhase::Running, &PodEnd::Succeeded, "succeeded"),
        (PodPhase::Running, &PodEnd::Failed(String::new()), "failed"),
    ];
    html! {
        ul.legend aria-hidden="true" {
            @for (phase, end, word) in samples {
                @let (y, height) = heights(phase);
                li { svg width="18" height="20" { rect class=(class(phase, end)) width="18" y=(y) height=(height) rx="1" {} } (word) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn row(place: i64, end: PodEnd) -> GanttRow {
        let begin: Timestamp = "2026-11-28T13:00:00Z".parse().unwrap();
        let at = |seconds| begin + SignedDuration::from_secs(place + seconds);
        let spans = vec![
            GanttSpan { phase: PodPhase::Pending, from: at(0), to: at(30) },
            GanttSpan { phase: PodPhase::Running, from: at(30), to: at(150) },
        ];
        GanttRow {
            pod: format!("a-{place}"),
            link: Some(format!("/pods/{place}")),
            index: Some(place.to_string()),
            spans,
            end,
        }
    }

    fn drawn(rows: &[GanttRow]) -> String {
        let (from, to) = ("2026-11-28T13:00:00Z".parse().unwrap(), "2026-11-28T13:10:00Z".parse().unwrap());
        gantt(&Gantt { id: "pods", caption: "Pods", from, to, zone: &TimeZone::UTC, rows }).into_string()
    }

    #[test]
    fn pod_has_bars_a_result_and_a_text() {
        let text = drawn(&[row(0, PodEnd::Failed("exit code <3>".to_owned()))]);
        for part in [
            "<title>pending 30s, running 2m</title>",
            "<rect class=\"wait\" x=\"0%\" width=\"5%\" y=\"9\" height=\"3\" rx=\"1\">",
            "<rect class=\"bad\" x=\"5%\" width=\"20%\" y=\"4\" height=\"13\" rx=\"1\">",
            "<a href=\"/pods/0\">a-0</a>",
            "exit code &lt;3&gt;",
            ">13:02</text>",
            "Times are in the zone UTC.",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn rows_beyond_the_limit_are_counted() {
        let rows: Vec<GanttRow> = (0..1700).map(|place| row(place % 400, PodEnd::Succeeded)).collect();
        let text = drawn(&rows);
        assert!(text.contains("1,200 more pods are not shown: 1,200 succeeded."), "{text}");
        assert_eq!(text.matches("<tr>").count(), 1 + MAX_ROWS);
        assert!(text.len() < 500 * MAX_ROWS, "{} bytes", text.len());
    }

    #[test]
    fn pod_outside_of_the_axis_stays_in_the_chart() {
        let text = drawn(&[
            row(100_000, PodEnd::Unfinished(None)),
            row(-100_000, PodEnd::Unfinished(Some("no node".to_owned()))),
        ]);
        assert!(text.contains("x=\"99.6%\" width=\"0.4%\"") && text.contains("x=\"0%\" width=\"0.4%\""), "{text}");
        assert!(!drawn(&[]).contains("NaN"));
    }
}
