//! Draws a timeline with characters, for the terminal.

use jiff::Timestamp;

use crate::client::format::{cut, duration_text, shortened};
use crate::client::terminal::{Color, Screen};
use crate::client::timeline::bars::{Bar, End, Phase, Timeline};

/// Narrowest room for the bars, in characters.
const MIN_ROOM: usize = 8;

/// Returns the chart. No line is wider than the screen.
pub(crate) fn chart(timeline: &Timeline, screen: &Screen) -> String {
    let Timeline { job, outcome, from, to, bars, more, .. } = timeline;
    let mut text = cut(&format!("job/{job} {outcome}"), screen.width) + "\n";
    if let Some(empty) = timeline.empty() {
        return text + empty + "\n";
    }
    let ends: Vec<String> = bars.iter().map(end).collect();
    let longest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or_default();
    let end_width = longest(&mut ends.iter().map(|end| end.chars().count())).min((screen.width / 4).max(4));
    let names = longest(&mut bars.iter().map(|bar| bar.pod.chars().count()));
    let name_width =
        names.min((screen.width * 2 / 5).max(4)).min(screen.width.saturating_sub(end_width + 2 + MIN_ROOM));
    let room = screen.width.saturating_sub(name_width + end_width + 2).max(1);
    for (bar, end) in bars.iter().zip(&ends) {
        let color = match bar.end {
            End::Unfinished(None) => Color::Blue,
            End::Unfinished(Some(_)) => Color::Yellow,
            End::Succeeded => Color::Green,
            End::Failed(_) => Color::Red,
        };
        let (name, end) = (shortened(&bar.pod, name_width), shortened(end, end_width));
        let line = screen.paint(color, &line(bar, *from, *to, room));
        text += format!("{name:<name_width$} {line} {}", screen.paint(color, &end)).trim_end();
        text.push('\n');
    }
    if *more > 0 {
        text += &shortened(&format!("{more} more pods are not shown (--rows {})", bars.len() + more), screen.width);
        text.push('\n');
    }
    text += &axis(*from, *to, name_width, room, screen.width);
    text + &legend(name_width, screen.width)
}

fn axis(from: Timestamp, to: Timestamp, indent: usize, room: usize, width: usize) -> String {
    let first = from.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let last = format!("+{}", duration_text(to.duration_since(from)));
    let gap = room.saturating_sub(first.chars().count() + last.chars().count());
    if gap > 0 {
        return format!("{:indent$} {first}{}{last}\n", "", " ".repeat(gap));
    }
    [first, last].iter().map(|text| shortened(text, width) + "\n").collect()
}

fn legend(indent: usize, width: usize) -> String {
    let items = [
        (Phase::Pending, "pending"),
        (Phase::Starting, "starting"),
        (Phase::Running, "running"),
        (Phase::BackOff, "back-off"),
    ];
    let items: Vec<String> = items.iter().map(|(phase, what)| format!("{} {what}", mark(*phase))).collect();
    let one_line = format!("{:indent$} {}", "", items.join("  "));
    if one_line.chars().count() <= width {
        return one_line + "\n";
    }
    items.iter().map(|item| shortened(item, width) + "\n").collect()
}

fn end(bar: &Bar) -> String {
    match &bar.end {
        End::Unfinished(None) => "…".to_owned(),
        End::Unfinished(Some(words)) => format!("… {words}"),
        End::Succeeded => "✓".to_owned(),
        End::Failed(words) => format!("✗ {words}"),
    }
}

fn mark(phase: Phase) -> char {
    match phase {
        Phase::Pending => '·',
        Phase::Starting => '░',
        Phase::Running => '█',
        Phase::BackOff => '~',
    }
}

fn line(bar: &Bar, from: Timestamp, to: Timestamp, room: usize) -> String {
    let all = to.duration_since(from).as_millis().max(1);
    let place = |at: Timestamp| {
        let share = at.duration_since(from).as_millis() * room as i128 / all;
        usize::try_from(share).unwrap_or_default().min(room)
    };
    let mut cells = vec![' '; room];
    for (phase, begin, end) in &bar.spans {
        let begin = place(*begin).min(room - 1);
        // Even the shortest span gets one cell, so that each phase of a pod is visible.
        let end = place(*end).max(begin + 1);
        cells[begin..end].fill(mark(*phase));
    }
    cells.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::timeline::bars::tests::{documented, timeline};
    use crate::client::transcripts::assert_in_page;

    fn screen(width: usize) -> Screen {
        Screen { width, ..Screen::PLAIN }
    }

    #[test]
    fn chart_has_a_line_for_each_pod() {
        let expected = "\
job/etl is running: 1 succeeded, 1 failed
a ·····░░░░░████████████████████           ✓
b           ░░████████                     ✗ exit 3
c                               ·░████████ …
  2026-01-01 00:00:00 UTC             +40s
  · pending  ░ starting  █ running  ~ back-off
";
        assert_eq!(chart(&timeline(), &screen(51)), expected);
    }

    #[test]
    fn documentation_has_the_chart_of_a_real_job() {
        let chart = chart(&documented(), &screen(100));
        assert_in_page("timeline.md", &format!("$ jobwright timeline job/etl\n{chart}"));
    }

    #[test]
    fn no_line_is_wider_than_the_screen() {
        let mut timeline = timeline();
        timeline.bars[0].pod = "a-very-long-name-of-a-pod-that-has-an-index-17-x2b4q".to_owned();
        timeline.bars[1].end = End::Failed("OOMKilled, exit 137".to_owned());
        timeline.more = 12;
        for width in [20, 40, 60, 80, 100, 160] {
            let chart = chart(&timeline, &screen(width));
            let widest = chart.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= width, "{width}: {widest}\n{chart}");
            assert!(chart.contains("x2b4q") || width < 30, "the end of a name is kept:\n{chart}");
            assert!(width < 60 || widest > width * 9 / 10, "the width is used:\n{chart}");
        }
        assert!(chart(&timeline, &screen(100)).contains("12 more pods are not shown (--rows 15)"));
    }

    #[test]
    fn bars_have_the_color_of_their_end() {
        let colored = chart(&timeline(), &Screen { color: true, ..screen(60) });
        assert!(colored.contains("\u{1b}[32m✓") && colored.contains("\u{1b}[31m✗ exit 3"), "{colored:?}");
        assert!(!chart(&timeline(), &screen(60)).contains('\u{1b}'));
    }

    #[test]
    fn job_without_pods_has_a_sentence() {
        let empty = Timeline { bars: Vec::new(), ..timeline() };
        assert!(chart(&empty, &screen(80)).ends_with("no pods: none has been created yet, or all were deleted\n"));
    }
}
