//! Bounds for texts that others write: cut to a number of bytes, between two characters.

/// Returns the beginning of a text, of at most `most` bytes.
pub fn beginning(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Returns the end of a text, of at most `most` bytes.
pub fn ending(text: &str, most: usize) -> &str {
    let mut start = text.len().saturating_sub(most);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_cut_between_two_characters_and_loses_no_more_than_it_must(text in "\\PC{0,40}", most in 0_usize..80) {
            let (beginning, ending) = (beginning(&text, most), ending(&text, most));
            prop_assert!(text.starts_with(beginning) && text.ends_with(ending));
            for cut in [beginning, ending] {
                prop_assert!(cut.len() <= most);
                prop_assert!(cut.len() == text.len() || cut.len() + 4 > most, "a character has at most 4 bytes");
            }
        }
    }
}
