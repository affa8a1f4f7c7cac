//! What the API server refuses: in a Job's status, and in our own resources by their definitions.

use serde_json::Value;

use crate::objects::{self, has_condition, indexes, is_over, number};

/// Whether an object of ours may be created so; if not, why. Everything else is created well-formed.
pub fn created(resource: &str, object: &Value) -> Result<(), String> {
    let spec = &object["spec"];
    let has = |field: &str| !spec[field].is_null();
    let is = |field: &str, values: &[&str]| values.iter().any(|value| spec[field] == *value);
    let wrong = match resource {
        "joblimits" if !has("maxActiveJobs") && !has("maxActivePods") => "a limit without numbers limits nothing",
        "joblimits" if number(object, "/spec/maxActiveJobs") < 0 => "spec.maxActiveJobs is negative",
        "joblimits" if number(object, "/spec/maxActivePods") < 0 => "spec.maxActivePods is negative",
        "jobschedules" if object["metadata"]["name"].as_str().is_some_and(|name| name.len() > 52) => {
            "metadata.name is too long"
        }
        "jobschedules" if spec["schedules"].as_array().is_none_or(|all| all.is_empty() || all.len() > 16) => {
            "spec.schedules has no or too many entries"
        }
        "jobschedules" if spec["jobTemplate"]["spec"]["template"].is_null() => "spec.jobTemplate has no template",
        "jobschedules" if has("maxCatchUp") && !is("catchUp", &["All"]) && !is("concurrencyPolicy", &["Queue"]) => {
            "spec.maxCatchUp is for catchUp All or concurrencyPolicy Queue"
        }
        "jobschedules" if has("maxActive") && is("concurrencyPolicy", &["Forbid", "Replace"]) => {
            "spec.maxActive is for concurrencyPolicy Allow or Queue"
        }
        _ => return Ok(()),
    };
    Err(wrong.to_owned())
}

/// Whether this status may follow that one; if not, why.
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
        return refuse("more are ready than active");
    }
    for type_ in ["Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"] {
        if has_condition(before, type_) && !has_condition(after, type_) {
            return Err(format!("{type_} is taken back"));
        }
    }
    let is = |type_: &str| has_condition(after, type_);
    if (is("Complete") || is("SuccessCriteriaMet")) && (is("Failed") || is("FailureTarget")) {
        return refuse("success and failure at once");
    }
    if is("Failed") && !is("FailureTarget") || is("Complete") && !is("SuccessCriteriaMet") {
        return refuse("an end without its announcement");
    }
    let completion = &after["status"]["completionTime"];
    if completion.is_null() == is("Complete") {
        return refuse("completionTime and Complete do not go together");
    }
    if let (Some(start), Some(end)) = (after["status"]["startTime"].as_str(), completion.as_str())
        && end < start
    {
        return refuse("it completed before it started");
    }
    if !before["status"]["completionTime"].is_null() && before["status"]["completionTime"] != *completion {
        return refuse("completionTime changes");
    }
    let uncounted = objects::uncounted(after);
    if is_over(after) {
        if of(after, "active") > 0 || of(after, "terminating") > 0 || !uncounted.is_empty() {
            return refuse("over with pods that are active, terminating or uncounted");
        }
        let nothing_to_do = spec["suspend"] == true && spec["completions"] == 0;
        if after["status"]["startTime"].is_null() && !nothing_to_do {
            return refuse("over without startTime");
        }
    }
    let start = &before["status"]["startTime"];
    let resumed = has_condition(before, "Suspended") && objects::is_said_not(after, "Suspended");
    if !start.is_null() && *start != after["status"]["startTime"] && spec["suspend"] != true && !resumed {
        return refuse("startTime changes");
    }
    let (completed, failed) =
        (indexes(&after["status"]["completedIndexes"]), indexes(&after["status"]["failedIndexes"]));
    if completed.iter().any(|index| failed.contains(index)) {
        return refuse("an index has succeeded and failed");
    }
    if !indexed && !completed.is_empty() || spec["backoffLimitPerIndex"].is_null() && !failed.is_empty() {
        return refuse("indexes that this Job does not have");
    }
    let mut unique = uncounted.clone();
    unique.sort_unstable();
    unique.dedup();
    if unique.len() < uncounted.len() || unique.iter().any(|uid| uid.is_empty()) {
        return refuse("a UID is empty or listed twice");
    }
    Ok(())
}
