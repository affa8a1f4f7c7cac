//! Explains the annotation that lists the indexes of an Indexed Job.

use super::job::Facts;
use crate::client::cluster::end;
use crate::client::index_subset::{completions, subset};
use crate::job::view::index_subset::{INDEXES_ANNOTATION, IndexSubset};

/// Maximum number of characters of a list that an explanation repeats.
const MAX_SHOWN: usize = 120;

/// Returns which indexes the Job runs, if its annotation lists them and is valid.
pub(crate) fn listed(facts: &Facts<'_>) -> Option<String> {
    let job = facts.job;
    let spec = job.spec.as_ref()?;
    let subset = subset(job.metadata.annotations.as_ref(), spec)?;
    if is_ignored(facts) {
        return Some(format!(
            "The annotation {INDEXES_ANNOTATION} has no effect: the built-in controller runs all indexes."
        ));
    }
    let IndexSubset::Listed(listed) = subset else { return None };
    let completions = completions(spec);
    let text = listed.to_string();
    let shown: String = text.chars().take(MAX_SHOWN).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    let finished = job.status.as_ref().is_some_and(|status| end(status).is_some());
    let runs = if finished { "ran" } else { "runs" };
    Some(format!(
        "The Job {runs} {} of {completions} indexes: {shown}{more} (annotation {INDEXES_ANNOTATION}).",
        listed.len()
    ))
}

/// Returns the description of an invalid list, because of which an unfinished Job gets no pods.
pub(crate) fn problem(facts: &Facts<'_>) -> Option<String> {
    match subset(facts.job.metadata.annotations.as_ref(), facts.job.spec.as_ref()?)? {
        IndexSubset::Invalid(problem) if !is_ignored(facts) => Some(problem.into()),
        _ => None,
    }
}

/// Returns whether the built-in controller runs the Job.
fn is_ignored(facts: &Facts<'_>) -> bool {
    let managed_by = facts.job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
    let leases = facts.leases;
    let is_known = leases.error().is_none() && leases.found.iter().any(|lease| lease.is_builtin());
    is_known && !leases.is_run_by_jobwright(managed_by)
}
