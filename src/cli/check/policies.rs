//! What the API server refuses in the success policy, the failure policy and the replacement policy of a Job.
//!
//! See <https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy> and
//! <https://kubernetes.io/docs/concepts/workloads/controllers/job/#success-policy>.

use k8s_openapi::api::batch::v1::{JobSpec, PodFailurePolicyRule, SuccessPolicyRule};

use super::syntax::is_qualified_name;

/// Maximum number of rules of a policy, and of conditions of a rule.
const MAX_RULES: usize = 20;
/// Maximum number of exit codes of a rule.
const MAX_EXIT_CODES: usize = 255;

/// Returns the messages for the policies of a Job at the path `at`.
pub(super) fn of_policies(spec: &JobSpec, at: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if let Some(policy) = spec.pod_replacement_policy.as_deref() {
        if !matches!(policy, "TerminatingOrFailed" | "Failed") {
            messages.push(format!("{at}.podReplacementPolicy {policy:?} must be TerminatingOrFailed or Failed"));
        } else if spec.pod_failure_policy.is_some() && policy != "Failed" {
            messages.push(format!("{at}.podReplacementPolicy must be Failed with podFailurePolicy"));
        }
    }
    let restarts = spec.template.spec.as_ref().and_then(|pod| pod.restart_policy.as_deref());
    if let Some(policy) = &spec.pod_failure_policy {
        if restarts != Some("Never") {
            messages.push(format!("{at}.podFailurePolicy requires restartPolicy: Never"));
        }
        if policy.rules.len() > MAX_RULES {
            messages.push(format!("{at}.podFailurePolicy must have at most {MAX_RULES} rules"));
        }
        for (place, rule) in policy.rules.iter().enumerate() {
            messages.extend(of_failure_rule(rule, spec, &format!("{at}.podFailurePolicy.rules[{place}]")));
        }
    }
    if let Some(policy) = &spec.success_policy {
        if policy.rules.is_empty() || policy.rules.len() > MAX_RULES {
            messages.push(format!("{at}.successPolicy must have 1 to {MAX_RULES} rules"));
        }
        for (place, rule) in policy.rules.iter().enumerate() {
            messages.extend(of_success_rule(rule, spec.completions, &format!("{at}.successPolicy.rules[{place}]")));
        }
    }
    messages
}

fn of_failure_rule(rule: &PodFailurePolicyRule, spec: &JobSpec, at: &str) -> Vec<String> {
    let mut messages = Vec::new();
    match rule.action.as_str() {
        "FailJob" | "Ignore" | "Count" => {}
        "FailIndex" if spec.backoff_limit_per_index.is_some() => {}
        "FailIndex" => messages.push(format!("{at}.action FailIndex requires backoffLimitPerIndex")),
        action => messages.push(format!("{at}.action {action:?} must be FailJob, FailIndex, Ignore or Count")),
    }
    let conditions = rule.on_pod_conditions.as_deref().unwrap_or_default();
    if rule.on_exit_codes.is_some() != conditions.is_empty() {
        messages.push(format!("{at} must have either onExitCodes or onPodConditions"));
    }
    if let Some(codes) = &rule.on_exit_codes {
        let path = format!("{at}.onExitCodes");
        let pod = spec.template.spec.as_ref();
        let inits = pod.iter().flat_map(|pod| pod.init_containers.iter().flatten());
        let mut containers = pod.iter().flat_map(|pod| &pod.containers).chain(inits).map(|container| &container.name);
        if let Some(name) = codes.container_name.as_ref().filter(|name| !containers.any(|known| known == *name)) {
            messages.push(format!("{path}.containerName {name:?} is not the name of a container"));
        }
        if !matches!(codes.operator.as_str(), "In" | "NotIn") {
            messages.push(format!("{path}.operator {:?} must be In or NotIn", codes.operator));
        }
        if codes.values.is_empty() || codes.values.len() > MAX_EXIT_CODES {
            messages.push(format!("{path}.values must have 1 to {MAX_EXIT_CODES} exit codes"));
        }
        if codes.operator == "In" && codes.values.contains(&0) {
            messages.push(format!("{path}.values must not contain 0 with operator: In"));
        }
        if !codes.values.is_sorted_by(|one, other| one < other) {
            messages.push(format!("{path}.values must be in ascending order, each once"));
        }
    }
    if conditions.len() > MAX_RULES {
        messages.push(format!("{at}.onPodConditions must have at most {MAX_RULES} conditions"));
    }
    for (place, condition) in conditions.iter().enumerate() {
        let path = format!("{at}.onPodConditions[{place}]");
        if !is_qualified_name(&condition.type_) {
            messages.push(format!("{path}.type {:?} is not the type of a condition", condition.type_));
        }
        let status = condition.status.as_deref().unwrap_or_default();
        if !matches!(status, "" | "True" | "False" | "Unknown") {
            messages.push(format!("{path}.status {status:?} must be True, False or Unknown"));
        }
    }
    messages
}

fn of_success_rule(rule: &SuccessPolicyRule, completions: Option<i32>, at: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if rule.succeeded_count.is_none() && rule.succeeded_indexes.is_none() {
        messages.push(format!("{at} must have succeededCount, succeededIndexes or both"));
    }
    let most = completions.unwrap_or_default();
    let mut count = most;
    if let Some(text) = &rule.succeeded_indexes {
        match number_of_indexes(text, most) {
            Some(number) => count = number,
            None => messages.push(format!(
                "{at}.succeededIndexes {text:?} must have ascending indexes below completions, such as 0,2-4"
            )),
        }
    }
    if let Some(wanted) = rule.succeeded_count {
        if wanted < 0 {
            messages.push(format!("{at}.succeededCount must not be negative"));
        } else if wanted > count {
            messages.push(format!("{at}.succeededCount must be at most {count}, the number of its indexes"));
        }
    }
    messages
}

/// Returns the number of indexes in a list such as `0,2-4`. `None` if the list is invalid, or has an index that is not
/// below `completions`.
fn number_of_indexes(text: &str, completions: i32) -> Option<i32> {
    let (mut count, mut next) = (0, 0);
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (i32, i32) = (first.parse().ok()?, last.parse().ok()?);
        let interval = part.contains('-');
        if first < next || last >= completions || interval && last <= first || first > last {
            return None;
        }
        next = last + 1;
        count += last - first + 1;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_ascending_and_below_the_completions() {
        for (text, count) in [("0", 1), ("0,2-4", 4), ("1-3,4", 4)] {
            assert_eq!(number_of_indexes(text, 5), Some(count), "{text}");
        }
        for text in ["", "5", "3-1", "2,1", "0-5", "1-1", "a", "0,,1", "-1", "1,1"] {
            assert_eq!(number_of_indexes(text, 5), None, "{text}");
        }
    }
}
