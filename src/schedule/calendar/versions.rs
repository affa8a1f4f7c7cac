//! Periods of a Calendar, as they apply to a time: a change applies to later times alone.

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};

use super::period::Period;

/// Smallest step of a timestamp.
const STEP: SignedDuration = SignedDuration::from_nanos(1);

/// Periods of a Calendar, present and earlier ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Versions {
    /// Periods that apply since the last change.
    pub current: Vec<Period>,
    /// Periods of earlier versions, each with the last instant to which they apply, in ascending order of these.
    pub earlier: Vec<(Timestamp, Vec<Period>)>,
}

/// Periods that apply to a range of instants.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    /// First instant of the range.
    pub begin: Timestamp,
    /// First instant after the range.
    pub end: Timestamp,
    periods: &'a [Period],
}

impl Versions {
    /// Returns the periods that apply to an instant.
    pub fn of(&self, time: Timestamp) -> Version<'_> {
        let place = self.earlier.partition_point(|(until, _)| *until < time);
        let after = |until: Timestamp| until.checked_add(STEP).unwrap_or(Timestamp::MAX);
        let begin = place.checked_sub(1).map_or(Timestamp::MIN, |before| after(self.earlier[before].0));
        match self.earlier.get(place) {
            Some((until, periods)) => Version { begin, end: after(*until), periods },
            None => Version { begin, end: Timestamp::MAX, periods: &self.current },
        }
    }
}

impl Version<'_> {
    /// Returns the latest end of a period that covers a local time: the first local time after it.
    pub fn covered_until(&self, local: DateTime) -> Option<DateTime> {
        self.periods.iter().filter_map(|period| period.covering(local)).map(|(_, end)| end).max()
    }

    /// Returns the earliest begin of a period that covers a local time.
    pub fn covered_since(&self, local: DateTime) -> Option<DateTime> {
        self.periods.iter().filter_map(|period| period.covering(local)).map(|(begin, _)| begin).min()
    }

    /// Returns the first begin of a period after a local time.
    pub fn next_begin(&self, local: DateTime) -> Option<DateTime> {
        self.periods.iter().filter_map(|period| period.next_begin(local)).min()
    }

    /// Returns the last end of a period at or before a local time.
    pub fn last_end(&self, local: DateTime) -> Option<DateTime> {
        self.periods.iter().filter_map(|period| period.last_end(local)).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_periods_apply_up_to_their_last_instant() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let yearly = |day: i8| vec![Period::Yearly(1, day)];
        let (first, second) = (at("2026-01-05T10:00:00Z"), at("2026-01-06T10:00:00Z"));
        let versions = Versions { current: yearly(3), earlier: vec![(first, yearly(1)), (second, yearly(2))] };
        let of = |time: Timestamp| {
            let version = versions.of(time);
            (version.begin, version.end, version.periods.to_vec())
        };
        assert_eq!(of(at("2020-01-05T10:00:00Z")), (Timestamp::MIN, first + STEP, yearly(1)));
        assert_eq!(of(first), (Timestamp::MIN, first + STEP, yearly(1)));
        assert_eq!(of(first + STEP), (first + STEP, second + STEP, yearly(2)));
        assert_eq!(of(at("2030-01-05T10:00:00Z")), (second + STEP, Timestamp::MAX, yearly(3)));
        assert_eq!(Versions::default().of(first).end, Timestamp::MAX);
    }
}
