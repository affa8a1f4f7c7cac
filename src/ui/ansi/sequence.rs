//! The grammar of escape sequences (ECMA-48), in the 7-bit form with ESC and in the 8-bit form with C1 characters.

/// Longest control sequence, in bytes. Programs write far shorter ones.
const MAX_CONTROL: usize = 256;

/// Escape sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sequence<'a> {
    /// `SGR` with its parameters: changes the style.
    Style(&'a str),
    /// Any other sequence. Nothing of it is shown.
    Other,
}

/// Returns the sequence with which the text begins, and its length in bytes.
///
/// Of a control sequence or a string without an end, only the beginning is a sequence. The rest is shown as text, so that
/// a sequence never hides more than its own content.
pub(super) fn next_sequence(text: &str) -> Option<(Sequence<'_>, usize)> {
    let first = text.chars().next()?;
    let (introducer, start) = match first {
        '\u{1b}' => {
            let second = text[1..].chars().next()?;
            (second, 1 + second.len_utf8())
        }
        // The 8-bit form of ESC and a character from @ to _.
        '\u{80}'..='\u{9f}' => (char::from_u32(u32::from(first) - 0x40)?, first.len_utf8()),
        _ => return None,
    };
    let body = &text[start..];
    match introducer {
        '[' => Some(control(body).map_or((Sequence::Other, start), |(found, length)| (found, start + length))),
        ']' | 'P' | 'X' | '^' | '_' => Some((Sequence::Other, start + string(body))),
        // Only the forms above are used with 8 bits. NEL and the like are single characters, which are shown.
        _ if first != '\u{1b}' => (first == '\u{9c}').then_some((Sequence::Other, start)),
        ' '..='/' => {
            let end = body.find(|character| !matches!(character, ' '..='/')).filter(|end| *end < MAX_CONTROL)?;
            matches!(body[end..].chars().next(), Some('0'..='~')).then_some((Sequence::Other, start + end + 1))
        }
        '0'..='~' => Some((Sequence::Other, start)),
        _ => None,
    }
}

/// Returns the control sequence of which this is the text after `ESC [`, and the length of that text.
fn control(body: &str) -> Option<(Sequence<'_>, usize)> {
    let bytes = body.as_bytes();
    let window = &bytes[..bytes.len().min(MAX_CONTROL)];
    let parameters = window.iter().position(|byte| !(0x30..=0x3f).contains(byte))?;
    let middle = window[parameters..].iter().position(|byte| !(0x20..=0x2f).contains(byte))?;
    let last = window[parameters + middle];
    let sequence = match last {
        b'm' if middle == 0 && !body.starts_with(['<', '=', '>', '?']) => Sequence::Style(&body[..parameters]),
        0x40..=0x7e => Sequence::Other,
        _ => return None,
    };
    Some((sequence, parameters + middle + 1))
}

/// Returns the length of the content and the end of a string, such as the title of a window, a hyperlink or a picture.
/// Without an end the length is zero. The search ends at the next sequence, so it is linear for the whole line.
fn string(body: &str) -> usize {
    let end =
        body.find(|character| matches!(character, '\u{7}' | '\u{18}' | '\u{1a}' | '\u{1b}' | '\u{80}'..='\u{9f}'));
    let Some(end) = end else { return 0 };
    match &body[end..] {
        rest if rest.starts_with("\u{1b}\\") => end + 2,
        rest if rest.starts_with('\u{9c}') => end + '\u{9c}'.len_utf8(),
        rest if rest.starts_with('\u{7}') => end + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_is_found_with_its_length() {
        use Sequence::{Other, Style};
        let cases = [
            ("a\u{1b}[m", None),
            ("", None),
            ("\u{1b}", None),
            ("\u{1b}[mx", Some((Style(""), 3))),
            ("\u{1b}[1;31mx", Some((Style("1;31"), 7))),
            ("\u{1b}[38:2::1:2:3mx", Some((Style("38:2::1:2:3"), 14))),
            ("\u{9b}1mx", Some((Style("1"), 4))),
            ("\u{1b}[?1mx", Some((Other, 5))),
            ("\u{1b}[1 mx", Some((Other, 5))),
            ("\u{1b}[é", Some((Other, 2))),
            ("\u{1b}(Bx", Some((Other, 3))),
            ("\u{1b}(é", None),
            ("\u{1b}Mx", Some((Other, 2))),
            ("\u{1b}é", None),
            ("\u{1b}]52;c;aGk=\u{7}x", Some((Other, 12))),
            ("\u{1b}]8;;u\u{1b}\\x", Some((Other, 8))),
            ("\u{1b}]8;;u\u{1b}[mx", Some((Other, 2))),
            ("\u{1b}_a\u{9c}x", Some((Other, 5))),
            ("\u{9c}x", Some((Other, 2))),
            ("\u{85}x", None),
        ];
        for (text, expected) in cases {
            assert_eq!(next_sequence(text), expected, "{text:?}");
        }
    }
}
