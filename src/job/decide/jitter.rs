//! Full jitter on the pod back-off, if the JobPolicy asks for it: the delay is a random part of its full length, so that
//! Jobs whose pods failed at the same time do not retry at the same time
//! ([Exponential backoff and jitter](https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)).
//!
//! The random number is a hash of the Job, the index and the number of failures. Each evaluation therefore gives the same
//! delay, also after a restart of the controller.

use std::time::Duration;

use crate::job::index::CompletionIndex;
use crate::job::policy::PolicyRules;
use crate::job::view::JobView;
use crate::runtime::hash::hash;

/// The part of a delay that a Job waits for. The default one is the whole delay.
#[derive(Clone, Copy, Debug, Default)]
pub struct Jitter(Option<u64>);

impl Jitter {
    /// Returns the jitter that the policy of a Job sets.
    pub fn of(job: &JobView, policy: Option<&PolicyRules>) -> Self {
        let is_set = policy.is_some_and(|policy| policy.jitter);
        Self(is_set.then(|| hash([job.identity.uid.text().as_bytes()])))
    }

    /// Returns the jitter for an index of the Job.
    pub fn for_index(self, index: CompletionIndex) -> Self {
        Self(self.0.map(|seed| hash([&index.to_be_bytes()[..], &seed.to_be_bytes()])))
    }

    /// Returns the part of a delay after this number of failures, in whole milliseconds.
    pub fn part_of(self, delay: Duration, failures: u32) -> Duration {
        let Some(seed) = self.0 else { return delay };
        let random = u128::from(hash([&failures.to_be_bytes()[..], &seed.to_be_bytes()]));
        let millis = delay.as_millis().saturating_mul(random) >> 64;
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::Job;
    use super::*;

    const DELAY: Duration = Duration::from_secs(600);

    fn jitter(uid: &str, is_set: bool) -> Jitter {
        let job = Job::new().with(|job| job.identity.uid = uid.into());
        Jitter::of(&job.view, Some(&PolicyRules { jitter: is_set, ..PolicyRules::default() }))
    }

    #[test]
    fn delay_stays_whole_without_a_policy_that_asks_for_jitter() {
        assert_eq!(jitter("a", false).part_of(DELAY, 3), DELAY);
        assert_eq!(Jitter::of(&Job::new().view, None).for_index(4).part_of(DELAY, 3), DELAY);
    }

    #[test]
    fn parts_are_spread_over_the_whole_delay_and_each_is_repeatable() {
        let parts: Vec<f64> = (0..2000)
            .map(|number| jitter(&format!("uid-{number}"), true).part_of(DELAY, 1).as_secs_f64() / DELAY.as_secs_f64())
            .collect();
        assert!(parts.iter().all(|part| (0.0..=1.0).contains(part)));
        for tenth in 0..10 {
            let count = parts.iter().filter(|part| (**part * 10.0) as usize == tenth).count();
            assert!((120..=280).contains(&count), "{count} of 2000 in tenth {tenth}");
        }
        assert_eq!(jitter("a", true).part_of(DELAY, 2), jitter("a", true).part_of(DELAY, 2));
        let of_index = |index| jitter("a", true).for_index(index).part_of(DELAY, 2);
        assert_ne!(of_index(1), of_index(2));
        assert_ne!(jitter("a", true).part_of(DELAY, 2), jitter("a", true).part_of(DELAY, 3));
    }
}
