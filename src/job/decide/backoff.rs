//! Pod back-off: how long creation waits after pod failures.
//!
//! Failures since the last success double the wait, from 10 s up to 10 minutes by default, counted from the end of
//! the last pod that failed ([Job docs](https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-backoff-failure-policy)).

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;

use crate::job::view::PodView;
use crate::runtime::config::Limits;
use crate::runtime::identity::Uid;

/// The pod failures of a Job since its last success. Kept in memory only, as the built-in controller does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
    last_failure: Option<Timestamp>,
    /// Pods that are in the numbers above and still look new.
    seen: HashSet<Uid>,
}

impl Backoff {
    /// With the pods that failed and succeeded since.
    pub fn after(&self, new_failed: &[Arc<PodView>], new_succeeded: &[Arc<PodView>]) -> Self {
        let unseen = |pods: &[Arc<PodView>]| -> Vec<Timestamp> {
            pods.iter().filter(|pod| !self.seen.contains(&pod.identity.uid)).map(|pod| pod.finished_at).collect()
        };
        let failed = unseen(new_failed);
        let last_success = unseen(new_succeeded).into_iter().max();
        let ended = new_failed.iter().chain(new_succeeded);
        let seen = ended.map(|pod| pod.identity.uid.clone()).collect();
        match last_success {
            // A success wipes out what was before it.
            Some(success) => {
                let later = || failed.iter().filter(|at| **at > success);
                Self { failures: later().count() as u32, last_failure: later().max().copied(), seen }
            }
            None => Self {
                failures: self.failures.saturating_add(failed.len() as u32),
                last_failure: failed.into_iter().max().or(self.last_failure),
                seen,
            },
        }
    }

    /// When the wait is over; none if there is nothing to wait for.
    pub fn over_at(&self, limits: &Limits) -> Option<Timestamp> {
        over_at(self.failures, self.last_failure?, limits)
    }
}

/// When the wait after so many failures, the last of them at that time, is over; none after no failure.
pub fn over_at(failures: u32, last: Timestamp, limits: &Limits) -> Option<Timestamp> {
    let doublings = failures.checked_sub(1)?;
    let factor = 1_u32.checked_shl(doublings.min(31)).unwrap_or(u32::MAX);
    let wait = limits.pod_failure_backoff.saturating_mul(factor).min(limits.pod_failure_backoff_max);
    Some(last.checked_add(wait).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::super::tally::Tally;
    use super::*;

    fn after(before: &Backoff, tally: &Tally) -> Backoff {
        before.after(&tally.new_failed, &tally.new_succeeded)
    }

    /// The failures counted and the seconds from time 0 at which the wait is over.
    fn state(backoff: &Backoff) -> (u32, Option<i64>) {
        (backoff.failures, backoff.over_at(&Limits::default()).map(|at| at.as_second() - time(0).as_second()))
    }

    #[test]
    fn each_failure_doubles_the_wait_up_to_ten_minutes() {
        let wait =
            |failures| over_at(failures, time(0), &Limits::default()).map(|at| at.as_second() - time(0).as_second());
        let waits: Vec<_> = (0..9).map(wait).collect();
        let expected = [None, Some(10), Some(20), Some(40), Some(80), Some(160), Some(320), Some(600), Some(600)];
        assert_eq!(waits, expected);
        assert_eq!(wait(u32::MAX), Some(600));
    }

    #[test]
    fn the_wait_counts_from_the_last_failure() {
        let tally = Job::new().tally(&[pod("a").failed(7), pod("b").failed(3)]);
        assert_eq!(state(&after(&Backoff::default(), &tally)), (2, Some(27)));
    }

    #[test]
    fn a_failure_counts_once_however_often_it_is_seen() {
        let tally = Job::new().tally(&[pod("a").failed(7)]);
        let once = after(&Backoff::default(), &tally);
        assert_eq!(after(&once, &tally), once);
        let more = Job::new().tally(&[pod("a").failed(7), pod("b").failed(9)]);
        assert_eq!(state(&after(&once, &more)), (2, Some(29)));
        let gone = Job::new().tally(&[]);
        assert_eq!(state(&after(&once, &gone)), (1, Some(17)), "accounted pods stay in the record");
    }

    #[test]
    fn a_success_wipes_out_the_failures_before_it() {
        let before = after(&Backoff::default(), &Job::new().tally(&[pod("a").failed(1)]));
        let pods = [pod("b").failed(5), pod("c").succeeded(6), pod("d").failed(8)];
        assert_eq!(state(&after(&before, &Job::new().tally(&pods))), (1, Some(18)));
        assert_eq!(state(&after(&before, &Job::new().tally(&pods[1..2]))), (0, None));
    }
}
