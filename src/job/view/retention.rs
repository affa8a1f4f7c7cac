//! How long finished Jobs are kept, by annotations of ours: success and failure apart, beside `spec.ttlSecondsAfterFinished`.
//! A Job may carry them, so a CronJob's template may, and a namespace may, for its Jobs that say nothing themselves.

use std::collections::BTreeMap;
use std::time::Duration;

/// How long a Job that succeeded is kept, in seconds.
pub const AFTER_SUCCESS: &str = "jobwright.dev/ttl-seconds-after-success";
/// How long a Job that failed is kept, in seconds.
pub const AFTER_FAILURE: &str = "jobwright.dev/ttl-seconds-after-failure";
/// What does not fit into the API's own field does not fit here.
const MAX_SECONDS: u64 = i32::MAX as u64;

/// How long finished Jobs are kept, where that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// One that succeeded.
    pub after_success: Option<Duration>,
    /// One that failed.
    pub after_failure: Option<Duration>,
    /// What cannot be read of it, and what could. As long as that stands nothing is deleted because of these annotations or
    /// of more general rules: it was meant to be kept for some time, and nobody knows for how long.
    pub parse_error: Option<Box<str>>,
}

impl Retention {
    /// Reads it from an object's annotations.
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

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How long a Job that ended so is kept.
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
    fn success_and_failure_are_kept_apart() {
        let both = read(&[(AFTER_SUCCESS, "0"), (AFTER_FAILURE, "86400"), ("note", "x")]);
        assert_eq!((both.of(true), both.of(false)), (Some(Duration::ZERO), Some(Duration::from_secs(86400))));
        assert_eq!(both.parse_error, None);
        assert!(Retention::parse(None).is_empty() && read(&[("note", "x")]).is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_named_with_what_could() {
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
