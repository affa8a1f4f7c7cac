//! The observed state of one side as texts that do not depend on names, times and UIDs.

use std::collections::{BTreeMap, BTreeSet};

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
    let mut slices: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for workload in workloads {
        // An elastic Job has several Workloads, whose names depend on chance.
        let texts = slices.entry(format!("Workload of {}", owner_of(workload))).or_default();
        texts.insert(describe_workload(workload));
    }
    for (owner, texts) in slices {
        all.insert(owner, texts.into_iter().collect::<Vec<_>>().join(" and "));
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
///
/// Whether a Job or a JobSet has a condition Suspended with the status False depends on timing: Kueue can resume an
/// object before its controller has stored that the object is suspended.
fn conditions(object: &Value) -> String {
    let mut all: Vec<String> = object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|condition| {
            let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
            format!("{}={} ({})", text("type"), text("status"), text("reason"))
        })
        .filter(|text| !text.starts_with("Suspended=False"))
        .collect();
    all.sort();
    all.join(", ")
}

fn describe_job(job: &Value, pods: &[Value]) -> String {
    let status = &job["status"];
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    let mut phases: BTreeMap<String, usize> = BTreeMap::new();
    let mut shapes: BTreeSet<String> = BTreeSet::new();
    for pod in pods.iter().filter(|pod| pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == name(job)) {
        let deleting = if pod["metadata"]["deletionTimestamp"].is_null() { "" } else { " terminating" };
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        *phases.entry(format!("{phase}{deleting}")).or_default() += 1;
        shapes.insert(shape(pod));
    }
    let labels = &job["metadata"]["labels"];
    format!(
        "{} active={} ready={} succeeded={} failed={} terminating={} indexes={} suspend={} parallelism={} \
         completions={} started={} finished={} restarts={} selector={} pods={phases:?} {shapes:?}",
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

/// Returns the names of a pod that do not depend on chance: its host name, subdomain, labels and annotations.
fn shape(pod: &Value) -> String {
    let keys = |field: &str| {
        let map = pod["metadata"][field].as_object();
        map.map(|map| map.keys().cloned().collect::<BTreeSet<String>>()).unwrap_or_default()
    };
    format!(
        "{} {} {:?} {:?} {}",
        pod["spec"]["hostname"],
        pod["spec"]["subdomain"],
        keys("labels"),
        keys("annotations"),
        pod["spec"]["nodeSelector"]
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

/// Conditions that decide the state of an object in the table of results, the most important one first.
const STATES: &[&str] = &["Finished", "Completed", "Complete", "Failed", "Suspended", "Evicted", "Admitted"];

/// Returns a summary for the table of results: the objects by kind and state, and the sums of their counters.
pub fn summary(snapshot: &Snapshot) -> String {
    let mut groups: BTreeMap<(String, &str), (usize, u64, u64, u64)> = BTreeMap::new();
    for (object, text) in snapshot {
        let kind = object.split(' ').next().unwrap_or_default().to_owned();
        // The counters begin after the conditions, whose names are followed by their statuses.
        let state = STATES.iter().find(|state| has_condition(text, state)).copied().unwrap_or("active");
        let number = |field: &str| {
            let rest = text.split_once(&format!(" {field}=")).map_or("", |(_, rest)| rest);
            rest.split(' ').next().unwrap_or_default().trim_matches('"').parse::<u64>().unwrap_or(0)
        };
        let group = groups.entry((kind, state)).or_default();
        *group = (group.0 + 1, group.1 + number("succeeded"), group.2 + number("failed"), group.3 + number("restarts"));
    }
    let parts = groups.into_iter().map(|((kind, state), (count, succeeded, failed, restarts))| {
        let counters = match kind.as_str() {
            "Job" => format!(" ({succeeded} succeeded, {failed} failed)"),
            "JobSet" => format!(" (restarts: {restarts})"),
            _ => String::new(),
        };
        format!("{count} {kind} {state}{counters}")
    });
    let text = parts.collect::<Vec<_>>().join("; ");
    if text.is_empty() { "nothing is left".to_owned() } else { text }
}

fn has_condition(text: &str, type_: &str) -> bool {
    text.split(", ").any(|part| part.starts_with(&format!("{type_}=True")))
}

#[test]
fn summary_groups_objects_by_kind_and_state() {
    let job = json!({
        "metadata": {"name": "a"},
        "status": {"succeeded": 2, "conditions": [
            {"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"},
        ]},
    });
    let other = json!({"metadata": {"name": "b"}, "status": {"failed": 1}});
    let jobset = json!({"metadata": {"name": "set"}, "status": {"restarts": 1, "conditions": [
        {"type": "Completed", "status": "False"}, {"type": "Failed", "status": "True"},
    ]}});
    let found = snapshot("none", &[job, other], &[], &[jobset], &[]);
    let expected = "1 Job Complete (2 succeeded, 0 failed); 1 Job active (0 succeeded, 1 failed); \
                    1 JobSet Failed (restarts: 1)";
    assert_eq!(summary(&found), expected);
    assert_eq!(summary(&Snapshot::new()), "nothing is left");
}
