//! Pod back-off: the time for which the creation of pods waits after pod failures.
//!
//! Each failure since the last success doubles the wait, from 10 s up to 10 min by default. The wait begins at the end
//! of the last pod that failed
//! ([Job docs](https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-backoff-failure-policy)).
//!
//! A disruption that a podFailurePolicy ignores does not double the wait
//! ([#130881](https://github.com/kubernetes/kubernetes/issues/130881)): the next pod of the Job may be created as soon
//! as the first wait has passed since the *creation* of the disrupted pod. A pod that ran for longer is replaced
//! immediately, and a Job whose pods are evicted as fast as they start cannot flood the control plane
//! ([#119378](https://github.com/kubernetes/kubernetes/issues/119378)). Failures that are ignored by exit code alone
//! count here: nothing but back-off slows a container down that exits immediately.

use std::sync::Arc;

use jiff::Timestamp;

use super::jitter::Jitter;
use super::pod_failure_policy::is_ignored_disruption;
use crate::job::config::SyncConfig;
use crate::job::view::{JobView, PodView};
use crate::runtime::identity::Uid;
use crate::runtime::maps::FastSet;

/// The pod failures of a Job since its last success. They are kept in memory only, as in the built-in controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
    last_failure: Option<Timestamp>,
    /// Creation time of the newest pod that was lost to an ignored disruption.
    disrupted: Option<Timestamp>,
    /// UIDs of pods that the fields above include and that the status does not account for yet.
    seen: Arc<FastSet<Uid>>,
}

impl Backoff {
    /// Returns the back-off after the pods that have failed and succeeded since.
    pub fn after<'a, P: IntoIterator<Item = &'a Arc<PodView>, IntoIter: Clone>>(
        &self,
        job: &JobView,
        new_failed: P,
        new_succeeded: P,
    ) -> Self {
        let (new_failed, new_succeeded) = (new_failed.into_iter(), new_succeeded.into_iter());
        let (ignored, failed): (Vec<_>, Vec<_>) = new_failed.partition(|pod| is_ignored_disruption(job, pod));
        let disrupted = ignored.iter().map(|pod| pod.created).max().max(self.disrupted);
        let is_new = |pod: &&Arc<PodView>| !self.seen.contains(&pod.identity.uid);
        let ends: Vec<Timestamp> = failed.iter().copied().filter(is_new).map(|pod| pod.finished_at).collect();
        let last_success = new_succeeded.clone().filter(is_new).map(|pod| pod.finished_at).max();
        let present = failed.iter().copied().chain(new_succeeded);
        if present.clone().count() == self.seen.len() && !present.clone().any(|pod| is_new(&pod)) {
            return Self { disrupted, ..self.clone() };
        }
        let seen = Arc::new(present.map(|pod| pod.identity.uid.clone()).collect());
        match last_success {
            // A success resets the back-off: failures before it no longer count.
            Some(success) => {
                let later = || ends.iter().filter(|at| **at > success);
                Self { failures: later().count() as u32, last_failure: later().max().copied(), disrupted, seen }
            }
            None => Self {
                failures: self.failures.saturating_add(ends.len() as u32),
                last_failure: ends.into_iter().max().or(self.last_failure),
                disrupted,
                seen,
            },
        }
    }

    /// Returns the end of the wait. `None` if there was no failure or disruption to wait for.
    pub fn over_at(&self, config: &SyncConfig, jitter: Jitter) -> Option<Timestamp> {
        let failures = self.last_failure.and_then(|last| over_at(self.failures, last, config, jitter));
        failures.max(self.disrupted.map(|created| disruption_over_at(created, config)))
    }
}

/// Returns the end of the wait after this number of failures, the last of which was at `last`. `None` for 0 failures.
pub fn over_at(failures: u32, last: Timestamp, config: &SyncConfig, jitter: Jitter) -> Option<Timestamp> {
    let doublings = failures.checked_sub(1)?;
    let factor = 1_u32.checked_shl(doublings.min(31)).unwrap_or(u32::MAX);
    let wait = config.pod_failure_backoff.saturating_mul(factor).min(config.pod_failure_backoff_max);
    let wait = jitter.part_of(wait, failures);
    Some(last.checked_add(wait).unwrap_or(Timestamp::MAX))
}

/// Returns the time from which a pod may be replaced that was created at `created` and lost to an ignored disruption.
pub fn disruption_over_at(created: Timestamp, config: &SyncConfig) -> Timestamp {
    created.checked_add(config.pod_failure_backoff).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::*;
    use super::super::summary::PodSummary;
    use super::*;

    fn after(before: &Backoff, summary: &PodSummary) -> Backoff {
        before.after(&Job::new().view, summary.new_failed(), summary.new_succeeded())
    }

    /// Returns a Job whose policy ignores disruptions and exit code 42.
    fn ignoring() -> Job {
        let pattern = json!([{"type": "DisruptionTarget", "status": "True"}]);
        Job::new().failure_rule(json!({"action": "Ignore", "onPodConditions": pattern})).rule("Ignore", 42)
    }

    /// Returns a pod that was created at one time and evicted at another.
    fn evicted(name: &str, created: i64, at: i64) -> Pod {
        pod(name).running(created).failed(at).condition("DisruptionTarget", "True")
    }

    /// Returns the number of counted failures and the end of the wait in seconds from time 0.
    fn state(backoff: &Backoff) -> (u32, Option<i64>) {
        (
            backoff.failures,
            backoff.over_at(&SyncConfig::default(), Jitter::default()).map(|at| at.as_second() - time(0).as_second()),
        )
    }

    #[test]
    fn each_failure_doubles_the_wait_up_to_ten_minutes() {
        let wait = |failures| {
            over_at(failures, time(0), &SyncConfig::default(), Jitter::default())
                .map(|at| at.as_second() - time(0).as_second())
        };
        let waits: Vec<_> = (0..9).map(wait).collect();
        let expected = [None, Some(10), Some(20), Some(40), Some(80), Some(160), Some(320), Some(600), Some(600)];
        assert_eq!(waits, expected);
        assert_eq!(wait(u32::MAX), Some(600));
    }

    #[test]
    fn wait_counts_from_the_last_failure() {
        let summary = Job::new().summary(&[pod("a").failed(7), pod("b").failed(3)]);
        assert_eq!(state(&after(&Backoff::default(), &summary)), (2, Some(27)));
    }

    #[test]
    fn failure_counts_once_even_if_it_is_seen_twice() {
        let summary = Job::new().summary(&[pod("a").failed(7)]);
        let once = after(&Backoff::default(), &summary);
        assert_eq!(after(&once, &summary), once);
        let more = Job::new().summary(&[pod("a").failed(7), pod("b").failed(9)]);
        assert_eq!(state(&after(&once, &more)), (2, Some(29)));
        let gone = Job::new().summary(&[]);
        assert_eq!(state(&after(&once, &gone)), (1, Some(17)), "failures of accounted pods still count");
    }

    #[test]
    fn success_resets_the_failures_before_it() {
        let before = after(&Backoff::default(), &Job::new().summary(&[pod("a").failed(1)]));
        let pods = [pod("b").failed(5), pod("c").succeeded(6), pod("d").failed(8)];
        assert_eq!(state(&after(&before, &Job::new().summary(&pods))), (1, Some(18)));
        assert_eq!(state(&after(&before, &Job::new().summary(&pods[1..2]))), (0, None));
    }

    #[test]
    fn ignored_disruptions_of_running_pods_delay_no_replacement() {
        let job = ignoring();
        let drained: Vec<Pod> = (0..3).map(|n| evicted(&n.to_string(), 0, 50 + n)).collect();
        let summary = job.summary(&drained);
        let ignored = Backoff::default().after(&job.view, summary.new_failed(), summary.new_succeeded());
        assert_eq!(state(&ignored), (0, Some(10)), "the wait was over before the pods were evicted");
        let counted = Backoff::default().after(&Job::new().view, summary.new_failed(), summary.new_succeeded());
        assert_eq!(state(&counted), (3, Some(92)), "without a policy disruptions count as failures");
    }

    #[test]
    fn pods_that_are_evicted_as_they_start_are_replaced_once_per_first_wait() {
        let job = ignoring();
        let mut backoff = Backoff::default();
        for round in 0..5 {
            let pods = [evicted(&round.to_string(), 10 * round, 10 * round + 1)];
            let summary = job.summary(&pods);
            backoff = backoff.after(&job.view, summary.new_failed(), summary.new_succeeded());
            assert_eq!(state(&backoff), (0, Some(10 * round + 10)));
        }
    }

    #[test]
    fn failures_ignored_by_exit_code_raise_the_wait() {
        let job = ignoring();
        let pods = [pod("a").failed(1).exit("main", 42), pod("b").failed(2).exit("main", 42)];
        let summary = job.summary(&pods);
        let backoff = Backoff::default().after(&job.view, summary.new_failed(), summary.new_succeeded());
        assert_eq!((summary.failed(), state(&backoff)), (0, (2, Some(22))));
    }

    #[test]
    fn counted_failure_beside_an_ignored_disruption_sets_the_wait() {
        let job = ignoring();
        let summary = job.summary(&[evicted("a", 0, 90), pod("b").failed(50).exit("main", 1)]);
        let backoff = Backoff::default().after(&job.view, summary.new_failed(), summary.new_succeeded());
        assert_eq!(state(&backoff), (1, Some(60)));
    }
}
