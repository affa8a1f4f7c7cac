//! Times at which a schedule is due.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::schedule::clock_changes::{self, ClockChange};
use crate::schedule::cron_job::view::CronJobSpec;
use crate::schedule::expression::Schedule;
use crate::schedule::job_schedule::timetable::{Dst, Timetable};
use crate::schedule::zones;

/// Rules by which times are due.
#[derive(Clone, Debug)]
pub enum Rules {
    /// Schedule of a CronJob, with its zone.
    Plain(Schedule, TimeZone),
    /// Timetable of a JobSchedule.
    Table(Timetable),
}

impl Rules {
    /// Returns the rules of a CronJob. Without `spec.timeZone`, the zone is UTC.
    ///
    /// # Errors
    /// The schedule or the zone is invalid. The error is a sentence without its period.
    pub fn of_cron_job(spec: &CronJobSpec) -> Result<Self, String> {
        let schedule = Schedule::parse(&spec.schedule).map_err(|error| format!("the schedule is invalid: {error}"))?;
        let name = spec.time_zone.as_deref().unwrap_or("UTC");
        let usual = zones::zone(name).ok_or_else(|| format!("{name:?} is not an IANA time zone"))?;
        let zone = schedule.zone(&usual).clone();
        Ok(Self::Plain(schedule, zone))
    }

    /// Returns the zone of the local times.
    pub fn zone(&self) -> &TimeZone {
        match self {
            Self::Plain(_, zone) => zone,
            Self::Table(table) => &table.zone,
        }
    }

    /// Returns the times after `after`, in order.
    pub fn times(&self, after: Timestamp) -> Box<dyn Iterator<Item = Timestamp> + '_> {
        match self {
            Self::Plain(schedule, zone) => {
                Box::new(std::iter::successors(schedule.next(after, zone), |last| schedule.next(*last, zone)))
            }
            Self::Table(table) => Box::new(table.times(after)),
        }
    }

    /// Returns the longest delay of a start by jitter.
    pub fn jitter(&self) -> SignedDuration {
        match self {
            Self::Plain(..) => SignedDuration::ZERO,
            Self::Table(table) => table.jitter,
        }
    }

    /// Returns the clock changes that skip or repeat times of the schedule, as sentences.
    pub fn clock_changes(&self, after: Timestamp, until: Timestamp) -> Vec<String> {
        let (changes, dst): (Vec<ClockChange>, _) = match self {
            Self::Plain(schedule, zone) => (clock_changes::between(schedule, zone, after, until), Dst::Skip),
            Self::Table(table) => {
                let certain = table.schedules.iter().filter(|schedule| schedule.has_certain_hours());
                let of = |schedule: &Schedule| clock_changes::between(schedule, &table.zone, after, until);
                (certain.flat_map(of).collect(), table.dst)
            }
        };
        changes.iter().map(|change| sentence(change, dst)).collect()
    }
}

fn sentence(change: &ClockChange, dst: Dst) -> String {
    let date = change.first.strftime("%Y-%m-%d");
    let [from, to, first] = [change.from, change.to, change.first].map(|at| at.strftime("%H:%M").to_string());
    if change.skips {
        let run = if dst == Dst::Skip { "is skipped" } else { "starts later by that time" };
        return format!("On {date} there is no {first}: clocks go from {from} to {to}, and a run in between {run}.");
    }
    let run = if dst == Dst::Once { "starts the first time only" } else { "starts twice" };
    format!("On {date} {first} occurs twice: clocks go back from {to} to {from}, and a run in between {run}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str, zone: &str) -> Rules {
        Rules::Plain(Schedule::parse(text).unwrap(), zones::zone(zone).unwrap())
    }

    #[test]
    fn clock_change_is_a_sentence_that_names_its_effect() {
        let rules = plain("30 2 * * *", "Europe/Paris");
        let (after, until) = ("2026-01-01T00:00:00Z".parse().unwrap(), "2026-12-01T00:00:00Z".parse().unwrap());
        assert_eq!(
            rules.clock_changes(after, until),
            [
                "On 2026-03-29 there is no 02:30: clocks go from 02:00 to 03:00, and a run in between is skipped.",
                "On 2026-10-25 02:30 occurs twice: clocks go back from 03:00 to 02:00, and a run in between starts twice.",
            ]
        );
        let table = Timetable::new(
            vec![Schedule::parse("30 2 * * *").unwrap()],
            zones::zone("Europe/Paris").unwrap(),
            Dst::Once,
            after,
        );
        let changes = Rules::Table(table).clock_changes(after, until);
        assert!(changes[0].ends_with("starts later by that time.") && changes[1].ends_with("the first time only."));
        assert_eq!(plain("30 2 * * *", "UTC").clock_changes(after, until), Vec::<String>::new());
    }

    #[test]
    fn times_of_a_schedule_that_is_never_due_end() {
        let rules = plain("0 0 30 2 *", "UTC");
        assert_eq!(rules.times("2026-01-01T00:00:00Z".parse().unwrap()).next(), None);
    }
}
