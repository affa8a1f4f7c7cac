//! Parsed rules of `spec.podFailurePolicy` and `spec.successPolicy`.

use k8s_openapi::api::batch::v1::{PodFailurePolicy, PodFailurePolicyRule, SuccessPolicy};

use crate::job::index::IndexSet;

/// A rule of `spec.podFailurePolicy`: the action for the pod failures that it matches
/// ([KEP-3329](https://github.com/kubernetes/enhancements/tree/master/keps/sig-apps/3329-retriable-and-non-retriable-failures)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureRule {
    /// Position of the rule in the policy, from 0, for messages.
    pub number: usize,
    /// Action for the matching failures.
    pub action: FailureAction,
    /// Failures that the rule matches.
    pub on: FailureMatch,
}

/// The action of a rule about pod failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureAction {
    /// Fail the Job.
    FailJob,
    /// Fail the pod's index.
    FailIndex,
    /// Replace the pod without counting its failure.
    Ignore,
    /// Count the failure, as without a policy.
    Count,
}

impl FailureAction {
    /// Returns the name of the action in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::FailJob => "FailJob",
            Self::FailIndex => "FailIndex",
            Self::Ignore => "Ignore",
            Self::Count => "Count",
        }
    }
}

/// The condition under which a rule matches a pod failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureMatch {
    /// A container ended with one of these exit codes or, if `among` is false, with an exit code that is neither 0 nor
    /// one of these.
    ExitCodes {
        /// Name of the only container that is compared. `None` stands for all containers.
        container: Option<String>,
        /// Whether the operator is `In`; otherwise it is `NotIn`.
        among: bool,
        /// The exit codes.
        codes: Vec<i32>,
    },
    /// The pod has a condition of one of these types and statuses.
    Conditions(Vec<(String, String)>),
}

impl FailureRule {
    /// Parses the rules of a policy. Rules with an unknown action, operator or match are left out, as in the built-in
    /// controller.
    pub fn parse_all(policy: PodFailurePolicy) -> Vec<Self> {
        policy.rules.into_iter().enumerate().filter_map(|(number, rule)| Self::parse(number, rule)).collect()
    }

    fn parse(number: usize, rule: PodFailurePolicyRule) -> Option<Self> {
        let action = match rule.action.as_str() {
            "FailJob" => FailureAction::FailJob,
            "FailIndex" => FailureAction::FailIndex,
            "Ignore" => FailureAction::Ignore,
            "Count" => FailureAction::Count,
            _ => return None,
        };
        let on = match (rule.on_exit_codes, rule.on_pod_conditions) {
            (Some(exit), _) => FailureMatch::ExitCodes {
                container: exit.container_name,
                among: match exit.operator.as_str() {
                    "In" => true,
                    "NotIn" => false,
                    _ => return None,
                },
                codes: exit.values,
            },
            (None, Some(patterns)) => {
                let parse = |status: Option<String>| status.unwrap_or_else(|| "True".to_owned());
                FailureMatch::Conditions(
                    patterns.into_iter().map(|pattern| (pattern.type_, parse(pattern.status))).collect(),
                )
            }
            (None, None) => return None,
        };
        Some(Self { number, action, on })
    }
}

/// A rule of `spec.successPolicy`: the indexes whose success makes the Job succeed
/// ([KEP-3998](https://github.com/kubernetes/enhancements/tree/master/keps/sig-apps/3998-job-success-completion-policy)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuccessRule {
    /// Indexes that count. `None` stands for all indexes of the Job.
    pub indexes: Option<IndexSet>,
    /// Number of these indexes that must succeed. `None` stands for all of them.
    pub count: Option<u64>,
}

impl SuccessRule {
    /// Parses the rules of a policy of a Job with this number of indexes.
    pub fn parse_all(policy: SuccessPolicy, completions: u32) -> Vec<Self> {
        let rules = policy.rules.into_iter().map(|rule| Self {
            indexes: rule.succeeded_indexes.map(|text| IndexSet::parse(&text, completions)),
            count: rule.succeeded_count.map(|count| count.try_into().unwrap_or_default()),
        });
        rules.collect()
    }
}
