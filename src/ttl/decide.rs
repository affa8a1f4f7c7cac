//! When a finished Job's time is up: by its annotations, by `spec.ttlSecondsAfterFinished`, by its namespace, by the
//! controller's default; the first that says something.

use jiff::Timestamp;

use crate::job::status::{COMPLETE, FAILED};
use crate::job::view::JobView;
use crate::job::view::retention::Retention;

/// What to do about a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlDecision {
    /// Nothing: it is not finished, or being deleted, or is to be kept.
    Keep,
    /// Look again then.
    Wait(Timestamp),
    /// Its time was up then.
    Delete(Timestamp),
}

/// What goes for Jobs that do not say themselves how long they are kept.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// `spec.ttlSecondsAfterFinished` is ours to see to; beside the built-in TTL controller it is not.
    pub spec: bool,
    /// What the Job's namespace says.
    pub namespace: &'a Retention,
    /// What the controller was started with.
    pub controller: &'a Retention,
}

/// What to do about this Job now. An end that lies in the future, by the clock of whoever wrote it, just waits.
pub fn decide(job: &JobView, rules: Rules<'_>, now: Timestamp) -> TtlDecision {
    match expiry(job, rules) {
        None => TtlDecision::Keep,
        Some(at) if at > now => TtlDecision::Wait(at),
        Some(at) => TtlDecision::Delete(at),
    }
}

/// Whether the retention annotations of the Job's namespace, or their absence, can decide when this Job expires. These
/// annotations are then read live before the Job is deleted.
pub fn depends_on_namespace(job: &JobView) -> bool {
    let own = job.retention.of(job.status.true_condition(COMPLETE).is_some());
    own.is_none() && job.spec.ttl.is_none() && job.owner.is_none()
}

fn expiry(job: &JobView, rules: Rules<'_>) -> Option<Timestamp> {
    if job.deleting || job.retention.parse_error.is_some() {
        return None;
    }
    let succeeded = job.status.true_condition(COMPLETE);
    let ended = succeeded.or_else(|| job.status.true_condition(FAILED))?;
    let kept = |retention: &Retention| retention.of(succeeded.is_some());
    let ttl = match (kept(&job.retention), job.spec.ttl) {
        (Some(ttl), _) => ttl,
        (None, Some(ttl)) => rules.spec.then_some(ttl)?,
        // What somebody else controls, he cleans up: a CronJob by its history limits.
        (None, None) if job.owner.is_some() => return None,
        (None, None) if rules.namespace.parse_error.is_some() => return None,
        (None, None) => kept(rules.namespace).or_else(|| kept(rules.controller))?,
    };
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

    fn retention(success: Option<u64>, failure: Option<u64>) -> Retention {
        let seconds = |ttl: Option<u64>| ttl.map(Duration::from_secs);
        Retention { after_success: seconds(success), after_failure: seconds(failure), parse_error: None }
    }

    fn decided(job: &JobView, now: i64) -> TtlDecision {
        let silent = Retention::default();
        decide(job, Rules { spec: true, namespace: &silent, controller: &silent }, time(now))
    }

    #[test]
    fn the_time_counts_from_the_end() {
        for end in [COMPLETE, FAILED] {
            // Conditions of test Jobs became true at time 0.
            let finished = job(Some(30)).condition(end).view;
            assert_eq!(decided(&finished, 29), TtlDecision::Wait(time(30)));
            assert_eq!(decided(&finished, 30), TtlDecision::Delete(time(30)));
            assert_eq!(decided(&finished, -500), TtlDecision::Wait(time(30)), "our clock is behind");
        }
        assert_eq!(decided(&job(Some(0)).condition(COMPLETE).view, 0), TtlDecision::Delete(time(0)));
        assert_eq!(decided(&job(Some(u64::MAX / 4)).condition(COMPLETE).view, 0), TtlDecision::Wait(Timestamp::MAX));
    }

    #[test]
    fn what_is_unfinished_without_ttl_or_being_deleted_is_left() {
        assert_eq!(decided(&job(Some(0)).view, 99), TtlDecision::Keep);
        assert_eq!(decided(&job(Some(0)).condition("FailureTarget").view, 99), TtlDecision::Keep);
        assert_eq!(decided(&job(None).condition(COMPLETE).view, 99), TtlDecision::Keep);
        assert_eq!(decided(&job(Some(0)).condition(COMPLETE).deleting().view, 99), TtlDecision::Keep);
    }

    #[test]
    fn the_nearest_rule_says_how_long() {
        let (namespace, controller) = (retention(Some(20), None), retention(Some(40), Some(50)));
        let until = |job: &JobView, spec| match decide(
            job,
            Rules { spec, namespace: &namespace, controller: &controller },
            time(0),
        ) {
            TtlDecision::Wait(at) => Some(at.as_second() - time(0).as_second()),
            _ => None,
        };
        let mut own = job(Some(10)).condition(COMPLETE).view;
        assert_eq!((until(&own, true), until(&own, false)), (Some(10), None), "the built-in controller sees to it");
        own.retention = retention(Some(5), Some(6));
        assert_eq!((until(&own, true), until(&own, false)), (Some(5), Some(5)));
        own.retention = retention(None, Some(6));
        assert_eq!(until(&own, true), Some(10), "it succeeded");
        let (good, mut bad) = (job(None).condition(COMPLETE).view, job(None).condition(FAILED).view);
        assert_eq!((until(&good, true), until(&bad, true)), (Some(20), Some(50)));
        bad.owner = Some("cron-uid".into());
        assert_eq!(until(&bad, true), None, "its owner cleans up");
        bad.retention = retention(None, Some(6));
        assert_eq!(until(&bad, true), Some(6));
    }

    #[test]
    fn where_a_rule_cannot_be_read_nothing_is_deleted() {
        let mut parse_error = job(Some(10)).condition(COMPLETE).view;
        parse_error.retention.parse_error = Some("annotation".into());
        assert_eq!(decided(&parse_error, 99), TtlDecision::Keep);
        let unread = Retention { parse_error: Some("annotation".into()), ..Retention::default() };
        let default = retention(Some(0), Some(0));
        let verdict = decide(
            &job(None).condition(COMPLETE).view,
            Rules { spec: true, namespace: &unread, controller: &default },
            time(9),
        );
        assert_eq!(verdict, TtlDecision::Keep);
    }

    #[test]
    fn only_jobs_without_a_rule_of_their_own_depend_on_their_namespace() {
        let silent = Retention::default();
        let own_rule = |after_success, after_failure| {
            let mut view = job(None).condition(COMPLETE).view;
            view.retention = retention(after_success, after_failure);
            view
        };
        let mut owned = job(None).condition(COMPLETE).view;
        owned.owner = Some("cron-uid".into());
        let cases = [
            ("nothing", job(None).condition(COMPLETE).view, true),
            ("a rule for the other outcome", own_rule(None, Some(1)), true),
            ("a rule for its outcome", own_rule(Some(1), None), false),
            ("a TTL", job(Some(1)).condition(FAILED).view, false),
            ("an owner", owned, false),
        ];
        for (case, job, depends) in cases {
            assert_eq!(depends_on_namespace(&job), depends, "{case}");
            // What does not depend on it is decided alike, whatever the namespace says.
            let decided = [retention(Some(1), Some(1)), retention(Some(9), Some(9))].map(|namespace| {
                decide(&job, Rules { spec: true, namespace: &namespace, controller: &silent }, time(0))
            });
            assert_eq!(decided[0] != decided[1], depends, "{case}");
        }
    }
}
