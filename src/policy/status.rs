//! Status of a JobPolicy: how many Jobs it governs, and its conditions.

use jiff::Timestamp;

use super::types::JobPolicyStatus;
use super::view::PolicyView;
use crate::runtime::conditions::ConditionState;

/// Condition that the policy is valid and applies.
const READY: &str = "Ready";

/// Returns the status to store of a policy that governs this number of Jobs; none if it is stored already.
pub fn status(policy: &PolicyView, governed: usize, now: Timestamp) -> Option<JobPolicyStatus> {
    let ready = match &policy.invalid {
        Some(error) => ConditionState::new(READY, "False", "InvalidSpec", error),
        None => ConditionState::new(READY, "True", "PolicyValid", "The policy is valid."),
    };
    let status = JobPolicyStatus {
        observed_generation: policy.generation,
        governed_jobs: i32::try_from(governed).unwrap_or(i32::MAX),
        conditions: vec![ready.into_condition(&policy.stored.conditions, policy.generation, now)],
    };
    (status != policy.stored).then_some(status)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::policy;
    use super::*;

    #[test]
    fn status_has_the_number_of_jobs_and_whether_the_policy_is_valid() {
        let now = "2026-01-05T12:00:00Z".parse().unwrap();
        let mut valid = policy("valid", &json!({"logTailLines": 5}));
        let first = status(&valid, 3, now).unwrap();
        let ready =
            |status: &JobPolicyStatus| (status.conditions[0].status.clone(), status.conditions[0].reason.clone());
        assert_eq!((first.governed_jobs, first.observed_generation), (3, Some(2)));
        assert_eq!(ready(&first), ("True".to_owned(), "PolicyValid".to_owned()));
        valid.stored = first;
        assert_eq!(status(&valid, 3, "2026-01-06T12:00:00Z".parse().unwrap()), None);
        let invalid = policy("invalid", &json!({"logTailLines": "many"}));
        assert_eq!(ready(&status(&invalid, 0, now).unwrap()), ("False".to_owned(), "InvalidSpec".to_owned()));
    }
}
