//! Backfill of a JobSchedule, which runs past times: what the spec asks for, and the progress.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::creation::Creation;
use super::parameters::ParameterValue;
use crate::job::view::JobView;

/// Label of a Job and its pods with the range of the backfill that started the Job.
pub const LABEL: &str = "jobwright.dev/backfill";

/// Returns whether a backfill has started this Job.
pub fn has_started(job: &JobView) -> bool {
    job.admission_info.labels.contains_key(LABEL)
}

/// Order in which the runs of a backfill start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "the field of the spec describes the values")]
pub enum Order {
    #[default]
    OldestFirst,
    NewestFirst,
}

impl Order {
    /// Returns whether a time is `last` or comes before it in this order.
    pub fn is_passed(self, time: Timestamp, last: Timestamp) -> bool {
        match self {
            Self::OldestFirst => time <= last,
            Self::NewestFirst => time >= last,
        }
    }
}

/// Range of scheduled times of a backfill. Another range is another backfill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First scheduled time.
    pub from: Timestamp,
    /// Last scheduled time, as the spec has it.
    pub to: Timestamp,
    /// Order of the runs.
    pub order: Order,
}

/// Backfill, as the spec asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backfill {
    /// Range of the scheduled times, and their order.
    pub range: Range,
    /// Maximum number of active Jobs of the JobSchedule beside which no further Job of the backfill is started.
    pub max_active: usize,
    /// Scheduled times that are not run.
    pub skip: Vec<Timestamp>,
    /// Values of parameters for the runs of the backfill.
    pub parameters: Vec<ParameterValue>,
}

/// Progress of a backfill. The status stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Range of the backfill.
    pub range: Range,
    /// Last scheduled time that is run: the end of the range, or the time at which the controller first saw the backfill
    /// if that is earlier. Later times are not past: the schedule itself runs them.
    pub until: Timestamp,
    /// Number of scheduled times of the range.
    pub total: usize,
    /// Number of times for which a Job was started.
    pub started: usize,
    /// Number of times that were skipped, because they had a run or the spec excludes them.
    pub skipped: usize,
    /// Number of started Jobs that are not finished.
    pub active: usize,
    /// Number of started Jobs that have succeeded.
    pub succeeded: usize,
    /// Number of started Jobs that have failed.
    pub failed: usize,
    /// Last time that was started or skipped, in the order of the backfill.
    pub last: Option<Timestamp>,
    /// Time at which the last Job ended.
    pub completed: Option<Timestamp>,
}

impl Progress {
    /// Returns the progress of a backfill that begins.
    pub fn new(range: Range, until: Timestamp, total: usize) -> Self {
        Self {
            range,
            until,
            total,
            started: 0,
            skipped: 0,
            active: 0,
            succeeded: 0,
            failed: 0,
            last: None,
            completed: None,
        }
    }

    /// Returns the number of times that were neither started nor skipped.
    pub fn remaining(&self) -> usize {
        self.total.saturating_sub(self.started).saturating_sub(self.skipped)
    }

    /// Records that a Job was started for a time.
    pub fn start(&mut self, time: Timestamp) {
        self.started += 1;
        self.last = Some(time);
    }

    /// Records the result for the Job of a time.
    pub fn record(&mut self, time: Timestamp, creation: &Creation) {
        if *creation == Creation::Done {
            self.start(time);
            self.active += 1;
        } else {
            self.skip(time);
        }
    }

    /// Records that a time was skipped.
    pub fn skip(&mut self, time: Timestamp) {
        self.skipped += 1;
        self.last = Some(time);
    }

    /// Returns whether a time is in the range and was neither started nor skipped.
    pub fn is_open(&self, time: Timestamp) -> bool {
        let is_passed = self.last.is_some_and(|last| self.range.order.is_passed(time, last));
        self.completed.is_none() && self.range.from <= time && time <= self.until && !is_passed
    }
}
