//! Parts of a Job from which the facts about its pods follow.

use std::sync::Arc;

use crate::job::index::IndexSet;
use crate::job::status::{JobStatus, Uncounted};
use crate::job::view::policies::FailureRule;
use crate::job::view::{CompletionMode, JobView, Selector};

/// Fields of a Job's spec from which the facts about its pods follow. If one of them changes, the summary is computed
/// again.
#[derive(Debug, PartialEq)]
pub(super) struct Basis {
    selector: Option<Selector>,
    completion_mode: CompletionMode,
    /// Number of indexes. It may change, and pods of removed indexes then have no valid index.
    indexes: u32,
    /// Indexes that the Job runs, if its annotation lists valid ones.
    listed_indexes: Option<IndexSet>,
    backoff_limit_per_index: Option<i32>,
    failure_rules: Option<Arc<[FailureRule]>>,
    replace_only_failed: bool,
}

impl Basis {
    pub(super) fn of(job: &JobView) -> Self {
        let spec = &job.spec;
        Self {
            selector: spec.selector.clone(),
            completion_mode: spec.completion_mode.clone(),
            indexes: job.indexes(),
            listed_indexes: job.listed_indexes().cloned(),
            backoff_limit_per_index: spec.backoff_limit_per_index,
            failure_rules: spec.failure_rules.clone(),
            replace_only_failed: spec.replace_only_failed,
        }
    }

    pub(super) fn is_indexed(&self) -> bool {
        self.completion_mode == CompletionMode::Indexed
    }

    /// Returns whether these are the fields of this version of the Job.
    pub(super) fn is_of(&self, job: &JobView) -> bool {
        let spec = &job.spec;
        self.selector == spec.selector
            && self.completion_mode == spec.completion_mode
            && self.indexes == job.indexes()
            && self.listed_indexes.as_ref() == job.listed_indexes()
            && self.backoff_limit_per_index == spec.backoff_limit_per_index
            && self.failure_rules == spec.failure_rules
            && self.replace_only_failed == spec.replace_only_failed
    }
}

/// Parts of a Job's status from which the facts about its pods follow.
#[derive(Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) succeeded: i32,
    pub(super) failed: i32,
    pub(super) uncounted: Uncounted,
    /// Indexes that are stored as succeeded.
    pub(super) completed_indexes: IndexSet,
    /// Indexes that are stored as failed.
    pub(super) failed_indexes: IndexSet,
    pub(super) has_outcome: bool,
}

impl Stored {
    pub(super) fn of(job: &JobView) -> Self {
        let status = &job.status;
        Self {
            succeeded: status.succeeded,
            failed: status.failed,
            uncounted: status.uncounted.clone(),
            completed_indexes: status.completed_indexes.set.clone(),
            failed_indexes: failed_indexes(status).cloned().unwrap_or_default(),
            has_outcome: status.has_outcome(),
        }
    }

    /// Returns whether these are the parts of this version of the Job.
    pub(super) fn is_of(&self, job: &JobView) -> bool {
        let status = &job.status;
        self.succeeded == status.succeeded
            && self.failed == status.failed
            && self.uncounted == status.uncounted
            && self.completed_indexes == status.completed_indexes.set
            && failed_indexes(status).map_or(self.failed_indexes.is_empty(), |failed| *failed == self.failed_indexes)
            && self.has_outcome == status.has_outcome()
    }
}

fn failed_indexes(status: &JobStatus) -> Option<&IndexSet> {
    status.failed_indexes.as_ref().map(|stored| &stored.set)
}
