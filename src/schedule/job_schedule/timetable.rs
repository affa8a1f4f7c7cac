//! Scheduled times of a JobSchedule: several schedules, clock changes, exclusions, and the period in which runs are
//! due.

use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::instants::Clock;
use crate::runtime::hash::hash;
use crate::schedule::calendar::period::Period;
use crate::schedule::calendar::versions::Versions;
use crate::schedule::expression::Schedule;

/// Handling of local times that a clock change skips or repeats. It applies to schedules that are restricted to certain
/// hours. A schedule for every hour follows the elapsed time and ignores clock changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dst {
    /// Each local time is due once. A skipped local time is due later, by the amount of the clock change. A repeated
    /// local time is due at its first occurrence.
    #[default]
    Once,
    /// A skipped local time is due later, by the amount of the clock change. A repeated local time is due twice.
    Shift,
    /// A skipped local time is not due. A repeated local time is due twice.
    Skip,
}

/// Timetable of a JobSchedule.
#[derive(Clone, Debug)]
pub struct Timetable {
    /// Schedules of the JobSchedule. A time is due if any of them matches.
    pub schedules: Vec<Schedule>,
    /// Time zone of the local times.
    pub zone: TimeZone,
    /// Handling of local times that a clock change skips or repeats.
    pub dst: Dst,
    /// Periods in which no run is due.
    pub exclude: Vec<Period>,
    /// Calendars in whose periods no run is due.
    pub exclude_calendars: Vec<Arc<Versions>>,
    /// Calendars in whose periods alone a run is due; without any, a run is due at all times.
    pub only_calendars: Vec<Arc<Versions>>,
    /// First instant at which a run can be due.
    pub not_before: Option<Timestamp>,
    /// Last instant at which a run can be due.
    pub not_after: Option<Timestamp>,
    /// Instant from which the intervals of `@every` schedules are counted.
    pub anchor: Timestamp,
    /// Maximum delay of a start after the scheduled time. [`Self::longest_jitter`] also bounds the delay.
    pub jitter: SignedDuration,
    /// `namespace/name` of the JobSchedule, from which the jitter is derived.
    pub who: String,
}

/// Number of years that a search covers. A timetable without a time in this period has no times. The search in a single
/// schedule covers the same period.
const YEARS_SEARCHED: i64 = 5;
const SECOND: SignedDuration = SignedDuration::from_secs(1);

impl Timetable {
    /// Returns the timetable of schedules without exclusions, bounds and jitter.
    pub fn new(schedules: Vec<Schedule>, zone: TimeZone, dst: Dst, anchor: Timestamp) -> Self {
        Self {
            schedules,
            zone,
            dst,
            exclude: Vec::new(),
            exclude_calendars: Vec::new(),
            only_calendars: Vec::new(),
            not_before: None,
            not_after: None,
            anchor,
            jitter: SignedDuration::ZERO,
            who: String::new(),
        }
    }

    /// Returns the first time after `after` that is due; none if there is no such time.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.times(after).next()
    }

    /// Returns all times after `after` that are due, in order.
    pub fn times(&self, after: Timestamp) -> Times<'_> {
        let begin = self.not_before.and_then(|begin| begin.checked_sub(SignedDuration::from_nanos(1)).ok());
        let after = after.max(begin.unwrap_or(Timestamp::MIN));
        let mut clock = Clock::new(&self.zone);
        let pending = self.schedules.iter().map(|schedule| self.next_of(schedule, after, &mut clock)).collect();
        Times { table: self, clock, pending, last: after }
    }

    /// Returns the times from `earliest` up to and including `to` that are due, the newest first.
    pub fn times_before(&self, to: Timestamp, earliest: Timestamp) -> TimesBefore<'_> {
        let to = to.min(self.not_after.unwrap_or(Timestamp::MAX));
        let earliest = earliest.max(self.not_before.unwrap_or(Timestamp::MIN));
        let mut clock = Clock::new(&self.zone);
        let pending = self.schedules.iter().map(|schedule| self.last_of(schedule, to, earliest, &mut clock)).collect();
        TimesBefore { table: self, clock, pending, earliest, last: to }
    }

    /// Returns the newest `most` times after `earliest`, up to and including `now`, the oldest first. The search runs
    /// backwards, so that its cost does not depend on the age of `earliest`.
    pub fn missed(&self, earliest: Timestamp, now: Timestamp, most: usize) -> Vec<Timestamp> {
        let Ok(earliest) = earliest.checked_add(SignedDuration::from_nanos(1)) else { return Vec::new() };
        let mut times: Vec<Timestamp> = self.times_before(now, earliest).take(most).collect();
        times.reverse();
        times
    }

    /// Returns the start time of the Job for a scheduled time.
    pub fn start_of(&self, scheduled: Timestamp) -> Timestamp {
        if self.jitter <= SignedDuration::ZERO {
            return scheduled;
        }
        self.start_between(scheduled, self.next(scheduled))
    }

    /// Returns the start time of the Job for a scheduled time. `next` is the next time that is due.
    ///
    /// The jitter ends when three quarters of the interval to the next time have passed. Jobs are therefore started in
    /// the order of their scheduled times, and no run is skipped in favour of the next one.
    pub fn start_between(&self, scheduled: Timestamp, next: Option<Timestamp>) -> Timestamp {
        let longest = next.map(|next| Self::longest_jitter(next.duration_since(scheduled)));
        let jitter = longest.map_or(self.jitter, |longest| self.jitter.min(longest));
        let most = u64::try_from(jitter.as_millis()).unwrap_or_default();
        if most == 0 {
            return scheduled;
        }
        let drawn = hash([self.who.as_bytes(), b"@", &scheduled.as_second().to_be_bytes()]) % (most + 1);
        let later = SignedDuration::from_millis(i64::try_from(drawn).unwrap_or_default());
        scheduled.checked_add(later).unwrap_or(scheduled)
    }

    /// Returns the maximum jitter of a scheduled time, given the interval to the next one.
    pub fn longest_jitter(interval: SignedDuration) -> SignedDuration {
        interval / 4 * 3
    }

    fn next_of(&self, schedule: &Schedule, after: Timestamp, clock: &mut Clock<'_>) -> Option<Timestamp> {
        let Some(period) = schedule.every() else { return clock.next(schedule, self.dst_of(schedule), after) };
        let passed = after.duration_since(self.anchor).as_secs().div_euclid(period);
        self.interval_time(passed.max(0) + 1, period)
    }

    fn last_of(
        &self,
        schedule: &Schedule,
        to: Timestamp,
        earliest: Timestamp,
        clock: &mut Clock<'_>,
    ) -> Option<Timestamp> {
        let Some(period) = schedule.every() else { return clock.last(schedule, self.dst_of(schedule), to, earliest) };
        let passed = to.duration_since(self.anchor).as_secs() / period;
        self.interval_time(Some(passed).filter(|passed| *passed > 0)?, period).filter(|time| *time >= earliest)
    }

    /// Returns the time at which an `@every` schedule with this period in seconds is due for the nth time.
    fn interval_time(&self, number: i64, period: i64) -> Option<Timestamp> {
        self.anchor.checked_add(SignedDuration::from_secs(number.checked_mul(period)?)).ok()
    }

    /// Returns the handling of clock changes for a schedule. A schedule for every hour follows the elapsed time.
    fn dst_of(&self, schedule: &Schedule) -> Dst {
        if schedule.has_certain_hours() { self.dst } else { Dst::Skip }
    }

    /// Returns the end of the time in which no run is due, if this time is one of these. All times from this one up to the
    /// end are excluded. The end is not after the next clock change, which can repeat local times that are not excluded,
    /// and not after the next change of a calendar.
    fn excluded_until(&self, time: Timestamp, clock: &mut Clock<'_>) -> Option<Timestamp> {
        let local = self.zone.to_datetime(time);
        let segment = clock.segment(time);
        let own = self.exclude.iter().filter_map(|period| period.covering(local)).map(|(_, end)| segment.end_at(end));
        let calendars = self.exclude_calendars.iter().filter_map(|calendar| {
            let version = calendar.of(time);
            Some(segment.end_at(version.covered_until(local)?).min(version.end))
        });
        let excluded = own.chain(calendars).max();
        let until = excluded.or_else(|| {
            let only = self.only_calendars.iter().map(|calendar| calendar.of(time));
            if only.clone().any(|version| version.covered_until(local).is_some()) {
                return None;
            }
            only.map(|version| segment.end_at(version.next_begin(local).unwrap_or(DateTime::MAX)).min(version.end))
                .min()
        })?;
        Some(until.max(time))
    }

    /// Returns the begin of the time in which no run is due, if this time is one of these. All times from the begin up to
    /// this one are excluded. The begin is not before the last clock change, which can repeat local times that are not
    /// excluded, and not before the last change of a calendar.
    fn excluded_since(&self, time: Timestamp, clock: &mut Clock<'_>) -> Option<Timestamp> {
        let local = self.zone.to_datetime(time);
        let segment = clock.segment(time);
        let own = self.exclude.iter().filter_map(|period| period.covering(local));
        let own = own.map(|(begin, _)| segment.begin_at(begin));
        let calendars = self.exclude_calendars.iter().filter_map(|calendar| {
            let version = calendar.of(time);
            Some(segment.begin_at(version.covered_since(local)?).max(version.begin))
        });
        let excluded = own.chain(calendars).min();
        let since = excluded.or_else(|| {
            let only = self.only_calendars.iter().map(|calendar| calendar.of(time));
            if only.clone().any(|version| version.covered_until(local).is_some()) {
                return None;
            }
            only.map(|version| segment.begin_at(version.last_end(local).unwrap_or(DateTime::MIN)).max(version.begin))
                .max()
        })?;
        Some(since.min(time))
    }
}

/// Iterator over the times that are due, in order.
pub struct Times<'a> {
    table: &'a Timetable,
    clock: Clock<'a>,
    /// Next time of each schedule that was not returned yet.
    pending: Vec<Option<Timestamp>>,
    /// Time that was returned last.
    last: Timestamp,
}

impl Iterator for Times<'_> {
    type Item = Timestamp;

    fn next(&mut self) -> Option<Timestamp> {
        let table = self.table;
        let end = self.last.checked_add(years_searched()).unwrap_or(Timestamp::MAX);
        loop {
            let next = self.pending.iter().flatten().min().copied()?;
            if next > end || table.not_after.is_some_and(|end| next > end) {
                return None;
            }
            let excluded = table.excluded_until(next, &mut self.clock);
            // The search continues just before the end of the exclusion, so that a time at the end is found.
            let passed = match excluded {
                Some(until) => next.max(until.checked_sub(SECOND).ok()?),
                None => next,
            };
            for (pending, schedule) in self.pending.iter_mut().zip(&table.schedules) {
                if pending.is_some_and(|pending| pending <= passed) {
                    *pending = table.next_of(schedule, passed, &mut self.clock);
                }
            }
            if excluded.is_none() {
                self.last = next;
                return Some(next);
            }
        }
    }
}

/// Iterator over the times that are due, the newest first.
pub struct TimesBefore<'a> {
    table: &'a Timetable,
    clock: Clock<'a>,
    /// Last time of each schedule that was not returned yet.
    pending: Vec<Option<Timestamp>>,
    earliest: Timestamp,
    /// Time that was returned last.
    last: Timestamp,
}

impl Iterator for TimesBefore<'_> {
    type Item = Timestamp;

    fn next(&mut self) -> Option<Timestamp> {
        let table = self.table;
        let earliest = self.last.checked_sub(years_searched()).unwrap_or(Timestamp::MIN).max(self.earliest);
        loop {
            let last = self.pending.iter().flatten().max().copied().filter(|last| *last >= earliest)?;
            let excluded = table.excluded_since(last, &mut self.clock);
            let passed = excluded.unwrap_or(last);
            let to = passed.checked_sub(SignedDuration::from_nanos(1)).ok()?;
            for (pending, schedule) in self.pending.iter_mut().zip(&table.schedules) {
                if pending.is_some_and(|pending| pending >= passed) {
                    *pending = table.last_of(schedule, to, earliest, &mut self.clock);
                }
            }
            if excluded.is_none() {
                self.last = last;
                return Some(last);
            }
        }
    }
}

fn years_searched() -> SignedDuration {
    SignedDuration::from_hours(YEARS_SEARCHED * 366 * 24)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::civil::searches;
    use crate::schedule::zones;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn timetable(schedules: &[&str], zone: &str) -> Timetable {
        let schedules = schedules.iter().map(|text| Schedule::parse(text).unwrap()).collect();
        let anchor = at("2026-01-01T00:00:00Z");
        let table = Timetable::new(schedules, zones::zone(zone).unwrap(), Dst::Once, anchor);
        Timetable { who: "default/nightly".to_owned(), ..table }
    }

    fn times(table: &Timetable, after: &str, count: usize) -> Vec<String> {
        std::iter::successors(table.next(at(after)), |time| table.next(*time))
            .take(count)
            .map(|time| time.to_string())
            .collect()
    }

    #[test]
    fn time_matched_by_several_schedules_is_due_once() {
        let table = timetable(&["0 6 * * *", "30 6 * * *", "0 */3 * * *"], "UTC");
        let expected = ["2026-01-05T06:00:00Z", "2026-01-05T06:30:00Z", "2026-01-05T09:00:00Z"];
        assert_eq!(times(&table, "2026-01-05T05:00:00Z", 3), expected);
        assert_eq!(
            times(&timetable(&["@every 90m"], "UTC"), "2026-01-01T02:00:00Z", 2),
            ["2026-01-01T03:00:00Z", "2026-01-01T04:30:00Z"]
        );
        assert_eq!(times(&timetable(&["0 0 31 2 *"], "UTC"), "2026-01-01T00:00:00Z", 1), [""; 0]);
    }

    #[test]
    fn skipped_and_repeated_local_times_are_due_by_the_dst_setting() {
        let paris = |dst, day: &str| {
            let table = Timetable { dst, ..timetable(&["30 2 * * *"], "Europe/Paris") };
            let all = times(&table, &format!("{day}T00:00:00Z"), 4);
            all.into_iter().filter(|time| time.starts_with(day)).collect::<Vec<_>>()
        };
        let spring = "2026-03-29";
        assert_eq!(paris(Dst::Skip, spring), [""; 0]);
        assert_eq!(paris(Dst::Shift, spring), ["2026-03-29T01:30:00Z"], "03:30 after the clock change");
        assert_eq!(paris(Dst::Once, spring), ["2026-03-29T01:30:00Z"]);
        let autumn = "2026-10-25";
        assert_eq!(paris(Dst::Skip, autumn), ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]);
        assert_eq!(paris(Dst::Once, autumn), ["2026-10-25T00:30:00Z"]);
    }

    #[test]
    fn repeated_local_times_are_due_in_order() {
        let table = Timetable { dst: Dst::Shift, ..timetable(&["30,45 2 * * *"], "Europe/Paris") };
        let expected = ["2026-10-25T00:30:00Z", "2026-10-25T00:45:00Z", "2026-10-25T01:30:00Z", "2026-10-25T01:45:00Z"];
        assert_eq!(times(&table, "2026-10-25T00:00:00Z", 4), expected);
        let hourly = timetable(&["0 * * * *"], "Europe/Paris");
        assert_eq!(
            times(&hourly, "2026-10-25T00:00:00Z", 2),
            ["2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"],
            "an hourly schedule is due after every elapsed hour"
        );
    }

    #[test]
    fn excluded_times_are_not_due() {
        let mut table = timetable(&["0 9 * * *"], "Europe/Paris");
        let date = |text: &str| text.parse::<jiff::civil::Date>().unwrap();
        let time = |text: &str| text.parse::<DateTime>().unwrap();
        table.exclude = vec![
            Period::Day(date("2026-07-02")),
            Period::Yearly(7, 4),
            Period::Window(time("2026-07-05T09:00"), time("2026-07-07T09:00")),
        ];
        let expected = ["2026-07-01T07:00:00Z", "2026-07-03T07:00:00Z", "2026-07-07T07:00:00Z"];
        assert_eq!(times(&table, "2026-06-30T12:00:00Z", 3), expected);
        table.exclude = vec![Period::Window(time("2026-01-01T00:00"), time("9999-12-31T00:00"))];
        assert_eq!(table.next(at("2026-06-30T12:00:00Z")), None);
    }

    #[test]
    fn repeated_local_times_outside_of_an_exclusion_are_due() {
        let time = |text: &str| text.parse::<DateTime>().unwrap();
        let due = |from, to| {
            let mut table = timetable(&["0,30 * * * *"], "Antarctica/Troll");
            // At 01:00 UTC, clocks go from 03:00 to 01:00.
            table.exclude = vec![Period::Window(time(from), time(to))];
            let (begin, end) = (at("2008-10-25T23:59:00Z"), at("2008-10-26T03:00:00Z"));
            let forwards: Vec<Timestamp> = table.times(begin).take_while(|time| *time <= end).collect();
            assert_eq!(forwards, table.missed(begin, end, 99));
            forwards.iter().map(|time| time.to_string()[11..16].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(due("2008-10-25T00:00", "2008-10-26T02:00"), ["00:00", "00:30", "02:00", "02:30", "03:00"]);
        assert_eq!(due("2008-10-26T02:30", "2008-10-27T00:00"), ["00:00", "01:00", "01:30", "02:00"]);
    }

    #[test]
    fn no_time_is_due_outside_of_not_before_and_not_after() {
        let mut table = timetable(&["0 * * * *"], "UTC");
        table.not_before = Some(at("2026-02-01T00:00:00Z"));
        table.not_after = Some(at("2026-02-01T01:00:00Z"));
        assert_eq!(times(&table, "2026-01-01T00:00:00Z", 9), ["2026-02-01T00:00:00Z", "2026-02-01T01:00:00Z"]);
    }

    #[test]
    fn newest_missed_times_are_found_among_any_number() {
        let table = timetable(&["* * * * *"], "UTC");
        let (long_ago, now) = (at("2000-01-01T00:00:00Z"), at("2026-01-05T10:00:30Z"));
        assert_eq!(table.missed(long_ago, now, 1), [at("2026-01-05T10:00:00Z")]);
        assert_eq!(table.missed(at("2026-01-05T10:00:00Z"), now, 1), []);
        let missed = table.missed(long_ago, now, 3);
        assert_eq!(missed, [at("2026-01-05T09:58:00Z"), at("2026-01-05T09:59:00Z"), at("2026-01-05T10:00:00Z")]);
        let yearly = timetable(&["@yearly"], "UTC");
        assert_eq!(yearly.missed(at("2019-06-01T00:00:00Z"), now, 1), [at("2026-01-01T00:00:00Z")]);
        assert_eq!(yearly.missed(at("2019-06-01T00:00:00Z"), now, 100).len(), 7);
    }

    #[test]
    fn dense_schedules_close_to_clock_changes_need_a_bounded_number_of_searches() {
        let dense: Vec<String> = (0..16).map(|first| format!("{first}-59 1-23 * * *")).collect();
        let dense: Vec<&str> = dense.iter().map(String::as_str).collect();
        let changes = [
            ("Europe/Paris", "2026-03-29T01:00:00Z"),
            ("Europe/Paris", "2026-10-25T01:00:00Z"),
            ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
            ("Pacific/Apia", "2011-12-30T10:00:00Z"),
            ("Antarctica/Troll", "2026-03-29T01:00:00Z"),
        ];
        for (zone, change) in changes {
            for dst in [Dst::Once, Dst::Shift, Dst::Skip] {
                let table = Timetable { dst, ..timetable(&dense, zone) };
                for minutes in [-1440, -5, 5, 90, 1000, 1440] {
                    let now = at(change) + SignedDuration::from_mins(minutes);
                    let (missed, searches) = searches::of(|| table.missed(at("2000-01-01T00:00:00Z"), now, 1000));
                    assert_eq!(missed.len(), 1000);
                    // One search for each time of each of the sixteen schedules, and twice that at clock changes.
                    assert!(searches <= 2 * 16 * 1001, "{zone} {change} {dst:?} {minutes}: {searches} searches");
                    let (_, searches) = searches::of(|| table.next(now));
                    assert!(searches <= 64, "{zone} {change} {dst:?} {minutes}: {searches} searches");
                }
            }
        }
    }

    #[test]
    fn search_ends_for_excluded_and_rare_times() {
        let mut table = timetable(&["* 0-22 25 12 *"], "Europe/Paris");
        table.exclude = vec![Period::Yearly(12, 25)];
        let now = at("2026-01-05T10:00:30Z");
        let (times, searches) = searches::of(|| (table.next(now), table.missed(at("1900-01-01T00:00:00Z"), now, 1000)));
        assert_eq!(times, (None, Vec::new()));
        assert!(searches < 100, "{searches} searches");
        table.exclude = vec![Period::Window("0001-01-01T00:00".parse().unwrap(), "9999-12-31T00:00".parse().unwrap())];
        let (times, searches) = searches::of(|| (table.next(now), table.missed(at("1900-01-01T00:00:00Z"), now, 1000)));
        assert_eq!(times, (None, Vec::new()));
        // In each direction, at most two searches for each of the ten clock changes of the five years.
        assert!(searches <= 44, "{searches} searches");
    }

    #[test]
    fn jitter_is_bounded_and_spread_and_stable_for_each_object() {
        let table = Timetable { jitter: SignedDuration::from_mins(5), ..timetable(&["0 * * * *"], "UTC") };
        let due = at("2026-01-05T10:00:00Z");
        let late =
            |who: &str| Timetable { who: who.to_owned(), ..table.clone() }.start_of(due).duration_since(due).as_secs();
        let all: Vec<i64> = (0..200).map(|name| late(&format!("default/{name}"))).collect();
        assert!(all.iter().all(|late| (0..=300).contains(late)));
        assert!(all.iter().filter(|late| **late < 150).count() > 60 && all.iter().any(|late| *late > 250));
        assert_eq!(late("default/a"), late("default/a"));
    }

    #[test]
    fn jitter_longer_than_the_interval_keeps_all_runs_in_order() {
        let jitter = SignedDuration::from_hours(2);
        for schedules in [&["* * * * *"][..], &["0 * * * *"], &["0,1,2 9 * * *", "@daily"], &["@every 90s"]] {
            let table = Timetable { jitter, ..timetable(schedules, "Europe/Paris") };
            let mut times = table.times(at("2026-03-28T00:00:00Z"));
            let mut before = times.next().unwrap();
            for time in times.take(500) {
                let start = table.start_of(before);
                let spare = time.duration_since(start);
                assert!(start >= before && start <= before + jitter, "{before}: {start}");
                assert!(spare * 4 >= time.duration_since(before), "{before}: {start} is too close to {time}");
                before = time;
            }
        }
        let daily = Timetable { jitter, ..timetable(&["0 9 * * *"], "UTC") };
        let mut late = daily.times(at("2026-01-01T12:00:00Z")).map(|due| daily.start_of(due).duration_since(due));
        assert!(late.by_ref().take(50).any(|late| late > SignedDuration::from_mins(100)), "the whole jitter is used");
    }
}
