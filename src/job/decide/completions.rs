//! `spec.completions`: the number of successes with which a Job has succeeded.

use super::index_subset;
use super::summary::PodSummary;
use crate::job::view::JobView;

/// Returns whether the Job is complete: it has the requested number of successes, or success of all indexes that its
/// annotation lists, and no active pod. A work queue (no number given) needs one success, because each pod of a work
/// queue can determine that the work is done.
pub fn is_complete(job: &JobView, summary: &PodSummary) -> bool {
    let missing = index_subset::missing(job, summary).unwrap_or_else(|| 1 - summary.succeeded());
    missing <= 0 && summary.active() == 0
}

/// Returns the number of pods that should be active: at most `parallelism`, and at most the number of missing
/// completions. Once one pod of a work queue has succeeded, its other pods run to their end and no pod is added.
pub fn desired_active(job: &JobView, summary: &PodSummary) -> usize {
    let parallelism = i64::from(job.spec.parallelism);
    let desired = match index_subset::missing(job, summary) {
        Some(missing) => parallelism.min(missing),
        None if summary.succeeded() > 0 => return summary.active(),
        None => parallelism,
    };
    usize::try_from(desired).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::*;

    #[test]
    fn job_with_completions_is_complete_when_no_pod_is_active_any_more() {
        let job = Job::new().completions(2).parallelism(2).counted(1, 0);
        assert!(!is_complete(&job.view, &job.summary(&[])));
        assert!(is_complete(&job.view, &job.summary(&[pod("a").succeeded(1)])));
        assert!(!is_complete(&job.view, &job.summary(&[pod("a").succeeded(1), pod("b").running(1)])));
        let none = Job::new().completions(0);
        assert!(is_complete(&none.view, &none.summary(&[])));
    }

    #[test]
    fn work_queue_is_complete_when_its_last_pod_ends_after_one_success() {
        let job = Job::new().work_queue().parallelism(3);
        assert!(!is_complete(&job.view, &job.summary(&[])));
        let one_left = [pod("a").succeeded(1), pod("b").running(1)];
        assert!(!is_complete(&job.view, &job.summary(&one_left)));
        assert!(is_complete(&job.view, &job.summary(&one_left[..1])));
    }

    #[test]
    fn desired_active_pods_are_bounded_by_missing_completions() {
        let cases = [(5, 10, 0, 5), (5, 10, 7, 3), (5, 10, 10, 0), (5, 10, 12, 0), (0, 10, 0, 0), (5, 3, 0, 3)];
        for (parallelism, completions, succeeded, desired) in cases {
            let job = Job::new().parallelism(parallelism).completions(completions).counted(succeeded, 0);
            assert_eq!(
                desired_active(&job.view, &job.summary(&[])),
                desired,
                "{parallelism} {completions} {succeeded}"
            );
        }
    }

    #[test]
    fn work_queue_keeps_its_active_pods_after_a_success() {
        let job = Job::new().work_queue().parallelism(3);
        assert_eq!(desired_active(&job.view, &job.summary(&[pod("a").running(1)])), 3);
        assert_eq!(desired_active(&job.view, &job.summary(&[pod("a").running(1), pod("b").succeeded(1)])), 1);
    }
}
