//! The retry budget of a JobPolicy: the maximum number of failed pods that its Jobs replace in any minute, so that one
//! broken image of a thousand Jobs does not load the cluster.
//!
//! Each retry gets a time, in the order of the requests: the earliest at which the minute before it has room. A Job waits
//! for its own time, so that no other Job is woken when there is room again.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use crate::runtime::identity::Uid;
use crate::runtime::maps::FastMap;

/// Period in which the number of retries is limited.
const PERIOD: Duration = Duration::from_secs(60);
/// Time after which a reserved retry that was not made expires, so that retries do not gather.
const EXPIRY: Duration = Duration::from_secs(10);
/// Maximum number of retries that one Job reserves at a time, so that other Jobs come in between.
const MAX_RESERVED: usize = 16;

/// Retries of the Jobs of one policy.
#[derive(Debug, Default)]
pub struct RetryBudget {
    /// Times of the last retries, in order: at most the number that one period can have.
    times: VecDeque<Timestamp>,
    /// Times that are reserved for each Job and not used yet, in order.
    reserved: FastMap<Uid, VecDeque<Timestamp>>,
}

/// Retries that a Job is allowed to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Number of failed pods that the Job has not replaced.
    pub outstanding: usize,
    /// Number of them that it may replace now.
    pub ready: usize,
    /// Time of the next retry, if fewer are ready than outstanding.
    pub next: Option<Timestamp>,
}

impl Allowance {
    /// Returns the number of pods that may be created of this number, and the time of the next one if that is fewer.
    pub fn allowed(self, wanted: usize) -> (usize, Option<Timestamp>) {
        let retries = wanted.min(self.outstanding);
        let allowed = wanted - retries + retries.min(self.ready);
        (allowed, self.next.filter(|_| allowed < wanted))
    }
}

impl RetryBudget {
    /// Returns the number of outstanding retries that a Job is allowed to make now. All Jobs together make at most
    /// `per_minute` retries.
    pub fn allowance(&mut self, job: &Uid, outstanding: usize, per_minute: usize, now: Timestamp) -> Allowance {
        if outstanding == 0 {
            self.forget(job);
            return Allowance { outstanding, ready: 0, next: None };
        }
        let mut reserved = self.reserved.remove(job).unwrap_or_default();
        reserved.retain(|at| at.checked_add(EXPIRY).is_ok_and(|expiry| expiry >= now));
        while reserved.len() < outstanding.min(MAX_RESERVED) {
            reserved.push_back(self.reserve(per_minute.max(1), now));
        }
        let ready = reserved.iter().take_while(|at| **at <= now).count().min(outstanding);
        let next = reserved.get(ready).copied();
        self.reserved.insert(job.clone(), reserved);
        Allowance { outstanding, ready, next }
    }

    /// Records that a Job has made this number of retries.
    pub fn used(&mut self, job: &Uid, retries: usize) {
        if let Some(reserved) = self.reserved.get_mut(job) {
            reserved.drain(..retries.min(reserved.len()));
            if reserved.is_empty() {
                self.reserved.remove(job);
            }
        }
    }

    /// Forgets the retries of a Job that are not made. Their times stay taken.
    pub fn forget(&mut self, job: &Uid) {
        self.reserved.remove(job);
    }

    fn reserve(&mut self, per_minute: usize, now: Timestamp) -> Timestamp {
        while self.times.len() > per_minute {
            self.times.pop_front();
        }
        let free = self.times.len() < per_minute;
        let earliest = self.times.front().filter(|_| !free).and_then(|oldest| oldest.checked_add(PERIOD).ok());
        // The times stay in order, so that the limit holds in each period.
        let at = earliest.unwrap_or(now).max(now).max(self.times.back().copied().unwrap_or(now));
        if !free {
            self.times.pop_front();
        }
        self.times.push_back(at);
        at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + millis).unwrap()
    }

    #[test]
    fn retries_beyond_the_budget_wait_for_room_in_the_order_of_the_requests() {
        let (a, b) = ("a".into(), "b".into());
        let mut budget = RetryBudget::default();
        assert_eq!(
            budget.allowance(&a, 3, 2, time(0)),
            Allowance { outstanding: 3, ready: 2, next: Some(time(60_000)) }
        );
        budget.used(&a, 2);
        assert_eq!(
            budget.allowance(&a, 1, 2, time(10)),
            Allowance { outstanding: 1, ready: 0, next: Some(time(60_000)) }
        );
        assert_eq!(
            budget.allowance(&b, 1, 2, time(20)),
            Allowance { outstanding: 1, ready: 0, next: Some(time(60_000)) }
        );
        assert_eq!(budget.allowance(&"c".into(), 1, 2, time(30)).next, Some(time(120_000)));
        let due = budget.allowance(&a, 1, 2, time(60_000));
        assert_eq!(due, Allowance { outstanding: 1, ready: 1, next: None });
    }

    #[test]
    fn pods_that_replace_no_failed_one_need_no_budget() {
        let allowance = Allowance { outstanding: 3, ready: 1, next: Some(time(9)) };
        assert_eq!(allowance.allowed(5), (3, Some(time(9))));
        assert_eq!(allowance.allowed(2), (1, Some(time(9))));
        assert_eq!(allowance.allowed(1), (1, None));
        assert_eq!(Allowance { ready: 0, ..allowance }.allowed(2), (0, Some(time(9))));
    }

    #[test]
    fn job_without_failures_has_no_reservations() {
        let mut budget = RetryBudget::default();
        assert_eq!(budget.allowance(&"a".into(), 0, 2, time(0)).ready, 0);
        budget.allowance(&"a".into(), 1, 2, time(0));
        budget.forget(&"a".into());
        assert!(budget.reserved.is_empty());
    }

    #[test]
    fn one_job_reserves_a_bounded_number() {
        let mut budget = RetryBudget::default();
        assert_eq!(budget.allowance(&"a".into(), 1000, 100, time(0)).ready, MAX_RESERVED);
        assert_eq!(budget.allowance(&"b".into(), 1, 100, time(0)).ready, 1, "another Job has room");
    }

    proptest! {
        #[test]
        fn no_minute_has_more_retries_than_the_budget(
            per_minute in 1_usize..8,
            requests in prop::collection::vec((0_u8..5, 0_i64..20_000, 1_usize..5), 1..80),
        ) {
            let mut budget = RetryBudget::default();
            let (mut now, mut made) = (0, Vec::new());
            for (job, wait, outstanding) in requests {
                now += wait;
                let uid = format!("job-{job}").as_str().into();
                let allowance = budget.allowance(&uid, outstanding, per_minute, time(now));
                prop_assert!(allowance.ready <= outstanding);
                prop_assert!(allowance.ready == outstanding || allowance.next.is_some_and(|next| next > time(now)));
                budget.used(&uid, allowance.ready);
                made.extend(std::iter::repeat_n(now, allowance.ready));
            }
            for (at, start) in made.iter().enumerate() {
                let within = made[at..].iter().filter(|other| *other - start < 60_000).count();
                // A retry that was reserved for an earlier time can be made later.
                prop_assert!(within <= 2 * per_minute, "{within} retries within a minute, {per_minute} allowed");
            }
        }
    }
}
