//! `spec.maxFailedIndexes`: how many indexes may fail before the Job does.

use crate::job::index::IndexSet;
use crate::job::view::JobView;

/// Whether more indexes failed than may.
pub fn is_exceeded(job: &JobView, failed: &IndexSet) -> bool {
    job.spec.max_failed_indexes.is_some_and(|limit| i128::from(failed.len()) > i128::from(limit))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::*;

    #[test]
    fn as_many_as_the_limit_may_fail_and_one_more_may_not() {
        let job = Job::new().indexed(5).per_index(0).max_failed(1).view;
        for (failed, exceeded) in [("", false), ("3", false), ("1,3", true)] {
            assert_eq!(is_exceeded(&job, &IndexSet::parse(failed, 5)), exceeded, "{failed}");
        }
        assert!(!is_exceeded(&Job::new().indexed(5).per_index(0).view, &IndexSet::parse("0-4", 5)));
    }
}
