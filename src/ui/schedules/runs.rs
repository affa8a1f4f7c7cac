//! Runs of a schedule, from the cached Jobs and from the history that a JobSchedule stores.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::Plan;
use crate::client::explain::cause::State;
use crate::runtime::identity::Uid;
use crate::schedule::job_schedule::types;
use crate::ui::cache::{JobRow, Visible};
use crate::ui::charts::Outcome;
use crate::ui::charts::durations::Spread;

/// Cached Jobs by their owner.
pub type ByOwner = HashMap<Uid, Vec<Arc<JobRow>>>;

/// Returns the Jobs of these owners.
pub fn by_owner(jobs: &Visible<'_, JobRow>, plans: &[Plan]) -> ByOwner {
    let mut found: ByOwner = plans.iter().map(|plan| (plan.uid().clone(), Vec::new())).collect();
    jobs.for_each(|job| {
        if let Some(own) = job.owner.as_ref().and_then(|owner| found.get_mut(&owner.uid)) {
            own.push(job.clone());
        }
    });
    found
}

#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    Job(&'a JobRow),
    Stored(&'a types::Run),
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    source: Source<'a>,
    /// Start of the Job, or its creation if it has not started.
    pub started: Timestamp,
    /// Scheduled time. `None` for a Job that a user has created.
    pub scheduled: Option<Timestamp>,
    /// End of the Job.
    pub ended: Option<Timestamp>,
    /// Outcome of the run.
    pub outcome: Outcome,
}

impl<'a> Run<'a> {
    fn of_job(job: &'a JobRow, now: Timestamp) -> Self {
        let outcome = match job.state(now) {
            State::Complete => Outcome::Succeeded,
            State::Failed => Outcome::Failed,
            _ => Outcome::Running,
        };
        let started = job.started.unwrap_or(job.created);
        Self { source: Source::Job(job), started, scheduled: job.scheduled, ended: job.ended, outcome }
    }

    fn of_stored(run: &'a types::Run) -> Option<Self> {
        let (scheduled, ended) = (run.scheduled.as_ref().map(|at| at.0), run.finished.as_ref().map(|at| at.0));
        let outcome = match run.outcome.as_str() {
            "Succeeded" => Outcome::Succeeded,
            "Failed" => Outcome::Failed,
            _ => Outcome::Replaced,
        };
        let started = run.started.as_ref().map(|at| at.0).or(scheduled).or(ended)?;
        Some(Self { source: Source::Stored(run), started, scheduled, ended, outcome })
    }

    /// Returns the name of the Job.
    pub fn job(&self) -> &'a str {
        match self.source {
            Source::Job(job) => &job.identity.name,
            Source::Stored(run) => &run.job,
        }
    }

    /// Returns whether the Job still exists.
    pub fn exists(&self) -> bool {
        matches!(self.source, Source::Job(_))
    }

    /// Returns the reason of the outcome as one word.
    pub fn reason(&self, now: Timestamp) -> &'a str {
        match self.source {
            Source::Job(job) => job.reason(now),
            Source::Stored(run) => &run.reason,
        }
    }

    /// Returns the cause of a failure or of a delay. A run that succeeded has none.
    pub fn message(&self, now: Timestamp) -> &'a str {
        match self.source {
            _ if self.outcome == Outcome::Succeeded => "",
            Source::Job(job) => job.cause(now),
            Source::Stored(run) => &run.message,
        }
    }

    /// Returns the duration of a run that has ended.
    pub fn duration(&self) -> Option<SignedDuration> {
        Some(self.ended?.duration_since(self.started).max(SignedDuration::ZERO))
    }
}

/// Runs of one schedule, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Record<'a> {
    /// Runs, the oldest first.
    pub runs: Vec<Run<'a>>,
}

impl<'a> Record<'a> {
    /// Returns the runs of the Jobs that exist, and the stored runs of deleted Jobs.
    pub fn of(jobs: &'a [Arc<JobRow>], stored: &'a [types::Run], now: Timestamp) -> Self {
        let existing: HashSet<&str> = jobs.iter().map(|job| &*job.identity.name).collect();
        let deleted = stored.iter().filter(|run| !existing.contains(run.job.as_str())).filter_map(Run::of_stored);
        let mut runs: Vec<Run<'a>> = jobs.iter().map(|job| Run::of_job(job, now)).chain(deleted).collect();
        runs.sort_by(|one, other| (one.started, one.job()).cmp(&(other.started, other.job())));
        Self { runs }
    }

    /// Returns the share of the ended runs that succeeded, in percent. Replaced runs do not count.
    pub fn success_rate(&self) -> Option<u64> {
        let count = |outcome| self.runs.iter().filter(|run| run.outcome == outcome).count();
        let (succeeded, failed) = (count(Outcome::Succeeded), count(Outcome::Failed));
        let percent = (succeeded * 100).checked_div(succeeded + failed)?;
        u64::try_from(percent).ok()
    }

    /// Returns the durations of the runs that succeeded or failed.
    pub fn durations(&self) -> Vec<SignedDuration> {
        let ended = |run: &&Run<'_>| matches!(run.outcome, Outcome::Succeeded | Outcome::Failed);
        self.runs.iter().filter(ended).filter_map(Run::duration).collect()
    }

    /// Returns the median of the durations.
    pub fn median(&self) -> Option<SignedDuration> {
        Spread::of(self.durations()).map(|spread| spread.median)
    }

    /// Returns the newest run.
    pub fn last(&self) -> Option<&Run<'a>> {
        self.runs.last()
    }

    /// Returns the outcomes, the oldest first.
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.runs.iter().map(|run| run.outcome).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ui::fixtures::job;

    fn row(name: &str, end: Option<&str>) -> Arc<JobRow> {
        let mut status = json!({"startTime": "2026-01-01T00:10:00Z"});
        if let Some(type_) = end {
            status["conditions"] = json!([{"type": type_, "status": "True", "reason": "R", "message": "m",
                "lastTransitionTime": "2026-01-01T00:12:00Z"}]);
        }
        Arc::new(JobRow::parse(serde_json::from_value(job("n", name, status)).unwrap()).unwrap())
    }

    fn stored(name: &str, outcome: &str, started: &str) -> types::Run {
        let run = json!({"job": name, "outcome": outcome, "started": started, "finished": "2026-01-01T00:09:00Z"});
        serde_json::from_value(run).unwrap()
    }

    #[test]
    fn record_joins_existing_jobs_and_stored_runs() {
        let jobs = [row("b", Some("Failed")), row("c", Some("Complete")), row("d", None)];
        let history = [
            stored("b", "Failed", "2026-01-01T00:10:00Z"),
            stored("a", "Succeeded", "2026-01-01T00:05:00Z"),
            stored("z", "Replaced", "2026-01-01T00:04:00Z"),
        ];
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        let record = Record::of(&jobs, &history, now);
        let names: Vec<_> = record.runs.iter().map(|run| (run.job(), run.exists(), run.outcome)).collect();
        assert_eq!(
            names,
            [
                ("z", false, Outcome::Replaced),
                ("a", false, Outcome::Succeeded),
                ("b", true, Outcome::Failed),
                ("c", true, Outcome::Succeeded),
                ("d", true, Outcome::Running),
            ]
        );
        assert_eq!(record.success_rate(), Some(66));
        assert_eq!(record.median(), Some(SignedDuration::from_mins(2)));
        assert_eq!((record.runs[2].reason(now), record.runs[3].message(now)), ("R", ""));
    }

    #[test]
    fn record_without_ended_runs_has_no_rate() {
        let now = "2026-01-01T00:11:00Z".parse().unwrap();
        let jobs = [row("a", None)];
        let record = Record::of(&jobs, &[], now);
        assert_eq!((record.success_rate(), record.median(), record.last().unwrap().duration()), (None, None, None));
    }
}
