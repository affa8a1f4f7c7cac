//! The instants at which local times are due, found from the moments at which a zone's clocks are moved.
//!
//! Between two such moments the offset is constant, so that each instant follows from a local time by a subtraction. A local
//! time that is skipped or repeated belongs to the moment at which that happens. A search therefore costs the same beside a
//! clock change as elsewhere.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::timetable::Dst;
use crate::schedule::expression::Schedule;

/// The smallest step of a timestamp.
const STEP: SignedDuration = SignedDuration::from_nanos(1);
/// A search ends this far from its start. It is longer than the five years in which a schedule must match.
const SEARCHED: SignedDuration = SignedDuration::from_hours(6 * 366 * 24);

/// A time between two moments at which a zone's clocks are moved.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// The first instant; none if clocks were never moved before.
    begin: Option<Timestamp>,
    /// The first instant after it; none if clocks are never moved again.
    end: Option<Timestamp>,
    /// The offset from UTC.
    offset: SignedDuration,
    /// The offset from UTC before it.
    before: SignedDuration,
}

impl Segment {
    /// Returns the segment that an instant is in.
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

    /// Returns the local times that clocks skip at the segment's begin.
    fn skipped(&self) -> Option<(DateTime, DateTime)> {
        let begin = self.begin.filter(|_| self.before < self.offset)?;
        Some((local(begin, self.before)?, local(begin, self.offset)?))
    }

    /// Returns the first local time that is not a repetition of what clocks showed before the segment's begin.
    fn first_new(&self) -> Option<DateTime> {
        local(self.begin?, self.before.max(self.offset))
    }

    /// Returns the first instant in the segment from this one on.
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

    /// Returns the last instant in the segment up to this one.
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

/// A zone, and the segment that was asked for last: consecutive searches mostly stay in one.
#[derive(Clone, Copy, Debug)]
pub struct Clock<'a> {
    zone: &'a TimeZone,
    segment: Option<Segment>,
}

impl<'a> Clock<'a> {
    /// Returns the clock of this zone.
    pub fn new(zone: &'a TimeZone) -> Self {
        Self { zone, segment: None }
    }

    /// Returns the first instant after this one at which the schedule is due.
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

    /// Returns the last instant up to this one at which the schedule is due; none if it is before `earliest`.
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

    fn segment(&mut self, at: Timestamp) -> Segment {
        match self.segment.filter(|segment| segment.has(at)) {
            Some(segment) => segment,
            None => *self.segment.insert(Segment::of(self.zone, at)),
        }
    }
}

/// Returns what a clock with this offset shows.
fn local(at: Timestamp, offset: SignedDuration) -> Option<DateTime> {
    TimeZone::UTC.to_datetime(at).checked_add(offset).ok()
}

fn instant(local: DateTime, offset: SignedDuration) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(local).ok()?.checked_sub(offset).ok()
}
