//! The annotation that lists the indexes of an Indexed Job.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::JobSpec;

use super::rules::{Finding, UNKNOWN_ANNOTATION, found};
use crate::client::index_subset::subset;
use crate::job::view::index_subset::IndexSubset;

/// Returns the finding for a list of indexes that is invalid for this Job. `prefix` is the path of the Job in its
/// object, such as `spec.jobTemplate.`.
pub(super) fn of_indexes(
    annotations: Option<&BTreeMap<String, String>>,
    spec: &JobSpec,
    prefix: &str,
) -> Option<Finding> {
    match subset(annotations, spec)? {
        IndexSubset::Listed(_) => None,
        IndexSubset::Invalid(problem) => {
            Some(found(&UNKNOWN_ANNOTATION, format!("{prefix}{problem}; the Job gets no pods")))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::job::view::index_subset::INDEXES_ANNOTATION;

    fn message(listed: &str, mode: &str) -> Option<String> {
        let spec = json!({"completionMode": mode, "completions": 10, "template": {"spec": {"containers": []}}});
        let annotations = [(INDEXES_ANNOTATION.to_owned(), listed.to_owned())].into();
        let spec = serde_json::from_value(spec).expect("a spec");
        of_indexes(Some(&annotations), &spec, "spec.jobTemplate.").map(|finding| finding.message)
    }

    #[test]
    fn invalid_list_of_indexes_is_reported_with_its_path() {
        assert_eq!(message("3,7-9", "Indexed"), None);
        for (listed, mode) in [("7-3", "Indexed"), ("10", "Indexed"), ("", "Indexed"), ("3", "NonIndexed")] {
            let message = message(listed, mode).expect("a finding");
            assert!(message.starts_with("spec.jobTemplate.metadata.annotations[jobwright.dev/indexes]: "), "{message}");
            assert!(message.ends_with("the Job gets no pods"), "{message}");
        }
    }
}
