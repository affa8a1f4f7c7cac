//! A label selector, parsed for the labels of views.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::Expression;

use super::Labels;

/// A label selector. The default one selects all objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Labels that an object must have (`matchLabels`).
    labels: Labels,
    /// Other conditions (`matchExpressions`).
    expressions: Box<[Expression]>,
}

impl Selector {
    /// Parses a selector. Returns `None` if the selector is not valid.
    pub fn parse(selector: LabelSelector) -> Option<Self> {
        let match_labels: BTreeMap<String, String> = selector.match_labels.unwrap_or_default();
        let count = match_labels.len();
        let labels: Labels = match_labels.into_iter().collect();
        let expressions = selector.match_expressions.into_iter().flatten().map(Expression::try_from);
        let expressions = expressions.collect::<Result<_, _>>().ok()?;
        (labels.iter().count() == count).then_some(Self { labels, expressions })
    }

    /// Returns the number of requirements. A selector with more of them is more specific.
    pub fn requirements(&self) -> usize {
        self.labels.iter().count() + self.expressions.len()
    }

    /// Returns whether the selector selects an object with these labels.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.labels.is_subset(labels) && self.expressions.iter().all(|expression| holds(expression, labels))
    }
}

fn holds(expression: &Expression, labels: &Labels) -> bool {
    let is = |key: &str, value: &str| labels.get(key).is_some_and(|is| is == *value);
    let is_among = |key: &str, values: &std::collections::BTreeSet<String>| {
        labels.get(key).is_some_and(|value| values.contains(&*value))
    };
    match expression {
        Expression::In(key, values) => is_among(key, values),
        Expression::NotIn(key, values) => !is_among(key, values),
        Expression::Equal(key, value) => is(key, value),
        Expression::NotEqual(key, value) => !is(key, value),
        Expression::Exists(key) => labels.contains_key(key),
        Expression::DoesNotExist(key) => !labels.contains_key(key),
    }
}

/// The text for the query parameter `labelSelector`.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.labels.iter().map(|(key, value)| format!("{key}={value}"));
        let all: Vec<String> = labels.chain(self.expressions.iter().map(Expression::to_string)).collect();
        f.write_str(&all.join(","))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;
    use kube::core::SelectorExt;
    use proptest::prelude::*;

    use super::*;

    fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
        prop::collection::btree_map("[a-c]|job-name|batch\\.kubernetes\\.io/job-completion-index", "[0-2]", 0..4)
    }

    fn requirement() -> impl Strategy<Value = LabelSelectorRequirement> {
        let operator = prop::sample::select(vec!["In", "NotIn", "Exists", "DoesNotExist", "Gt"]);
        let values = prop::option::of(prop::collection::vec("[0-2]", 0..3));
        ("[a-c]", operator, values).prop_map(|(key, operator, values)| LabelSelectorRequirement {
            key,
            operator: operator.to_owned(),
            values,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn selector_matches_as_that_of_kube(
            match_labels in prop::option::of(labels()),
            match_expressions in prop::option::of(prop::collection::vec(requirement(), 0..3)),
            objects in prop::collection::vec(labels(), 4),
        ) {
            let selector = LabelSelector { match_labels, match_expressions };
            let reference = kube::core::Selector::try_from(selector.clone()).ok();
            let parsed = Selector::parse(selector);
            prop_assert_eq!(parsed.is_some(), reference.is_some());
            if let (Some(parsed), Some(reference)) = (parsed, reference) {
                for object in objects {
                    prop_assert_eq!(parsed.matches(&Labels::shared(Some(&object))), reference.matches(&object));
                }
                let parts = |text: String| text.split(',').map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
                prop_assert_eq!(parts(parsed.to_string()), parts(reference.to_string()));
            }
        }
    }

    #[test]
    fn default_selector_matches_everything_and_an_invalid_label_makes_a_selector_invalid() {
        assert!(Selector::default().matches(&Labels::default()));
        let invalid = LabelSelector { match_labels: Some([("a".into(), "\0".into())].into()), match_expressions: None };
        assert_eq!(Selector::parse(invalid), None);
    }
}
