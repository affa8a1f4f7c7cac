//! Defaults that the API server sets in new objects, and accessors of object fields.

use jobwright::job::{CONTROLLER_UID_LABEL, TRACKING_FINALIZER};
use serde_json::{Value, json};

use crate::store::Store;

const JOB_LABELS: [&str; 2] = [CONTROLLER_UID_LABEL, "controller-uid"];
const NAME_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

/// Sets the defaults, the generated selector and the labels of the pod template of a new Job.
pub fn new_job(job: &mut Value) {
    let (uid, name) = (job["metadata"]["uid"].clone(), job["metadata"]["name"].clone());
    let spec = &mut job["spec"];
    let alone = spec["parallelism"].is_null() && spec["completions"].is_null();
    let defaults = [
        ("parallelism", json!(1)),
        ("backoffLimit", json!(6)),
        ("completionMode", json!("NonIndexed")),
        ("suspend", json!(false)),
        ("podReplacementPolicy", json!("TerminatingOrFailed")),
    ];
    if alone {
        spec["completions"] = json!(1);
    }
    for (field, default) in defaults {
        if spec[field].is_null() {
            spec[field] = default;
        }
    }
    spec["selector"] = json!({"matchLabels": {CONTROLLER_UID_LABEL: uid}});
    for label in JOB_LABELS {
        spec["template"]["metadata"]["labels"][label] = uid.clone();
    }
    for label in NAME_LABELS {
        spec["template"]["metadata"]["labels"][label] = name.clone();
    }
    if job["status"].is_null() {
        job["status"] = json!({});
    }
}

/// Sets the defaults of the CRD in a new JobSchedule.
pub fn new_job_schedule(schedule: &mut Value) {
    let spec = &mut schedule["spec"];
    let defaults = [
        ("catchUp", json!("Latest")),
        ("concurrencyPolicy", json!("Allow")),
        ("dst", json!("Once")),
        ("suspend", json!(false)),
        ("successfulJobsHistoryLimit", json!(3)),
        ("failedJobsHistoryLimit", json!(1)),
        ("historyLimit", json!(10)),
    ];
    for (field, default) in defaults {
        if spec[field].is_null() {
            spec[field] = default;
        }
    }
}

/// Assigns a new pod to a node and sets its phase to Pending.
pub fn new_pod(pod: &mut Value, node: u64) {
    pod["spec"]["nodeName"] = format!("node-{node}").into();
    pod["status"] = json!({"phase": "Pending"});
}

/// Returns the UID of the controlling owner.
pub fn controller(object: &Value) -> Option<&str> {
    let references = object["metadata"]["ownerReferences"].as_array()?;
    references.iter().find(|reference| reference["controller"] == true)?["uid"].as_str()
}

/// Returns the number of owner references with `controller: true`.
pub fn controllers(object: &Value) -> usize {
    let references = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    references.filter(|reference| reference["controller"] == true).count()
}

/// Returns whether a pod is in a terminal phase.
pub fn is_finished(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// Returns whether an object is being deleted.
pub fn is_deleting(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// Returns whether a pod has the tracking finalizer.
pub fn is_tracked(pod: &Value) -> bool {
    has_finalizer(pod, TRACKING_FINALIZER)
}

/// Returns whether an object has this finalizer.
pub fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|all| all.iter().any(|one| one == finalizer))
}

/// Returns whether this condition of a Job is `True`.
pub fn has_condition(job: &Value, type_: &str) -> bool {
    let conditions = job["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == type_ && one["status"] == "True"))
}

/// Returns whether this condition of a Job is `False`.
pub fn is_condition_false(job: &Value, type_: &str) -> bool {
    let conditions = job["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == type_ && one["status"] == "False"))
}

/// Returns whether a Job is Complete or Failed.
pub fn is_over(job: &Value) -> bool {
    has_condition(job, "Complete") || has_condition(job, "Failed")
}

/// Returns whether the outcome of a Job is decided, even if the final condition is not written yet.
pub fn is_decided(job: &Value) -> bool {
    is_over(job) || has_condition(job, "FailureTarget") || has_condition(job, "SuccessCriteriaMet")
}

/// Returns whether a Job starts after other Jobs and one of them has not ended as it needs.
pub fn waits_for_jobs(job: &Value, store: &Store) -> bool {
    let after = job["metadata"]["annotations"]["jobwright.dev/after"].as_str();
    after.into_iter().flat_map(|after| after.split(',')).any(|entry| {
        let (name, ending) = entry.split_once(':').unwrap_or((entry, "succeeded"));
        let mut jobs = store.of("jobs").map(|(_, other)| other);
        let other = jobs.find(|other| other["metadata"]["name"].as_str() == name.strip_prefix("job/"));
        !other.is_some_and(|other| match ending {
            "failed" => has_condition(other, "Failed"),
            "finished" => is_over(other),
            _ => has_condition(other, "Complete"),
        })
    })
}

/// Returns the number at a JSON pointer, 0 if there is none.
pub fn number(object: &Value, path: &str) -> i64 {
    object.pointer(path).and_then(Value::as_i64).unwrap_or_default()
}

/// Parses a set of indexes such as `1,3-5`.
pub fn indexes(text: &Value) -> Vec<i64> {
    let text = text.as_str().unwrap_or_default();
    let parts = text.split(',').filter(|part| !part.is_empty());
    parts
        .flat_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.parse::<i64>().expect("an index set written by Jobwright");
            number(first)..=number(last)
        })
        .collect()
}

/// Returns the UIDs of the uncounted pods of a Job that are listed as `outcome`: `succeeded` or `failed`.
pub fn uncounted_as<'a>(job: &'a Value, outcome: &str) -> Vec<&'a str> {
    let list = &job["status"]["uncountedTerminatedPods"][outcome];
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Returns the UIDs of all uncounted pods of a Job.
pub fn uncounted(job: &Value) -> Vec<&str> {
    [uncounted_as(job, "succeeded"), uncounted_as(job, "failed")].concat()
}
