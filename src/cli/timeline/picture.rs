//! Draws a timeline as SVG, and as an HTML page with the SVG and a table.

use std::fmt::Write;

use jiff::Timestamp;

use super::bars::{Bar, End, Phase, Timeline};

/// Height of a row, in pixels like all of these sizes.
const ROW: usize = 18;
/// Width of the column with the names of the pods.
const NAMES: usize = 260;
/// Width of the bars.
const CHART: usize = 720;
/// Width of the column with the ends of the pods.
const ENDS: usize = 180;
/// Height of the title and the legend.
const TOP: usize = 56;

/// Returns the timeline as SVG.
pub(crate) fn svg(timeline: &Timeline) -> String {
    let Timeline { job, outcome, from, to, bars, more } = timeline;
    let (width, height) = (NAMES + CHART + ENDS, TOP + bars.len() * ROW + 40);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" role=\"img\">\n\
         <title>{0}</title>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"8\" y=\"20\" font-size=\"15\" font-weight=\"600\" fill=\"#1f2328\">{0}</text>\n",
        escaped(&format!("job/{job} {outcome}"))
    );
    let mut x = NAMES;
    for (phase, what) in
        [(Phase::Waiting, "has no node"), (Phase::Starting, "is being started"), (Phase::Running, "runs")]
    {
        let _ = writeln!(
            text,
            "<rect x=\"{x}\" y=\"32\" width=\"12\" height=\"10\" fill=\"{}\"/><text x=\"{}\" y=\"41\" fill=\"#59636e\">{what}</text>",
            colour(phase, &End::NotYet),
            x + 17
        );
        x += 130;
    }
    for (row, bar) in bars.iter().enumerate() {
        draw(&mut text, bar, TOP + row * ROW, *from, *to);
    }
    let bottom = TOP + bars.len() * ROW + 16;
    let took = to.duration_since(*from).as_secs();
    let _ = writeln!(
        text,
        "<text x=\"{NAMES}\" y=\"{bottom}\" fill=\"#59636e\">{}</text><text x=\"{}\" y=\"{bottom}\" text-anchor=\"end\" fill=\"#59636e\">+{took} s</text>",
        from.strftime("%Y-%m-%d %H:%M:%S UTC"),
        NAMES + CHART
    );
    if *more > 0 {
        let _ = writeln!(text, "<text x=\"8\" y=\"{bottom}\" fill=\"#59636e\">and {more} more pods</text>");
    }
    text + "</svg>\n"
}

fn draw(text: &mut String, bar: &Bar, y: usize, from: Timestamp, to: Timestamp) {
    let all = to.duration_since(from).as_millis().max(1) as f64;
    let place = |at: Timestamp| NAMES as f64 + at.duration_since(from).as_millis() as f64 / all * CHART as f64;
    let index = bar.index.as_ref().map_or_else(String::new, |index| format!("[{index}] "));
    let base = y + 12;
    let _ = writeln!(
        text,
        "<text x=\"8\" y=\"{base}\" fill=\"#1f2328\">{}</text>",
        escaped(&format!("{index}{}", bar.pod))
    );
    for (phase, begin, end) in &bar.spans {
        let (x, width) = (place(*begin), (place(*end) - place(*begin)).max(1.0));
        let seconds = end.duration_since(*begin).as_secs();
        let _ = writeln!(
            text,
            "<rect x=\"{x:.1}\" y=\"{}\" width=\"{width:.1}\" height=\"12\" fill=\"{}\"><title>{seconds} s</title></rect>",
            y + 2,
            colour(*phase, &bar.end)
        );
    }
    let end = match &bar.end {
        End::NotYet => return,
        End::Succeeded => "succeeded",
        End::Failed(words) => words,
    };
    let last = bar.spans.last().map_or(NAMES as f64, |(_, _, end)| place(*end));
    let _ = writeln!(text, "<text x=\"{:.1}\" y=\"{base}\" fill=\"#59636e\">{}</text>", last + 5.0, escaped(end));
}

fn colour(phase: Phase, end: &End) -> &'static str {
    match (phase, end) {
        (Phase::Waiting, _) => "#d1d9e0",
        (Phase::Starting, _) => "#9ec5fe",
        (Phase::Running, End::Failed(_)) => "#cf222e",
        (Phase::Running, End::Succeeded) => "#1a7f37",
        (Phase::Running, End::NotYet) => "#0969da",
    }
}

/// Returns an HTML page with the SVG, and a table of the time that each pod spent in each phase.
pub(crate) fn html(timeline: &Timeline) -> String {
    let title = escaped(&format!("job/{} {}", timeline.job, timeline.outcome));
    let mut rows = String::new();
    for bar in &timeline.bars {
        let seconds = |wanted: Phase| -> i64 {
            let spans = bar.spans.iter().filter(|(phase, _, _)| *phase == wanted);
            spans.map(|(_, from, to)| to.duration_since(*from).as_secs()).sum()
        };
        let end = match &bar.end {
            End::NotYet => "under way",
            End::Succeeded => "succeeded",
            End::Failed(words) => words,
        };
        let _ = writeln!(
            rows,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(&bar.pod),
            seconds(Phase::Waiting),
            seconds(Phase::Starting),
            seconds(Phase::Running),
            escaped(end)
        );
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <style>body{{font-family:system-ui,sans-serif;margin:24px;color:#1f2328}}svg{{max-width:100%;height:auto}}\
         table{{border-collapse:collapse;margin-top:16px}}td,th{{border-bottom:1px solid #d1d9e0;padding:4px 12px;text-align:left}}</style>\n\
         </head>\n<body>\n{}<table>\n<tr><th>pod</th><th>without a node, s</th><th>starting, s</th><th>running, s</th><th>end</th></tr>\n\
         {rows}</table>\n</body>\n</html>\n",
        svg(timeline)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::bars::tests::timeline;
    use super::*;

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
    fn text_from_the_cluster_is_escaped() {
        let mut timeline = timeline();
        timeline.bars[1].end = End::Failed("</svg><script>alert(1)</script>".to_owned());
        assert!(!svg(&timeline).contains("<script>") && !html(&timeline).contains("<script>"));
    }
}
