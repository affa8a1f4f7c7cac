//! `spec.podFailurePolicy`: the effect of a pod failure, by exit codes and pod conditions. The first matching rule
//! decides
//! ([KEP-3329](https://github.com/kubernetes/enhancements/tree/master/keps/sig-apps/3329-retriable-and-non-retriable-failures)).

use std::sync::Arc;

use crate::job::view::policies::{FailureAction, FailureMatch, FailureRule};
use crate::job::view::start::StartAction;
use crate::job::view::{JobView, PodView};

/// The effect of a pod's failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyDecision {
    /// The Job fails, with this message.
    FailJob(String),
    /// The pod's index fails.
    FailIndex,
    /// The failure is not counted.
    Ignore,
    /// The failure is counted because a rule has the action `Count`.
    Count,
    /// The failure is counted because no rule matches.
    Unmatched,
    /// No rule matches, and the Job fails with this message because its JobPolicy fails it when a pod does not start.
    StartFailsJob(String),
    /// No rule matches, and the pod's index fails because the JobPolicy fails it when a pod does not start.
    StartFailsIndex,
}

impl PolicyDecision {
    /// Returns the action of the matching rule. `None` if no rule matches.
    pub fn action(&self) -> Option<FailureAction> {
        match self {
            Self::FailJob(_) => Some(FailureAction::FailJob),
            Self::FailIndex => Some(FailureAction::FailIndex),
            Self::Ignore => Some(FailureAction::Ignore),
            Self::Count => Some(FailureAction::Count),
            Self::Unmatched | Self::StartFailsJob(_) | Self::StartFailsIndex => None,
        }
    }
}

/// Returns the effect of this pod's failure.
pub fn policy_decision(job: &JobView, pod: &PodView) -> PolicyDecision {
    let rules = job.spec.failure_rules.iter().flat_map(|rules| rules.iter());
    let matched = rules.filter_map(|rule| Some((rule, matches(rule, pod)?))).next();
    let Some((rule, what)) = matched else { return without_rule(job, pod) };
    match rule.action {
        FailureAction::FailJob => {
            PolicyDecision::FailJob(format!("{what} matching FailJob rule at index {}", rule.number))
        }
        FailureAction::FailIndex => PolicyDecision::FailIndex,
        FailureAction::Ignore => PolicyDecision::Ignore,
        FailureAction::Count => PolicyDecision::Count,
    }
}

/// Returns the effect of the failure of a pod that no rule matches.
fn without_rule(job: &JobView, pod: &PodView) -> PolicyDecision {
    let Some(failure) = pod.start_failure.as_ref() else { return PolicyDecision::Unmatched };
    match failure.action {
        StartAction::FailIndex if job.spec.backoff_limit_per_index.is_some() => PolicyDecision::StartFailsIndex,
        StartAction::FailJob | StartAction::FailIndex => PolicyDecision::StartFailsJob(failure.message.clone()),
        StartAction::RetryPod | StartAction::Suspend => PolicyDecision::Unmatched,
    }
}

/// The condition type of a pod that the control plane, its node or a drain disrupts.
const DISRUPTION_TARGET: &str = "DisruptionTarget";

/// Returns whether this pod was lost to a disruption and the policy ignores that failure.
pub fn is_ignored_disruption(job: &JobView, pod: &PodView) -> bool {
    let conditions = pod.end.iter().flat_map(|end| &end.conditions);
    let disrupted = || conditions.clone().any(|(type_, status)| type_ == DISRUPTION_TARGET && status == "True");
    job.spec.failure_rules.is_some() && disrupted() && policy_decision(job, pod) == PolicyDecision::Ignore
}

/// Returns whether the policy ignores disruptions and no other failures. If so, all failures that a pod's annotation
/// counts as ignored were disruptions.
pub fn ignores_disruptions_alone(job: &JobView) -> bool {
    let rules = job.spec.failure_rules.iter().flat_map(|rules| rules.iter());
    let mut ignore = rules.filter(|rule| rule.action == FailureAction::Ignore).peekable();
    let is_disruption = |(type_, status): &(String, String)| type_ == DISRUPTION_TARGET && status == "True";
    ignore.peek().is_some()
        && ignore.all(|rule| match &rule.on {
            FailureMatch::Conditions(patterns) => patterns.iter().all(is_disruption),
            FailureMatch::ExitCodes { .. } => false,
        })
}

/// Returns the message with which the Job fails, if one of these pods matches a `FailJob` rule.
pub fn fail_job<'a>(job: &JobView, mut failed: impl Iterator<Item = &'a Arc<PodView>>) -> Option<String> {
    job.spec.failure_rules.as_ref()?;
    failed.find_map(|pod| match policy_decision(job, pod) {
        PolicyDecision::FailJob(message) => Some(message),
        _ => None,
    })
}

/// Returns the message with which the Job fails, if one of these pods did not start in time and its JobPolicy then fails
/// the Job.
pub fn failed_start<'a>(job: &JobView, mut failed: impl Iterator<Item = &'a Arc<PodView>>) -> Option<String> {
    failed.find_map(|pod| match policy_decision(job, pod) {
        PolicyDecision::StartFailsJob(message) => Some(message),
        _ => None,
    })
}

/// Returns a description of what the rule matches in the pod. `None` if the rule does not match.
fn matches(rule: &FailureRule, pod: &PodView) -> Option<String> {
    let end = pod.end.as_ref()?;
    let name = format!("{}/{}", pod.identity.namespace, pod.identity.name);
    match &rule.on {
        FailureMatch::ExitCodes { container, among, codes } => {
            let is_meant = |exit: &&(String, i32)| {
                container.as_ref().is_none_or(|container| *container == exit.0) && codes.contains(&exit.1) == *among
            };
            let (container, code) = end.exits.iter().find(is_meant)?;
            Some(format!("Container {container} for pod {name} failed with exit code {code}"))
        }
        FailureMatch::Conditions(patterns) => {
            let (type_, _) = end.conditions.iter().find(|condition| patterns.contains(condition))?;
            Some(format!("Pod {name} has condition {type_}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::*;
    use super::*;

    fn decision_of(job: &Job, pod: &Pod) -> PolicyDecision {
        policy_decision(&job.view, &pod.view)
    }

    #[test]
    fn first_matching_rule_decides() {
        let job =
            Job::new().rule("Ignore", 1).rule("Count", 2).rule("FailIndex", 3).rule("FailJob", 4).rule("Ignore", 4);
        let cases = [
            (1, PolicyDecision::Ignore),
            (2, PolicyDecision::Count),
            (3, PolicyDecision::FailIndex),
            (5, PolicyDecision::Unmatched),
        ];
        for (code, expected) in cases {
            assert_eq!(decision_of(&job, &pod("a").failed(1).exit("main", code)), expected, "{code}");
        }
        assert_eq!(
            decision_of(&job, &pod("a").failed(1).exit("main", 4)),
            PolicyDecision::FailJob(
                "Container main for pod default/a failed with exit code 4 matching FailJob rule at index 3".to_owned()
            )
        );
        assert_eq!(decision_of(&Job::new(), &pod("a").failed(1).exit("main", 4)), PolicyDecision::Unmatched);
    }

    #[test]
    fn rule_can_match_one_container_and_exclude_exit_codes() {
        let rule = json!({"action": "Ignore", "onExitCodes": {"containerName": "main", "operator": "NotIn", "values": [1, 2]}});
        let job = Job::new().failure_rule(rule);
        assert_eq!(decision_of(&job, &pod("a").failed(1).exit("main", 3)), PolicyDecision::Ignore);
        assert_eq!(decision_of(&job, &pod("a").failed(1).exit("main", 2)), PolicyDecision::Unmatched);
        assert_eq!(decision_of(&job, &pod("a").failed(1).exit("side", 3)), PolicyDecision::Unmatched);
        assert_eq!(decision_of(&job, &pod("a").failed(1)), PolicyDecision::Unmatched, "no container failed");
    }

    #[test]
    fn rule_can_match_conditions() {
        let rule = json!({"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}, {"type": "Odd", "status": "Unknown"}]});
        let job = Job::new().failure_rule(rule);
        assert_eq!(
            decision_of(&job, &pod("a").failed(1).condition("DisruptionTarget", "True")),
            PolicyDecision::FailJob(
                "Pod default/a has condition DisruptionTarget matching FailJob rule at index 0".to_owned()
            )
        );
        assert_eq!(
            decision_of(&job, &pod("a").failed(1).condition("DisruptionTarget", "False")),
            PolicyDecision::Unmatched
        );
        assert_eq!(decision_of(&job, &pod("a").failed(1).condition("Odd", "True")), PolicyDecision::Unmatched);
    }

    #[test]
    fn unknown_rules_match_nothing_and_keep_their_position() {
        let job = Job::new()
            .failure_rule(json!({"action": "Explode", "onExitCodes": {"operator": "In", "values": [4]}}))
            .failure_rule(json!({"action": "Ignore", "onExitCodes": {"operator": "Near", "values": [4]}}))
            .failure_rule(json!({"action": "Ignore"}))
            .rule("FailJob", 4);
        let PolicyDecision::FailJob(message) = decision_of(&job, &pod("a").failed(1).exit("main", 4)) else { panic!() };
        assert!(message.ends_with("rule at index 3"), "{message}");
    }

    #[test]
    fn only_failed_pods_can_fail_the_job() {
        let job = Job::new().rule("FailJob", 4);
        let message = |pods: &[Pod]| fail_job(&job.view, job.summary(pods).failing().iter());
        assert!(message(&[pod("a").failed(1).exit("main", 1), pod("b").failed(1).exit("main", 4)]).is_some());
        assert!(
            message(&[pod("b").running(1).deleting(2).exit("main", 4)]).is_some(),
            "under TerminatingOrFailed a terminating pod counts as failed"
        );
        assert_eq!(message(&[pod("b").running(1).exit("main", 4)]), None);
    }
}
