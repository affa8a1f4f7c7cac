//! Draws a timeline as SVG, and as an HTML page with the SVG and a table.

use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};

use super::bars::{Bar, End, Phase, Timeline};
use crate::client::format::duration_text;

/// Height of a row, in pixels like all of these sizes.
const ROW: usize = 18;
/// Narrowest column with the names of the pods.
const NAMES: usize = 200;
/// Width of a character of a name, at most.
const CHARACTER: usize = 8;
/// Width of the bars.
const CHART: usize = 720;
/// Width of the column with the ends of the pods.
const ENDS: usize = 180;
/// Height of the title and the legend.
const TOP: usize = 56;
/// Number of ticks of the time axis.
const TICKS: usize = 4;

/// Returns the timeline as SVG.
pub(crate) fn svg(timeline: &Timeline) -> String {
    let Timeline { from, to, bars, more, .. } = timeline;
    let longest = bars.iter().map(|bar| label(bar).chars().count()).max().unwrap_or_default();
    let names = NAMES.max(longest * CHARACTER + 16);
    let (width, height) = (names + CHART + ENDS, TOP + bars.len().max(1) * ROW + 40);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" role=\"img\">\n\
         <title>{0}</title>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"8\" y=\"20\" font-size=\"15\" font-weight=\"600\" fill=\"#1f2328\">{0}</text>\n",
        escaped(&title(timeline))
    );
    let mut x = names;
    let unfinished = End::Unfinished(None);
    for (phase, end, what) in [
        (Phase::Pending, &unfinished, "pending"),
        (Phase::Starting, &unfinished, "starting"),
        (Phase::Running, &unfinished, "running"),
        (Phase::BackOff, &unfinished, "back-off"),
        (Phase::Running, &End::Succeeded, "succeeded"),
        (Phase::Running, &End::Failed(String::new()), "failed"),
    ] {
        let _ = writeln!(
            text,
            "<rect x=\"{x}\" y=\"32\" width=\"12\" height=\"10\" fill=\"{}\"/><text x=\"{}\" y=\"41\" fill=\"#59636e\">{what}</text>",
            colour(phase, end),
            x + 17
        );
        x += 100;
    }
    let bottom = TOP + bars.len().max(1) * ROW + 16;
    let all = to.duration_since(*from);
    for tick in 1..=TICKS {
        let place = names + CHART * tick / TICKS;
        let at = SignedDuration::from_secs(all.as_secs() * tick as i64 / TICKS as i64);
        let _ = writeln!(
            text,
            "<line x1=\"{place}\" x2=\"{place}\" y1=\"{TOP}\" y2=\"{}\" stroke=\"#eff2f5\"/>\
             <text x=\"{place}\" y=\"{bottom}\" text-anchor=\"end\" fill=\"#59636e\">+{}</text>",
            bottom - 14,
            duration_text(at)
        );
    }
    for (row, bar) in bars.iter().enumerate() {
        draw(&mut text, bar, (names, TOP + row * ROW), *from, *to);
    }
    if let Some(empty) = timeline.empty() {
        let _ = writeln!(text, "<text x=\"8\" y=\"{}\" fill=\"#1f2328\">{empty}</text>", TOP + 12);
    }
    let begin = from.strftime("%Y-%m-%d %H:%M:%S UTC");
    let _ = writeln!(text, "<text x=\"{names}\" y=\"{}\" fill=\"#59636e\">{begin}</text>", bottom + 16);
    if *more > 0 {
        let _ = writeln!(text, "<text x=\"8\" y=\"{bottom}\" fill=\"#59636e\">{more} more pods are not shown</text>");
    }
    text + "</svg>\n"
}

fn title(timeline: &Timeline) -> String {
    format!("job/{} in namespace {} {}", timeline.job, timeline.namespace, timeline.outcome)
}

fn label(bar: &Bar) -> String {
    let index = bar.index.as_ref().map_or_else(String::new, |index| format!("[{index}] "));
    format!("{index}{}", bar.pod)
}

fn draw(text: &mut String, bar: &Bar, (left, y): (usize, usize), from: Timestamp, to: Timestamp) {
    let all = to.duration_since(from).as_millis().max(1) as f64;
    let place = |at: Timestamp| left as f64 + at.duration_since(from).as_millis() as f64 / all * CHART as f64;
    let base = y + 12;
    let _ = writeln!(text, "<text x=\"8\" y=\"{base}\" fill=\"#1f2328\">{}</text>", escaped(&label(bar)));
    for (phase, begin, end) in &bar.spans {
        let (x, width) = (place(*begin), (place(*end) - place(*begin)).max(3.0));
        let lasts = duration_text(end.duration_since(*begin));
        let _ = writeln!(
            text,
            "<rect x=\"{x:.1}\" y=\"{}\" width=\"{width:.1}\" height=\"12\" fill=\"{}\"><title>{lasts}</title></rect>",
            y + 2,
            colour(*phase, &bar.end)
        );
    }
    let end = match &bar.end {
        End::Unfinished(None) => return,
        End::Succeeded => "succeeded",
        End::Failed(words) | End::Unfinished(Some(words)) => words,
    };
    let last = bar.spans.last().map_or(left as f64, |(_, _, end)| place(*end));
    let _ = writeln!(text, "<text x=\"{:.1}\" y=\"{base}\" fill=\"#59636e\">{}</text>", last + 5.0, escaped(end));
}

fn colour(phase: Phase, end: &End) -> &'static str {
    match (phase, end) {
        (Phase::Pending, _) => "#d1d9e0",
        (Phase::BackOff, _) => "#d4a72c",
        (Phase::Starting, _) => "#9ec5fe",
        (Phase::Running, End::Failed(_)) => "#cf222e",
        (Phase::Running, End::Succeeded) => "#1a7f37",
        (Phase::Running, End::Unfinished(_)) => "#0969da",
    }
}

/// Returns an HTML page with the SVG, and a table of the time that each pod spent in each phase.
pub(crate) fn html(timeline: &Timeline) -> String {
    let title = escaped(&title(timeline));
    let mut rows = String::new();
    for bar in &timeline.bars {
        let seconds = |wanted: Phase| -> i64 {
            let spans = bar.spans.iter().filter(|(phase, _, _)| *phase == wanted);
            spans.map(|(_, from, to)| to.duration_since(*from).as_secs()).sum()
        };
        let end = match &bar.end {
            End::Unfinished(None) => "unfinished",
            End::Succeeded => "succeeded",
            End::Failed(words) | End::Unfinished(Some(words)) => words,
        };
        let _ = writeln!(
            rows,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(&bar.pod),
            seconds(Phase::Pending),
            seconds(Phase::Starting),
            seconds(Phase::Running),
            escaped(end)
        );
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <style>body{{font-family:system-ui,sans-serif;margin:24px;color:#1f2328}}svg{{max-width:100%;height:auto}}\
         table{{border-collapse:collapse;margin-top:16px}}td,th{{border-bottom:1px solid #d1d9e0;padding:4px 12px;text-align:left}}</style>\n\
         </head>\n<body>\n{}<table>\n<tr><th>pod</th><th>pending, s</th><th>starting, s</th><th>running, s</th><th>end</th></tr>\n\
         {rows}</table>\n</body>\n</html>\n",
        svg(timeline)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::bars::tests::{documented, timeline};
    use super::*;
    use crate::client::transcripts::assert_is_file;

    #[test]
    fn svg_has_a_bar_for_each_span_and_page_has_a_row_for_each_pod() {
        let timeline = timeline();
        let picture = svg(&timeline);
        let spans: usize = timeline.bars.iter().map(|bar| bar.spans.len()).sum();
        assert_eq!(picture.matches("<title>").count(), spans + 1, "{picture}");
        assert!(picture.starts_with("<svg ") && picture.contains(">exit 3</text>"), "{picture}");
        let page = html(&timeline);
        assert_eq!(page.matches("<tr><td>").count(), 3, "{page}");
        assert!(page.contains("<tr><td>a</td><td>5</td><td>5</td><td>20</td><td>succeeded</td></tr>"), "{page}");
    }

    #[test]
    fn documentation_has_the_picture_of_a_real_job() {
        assert_is_file("timeline.svg", &svg(&documented()));
    }

    #[test]
    fn long_name_has_room_and_the_axis_has_ticks() {
        let mut timeline = timeline();
        timeline.bars[0].pod = "n".repeat(60);
        let picture = svg(&timeline);
        let left = 60 * CHARACTER + 16 + "[3] ".len() * CHARACTER;
        assert!(
            picture.contains(&format!("<rect x=\"{left}.0\"")),
            "the bars begin after the longest name:\n{picture}"
        );
        for tick in ["+10s", "+20s", "+30s", "+40s"] {
            assert!(picture.contains(tick), "{tick}: {picture}");
        }
        assert!(picture.contains("job/etl in namespace default is running"), "{picture}");
        for what in ["pending", "starting", "running", "back-off", "succeeded", "failed"] {
            assert!(picture.contains(&format!(">{what}</text>")), "{what}: {picture}");
        }
    }

    #[test]
    fn text_from_the_cluster_is_escaped() {
        let mut timeline = timeline();
        timeline.bars[1].end = End::Failed("</svg><script>alert(1)</script>".to_owned());
        assert!(!svg(&timeline).contains("<script>") && !html(&timeline).contains("<script>"));
    }
}
