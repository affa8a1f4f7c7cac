//! Texts from users, and times, as they are shown in a page.
//!
//! `maud` escapes the characters with a meaning in HTML. This module replaces the characters that deceive a reader:
//! control characters, characters that change the direction of writing, and invisible characters. Every text from the
//! cluster passes through [`neutral`], [`neutral_lines`] or a function that calls one of them.

mod time;

use std::borrow::Cow;
use std::fmt::Write;

use maud::{Markup, html};

pub(in crate::ui) use time::machine;
pub use time::{ago, duration, duration_markup, exact, relative_time};

/// Returns the text in one line without deceptive characters. White space becomes a space, and every other deceptive
/// character becomes its code point, such as `<U+202E>`.
pub fn neutral(text: &str) -> Cow<'_, str> {
    replaced(text, |character| matches!(character, '\t' | '\n' | '\r').then_some(" "))
}

/// Returns the text of several lines without deceptive characters. Line breaks and tabs stay.
pub fn neutral_lines(text: &str) -> Cow<'_, str> {
    replaced(text, |character| match character {
        '\n' => Some("\n"),
        '\t' => Some("\t"),
        _ => None,
    })
}

fn replaced(text: &str, space: impl Fn(char) -> Option<&'static str>) -> Cow<'_, str> {
    let Some(first) = first_deceptive(text) else { return Cow::Borrowed(text) };
    let mut safe = String::with_capacity(text.len() + 16);
    safe.push_str(&text[..first]);
    let mut before = text[..first].chars().next_back();
    let mut rest = text[first..].chars().peekable();
    while let Some(character) = rest.next() {
        match space(character) {
            Some(space) => safe.push_str(space),
            None if is_deceptive(before, character, rest.peek().copied()) => push_code(&mut safe, character),
            None => safe.push(character),
        }
        before = Some(character);
    }
    Cow::Owned(safe)
}

/// Returns the place of the first character that has to be replaced, or that is a line break or a tab.
fn first_deceptive(text: &str) -> Option<usize> {
    let mut before = None;
    for (place, character) in text.char_indices() {
        let after = || text[place + character.len_utf8()..].chars().next();
        if !character.is_ascii() && is_deceptive(before, character, after()) || character.is_ascii_control() {
            return Some(place);
        }
        before = Some(character);
    }
    None
}

/// Adds the code point of a character, such as `<U+202E>`.
pub(in crate::ui) fn push_code(text: &mut String, character: char) {
    // Writing to a String cannot fail.
    let _ = write!(text, "<U+{:04X}>", u32::from(character));
}

/// Returns whether a character between these two deceives a reader. The joiners U+200C and U+200D are part of words of
/// some languages and of emoji, so they stay between two characters that are not ASCII.
pub(in crate::ui) fn is_deceptive(before: Option<char>, character: char, after: Option<char>) -> bool {
    let joins = |neighbour: Option<char>| {
        neighbour.is_some_and(|next| !next.is_ascii() && !next.is_control() && !is_invisible(next))
    };
    match character {
        '\u{200c}' | '\u{200d}' => !(joins(before) && joins(after)),
        _ => character.is_control() || is_invisible(character),
    }
}

/// Returns whether a character is invisible or changes the direction of writing.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Returns the text cut at its end to a number of characters.
pub fn cut(text: &str, max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max) {
        None => Cow::Borrowed(text),
        Some(_) => Cow::Owned(text.chars().take(max.saturating_sub(1)).chain(['…']).take(max).collect()),
    }
}

/// Returns the text cut in its middle to a number of characters, because generated names differ at their end.
pub fn shortened(text: &str, max: usize) -> Cow<'_, str> {
    let Some(last) = text.chars().count().checked_sub(max + 1) else { return Cow::Borrowed(text) };
    let tail = max.saturating_sub(1).div_ceil(2);
    let head = max.saturating_sub(1) - tail;
    let end = text.chars().skip(last + 1 + max - tail);
    Cow::Owned(text.chars().take(head).chain(['…']).chain(end).take(max).collect())
}

/// Longest text of an attribute `title`, in characters.
const MAX_TITLE: usize = 1000;

/// Returns a text of a user in one line, cut at its end. The attribute `title` has the text in full.
pub fn truncated(text: &str, max: usize) -> Markup {
    short(text, |safe| cut(safe, max))
}

/// Returns a name, cut in its middle. The attribute `title` has the name in full.
pub fn name(text: &str, max: usize) -> Markup {
    short(text, |safe| shortened(safe, max))
}

fn short<'a>(text: &'a str, shorten: impl Fn(&str) -> Cow<'_, str>) -> Markup {
    let safe: Cow<'a, str> = neutral(text);
    match shorten(&safe) {
        Cow::Borrowed(_) => html! { (safe) },
        Cow::Owned(short) => html! { span title=(cut(&safe, MAX_TITLE)) { (short) } },
    }
}

/// Returns a link if it leads to a page of the console. A link from elsewhere could run a script or leave the console.
pub fn local_link(link: &str) -> Option<&str> {
    let path = link.strip_prefix('/')?;
    let is_local = link.is_ascii() && !path.starts_with(['/', '\\']) && !link.contains(|one: char| one.is_control());
    is_local.then_some(link)
}

/// Returns a number with a separator between each three digits, such as `12,345`.
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number with its noun, such as `1 run` or `48 runs`.
pub fn counted(count: u64, one: &str, several: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { several })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn deceptive_characters_are_shown_as_code_points() {
        let cases = [
            ("plain é 漢字 🎉", "plain é 漢字 🎉"),
            ("a\tb\nc\rd", "a b c d"),
            ("job\u{202e}gpj.exe", "job<U+202E>gpj.exe"),
            ("a\u{200b}b\u{feff}", "a<U+200B>b<U+FEFF>"),
            ("\u{1b}[31m\u{7f}\u{9b}", "<U+001B>[31m<U+007F><U+009B>"),
            ("\u{e0041}tag", "<U+E0041>tag"),
            // A joiner of an emoji, a joiner that hides a difference between two names, and a series of joiners.
            ("👩\u{200d}💻", "👩\u{200d}💻"),
            ("na\u{200d}me", "na<U+200D>me"),
            ("é\u{200d}\u{200d}é", "é<U+200D><U+200D>é"),
        ];
        for (text, expected) in cases {
            assert_eq!(neutral(text), expected, "{text:?}");
        }
        assert_eq!(neutral_lines("a\tb\nc\r\u{202e}"), "a\tb\nc<U+000D><U+202E>");
    }

    #[test]
    fn cut_text_has_the_whole_text_as_its_title() {
        assert_eq!(truncated("short", 5).into_string(), "short");
        assert_eq!(truncated("<b>\u{202e}", 20).into_string(), "&lt;b&gt;&lt;U+202E&gt;");
        assert_eq!(truncated("a\"long", 3).into_string(), "<span title=\"a&quot;long\">a&quot;…</span>");
        assert_eq!(
            name("nightly-backup-29301230", 12).into_string(),
            "<span title=\"nightly-backup-29301230\">night…301230</span>"
        );
        for (max, expected) in [(0, ""), (1, "…"), (2, "…f"), (6, "abcdef"), (5, "ab…ef")] {
            assert_eq!(shortened("abcdef", max), expected);
        }
        assert_eq!([cut("abc", 0), cut("abc", 2), cut("abc", 3)], ["", "a…", "abc"]);
    }

    #[test]
    fn link_to_another_site_or_a_script_is_refused() {
        for link in ["/", "/jobs/a/b?tab=logs#x", "/jobs?q=%22"] {
            assert_eq!(local_link(link), Some(link));
        }
        for link in [
            "",
            "jobs",
            "//example.org/",
            "/\\example.org",
            "javascript:alert(1)",
            "https://example.org",
            "/\t/a",
            "/é",
        ] {
            assert_eq!(local_link(link), None, "{link:?}");
        }
    }

    #[test]
    fn number_has_separators() {
        assert_eq!([number(0), number(999), number(1000), number(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([counted(1, "run", "runs"), counted(1200, "run", "runs")], ["1 run", "1,200 runs"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn neutral_text_has_no_control_character_and_is_neutral(text in any::<String>(), max in 0_usize..40) {
            let safe = neutral(&text);
            let is_safe = |one: char| !one.is_control() && (!is_invisible(one) || matches!(one, '\u{200c}' | '\u{200d}'));
            prop_assert!(safe.chars().all(is_safe), "{:?}", safe);
            prop_assert_eq!(neutral(&safe).into_owned(), safe.as_ref());
            let lines = neutral_lines(&text);
            prop_assert!(lines.chars().all(|one| !one.is_control() || one == '\n' || one == '\t'), "{:?}", lines);
            prop_assert!(cut(&text, max).chars().count() <= max && shortened(&text, max).chars().count() <= max);
            let shown = truncated(&text, max).into_string();
            prop_assert!(shown.matches('<').count() <= 2, "{}", shown);
        }
    }
}
