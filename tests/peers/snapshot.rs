//! The observed state of one side as texts that do not depend on names, times and UIDs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// One line for each object, by kind and name.
pub type Snapshot = BTreeMap<String, String>;

/// Returns the descriptions of these objects.
pub fn snapshot(namespace: &str, jobs: &[Value], pods: &[Value], jobsets: &[Value], workloads: &[Value]) -> Snapshot {
    let mut all = Snapshot::new();
    for job in jobs {
        all.insert(format!("Job {}", name(job)), describe_job(job, pods));
    }
    for jobset in jobsets {
        all.insert(format!("JobSet {}", name(jobset)), describe_jobset(jobset));
    }
    for workload in workloads {
        all.insert(format!("Workload of {}", owner_of(workload)), describe_workload(workload));
    }
    for text in all.values_mut() {
        *text = text.replace(namespace, "NAMESPACE");
    }
    all
}

/// Returns the kind and the name of the first owner of an object.
pub fn owner_of(object: &Value) -> String {
    let owner = &object["metadata"]["ownerReferences"][0];
    let text = |field: &str| owner[field].as_str().unwrap_or("?").to_owned();
    format!("{} {}", text("kind"), text("name"))
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Returns the conditions with their statuses and reasons, in the order of their types.
fn conditions(object: &Value) -> String {
    let mut all: Vec<String> = object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|condition| {
            let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
            format!("{}={} ({})", text("type"), text("status"), text("reason"))
        })
        .collect();
    all.sort();
    all.join(", ")
}

fn describe_job(job: &Value, pods: &[Value]) -> String {
    let status = &job["status"];
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    let mut phases: BTreeMap<String, usize> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == name(job)) {
        let deleting = if pod["metadata"]["deletionTimestamp"].is_null() { "" } else { " terminating" };
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        *phases.entry(format!("{phase}{deleting}")).or_default() += 1;
    }
    let labels = &job["metadata"]["labels"];
    format!(
        "{} active={} ready={} succeeded={} failed={} terminating={} indexes={} suspend={} parallelism={} \
         completions={} started={} finished={} restarts={} selector={} pods={phases:?}",
        conditions(job),
        count("active"),
        count("ready"),
        count("succeeded"),
        count("failed"),
        count("terminating"),
        status["completedIndexes"],
        job["spec"]["suspend"],
        job["spec"]["parallelism"],
        job["spec"]["completions"],
        !status["startTime"].is_null(),
        !status["completionTime"].is_null(),
        labels["jobset.sigs.k8s.io/restart-attempt"],
        job["spec"]["template"]["spec"]["nodeSelector"],
    )
}

fn describe_jobset(jobset: &Value) -> String {
    let status = &jobset["status"];
    let mut replicated: Vec<Value> = status["replicatedJobsStatus"].as_array().cloned().unwrap_or_default();
    replicated.sort_by_key(|one| one["name"].to_string());
    format!(
        "{} restarts={} terminal={} jobs={}",
        conditions(jobset),
        status["restarts"],
        status["terminalState"],
        json!(replicated)
    )
}

fn describe_workload(workload: &Value) -> String {
    let status = &workload["status"];
    let counts: Vec<&Value> = status["admission"]["podSetAssignments"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|assignment| &assignment["count"])
        .collect();
    format!(
        "{} active={} admitted={counts:?} reclaimable={} requeues={}",
        conditions(workload),
        workload["spec"]["active"],
        status["reclaimablePods"],
        status["requeueState"]["count"],
    )
}

/// Returns a summary for the table of results: the conditions that are true and the counters.
pub fn summary(snapshot: &Snapshot) -> String {
    if snapshot.is_empty() {
        return "nothing is left".to_owned();
    }
    let mut parts: Vec<String> = Vec::new();
    for (object, text) in snapshot {
        let types: Vec<&str> = text
            .split(", ")
            .filter_map(|part| part.split_once("=True"))
            .map(|(type_, _)| type_)
            .collect();
        let state = if types.is_empty() { "no condition".to_owned() } else { types.join(", ") };
        let number = |field: &str| {
            let start = text.split_once(&format!(" {field}=")).map(|(_, rest)| rest).unwrap_or_default();
            start.split(' ').next().unwrap_or_default().trim_matches('"').to_owned()
        };
        let counters = if object.starts_with("Job ") {
            format!(" ({} succeeded, {} failed)", number("succeeded"), number("failed"))
        } else if object.starts_with("JobSet ") {
            format!(" ({} restarts)", number("restarts"))
        } else {
            String::new()
        };
        parts.push(format!("{object}: {state}{counters}"));
    }
    parts.join("; ")
}
