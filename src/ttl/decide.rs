//! Expiry time of a finished Job. The first of these rules that is set applies: the annotations of the Job,
//! `spec.ttlSecondsAfterFinished`, the JobPolicy that governs it, the annotations of its namespace, the default of the
//! controller.

use jiff::Timestamp;

use crate::job::status::{COMPLETE, FAILED};
use crate::job::view::JobView;
use crate::job::view::retention::Retention;

/// Decision about a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlDecision {
    /// Keep the Job: it is unfinished or being deleted, or no rule expires it.
    Keep,
    /// Evaluate the Job again at this time.
    Wait(Timestamp),
    /// Delete the Job, which expired at this time.
    Delete(Timestamp),
}

/// Rules that apply in addition to the annotations of the Job.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Whether this controller handles `spec.ttlSecondsAfterFinished`. It does not while the built-in TTL controller
    /// runs.
    pub spec: bool,
    /// Retention that the JobPolicy that governs the Job sets.
    pub policy: &'a Retention,
    /// Retention that the annotations of the namespace of the Job set.
    pub namespace: &'a Retention,
    /// Default retention that the flags of the controller set.
    pub controller: &'a Retention,
}

/// Returns the decision about this Job at `now`. The end of a Job can be in the future, because another controller
/// wrote it by another clock; then the wait is longer.
pub fn decide(job: &JobView, rules: Rules<'_>, now: Timestamp) -> TtlDecision {
    match expiry(job, rules) {
        None => TtlDecision::Keep,
        Some(at) if at > now => TtlDecision::Wait(at),
        Some(at) => TtlDecision::Delete(at),
    }
}

/// Returns whether the retention annotations of the namespace, or their absence, can decide when this Job expires. If
/// so, the controller reads the annotations live before it deletes the Job.
pub fn depends_on_namespace(job: &JobView, policy: &Retention) -> bool {
    let succeeded = job.status.true_condition(COMPLETE).is_some();
    let set = job.retention.of(succeeded).or_else(|| policy.of(succeeded));
    set.is_none() && job.spec.ttl.is_none() && job.owner.is_none()
}

/// Returns whether the JobPolicy that governs this Job, or its absence, can decide when the Job expires. If so, the
/// controller reads the JobPolicies live before it deletes the Job.
pub fn depends_on_policy(job: &JobView) -> bool {
    depends_on_namespace(job, &Retention::default())
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
        // The owner of a Job cleans it up, for example a CronJob by its history limits.
        (None, None) if job.owner.is_some() => return None,
        (None, None) => match kept(rules.policy) {
            Some(ttl) => ttl,
            None if rules.policy.parse_error.is_some() => return None,
            None if rules.namespace.parse_error.is_some() => return None,
            None => kept(rules.namespace).or_else(|| kept(rules.controller))?,
        },
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
        decide(job, Rules { spec: true, policy: &silent, namespace: &silent, controller: &silent }, time(now))
    }

    #[test]
    fn ttl_counts_from_the_end_of_the_job() {
        for end in [COMPLETE, FAILED] {
            // The conditions of test Jobs became true at time 0.
            let finished = job(Some(30)).condition(end).view;
            assert_eq!(decided(&finished, 29), TtlDecision::Wait(time(30)));
            assert_eq!(decided(&finished, 30), TtlDecision::Delete(time(30)));
            assert_eq!(decided(&finished, -500), TtlDecision::Wait(time(30)), "the clock of the controller is behind");
        }
        assert_eq!(decided(&job(Some(0)).condition(COMPLETE).view, 0), TtlDecision::Delete(time(0)));
        assert_eq!(decided(&job(Some(u64::MAX / 4)).condition(COMPLETE).view, 0), TtlDecision::Wait(Timestamp::MAX));
    }

    #[test]
    fn unfinished_job_job_without_ttl_and_job_being_deleted_are_kept() {
        assert_eq!(decided(&job(Some(0)).view, 99), TtlDecision::Keep);
        assert_eq!(decided(&job(Some(0)).condition("FailureTarget").view, 99), TtlDecision::Keep);
        assert_eq!(decided(&job(None).condition(COMPLETE).view, 99), TtlDecision::Keep);
        assert_eq!(decided(&job(Some(0)).condition(COMPLETE).deleting().view, 99), TtlDecision::Keep);
    }

    #[test]
    fn most_specific_rule_sets_the_expiry_time() {
        let (namespace, controller) = (retention(Some(20), None), retention(Some(40), Some(50)));
        let governed = |job: &JobView, spec, policy: &Retention| match decide(
            job,
            Rules { spec, policy, namespace: &namespace, controller: &controller },
            time(0),
        ) {
            TtlDecision::Wait(at) => Some(at.as_second() - time(0).as_second()),
            _ => None,
        };
        let until = |job: &JobView, spec| governed(job, spec, &Retention::default());
        let mut own = job(Some(10)).condition(COMPLETE).view;
        assert_eq!(
            (until(&own, true), until(&own, false)),
            (Some(10), None),
            "the built-in controller handles the spec"
        );
        own.retention = retention(Some(5), Some(6));
        assert_eq!((until(&own, true), until(&own, false)), (Some(5), Some(5)));
        own.retention = retention(None, Some(6));
        assert_eq!(until(&own, true), Some(10), "the annotation is for failures, and the Job succeeded");
        let (succeeded, mut failed) = (job(None).condition(COMPLETE).view, job(None).condition(FAILED).view);
        assert_eq!((until(&succeeded, true), until(&failed, true)), (Some(20), Some(50)));
        let policy = retention(None, Some(15));
        assert_eq!(governed(&failed, true, &policy), Some(15), "before the namespace and the controller");
        assert_eq!(governed(&succeeded, true, &policy), Some(20), "the policy sets nothing for a success");
        let missing = Retention { parse_error: Some("missing".into()), ..Retention::default() };
        assert_eq!(governed(&succeeded, true, &missing), None, "the time that the user meant is not known");
        let with_ttl = job(Some(10)).condition(FAILED).view;
        assert_eq!(governed(&with_ttl, true, &policy), Some(10), "the field of the Job comes first");
        failed.owner = Some("cron-uid".into());
        assert_eq!(governed(&failed, true, &policy), None, "the owner cleans up");
        failed.retention = retention(None, Some(6));
        assert_eq!(until(&failed, true), Some(6));
    }

    #[test]
    fn unreadable_rule_keeps_the_job() {
        let mut parse_error = job(Some(10)).condition(COMPLETE).view;
        parse_error.retention.parse_error = Some("annotation".into());
        assert_eq!(decided(&parse_error, 99), TtlDecision::Keep);
        let unread = Retention { parse_error: Some("annotation".into()), ..Retention::default() };
        let default = retention(Some(0), Some(0));
        let verdict = decide(
            &job(None).condition(COMPLETE).view,
            Rules { spec: true, policy: &Retention::default(), namespace: &unread, controller: &default },
            time(9),
        );
        assert_eq!(verdict, TtlDecision::Keep);
    }

    #[test]
    fn only_jobs_without_their_own_rule_depend_on_the_namespace() {
        let silent = Retention::default();
        let own_rule = |after_success, after_failure| {
            let mut view = job(None).condition(COMPLETE).view;
            view.retention = retention(after_success, after_failure);
            view
        };
        let mut owned = job(None).condition(COMPLETE).view;
        owned.owner = Some("cron-uid".into());
        let cases = [
            ("no rule", job(None).condition(COMPLETE).view, true),
            ("a rule for the other outcome", own_rule(None, Some(1)), true),
            ("a rule for its outcome", own_rule(Some(1), None), false),
            ("a TTL", job(Some(1)).condition(FAILED).view, false),
            ("an owner", owned, false),
        ];
        for (case, job, depends) in cases {
            assert_eq!(depends_on_namespace(&job, &silent), depends, "{case}");
            let policy = retention(Some(3), Some(3));
            assert!(!depends_on_namespace(&job, &policy), "{case}: the policy comes first");
            // The decision about a Job that does not depend on its namespace is the same for all namespace rules.
            let decided = [retention(Some(1), Some(1)), retention(Some(9), Some(9))].map(|namespace| {
                let rules = Rules { spec: true, policy: &silent, namespace: &namespace, controller: &silent };
                decide(&job, rules, time(0))
            });
            assert_eq!(decided[0] != decided[1], depends, "{case}");
        }
    }
}
