//! Explanations in sentences: what a Job, CronJob or JobSchedule is doing, or why it does nothing.
//!
//! `read` and `collect` read the objects with the permissions of the user, and never write; the other modules are pure.

pub(crate) mod cause;
pub(crate) mod collect;
mod cron_job;
pub mod explanation;
mod finished;
mod groups;
mod indexes;
pub(crate) mod job;
mod job_limit;
mod job_schedule;
mod next_step;
pub(crate) mod overview;
pub(crate) mod pod;
pub(crate) mod policy;
pub(crate) mod read;
pub(crate) mod warnings;

use jiff::Timestamp;

use super::leases::Liveness;
use super::names::Kind;

/// Kinds that are explained.
pub const KINDS: &[Kind] = &[Kind::Job, Kind::CronJob, Kind::JobSchedule, Kind::JobLimit];

/// Describes a controller that does not work on an object. `None` for one that is running, or whose state is not known.
/// Controllers without leader election have no Lease, so a missing Lease is worth a sentence only while nothing was
/// done (`untouched`).
fn worked_on(what: &str, liveness: &Liveness<'_>, untouched: bool, now: Timestamp) -> Option<String> {
    match liveness {
        Liveness::Stopped(lease) => {
            let holder = lease.holder.as_deref().map_or_else(String::new, |holder| format!(" by {holder}"));
            let renewed = lease.renewed.map_or_else(
                || "was never renewed".to_owned(),
                |renewed| format!("was last renewed {} ago{holder}", span(renewed, now)),
            );
            let (namespace, name) = (&lease.namespace, &lease.name);
            Some(format!("No controller works on {what}: the Lease {name} in namespace {namespace} {renewed}."))
        }
        Liveness::NoLease if untouched => {
            Some(format!("No controller for {what} was found: there is no Lease of a controller that elects a leader."))
        }
        Liveness::NoLease | Liveness::Alive(_) | Liveness::Unknown => None,
    }
}

/// Formats the time between two moments in one or two units, such as `1 h 5 min`.
pub(crate) fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    let units = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let first = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(3);
    let (size, name) = units[first];
    let rest = units.get(first + 1).map(|(small, name)| (seconds % size / small, *name));
    match rest.filter(|(count, _)| *count > 0) {
        Some((count, small)) => format!("{} {name} {count} {small}", seconds / size),
        None => format!("{} {name}", seconds / size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_has_at_most_two_units() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let format = |seconds| span(at(0), at(seconds));
        assert_eq!(
            [0, 59, 60, 61, 3600, 3660, 90_000, -5].map(format),
            ["0 s", "59 s", "1 min", "1 min 1 s", "1 h", "1 h 1 min", "1 d 1 h", "0 s"]
        );
    }
}
