//! The durations of the last runs, with their median and 95th percentile.

use std::fmt::Write;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::{Outcome, Percent, Pixels, zone_name};
use crate::ui::text::{counted, duration, exact, local_link};

/// Maximum number of runs. Of more runs, the last ones are shown.
pub const MAX_POINTS: usize = 200;
/// Size of the small chart, in pixels.
const SMALL: (f64, f64) = (96.0, 22.0);
/// Height of the large chart, in pixels.
const HEIGHT: f64 = 120.0;
/// Space above and below the points, in pixels.
const MARGIN: f64 = 8.0;

/// Duration of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurationPoint {
    /// Start of the run.
    pub started: Timestamp,
    /// Time from the start to the end.
    pub duration: SignedDuration,
    /// Outcome of the run.
    pub outcome: Outcome,
    /// Page of the run.
    pub link: Option<String>,
}

/// Distribution of durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Duration that half of the runs do not exceed.
    pub median: SignedDuration,
    /// Duration that 95 % of the runs do not exceed.
    pub p95: SignedDuration,
}

impl Spread {
    /// Returns the median and the 95th percentile (nearest rank). `None` without durations.
    pub fn of(durations: impl IntoIterator<Item = SignedDuration>) -> Option<Self> {
        let mut sorted: Vec<_> = durations.into_iter().collect();
        sorted.sort_unstable();
        let rank = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).checked_sub(1)?).copied();
        Some(Self { median: rank(50)?, p95: rank(95)? })
    }
}

/// Returns a small chart for a row of a table, the oldest run first, and the median after it.
pub fn sparkline(durations: &[SignedDuration]) -> Markup {
    let shown = &durations[durations.len().saturating_sub(MAX_POINTS)..];
    let Some(spread) = Spread::of(shown.iter().copied()) else { return html! { span.none { "no runs" } } };
    let scale = Scale::of(shown.iter().copied());
    let place = |place: usize| if shown.len() < 2 { 0.5 } else { place as f64 / (shown.len() - 1) as f64 };
    let y = |duration| Pixels(2.0 + (SMALL.1 - 4.0) * (1.0 - scale.share(duration)));
    let x = |index| Pixels(2.0 + (SMALL.0 - 4.0) * place(index));
    let mut points = String::new();
    for (index, duration) in shown.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(points, "{}{},{}", if index == 0 { "" } else { " " }, x(index), y(*duration));
    }
    html! {
        span.spark {
            svg role="img" width=(SMALL.0) height=(SMALL.1) {
                title { (summary(shown.len(), spread)) }
                line.median x2="100%" y1=(y(spread.median)) y2=(y(spread.median)) {}
                polyline points=(points) {}
                @if let Some(last) = shown.last() { circle cx=(x(shown.len() - 1)) cy=(y(*last)) r="2"; }
            }
            (duration(spread.median))
        }
    }
}

/// Returns the large chart, the oldest run first. Failed runs are crosses, so that they differ in shape as well.
pub fn trend(points: &[DurationPoint], zone: &TimeZone) -> Markup {
    let shown = &points[points.len().saturating_sub(MAX_POINTS)..];
    let Some(spread) = Spread::of(shown.iter().map(|point| point.duration)) else {
        return html! { p.none { "No run has ended yet." } };
    };
    let scale = Scale::of(shown.iter().map(|point| point.duration));
    let y = |duration| Pixels(MARGIN + (HEIGHT - 2.0 * MARGIN) * (1.0 - scale.share(duration)));
    let rule =
        |class: &str, value: SignedDuration| html! { line class=(class) x2="100%" y1=(y(value)) y2=(y(value)) {} };
    let times = shown.first().zip(shown.last());
    html! {
        div.trend {
            p.key {
                span { svg.line width="18" height="10" aria-hidden="true" { line.median x2="100%" y1="5" y2="5" {} } "median " b { (duration(spread.median)) } }
                span { svg.line width="18" height="10" aria-hidden="true" { line.p95 x2="100%" y1="5" y2="5" {} } "95th percentile " b { (duration(spread.p95)) } }
            }
            div.plot {
                div.scale aria-hidden="true" { span { (duration(scale.max)) } span { "0s" } }
                svg role="group" aria-label=(summary(shown.len(), spread)) height=(HEIGHT) {
                    line.base x2="100%" y1=(HEIGHT - 0.5) y2=(HEIGHT - 0.5) {}
                    (rule("p95", spread.p95))
                    (rule("median", spread.median))
                    @for (place, point) in shown.iter().enumerate() {
                        @let x = Percent::of(place as f64 + 0.5, shown.len() as f64);
                        (linked(point, &dot(point, x, y(point.duration), zone)))
                    }
                }
            }
            @if let Some((first, last)) = times {
                p.ends { span { (exact(first.started, zone)) } span { (exact(last.started, zone)) } }
                p.vh { "Times are in the zone " (zone_name(zone)) "." }
            }
        }
    }
}

fn linked(point: &DurationPoint, picture: &Markup) -> Markup {
    html! {
        @match point.link.as_deref().and_then(local_link) {
            Some(link) => a href=(link) { (picture) },
            None => (picture),
        }
    }
}

fn dot(point: &DurationPoint, x: Percent, y: Pixels, zone: &TimeZone) -> Markup {
    let class = point.outcome.class();
    html! {
        svg x=(x) y=(y) overflow="visible" {
            title { (exact(point.started, zone)) ": " (point.outcome.word()) " after " (duration(point.duration)) }
            @if point.outcome == Outcome::Failed { path class={ "cross " (class) } d="M-4-4l8 8m0-8l-8 8"; }
            @else { circle class=(class) r="3.5" {} }
        }
    }
}

fn summary(runs: usize, spread: Spread) -> String {
    format!(
        "Durations of the last {}: median {}, 95th percentile {}",
        counted(runs as u64, "run", "runs"),
        duration(spread.median),
        duration(spread.p95)
    )
}

/// Scale of durations from zero to the longest.
struct Scale {
    max: SignedDuration,
}

impl Scale {
    fn of(durations: impl Iterator<Item = SignedDuration>) -> Self {
        Self { max: durations.max().unwrap_or_default().max(SignedDuration::from_secs(1)) }
    }

    fn share(&self, duration: SignedDuration) -> f64 {
        (duration.as_secs_f64() / self.max.as_secs_f64()).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(all: &[i64]) -> Vec<SignedDuration> {
        all.iter().copied().map(SignedDuration::from_secs).collect()
    }

    #[test]
    fn median_and_percentile_are_durations_that_occurred() {
        let of = |all: &[i64]| Spread::of(seconds(all)).map(|spread| (spread.median.as_secs(), spread.p95.as_secs()));
        let hundred: Vec<i64> = (1..=100).rev().collect();
        assert_eq!(
            [of(&[]), of(&[7]), of(&[3, 1, 2, 9]), of(&hundred)],
            [None, Some((7, 7)), Some((2, 9)), Some((50, 95))]
        );
    }

    #[test]
    fn small_chart_fits_into_a_row() {
        let text = sparkline(&seconds(&[60, 120, 0])).into_string();
        assert!(text.contains("points=\"2,11 48,2 94,20\""), "{text}");
        assert!(
            text.contains("<title>Durations of the last 3 runs: median 60s, 95th percentile 2m</title>")
                && text.len() < 400,
            "{text}"
        );
        assert!(sparkline(&seconds(&[0])).into_string().contains("points=\"48,20\""));
        assert_eq!(sparkline(&[]).into_string(), "<span class=\"none\">no runs</span>");
    }

    #[test]
    fn failed_run_is_a_cross_with_a_link() {
        let point = |duration: i64, outcome| DurationPoint {
            started: "2026-11-28T13:00:00Z".parse().unwrap(),
            duration: SignedDuration::from_secs(duration),
            outcome,
            link: Some("/jobs/a/b".to_owned()),
        };
        let text = trend(&[point(30, Outcome::Succeeded), point(300, Outcome::Failed)], &TimeZone::UTC).into_string();
        assert!(text.contains("<a href=\"/jobs/a/b\"><svg x=\"75%\" y=\"8\" overflow=\"visible\"><title>2026-11-28 13:00:00 UTC: failed after 5m</title>"), "{text}");
        assert_eq!((text.matches("<circle").count(), text.matches("class=\"cross bad\"").count()), (1, 1));
        assert!(trend(&[], &TimeZone::UTC).into_string().contains("No run has ended yet."));
        let negative = trend(&[point(-5, Outcome::Succeeded)], &TimeZone::UTC).into_string();
        assert!(!negative.contains("NaN") && negative.contains("y=\"112\""), "{negative}");
    }
}
