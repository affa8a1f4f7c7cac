//! `spec.maxFailedIndexes`: the maximum number of indexes that may fail before the Job fails.

use crate::job::index::IndexSet;
use crate::job::view::JobView;

/// Returns whether more indexes failed than the limit allows.
pub fn is_exceeded(job: &JobView, failed: &IndexSet) -> bool {
    job.spec.max_failed_indexes.is_some_and(|limit| i128::from(failed.len()) > i128::from(limit))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::*;

    #[test]
    fn one_failed_index_more_than_the_limit_exceeds_it() {
        let job = Job::new().indexed(5).per_index(0).max_failed(1).view;
        for (failed, exceeded) in [("", false), ("3", false), ("1,3", true)] {
            assert_eq!(is_exceeded(&job, &IndexSet::parse(failed, 5)), exceeded, "{failed}");
        }
        assert!(!is_exceeded(&Job::new().indexed(5).per_index(0).view, &IndexSet::parse("0-4", 5)));
    }
}
