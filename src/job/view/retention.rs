//! Annotations that set how long finished Jobs are kept, separately for success and failure and in addition to
//! `spec.ttlSecondsAfterFinished`. A Job can have these annotations, and so can the template of a CronJob. On a
//! namespace they apply to the Jobs of the namespace that have none themselves.

use std::collections::BTreeMap;
use std::time::Duration;

/// The annotation with the number of seconds for which a Job that succeeded is kept.
pub const AFTER_SUCCESS: &str = "jobwright.dev/ttl-seconds-after-success";
/// The annotation with the number of seconds for which a Job that failed is kept.
pub const AFTER_FAILURE: &str = "jobwright.dev/ttl-seconds-after-failure";
/// Maximum number of seconds, the same as that of `spec.ttlSecondsAfterFinished`.
const MAX_SECONDS: u64 = i32::MAX as u64;

/// The durations for which finished Jobs are kept, as far as annotations set them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Duration for which a Job that succeeded is kept.
    pub after_success: Option<Duration>,
    /// Duration for which a Job that failed is kept.
    pub after_failure: Option<Duration>,
    /// Error text for an annotation that is not valid, with the values that are. While the annotation is not fixed,
    /// neither these annotations nor more general rules cause a deletion: the user meant to keep the Job for some time,
    /// and that time is unknown.
    pub parse_error: Option<Box<str>>,
}

impl Retention {
    /// Parses the annotations of an object.
    pub fn parse(annotations: Option<&BTreeMap<String, String>>) -> Self {
        let mut parse_error = None;
        let mut read = |key: &str| {
            let text = annotations?.get(key)?;
            match text.parse::<u64>() {
                Ok(seconds) if seconds <= MAX_SECONDS => Some(Duration::from_secs(seconds)),
                _ => {
                    let text: String = text.chars().take(40).collect();
                    parse_error = Some(
                        format!("annotation {key}: {text:?} is not a whole number of seconds from 0 to {MAX_SECONDS}")
                            .into(),
                    );
                    None
                }
            }
        };
        let (after_success, after_failure) = (read(AFTER_SUCCESS), read(AFTER_FAILURE));
        Self { after_success, after_failure, parse_error }
    }

    /// Returns whether the object has none of these annotations.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the duration for which a Job with this result is kept.
    pub fn of(&self, succeeded: bool) -> Option<Duration> {
        if succeeded { self.after_success } else { self.after_failure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(entries: &[(&str, &str)]) -> Retention {
        let annotations = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Retention::parse(Some(&annotations))
    }

    #[test]
    fn success_and_failure_have_separate_durations() {
        let both = read(&[(AFTER_SUCCESS, "0"), (AFTER_FAILURE, "86400"), ("note", "x")]);
        assert_eq!((both.of(true), both.of(false)), (Some(Duration::ZERO), Some(Duration::from_secs(86400))));
        assert_eq!(both.parse_error, None);
        assert!(Retention::parse(None).is_empty() && read(&[("note", "x")]).is_empty());
    }

    #[test]
    fn invalid_value_is_reported_with_the_valid_range() {
        for text in ["", "-1", "7d", "1.5", "2147483648", "99999999999999999999", "５"] {
            let parse_error = read(&[(AFTER_FAILURE, text)]);
            assert_eq!(parse_error.of(false), None);
            let message = parse_error.parse_error.unwrap();
            assert!(
                message.starts_with(&format!("annotation {AFTER_FAILURE}: {text:?} is not a whole number")),
                "{message}"
            );
        }
        assert!(read(&[(AFTER_SUCCESS, &"9".repeat(100_000))]).parse_error.unwrap().len() < 200);
    }
}
