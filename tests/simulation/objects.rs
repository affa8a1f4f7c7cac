//! What the API server makes of objects when they are created.

use jobwright::job::{CONTROLLER_UID_LABEL, TRACKING_FINALIZER};
use serde_json::{Value, json};

const JOB_LABELS: [&str; 2] = [CONTROLLER_UID_LABEL, "controller-uid"];
const NAME_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

/// Defaults, the generated selector and the labels of its pods.
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

/// The defaults of the resource's definition.
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

/// A pod that waits on its node.
pub fn new_pod(pod: &mut Value, node: u64) {
    pod["spec"]["nodeName"] = format!("node-{node}").into();
    pod["status"] = json!({"phase": "Pending"});
}

/// The UID of the controlling owner.
pub fn controller(object: &Value) -> Option<&str> {
    let references = object["metadata"]["ownerReferences"].as_array()?;
    references.iter().find(|reference| reference["controller"] == true)?["uid"].as_str()
}

/// How many owners say that they control an object.
pub fn controllers(object: &Value) -> usize {
    let references = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    references.filter(|reference| reference["controller"] == true).count()
}

/// Whether a pod has ended.
pub fn is_finished(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// Whether an object is being deleted.
pub fn is_deleting(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// Whether a pod has the finalizer it is counted by.
pub fn is_tracked(pod: &Value) -> bool {
    has_finalizer(pod, TRACKING_FINALIZER)
}

/// Whether an object has this finalizer.
pub fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|all| all.iter().any(|one| one == finalizer))
}

/// Whether a Job has this condition.
pub fn has_condition(job: &Value, type_: &str) -> bool {
    let conditions = job["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == type_ && one["status"] == "True"))
}

/// Whether a Job's conditions say that this one does not hold.
pub fn is_said_not(job: &Value, type_: &str) -> bool {
    let conditions = job["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == type_ && one["status"] == "False"))
}

/// Whether a Job is over.
pub fn is_over(job: &Value) -> bool {
    has_condition(job, "Complete") || has_condition(job, "Failed")
}

/// Whether a Job's outcome is decided.
pub fn is_decided(job: &Value) -> bool {
    is_over(job) || has_condition(job, "FailureTarget") || has_condition(job, "SuccessCriteriaMet")
}

/// A number of an object, 0 if there is none.
pub fn number(object: &Value, path: &str) -> i64 {
    object.pointer(path).and_then(Value::as_i64).unwrap_or_default()
}

/// The indexes that a text such as `1,3-5` names.
pub fn indexes(text: &Value) -> Vec<i64> {
    let text = text.as_str().unwrap_or_default();
    let parts = text.split(',').filter(|part| !part.is_empty());
    parts
        .flat_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.parse::<i64>().expect("an index text of ours");
            number(first)..=number(last)
        })
        .collect()
}

/// The UIDs of a Job's uncounted pods that are listed as `succeeded` or as `failed`.
pub fn uncounted_as<'a>(job: &'a Value, outcome: &str) -> Vec<&'a str> {
    let list = &job["status"]["uncountedTerminatedPods"][outcome];
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The UIDs of all its uncounted pods.
pub fn uncounted(job: &Value) -> Vec<&str> {
    [uncounted_as(job, "succeeded"), uncounted_as(job, "failed")].concat()
}
