//! Metrics about the runs of schedules: outcomes, durations and missed runs, which are counted, and times, which are
//! derived from the objects when they are asked for.

use std::sync::Arc;

use jiff::Timestamp;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::job_schedule::runs;
use super::job_schedule::timetable::Timetable;
use super::source::EndedRun;
use crate::job::status::{COMPLETE, FAILED};
use crate::job::view::JobView;
use crate::runtime::identity::Uid;

/// Outcomes of runs, as label values.
pub const OUTCOMES: [&str; 4] = ["succeeded", "failed", "replaced", "deleted"];
/// Maximum number of missed runs that one start counts.
const MAX_MISSED: usize = 1000;

/// Times of a schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Whether the times of the schedule are known: its fields are valid, and its calendars exist.
    pub valid: bool,
    /// Whether no Jobs are started.
    pub suspended: bool,
    /// Next time that is due; none if the schedule is suspended or never due again.
    pub next: Option<Timestamp>,
    /// The time before the last one that was due. A schedule whose last success is earlier has not succeeded for two
    /// intervals.
    pub second_last: Option<Timestamp>,
    /// Scheduled time of the oldest run that is due and was not started.
    pub due: Option<Timestamp>,
    /// Number of runs that are due and wait for an active Job to finish.
    pub queued: usize,
}

impl Timing {
    /// Returns the next and the second last time of a timetable that applies from `since` on.
    pub fn of(table: &Timetable, suspended: bool, since: Timestamp, now: Timestamp) -> Self {
        Self {
            valid: true,
            suspended,
            next: table.next(now).filter(|_| !suspended),
            second_last: table.times_before(now, since).nth(1),
            due: None,
            queued: 0,
        }
    }
}

/// Returns the number of times of a timetable between two others, which are not counted.
pub fn missed_between(table: &Timetable, from: Timestamp, to: Timestamp) -> usize {
    table.times(from).take_while(|time| *time < to).take(MAX_MISSED).count()
}

/// Run that has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ended {
    /// Place of the outcome in [`OUTCOMES`].
    outcome: usize,
    /// Time from the start of the Job to its end, in seconds; none if it has no end.
    duration: Option<f64>,
}

impl Ended {
    /// Returns a run that a history records.
    pub fn of_run(run: &EndedRun) -> Self {
        let outcome = runs::outcome(run);
        let place = OUTCOMES.iter().position(|known| outcome.eq_ignore_ascii_case(known)).unwrap_or_default();
        Self { outcome: place, duration: run.end.as_ref().and_then(|(job, _)| duration(job)) }
    }

    /// Returns a run whose Job has finished.
    pub fn of_job(job: &JobView) -> Self {
        Self { outcome: usize::from(job.status.true_condition(COMPLETE).is_none()), duration: duration(job) }
    }
}

fn duration(job: &JobView) -> Option<f64> {
    let end = job.status.true_condition(COMPLETE).or_else(|| job.status.true_condition(FAILED))?;
    Some(end.last_transition_time?.duration_since(job.status.start_time?).as_secs_f64().max(0.0))
}

/// Runs of one schedule that this process has counted.
#[derive(Clone, Debug)]
pub struct RunCounts {
    /// Number of ended runs, by their outcomes.
    pub outcomes: [u64; OUTCOMES.len()],
    /// Number of runs that were due and will not be started.
    pub missed: u64,
    /// Durations of the runs whose Jobs have finished.
    pub durations: Histogram,
}

impl Default for RunCounts {
    fn default() -> Self {
        // From a second to about 18 hours.
        Self { outcomes: [0; OUTCOMES.len()], missed: 0, durations: Histogram::new(exponential_buckets(1.0, 4.0, 9)) }
    }
}

impl RunCounts {
    /// Counts a run that has ended.
    pub fn ended(&mut self, run: Ended) {
        self.outcomes[run.outcome] += 1;
        if let Some(duration) = run.duration {
            self.durations.observe(duration);
        }
    }
}

/// Schedule that the metrics can have series for. The order is that in which schedules get series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SampleKey {
    /// Namespace of the object.
    pub namespace: Arc<str>,
    /// Name of the object.
    pub name: Arc<str>,
    /// Kind of the object.
    pub kind: &'static str,
    /// UID of the object.
    pub uid: Uid,
}

/// What the metrics state of one schedule.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The object.
    pub key: SampleKey,
    /// Times of the schedule.
    pub timing: Timing,
    /// Latest time at which a Job of the object completed.
    pub last_success: Option<Timestamp>,
    /// Latest known time at which a Job of the object failed.
    pub last_failure: Option<Timestamp>,
    /// Runs that this process has counted.
    pub counts: RunCounts,
}

/// Keeps the first keys in their order, and returns how many were removed.
pub fn bound(keys: &mut Vec<SampleKey>, most: usize) -> usize {
    keys.sort();
    let omitted = keys.len().saturating_sub(most);
    keys.truncate(most);
    omitted
}

/// Returns the latest time at which one of these Jobs failed.
pub fn last_failure(jobs: &[Arc<JobView>]) -> Option<Timestamp> {
    jobs.iter().filter_map(|job| job.status.true_condition(FAILED)?.last_transition_time).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::cron_job::view::ActiveJob;
    use crate::schedule::fixtures;

    #[test]
    fn number_of_schedules_is_bounded() {
        let key = |name: &str| SampleKey {
            namespace: "default".into(),
            name: name.into(),
            kind: "CronJob",
            uid: name.into(),
        };
        let mut keys = ["c", "a", "b"].map(key).to_vec();
        assert_eq!(bound(&mut keys, 2), 1);
        assert_eq!(keys, [key("a"), key("b")]);
    }

    #[test]
    fn runs_are_counted_by_outcome() {
        let mut counts = RunCounts::default();
        for condition in [COMPLETE, FAILED, FAILED] {
            counts.ended(Ended::of_job(&fixtures::job("a", Some(condition), "2026-01-05T10:00:00Z")));
        }
        let job = ActiveJob::new(&fixtures::job("a", None, "2026-01-05T10:00:00Z"));
        for replaced in [true, false] {
            counts.ended(Ended::of_run(&EndedRun { job: job.clone(), end: None, replaced }));
        }
        assert_eq!(counts.outcomes, [1, 2, 1, 1]);
        let failed = fixtures::job("a", Some(FAILED), "2026-01-05T10:00:00Z");
        assert_eq!(Ended::of_job(&failed), Ended { outcome: 1, duration: Some(0.0) });
        assert_eq!(last_failure(&[failed]).map(|time| time.to_string()).as_deref(), Some("2026-01-05T10:00:00Z"));
    }
}
