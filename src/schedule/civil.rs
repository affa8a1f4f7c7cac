//! Local times that match the fields of a schedule, on a calendar without a time zone.
//!
//! [`Bits::first`] and [`Bits::last`] find the first match at or after a time, and the last match at or before a time.
//! Both search month by month with the bits of the fields, and never minute by minute.

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Time};

/// Fields of a schedule as bit sets: bit n is set if the field matches the value n.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bits {
    /// Minutes of the hour, 0 to 59.
    pub minutes: u64,
    /// Hours of the day, 0 to 23.
    pub hours: u64,
    /// Days of the month, 1 to 31.
    pub days: u64,
    /// Months of the year, 1 to 12.
    pub months: u64,
    /// Days of the week, 0 (Sunday) to 6.
    pub weekdays: u64,
    /// Whether a day has to match both the days of the month and the days of the week. Otherwise one match is enough.
    pub both_days: bool,
}

/// Number of years that a search covers. A schedule without a match in this period never matches.
const YEARS: i16 = 5;
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

impl Bits {
    /// Returns the first matching local time at or after `from`, or none if the schedule never matches.
    pub fn first(&self, from: DateTime) -> Option<DateTime> {
        #[cfg(test)]
        searches::count();
        if self.minutes == 0 || self.hours == 0 {
            return None;
        }
        let minute = whole_minute(from)?;
        let from = if minute < from { minute.checked_add(MINUTE).ok()? } else { minute };
        let (mut date, mut time) = (from.date(), from.time());
        let last_year = date.year().checked_add(YEARS)?;
        while date.year() <= last_year {
            let days = self.days_of_month(date) & upwards(date.day());
            match lowest(days) {
                Some(day) => {
                    if day != date.day() {
                        time = Time::midnight();
                    }
                    date = Date::new(date.year(), date.month(), day).ok()?;
                    if let Some(time) = self.first_time(time) {
                        return Some(date.to_datetime(time));
                    }
                    date = date.tomorrow().ok()?;
                }
                None => date = date.last_of_month().tomorrow().ok()?,
            }
            time = Time::midnight();
        }
        None
    }

    /// Returns the last matching local time at or before `to`, or none if the schedule never matches.
    pub fn last(&self, to: DateTime) -> Option<DateTime> {
        #[cfg(test)]
        searches::count();
        if self.minutes == 0 || self.hours == 0 {
            return None;
        }
        let (mut date, mut time) = (to.date(), to.time());
        let first_year = date.year().checked_sub(YEARS)?;
        while date.year() >= first_year {
            let days = self.days_of_month(date) & downwards(date.day());
            match highest(days) {
                Some(day) => {
                    if day != date.day() {
                        time = Time::MAX;
                    }
                    date = Date::new(date.year(), date.month(), day).ok()?;
                    if let Some(time) = self.last_time(time) {
                        return Some(date.to_datetime(time));
                    }
                    date = date.yesterday().ok()?;
                }
                None => date = date.first_of_month().yesterday().ok()?,
            }
            time = Time::MAX;
        }
        None
    }

    fn first_time(&self, from: Time) -> Option<Time> {
        let same_hour = self.hours >> from.hour() & 1 == 1;
        let minute = lowest(self.minutes & upwards(from.minute())).filter(|_| same_hour);
        let (hour, minute) = match minute {
            Some(minute) => (from.hour(), minute),
            None => (lowest(self.hours & upwards(from.hour() + 1))?, lowest(self.minutes)?),
        };
        Time::new(hour, minute, 0, 0).ok()
    }

    fn last_time(&self, to: Time) -> Option<Time> {
        let same_hour = self.hours >> to.hour() & 1 == 1;
        let minute = highest(self.minutes & downwards(to.minute())).filter(|_| same_hour);
        let (hour, minute) = match minute {
            Some(minute) => (to.hour(), minute),
            None => (highest(self.hours & downwards(to.hour() - 1))?, highest(self.minutes)?),
        };
        Time::new(hour, minute, 0, 0).ok()
    }

    /// Returns the matching days in the month of `date`.
    fn days_of_month(&self, date: Date) -> u64 {
        if self.months >> date.month() & 1 == 0 {
            return 0;
        }
        let all = upwards(1) & downwards(date.days_in_month());
        let first = date.first_of_month().weekday().to_sunday_zero_offset();
        // Bit 0 is the weekday of the month's first day; five copies cover the month.
        let week = (self.weekdays >> first | self.weekdays << (7 - first)) & 0x7f;
        let of_week = (0..5).fold(0, |days, number| days | week << (7 * number)) << 1;
        let matching = if self.both_days { self.days & of_week } else { self.days | of_week };
        matching & all
    }
}

fn whole_minute(local: DateTime) -> Option<DateTime> {
    local.with().second(0).subsec_nanosecond(0).build().ok()
}

/// Returns a set of all bits from `bit` upwards.
fn upwards(bit: i8) -> u64 {
    u64::MAX.checked_shl(bit.unsigned_abs().into()).unwrap_or(0)
}

/// Returns a set of all bits up to and including `bit`, or an empty set if `bit` is negative.
fn downwards(bit: i8) -> u64 {
    if bit < 0 { 0 } else { !upwards(bit + 1) }
}

fn lowest(bits: u64) -> Option<i8> {
    if bits == 0 { None } else { i8::try_from(bits.trailing_zeros()).ok() }
}

fn highest(bits: u64) -> Option<i8> {
    bits.checked_ilog2().and_then(|bit| i8::try_from(bit).ok())
}

/// Number of searches in this thread, for tests that bound the cost of a search.
#[cfg(test)]
pub(crate) mod searches {
    use std::cell::Cell;

    thread_local! {
        static COUNT: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn count() {
        COUNT.set(COUNT.get() + 1);
    }

    /// Calls `run` and returns its result and the number of searches that it made.
    pub(crate) fn of<T>(run: impl FnOnce() -> T) -> (T, u64) {
        let before = COUNT.get();
        let result = run();
        (result, COUNT.get() - before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::expression::Schedule;

    fn local(text: &str) -> DateTime {
        text.parse().unwrap()
    }

    #[test]
    fn first_and_last_match_are_found_from_any_time() {
        let cases = [
            ("* * * * *", "2026-01-05T10:00:30", "2026-01-05T10:01", "2026-01-05T10:00"),
            ("30 2 * * *", "2026-01-05T02:30", "2026-01-05T02:30", "2026-01-05T02:30"),
            ("30 2 * * *", "2026-01-05T02:30:00.5", "2026-01-06T02:30", "2026-01-05T02:30"),
            ("59 23 31 12 *", "2026-06-01T00:00", "2026-12-31T23:59", "2025-12-31T23:59"),
            ("0 0 1 1 *", "2026-12-31T23:59:59", "2027-01-01T00:00", "2026-01-01T00:00"),
            ("0 12 29 2 *", "2026-01-05T00:00", "2028-02-29T12:00", "2024-02-29T12:00"),
            ("0 9 * * MON", "2026-01-07T00:00", "2026-01-12T09:00", "2026-01-05T09:00"),
            ("0 9 13 * FRI", "2026-01-10T00:00", "2026-01-13T09:00", "2026-01-09T09:00"),
            ("15-20/5 8,20 * 3 *", "2026-03-31T20:20:01", "2027-03-01T08:15", "2026-03-31T20:20"),
        ];
        for (text, at, first, last) in cases {
            let schedule = Schedule::parse(text).unwrap();
            let found = (schedule.first_local(local(at)), schedule.last_local(local(at)));
            assert_eq!(found, (Some(local(first)), Some(local(last))), "{text} at {at}");
        }
    }

    #[test]
    fn fields_that_never_match_end_the_search() {
        for text in ["0 0 31 2 *", ", * * * *", "0 , * * *", "0 0 30 2 *"] {
            let schedule = Schedule::parse(text).unwrap();
            assert_eq!(schedule.first_local(local("2026-01-05T00:00")), None, "{text}");
            assert_eq!(schedule.last_local(local("2026-01-05T00:00")), None, "{text}");
        }
        let any = Schedule::parse("* * * * *").unwrap();
        assert_eq!(any.first_local(DateTime::MAX), None);
        assert_eq!(any.last_local(DateTime::MIN), Some(DateTime::MIN));
    }
}
