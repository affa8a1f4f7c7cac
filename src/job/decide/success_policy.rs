//! `spec.successPolicy`: an Indexed Job can succeed before all of its indexes have succeeded
//! ([KEP-3998](https://github.com/kubernetes/enhancements/tree/master/keps/sig-apps/3998-job-success-completion-policy)).

use crate::job::index::IndexSet;
use crate::job::view::JobView;
use crate::job::view::policies::SuccessRule;

/// Returns the position of the first rule that the succeeded indexes fulfil.
pub fn matched(job: &JobView, succeeded: &IndexSet) -> Option<usize> {
    if succeeded.is_empty() {
        return None;
    }
    job.spec.success_rules.as_ref()?.iter().position(|rule| is_fulfilled(rule, succeeded))
}

fn is_fulfilled(rule: &SuccessRule, succeeded: &IndexSet) -> bool {
    match &rule.indexes {
        // A rule whose indexes are all outside this Job is never fulfilled.
        Some(required) if required.is_empty() => false,
        Some(required) => {
            let done = required.overlap(succeeded);
            done == required.len() || rule.count.is_some_and(|count| done >= count)
        }
        None => rule.count.is_some_and(|count| succeeded.len() >= count),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::*;
    use super::*;

    #[test]
    fn first_fulfilled_rule_is_returned() {
        let rules = json!([
            {"succeededIndexes": "0,2-4", "succeededCount": 3},
            {"succeededIndexes": "9", "succeededCount": 1},
            {"succeededIndexes": "5,6"},
            {"succeededCount": 5},
        ]);
        let job = Job::new().indexed(8).success_rules(rules).view;
        let cases = [
            ("", None),
            ("0", None),
            ("0,2,3", Some(0)),
            ("0,2,5", None),
            ("5,6", Some(2)),
            ("0,1,2,5", None),
            ("0,1,2,5,7", Some(3)),
            ("0-7", Some(0)),
        ];
        for (succeeded, rule) in cases {
            assert_eq!(matched(&job, &IndexSet::parse(succeeded, 8)), rule, "{succeeded}");
        }
        assert_eq!(matched(&Job::new().indexed(8).view, &IndexSet::parse("0-7", 8)), None);
    }
}
