//! When a JobSchedule is due: several schedules, the hours in which clocks are moved, what is excluded, from when to when.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::hashed::hash;
use crate::cronjob::schedule::Schedule;

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
    /// How much later than it is due a Job is started at most.
    pub jitter: SignedDuration,
    /// Whose times these are, `namespace/name`; it decides the jitter.
    pub who: String,
}

/// No clock is moved by more, in hours.
const MOVED_AT_MOST: i64 = 25;
/// Where nothing is due for so many years, nothing ever is; a schedule by itself looks ahead as far.
const YEARS_AHEAD: i64 = 5;

impl Timetable {
    /// The first time after this one that is due; none if there is none.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.times(after).next()
    }

    /// All times after this one that are due, in order.
    pub fn times(&self, after: Timestamp) -> Times<'_> {
        let begin = self.not_before.and_then(|begin| begin.checked_sub(SignedDuration::from_nanos(1)).ok());
        let after = after.max(begin.unwrap_or(Timestamp::MIN));
        let pending = self.schedules.iter().map(|schedule| self.next_of(schedule, after)).collect();
        Times { table: self, pending, last: after }
    }

    /// The newest `most` times after `earliest` and not after `now`, oldest first: looked for backwards, so that they cost the
    /// same however long ago `earliest` is.
    pub fn missed(&self, earliest: Timestamp, now: Timestamp, most: usize) -> Vec<Timestamp> {
        let mut back = SignedDuration::from_mins(2);
        loop {
            let from = now.checked_sub(back).map_or(earliest, |from| from.max(earliest));
            let mut times: Vec<Timestamp> = self.times(from).take_while(|time| *time <= now).collect();
            if times.len() >= most || from <= earliest {
                times.drain(..times.len().saturating_sub(most));
                return times;
            }
            back = back.checked_mul(4).unwrap_or(SignedDuration::MAX);
        }
    }

    /// When the Job of this time is to be started.
    pub fn start_of(&self, scheduled: Timestamp) -> Timestamp {
        let most = u64::try_from(self.jitter.as_millis()).unwrap_or_default();
        if most == 0 {
            return scheduled;
        }
        let drawn = hash([self.who.as_bytes(), b"@", &scheduled.as_second().to_be_bytes()]) % (most + 1);
        let later = SignedDuration::from_millis(i64::try_from(drawn).unwrap_or_default());
        scheduled.checked_add(later).unwrap_or(scheduled)
    }

    fn next_of(&self, schedule: &Schedule, after: Timestamp) -> Option<Timestamp> {
        if let Some(period) = schedule.every() {
            let passed = after.duration_since(self.anchor).as_secs().div_euclid(period);
            let turns = passed.max(0) + 1;
            return self.anchor.checked_add(SignedDuration::from_secs(turns.checked_mul(period)?)).ok();
        }
        let next = schedule.next(after, &self.zone);
        if !schedule.has_certain_hours() || !next.is_some_and(|next| self.clocks_are_moved(after, next)) {
            return next;
        }
        let mut first: Option<(DateTime, Timestamp)> = None;
        let mut local = self.local(after.checked_sub(SignedDuration::from_hours(MOVED_AT_MOST)).ok()?);
        loop {
            local = next_local(schedule, local)?;
            // What clocks show twice may be due between other times, up to so much later.
            if first.is_some_and(|(of, _)| local > of.saturating_add(2.hours())) {
                return first.map(|(_, found)| found);
            }
            let found = self.instants(local).into_iter().flatten().filter(|time| *time > after).min();
            if let Some(found) = found.filter(|found| first.is_none_or(|(_, earlier)| *found < earlier)) {
                first = Some((first.map_or(local, |(of, _)| of), found));
            }
        }
    }

    /// Whether clocks are moved anywhere near the time between.
    fn clocks_are_moved(&self, from: Timestamp, to: Timestamp) -> bool {
        let near = SignedDuration::from_hours(MOVED_AT_MOST);
        let (Ok(from), Ok(to)) = (from.checked_sub(near), to.checked_add(near)) else { return true };
        self.zone.following(from).next().is_some_and(|change| change.timestamp() <= to)
    }

    /// When a local time is due.
    fn instants(&self, local: DateTime) -> [Option<Timestamp>; 2] {
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        match (ambiguous.offset(), self.dst) {
            (AmbiguousOffset::Gap { .. }, Dst::Skip) => [None, None],
            (AmbiguousOffset::Fold { .. }, Dst::Shift | Dst::Skip) => {
                [ambiguous.earlier().ok(), ambiguous.later().ok()]
            }
            _ => [ambiguous.compatible().ok(), None],
        }
    }

    /// The end of what excludes this time, if anything does.
    fn excluded_until(&self, time: Timestamp) -> Option<Timestamp> {
        let local = self.local(time);
        let end = self.exclude.iter().filter_map(|excluded| match *excluded {
            Excluded::Day(day) => (local.date() == day).then(|| tomorrow(local)),
            Excluded::Yearly(month, day) => ((local.month(), local.day()) == (month, day)).then(|| tomorrow(local)),
            Excluded::Window(from, to) => (from <= local && local < to).then_some(to),
        });
        let end = end.max()?;
        Some(self.zone.to_timestamp(end).unwrap_or(Timestamp::MAX).max(time))
    }

    fn local(&self, time: Timestamp) -> DateTime {
        self.zone.to_datetime(time)
    }
}

/// Times that are due, in order.
pub struct Times<'a> {
    table: &'a Timetable,
    /// Of each schedule, what comes next.
    pending: Vec<Option<Timestamp>>,
    /// What was told last.
    last: Timestamp,
}

impl Iterator for Times<'_> {
    type Item = Timestamp;

    fn next(&mut self) -> Option<Timestamp> {
        let table = self.table;
        let end = self.last.checked_add(SignedDuration::from_hours(YEARS_AHEAD * 366 * 24)).unwrap_or(Timestamp::MAX);
        loop {
            let next = self.pending.iter().flatten().min().copied()?;
            if next > end || table.not_after.is_some_and(|end| next > end) {
                return None;
            }
            let excluded = table.excluded_until(next);
            // Up to just before its end, so that what is due at the end is found.
            let passed = match excluded {
                Some(until) => next.max(until.checked_sub(SignedDuration::from_secs(1)).ok()?),
                None => next,
            };
            for (pending, schedule) in self.pending.iter_mut().zip(&table.schedules) {
                if pending.is_some_and(|pending| pending <= passed) {
                    *pending = table.next_of(schedule, passed);
                }
            }
            if excluded.is_none() {
                self.last = next;
                return Some(next);
            }
        }
    }
}

fn tomorrow(local: DateTime) -> DateTime {
    local.date().saturating_add(1.day()).to_datetime(jiff::civil::Time::midnight())
}

/// The first local time after this one, on clocks that nobody moves.
fn next_local(schedule: &Schedule, after: DateTime) -> Option<DateTime> {
    let next = schedule.next(TimeZone::UTC.to_timestamp(after).ok()?, &TimeZone::UTC)?;
    Some(TimeZone::UTC.to_datetime(next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cronjob::zones;

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
    fn hostile_times_cost_no_more_than_others() {
        let begun = std::time::Instant::now();
        let mut table = timetable(&["* 0-22 25 12 *", "* 1-23 * * *"], "Europe/Paris");
        table.missed(at("2000-01-01T00:00:00Z"), at("2026-01-05T10:00:30Z"), 1000);
        println!("a thousand missed times took {:?}", begun.elapsed());
        table.schedules.truncate(1);
        table.exclude = vec![Excluded::Yearly(12, 25)];
        assert_eq!(table.next(at("2026-01-05T10:00:30Z")), None);
        println!("with years that are excluded they took {:?}", begun.elapsed());
        let dense = timetable(&["* 1-23 * * *"], "Europe/Paris");
        let naive = |after: Timestamp| {
            let mut local = dense.zone.to_datetime(after);
            loop {
                local = next_local(&dense.schedules[0], local).unwrap();
                if let Some(time) = dense.instants(local)[0].filter(|time| *time > after) {
                    return time;
                }
            }
        };
        for after in ["2026-03-27T12:00:00Z", "2026-06-01T21:58:00Z", "2026-10-23T22:00:00Z"].map(at) {
            assert_eq!(dense.next(after), Some(naive(after)), "far from where clocks are moved, both ways are one");
        }
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
}
