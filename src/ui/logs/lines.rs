//! Lines of logs as markup, with the matches of a search marked. Pure functions.

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use crate::client::logs::sources::Source;
use crate::client::logs::tail::LogLine;
use crate::ui::ansi::{Line, Reader, Span};
use crate::ui::text::{exact, machine, neutral};

/// Line of a log that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ui) struct Row {
    /// Container of the log.
    pub source: Source,
    /// Time of the line, or of the line before it.
    pub time: Option<Timestamp>,
    /// Text with its colours.
    pub line: Line,
}

/// Reader of the logs of several containers. The colours at the end of a line continue in the next line of the same log.
#[derive(Clone, Debug, Default)]
pub(in crate::ui) struct Readers {
    logs: BTreeMap<Source, (Reader, Option<Timestamp>)>,
}

impl Readers {
    /// Returns a line as it is shown. Lines of a log are read in their order.
    pub(in crate::ui) fn row(&mut self, source: &Source, line: &LogLine) -> Row {
        let (reader, last) = self.logs.entry(source.clone()).or_default();
        *last = line.time.or(*last);
        Row { source: source.clone(), time: *last, line: reader.read(line.text.as_bytes()) }
    }

    /// Returns the time of the last line of each log.
    pub(super) fn last(&self) -> BTreeMap<Source, Timestamp> {
        self.logs.iter().filter_map(|(source, (_, last))| Some((source.clone(), (*last)?))).collect()
    }
}

/// How rows are shown.
#[derive(Clone, Debug)]
pub(in crate::ui) struct Look {
    /// Text whose matches are marked.
    pub text: Option<String>,
    /// Time zone of the times.
    pub zone: TimeZone,
}

impl Look {
    /// Returns whether a row passes the search.
    pub(super) fn shows(&self, row: &Row) -> bool {
        self.text.as_ref().is_none_or(|text| !matches(&row.line.text(), text).is_empty())
    }

    /// Returns the row as markup.
    pub(in crate::ui) fn row(&self, row: &Row) -> Markup {
        let Row { source, time, line } = row;
        let who = format!("{}/{}", source.pod, source.container);
        html! {
            div {
                @if let Some(time) = time {
                    time datetime=(machine(*time)) title=(exact(*time, &self.zone)) {
                        (time.to_zoned(self.zone.clone()).strftime("%H:%M:%S"))
                    }
                }
                span.src title=(neutral(&who)) { (neutral(&source.pod)) }
                span.l { (self.line(line)) }
            }
        }
    }

    fn line(&self, line: &Line) -> Markup {
        let ranges = self.text.as_ref().map_or_else(Vec::new, |text| matches(&line.text(), text));
        if ranges.is_empty() {
            return line.markup();
        }
        let mut start = 0;
        let mut pieces = Vec::new();
        for span in &line.spans {
            for (range, is_match) in pieces_of(start..start + span.text.len(), &ranges) {
                let text = span.text[range.start - start..range.end - start].to_owned();
                pieces.push((Span { text, ..span.clone() }, is_match));
            }
            start += span.text.len();
        }
        let rest = Line { spans: Vec::new(), omitted: line.omitted };
        html! {
            @for (span, is_match) in &pieces { @if *is_match { mark { (span) } } @else { (span) } }
            (rest)
        }
    }
}

/// Returns the places of a text in a line. Letters of ASCII match in any case.
fn matches(line: &str, text: &str) -> Vec<Range<usize>> {
    let (lower, wanted) = (line.to_ascii_lowercase(), text.to_ascii_lowercase());
    if wanted.is_empty() {
        return Vec::new();
    }
    lower.match_indices(&wanted).map(|(at, found)| at..at + found.len()).collect()
}

/// Splits a range at the bounds of matches, and returns whether each part is within a match.
fn pieces_of(whole: Range<usize>, matches: &[Range<usize>]) -> Vec<(Range<usize>, bool)> {
    let mut pieces = Vec::new();
    let mut at = whole.start;
    for found in matches {
        let (start, end) = (found.start.clamp(at, whole.end), found.end.clamp(at, whole.end));
        pieces.push((at..start, false));
        pieces.push((start..end, true));
        at = end;
    }
    pieces.push((at..whole.end, false));
    pieces.retain(|(range, _)| !range.is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(pod: &str) -> Source {
        Source { pod: pod.to_owned(), uid: "p".to_owned(), container: "main".to_owned(), restarts: 0 }
    }

    fn line(text: &str) -> LogLine {
        LogLine { time: None, text: text.to_owned() }
    }

    fn shown(lines: &[&str], text: &str) -> Vec<String> {
        let look = Look { text: Some(text.to_owned()), zone: TimeZone::UTC };
        let mut readers = Readers::default();
        let rows: Vec<Row> = lines.iter().map(|text| readers.row(&source("a-1"), &line(text))).collect();
        let between =
            |text: &str| text.split_once("<span class=\"l\">").unwrap().1.trim_end_matches("</span></div>").to_owned();
        rows.iter().filter(|row| look.shows(row)).map(|row| between(&look.row(row).into_string())).collect()
    }

    #[test]
    fn matches_are_marked_across_colours() {
        assert_eq!(shown(&["an Error: error", "fine"], "error"), ["an <mark>Error</mark>: <mark>error</mark>"]);
        let coloured = shown(&["\u{1b}[31mdisk fu\u{1b}[0mll <b>"], "full");
        assert_eq!(
            coloured,
            ["<span class=\"f1\">disk </span><mark><span class=\"f1\">fu</span></mark><mark>ll</mark> &lt;b&gt;"]
        );
        assert_eq!(shown(&["é漢É"], "漢"), ["é<mark>漢</mark>É"]);
        // The colour of a line that is not shown continues.
        assert_eq!(shown(&["\u{1b}[32mon", "match"], "match"), ["<mark><span class=\"f2\">match</span></mark>"]);
    }

    #[test]
    fn row_has_its_time_and_its_pod() {
        let mut readers = Readers::default();
        let time = "2026-01-01T10:20:30Z".parse().ok();
        let first = readers.row(&source("a-1"), &LogLine { time, text: "x".to_owned() });
        let second = readers.row(&source("a-1"), &line("continued"));
        assert_eq!(second.time, first.time);
        assert_eq!(readers.row(&source("a-2"), &line("y")).time, None);
        assert_eq!(readers.last(), [(source("a-1"), time.unwrap())].into());
        let look = Look { text: None, zone: TimeZone::UTC };
        let text = look.row(&first).into_string();
        assert!(text.contains(">10:20:30</time><span class=\"src\" title=\"a-1/main\">a-1</span>"), "{text}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn marks_change_no_text(log in "[ab<\\x1b\\[3m1é]{0,30}", text in "[ab<é]{1,3}") {
            let look = Look { text: Some(text), zone: TimeZone::UTC };
            let row = Readers::default().row(&source("a"), &line(&log));
            let marked = look.line(&row.line).into_string().replace("<mark>", "").replace("</mark>", "");
            // A span that is split at a match has its classes twice.
            let plain = |text: &str| {
                let mut plain = String::new();
                for piece in text.split('<') {
                    plain.push_str(piece.split_once('>').map_or(piece, |(_, rest)| rest));
                }
                plain
            };
            prop_assert_eq!(plain(&marked), plain(&row.line.markup().into_string()));
        }
    }
}
