//! The choice of the JobPolicy that governs a Job.

use std::cmp::Reverse;
use std::sync::Arc;

use super::view::PolicyView;
use crate::job::view::Labels;

/// The policy that governs a Job, if one does.
#[derive(Clone, Debug)]
pub enum Choice {
    /// No policy of the namespace selects the Job.
    Nothing,
    /// The policy that the Job names does not exist in its namespace, or is not valid.
    Missing,
    /// This policy of the namespace.
    Policy(Arc<PolicyView>),
}

/// Returns the policy among those of the namespace of a Job that governs it. The Job may name one. Otherwise, the policy
/// whose selector has the most requirements comes first, and then the first name.
pub fn choose(policies: &[Arc<PolicyView>], labels: &Labels, named: Option<&str>) -> Choice {
    if let Some(name) = named {
        let found = policies.iter().find(|policy| &*policy.identity.name == name && policy.rules.is_some());
        return found.map_or(Choice::Missing, |policy| Choice::Policy(policy.clone()));
    }
    let selecting = policies.iter().filter(|policy| policy.covers(labels));
    let chosen = selecting.max_by_key(|policy| (policy.selector.requirements(), Reverse(policy.identity.name.clone())));
    chosen.map_or(Choice::Nothing, |policy| Choice::Policy(policy.clone()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::policy;
    use super::*;

    #[test]
    fn named_policy_comes_first_and_then_the_most_specific_one() {
        let selecting = |name, labels| policy(name, &json!({"selector": {"matchLabels": labels}, "logTailLines": 1}));
        let policies = [
            policy("all", &json!({"logTailLines": 1})),
            selecting("team", json!({"team": "a"})),
            selecting("team-2", json!({"team": "a"})),
            selecting("tier", json!({"team": "a", "tier": "batch"})),
            policy("invalid", &json!({"logTailLines": "x"})),
        ]
        .map(Arc::new);
        let chosen = |labels: &[(&str, &str)], named| {
            let labels: Labels = labels.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
            match choose(&policies, &labels, named) {
                Choice::Nothing => "nothing".to_owned(),
                Choice::Missing => "missing".to_owned(),
                Choice::Policy(policy) => policy.identity.name.to_string(),
            }
        };
        let cases = [
            (&[][..], None, "all"),
            (&[("team", "b")], None, "all"),
            (&[("team", "a")], None, "team"),
            (&[("team", "a"), ("tier", "batch")], None, "tier"),
            (&[("team", "a"), ("tier", "batch")], Some("all"), "all"),
            (&[], Some("tier"), "tier"),
            (&[("team", "a")], Some("none"), "missing"),
            (&[("team", "a")], Some("invalid"), "missing"),
        ];
        for (labels, named, expected) in cases {
            assert_eq!(chosen(labels, named), expected, "{labels:?} {named:?}");
        }
        assert!(matches!(choose(&policies[1..2], &Labels::default(), None), Choice::Nothing));
    }
}
