//! Quantities of memory as the API writes them, such as `512Mi`
//! ([API reference](https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/)).

/// Suffixes of multiples with their powers of 2 or 10.
const SUFFIXES: [(&str, u32, u32); 12] = [
    ("Ki", 2, 10),
    ("Mi", 2, 20),
    ("Gi", 2, 30),
    ("Ti", 2, 40),
    ("Pi", 2, 50),
    ("Ei", 2, 60),
    ("k", 10, 3),
    ("M", 10, 6),
    ("G", 10, 9),
    ("T", 10, 12),
    ("P", 10, 15),
    ("E", 10, 18),
];
/// Maximum number of digits that are read. No quantity of memory has more.
const MAX_DIGITS: usize = 20;

/// Parses a quantity of memory in bytes. A fraction of a byte is rounded up. Returns `None` for another text, and for a
/// quantity that is negative or too large.
pub fn bytes(text: &str) -> Option<u64> {
    let split = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() > MAX_DIGITS || whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let (multiplier, divisor) = factor(suffix)?;
    let value = digits.checked_mul(multiplier)?.div_ceil(scale.checked_mul(divisor)?);
    u64::try_from(value).ok().filter(|value| i64::try_from(*value).is_ok())
}

/// Returns the factor of a suffix as multiplier and divisor.
fn factor(suffix: &str) -> Option<(u128, u128)> {
    match suffix {
        "" => return Some((1, 1)),
        "m" => return Some((1, 1_000)),
        "u" => return Some((1, 1_000_000)),
        "n" => return Some((1, 1_000_000_000)),
        _ => {}
    }
    if let Some((_, base, power)) = SUFFIXES.iter().find(|(name, ..)| *name == suffix) {
        return Some((u128::from(*base).pow(*power), 1));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let power = 10_u128.checked_pow(exponent.unsigned_abs())?;
    Some(if exponent >= 0 { (power, 1) } else { (1, power) })
}

/// Returns the shortest exact text of a number of bytes.
pub fn text(bytes: u64) -> String {
    let binary = SUFFIXES[..6].iter().rev().find(|(_, _, power)| bytes > 0 && bytes.trailing_zeros() >= *power);
    match binary {
        Some((suffix, _, power)) => format!("{}{suffix}", bytes >> power),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_are_parsed_as_the_api_defines_them() {
        let cases = [
            ("0", Some(0)),
            ("128974848", Some(128_974_848)),
            ("129e6", Some(129_000_000)),
            ("129M", Some(129_000_000)),
            ("128974848000m", Some(128_974_848)),
            ("123Mi", Some(123 << 20)),
            ("1.5Gi", Some(3 << 29)),
            (".5Gi", Some(1 << 29)),
            ("1500m", Some(2)),
            ("1k", Some(1000)),
            ("1E", Some(1_000_000_000_000_000_000)),
            ("1e3", Some(1000)),
            ("5e-1", Some(1)),
            ("9Ei", None),
            ("", None),
            (".", None),
            ("-1", None),
            ("1K", None),
            ("1Gib", None),
            ("1.2.3", None),
            ("1e", None),
            ("1e99999", None),
            ("１", None),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes(text), expected, "{text:?}");
        }
        assert_eq!(bytes(&"9".repeat(100_000)), None);
    }

    #[test]
    fn text_is_short_and_exact() {
        for (number, expected) in [(0, "0"), (1 << 30, "1Gi"), (3 << 29, "1536Mi"), (1023, "1023"), (5 << 10, "5Ki")] {
            assert_eq!(text(number), expected);
        }
    }

    proptest! {
        #[test]
        fn text_of_any_number_is_parsed_as_that_number(number in 0_u64..=i64::MAX.unsigned_abs()) {
            prop_assert_eq!(bytes(&text(number)), Some(number));
        }

        #[test]
        fn any_text_is_parsed_without_a_panic(text in ".{0,30}") {
            let _ = bytes(&text);
        }
    }
}
