//! `spec.backoffLimit`: the maximum number of pod failures before the Job fails.

use crate::job::view::JobView;

use super::summary::PodSummary;

/// Returns whether more pods failed than the limit allows. If the kubelet restarts failed containers in place
/// (`restartPolicy: OnFailure`), returns also whether the number of restarts has reached the limit.
pub fn is_exceeded(job: &JobView, summary: &PodSummary) -> bool {
    let limit = i64::from(job.spec.backoff_limit);
    summary.failed() > limit || (job.template.restarts_on_failure && summary.restarts() >= limit.max(1))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::*;

    #[test]
    fn one_failure_more_than_the_limit_exceeds_it() {
        for (limit, failed, exceeded) in [(0, 0, false), (0, 1, true), (2, 2, false), (2, 3, true)] {
            let job = Job::new().backoff_limit(limit).counted(0, failed);
            assert_eq!(is_exceeded(&job.view, &job.summary(&[])), exceeded, "{limit} {failed}");
        }
    }

    #[test]
    fn restarts_in_place_count_only_under_on_failure() {
        let cases = [(0, 0, false), (0, 1, true), (3, 2, false), (3, 3, true)];
        for (limit, restarts, exceeded) in cases {
            let pods = [pod("a").running(1).restarts(restarts)];
            let on_failure = Job::new().backoff_limit(limit).restarts_on_failure();
            assert_eq!(is_exceeded(&on_failure.view, &on_failure.summary(&pods)), exceeded, "{limit} {restarts}");
            let never = Job::new().backoff_limit(limit);
            assert!(!is_exceeded(&never.view, &never.summary(&pods)));
        }
    }

    #[test]
    fn restarts_of_pods_that_ended_do_not_count() {
        let job = Job::new().backoff_limit(1).restarts_on_failure();
        let pods = [pod("a").restarts(5).succeeded(3)];
        assert!(!is_exceeded(&job.view, &job.summary(&pods)));
    }
}
