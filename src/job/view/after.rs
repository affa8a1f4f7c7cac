//! The annotation `jobwright.dev/after`: a Job that starts after other Jobs of its namespace have ended.

use std::collections::BTreeMap;

use crate::runtime::text::beginning;

/// Annotation that lists Jobs, such as `job/extract,job/load:finished`.
pub const AFTER_ANNOTATION: &str = "jobwright.dev/after";
/// Maximum number of Jobs in the annotation.
pub const MAX_JOBS: usize = 32;
/// Maximum number of bytes of an entry that a message repeats.
const LONGEST_EXCERPT: usize = 60;

/// How another Job has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The Job succeeds.
    Succeeded,
    /// The Job fails.
    Failed,
    /// The Job succeeds or fails.
    Finished,
}

/// Jobs after which a Job starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// Names of Jobs of the same namespace, with the way in which each has to end.
    Jobs(Vec<(Box<str>, Ending)>),
    /// Description of an invalid annotation, with the fix.
    Invalid(Box<str>),
}

impl After {
    /// Parses the annotations of a Job; none if it has not this one.
    pub fn parse(annotations: Option<&BTreeMap<String, String>>) -> Option<Self> {
        let text = annotations?.get(AFTER_ANNOTATION)?;
        let entries: Vec<&str> = text.split(',').map(str::trim).collect();
        if entries.len() > MAX_JOBS {
            return Some(Self::invalid(&format!(
                "{} Jobs are listed, and at most {MAX_JOBS} are allowed",
                entries.len()
            )));
        }
        let jobs: Option<Vec<_>> = entries.iter().map(|entry| parse(entry)).collect();
        Some(jobs.map_or_else(
            || {
                let bad = entries.iter().find(|entry| parse(entry).is_none()).copied().unwrap_or_default();
                Self::invalid(&format!(
                    "{:?} is not a Job; write job/NAME, job/NAME:failed or job/NAME:finished, separated by commas",
                    beginning(bad, LONGEST_EXCERPT)
                ))
            },
            Self::Jobs,
        ))
    }

    fn invalid(problem: &str) -> Self {
        Self::Invalid(format!("metadata.annotations[{AFTER_ANNOTATION}]: {problem}").into())
    }

    /// Returns the Jobs of a valid annotation.
    pub fn jobs(&self) -> &[(Box<str>, Ending)] {
        match self {
            Self::Jobs(jobs) => jobs,
            Self::Invalid(_) => &[],
        }
    }
}

fn parse(entry: &str) -> Option<(Box<str>, Ending)> {
    let entry = entry.strip_prefix("job/").or_else(|| entry.strip_prefix("jobs/"))?;
    let (name, ending) = match entry.split_once(':') {
        None => (entry, Ending::Succeeded),
        Some((name, "succeeded")) => (name, Ending::Succeeded),
        Some((name, "failed")) => (name, Ending::Failed),
        Some((name, "finished")) => (name, Ending::Finished),
        Some(_) => return None,
    };
    let is_valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    (!name.is_empty() && name.len() <= 253 && name.bytes().all(is_valid)).then(|| (name.into(), ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> Option<After> {
        After::parse(Some(&[(AFTER_ANNOTATION.to_owned(), text.to_owned())].into()))
    }

    #[test]
    fn jobs_and_their_endings_are_parsed() {
        let jobs = after("job/a, job/b-2.x:failed,jobs/c:finished,job/d:succeeded").unwrap();
        let expected = [
            ("a".into(), Ending::Succeeded),
            ("b-2.x".into(), Ending::Failed),
            ("c".into(), Ending::Finished),
            ("d".into(), Ending::Succeeded),
        ];
        assert_eq!(jobs.jobs(), expected);
        assert_eq!(After::parse(None), None);
    }

    #[test]
    fn invalid_entry_is_described_with_the_fix() {
        for text in ["", "a", "job/", "job/A", "job/a:ended", "job/a,,job/b", "pod/a", "job/a b"] {
            let Some(After::Invalid(problem)) = after(text) else { panic!("{text:?}") };
            assert!(
                problem.starts_with("metadata.annotations[jobwright.dev/after]: ") && problem.contains("job/NAME"),
                "{problem}"
            );
        }
        let Some(After::Invalid(problem)) = after(&"x".repeat(100_000)) else { panic!() };
        assert!(problem.len() < 300);
        let many = vec!["job/a"; 33].join(",");
        assert!(matches!(after(&many), Some(After::Invalid(problem)) if problem.contains("33 Jobs are listed")));
    }
}
