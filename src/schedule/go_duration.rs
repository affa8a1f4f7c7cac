//! Durations in the syntax of Go, such as `1h30m`, for the schedule descriptor `@every`.

/// Parses a duration and returns it in nanoseconds, or none if the text is not a duration.
///
/// A duration is a sequence of numbers with the units `h`, `m`, `s`, `ms`, `us` (or `µs`) and `ns`. The numbers may
/// have a fraction. A sign may precede the sequence. The text `0` needs no unit.
///
/// See <https://pkg.go.dev/time#ParseDuration>.
pub fn parse(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let nanos: i128 = match unit {
            "ns" => 1,
            // Both the micro sign and the Greek letter mu.
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let number = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i128>().ok() };
        total = total.checked_add(number(whole)?.checked_mul(nanos)?)?;
        // Digits after the twentieth are smaller than a nanosecond in every unit.
        let fraction = &fraction[..fraction.len().min(20)];
        total = total.checked_add(number(fraction)? * nanos / 10_i128.pow(fraction.len() as u32))?;
        rest = after;
    }
    i64::try_from(sign * total).ok()
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed_as_in_go() {
        let cases = [
            ("1h30m", Some(5_400_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            (".5m", Some(30_000_000_000)),
            ("1.h", Some(3_600_000_000_000)),
            ("-2us3ns", Some(-2_003)),
            ("+1µs", Some(1_000)),
            ("0", Some(0)),
            ("1m1m", Some(120_000_000_000)),
            ("2562047h", Some(9_223_369_200_000_000_000)),
            ("2562048h", None),
            ("", None),
            ("-", None),
            ("1", None),
            (".", None),
            ("h", None),
            (".h", None),
            ("1d", None),
            ("1h-5m", None),
            ("1 h", None),
        ];
        for (text, nanos) in cases {
            assert_eq!(parse(text), nanos, "{text:?}");
        }
    }
}
