//! Draws a timeline with characters, for the terminal.

use jiff::Timestamp;

use super::bars::{Bar, End, Phase, Timeline};

/// Longest name of a pod that is not shortened, in characters.
const LONGEST_NAME: usize = 36;
/// Width of the column with the ends of the pods, in characters.
const END: usize = 16;

/// Returns the chart. `width` is its width in characters.
pub(crate) fn chart(timeline: &Timeline, width: usize) -> String {
    let Timeline { job, outcome, from, to, bars, more } = timeline;
    let names: Vec<String> = bars.iter().map(name).collect();
    let name_width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    let room = width.saturating_sub(name_width + END + 2).max(10);
    let mut text = format!("job/{job} {outcome}\n");
    for (bar, name) in bars.iter().zip(&names) {
        let end = match &bar.end {
            End::NotYet => "…".to_owned(),
            End::Succeeded => "✓".to_owned(),
            End::Failed(words) => format!("✗ {words}"),
        };
        let line = line(bar, *from, *to, room);
        text += format!("{name:<name_width$} {line} {end}").trim_end();
        text.push('\n');
    }
    if *more > 0 {
        text += &format!("and {more} more pods; --rows shows them\n");
    }
    let took = to.duration_since(*from).as_secs();
    let (first, last) = (from.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(), format!("+{took} s"));
    let gap = room.saturating_sub(first.chars().count() + last.chars().count());
    text += &format!("{:name_width$} {first}{}{last}\n", "", " ".repeat(gap));
    text + &format!(
        "{:name_width$} {} has no node  {} is being started  {} runs\n",
        "",
        mark(Phase::Waiting),
        mark(Phase::Starting),
        mark(Phase::Running)
    )
}

fn name(bar: &Bar) -> String {
    let count = bar.pod.chars().count();
    if count <= LONGEST_NAME {
        return bar.pod.clone();
    }
    // Names of pods of one Job differ at their end, so the beginning is cut.
    let tail: String = bar.pod.chars().skip(count - LONGEST_NAME + 1).collect();
    format!("…{tail}")
}

fn mark(phase: Phase) -> char {
    match phase {
        Phase::Waiting => '·',
        Phase::Starting => '░',
        Phase::Running => '█',
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
    use super::super::bars::tests::timeline;
    use super::*;

    #[test]
    fn chart_has_a_line_for_each_pod() {
        let expected = "\
job/etl under way: 1 succeeded, 1 failed
a ·····░░░░░████████████████████           ✓
b           ░░████████                     ✗ exit 3
c                               ·░████████ …
  2026-01-01 00:00:00 UTC            +40 s
  · has no node  ░ is being started  █ runs
";
        assert_eq!(chart(&timeline(), 40 + END + 3), expected);
    }
}
