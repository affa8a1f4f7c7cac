//! Annotations of Jobwright in manifests: misspelt names, and values that have no effect.

use std::collections::BTreeMap;

use super::IGNORE_ANNOTATION;
use super::rules::{Finding, RULES, UNKNOWN_ANNOTATION, find_rule, found};
use crate::job::admission::PRIORITY_ANNOTATION;
use crate::job::managed_by::{BUILTIN_MANAGED_BY, MANAGED_BY};
use crate::job::view::after::After;
use crate::job::view::annotations::{OF_USERS, WRITTEN};
use crate::job::view::retention::Retention;
use crate::schedule::job_schedule::RESUME;

/// Prefix of all annotations and of the name of the controller.
const PREFIX: &str = "jobwright.dev/";

/// Returns the annotations that users set on Jobs and JobSchedules.
fn known() -> impl Iterator<Item = &'static str> {
    OF_USERS.iter().copied().chain([RESUME])
}

/// Returns the findings for the annotations at the path `at`.
pub(super) fn of_annotations(annotations: Option<&BTreeMap<String, String>>, at: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let ours = annotations.into_iter().flatten().filter(|(key, _)| key.starts_with(PREFIX));
    for (key, value) in ours {
        if !known().any(|known| known == key) && !WRITTEN.contains(&key.as_str()) {
            let closest = known().min_by_key(|known| distance(known, key)).unwrap_or_default();
            let message = format!("{at}: there is no annotation {key}; the closest is {closest}");
            findings.push(found(&UNKNOWN_ANNOTATION, message));
        }
        if key == PRIORITY_ANNOTATION && value.parse::<i32>().is_err() {
            let message = format!("{at}: {key} {value:?} is not a whole number, so the priority is 0");
            findings.push(found(&UNKNOWN_ANNOTATION, message));
        }
        if key == IGNORE_ANNOTATION {
            let unknown = value.split(',').map(str::trim).filter(|name| !name.is_empty() && find_rule(name).is_none());
            findings.extend(unknown.map(|name| {
                let names: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
                let message = format!(
                    "{at}: {key} names the rule {name:?}, which does not exist; the rules are {}",
                    names.join(", ")
                );
                found(&UNKNOWN_ANNOTATION, message)
            }));
        }
    }
    if let Some(After::Invalid(problem)) = After::parse(annotations) {
        findings.push(found(&UNKNOWN_ANNOTATION, format!("{problem}; the Job does not start")));
    }
    if let Some(error) = Retention::parse(annotations).parse_error {
        findings.push(found(&UNKNOWN_ANNOTATION, format!("{at}: {error}; the Job is not deleted automatically")));
    }
    findings
}

/// Returns the finding for a value of `spec.managedBy` that looks like that of Jobwright and is not.
pub(super) fn of_managed_by(managed_by: Option<&str>, at: &str) -> Option<Finding> {
    let managed_by = managed_by.filter(|value| *value != MANAGED_BY && *value != BUILTIN_MANAGED_BY)?;
    (managed_by.starts_with(PREFIX) || distance(managed_by, MANAGED_BY) <= 3).then(|| {
        let message = format!(
            "{at}.managedBy {managed_by:?} names no controller, so no controller runs the Job; write {MANAGED_BY}"
        );
        found(&UNKNOWN_ANNOTATION, message)
    })
}

/// Returns the number of characters to insert, delete or replace to turn one text into the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, character) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for column in 0..other.len() {
            let replaced = diagonal + usize::from(other[column] != character);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::view::retention::AFTER_FAILURE;

    fn messages(entries: &[(&str, &str)]) -> Vec<String> {
        let annotations = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        of_annotations(Some(&annotations), "metadata.annotations").into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn every_annotation_of_users_is_known() {
        for name in OF_USERS {
            assert!(!messages(&[(name, "1")]).iter().any(|message| message.contains("no annotation")), "{name}");
        }
        assert!(messages(&[("jobwright.dev/after", "extract")])[0].contains("write job/NAME"));
        assert_eq!(messages(&[("jobwright.dev/after", "job/extract,job/load:finished")]), [""; 0]);
    }

    #[test]
    fn annotations_that_are_written_are_known() {
        for name in [crate::schedule::parameters::ANNOTATION, crate::client::rerun::copy::RERUN_OF_ANNOTATION] {
            assert_eq!(messages(&[(name, "{}")]), [""; 0], "{name}");
        }
    }

    #[test]
    fn misspelt_annotation_is_reported_with_the_closest_name() {
        let found = messages(&[("jobwright.dev/ttl-after-success", "60"), ("other", "x")]);
        assert_eq!(
            found,
            [
                "metadata.annotations: there is no annotation jobwright.dev/ttl-after-success; the closest is jobwright.dev/ttl-seconds-after-success"
            ]
        );
    }

    #[test]
    fn value_without_effect_is_reported() {
        assert!(messages(&[("jobwright.dev/priority", "high")])[0].contains("\"high\" is not a whole number"));
        assert!(messages(&[(AFTER_FAILURE, "7d")])[0].contains("the Job is not deleted automatically"));
        assert!(
            messages(&[(IGNORE_ANNOTATION, "no-deadline,nothing")])[0].contains("\"nothing\", which does not exist")
        );
        let right =
            [("jobwright.dev/priority", "-3"), (AFTER_FAILURE, "60"), (IGNORE_ANNOTATION, "no-deadline, no-cleanup")];
        assert_eq!(messages(&right), [""; 0]);
    }

    #[test]
    fn manager_that_is_almost_jobwright_is_reported() {
        assert!(of_managed_by(Some("jobwright.dev/controler"), "spec").is_some());
        assert!(of_managed_by(Some("jobwrigth.dev/controller"), "spec").is_some());
        for right in [None, Some(MANAGED_BY), Some("kueue.x-k8s.io/multikueue"), Some(BUILTIN_MANAGED_BY)] {
            assert_eq!(of_managed_by(right, "spec"), None, "{right:?}");
        }
    }
}
