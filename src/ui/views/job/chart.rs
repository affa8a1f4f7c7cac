//! The pods of a Job over time, from the same data as `jobwright timeline`.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::Opened;
use crate::client::timeline::bars::{Bar, End, Phase, Timeline};
use crate::runtime::errors::message;
use crate::ui::charts::gantt::{Gantt, GanttRow, GanttSpan, PodEnd, PodPhase, gantt};
use crate::ui::components::empty;
use crate::ui::text::neutral;

/// Maximum number of pods in the chart, the first ones. More would make the page large.
const ROWS: usize = 50;

pub(super) fn chart(opened: &Opened, zone: &TimeZone, now: Timestamp) -> Markup {
    let pods = match &opened.pods {
        Ok(pods) => pods,
        Err(error) => return empty("The pods cannot be read.", html! { p { (neutral(&message(error))) } }),
    };
    let timeline = Timeline::of(&opened.job, pods, now, ROWS);
    if timeline.bars.is_empty() {
        return empty("No pods.", html! { p { "None has been created yet, or all were deleted." } });
    }
    let rows: Vec<GanttRow> = timeline.bars.into_iter().map(row).collect();
    let (from, to) = (timeline.from, timeline.to);
    html! {
        (gantt(&Gantt { id: "pods-over-time", caption: "Pods over time", from, to, zone, rows: &rows }))
        @if timeline.more > 0 { p { (timeline.more) " more pods are not shown." } }
    }
}

fn row(bar: Bar) -> GanttRow {
    let phase = |phase| match phase {
        Phase::Pending => PodPhase::Pending,
        Phase::Starting => PodPhase::Starting,
        Phase::Running => PodPhase::Running,
        Phase::BackOff => PodPhase::BackOff,
    };
    let span = |(of, from, to): (Phase, Timestamp, Timestamp)| GanttSpan { phase: phase(of), from, to };
    let end = match bar.end {
        End::Unfinished(why) => PodEnd::Unfinished(why),
        End::Succeeded => PodEnd::Succeeded,
        End::Failed(why) => PodEnd::Failed(why),
    };
    GanttRow { pod: bar.pod, link: None, index: bar.index, spans: bar.spans.into_iter().map(span).collect(), end }
}
