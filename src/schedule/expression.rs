//! Cron schedules: text and time zone in, instants out.
//!
//! A schedule means exactly what the API server and the built-in controller make of it, which is what robfig/cron v3 makes
//! of it, down to the hours in which clocks are moved; `tests/schedules.jsonl` holds that library's own answers.
//! See <https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax>.
//!
//! ```
//! use jobwright::schedule::{expression::Schedule, zones};
//!
//! let schedule = Schedule::parse("30 2 * * *")?;
//! let paris = zones::zone("Europe/Paris").unwrap();
//! let next = schedule.next("2026-03-28T02:00:00Z".parse().unwrap(), &paris);
//! // On the 29th, clocks go from 02:00 to 03:00, and there is no 02:30.
//! assert_eq!(next.unwrap().to_string(), "2026-03-30T00:30:00Z");
//! # Ok::<(), jobwright::schedule::expression::ScheduleError>(())
//! ```

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use thiserror::Error;

use super::civil::Bits;
use super::{go_duration, zones};

/// Minutes after which no local time is repeated any more, at any clock change.
const LONGEST_FOLD: u32 = 26 * 60;
/// A schedule that never fires within so many years never does.
const YEARS_AHEAD: i16 = 5;

/// When something is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    kind: Kind,
    /// The text itself names a zone, as old objects do.
    names_zone: bool,
    /// That zone, unless it is the usual one (`Local`).
    zone: Option<TimeZone>,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// Again after so many seconds.
    Every(i64),
    /// Whenever the local time matches.
    Fields(Box<Fields>),
}

#[derive(Clone, Debug, PartialEq)]
struct Fields {
    minute: Field,
    hour: Field,
    day_of_month: Field,
    month: Field,
    day_of_week: Field,
}

/// The values of one field that match.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Field {
    bits: u64,
    /// It is `*`, or as good as that: it restricts nothing.
    any: bool,
}

/// Why a text is no schedule.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ScheduleError {
    #[error("a schedule has five fields (minute hour day-of-month month day-of-week), and {text:?} has {count}")]
    FieldCount { text: String, count: usize },
    #[error(
        "{field}: {part:?} is not understood; write *, a value from {min} to {max}, a range such as {min}-{max}, or a step such as */2"
    )]
    Syntax { field: &'static str, part: String, min: u32, max: u32 },
    #[error("{field}: {part:?} is not within {min} to {max}")]
    OutOfRange { field: &'static str, part: String, min: u32, max: u32 },
    #[error("{field}: {part:?} begins after it ends")]
    Backwards { field: &'static str, part: String },
    #[error("{field}: the step of {part:?} must be at least 1")]
    NoStep { field: &'static str, part: String },
    #[error(
        "{text:?} is not understood; there are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly and @every DURATION, such as @every 1h30m"
    )]
    Descriptor { text: String },
    #[error("no time zone {name:?} is known; write its IANA name, such as Europe/Paris, in spec.timeZone")]
    Zone { name: String },
}

/// One field's name, bounds and names for values.
struct Bounds {
    field: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const BOUNDS: [Bounds; 5] = [
    Bounds { field: "minute", min: 0, max: 59, names: &[] },
    Bounds { field: "hour", min: 0, max: 23, names: &[] },
    Bounds { field: "day of month", min: 1, max: 31, names: &[] },
    Bounds { field: "month", min: 1, max: 12, names: MONTHS },
    Bounds { field: "day of week", min: 0, max: 6, names: DAYS },
];

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// The API server would refuse it too. The error names the field and the mend.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let prefixed = text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ="));
        let (zone, text) = match prefixed {
            Some(rest) => {
                let no_zone = || ScheduleError::Zone { name: rest.to_owned() };
                let (name, text) = rest.split_once(' ').ok_or_else(no_zone)?;
                let zone = match name {
                    "Local" => None,
                    "" => Some(TimeZone::UTC),
                    name => Some(zones::zone(name).ok_or_else(|| ScheduleError::Zone { name: name.to_owned() })?),
                };
                (zone, text.trim())
            }
            None => (None, text),
        };
        let kind = if text.starts_with('@') { descriptor(text)? } else { Kind::Fields(Box::new(fields(text)?)) };
        Ok(Self { kind, names_zone: prefixed.is_some(), zone })
    }

    /// Whether the text itself names a zone, which new objects may not.
    pub fn names_zone(&self) -> bool {
        self.names_zone
    }

    /// How many seconds are between its times, if it says so itself (`@every`).
    pub fn every(&self) -> Option<i64> {
        match &self.kind {
            Kind::Every(seconds) => Some(*seconds),
            Kind::Fields(_) => None,
        }
    }

    /// Whether it is for certain hours of the day; one that is not goes on through all.
    pub fn has_certain_hours(&self) -> bool {
        match &self.kind {
            Kind::Every(_) => false,
            Kind::Fields(fields) => fields.hour.bits.count_ones() < 24,
        }
    }

    /// The zone its times are in: the one its text names, else this one.
    pub fn zone<'a>(&'a self, usual: &'a TimeZone) -> &'a TimeZone {
        self.zone.as_ref().unwrap_or(usual)
    }

    /// Whether it fires at this local time, if there is such a time.
    pub fn matches(&self, local: DateTime) -> bool {
        match &self.kind {
            // It knows no local time.
            Kind::Every(_) => false,
            Kind::Fields(fields) => {
                local.second() == 0
                    && fields.minute.has(local.minute())
                    && fields.hour.has(local.hour())
                    && fields.month.has(local.month())
                    && fields.day_matches(local.date())
            }
        }
    }

    /// Returns the first local time from this one on that matches, whatever clocks are moved.
    pub fn first_local(&self, from: DateTime) -> Option<DateTime> {
        self.bits()?.first(from)
    }

    /// Returns the last local time up to this one that matches, whatever clocks are moved.
    pub fn last_local(&self, to: DateTime) -> Option<DateTime> {
        self.bits()?.last(to)
    }

    fn bits(&self) -> Option<Bits> {
        match &self.kind {
            Kind::Every(_) => None,
            Kind::Fields(fields) => Some(fields.bits()),
        }
    }

    /// The first time after this one, in this zone unless the text names one; none if it never fires.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let whole = Timestamp::from_second(after.as_second()).ok()?;
        match &self.kind {
            Kind::Every(seconds) => whole.checked_add(SignedDuration::from_secs(*seconds)).ok(),
            Kind::Fields(fields) => {
                let zone = self.zone(zone);
                let mut from = whole.checked_add(SignedDuration::from_secs(1)).ok()?;
                for _ in 0..LONGEST_FOLD {
                    let found = Search { at: from, zone, moved: false }.run(fields)?;
                    if found > after {
                        return Some(found);
                    }
                    // Where clocks repeat local times, the search may go back; a walk from time to time would never end.
                    from = from.checked_add(SignedDuration::from_mins(1)).ok()?;
                }
                None
            }
        }
    }
}

fn descriptor(text: &str) -> Result<Kind, ScheduleError> {
    let equal = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let every = text.strip_prefix("@every ").and_then(go_duration::parse);
            let nanos = every.ok_or_else(|| ScheduleError::Descriptor { text: text.to_owned() })?;
            return Ok(Kind::Every((nanos / 1_000_000_000).max(1)));
        }
    };
    Ok(Kind::Fields(Box::new(fields(equal)?)))
}

fn fields(text: &str) -> Result<Fields, ScheduleError> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day_of_month, month, day_of_week] = parts[..] else {
        return Err(ScheduleError::FieldCount { text: text.to_owned(), count: parts.len() });
    };
    Ok(Fields {
        minute: field(minute, &BOUNDS[0])?,
        hour: field(hour, &BOUNDS[1])?,
        day_of_month: field(day_of_month, &BOUNDS[2])?,
        month: field(month, &BOUNDS[3])?,
        day_of_week: field(day_of_week, &BOUNDS[4])?,
    })
}

fn field(text: &str, bounds: &Bounds) -> Result<Field, ScheduleError> {
    // Empty entries of a list are passed over; a list of nothing else never matches.
    text.split(',').filter(|part| !part.is_empty()).try_fold(Field { bits: 0, any: false }, |all, part| {
        let one = entry(part, bounds)?;
        Ok(Field { bits: all.bits | one.bits, any: all.any || one.any })
    })
}

/// One entry of a list: a star, a value or a range, perhaps with a step.
fn entry(part: &str, bounds: &Bounds) -> Result<Field, ScheduleError> {
    let Bounds { field, min, max, .. } = *bounds;
    let syntax = || ScheduleError::Syntax { field, part: part.to_owned(), min, max };
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    let (low, high) = match range.split_once('-') {
        Some((low, high)) => (low, Some(high)),
        None => (range, None),
    };
    let star = matches!(low, "*" | "?");
    let (first, last) = match high {
        _ if star => (u64::from(min), u64::from(max)),
        Some(high) => (value(low, bounds).ok_or_else(syntax)?, value(high, bounds).ok_or_else(syntax)?),
        None => {
            let value = value(low, bounds).ok_or_else(syntax)?;
            (value, value)
        }
    };
    let every = step.map_or(Some(1), number).ok_or_else(syntax)?;
    // A step from one value goes on to the end.
    let last = if step.is_some() && high.is_none() { u64::from(max) } else { last };
    if first < u64::from(min) || last > u64::from(max) {
        return Err(ScheduleError::OutOfRange { field, part: part.to_owned(), min, max });
    }
    if first > last {
        return Err(ScheduleError::Backwards { field, part: part.to_owned() });
    }
    if every == 0 {
        return Err(ScheduleError::NoStep { field, part: part.to_owned() });
    }
    let every = usize::try_from(every).unwrap_or(usize::MAX);
    let bits = (first..=last).step_by(every).fold(0, |bits, value| bits | 1_u64 << value);
    Ok(Field { bits, any: star && every == 1 })
}

/// A number or a name of a value.
fn value(text: &str, bounds: &Bounds) -> Option<u64> {
    let named = bounds.names.iter().position(|name| name.eq_ignore_ascii_case(text));
    match named {
        Some(place) => Some(place as u64 + u64::from(bounds.min)),
        None => number(text),
    }
}

/// A whole number, as the library reads it: a plus sign is taken.
fn number(text: &str) -> Option<u64> {
    text.parse::<i64>().ok()?.try_into().ok()
}

impl Field {
    fn has(self, value: i8) -> bool {
        self.bits >> value & 1 == 1
    }
}

impl Fields {
    fn bits(&self) -> Bits {
        Bits {
            minutes: self.minute.bits,
            hours: self.hour.bits,
            days: self.day_of_month.bits,
            months: self.month.bits,
            weekdays: self.day_of_week.bits,
            both_days: self.day_of_month.any || self.day_of_week.any,
        }
    }

    /// Where both days are restricted, either will do.
    fn day_matches(&self, date: Date) -> bool {
        let of_month = self.day_of_month.has(date.day());
        let of_week = self.day_of_week.has(date.weekday().to_sunday_zero_offset());
        if self.day_of_month.any || self.day_of_week.any { of_month && of_week } else { of_month || of_week }
    }
}

/// The search for the next time: from the largest unit to the smallest, each moved on until it matches; whenever one
/// runs over into the next larger, it begins again. Local times that clocks skip or repeat come out as the library has them.
struct Search<'a> {
    at: Timestamp,
    zone: &'a TimeZone,
    /// The smaller units are at their first value.
    moved: bool,
}

impl Search<'_> {
    fn run(mut self, fields: &Fields) -> Option<Timestamp> {
        let last_year = self.local().year().checked_add(YEARS_AHEAD)?;
        while self.local().year() <= last_year {
            if self.settle(fields)? {
                return Some(self.at);
            }
        }
        None
    }

    /// Moves on until all units match; false if one ran over.
    fn settle(&mut self, fields: &Fields) -> Option<bool> {
        while !fields.month.has(self.local().month()) {
            let local = self.local();
            self.first(local.date().first_of_month().at(0, 0, 0, 0))?;
            let (local, before) = (self.local(), self.at);
            self.at =
                self.instant(local.date().first_of_month().checked_add(1.month()).ok()?.to_datetime(local.time()))?;
            self.pass_skipped_day(before)?;
            if self.local().month() == 1 {
                return Some(false);
            }
        }
        while !fields.day_matches(self.local().date()) {
            let local = self.local();
            self.first(local.date().at(0, 0, 0, 0))?;
            let (local, before) = (self.local(), self.at);
            self.at = self.instant(local.checked_add(1.day()).ok()?)?;
            self.pass_skipped_day(before)?;
            // Where midnight is skipped or repeated, to the nearest.
            let hour = self.local().hour();
            if hour != 0 {
                let hours = if hour > 12 { 24 - hour } else { -hour };
                self.skip(SignedDuration::from_hours(hours.into()))?;
            }
            if self.local().day() == 1 {
                return Some(false);
            }
        }
        while !fields.hour.has(self.local().hour()) {
            let local = self.local();
            self.first(local.date().at(local.hour(), 0, 0, 0))?;
            self.skip(SignedDuration::from_hours(1))?;
            if self.local().hour() == 0 {
                return Some(false);
            }
        }
        while !fields.minute.has(self.local().minute()) {
            self.drop_below(60)?;
            self.skip(SignedDuration::from_mins(1))?;
            if self.local().minute() == 0 {
                return Some(false);
            }
        }
        while self.local().second() != 0 {
            self.drop_below(1)?;
            self.skip(SignedDuration::from_secs(1))?;
            if self.local().second() == 0 {
                return Some(false);
            }
        }
        Some(true)
    }

    fn local(&self) -> DateTime {
        self.zone.to_datetime(self.at)
    }

    /// Sets the smaller units to their first values, once.
    fn first(&mut self, local: DateTime) -> Option<()> {
        if !self.moved {
            self.moved = true;
            self.at = self.instant(local)?;
        }
        Some(())
    }

    /// Goes on to the next day where a whole one is skipped, as in Apia at the end of 2011: its first instant would be that of
    /// the day before.
    fn pass_skipped_day(&mut self, before: Timestamp) -> Option<()> {
        if self.at <= before {
            self.at = before;
            self.skip(SignedDuration::from_hours(24))?;
        }
        Some(())
    }

    fn drop_below(&mut self, seconds: i64) -> Option<()> {
        if !self.moved {
            self.moved = true;
            let over = self.at.as_second().rem_euclid(seconds);
            self.skip(SignedDuration::from_secs(-over))?;
        }
        Some(())
    }

    fn skip(&mut self, by: SignedDuration) -> Option<()> {
        self.at = self.at.checked_add(by).ok()?;
        Some(())
    }

    /// The instant of a local time. One that is skipped or repeated is read with the offset of the moment that the
    /// offset of the same time in UTC leads to.
    fn instant(&self, local: DateTime) -> Option<Timestamp> {
        let utc = TimeZone::UTC.to_timestamp(local).ok()?;
        let guess = self.zone.to_offset(utc).seconds();
        if guess == 0 {
            return Some(utc);
        }
        let nearer = utc.checked_sub(SignedDuration::from_secs(guess.into())).ok()?;
        let offset = self.zone.to_offset(nearer).seconds();
        utc.checked_sub(SignedDuration::from_secs(offset.into())).ok()
    }
}
