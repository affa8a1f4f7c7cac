//! Texts from the cluster as part of one line of output.

/// Maximum number of characters of a text that is part of one line.
const MAX_CHARACTERS: usize = 400;

/// Returns the text in one line: each run of white space and control characters becomes one space, and a long text is
/// cut. Termination messages and messages of webhooks may contain line breaks and escape sequences.
pub(crate) fn one_line(text: &str) -> String {
    let words = text.split(|character: char| character.is_whitespace() || is_unsafe(character));
    let joined = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    match joined.char_indices().nth(MAX_CHARACTERS) {
        Some((cut, _)) => format!("{}…", &joined[..cut]),
        None => joined,
    }
}

/// Returns whether a character changes how a terminal shows the text around it: control characters, and characters
/// that change the direction of writing or are invisible. The joiners U+200C and U+200D are part of words and emoji.
pub(crate) fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_no_control_characters_and_a_limited_length() {
        assert_eq!(one_line("disk full\n\tat\u{1b}[2J line 3\u{202e}\u{7f} "), "disk full at [2J line 3");
        assert_eq!(one_line(&"é".repeat(401)).chars().count(), 401);
        assert_eq!(one_line(&"é".repeat(400)), "é".repeat(400));
    }
}
