//! Instants of the local times of a schedule, computed from the clock changes of a time zone.
//!
//! Between two clock changes the offset is constant, so that an instant is a local time minus the offset. A local time
//! that a clock change skips or repeats belongs to the segment that begins with this change. A search close to a clock
//! change therefore costs the same as any other search.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::timetable::Dst;
use crate::schedule::expression::Schedule;

/// Smallest step of a timestamp.
const STEP: SignedDuration = SignedDuration::from_nanos(1);
/// Maximum length of a search. It is longer than the five years in which a schedule must match.
const SEARCHED: SignedDuration = SignedDuration::from_hours(6 * 366 * 24);

/// Period between two clock changes of a zone.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// First instant of the segment; none if there is no earlier clock change.
    begin: Option<Timestamp>,
    /// First instant after the segment; none if there is no later clock change.
    end: Option<Timestamp>,
    /// Offset from UTC in the segment.
    offset: SignedDuration,
    /// Offset from UTC before the segment.
    before: SignedDuration,
}

impl Segment {
    /// Returns the segment that contains an instant.
    pub fn of(zone: &TimeZone, at: Timestamp) -> Self {
        let seconds = |at| SignedDuration::from_secs(zone.to_offset(at).seconds().into());
        let begin = at.checked_add(STEP).ok().and_then(|at| zone.preceding(at).next()).map(|change| change.timestamp());
        let before = begin.and_then(|begin| begin.checked_sub(STEP).ok());
        let offset = seconds(at);
        Self {
            begin,
            end: zone.following(at).next().map(|change| change.timestamp()),
            offset,
            before: before.map_or(offset, seconds),
        }
    }

    fn has(&self, at: Timestamp) -> bool {
        self.begin.is_none_or(|begin| begin <= at) && self.end.is_none_or(|end| at < end)
    }

    /// Returns the first instant of the segment at which the local time is `to` or later, or else the end of the
    /// segment.
    pub fn end_at(&self, to: DateTime) -> Timestamp {
        instant(to, self.offset).unwrap_or(Timestamp::MAX).min(self.end.unwrap_or(Timestamp::MAX))
    }

    /// Returns the first instant of the segment at which the local time is `from` or later.
    pub fn begin_at(&self, from: DateTime) -> Timestamp {
        instant(from, self.offset).unwrap_or(Timestamp::MIN).max(self.begin.unwrap_or(Timestamp::MIN))
    }

    /// Returns the range of local times that the clock change at the begin of the segment skips.
    fn skipped(&self) -> Option<(DateTime, DateTime)> {
        let begin = self.begin.filter(|_| self.before < self.offset)?;
        Some((local(begin, self.before)?, local(begin, self.offset)?))
    }

    /// Returns the first local time that does not repeat a local time before the segment.
    fn first_new(&self) -> Option<DateTime> {
        local(self.begin?, self.before.max(self.offset))
    }

    /// Returns the first instant of the schedule in the segment at or after `at`.
    fn first(&self, schedule: &Schedule, dst: Dst, at: Timestamp) -> Option<Timestamp> {
        let mut from = local(at, self.offset)?;
        if dst == Dst::Once {
            from = from.max(self.first_new().unwrap_or(DateTime::MIN));
        }
        let shown = schedule.first_local(from).and_then(|found| instant(found, self.offset));
        let shown = shown.filter(|at| self.has(*at));
        let skipped = self.skipped().filter(|_| dst != Dst::Skip).and_then(|(first, end)| {
            let from = local(at, self.before)?.max(first);
            instant(schedule.first_local(from).filter(|found| *found < end)?, self.before)
        });
        shown.into_iter().chain(skipped).min()
    }

    /// Returns the last instant of the schedule in the segment at or before `to`.
    fn last(&self, schedule: &Schedule, dst: Dst, to: Timestamp) -> Option<Timestamp> {
        let shown = schedule.last_local(local(to, self.offset)?);
        let first_new = self.first_new().filter(|_| dst == Dst::Once).unwrap_or(DateTime::MIN);
        let shown = shown.filter(|found| *found >= first_new).and_then(|found| instant(found, self.offset));
        let shown = shown.filter(|at| self.has(*at));
        let skipped = self.skipped().filter(|_| dst != Dst::Skip).and_then(|(first, end)| {
            let to = local(to, self.before)?.min(end.checked_sub(STEP).ok()?);
            instant(schedule.last_local(to).filter(|found| *found >= first)?, self.before)
        });
        shown.into_iter().chain(skipped).max()
    }
}

/// Time zone with the segment of the last search, because consecutive searches mostly stay in one segment.
#[derive(Clone, Copy, Debug)]
pub struct Clock<'a> {
    zone: &'a TimeZone,
    segment: Option<Segment>,
}

impl<'a> Clock<'a> {
    /// Returns a clock for this zone.
    pub fn new(zone: &'a TimeZone) -> Self {
        Self { zone, segment: None }
    }

    /// Returns the first instant after `after` at which the schedule is due.
    pub fn next(&mut self, schedule: &Schedule, dst: Dst, after: Timestamp) -> Option<Timestamp> {
        let mut at = after.checked_add(STEP).ok()?;
        let limit = at.checked_add(SEARCHED).unwrap_or(Timestamp::MAX);
        while at <= limit {
            let segment = self.segment(at);
            if let Some(found) = segment.first(schedule, dst, at) {
                return Some(found);
            }
            at = segment.end?;
        }
        None
    }

    /// Returns the last instant at or before `to` at which the schedule is due; none if this instant is before
    /// `earliest`.
    pub fn last(&mut self, schedule: &Schedule, dst: Dst, to: Timestamp, earliest: Timestamp) -> Option<Timestamp> {
        let limit = to.checked_sub(SEARCHED).unwrap_or(Timestamp::MIN).max(earliest);
        let mut at = to;
        while at >= limit {
            let segment = self.segment(at);
            if let Some(found) = segment.last(schedule, dst, at) {
                return Some(found).filter(|found| *found >= earliest);
            }
            at = segment.begin?.checked_sub(STEP).ok()?;
        }
        None
    }

    /// Returns the segment that contains an instant.
    pub fn segment(&mut self, at: Timestamp) -> Segment {
        match self.segment.filter(|segment| segment.has(at)) {
            Some(segment) => segment,
            None => *self.segment.insert(Segment::of(self.zone, at)),
        }
    }
}

/// Returns the local time at an instant, for this offset from UTC.
fn local(at: Timestamp, offset: SignedDuration) -> Option<DateTime> {
    TimeZone::UTC.to_datetime(at).checked_add(offset).ok()
}

fn instant(local: DateTime, offset: SignedDuration) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(local).ok()?.checked_sub(offset).ok()
}
