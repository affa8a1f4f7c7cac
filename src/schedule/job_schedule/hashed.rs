//! `H` in a schedule: a value that is derived from the object's name, so that not all hourly or daily runs are due at
//! the same time.
//!
//! `H` can replace a value. `H` is one of all values of its field, and `H(0-29)` is one value of this range. `H/15` is
//! every 15th value that follows one of the first 15 values, and `H(0-29)/10` combines both. The fields of one schedule
//! and the schedules of one object have different hashes. The hash is FNV-1a of `namespace/name`, the field and the
//! schedule, so that an object has the same times in every cluster and after every new creation.

use thiserror::Error;

use crate::runtime::hash::hash;

/// Name, minimum and maximum of each field. The day of month ends at 28, because every month has this day.
const BOUNDS: [(&str, u64, u64); 5] =
    [("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 28), ("month", 1, 12), ("day of week", 0, 6)];

/// Error about an `H` with invalid syntax or bounds.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{field}: {part:?} is invalid; use H, H(LOW-HIGH), H/STEP or H(LOW-HIGH)/STEP, within {min} to {max}")]
pub struct HashError {
    field: &'static str,
    part: String,
    min: u64,
    max: u64,
}

/// Returns the schedule with a value in place of each `H`. `who` is the `namespace/name` of the object. `place` is the
/// index of the schedule in the list.
///
/// # Errors
/// Returns an error if an `H` has invalid syntax or bounds.
pub fn resolve(schedule: &str, who: &str, place: usize) -> Result<String, HashError> {
    // The parser of schedules handles descriptors (@daily) and all other errors.
    if schedule.starts_with('@') || !schedule.contains('H') {
        return Ok(schedule.to_owned());
    }
    let fields = schedule.split_whitespace().enumerate().map(|(at, field)| {
        let Some(bounds) = BOUNDS.get(at) else { return Ok(field.to_owned()) };
        let draw = |count: u64| hash([who.as_bytes(), b"/", &[place as u8, at as u8]]) % count;
        let parts = field
            .split(',')
            .map(|part| if part.starts_with('H') { entry(part, *bounds, draw) } else { Ok(part.to_owned()) });
        Ok(parts.collect::<Result<Vec<_>, _>>()?.join(","))
    });
    Ok(fields.collect::<Result<Vec<_>, _>>()?.join(" "))
}

fn entry(
    part: &str,
    (field, min, max): (&'static str, u64, u64),
    draw: impl Fn(u64) -> u64,
) -> Result<String, HashError> {
    let wrong = || HashError { field, part: part.to_owned(), min, max };
    let rest = part.strip_prefix('H').ok_or_else(wrong)?;
    let (range, step) = match rest.split_once('/') {
        Some((range, step)) => (range, Some(step.parse::<u64>().ok().filter(|step| *step > 0).ok_or_else(wrong)?)),
        None => (rest, None),
    };
    let (low, high) = match range {
        "" => (min, max),
        range => {
            let (low, high) = range
                .strip_prefix('(')
                .and_then(|range| range.strip_suffix(')'))
                .and_then(|range| range.split_once('-'))
                .ok_or_else(wrong)?;
            (low.parse().map_err(|_| wrong())?, high.parse().map_err(|_| wrong())?)
        }
    };
    if low > high || low < min || high > max {
        return Err(wrong());
    }
    match step {
        None => Ok((low + draw(high - low + 1)).to_string()),
        Some(step) => Ok(format!("{}-{high}/{step}", low + draw(step.min(high - low + 1)))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::schedule::expression::Schedule;

    #[test]
    fn value_is_stable_and_differs_by_object_and_schedule() {
        let minutes: BTreeSet<String> =
            (0..1000).map(|name| resolve("H * * * *", &format!("default/job-{name}"), 0).unwrap()).collect();
        assert_eq!(minutes.len(), 60, "a thousand objects fill all minutes");
        assert_eq!(resolve("H H * * *", "default/nightly", 0), resolve("H H * * *", "default/nightly", 0));
        assert_ne!(resolve("H H * * *", "default/nightly", 0), resolve("H H * * *", "other/nightly", 0));
        assert_ne!(resolve("H H * * *", "default/nightly", 0), resolve("H H * * *", "default/nightly", 1));
    }

    #[test]
    fn hashed_ranges_and_steps_stay_within_their_bounds() {
        for name in 0..300 {
            let who = format!("default/{name}");
            for text in ["H H H H H", "H(0-29)/10 H(1-5) H * *", "H/15 8-17 * * 1-5", "5,H(10-12),H/20 H/6 * * *"] {
                let text = resolve(text, &who, 0).unwrap();
                assert!(Schedule::parse(&text).is_ok(), "{text}");
            }
            let minute: u64 = resolve("H(20-25) * * * *", &who, 0).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert!((20..=25).contains(&minute));
        }
    }

    #[test]
    fn schedule_without_h_is_unchanged_and_an_invalid_h_is_reported() {
        for text in ["*/5 * * * *", "@daily", "0 0 * JAN MON", "nonsense"] {
            assert_eq!(resolve(text, "a/b", 0).unwrap(), text);
        }
        let wrong = resolve("* H(25-30) * * *", "a/b", 0).unwrap_err().to_string();
        assert_eq!(
            wrong,
            "hour: \"H(25-30)\" is invalid; use H, H(LOW-HIGH), H/STEP or H(LOW-HIGH)/STEP, within 0 to 23"
        );
        for text in ["H/0 * * * *", "Hx * * * *", "H(5) * * * *", "H(9-5) * * * *", "H(-1-5) * * * *"] {
            assert!(resolve(text, "a/b", 0).is_err(), "{text}");
        }
    }
}
