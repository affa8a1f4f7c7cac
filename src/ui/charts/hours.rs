//! Runs of the last hours: succeeded ones above the line, failed ones below.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::{Percent, Pixels, counts_text, zone_name};

/// Maximum number of hours. Of more hours, the last ones are shown.
pub const MAX_HOURS: usize = 48;
/// Height above the line for the highest count of succeeded runs, in pixels.
const ABOVE: f64 = 44.0;
/// Height below the line for the highest count of failed runs.
const BELOW: f64 = 22.0;
/// Place of the texts of the axis.
const TEXT: f64 = ABOVE + BELOW + 16.0;

/// Numbers of runs that ended in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hour {
    /// Begin of the hour.
    pub begin: Timestamp,
    /// Number of runs that succeeded.
    pub succeeded: u64,
    /// Number of runs that failed.
    pub failed: u64,
}

/// Returns the chart, the oldest hour first.
pub fn hours(hours: &[Hour], zone: &TimeZone) -> Markup {
    let shown = &hours[hours.len().saturating_sub(MAX_HOURS)..];
    let sum = |count: fn(&Hour) -> u64| shown.iter().map(count).fold(0_u64, u64::saturating_add);
    let most = |count: fn(&Hour) -> u64| shown.iter().map(count).max().unwrap_or_default();
    let (max_succeeded, max_failed) = (most(|hour| hour.succeeded), most(|hour| hour.failed));
    let summary = match counts_text([(sum(|hour| hour.succeeded), "succeeded"), (sum(|hour| hour.failed), "failed")]) {
        none if none.is_empty() => format!("Last {} hours: no run has ended", shown.len()),
        counts => format!("Last {} hours: {counts}", shown.len()),
    };
    let width = Percent::of(0.8, shown.len() as f64);
    html! {
        svg.hours role="img" height=(TEXT + 6.0) {
            title { (summary) }
            desc { "Each column is one hour in the zone " (zone_name(zone)) ". Succeeded runs are above the line, and failed runs below." }
            line.base x2="100%" y1=(ABOVE + 0.5) y2=(ABOVE + 0.5) {}
            @for (place, hour) in shown.iter().enumerate() {
                @let x = Percent::of(place as f64 + 0.1, shown.len() as f64);
                g {
                    title { (hour_text(hour, zone)) }
                    // The transparent column makes the title appear above an empty hour.
                    rect.hit x=(x) width=(width) height=(ABOVE + BELOW) {}
                    @if hour.succeeded > 0 {
                        @let height = height(hour.succeeded, max_succeeded, ABOVE - 2.0);
                        rect.ok x=(x) width=(width) y=(Pixels(ABOVE - height)) height=(Pixels(height)) {}
                    }
                    @if hour.failed > 0 {
                        rect.bad x=(x) width=(width) y=(ABOVE + 1.0) height=(Pixels(height(hour.failed, max_failed, BELOW))) {}
                    }
                }
                @if let Some(label) = label(hour.begin, zone) { text x=(x) y=(TEXT) { (label) } }
            }
        }
    }
}

/// Returns the height of a bar. Even one run is visible.
fn height(count: u64, max: u64, height: f64) -> f64 {
    (count as f64 / max.max(1) as f64 * height).max(2.0)
}

/// Returns the label of each fourth hour.
fn label(begin: Timestamp, zone: &TimeZone) -> Option<String> {
    let local = begin.to_zoned(zone.clone());
    (local.hour() % 4 == 0).then(|| local.strftime("%H:00").to_string())
}

fn hour_text(hour: &Hour, zone: &TimeZone) -> String {
    let time = |time: Timestamp| time.to_zoned(zone.clone()).strftime("%H:%M").to_string();
    let end = hour.begin.checked_add(SignedDuration::from_hours(1)).unwrap_or(Timestamp::MAX);
    let counts = counts_text([(hour.succeeded, "succeeded"), (hour.failed, "failed")]);
    let counts = if counts.is_empty() { "no run has ended" } else { &counts };
    format!("{}–{}: {counts}", time(hour.begin), time(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(counts: impl Fn(u64) -> (u64, u64)) -> String {
        let begin: Timestamp = "2026-11-28T00:00:00Z".parse().unwrap();
        let all: Vec<Hour> = (0..24)
            .map(|hour| {
                let (succeeded, failed) = counts(hour);
                Hour { begin: begin + SignedDuration::from_hours(hour as i64), succeeded, failed }
            })
            .collect();
        hours(&all, &TimeZone::get("Europe/Berlin").unwrap()).into_string()
    }

    #[test]
    fn hour_has_bars_and_a_title() {
        let text = day(|hour| (hour * 100, u64::from(hour == 23)));
        assert!(text.contains("<title>Last 24 hours: 27,600 succeeded, 1 failed</title>"), "{text}");
        assert!(text.contains("<title>00:00–01:00: 2,300 succeeded, 1 failed</title>"), "{text}");
        assert!(text.contains("<title>01:00–02:00: no run has ended</title>"), "{text}");
        assert!(text.contains("<rect class=\"ok\" x=\"96.25%\" width=\"3.33%\" y=\"2\" height=\"42\">"), "{text}");
        assert!(text.contains("<text x=\"12.92%\" y=\"82\">04:00</text>"), "{text}");
        assert!(text.len() < 8000, "{} bytes", text.len());
        assert!(day(|_| (0, 0)).contains("<title>Last 24 hours: no run has ended</title>"));
        assert!(day(|_| (u64::MAX, u64::MAX)).contains("height=\"42\""));
    }
}
