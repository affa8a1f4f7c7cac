//! What the API server refuses in a Job's status.

use serde_json::Value;

use crate::objects::{self, has_condition, indexes, is_over, number};

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
