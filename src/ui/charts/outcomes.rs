//! The last outcomes of a schedule as a strip with one cell for each run.

use std::fmt::Write;

use maud::{Markup, html};

use super::counts_text;
use crate::ui::text::{counted, local_link, neutral};

/// Maximum number of cells. Of more runs, the last ones are shown.
pub const MAX_CELLS: usize = 60;
/// Width of a cell with the gap after it, in pixels.
const STEP: usize = 10;

/// Outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The Job is complete.
    Succeeded,
    /// The Job has failed.
    Failed,
    /// The Job has not ended.
    Running,
    /// No Job was created at the scheduled time.
    Missed,
    /// The Job was replaced or deleted before its end.
    Replaced,
    /// The run is due later.
    Due,
}

impl Outcome {
    /// All outcomes, in the order of texts.
    pub const ALL: [Self; 6] = [Self::Succeeded, Self::Failed, Self::Running, Self::Missed, Self::Replaced, Self::Due];

    /// Returns the outcome as one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Running => "running",
            Self::Missed => "missed",
            Self::Replaced => "replaced",
            Self::Due => "due",
        }
    }

    /// Returns the CSS class of the colour.
    pub(in crate::ui) fn class(self) -> &'static str {
        match self {
            Self::Succeeded => "ok",
            Self::Failed => "bad",
            Self::Running => "run",
            Self::Missed => "warn",
            Self::Replaced => "idle",
            Self::Due => "due",
        }
    }

    /// Adds the shape of the outcome to the data of a path, in a cell of 8 × 16 pixels at this place.
    fn draw(self, path: &mut String, x: usize) {
        // Writing to a String cannot fail.
        let _ = match self {
            // A bar, a cross, a triangle, a hollow diamond, a dash, and a dot.
            Self::Succeeded => write!(path, "M{} 1h5v14h-5z", x + 1),
            Self::Failed => write!(path, "M{x} 5.5l2-2 2 2.3 2-2.3 2 2-2.3 2.5 2.3 2.5-2 2-2-2.3-2 2.3-2-2 2.3-2.5z"),
            Self::Running => write!(path, "M{} 3l7 5-7 5z", x + 1),
            Self::Missed => write!(path, "M{} 3l4 5-4 5-4-5zm0 3l-1.6 2 1.6 2 1.6-2z", x + 4),
            Self::Replaced => write!(path, "M{} 7h6v2h-6z", x + 1),
            Self::Due => write!(path, "M{} 6h4v4h-4z", x + 2),
        };
    }
}

/// Run in a strip with links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeCell {
    /// Outcome of the run.
    pub outcome: Outcome,
    /// Page of the run.
    pub link: Option<String>,
    /// Text of the run, such as its time and duration.
    pub title: String,
}

/// Returns a small strip for a row of a table, the oldest run first. The markup is the same for any order of outcomes:
/// one path for each outcome.
pub fn outcome_strip(outcomes: &[Outcome]) -> Markup {
    let shown = last(outcomes);
    let paths = Outcome::ALL.map(|outcome| {
        let mut path = String::new();
        for (place, _) in shown.iter().enumerate().filter(|(_, one)| **one == outcome) {
            outcome.draw(&mut path, place * STEP);
        }
        (outcome, path)
    });
    html! {
        @if shown.is_empty() { span.none { "no runs" } } @else {
            svg.strip role="img" width=(shown.len() * STEP) height="16" viewBox={ "0 0 " (shown.len() * STEP) " 16" } preserveAspectRatio="none" {
                title { (summary(shown.iter().copied())) }
                @for (outcome, path) in paths.iter().filter(|(_, path)| !path.is_empty()) {
                    path class=(outcome.class()) fill-rule="evenodd" d=(path) {}
                }
            }
        }
    }
}

/// Returns a strip whose cells are links with titles, the oldest run first.
pub fn outcome_links(cells: &[OutcomeCell]) -> Markup {
    html! {
        ol.cells aria-label=(summary(last(cells).iter().map(|cell| cell.outcome))) {
            @for cell in last(cells) {
                @let label = format!("{}: {}", cell.outcome.word(), neutral(&cell.title));
                li {
                    @match cell.link.as_deref().and_then(local_link) {
                        Some(link) => a href=(link) { (picture(cell.outcome, &label)) },
                        None => (picture(cell.outcome, &label)),
                    }
                }
            }
        }
    }
}

/// Returns the meaning of the shapes of a strip.
pub fn outcome_legend() -> Markup {
    html! {
        ul.legend {
            @for outcome in Outcome::ALL { li { (shape(outcome)) (outcome.word()) } }
        }
    }
}

fn shape(outcome: Outcome) -> Markup {
    let mut path = String::new();
    outcome.draw(&mut path, 0);
    html! { svg width="8" height="16" aria-hidden="true" { path class=(outcome.class()) fill-rule="evenodd" d=(path) {} } }
}

fn picture(outcome: Outcome, label: &str) -> Markup {
    let mut path = String::new();
    outcome.draw(&mut path, 0);
    html! {
        svg role="img" viewBox="0 0 8 16" width="10" height="20" {
            title { (label) }
            path class=(outcome.class()) fill-rule="evenodd" d=(path) {}
        }
    }
}

fn last<T>(all: &[T]) -> &[T] {
    &all[all.len().saturating_sub(MAX_CELLS)..]
}

/// Returns the text for the strip, such as `Last 20 runs: 18 succeeded, 2 failed; the last one failed`.
fn summary(outcomes: impl Iterator<Item = Outcome> + Clone) -> String {
    let count = |outcome| outcomes.clone().filter(|one| *one == outcome).count() as u64;
    let counts = counts_text(Outcome::ALL.map(|outcome| (count(outcome), outcome.word())));
    let all = outcomes.clone().count() as u64;
    match outcomes.last() {
        Some(last) => format!("Last {}: {counts}; the last one: {}", counted(all, "run", "runs"), last.word()),
        None => "No runs".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strip_is_small_and_has_a_text() {
        let mut outcomes = vec![Outcome::Succeeded; 18];
        outcomes.extend([Outcome::Failed, Outcome::Running]);
        let text = outcome_strip(&outcomes).into_string();
        assert!(
            text.contains("<title>Last 20 runs: 18 succeeded, 1 failed, 1 running; the last one: running</title>"),
            "{text}"
        );
        assert!(text.contains("width=\"200\"") && text.len() < 800, "{} bytes", text.len());
        assert_eq!(text.matches("<path").count(), 3);
        assert_eq!(outcome_strip(&[]).into_string(), "<span class=\"none\">no runs</span>");
        assert!(outcome_strip(&[Outcome::Due; 100]).into_string().contains("Last 60 runs: 60 due"));
    }

    #[test]
    fn cell_has_a_link_and_a_title() {
        let cell = |link: &str| OutcomeCell {
            outcome: Outcome::Failed,
            link: Some(link.to_owned()),
            title: "14:00 <\u{202e}".to_owned(),
        };
        let text = outcome_links(&[cell("/jobs/a/b"), cell("javascript:alert(1)")]).into_string();
        assert_eq!(text.matches("<title>failed: 14:00 &lt;&lt;U+202E&gt;</title>").count(), 2);
        assert_eq!(text.matches("href").count(), 1, "{text}");
        assert!(outcome_links(&[]).into_string().contains("aria-label=\"No runs\""));
    }
}
