//! Periods of local time: days, days of every year, and windows.

use std::str::FromStr;

use jiff::ToSpan;
use jiff::civil::{Date, DateTime, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Beginning of a text that is a day of the calendar, with or without a year: no February 30, and February 29 in leap
/// years alone.
macro_rules! day {
    () => {
        "'^(([0-9]{4}-)?((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|\
          02-(0[1-9]|1[0-9]|2[0-8]))|(([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-)?02-29)'"
    };
}
/// Rule of the API server: single runs (`@at`) at a minute that exists.
pub(crate) const EXISTING_MINUTES: &str = concat!(
    "oldSelf.hasValue() && oldSelf.value() == self || self.all(s, !s.startsWith('@at') || s.startsWith('@at ') && \
     s.substring(4).matches(",
    day!(),
    ") && s.matches('^@at [0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]$'))"
);
/// Rule of the API server: periods whose days exist.
pub(crate) const EXISTING_DAYS: &str = concat!(
    "oldSelf.hasValue() && oldSelf.value() == self || self.all(e, (!has(e.date) || e.date.matches(",
    day!(),
    ")) && (!has(e.from) || e.from.matches(",
    day!(),
    ")) && (!has(e.to) || e.to.matches(",
    day!(),
    ")))"
);
/// Rule of the API server: periods with a date, or a from and a to.
pub(crate) const WHOLE_ENTRIES: &str =
    "self.all(e, has(e.date) != (has(e.from) && has(e.to)) && has(e.from) == has(e.to))";
/// Rule of the API server: periods that are not empty.
pub(crate) const ORDERED_PERIODS: &str =
    "oldSelf.hasValue() && oldSelf.value() == self || self.all(e, !has(e.from) || !has(e.to) || e.from < e.to)";
/// Text about an entry that is no period.
pub const NO_PERIOD: &str =
    "this day or time does not exist; set date as in 2026-12-25 or 12-25, or from and to as in 2026-12-24T18:00";
/// Number of years in which the next or the last day of a year is searched. February 29 is up to eight years away.
const YEARS: i16 = 8;

/// An entry is a day, a day of every year, or a period of local time. Set either date, or from and to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeriodEntry {
    /// date is a day, such as 2026-12-25, or a day of every year, such as 12-25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10), regex(pattern = r"^([0-9]{4}-)?(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"))]
    pub date: Option<String>,
    /// from is the first local time of the period, such as 2026-12-24T18:00.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 19),
        regex(
            pattern = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$"
        )
    )]
    pub from: Option<String>,
    /// to is the first local time after the period, such as 2026-12-27T06:00.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 19),
        regex(
            pattern = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$"
        )
    )]
    pub to: Option<String>,
}

/// Period of local time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Period {
    /// Single day.
    Day(Date),
    /// Day of every year: month and day.
    Yearly(i8, i8),
    /// Local times from the first one, inclusive, to the second one, exclusive.
    Window(DateTime, DateTime),
}

impl Period {
    /// Parses an entry; none if it is no period, or names a day or time that does not exist.
    pub fn parse(entry: &PeriodEntry) -> Option<Self> {
        match entry {
            PeriodEntry { date: Some(date), from: None, to: None } => match date.len() {
                // The leap year 2024 accepts every day that exists in any year.
                5 => {
                    let day = Date::from_str(&format!("2024-{date}")).ok()?;
                    Some(Self::Yearly(day.month(), day.day()))
                }
                _ => Some(Self::Day(date.parse().ok()?)),
            },
            PeriodEntry { date: None, from: Some(from), to: Some(to) } => {
                Some(Self::Window(from.parse().ok()?, to.parse().ok()?))
            }
            _ => None,
        }
    }

    /// Returns the bounds of the period if it covers this local time: its first local time, and the first one after it.
    pub fn covering(self, local: DateTime) -> Option<(DateTime, DateTime)> {
        // The comparison comes first, because a calendar can have hundreds of days.
        match self {
            Self::Day(day) => (local.date() == day).then(|| bounds(day)),
            Self::Yearly(month, day) => ((local.month(), local.day()) == (month, day)).then(|| bounds(local.date())),
            Self::Window(from, to) => (from <= local && local < to).then_some((from, to)),
        }
    }

    /// Returns the first begin of the period after this local time.
    pub fn next_begin(self, local: DateTime) -> Option<DateTime> {
        self.days(local.year(), 1).map(|(begin, _)| begin).find(|begin| *begin > local)
    }

    /// Returns the last end of the period at or before this local time: the first local time after the period.
    pub fn last_end(self, local: DateTime) -> Option<DateTime> {
        self.days(local.year(), -1).map(|(_, end)| end).find(|end| *end <= local)
    }

    /// Returns the bounds of the period, for a day of every year those from this year on in steps of years.
    fn days(self, year: i16, step: i16) -> impl Iterator<Item = (DateTime, DateTime)> {
        let years = match self {
            Self::Yearly(..) => YEARS,
            _ => 0,
        };
        (0..=years).filter_map(move |number| match self {
            Self::Day(day) => Some(bounds(day)),
            Self::Yearly(month, day) => Some(bounds(Date::new(year + number * step, month, day).ok()?)),
            Self::Window(from, to) => Some((from, to)),
        })
    }
}

/// Returns the first local time of a day, and that of the next one.
fn bounds(day: Date) -> (DateTime, DateTime) {
    (day.to_datetime(Time::midnight()), day.saturating_add(1.day()).to_datetime(Time::midnight()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime {
        text.parse().unwrap()
    }

    fn date(text: &str) -> PeriodEntry {
        PeriodEntry { date: Some(text.to_owned()), ..PeriodEntry::default() }
    }

    #[test]
    fn entries_that_exist_are_parsed() {
        let window =
            |from: &str, to: &str| PeriodEntry { date: None, from: Some(from.to_owned()), to: Some(to.to_owned()) };
        assert_eq!(Period::parse(&date("02-29")), Some(Period::Yearly(2, 29)));
        assert_eq!(Period::parse(&date("2026-12-25")), Some(Period::Day(at("2026-12-25").date())));
        let expected = Period::Window(at("2026-12-24T18:00"), at("2026-12-27T06:00"));
        assert_eq!(Period::parse(&window("2026-12-24T18:00", "2026-12-27T06:00")), Some(expected));
        for wrong in
            [date("02-30"), date("2026-02-29"), date("x"), window("2026-12-24T18:00", "x"), PeriodEntry::default()]
        {
            assert_eq!(Period::parse(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn bounds_around_a_local_time() {
        let cases = [
            (date("2026-12-25"), "2026-12-24T12:00", None, Some("2026-12-25T00:00"), None),
            (date("2026-12-25"), "2026-12-25T00:00", Some(("2026-12-25T00:00", "2026-12-26T00:00")), None, None),
            (date("2026-12-25"), "2026-12-26T00:00", None, None, Some("2026-12-26T00:00")),
            (date("01-01"), "2026-12-31T23:59", None, Some("2027-01-01T00:00"), Some("2026-01-02T00:00")),
            (
                date("01-01"),
                "2026-01-01T05:00",
                Some(("2026-01-01T00:00", "2026-01-02T00:00")),
                Some("2027-01-01T00:00"),
                Some("2025-01-02T00:00"),
            ),
            (date("02-29"), "2096-03-01T00:00", None, Some("2104-02-29T00:00"), Some("2096-03-01T00:00")),
        ];
        for (entry, local, covering, next, last) in cases {
            let (period, local) = (Period::parse(&entry).unwrap(), at(local));
            assert_eq!(period.covering(local), covering.map(|(from, to)| (at(from), at(to))), "{entry:?} {local}");
            assert_eq!(period.next_begin(local), next.map(at), "{entry:?} {local}");
            assert_eq!(period.last_end(local), last.map(at), "{entry:?} {local}");
        }
    }
}
