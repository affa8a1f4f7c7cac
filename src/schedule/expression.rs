//! Cron schedules: a parser, and the computation of the scheduled times in a time zone.
//!
//! A schedule has exactly the meaning that it has for the API server and the built-in controller, which use robfig/cron
//! v3. This includes the hours of clock changes. `tests/schedules.jsonl` holds results of that library. See
//! <https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax>.
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

/// Number of minutes after any clock change after which local times are no longer repeated.
const LONGEST_FOLD: u32 = 26 * 60;
/// Number of years that a search covers. A schedule without a time in this period has no times.
const YEARS_AHEAD: i16 = 5;

/// Parsed cron schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    kind: Kind,
    /// Whether the text itself names a zone, as in objects from before `spec.timeZone` existed.
    names_zone: bool,
    /// Zone that the text names; none for `Local`, which is the zone of the controller.
    zone: Option<TimeZone>,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// Repetition after this number of seconds.
    Every(i64),
    /// Match of the local time with five fields.
    Fields(Box<Fields>),
    /// Single local time.
    At(DateTime),
}

#[derive(Clone, Debug, PartialEq)]
struct Fields {
    minute: Field,
    hour: Field,
    day_of_month: Field,
    month: Field,
    day_of_week: Field,
}

/// Values that one field matches.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Field {
    bits: u64,
    /// Whether the field is `*` or equivalent to it, so that it matches every value.
    any: bool,
}

/// Reason why a text is not a schedule.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum ScheduleError {
    #[error("a schedule must have five fields (minute hour day-of-month month day-of-week), but {text:?} has {count}")]
    FieldCount { text: String, count: usize },
    #[error(
        "{field}: {part:?} is invalid; use *, a value from {min} to {max}, a range such as {min}-{max}, or a step such as */2"
    )]
    Syntax { field: &'static str, part: String, min: u32, max: u32 },
    #[error("{field}: {part:?} is not within {min} to {max}")]
    OutOfRange { field: &'static str, part: String, min: u32, max: u32 },
    #[error("{field}: the range {part:?} ends before it begins; write the lower value first, or use two ranges")]
    Backwards { field: &'static str, part: String },
    #[error("{field}: the step of {part:?} must be at least 1")]
    NoStep { field: &'static str, part: String },
    #[error(
        "{text:?} is not a valid descriptor; use @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly or @every DURATION, such as @every 1h30m"
    )]
    Descriptor { text: String },
    #[error("unknown time zone {name:?}; set spec.timeZone to an IANA name such as Europe/Paris")]
    Zone { name: String },
}

/// Name of a field, its bounds, and the names of its values.
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
    /// Parses a schedule.
    ///
    /// # Errors
    /// Returns an error for a text that the API server rejects too. The error names the field and how to fix it.
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

    /// Returns the schedule of a single local time, for which no text of a CronJob stands.
    pub fn at(local: DateTime) -> Self {
        Self { kind: Kind::At(local), names_zone: false, zone: None }
    }

    /// Returns whether the text itself names a zone, which the API server rejects in new objects.
    pub fn names_zone(&self) -> bool {
        self.names_zone
    }

    /// Returns the interval in seconds of an `@every` schedule; none for other schedules.
    pub fn every(&self) -> Option<i64> {
        match &self.kind {
            Kind::Every(seconds) => Some(*seconds),
            Kind::Fields(_) | Kind::At(_) => None,
        }
    }

    /// Returns whether the schedule is restricted to certain hours of the day. Other schedules have times in every
    /// hour.
    pub fn has_certain_hours(&self) -> bool {
        match &self.kind {
            Kind::Every(_) => false,
            Kind::At(_) => true,
            Kind::Fields(fields) => fields.hour.bits.count_ones() < 24,
        }
    }

    /// Returns the zone of the scheduled times: the zone that the text names, or else `usual`.
    pub fn zone<'a>(&'a self, usual: &'a TimeZone) -> &'a TimeZone {
        self.zone.as_ref().unwrap_or(usual)
    }

    /// Returns whether the schedule matches this local time. The local time need not exist in the zone.
    pub fn matches(&self, local: DateTime) -> bool {
        match &self.kind {
            // An `@every` schedule does not depend on the local time.
            Kind::Every(_) => false,
            Kind::At(at) => local == *at,
            Kind::Fields(fields) => {
                local.second() == 0
                    && fields.minute.has(local.minute())
                    && fields.hour.has(local.hour())
                    && fields.month.has(local.month())
                    && fields.day_matches(local.date())
            }
        }
    }

    /// Returns the first matching local time at or after `from`, without regard to clock changes.
    pub fn first_local(&self, from: DateTime) -> Option<DateTime> {
        match &self.kind {
            Kind::Every(_) => None,
            Kind::At(at) => Some(*at).filter(|at| *at >= from),
            Kind::Fields(fields) => fields.bits().first(from),
        }
    }

    /// Returns the last matching local time at or before `to`, without regard to clock changes.
    pub fn last_local(&self, to: DateTime) -> Option<DateTime> {
        match &self.kind {
            Kind::Every(_) => None,
            Kind::At(at) => Some(*at).filter(|at| *at <= to),
            Kind::Fields(fields) => fields.bits().last(to),
        }
    }

    /// Returns the first scheduled time after `after`, in `zone` unless the text names a zone; none if there is no such
    /// time.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let whole = Timestamp::from_second(after.as_second()).ok()?;
        match &self.kind {
            Kind::Every(seconds) => whole.checked_add(SignedDuration::from_secs(*seconds)).ok(),
            Kind::At(at) => self.zone(zone).to_timestamp(*at).ok().filter(|found| *found > after),
            Kind::Fields(fields) => {
                let zone = self.zone(zone);
                let mut from = whole.checked_add(SignedDuration::from_secs(1)).ok()?;
                for _ in 0..LONGEST_FOLD {
                    let found = Search { at: from, zone, moved: false }.run(fields)?;
                    if found > after {
                        return Some(found);
                    }
                    // Where a clock change repeats local times, the search can return an earlier time. A caller that
                    // steps from time to time would then never end, so the search begins again one minute later.
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
    // Empty entries of a list are ignored. A list of only empty entries never matches.
    text.split(',').filter(|part| !part.is_empty()).try_fold(Field { bits: 0, any: false }, |all, part| {
        let one = entry(part, bounds)?;
        Ok(Field { bits: all.bits | one.bits, any: all.any || one.any })
    })
}

/// Parses one entry of a list: a star, a value or a range, each with an optional step.
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
    // A step after a single value applies up to the maximum.
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

/// Parses a number or the name of a value.
fn value(text: &str, bounds: &Bounds) -> Option<u64> {
    let named = bounds.names.iter().position(|name| name.eq_ignore_ascii_case(text));
    match named {
        Some(place) => Some(place as u64 + u64::from(bounds.min)),
        None => number(text),
    }
}

/// Parses a whole number as robfig/cron does, which accepts a plus sign.
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

    /// Returns whether a date matches. If both the day of month and the day of week are restricted, one match is
    /// enough.
    fn day_matches(&self, date: Date) -> bool {
        let of_month = self.day_of_month.has(date.day());
        let of_week = self.day_of_week.has(date.weekday().to_sunday_zero_offset());
        if self.day_of_month.any || self.day_of_week.any { of_month && of_week } else { of_month || of_week }
    }
}

/// Search for the next scheduled time, with the algorithm of robfig/cron.
///
/// The search advances each unit until it matches, from the largest unit to the smallest. It starts again whenever a
/// unit overflows into the next larger one. Local times that a clock change skips or repeats give the same results as
/// robfig/cron.
struct Search<'a> {
    at: Timestamp,
    zone: &'a TimeZone,
    /// Whether the units smaller than the current one are at their first value.
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

    /// Advances until all units match. Returns false if a unit overflowed.
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
            // If a clock change skips or repeats midnight, the search continues at the nearest one.
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

    /// Sets the smaller units to their first values, unless that was done before.
    fn first(&mut self, local: DateTime) -> Option<()> {
        if !self.moved {
            self.moved = true;
            self.at = self.instant(local)?;
        }
        Some(())
    }

    /// Advances to the next day if a clock change skips a whole day, as in Apia at the end of 2011. The first instant
    /// of a skipped day resolves to the day before.
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

    /// Returns the instant of a local time. For a skipped or repeated local time, the offset is taken at a guessed
    /// instant: the same time in UTC minus the offset at that time.
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
