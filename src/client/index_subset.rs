//! The annotation of a Job that lists the indexes to run, as the commands read it.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::JobSpec;

use crate::job::view::CompletionMode;
use crate::job::view::index_subset::IndexSubset;

/// Returns the indexes that the annotations of a Job with this spec list. `None` if the annotation is not set.
pub(crate) fn subset(annotations: Option<&BTreeMap<String, String>>, spec: &JobSpec) -> Option<IndexSubset> {
    let mode = match spec.completion_mode.as_deref() {
        Some("Indexed") => CompletionMode::Indexed,
        _ => CompletionMode::NonIndexed,
    };
    IndexSubset::parse(annotations, &mode, completions(spec))
}

/// Returns the number of indexes of an Indexed Job.
pub(crate) fn completions(spec: &JobSpec) -> u32 {
    spec.completions.and_then(|completions| completions.try_into().ok()).unwrap_or_default()
}
