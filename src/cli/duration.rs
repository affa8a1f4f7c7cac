//! Durations as values of flags.

use std::time::Duration;

/// Parses a duration such as `10s`, `500ms` or `1m 30s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| "must be a duration such as 10s, 500ms or 10m".to_owned())?;
    Duration::try_from(span).map_err(|_| "must not be negative".to_owned())
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
}
