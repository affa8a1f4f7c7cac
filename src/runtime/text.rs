//! Length limits for texts from users, webhooks and pods: a text is cut to a number of bytes, between two characters.

/// Returns the beginning of a text: at most `max_bytes` bytes, cut between two characters.
pub fn beginning(text: &str, max_bytes: usize) -> &str {
    let mut end = text.len().min(max_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Returns the end of a text: at most `max_bytes` bytes, cut between two characters.
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
        fn text_is_cut_between_two_characters_and_as_long_as_the_limit_allows(text in "\\PC{0,40}", max_bytes in 0_usize..80) {
            let (beginning, ending) = (beginning(&text, max_bytes), ending(&text, max_bytes));
            prop_assert!(text.starts_with(beginning) && text.ends_with(ending));
            for part in [beginning, ending] {
                prop_assert!(part.len() <= max_bytes);
                prop_assert!(part.len() == text.len() || part.len() + 4 > max_bytes, "a character has at most 4 bytes");
            }
        }
    }
}
