//! `spec.ttlSecondsAfterFinished`: when a finished Job's time is up.

use jiff::Timestamp;

use crate::job::status::{COMPLETE, FAILED};
use crate::job::view::JobView;

/// What to do about a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it is not finished, or being deleted, or has no TTL.
    Leave,
    /// Look again then.
    Wait(Timestamp),
    /// Its time was up then.
    Delete(Timestamp),
}

/// What to do about this Job now. An end that lies in the future, by the clock of whoever wrote it, just waits.
pub fn decide(job: &JobView, now: Timestamp) -> Verdict {
    match expiry(job) {
        None => Verdict::Leave,
        Some(at) if at > now => Verdict::Wait(at),
        Some(at) => Verdict::Delete(at),
    }
}

fn expiry(job: &JobView) -> Option<Timestamp> {
    if job.deleting {
        return None;
    }
    let ttl = job.spec.ttl?;
    let ended = job.status.true_condition(COMPLETE).or_else(|| job.status.true_condition(FAILED))?;
    Some(ended.last_transition_time?.checked_add(ttl).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::job::decide::fixtures::{Job, time};

    fn job(ttl: Option<u64>) -> Job {
        Job::new().ttl(ttl.map(Duration::from_secs))
    }

    #[test]
    fn the_time_counts_from_the_end() {
        for end in [COMPLETE, FAILED] {
            // Conditions of test Jobs became true at time 0.
            let finished = job(Some(30)).condition(end).view;
            assert_eq!(decide(&finished, time(29)), Verdict::Wait(time(30)));
            assert_eq!(decide(&finished, time(30)), Verdict::Delete(time(30)));
            assert_eq!(decide(&finished, time(-500)), Verdict::Wait(time(30)), "our clock is behind");
        }
        assert_eq!(decide(&job(Some(0)).condition(COMPLETE).view, time(0)), Verdict::Delete(time(0)));
        assert_eq!(decide(&job(Some(u64::MAX / 4)).condition(COMPLETE).view, time(0)), Verdict::Wait(Timestamp::MAX));
    }

    #[test]
    fn what_is_unfinished_without_ttl_or_being_deleted_is_left() {
        assert_eq!(decide(&job(Some(0)).view, time(99)), Verdict::Leave);
        assert_eq!(decide(&job(Some(0)).condition("FailureTarget").view, time(99)), Verdict::Leave);
        assert_eq!(decide(&job(None).condition(COMPLETE).view, time(99)), Verdict::Leave);
        assert_eq!(decide(&job(Some(0)).condition(COMPLETE).deleting().view, time(99)), Verdict::Leave);
    }
}
