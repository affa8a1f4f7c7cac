//! Annotation of an Indexed Job that lists the indexes to run.
//!
//! `spec.completions` stays the number of all indexes, so that the names of the pods, `JOB_COMPLETION_INDEX` and
//! `status.completedIndexes` have the same meaning as in a Job that runs all of them. A value that is not valid is never
//! corrected silently: it could mean another set of indexes.

use std::collections::BTreeMap;

use super::CompletionMode;
use crate::job::index::{CompletionIndex, IndexSet};
use crate::runtime::text::beginning;

/// The annotation with the indexes that an Indexed Job runs, such as `3,7-9`.
pub const INDEXES_ANNOTATION: &str = "jobwright.dev/indexes";
/// Maximum number of bytes of a value that a message repeats.
const LONGEST_EXCERPT: usize = 40;

/// Indexes that a Job runs, as its annotation lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexSubset {
    /// These indexes alone.
    Listed(IndexSet),
    /// The annotation is not valid, so that the indexes are unknown. The text names the annotation, the problem and the
    /// fix.
    Invalid(Box<str>),
}

impl IndexSubset {
    /// Parses the annotation of a Job with this number of completions. Returns none if the Job does not have it.
    pub fn parse(
        annotations: Option<&BTreeMap<String, String>>,
        mode: &CompletionMode,
        completions: u32,
    ) -> Option<Self> {
        let text = annotations?.get(INDEXES_ANNOTATION)?;
        if let CompletionMode::NonIndexed = mode {
            let message = "the Job is not Indexed; set spec.completionMode to Indexed, or remove the annotation";
            return Some(Self::Invalid(format!("metadata.annotations[{INDEXES_ANNOTATION}]: {message}").into()));
        }
        let invalid = |problem: String| {
            let excerpt = beginning(text, LONGEST_EXCERPT);
            let fix = format!("list indexes below spec.completions ({completions}) in ascending order, such as 3,7-9");
            Self::Invalid(format!("metadata.annotations[{INDEXES_ANNOTATION}]: {excerpt:?}: {problem}; {fix}").into())
        };
        Some(runs(text, completions).map_or_else(invalid, |runs| Self::Listed(IndexSet::of_runs(runs))))
    }
}

/// Parses a list of indexes and ranges in ascending order.
///
/// # Errors
/// Returns a description of the first part that is not valid.
fn runs(text: &str, completions: u32) -> Result<Vec<(CompletionIndex, CompletionIndex)>, String> {
    if text.is_empty() {
        return Err("the list is empty".to_owned());
    }
    let mut runs: Vec<(CompletionIndex, CompletionIndex)> = Vec::new();
    for part in text.split(',') {
        let shown = beginning(part, LONGEST_EXCERPT);
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (index(first, shown)?, index(last, shown)?);
        if last < first {
            return Err(format!("the range {shown} is reversed"));
        }
        if last >= completions {
            return Err(format!("the Job has no index {last}"));
        }
        if let Some((_, before)) = runs.last().filter(|(_, before)| *before >= first) {
            return Err(format!("{shown} follows the index {before}, so the list is not in ascending order"));
        }
        runs.push((first, last));
    }
    Ok(runs)
}

fn index(text: &str, part: &str) -> Result<CompletionIndex, String> {
    // The parser of numbers accepts a sign.
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return Err(format!("{part:?} is neither an index nor a range"));
    }
    text.parse().map_err(|_| format!("the Job has no index {}", beginning(text, LONGEST_EXCERPT)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str, mode: &CompletionMode, completions: u32) -> Result<String, String> {
        let annotations = [(INDEXES_ANNOTATION.to_owned(), text.to_owned())].into();
        match IndexSubset::parse(Some(&annotations), mode, completions).expect("an annotation") {
            IndexSubset::Listed(listed) => Ok(listed.to_string()),
            IndexSubset::Invalid(problem) => Err(problem.to_string()),
        }
    }

    #[test]
    fn valid_list_is_parsed() {
        let cases = [
            ("3,7-9", 10, "3,7-9"),
            ("0", 1, "0"),
            ("0-9", 10, "0-9"),
            ("3,4,5", 10, "3-5"),
            ("3-3", 10, "3"),
            ("007", 10, "7"),
            ("0-2147483646", 2_147_483_647, "0-2147483646"),
        ];
        for (text, completions, listed) in cases {
            assert_eq!(parse(text, &CompletionMode::Indexed, completions), Ok(listed.to_owned()), "{text}");
        }
        assert_eq!(IndexSubset::parse(None, &CompletionMode::Indexed, 3), None);
        let other = [("other".to_owned(), "x".to_owned())].into();
        assert_eq!(IndexSubset::parse(Some(&other), &CompletionMode::Indexed, 3), None);
    }

    #[test]
    fn invalid_list_is_described_with_the_annotation_and_the_fix() {
        let long = "9".repeat(100_000);
        let cases = [
            ("", "the list is empty"),
            (",", "\"\" is neither an index nor a range"),
            ("3,", "\"\" is neither an index nor a range"),
            ("3, 7", "\" 7\" is neither an index nor a range"),
            ("a-b", "\"a-b\" is neither an index nor a range"),
            ("1-2-3", "\"1-2-3\" is neither an index nor a range"),
            ("-1", "\"-1\" is neither an index nor a range"),
            ("+1", "\"+1\" is neither an index nor a range"),
            ("1-", "\"1-\" is neither an index nor a range"),
            ("１", "\"１\" is neither an index nor a range"),
            ("9-7", "the range 9-7 is reversed"),
            ("10", "the Job has no index 10"),
            ("0-999999999", "the Job has no index 999999999"),
            ("0-4294967295", "the Job has no index 4294967295"),
            ("99999999999999999999", "the Job has no index 99999999999999999999"),
            (&long, "the Job has no index 9999"),
            ("7-9,3", "3 follows the index 9"),
            ("3-5,5-7", "5-7 follows the index 5"),
            ("3,3", "3 follows the index 3"),
        ];
        for (text, problem) in cases {
            let message = parse(text, &CompletionMode::Indexed, 10).unwrap_err();
            assert!(message.starts_with("metadata.annotations[jobwright.dev/indexes]: "), "{message}");
            assert!(message.contains(problem), "{problem} is not in {message}");
            assert!(message.ends_with("list indexes below spec.completions (10) in ascending order, such as 3,7-9"));
            assert!(message.len() < 300, "{message}");
        }
        assert!(parse("0", &CompletionMode::Indexed, 0).is_err());
        let message = parse("0", &CompletionMode::NonIndexed, 10).unwrap_err();
        assert!(message.contains("set spec.completionMode to Indexed"), "{message}");
    }

    proptest! {
        /// The text of any set is parsed into that set, and no text leads to an index that the Job does not have.
        #[test]
        fn text_of_a_set_is_parsed_into_the_set(indexes in prop::collection::btree_set(0_u32..60, 1..40)) {
            let text = IndexSet::default().with(indexes.iter().copied()).to_string();
            prop_assert_eq!(parse(&text, &CompletionMode::Indexed, 60), Ok(text.clone()));
            let highest = indexes.last().copied().unwrap_or_default();
            prop_assert!(parse(&text, &CompletionMode::Indexed, highest).is_err());
        }

        /// A list is valid if and only if the first number of each range exceeds the last number of the range before.
        #[test]
        fn order_decides_whether_a_list_is_valid(ranges in prop::collection::vec((0_u32..30, 0_u32..30), 1..5)) {
            let text: Vec<String> = ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect();
            let bounds: Vec<u32> = ranges.iter().flat_map(|(first, last)| [*first, *last]).collect();
            let is_ascending = bounds.chunks(2).all(|range| range[0] <= range[1])
                && bounds.windows(3).step_by(2).all(|window| window[1] < window[2]);
            let parsed = parse(&text.join(","), &CompletionMode::Indexed, 30);
            prop_assert_eq!(parsed.is_ok(), is_ascending, "{:?}", parsed);
            let numbers: BTreeSet<u32> = ranges.iter().flat_map(|(first, last)| *first..=*last).collect();
            if let Ok(listed) = parsed {
                prop_assert_eq!(listed, IndexSet::default().with(numbers).to_string());
            }
        }

        #[test]
        fn no_text_leads_to_a_panic(text in "[0-9,-]{0,40}|.{0,40}", completions in any::<u32>()) {
            let _ = parse(&text, &CompletionMode::Indexed, completions);
        }
    }
}
