//! Durations as values of flags.

use std::time::Duration;

/// Parses a duration such as `10s`, `500ms` or `1m 30s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| "must be a duration such as 10s, 500ms or 10m".to_owned())?;
    Duration::try_from(span).map_err(|_| "must not be negative".to_owned())
}

/// Parses a timeout as kubectl does: a duration, or a number of seconds. `0` stands for no timeout.
pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => duration(text).map_err(|_| "must be a duration such as 10s or 1m, or a number of seconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_is_parsed_with_units() {
        for (text, millis) in [("10s", 10_000), ("10m", 600_000), ("50ms", 50), ("1m30s", 90_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10", "ten", "-5s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn timeout_is_a_duration_or_a_number_of_seconds() {
        assert_eq!(timeout("10"), Ok(Duration::from_secs(10)));
        assert_eq!(timeout("1m"), Ok(Duration::from_mins(1)));
        assert_eq!(timeout("0"), Ok(Duration::ZERO));
        assert!(timeout("soon").is_err() && timeout("-1").is_err());
    }
}
