//! The indexes of an Indexed Job that a repeated Job runs: those that failed, and those that never completed.

use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use serde_json::{Value, json};
use thiserror::Error;

use crate::client::cluster::end;
use crate::client::index_subset::{completions, subset};
use crate::client::leases::Leases;
use crate::job::index::IndexSet;
use crate::job::view::index_subset::{INDEXES_ANNOTATION, IndexSubset};

/// Reason why the failed indexes of a Job cannot be repeated.
#[derive(Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub(crate) enum FailedIndexesError {
    #[error("the Job is not Indexed (spec.completionMode), so it has no failed indexes; leave out --failed-indexes")]
    NotIndexed,
    #[error("the Job is complete; no index has to run again")]
    Complete,
    #[error("no index of the Job has failed yet (status.failedIndexes is empty); wait for its end")]
    NoneFailedYet,
    #[error("all {0} indexes of the Job have succeeded, so no index has to run again")]
    NoneLeft(u64),
    #[error("{0}")]
    InvalidList(String),
    #[error(
        "spec.managedBy is {0}, and only Jobwright runs some of the indexes; --failed-indexes is for Jobs that Jobwright runs"
    )]
    ManagedExternally(String),
    #[error(
        "spec.managedBy is not set, and no Lease of a Jobwright that claims all Jobs (--claim=all) was found; the built-in \
         controller would run all indexes"
    )]
    BuiltIn,
    #[error(
        "spec.managedBy is not set, and whether Jobwright runs the Job is not known, because a Lease cannot be read: {0}"
    )]
    Unknown(String),
}

/// Checks that Jobwright runs Jobs with the `spec.managedBy` of this Job. The built-in controller ignores the annotation
/// that lists the indexes, and would run all of them.
///
/// # Errors
/// Another controller runs the Job, or the controller is not known.
pub(crate) fn check_controller(old: &Job, leases: &Leases) -> Result<(), FailedIndexesError> {
    let managed_by = old.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
    match (leases.is_run_by_jobwright(managed_by), leases.error(), managed_by) {
        (true, ..) => Ok(()),
        (false, _, Some(other)) => Err(FailedIndexesError::ManagedExternally(other.to_owned())),
        (false, Some(error), None) => Err(FailedIndexesError::Unknown(error.to_owned())),
        (false, None, None) => Err(FailedIndexesError::BuiltIn),
    }
}

/// Makes the new Job run the failed indexes of the old one alone, and returns notes for the user.
///
/// # Errors
/// The old Job has no failed index, or none is known.
pub(crate) fn select(old: &Job, new: &mut Value) -> Result<Vec<String>, FailedIndexesError> {
    let (spec, status) = (old.spec.clone().unwrap_or_default(), old.status.clone().unwrap_or_default());
    let failed = failed(old, &spec, &status)?;
    new["metadata"]["annotations"][INDEXES_ANNOTATION] = json!(failed.to_string());
    // Kueue reserves as many pods as spec.parallelism, and waits until all of them are ready.
    let count = i32::try_from(failed.len()).unwrap_or(i32::MAX);
    if spec.parallelism.is_some_and(|parallelism| parallelism > count) {
        new["spec"]["parallelism"] = json!(count);
    }
    let completions = spec.completions.unwrap_or_default();
    let mut notes = vec![format!("the new Job runs {} of {completions} indexes: {failed}", failed.len())];
    if spec.success_policy.is_some() {
        notes.push("spec.successPolicy counts the successes of the new Job alone".to_owned());
    }
    Ok(notes)
}

/// Returns the indexes that failed and, if the Job is finished, those that never completed.
fn failed(old: &Job, spec: &JobSpec, status: &JobStatus) -> Result<IndexSet, FailedIndexesError> {
    if spec.completion_mode.as_deref() != Some("Indexed") {
        return Err(FailedIndexesError::NotIndexed);
    }
    let completions = completions(spec);
    let stored = |text: &Option<String>| IndexSet::parse(text.as_deref().unwrap_or_default(), completions);
    let (completed, failed) = (stored(&status.completed_indexes), stored(&status.failed_indexes));
    match end(status) {
        None if failed.is_empty() => return Err(FailedIndexesError::NoneFailedYet),
        // The other indexes are still running.
        None => return Ok(failed),
        Some(end) if end.type_ == "Complete" => return Err(FailedIndexesError::Complete),
        Some(_) => {}
    }
    let listed = match subset(old.metadata.annotations.as_ref(), spec) {
        Some(IndexSubset::Listed(listed)) => listed,
        Some(IndexSubset::Invalid(problem)) => return Err(FailedIndexesError::InvalidList(problem.into())),
        None => IndexSet::default().complement(completions),
    };
    // An index that has not completed is not in the complement of the listed ones either.
    let left = listed.complement(completions).union(&completed).complement(completions);
    if left.is_empty() { Err(FailedIndexesError::NoneLeft(listed.len())) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::leases::{JOBWRIGHT, LeaseState};
    use crate::job::managed_by::MANAGED_BY;

    fn job(change: impl FnOnce(&mut Value)) -> Job {
        let mut job = json!({
            "metadata": {"name": "a", "annotations": {}},
            "spec": {
                "completionMode": "Indexed", "completions": 10, "parallelism": 5,
                "template": {"spec": {"containers": []}},
            },
            "status": {
                "conditions": [{"type": "Failed", "status": "True"}],
                "completedIndexes": "0-2,4-6", "failedIndexes": "3",
            },
        });
        change(&mut job);
        serde_json::from_value(job).unwrap()
    }

    fn selected(old: &Job) -> Result<(String, i64), FailedIndexesError> {
        let mut new =
            json!({"metadata": {"annotations": {}}, "spec": {"parallelism": old.spec.as_ref().unwrap().parallelism}});
        select(old, &mut new)?;
        let listed = new["metadata"]["annotations"][INDEXES_ANNOTATION].as_str().unwrap().to_owned();
        Ok((listed, new["spec"]["parallelism"].as_i64().unwrap()))
    }

    #[test]
    fn failed_indexes_and_those_that_never_completed_are_listed() {
        assert_eq!(selected(&job(|_| {})), Ok(("3,7-9".to_owned(), 4)));
        let few = job(|job| job["spec"]["parallelism"] = json!(2));
        assert_eq!(selected(&few), Ok(("3,7-9".to_owned(), 2)));
        let none_completed = job(|job| job["status"]["completedIndexes"] = Value::Null);
        assert_eq!(selected(&none_completed), Ok(("0-9".to_owned(), 5)));
        let running = job(|job| job["status"]["conditions"] = json!([]));
        assert_eq!(selected(&running), Ok(("3".to_owned(), 1)), "the other indexes may still run");
    }

    #[test]
    fn rerun_of_a_rerun_stays_within_its_list() {
        let listed = |text: &str| job(|job| job["metadata"]["annotations"][INDEXES_ANNOTATION] = json!(text));
        assert_eq!(selected(&listed("2-4,8")), Ok(("3,8".to_owned(), 2)));
        assert_eq!(selected(&listed("0-2")), Err(FailedIndexesError::NoneLeft(3)));
        assert!(matches!(selected(&listed("12")), Err(FailedIndexesError::InvalidList(_))));
    }

    #[test]
    fn job_without_failed_indexes_is_refused_with_the_reason() {
        let plain = job(|job| job["spec"]["completionMode"] = json!("NonIndexed"));
        assert_eq!(selected(&plain), Err(FailedIndexesError::NotIndexed));
        let complete = job(|job| job["status"]["conditions"][0]["type"] = json!("Complete"));
        assert_eq!(selected(&complete), Err(FailedIndexesError::Complete));
        let running = job(|job| job["status"] = json!({"completedIndexes": "0"}));
        assert_eq!(selected(&running), Err(FailedIndexesError::NoneFailedYet));
        let late = job(|job| job["status"]["completedIndexes"] = json!("0-9"));
        assert_eq!(
            selected(&late),
            Err(FailedIndexesError::NoneLeft(10)),
            "the deadline passed after the last success"
        );
    }

    #[test]
    fn job_of_another_controller_is_refused() {
        let managed_by = |name: Value| job(|job| job["spec"]["managedBy"] = name);
        let lease = LeaseState {
            namespace: "kube-system".to_owned(),
            name: JOBWRIGHT.to_owned(),
            holder: None,
            installation: None,
            claim: Some("all".to_owned()),
            renewed: None,
            duration: jiff::SignedDuration::from_secs(15),
        };
        let all = || Leases { found: vec![lease.clone()], ..Leases::default() };
        let check = |name: Value, leases: Leases| check_controller(&managed_by(name), &leases);
        assert_eq!(check(json!(MANAGED_BY), Leases::default()), Ok(()));
        assert_eq!(check(Value::Null, all()), Ok(()));
        assert_eq!(check(Value::Null, Leases::default()), Err(FailedIndexesError::BuiltIn));
        let unread = Leases { unread: Some("forbidden".to_owned()), ..Leases::default() };
        assert_eq!(check(Value::Null, unread), Err(FailedIndexesError::Unknown("forbidden".to_owned())));
        let other = "kueue.x-k8s.io/multikueue";
        assert_eq!(check(json!(other), all()), Err(FailedIndexesError::ManagedExternally(other.to_owned())));
    }
}
