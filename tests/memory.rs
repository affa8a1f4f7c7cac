//! Memory that objects cost in the caches of the controller, measured as the resident memory of this process.
//!
//! The objects have the fields that the API server sends, so the temporary memory of their parsing is part of the
//! measurement. The limits leave a margin of some megabytes for all objects together, because a kernel with transparent
//! huge pages adds memory in large steps. The test runs on Linux with the allocator of the system.

#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::print_stdout, reason = "a failed expectation ends the test")]

use std::fs;

use jobwright::job::view::{JobView, PodView};
use jobwright::job::wire::{WireJob, WirePod};
use jobwright::runtime::cache::{Cache, Cached, Source};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Number of objects of each kind.
const COUNT: usize = 10_000;

fn uid(kind: u32, number: usize) -> String {
    // Spread like the random UIDs of the API server.
    let spread = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{:08x}-{kind:04x}-4{:03x}-8{:03x}-{number:012x}", spread >> 32, spread >> 8 & 0xfff, spread >> 20 & 0xfff)
}

fn job_name(number: usize) -> String {
    format!("nightly-report-{number:05}")
}

fn labels(job: usize) -> Value {
    let (uid, name) = (uid(1, job), job_name(job));
    json!({
        "batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name,
        "controller-uid": uid, "job-name": name,
    })
}

fn template(job: usize) -> Value {
    json!({
        "metadata": {"creationTimestamp": null, "labels": labels(job)},
        "spec": {
            "containers": [{
                "name": "main", "image": "registry.example.org/reports:2026-01-05", "command": ["report", "--all"],
                "env": [{"name": "TARGET", "value": "warehouse"}, {"name": "RETRIES", "value": "3"}],
                "resources": {"requests": {"cpu": "500m", "memory": "256Mi"}},
                "imagePullPolicy": "IfNotPresent",
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            }],
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "securityContext": {}, "schedulerName": "default-scheduler",
        },
    })
}

fn managed_fields(manager: &str, subresource: &str) -> Value {
    json!([{
        "manager": manager, "operation": "Update", "apiVersion": "v1", "time": "2026-01-05T10:00:00Z",
        "subresource": subresource, "fieldsType": "FieldsV1",
        "fieldsV1": {"f:status": {"f:conditions": {}, "f:startTime": {}, "f:phase": {}, "f:podIP": {}}},
    }])
}

/// A running pod of a Job with four pods.
fn pod(number: usize) -> Value {
    let job = number / 4;
    let name = format!("{}-{:05x}", job_name(job), number.wrapping_mul(2_654_435_761) & 0xf_ffff);
    let condition = |type_: &str| json!({"type": type_, "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-01-05T10:00:02Z"});
    let conditions =
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"].map(condition);
    json!({
        "metadata": {
            "name": name, "generateName": format!("{}-", job_name(job)), "namespace": "reports", "uid": uid(2, number),
            "resourceVersion": (1000 + number).to_string(), "creationTimestamp": "2026-01-05T10:00:00Z",
            "labels": labels(job), "finalizers": ["batch.kubernetes.io/job-tracking"],
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "Job", "name": job_name(job), "uid": uid(1, job),
                "controller": true, "blockOwnerDeletion": true,
            }],
            "managedFields": managed_fields("kubelet", "status"),
        },
        "spec": {"nodeName": format!("node-{}", number % 100), "containers": template(job)["spec"]["containers"]},
        "status": {
            "phase": "Running",
            "conditions": conditions,
            "containerStatuses": [{
                "name": "main", "ready": true, "restartCount": 0, "image": "registry.example.org/reports:2026-01-05",
                "state": {"running": {"startedAt": "2026-01-05T10:00:02Z"}}, "lastState": {},
            }],
            "startTime": "2026-01-05T10:00:00Z", "qosClass": "Burstable", "podIP": "10.0.0.7",
        },
    })
}

fn job(number: usize, status: Value) -> Value {
    json!({
        "metadata": {
            "name": job_name(number), "namespace": "reports", "uid": uid(1, number), "generation": 1,
            "resourceVersion": (1000 + number).to_string(), "creationTimestamp": "2026-01-05T10:00:00Z",
            "labels": labels(number), "managedFields": managed_fields("jobwright", "status"),
        },
        "spec": {
            "parallelism": 4, "completions": 4, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": false,
            "manualSelector": false, "podReplacementPolicy": "TerminatingOrFailed",
            "managedBy": "jobwright.dev/controller",
            "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": uid(1, number)}},
            "template": template(number),
        },
        "status": status,
    })
}

fn running_job(number: usize) -> Value {
    let status = json!({"active": 4, "ready": 4, "terminating": 0, "startTime": "2026-01-05T10:00:00Z", "uncountedTerminatedPods": {}});
    job(number, status)
}

fn finished_job(number: usize) -> Value {
    let condition = |type_: &str| {
        json!({
            "type": type_, "status": "True", "reason": "CompletionsReached",
            "message": "Reached expected number of succeeded pods",
            "lastProbeTime": "2026-01-05T10:10:00Z", "lastTransitionTime": "2026-01-05T10:10:00Z",
        })
    };
    let conditions = ["SuccessCriteriaMet", "Complete"].map(condition);
    let status = json!({
        "active": 0, "ready": 0, "terminating": 0, "succeeded": 4, "uncountedTerminatedPods": {},
        "startTime": "2026-01-05T10:00:00Z", "completionTime": "2026-01-05T10:10:00Z",
        "conditions": conditions,
    });
    job(number, status)
}

/// Returns the resident memory of this process, in bytes.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the resident memory");
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
}

/// Returns the memory that one object costs in a cache, in bytes.
fn cost<W: DeserializeOwned, T: Cached>(object: fn(usize) -> Value, parse: fn(W) -> Option<T>) -> usize {
    let cache = Cache::default();
    let before = resident();
    for number in 0..COUNT {
        let wire = serde_json::from_str(&object(number).to_string()).unwrap();
        cache.apply(parse(wire).unwrap(), Source::List);
    }
    let after = resident();
    assert_eq!(cache.len(), COUNT);
    // The objects stay, so that no later measurement uses their memory.
    std::mem::forget(cache);
    after.saturating_sub(before) / COUNT
}

#[test]
fn cached_objects_cost_little_memory() {
    // The allocator keeps the memory of the first parsed objects for later ones.
    cost::<WirePod, _>(|number| pod(number + COUNT), PodView::parse);
    let pod = cost::<WirePod, _>(pod, PodView::parse);
    let running = cost::<WireJob, _>(running_job, JobView::parse);
    let finished = cost::<WireJob, _>(finished_job, JobView::parse);
    println!("bytes per object: pod {pod}, running Job {running}, finished Job {finished}");
    assert!(pod < 1000, "{pod} bytes for each pod");
    assert!(running < 2300, "{running} bytes for each running Job");
    assert!(finished < 1900, "{finished} bytes for each finished Job");
}
