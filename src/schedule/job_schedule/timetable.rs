//! When a JobSchedule is due: several schedules, the hours in which clocks are moved, what is excluded, from when to when.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::instants::Clock;
use crate::runtime::hash::hash;
use crate::schedule::expression::Schedule;

/// What becomes of local times that clocks skip or show twice. It concerns schedules with certain hours; one for every hour
/// goes on with the time that passes, whatever clocks show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dst {
    /// Each local time is due once: a skipped one by as much later as clocks were moved, a repeated one the first time.
    #[default]
    Once,
    /// A skipped one is due that much later; a repeated one twice.
    Shift,
    /// A skipped one is not due; a repeated one twice.
    Skip,
}

/// A time that is excluded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Excluded {
    /// A day.
    Day(Date),
    /// A day of every year: month, day.
    Yearly(i8, i8),
    /// From a local time on until before another.
    Window(DateTime, DateTime),
}

/// When a JobSchedule is due.
#[derive(Clone, Debug)]
pub struct Timetable {
    /// Its schedules; due is what any of them says.
    pub schedules: Vec<Schedule>,
    /// The zone of its local times.
    pub zone: TimeZone,
    /// What becomes of local times that are no times or two.
    pub dst: Dst,
    /// What is excluded.
    pub exclude: Vec<Excluded>,
    /// Nothing is due before.
    pub not_before: Option<Timestamp>,
    /// Nothing is due after.
    pub not_after: Option<Timestamp>,
    /// Where times that come every so often are counted from.
    pub anchor: Timestamp,
    /// How much later than it is due a Job is started at most, and never later than [`Self::longest_jitter`].
    pub jitter: SignedDuration,
    /// Whose times these are, `namespace/name`; it decides the jitter.
    pub who: String,
}

/// A timetable that has no time within this many years has none; a single schedule is searched as far.
const YEARS_SEARCHED: i64 = 5;
const SECOND: SignedDuration = SignedDuration::from_secs(1);

impl Timetable {
    /// The first time after this one that is due; none if there is none.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.times(after).next()
    }

    /// All times after this one that are due, in order.
    pub fn times(&self, after: Timestamp) -> Times<'_> {
        let begin = self.not_before.and_then(|begin| begin.checked_sub(SignedDuration::from_nanos(1)).ok());
        let after = after.max(begin.unwrap_or(Timestamp::MIN));
        let mut clock = Clock::new(&self.zone);
        let pending = self.schedules.iter().map(|schedule| self.next_of(schedule, after, &mut clock)).collect();
        Times { table: self, clock, pending, last: after }
    }

    /// Returns the times from `earliest` up to `to` that are due, the newest first.
    pub fn times_before(&self, to: Timestamp, earliest: Timestamp) -> TimesBefore<'_> {
        let to = to.min(self.not_after.unwrap_or(Timestamp::MAX));
        let earliest = earliest.max(self.not_before.unwrap_or(Timestamp::MIN));
        let mut clock = Clock::new(&self.zone);
        let pending = self.schedules.iter().map(|schedule| self.last_of(schedule, to, earliest, &mut clock)).collect();
        TimesBefore { table: self, clock, pending, earliest, last: to }
    }

    /// The newest `most` times after `earliest` and not after `now`, oldest first: looked for backwards, so that they cost the
    /// same however long ago `earliest` is.
    pub fn missed(&self, earliest: Timestamp, now: Timestamp, most: usize) -> Vec<Timestamp> {
        let Ok(earliest) = earliest.checked_add(SignedDuration::from_nanos(1)) else { return Vec::new() };
        let mut times: Vec<Timestamp> = self.times_before(now, earliest).take(most).collect();
        times.reverse();
        times
    }

    /// When the Job of this time is to be started.
    pub fn start_of(&self, scheduled: Timestamp) -> Timestamp {
        if self.jitter <= SignedDuration::ZERO {
            return scheduled;
        }
        self.start_between(scheduled, self.next(scheduled))
    }

    /// When the Job of this time is to be started; `next` is the next time that is due.
    ///
    /// The jitter ends before the next time with a quarter of the interval to spare. So Jobs are started in the order of
    /// their times, and none is passed over for the next one.
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

    /// Returns the maximum jitter of a time with this interval to the next one.
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

    /// Returns the time at which a schedule with this period is due for the nth time.
    fn interval_time(&self, number: i64, period: i64) -> Option<Timestamp> {
        self.anchor.checked_add(SignedDuration::from_secs(number.checked_mul(period)?)).ok()
    }

    /// A schedule for all hours goes on with the time that passes.
    fn dst_of(&self, schedule: &Schedule) -> Dst {
        if schedule.has_certain_hours() { self.dst } else { Dst::Skip }
    }

    /// The end of what excludes this time, if anything does. All times from this one up to the end are excluded.
    fn excluded_until(&self, time: Timestamp) -> Option<Timestamp> {
        let local = self.local(time);
        let end = self.exclude.iter().filter_map(|excluded| match *excluded {
            Excluded::Day(day) => (local.date() == day).then(|| tomorrow(local)),
            Excluded::Yearly(month, day) => ((local.month(), local.day()) == (month, day)).then(|| tomorrow(local)),
            Excluded::Window(from, to) => (from <= local && local < to).then_some(to),
        });
        // Where clocks show the end twice, or not at all, things go on at the earlier instant.
        let end = self.zone.to_ambiguous_timestamp(end.max()?).earlier();
        Some(end.unwrap_or(Timestamp::MAX).max(time))
    }

    /// Returns the begin of what excludes this time, if anything does. All times from the begin up to this one are excluded.
    fn excluded_since(&self, time: Timestamp) -> Option<Timestamp> {
        let local = self.local(time);
        let today = local.date().to_datetime(jiff::civil::Time::midnight());
        let begin = self.exclude.iter().filter_map(|excluded| match *excluded {
            Excluded::Day(day) => (local.date() == day).then_some(today),
            Excluded::Yearly(month, day) => ((local.month(), local.day()) == (month, day)).then_some(today),
            Excluded::Window(from, to) => (from <= local && local < to).then_some(from),
        });
        let begin = self.zone.to_ambiguous_timestamp(begin.min()?).later();
        Some(begin.unwrap_or(Timestamp::MIN).min(time))
    }

    fn local(&self, time: Timestamp) -> DateTime {
        self.zone.to_datetime(time)
    }
}

/// Times that are due, in order.
pub struct Times<'a> {
    table: &'a Timetable,
    clock: Clock<'a>,
    /// Of each schedule, what comes next.
    pending: Vec<Option<Timestamp>>,
    /// What was told last.
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
            let excluded = table.excluded_until(next);
            // Up to just before its end, so that what is due at the end is found.
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

/// Times that are due, the newest first.
pub struct TimesBefore<'a> {
    table: &'a Timetable,
    clock: Clock<'a>,
    /// The last time of each schedule that was not returned yet.
    pending: Vec<Option<Timestamp>>,
    earliest: Timestamp,
    /// The time that was returned last.
    last: Timestamp,
}

impl Iterator for TimesBefore<'_> {
    type Item = Timestamp;

    fn next(&mut self) -> Option<Timestamp> {
        let table = self.table;
        let earliest = self.last.checked_sub(years_searched()).unwrap_or(Timestamp::MIN).max(self.earliest);
        loop {
            let last = self.pending.iter().flatten().max().copied().filter(|last| *last >= earliest)?;
            let excluded = table.excluded_since(last);
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

fn tomorrow(local: DateTime) -> DateTime {
    local.date().saturating_add(1.day()).to_datetime(jiff::civil::Time::midnight())
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
        Timetable {
            schedules: schedules.iter().map(|text| Schedule::parse(text).unwrap()).collect(),
            zone: zones::zone(zone).unwrap(),
            dst: Dst::Once,
            exclude: Vec::new(),
            not_before: None,
            not_after: None,
            anchor: at("2026-01-01T00:00:00Z"),
            jitter: SignedDuration::ZERO,
            who: "default/nightly".to_owned(),
        }
    }

    fn times(table: &Timetable, after: &str, count: usize) -> Vec<String> {
        std::iter::successors(table.next(at(after)), |time| table.next(*time))
            .take(count)
            .map(|time| time.to_string())
            .collect()
    }

    #[test]
    fn due_is_what_any_schedule_says_once() {
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
    fn local_times_that_are_none_or_two_are_due_as_asked() {
        let paris = |dst, day: &str| {
            let table = Timetable { dst, ..timetable(&["30 2 * * *"], "Europe/Paris") };
            let all = times(&table, &format!("{day}T00:00:00Z"), 4);
            all.into_iter().filter(|time| time.starts_with(day)).collect::<Vec<_>>()
        };
        let spring = "2026-03-29";
        assert_eq!(paris(Dst::Skip, spring), [""; 0]);
        assert_eq!(paris(Dst::Shift, spring), ["2026-03-29T01:30:00Z"], "03:30 by the new clocks");
        assert_eq!(paris(Dst::Once, spring), ["2026-03-29T01:30:00Z"]);
        let autumn = "2026-10-25";
        assert_eq!(paris(Dst::Skip, autumn), ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]);
        assert_eq!(paris(Dst::Once, autumn), ["2026-10-25T00:30:00Z"]);
    }

    #[test]
    fn what_is_due_twice_comes_in_order() {
        let table = Timetable { dst: Dst::Shift, ..timetable(&["30,45 2 * * *"], "Europe/Paris") };
        let expected = ["2026-10-25T00:30:00Z", "2026-10-25T00:45:00Z", "2026-10-25T01:30:00Z", "2026-10-25T01:45:00Z"];
        assert_eq!(times(&table, "2026-10-25T00:00:00Z", 4), expected);
        let hourly = timetable(&["0 * * * *"], "Europe/Paris");
        assert_eq!(
            times(&hourly, "2026-10-25T00:00:00Z", 2),
            ["2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"],
            "every hour that passes"
        );
    }

    #[test]
    fn excluded_times_are_passed_over() {
        let mut table = timetable(&["0 9 * * *"], "Europe/Paris");
        let date = |text: &str| text.parse::<Date>().unwrap();
        let time = |text: &str| text.parse::<DateTime>().unwrap();
        table.exclude = vec![
            Excluded::Day(date("2026-07-02")),
            Excluded::Yearly(7, 4),
            Excluded::Window(time("2026-07-05T09:00"), time("2026-07-07T09:00")),
        ];
        let expected = ["2026-07-01T07:00:00Z", "2026-07-03T07:00:00Z", "2026-07-07T07:00:00Z"];
        assert_eq!(times(&table, "2026-06-30T12:00:00Z", 3), expected);
        table.exclude = vec![Excluded::Window(time("2026-01-01T00:00"), time("9999-12-31T00:00"))];
        assert_eq!(table.next(at("2026-06-30T12:00:00Z")), None);
    }

    #[test]
    fn nothing_is_due_before_or_after() {
        let mut table = timetable(&["0 * * * *"], "UTC");
        table.not_before = Some(at("2026-02-01T00:00:00Z"));
        table.not_after = Some(at("2026-02-01T01:00:00Z"));
        assert_eq!(times(&table, "2026-01-01T00:00:00Z", 9), ["2026-02-01T00:00:00Z", "2026-02-01T01:00:00Z"]);
    }

    #[test]
    fn the_last_and_the_missed_are_found_however_many_there_were() {
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
    fn hostile_times_beside_clock_changes_cost_no_more_than_others() {
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
                    // Sixteen schedules, each time of each, and twice where clocks are moved.
                    assert!(searches <= 2 * 16 * 1001, "{zone} {change} {dst:?} {minutes}: {searches} searches");
                    let (_, searches) = searches::of(|| table.next(now));
                    assert!(searches <= 64, "{zone} {change} {dst:?} {minutes}: {searches} searches");
                }
            }
        }
    }

    #[test]
    fn excluded_and_rare_times_end_the_search() {
        let mut table = timetable(&["* 0-22 25 12 *"], "Europe/Paris");
        table.exclude = vec![Excluded::Yearly(12, 25)];
        let now = at("2026-01-05T10:00:30Z");
        let (times, searches) = searches::of(|| (table.next(now), table.missed(at("1900-01-01T00:00:00Z"), now, 1000)));
        assert_eq!(times, (None, Vec::new()));
        assert!(searches < 100, "{searches} searches");
        table.exclude =
            vec![Excluded::Window("0001-01-01T00:00".parse().unwrap(), "9999-12-31T00:00".parse().unwrap())];
        let (times, searches) = searches::of(|| (table.next(now), table.missed(at("1900-01-01T00:00:00Z"), now, 1000)));
        assert_eq!(times, (None, Vec::new()));
        assert!(searches < 10, "{searches} searches");
    }

    #[test]
    fn jitter_is_bounded_spread_and_the_same_for_everybody() {
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
    fn jitter_longer_than_the_interval_keeps_every_run_and_their_order() {
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
        assert!(late.by_ref().take(50).any(|late| late > SignedDuration::from_mins(100)), "all of it is used");
    }
}
