//! Lines of container logs as they are printed. A log is hostile input: it can contain sequences with which a terminal
//! moves the cursor, changes its title or hides text.

use jiff::Timestamp;

use crate::client::one_line::is_unsafe;

/// Longest color sequence that is kept, in bytes.
const MAX_SEQUENCE: usize = 40;
/// Code that ends all colors.
const RESET: &str = "\u{1b}[0m";
/// Colors of prefixes: the codes of the foreground colors except black, white and red.
const PALETTE: &[u8] = &[36, 32, 33, 35, 34, 96, 92, 93, 95, 94];

/// Returns a line for a terminal: colors stay if `colors` is set, and every other control character is replaced by
/// visible characters.
pub(crate) fn for_terminal(line: &str, colors: bool) -> String {
    let (mut text, mut rest, mut colored) = (String::with_capacity(line.len()), line, false);
    while let Some(character) = rest.chars().next() {
        if let Some(length) = color_sequence(rest) {
            if colors {
                text.push_str(&rest[..length]);
                colored = true;
            }
            rest = &rest[length..];
            continue;
        }
        match character {
            '\t' => text.push('\t'),
            '\0'..='\u{1f}' => text.extend(['^', char::from(character as u8 ^ 0x40)]),
            '\u{7f}' => text.push_str("^?"),
            _ if is_unsafe(character) => text.push_str(&format!("<U+{:04X}>", character as u32)),
            _ => text.push(character),
        }
        rest = &rest[character.len_utf8()..];
    }
    if colored {
        // The color of a line must not continue in the next prefix.
        text.push_str(RESET);
    }
    text
}

/// Returns the length of the color sequence at the beginning of a text. A sequence that also conceals text is none.
fn color_sequence(text: &str) -> Option<usize> {
    let body = text.strip_prefix("\u{1b}[")?;
    let end = body.find(|character: char| !character.is_ascii_digit() && character != ';')?;
    (body[end..].starts_with('m') && end < MAX_SEQUENCE && shows_text(&body[..end])).then_some(end + "\u{1b}[m".len())
}

/// Returns whether the parameters of a color sequence conceal no text (parameter 8).
fn shows_text(parameters: &str) -> bool {
    let mut parameters = parameters.split(';').map(|parameter| parameter.parse::<u32>().unwrap_or_default());
    while let Some(parameter) = parameters.next() {
        match parameter {
            8 => return false,
            // These introduce a color: `5;N` or `2;R;G;B`.
            38 | 48 | 58 => match parameters.next() {
                Some(5) => drop(parameters.next()),
                Some(2) => drop(parameters.by_ref().take(3).count()),
                _ => {}
            },
            _ => {}
        }
    }
    true
}

/// Returns the prefix in the color of its pod. Pods have the same color in every run.
pub(crate) fn colored_prefix(prefix: &str, pod: &str) -> String {
    let sum = pod.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    format!("\u{1b}[{}m{prefix}{RESET}", PALETTE[sum % PALETTE.len()])
}

/// Splits a line of a log that was requested with timestamps. A line that the kubelet adds has no timestamp.
pub(crate) fn split_timestamp(line: &str) -> (Option<Timestamp>, &str) {
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    match first.parse::<Timestamp>() {
        Ok(time) => (Some(time), rest),
        Err(_) => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn colors_are_kept_and_other_sequences_are_made_visible() {
        let cases = [
            ("plain\ttext", "plain\ttext"),
            ("\u{1b}[1;31mred\u{1b}[0m", "\u{1b}[1;31mred\u{1b}[0m\u{1b}[0m"),
            ("\u{1b}[38;5;8mgrey", "\u{1b}[38;5;8mgrey\u{1b}[0m"),
            ("\u{1b}[38;2;8;8;8mdark", "\u{1b}[38;2;8;8;8mdark\u{1b}[0m"),
            ("\u{1b}[2J\u{1b}[Hgone", "^[[2J^[[Hgone"),
            ("\u{1b}]0;title\u{7}", "^[]0;title^G"),
            ("\u{1b}]52;c;aGk=\u{1b}\\", "^[]52;c;aGk=^[\\"),
            ("\u{1b}[8mhidden", "^[[8mhidden"),
            ("\u{1b}[38;5;1;8mhidden", "^[[38;5;1;8mhidden"),
            ("10%\r20%\u{8}", "10%^M20%^H"),
            ("\u{9b}2J\u{202e}abc\u{7f}", "<U+009B>2J<U+202E>abc^?"),
            ("\u{1b}[", "^[["),
            ("👩\u{200d}💻 é", "👩\u{200d}💻 é"),
        ];
        for (line, expected) in cases {
            assert_eq!(for_terminal(line, true), expected, "{line:?}");
        }
        assert_eq!(for_terminal("\u{1b}[31mred\u{1b}[0m", false), "red");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn line_for_a_terminal_without_colors_has_no_control_characters(line in "[\\x00-\\x20\\[\\];0-9mJ\\x7f-\\x9f]{0,40}") {
            let text = for_terminal(&line, false);
            prop_assert!(text.chars().all(|character| character == '\t' || !character.is_control()), "{text:?}");
            // With colors, each escape character begins a color sequence.
            let text = for_terminal(&line, true);
            for (at, _) in text.match_indices('\u{1b}') {
                prop_assert!(color_sequence(&text[at..]).is_some(), "{text:?}");
            }
        }
    }

    #[test]
    fn timestamp_is_separated_from_the_line() {
        let (time, line) = split_timestamp("2026-01-01T00:00:00.123456789Z  two words");
        assert_eq!((time.unwrap().subsec_nanosecond(), line), (123_456_789, " two words"));
        assert_eq!(split_timestamp("2026-01-01T00:00:00+02:00 "), (Some("2025-12-31T22:00:00Z".parse().unwrap()), ""));
        assert_eq!(split_timestamp("unable to retrieve container logs"), (None, "unable to retrieve container logs"));
        assert_eq!(split_timestamp(""), (None, ""));
    }

    #[test]
    fn pod_keeps_its_color() {
        assert_eq!(colored_prefix("[p] ", "a-1"), colored_prefix("[p] ", "a-1"));
        assert!(colored_prefix("[p] ", "a-1").ends_with("m[p] \u{1b}[0m"));
    }
}
