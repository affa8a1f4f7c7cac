//! Annotations of Jobwright on a Job that have no effect: unknown names, such as misspelt ones, and an invalid priority.
//!
//! Invalid values of the annotations about retention and indexes have consequences of their own, and events of their own.

use std::collections::BTreeMap;

use super::after::AFTER_ANNOTATION;
use super::index_subset::INDEXES_ANNOTATION;
use super::memory::MEMORY_ANNOTATION;
use super::policy_annotations::{GOVERNED_BY, PROGRESSED_AT, RUNNING_SINCE, STALLED_SINCE};
use super::retention::{AFTER_FAILURE, AFTER_SUCCESS};
use crate::job::admission::{PRIORITY_ANNOTATION, WAITING_ANNOTATION};
use crate::job::policy::POLICY_ANNOTATION;
use crate::job::{FAILURE_ANNOTATION, RESULT_ANNOTATION};
use crate::runtime::text::beginning;

/// Prefix of all annotations of Jobwright.
const PREFIX: &str = "jobwright.dev/";
/// Annotations that users set.
pub const OF_USERS: &[&str] = &[
    INDEXES_ANNOTATION,
    PRIORITY_ANNOTATION,
    POLICY_ANNOTATION,
    AFTER_ANNOTATION,
    AFTER_FAILURE,
    AFTER_SUCCESS,
    "jobwright.dev/check-ignore",
];
/// Annotations that controllers and commands set.
pub const WRITTEN: &[&str] = &[
    FAILURE_ANNOTATION,
    WAITING_ANNOTATION,
    RESULT_ANNOTATION,
    MEMORY_ANNOTATION,
    GOVERNED_BY,
    PROGRESSED_AT,
    RUNNING_SINCE,
    STALLED_SINCE,
    "jobwright.dev/rerun-of",
    "jobwright.dev/rerun-of-uid",
    "jobwright.dev/schedule-observed",
    "jobwright.dev/parameters",
];
/// Maximum number of bytes of a name or value that a message repeats.
const LONGEST_EXCERPT: usize = 60;

/// Returns a description of the first annotation of a Job that has no effect, with the fix.
pub(super) fn problem(annotations: Option<&BTreeMap<String, String>>) -> Option<Box<str>> {
    let ours = annotations?.range(PREFIX.to_owned()..).take_while(|(key, _)| key.starts_with(PREFIX));
    ours.filter_map(|(key, value)| of_annotation(key, value)).next().map(String::into)
}

fn of_annotation(key: &str, value: &str) -> Option<String> {
    if key == PRIORITY_ANNOTATION && value.parse::<i32>().is_err() {
        let value = beginning(value, LONGEST_EXCERPT);
        return Some(format!(
            "metadata.annotations[{key}]: {value:?} is not a whole number, so the priority is 0; write a number such as 10"
        ));
    }
    if OF_USERS.contains(&key) || WRITTEN.contains(&key) {
        return None;
    }
    let key = beginning(key, LONGEST_EXCERPT);
    Some(format!(
        "metadata.annotations[{key}]: this annotation does not exist and has no effect; the annotations of Jobwright are {}",
        OF_USERS.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entries: &[(&str, &str)]) -> Option<String> {
        let annotations = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        problem(Some(&annotations)).map(String::from)
    }

    #[test]
    fn unknown_annotation_and_invalid_priority_are_described_with_the_fix() {
        let unknown = of(&[("a", "b"), ("jobwright.dev/ttl-after-success", "60"), ("z", "b")]).unwrap();
        assert!(unknown.starts_with("metadata.annotations[jobwright.dev/ttl-after-success]: "), "{unknown}");
        assert!(unknown.contains("jobwright.dev/ttl-seconds-after-success"), "{unknown}");
        let priority = of(&[("jobwright.dev/priority", "high")]).unwrap();
        assert!(priority.contains("\"high\" is not a whole number, so the priority is 0"), "{priority}");
        let long = format!("jobwright.dev/{}", "x".repeat(100_000));
        assert!(of(&[(&long, "1")]).unwrap().len() < 500);
    }

    #[test]
    fn known_annotations_and_those_of_others_are_no_problem() {
        let known: Vec<(&str, &str)> = OF_USERS.iter().chain(WRITTEN).map(|key| (*key, "-7")).collect();
        assert_eq!(of(&known), None);
        assert_eq!(of(&[("example.com/jobwright.dev", "x"), ("jobwright.developer/x", "y")]), None);
        assert_eq!(problem(None), None);
    }
}
