//! `H` in a schedule: a value that each object has for itself, so that what is due hourly or daily is not all due at once.
//!
//! It stands where a value does: `H` is one of all values of its field, `H(0-29)` one of these, `H/15` every 15 beginning
//! with one of the first 15, `H(0-29)/10` both. Fields of one schedule and schedules of one object hash apart. The hash is
//! FNV-1a of `namespace/name`, so that an object has its times wherever and whenever it is created.

use thiserror::Error;

use crate::runtime::hash::hash;

/// The fields' bounds: minute, hour, day of month, month, day of week. No day past the 28th is drawn: every month has it.
const BOUNDS: [(&str, u64, u64); 5] =
    [("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 28), ("month", 1, 12), ("day of week", 0, 6)];

/// An `H` that is not understood.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{field}: {part:?} is not understood; write H, H(LOW-HIGH), H/STEP or H(LOW-HIGH)/STEP, within {min} to {max}")]
pub struct HashError {
    field: &'static str,
    part: String,
    min: u64,
    max: u64,
}

/// The schedule with a value for each `H`; `who` is `namespace/name`, `place` the schedule's place in the list.
///
/// # Errors
/// An `H` is not understood.
pub fn resolve(schedule: &str, who: &str, place: usize) -> Result<String, HashError> {
    // Descriptors (@daily) and what is wrong otherwise are left to the parser of schedules.
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
    fn every_object_has_a_value_of_its_own_and_keeps_it() {
        let minutes: BTreeSet<String> =
            (0..1000).map(|name| resolve("H * * * *", &format!("default/job-{name}"), 0).unwrap()).collect();
        assert_eq!(minutes.len(), 60, "a thousand objects fill all minutes");
        assert_eq!(resolve("H H * * *", "default/nightly", 0), resolve("H H * * *", "default/nightly", 0));
        assert_ne!(resolve("H H * * *", "default/nightly", 0), resolve("H H * * *", "other/nightly", 0));
        assert_ne!(resolve("H H * * *", "default/nightly", 0), resolve("H H * * *", "default/nightly", 1));
    }

    #[test]
    fn ranges_and_steps_stay_within_their_bounds() {
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
    fn what_has_no_h_is_left_and_what_is_wrong_is_named() {
        for text in ["*/5 * * * *", "@daily", "0 0 * JAN MON", "nonsense"] {
            assert_eq!(resolve(text, "a/b", 0).unwrap(), text);
        }
        let wrong = resolve("* H(25-30) * * *", "a/b", 0).unwrap_err().to_string();
        assert_eq!(
            wrong,
            "hour: \"H(25-30)\" is not understood; write H, H(LOW-HIGH), H/STEP or H(LOW-HIGH)/STEP, within 0 to 23"
        );
        for text in ["H/0 * * * *", "Hx * * * *", "H(5) * * * *", "H(9-5) * * * *", "H(-1-5) * * * *"] {
            assert!(resolve(text, "a/b", 0).is_err(), "{text}");
        }
    }
}
