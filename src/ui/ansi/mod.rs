//! Lines of container logs for a page.
//!
//! The entry point is [`Reader::read`]. A log is hostile input. Colours and weights become CSS classes; all other escape
//! sequences are removed, and other deceptive characters are replaced by their code points. A [`Line`] never contains
//! HTML, a link, or an inline style. Its size is limited, and so is the time to read it: linear in the length of the line.

mod colour;
mod sequence;
mod style;

use maud::{Markup, Render, html};

use self::sequence::{Sequence, next_sequence};
pub use self::style::Style;
use crate::ui::text::{counted, is_deceptive, push_code};

/// Maximum length of a line in a page, in bytes.
pub const MAX_LINE: usize = 8 * 1024;
/// Maximum number of spans of a line. The rest of the line has the style of the last span.
const MAX_SPANS: usize = 200;

/// Text with one style.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Text without control characters except tabs.
    pub text: String,
    /// Colours and weight of the text.
    pub style: Style,
    /// Whether the text is the code point of a character that the log contains.
    pub is_code: bool,
}

/// Line of a log for a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Spans of the line. Two neighbours differ in their style.
    pub spans: Vec<Span>,
    /// Number of bytes at the end of the line that are left out because of the maximum length.
    pub omitted: usize,
}

/// Reader of the lines of one log. The style at the end of a line continues in the next.
#[derive(Clone, Debug)]
pub struct Reader {
    style: Style,
    max_bytes: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new(MAX_LINE)
    }
}

impl Reader {
    /// Returns a reader whose lines have at most this length in bytes.
    pub fn new(max_bytes: usize) -> Self {
        Self { style: Style::default(), max_bytes }
    }

    /// Reads one line without its line break. Of a line that a program rewrites after a carriage return, the last form
    /// is kept. Bytes that are not UTF-8 become U+FFFD.
    pub fn read(&mut self, line: &[u8]) -> Line {
        let text = String::from_utf8_lossy(line);
        let mut line = Builder::new(self.max_bytes);
        let (mut rest, mut before, mut returned) = (&*text, None, false);
        while let Some(character) = rest.chars().next() {
            if let Some((sequence, length)) = next_sequence(rest) {
                if let Sequence::Style(parameters) = sequence {
                    self.style.apply(parameters);
                }
                rest = &rest[length..];
                continue;
            }
            rest = &rest[character.len_utf8()..];
            if matches!(character, '\r' | '\n') {
                returned = true;
                continue;
            }
            if returned {
                line = Builder::new(self.max_bytes);
                returned = false;
            }
            let is_code = character != '\t' && is_deceptive(before, character, rest.chars().next());
            line.push(character, self.style, is_code);
            before = Some(character);
        }
        line.line
    }
}

/// Line that is being read.
struct Builder {
    line: Line,
    max_bytes: usize,
    bytes: usize,
}

impl Builder {
    fn new(max_bytes: usize) -> Self {
        Self { line: Line::default(), max_bytes, bytes: 0 }
    }

    fn push(&mut self, character: char, style: Style, is_code: bool) {
        let length = if is_code { "<U+10FFFF>".len() } else { character.len_utf8() };
        if self.line.omitted > 0 || self.bytes + length > self.max_bytes {
            self.line.omitted += character.len_utf8();
            return;
        }
        self.bytes += length;
        let spans = &mut self.line.spans;
        let full = spans.len() >= MAX_SPANS;
        match spans.last_mut() {
            Some(last) if full || last.style == style && last.is_code == is_code => {
                put(&mut last.text, character, is_code)
            }
            _ => {
                let mut text = String::new();
                put(&mut text, character, is_code);
                spans.push(Span { text, style, is_code });
            }
        }
    }
}

fn put(text: &mut String, character: char, is_code: bool) {
    if is_code { push_code(text, character) } else { text.push(character) }
}

impl Line {
    /// Returns the text of the line without styles, for a search.
    pub fn text(&self) -> String {
        self.spans.iter().map(|span| span.text.as_str()).collect()
    }

    /// Returns the line as markup, for callers without the trait [`Render`].
    pub fn markup(&self) -> Markup {
        self.render()
    }

    /// Returns whether the line has no text.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}

impl Render for Span {
    fn render(&self) -> Markup {
        let classes = self.style.classes(self.is_code);
        html! {
            @if classes.is_empty() { (self.text) } @else { span class=(classes) { (self.text) } }
        }
    }
}

impl Render for Line {
    fn render(&self) -> Markup {
        html! {
            @for span in &self.spans { (span) }
            @if self.omitted > 0 {
                span.more { "… " (counted(self.omitted as u64, "byte", "bytes")) " not shown" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(line: &str) -> String {
        Reader::default().read(line.as_bytes()).render().into_string()
    }

    #[test]
    fn colours_become_classes_and_other_sequences_disappear() {
        let cases = [
            ("plain\ttext", "plain\ttext"),
            ("<script>&", "&lt;script&gt;&amp;"),
            ("\u{1b}[1;31mred\u{1b}[0m end", "<span class=\"sb f1\">red</span> end"),
            ("\u{1b}[38;5;196mred\u{1b}[m", "<span class=\"f9\">red</span>"),
            ("\u{1b}[7;32mx", "<span class=\"g2\">x</span>"),
            ("\u{1b}[8mconcealed", "concealed"),
            ("\u{1b}[2J\u{1b}[H\u{1b}[?25l\u{1b}[>4mhome", "home"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;https://example.org\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}Pq#0;2;0;0;0\u{1b}\\a\u{1b}(Bb\u{1b}cc\u{1b}7d", "abcd"),
            ("\u{9b}31mred", "<span class=\"f1\">red</span>"),
            ("\u{9d}0;title\u{9c}after\u{90}x\u{9c}", "after"),
            // Sequences without an end remove only their beginning, so that they hide no text.
            ("\u{1b}]0;no end", "0;no end"),
            ("\u{1b}[31", "31"),
            ("\u{1b}", "<span class=\"x\">&lt;U+001B&gt;</span>"),
            ("10%\r20%\r\u{1b}[K100%\r", "100%"),
            ("kept\r\u{1b}[K", "kept"),
            (
                "a\u{8}\u{202e}b\u{200b}",
                "a<span class=\"x\">&lt;U+0008&gt;&lt;U+202E&gt;</span>b<span class=\"x\">&lt;U+200B&gt;</span>",
            ),
            ("👩\u{200d}💻", "👩\u{200d}💻"),
        ];
        for (line, expected) in cases {
            assert_eq!(shown(line), expected, "{line:?}");
        }
        assert_eq!(Reader::default().read(b"\xff\x9b31m").text(), "\u{fffd}\u{fffd}31m");
    }

    #[test]
    fn style_continues_in_the_next_line() {
        let mut reader = Reader::default();
        assert_eq!(reader.read(b"\x1b[32mgreen").render().into_string(), "<span class=\"f2\">green</span>");
        assert_eq!(reader.read(b"still\r\x1b[1mlast").render().into_string(), "<span class=\"sb f2\">last</span>");
        assert_eq!(reader.read(b"\x1b[0mend").render().into_string(), "end");
    }

    #[test]
    fn long_line_is_cut_with_a_mark() {
        let mut reader = Reader::new(10);
        let line = reader.read("ééééééé\u{1b}[31m".as_bytes());
        assert_eq!((line.text().as_str(), line.omitted), ("ééééé", 4));
        assert!(line.render().into_string().ends_with("<span class=\"more\">… 4 bytes not shown</span>"));
        assert_eq!(reader.read(b"x").render().into_string(), "<span class=\"f1\">x</span>", "the style is still read");
        // Text after a carriage return replaces the long text.
        assert_eq!(reader.read(b"0123456789ab\rok").omitted, 0);
        let changing: String = (0..1000).map(|place| format!("\u{1b}[{}mx", 31 + place % 2)).collect();
        let line = Reader::default().read(changing.as_bytes());
        assert_eq!((line.spans.len(), line.text().len()), (MAX_SPANS, 1000));
    }

    #[test]
    fn hostile_line_is_read_in_linear_time() {
        for piece in
            ["\u{1b}[", "\u{1b}[1;", "\u{1b}]", "\u{1b}P", "\u{9d}", "\u{9b}", "\u{1b}(", "\r", "\u{1b}]8;;\u{1b}"]
        {
            let line = piece.repeat(300_000);
            assert!(Reader::default().read(line.as_bytes()).text().len() <= MAX_LINE);
        }
    }

    /// Fragments of sequences and of text.
    const PIECES: [&str; 20] = [
        "\u{1b}",
        "[",
        "]",
        "31",
        "38;5;",
        "48;2;1;2;3",
        ";",
        "m",
        "\u{7}",
        "\u{1b}\\",
        "\u{9b}",
        "\u{9c}",
        "\r",
        "text",
        "<b>",
        "&",
        "\u{202e}",
        "\u{200d}",
        "é",
        "\t",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn shown_line_has_no_control_character_and_no_tag_of_the_log(
            lines in prop::collection::vec(prop_oneof![
                prop::collection::vec(prop::sample::select(&PIECES[..]), 0..30).prop_map(|all| all.concat().into_bytes()),
                prop::collection::vec(any::<u8>(), 0..60),
            ], 1..4),
            max in 0_usize..80,
        ) {
            let mut reader = Reader::new(max);
            for bytes in lines {
                let line = reader.read(&bytes);
                prop_assert!(line.text().len() <= max && line.spans.len() <= MAX_SPANS);
                let shown = line.render().into_string();
                prop_assert!(!shown.chars().any(|one| one.is_control() && one != '\t'), "{:?}", shown);
                prop_assert!(!shown.contains('\u{202e}'), "{:?}", shown);
                let tags = shown.matches("<span class=\"").count() + shown.matches("</span>").count();
                prop_assert_eq!(shown.matches('<').count(), tags, "{}", shown);
            }
        }

        #[test]
        fn line_without_escapes_is_unchanged(line in "[\\t -~À-ÿ漢🎉]{0,60}") {
            let read = Reader::default().read(line.as_bytes());
            prop_assert_eq!(read.text(), line.clone());
            prop_assert_eq!(read.render().into_string(), html! { (line) }.into_string());
        }
    }
}
