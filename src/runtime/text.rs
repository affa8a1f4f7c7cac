//! Bounds for texts that others write: cut to a number of bytes, between two characters.

/// Returns the beginning of a text, of at most `max_bytes` bytes.
pub fn beginning(text: &str, max_bytes: usize) -> &str {
    let mut end = text.len().min(max_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Returns the end of a text, of at most `max_bytes` bytes.
pub fn ending(text: &str, max_bytes: usize) -> &str {
    let mut start = text.len().saturating_sub(max_bytes);
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
        fn any_text_is_cut_between_two_characters_and_loses_no_more_than_it_must(text in "\\PC{0,40}", max_bytes in 0_usize..80) {
            let (beginning, ending) = (beginning(&text, max_bytes), ending(&text, max_bytes));
            prop_assert!(text.starts_with(beginning) && text.ends_with(ending));
            for part in [beginning, ending] {
                prop_assert!(part.len() <= max_bytes);
                prop_assert!(part.len() == text.len() || part.len() + 4 > max_bytes, "a character has at most 4 bytes");
            }
        }
    }
}
