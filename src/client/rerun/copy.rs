//! The Job that repeats another Job: the same template under a new name, without what the API server and the
//! controllers have written.

use serde_json::{Value, json};
use thiserror::Error;

/// Annotation of a Job that repeats another one: the name of that Job.
pub(crate) const RERUN_OF_ANNOTATION: &str = "jobwright.dev/rerun-of";
/// Annotation of a Job that repeats another one: the UID of that Job.
pub(crate) const RERUN_OF_UID_ANNOTATION: &str = "jobwright.dev/rerun-of-uid";

/// Part of the name of a repeated Job, before its random letters.
const INFIX: &str = "-rerun-";
/// Number of random letters at the end of a name.
pub(crate) const LETTERS: usize = 5;
/// Longest name of a Job: its pods carry the name in a label, and their names get six further characters.
const LONGEST_NAME: usize = 57;

/// Labels that belong to one Job and its pods.
const GENERATED_LABELS: &[&str] = &[
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "controller-uid",
    "job-name",
    // The Job would count as one of the backfill.
    crate::schedule::backfill::LABEL,
];
/// Annotations that belong to one run.
const ANNOTATIONS_OF_A_RUN: &[&str] = &[
    "batch.kubernetes.io/cronjob-scheduled-timestamp",
    "batch.kubernetes.io/job-tracking",
    "cronjob.kubernetes.io/instantiate",
    "kubectl.kubernetes.io/last-applied-configuration",
    RERUN_OF_ANNOTATION,
    RERUN_OF_UID_ANNOTATION,
    crate::job::FAILURE_ANNOTATION,
    crate::job::admission::WAITING_ANNOTATION,
];

/// Reason why a Job cannot be repeated.
#[derive(Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub(crate) enum CopyError {
    #[error("the Job is not finished; wait for its end, or give --force to run both")]
    Unfinished,
}

/// Job that repeats another one, and what differs from the old Job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Copy {
    /// The new Job.
    pub job: Value,
    /// Notes for the user about parts that were left out.
    pub notes: Vec<String>,
}

/// Returns the name of a Job that repeats the Job `old`. The name of a repeated Job does not grow with each repetition.
pub(crate) fn name(old: &str, letters: &str) -> String {
    let base = match old.rsplit_once(INFIX) {
        Some((base, last)) if last.len() == LETTERS && !base.is_empty() => base,
        _ => old,
    };
    let base: String = base.chars().take(LONGEST_NAME - INFIX.len() - LETTERS).collect();
    format!("{}{INFIX}{letters}", base.trim_end_matches(['-', '.']))
}

/// Returns the Job that repeats `old` under this name. With `force`, an unfinished Job is repeated too.
///
/// # Errors
/// The Job is not finished.
pub(crate) fn copy(old: &Value, name: &str, force: bool) -> Result<Copy, CopyError> {
    if !force && !is_finished(old) {
        return Err(CopyError::Unfinished);
    }
    let mut notes = Vec::new();
    let meta = &old["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (owners, dropped) = owners(meta);
    notes.extend(dropped);
    let mut annotations = without(&meta["annotations"], ANNOTATIONS_OF_A_RUN);
    annotations[RERUN_OF_ANNOTATION] = json!(text(&meta["name"]));
    annotations[RERUN_OF_UID_ANNOTATION] = json!(text(&meta["uid"]));
    if !owners.is_empty() {
        // The CronJob controller and `kubectl get` treat the Job as one that a user has started.
        annotations["cronjob.kubernetes.io/instantiate"] = json!("manual");
    }
    let mut metadata = json!({"name": name, "namespace": meta["namespace"], "annotations": annotations});
    let labels = without(&meta["labels"], GENERATED_LABELS);
    if labels.as_object().is_some_and(|labels| !labels.is_empty()) {
        metadata["labels"] = labels;
    }
    if !owners.is_empty() {
        metadata["ownerReferences"] = json!(owners);
    }
    let mut spec = old["spec"].clone();
    if spec["manualSelector"] == json!(true) {
        notes.push(
            "spec.selector is generated for the new Job, because the old one selects the pods of the old Job"
                .to_owned(),
        );
    }
    if let Some(fields) = spec.as_object_mut() {
        // A selector of the old Job would select the pods of the old Job.
        for field in ["selector", "manualSelector", "suspend"] {
            fields.remove(field);
        }
    }
    let template = &mut spec["template"]["metadata"];
    if template.is_object() {
        template["labels"] = without(&template["labels"], GENERATED_LABELS);
        if let Some(fields) = template.as_object_mut() {
            fields.retain(|name, value| name != "creationTimestamp" && !is_empty(value));
        }
    }
    if is_empty(&spec["template"]["metadata"])
        && let Some(fields) = spec["template"].as_object_mut()
    {
        fields.remove("metadata");
    }
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec});
    Ok(Copy { job, notes })
}

fn is_finished(job: &Value) -> bool {
    let conditions = job["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| {
        condition["status"] == "True" && (condition["type"] == "Complete" || condition["type"] == "Failed")
    })
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}

/// Returns the fields of an object without these.
fn without(object: &Value, names: &[&str]) -> Value {
    let fields = object.as_object().cloned().unwrap_or_default();
    fields.into_iter().filter(|(name, _)| !names.contains(&name.as_str())).collect()
}

/// Returns the owners that the new Job keeps, and a note about the others. A CronJob and a JobSchedule own Jobs that a
/// user starts, as `kubectl create job --from` and `jobwright trigger` start them. Any other owner creates its Jobs
/// itself and would delete one that it does not know, or count it as its own.
fn owners(meta: &Value) -> (Vec<Value>, Option<String>) {
    let owners = meta["ownerReferences"].as_array().cloned().unwrap_or_default();
    let is_schedule = |owner: &Value| {
        let group = owner["apiVersion"].as_str().unwrap_or_default().split('/').next().unwrap_or_default();
        matches!((group, owner["kind"].as_str()), ("batch", Some("CronJob")) | ("jobwright.dev", Some("JobSchedule")))
    };
    let (kept, dropped): (Vec<Value>, Vec<Value>) = owners.into_iter().partition(is_schedule);
    let kept = kept.into_iter().map(|owner| without(&owner, &["blockOwnerDeletion"])).collect();
    let names: Vec<String> = dropped
        .iter()
        .map(|owner| {
            format!("{}/{}", owner["kind"].as_str().unwrap_or_default(), owner["name"].as_str().unwrap_or_default())
        })
        .collect();
    let note = format!("the owner {} is not kept: it creates its Jobs on its own", names.join(", "));
    (kept, (!names.is_empty()).then_some(note))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old(change: impl Fn(&mut Value)) -> Value {
        let generated = json!({"batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "a", "controller-uid": "u", "job-name": "a", "app": "x"});
        let mut job = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {
                "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": generated, "finalizers": ["foregroundDeletion"], "managedFields": [],
                "annotations": {"note": "b", "jobwright.dev/failure": "{}", "batch.kubernetes.io/job-tracking": ""},
            },
            "spec": {
                "completions": 3, "newField": 1, "suspend": false, "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
                "template": {"metadata": {"creationTimestamp": null, "labels": generated}, "spec": {"containers": []}},
            },
            "status": {"conditions": [{"type": "Failed", "status": "True"}]},
        });
        change(&mut job);
        job
    }

    #[test]
    fn generated_parts_of_the_old_job_are_left_out() {
        let copied = copy(&old(|_| {}), "b", false).unwrap();
        assert_eq!(copied.notes, Vec::<String>::new());
        assert_eq!(
            copied.job,
            json!({
                "apiVersion": "batch/v1", "kind": "Job",
                "metadata": {
                    "name": "b", "namespace": "n", "labels": {"app": "x"},
                    "annotations": {"note": "b", "jobwright.dev/rerun-of": "a", "jobwright.dev/rerun-of-uid": "u"},
                },
                "spec": {"completions": 3, "newField": 1, "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": []}}},
            })
        );
        let plain = |job: &mut Value| job["spec"]["template"]["metadata"] = json!({"creationTimestamp": null});
        assert_eq!(copy(&old(plain), "b", false).unwrap().job["spec"]["template"], json!({"spec": {"containers": []}}));
        let manual = copy(&old(|job| job["spec"]["manualSelector"] = json!(true)), "b", false).unwrap();
        assert!(
            manual.job["spec"]["manualSelector"].is_null() && manual.notes[0].contains("spec.selector"),
            "{manual:?}"
        );
    }

    #[test]
    fn owner_that_starts_jobs_for_users_is_kept() {
        let owner = |version: &str, kind: &str| json!({"apiVersion": version, "kind": kind, "name": "o", "uid": "o", "controller": true, "blockOwnerDeletion": true});
        let copied =
            |owner: Value| copy(&old(|job| job["metadata"]["ownerReferences"] = json!([owner])), "b", false).unwrap();
        for (version, kind) in [("batch/v1", "CronJob"), ("jobwright.dev/v1beta1", "JobSchedule")] {
            let copied = copied(owner(version, kind));
            let kept = json!([{"apiVersion": version, "kind": kind, "name": "o", "uid": "o", "controller": true}]);
            assert_eq!(copied.job["metadata"]["ownerReferences"], kept);
            assert_eq!(copied.job["metadata"]["annotations"]["cronjob.kubernetes.io/instantiate"], "manual");
        }
        let other = copied(owner("jobset.x-k8s.io/v1alpha2", "JobSet"));
        assert!(other.job["metadata"]["ownerReferences"].is_null(), "{other:?}");
        assert_eq!(other.notes, ["the owner JobSet/o is not kept: it creates its Jobs on its own"]);
    }

    #[test]
    fn unfinished_job_is_repeated_with_force_only() {
        let running = old(|job| job["status"] = json!({"active": 1}));
        assert_eq!(copy(&running, "b", false), Err(CopyError::Unfinished));
        assert!(copy(&running, "b", true).is_ok());
        let ending = old(|job| job["status"]["conditions"][0]["type"] = json!("FailureTarget"));
        assert_eq!(copy(&ending, "b", false), Err(CopyError::Unfinished));
    }

    #[test]
    fn name_does_not_grow_with_each_repetition() {
        assert_eq!(name("etl", "abcde"), "etl-rerun-abcde");
        assert_eq!(name("etl-rerun-xyzzz", "abcde"), "etl-rerun-abcde");
        assert_eq!(name("etl-rerun-long-name", "abcde"), "etl-rerun-long-name-rerun-abcde");
        let long = name(&format!("{}-x", "n".repeat(44)), "abcde");
        assert_eq!((long.len(), long.as_str()), (56, format!("{}-rerun-abcde", "n".repeat(44)).as_str()));
    }
}
