//! `spec.podFailurePolicy` and `spec.successPolicy`, parsed.

use k8s_openapi::api::batch::v1::{PodFailurePolicy, PodFailurePolicyRule, SuccessPolicy};

use crate::job::index::IndexSet;

/// What a pod failure of a kind means
/// ([KEP-3329](https://github.com/kubernetes/enhancements/tree/master/keps/sig-apps/3329-retriable-and-non-retriable-failures)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureRule {
    /// Its place in the policy, for messages.
    pub number: usize,
    /// What to do.
    pub action: FailureAction,
    /// Which failures it is about.
    pub on: FailureMatch,
}

/// What to do about a pod failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureAction {
    /// Fail the Job.
    FailJob,
    /// Fail the pod's index.
    FailIndex,
    /// Replace the pod without counting its failure.
    Ignore,
    /// Count it, as without a policy.
    Count,
}

impl FailureAction {
    /// The API's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::FailJob => "FailJob",
            Self::FailIndex => "FailIndex",
            Self::Ignore => "Ignore",
            Self::Count => "Count",
        }
    }
}

/// Which pod failures a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureMatch {
    /// A container ended with one of these exit codes, or (`among` is false) with another than 0 and these.
    ExitCodes {
        /// This container only.
        container: Option<String>,
        /// `In`, not `NotIn`.
        among: bool,
        /// The exit codes.
        codes: Vec<i32>,
    },
    /// The pod has a condition of one of these types and statuses.
    Conditions(Vec<(String, String)>),
}

impl FailureRule {
    /// The rules of a policy. One of a kind this controller does not know matches nothing, as in the built-in one.
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

/// Which successes make the Job a success
/// ([KEP-3998](https://github.com/kubernetes/enhancements/tree/master/keps/sig-apps/3998-job-success-completion-policy)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuccessRule {
    /// These indexes; none for any.
    pub indexes: Option<IndexSet>,
    /// So many of them; none for all.
    pub count: Option<u64>,
}

impl SuccessRule {
    /// The rules of a policy of a Job of so many indexes.
    pub fn parse_all(policy: SuccessPolicy, completions: u32) -> Vec<Self> {
        let rules = policy.rules.into_iter().map(|rule| Self {
            indexes: rule.succeeded_indexes.map(|text| IndexSet::parse(&text, completions)),
            count: rule.succeeded_count.map(|count| count.try_into().unwrap_or_default()),
        });
        rules.collect()
    }
}
