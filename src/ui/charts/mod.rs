//! Charts, drawn as SVG and tables.
//!
//! Each chart is a pure function of a plain structure. The content security policy forbids inline styles, so positions are
//! SVG attributes, and colours are classes of `console.css`. Positions along the width are percentages: a chart fills its
//! column, and its texts keep their size. Every chart differs in shape as well as in colour, and has a text with the same
//! content for screen readers.

mod axis;
pub mod calendar;
pub mod durations;
pub mod gantt;
pub mod heat_map;
pub mod hours;
pub mod outcomes;

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;

pub use self::calendar::{Calendar, CalendarEvent, View};
pub use self::durations::{DurationPoint, sparkline, trend};
pub use self::gantt::{Gantt, GanttRow, GanttSpan, PodEnd, PodPhase, gantt};
pub use self::heat_map::{IndexRun, IndexState, heat_map};
pub use self::hours::{Hour, hours};
pub use self::outcomes::{Outcome, OutcomeCell, outcome_legend, outcome_links, outcome_strip};

/// Share of the width of a chart, printed as a percentage with at most two decimals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::ui) struct Percent(f64);

impl Percent {
    /// Returns which part of a whole this is. A whole of zero has no parts.
    pub(in crate::ui) fn of(part: f64, whole: f64) -> Self {
        if whole > 0.0 { Self((part / whole * 100.0).clamp(0.0, 100.0)) } else { Self(0.0) }
    }

    /// Returns the place of a time between two others.
    fn of_time(time: Timestamp, from: Timestamp, to: Timestamp) -> Self {
        Self::of(seconds(from, time), seconds(from, to))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.2}", self.0);
        write!(formatter, "{}%", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// Coordinate in pixels, printed with at most one decimal.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pixels(f64);

impl fmt::Display for Pixels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.1}", self.0);
        formatter.write_str(text.strip_suffix(".0").unwrap_or(&text))
    }
}

/// Returns the seconds between two times.
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// Returns the name of a zone, such as `Europe/Berlin`.
pub fn zone_name(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("UTC")
}

/// Returns the counts above zero as a text, such as `18 succeeded, 2 failed`.
fn counts_text<'a>(counts: impl IntoIterator<Item = (u64, &'a str)>) -> String {
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    counts.map(|(count, word)| format!("{} {word}", super::text::number(count))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_short() {
        assert_eq!(
            [0.0, 100.0, 12.5, 33.333_33].map(|value| Percent(value).to_string()),
            ["0%", "100%", "12.5%", "33.33%"]
        );
        assert_eq!([0.0, 2.25, 40.0].map(|value| Pixels(value).to_string()), ["0", "2.2", "40"]);
        assert_eq!(
            [Percent::of(1.0, 0.0), Percent::of(3.0, 2.0), Percent::of(-1.0, 2.0)],
            [Percent(0.0), Percent(100.0), Percent(0.0)]
        );
        assert_eq!(counts_text([(1200, "succeeded"), (0, "failed"), (2, "running")]), "1,200 succeeded, 2 running");
    }
}
