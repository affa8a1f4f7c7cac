//! Checks of the results of Jobs: each pod that a status counts as succeeded has its termination message in the annotation
//! that is stored with that status, once.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::objects::{controller, indexes, is_tracked, number};
use crate::store::Store;

/// Checks the results in a status that a controller writes. `listed` has the UIDs of the pods that it lists as succeeded for
/// the first time.
///
/// # Errors
/// Returns the result that is missing or present twice.
pub fn status_written(store: &Store, before: &Value, after: &Value, listed: &[&str]) -> Result<(), String> {
    let name = &after["metadata"]["name"];
    let (known, stored) = (results(before), results(after));
    let results: Vec<&Value> = stored["results"].as_array().into_iter().flatten().collect();
    let pods: BTreeSet<&str> = results.iter().filter_map(|result| result["pod"].as_str()).collect();
    if pods.len() != results.len() {
        return Err(format!("{name} has two results of one pod: {stored}"));
    }
    let lost = known["results"].as_array().into_iter().flatten().find(|result| !results.contains(result));
    if let Some(lost) = lost {
        return Err(format!("{name} loses the result {lost}: {stored}"));
    }
    let job = after["metadata"]["uid"].as_str();
    let own = store.of("pods").map(|(_, pod)| pod).filter(|pod| controller(pod) == job && is_tracked(pod));
    let succeeded: Vec<&Value> = own.filter(|pod| message(pod).is_some()).collect();
    let is_indexed = after["spec"]["completionMode"] == "Indexed";
    let new: Vec<&Value> = if is_indexed {
        let known = indexes(&before["status"]["completedIndexes"]);
        let new = indexes(&after["status"]["completedIndexes"]).into_iter().filter(|index| !known.contains(index));
        let of_index = |index: i64| {
            let is_of = |pod: &&&Value| index_of(pod) == Some(index);
            succeeded.iter().find(is_of).copied()
        };
        new.filter_map(of_index).collect()
    } else {
        let is_listed = |pod: &&Value| pod["metadata"]["uid"].as_str().is_some_and(|uid| listed.contains(&uid));
        succeeded.iter().copied().filter(is_listed).collect()
    };
    for pod in new {
        let has_result = results.iter().any(|result| match index_of(pod).filter(|_| is_indexed) {
            Some(index) => result["index"].as_i64() == Some(index),
            None => result["pod"] == pod["metadata"]["name"] && result["message"].as_str() == message(pod),
        });
        let is_omitted = number(&stored, "/omitted") > number(&known, "/omitted");
        if !has_result && !is_omitted {
            return Err(format!("{name} counts {} without its result: {stored}", pod["metadata"]["name"]));
        }
    }
    Ok(())
}

fn results(job: &Value) -> Value {
    let text = job["metadata"]["annotations"]["jobwright.dev/result"].as_str();
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn message(pod: &Value) -> Option<&str> {
    pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"].as_str()
}

fn index_of(pod: &Value) -> Option<i64> {
    pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"].as_str()?.parse().ok()
}
