//! Batching of status writes. The counters in the status are informational: decisions are made from the pods. Therefore
//! a status write that changes only counters is delayed, so that several changes become one write. The built-in
//! controller's delay of one second between syncs has the same effect; here no other write is delayed. A status
//! in which all pods are ready for the first time is not delayed, because JobSet and Kueue then start other Jobs.

use jiff::Timestamp;

use super::{Step, index_subset};
use crate::job::config::SyncConfig;
use crate::job::status::JobStatus;
use crate::job::view::JobView;

/// Returns the time until which a step can be deferred, if it can be deferred. `since` is the time of the first
/// deferred change of counters.
pub fn defer_until(
    job: &JobView,
    step: &Step,
    since: Timestamp,
    now: Timestamp,
    config: &SyncConfig,
) -> Option<Timestamp> {
    let Step::WriteStatus { status, events, .. } = step else { return None };
    let newly_counted = accounted_pods(status).saturating_sub(accounted_pods(&job.status));
    let is_batch = usize::try_from(newly_counted).is_ok_and(|newly_counted| newly_counted >= config.counter_batch_size);
    let become_ready = are_all_ready(job, status) && !are_all_ready(job, &job.status);
    if !events.is_empty() || is_batch || become_ready || !differ_in_counters_only(status, &job.status) {
        return None;
    }
    since.checked_add(config.counter_write_delay).ok().filter(|due| now < *due)
}

/// Returns the number of ended pods that a status counts or lists.
fn accounted_pods(status: &JobStatus) -> i64 {
    let uncounted = i64::try_from(status.uncounted.len()).unwrap_or(i64::MAX);
    i64::from(status.succeeded).saturating_add(status.failed.into()).saturating_add(uncounted)
}

/// Returns whether all pods that the Job needs are ready or have succeeded. JobSet and Kueue compare the same numbers.
fn are_all_ready(job: &JobView, status: &JobStatus) -> bool {
    let completions = index_subset::wanted(job);
    let needed = completions.map_or(job.spec.parallelism, |completions| completions.min(job.spec.parallelism));
    status.ready.unwrap_or_default().saturating_add(status.succeeded) >= needed
}

fn differ_in_counters_only(one: &JobStatus, other: &JobStatus) -> bool {
    one.start_time == other.start_time
        && one.completion_time == other.completion_time
        && one.conditions == other.conditions
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::job::config::SyncConfig;
    use crate::job::decide::fixtures::{Job, Pod, pod, time};
    use crate::job::decide::{Decision, Step};

    fn config() -> SyncConfig {
        SyncConfig { counter_write_delay: Duration::from_secs(1), counter_batch_size: 3, ..SyncConfig::default() }
    }

    fn decide(job: &Job, pods: &[Pod], since: Option<i64>, now: i64) -> Decision {
        job.decide_at(pods, since.map(time), time(now), &config())
    }

    /// Returns a Job with 9 completions whose status contains its two active pods.
    fn started() -> Job {
        let new = Job::new().completions(9).parallelism(2).started(0);
        let Step::WriteStatus { status, .. } = new.decide(&[pod("a").running(1), pod("b").running(1)]).step else {
            panic!()
        };
        new.with_status(*status)
    }

    #[test]
    fn change_of_ready_pods_is_written_after_the_delay() {
        let pods = [pod("a").running(1).ready(2), pod("b").running(1)];
        let first = decide(&started(), &pods, None, 10);
        assert!(matches!(first.step, Step::None));
        assert_eq!((first.wake, first.counters_dirty_since), (Some(time(11)), Some(time(10))));
        let due = decide(&started(), &pods, Some(10), 11);
        assert!(matches!(due.step, Step::WriteStatus { .. }));
        assert_eq!(due.counters_dirty_since, None);
    }

    #[test]
    fn status_in_which_all_pods_are_ready_is_written_immediately() {
        let ready = |count: usize| -> Vec<Pod> {
            (0..2)
                .map(|n| pod(&n.to_string()).running(1))
                .enumerate()
                .map(|(n, pod)| if n < count { pod.ready(2) } else { pod })
                .collect()
        };
        assert!(matches!(decide(&started(), &ready(1), None, 10).step, Step::None));
        let Step::WriteStatus { status, .. } = decide(&started(), &ready(2), None, 10).step else { panic!() };
        assert_eq!(status.ready, Some(2));
        let stored = started().with_status(*status);
        assert!(matches!(decide(&stored, &ready(1), None, 10).step, Step::None), "fewer ready pods can wait");
        let last = started().completions(2).counted(1, 0);
        assert!(matches!(decide(&last, &[pod("b").running(1).ready(2)], None, 10).step, Step::WriteStatus { .. }));
    }

    #[test]
    fn ended_pod_is_replaced_immediately_and_counted_after_the_delay() {
        let ended = [pod("a").succeeded(5), pod("b").running(1)];
        let decision = decide(&started(), &ended, Some(9), 10);
        assert!(matches!(decision.step, Step::CreatePods { .. }));
        assert_eq!(decision.counters_dirty_since, Some(time(9)), "a replacement does not restart the delay");
        let replaced = [pod("a").succeeded(5), pod("b").running(1), pod("c")];
        assert!(matches!(decide(&started(), &replaced, None, 10).step, Step::None));
        assert!(matches!(decide(&started(), &replaced, Some(9), 10).step, Step::WriteStatus { .. }));
    }

    #[test]
    fn full_batch_is_written_immediately() {
        let pods = |ended: usize| {
            let ended = (0..ended).map(|n| pod(&format!("ended-{n}")).succeeded(5));
            let pods: Vec<_> = ended.chain([pod("c").running(1), pod("d").running(1)]).collect();
            decide(&started(), &pods, None, 10).step
        };
        assert!(matches!(pods(2), Step::None));
        assert!(matches!(pods(3), Step::WriteStatus { .. }));
    }

    #[test]
    fn outcome_and_its_consequences_are_written_immediately() {
        let job = Job::new().completions(1).started(0);
        assert!(matches!(decide(&job, &[pod("a").succeeded(5)], None, 10).step, Step::WriteStatus { .. }));
        let failing = Job::new().completions(2).condition("FailureTarget").started(0).counted(0, 1);
        let listing = decide(&failing, &[pod("b").deleting(5)], None, 10).step;
        assert!(matches!(listing, Step::WriteStatus { .. }));
        let ending = decide(&failing, &[pod("b").untracked().deleting(5)], None, 10).step;
        assert!(matches!(ending, Step::WriteStatus { .. }));
    }

    #[test]
    fn start_and_pods_of_a_deleted_job_are_written_immediately() {
        let starting = Job::new();
        assert!(matches!(decide(&starting, &[pod("a").running(1)], None, 10).step, Step::WriteStatus { .. }));
        let deleted = Job::new().completions(3).started(0).deleting();
        assert!(matches!(decide(&deleted, &[pod("a").succeeded(5)], None, 10).step, Step::WriteStatus { .. }));
    }
}
