//! Validation of the simulated API server: Job statuses, and Jobwright's custom resources by their CRDs.

use serde_json::Value;

use crate::objects::{self, has_condition, indexes, is_over, number};

/// Validates a new object of a custom resource. Objects of other resources are always generated well-formed.
///
/// # Errors
/// Returns the rule of the CRD that the object breaks.
pub fn created(resource: &str, object: &Value) -> Result<(), String> {
    let spec = &object["spec"];
    let has = |field: &str| !spec[field].is_null();
    let is = |field: &str, values: &[&str]| values.iter().any(|value| spec[field] == *value);
    let wrong = match resource {
        "joblimits" if !has("maxActiveJobs") && !has("maxActivePods") => {
            "spec has neither maxActiveJobs nor maxActivePods"
        }
        "joblimits" if number(object, "/spec/maxActiveJobs") < 0 => "spec.maxActiveJobs is negative",
        "joblimits" if number(object, "/spec/maxActivePods") < 0 => "spec.maxActivePods is negative",
        "jobschedules" if object["metadata"]["name"].as_str().is_some_and(|name| name.len() > 52) => {
            "metadata.name is too long"
        }
        "jobschedules" if spec["schedules"].as_array().is_none_or(|all| all.is_empty() || all.len() > 16) => {
            "spec.schedules has no entry or more than 16"
        }
        "jobschedules" if spec["jobTemplate"]["spec"]["template"].is_null() => "spec.jobTemplate has no template",
        "jobschedules" if has("maxCatchUp") && !is("catchUp", &["All"]) && !is("concurrencyPolicy", &["Queue"]) => {
            "spec.maxCatchUp needs catchUp All or concurrencyPolicy Queue"
        }
        "jobschedules" if has("maxActive") && is("concurrencyPolicy", &["Forbid", "Replace"]) => {
            "spec.maxActive needs concurrencyPolicy Allow or Queue"
        }
        _ => return Ok(()),
    };
    Err(wrong.to_owned())
}

/// Validates an update of a Job status.
///
/// # Errors
/// Returns the rule that the update breaks.
pub fn job_status(before: &Value, after: &Value) -> Result<(), String> {
    let refuse = |why: &str| Err(why.to_owned());
    let spec = &after["spec"];
    let indexed = spec["completionMode"] == "Indexed";
    let elastic = indexed && spec["completions"] == spec["parallelism"];
    let of = |job: &Value, field: &str| number(job, &format!("/status/{field}"));
    if of(after, "failed") < of(before, "failed") {
        return refuse("failed decreases");
    }
    if of(after, "succeeded") < of(before, "succeeded") && !elastic {
        return refuse("succeeded decreases");
    }
    if of(after, "ready") > of(after, "active") {
        return refuse("ready exceeds active");
    }
    for type_ in ["Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"] {
        if has_condition(before, type_) && !has_condition(after, type_) {
            return Err(format!("condition {type_} is removed"));
        }
    }
    let is = |type_: &str| has_condition(after, type_);
    if (is("Complete") || is("SuccessCriteriaMet")) && (is("Failed") || is("FailureTarget")) {
        return refuse("the conditions state both success and failure");
    }
    if is("Failed") && !is("FailureTarget") || is("Complete") && !is("SuccessCriteriaMet") {
        return refuse("Complete without SuccessCriteriaMet, or Failed without FailureTarget");
    }
    let completion = &after["status"]["completionTime"];
    if completion.is_null() == is("Complete") {
        return refuse("completionTime is set without Complete, or missing with Complete");
    }
    if let (Some(start), Some(end)) = (after["status"]["startTime"].as_str(), completion.as_str())
        && end < start
    {
        return refuse("completionTime is before startTime");
    }
    if !before["status"]["completionTime"].is_null() && before["status"]["completionTime"] != *completion {
        return refuse("completionTime changes");
    }
    let uncounted = objects::uncounted(after);
    if is_over(after) {
        if of(after, "active") > 0 || of(after, "terminating") > 0 || !uncounted.is_empty() {
            return refuse("a finished Job has active, terminating or uncounted pods");
        }
        let nothing_to_do = spec["suspend"] == true && spec["completions"] == 0;
        if after["status"]["startTime"].is_null() && !nothing_to_do {
            return refuse("a finished Job has no startTime");
        }
    }
    let start = &before["status"]["startTime"];
    let resumed = has_condition(before, "Suspended") && objects::is_condition_false(after, "Suspended");
    if !start.is_null() && *start != after["status"]["startTime"] && spec["suspend"] != true && !resumed {
        return refuse("startTime changes");
    }
    let (completed, failed) =
        (indexes(&after["status"]["completedIndexes"]), indexes(&after["status"]["failedIndexes"]));
    if completed.iter().any(|index| failed.contains(index)) {
        return refuse("an index is both completed and failed");
    }
    if !indexed && !completed.is_empty() || spec["backoffLimitPerIndex"].is_null() && !failed.is_empty() {
        return refuse("completedIndexes or failedIndexes of a Job without such indexes");
    }
    let mut unique = uncounted.clone();
    unique.sort_unstable();
    unique.dedup();
    if unique.len() < uncounted.len() || unique.iter().any(|uid| uid.is_empty()) {
        return refuse("a UID is empty or listed twice");
    }
    Ok(())
}
