//! Configurations of Kueue that are not the default, and their scenarios.

use serde_json::{Value, json};

use crate::kueue::{create, job, jobset, of, queue};
use crate::scenario::{Scenario, Step, template, until};

/// Returns the configurations with their scenarios.
pub fn all() -> Vec<(Value, Vec<Scenario>)> {
    vec![
        (pods_ready(), with_pods_ready()),
        (block_admission(), with_blocked_admission()),
        (elastic_jobs(), with_elastic_jobs()),
    ]
}

/// Kueue with a limit for the time until the pods of a Job are ready.
fn pods_ready() -> Value {
    json!({"waitForPodsReady": {
        "timeout": "6s", "blockAdmission": false,
        "requeuingStrategy": {"timestamp": "Eviction", "backoffLimitCount": 1, "backoffBaseSeconds": 1},
    }})
}

/// Kueue that admits additional pods of a running Job.
fn elastic_jobs() -> Value {
    json!({"featureGates": {"ElasticJobsViaWorkloadSlices": true}})
}

/// Kueue that admits a Job only when the pods of all admitted Jobs are ready.
fn block_admission() -> Value {
    json!({"waitForPodsReady": {"timeout": "2m", "blockAdmission": true}})
}

/// Returns the scenarios of the configuration [`pods_ready`].
fn with_pods_ready() -> Vec<Scenario> {
    vec![
        of(
            "waitForPodsReady: ready pods, and ended pods, count as ready",
            [
                queue(2),
                create("a", 2, "run"),
                until(&[("Workload of Job a", "PodsReady=True")]),
                Step::Finish("a", 1, 0),
                until(&[("Job a", "succeeded=1"), ("Workload of Job a", "PodsReady=True")]),
                Step::Finish("a", 1, 0),
                until(&[("Workload of Job a", "Finished=True")]),
            ],
        ),
        of(
            "waitForPodsReady: a Job whose pods are not ready is evicted, requeued, and deactivated",
            [
                queue(2),
                create("a", 2, "hold"),
                until(&[("Workload of Job a", "active=false"), ("Job a", "Suspended=True")]),
            ],
        ),
        of(
            "waitForPodsReady: a JobSet is ready when all of its pods are",
            [
                queue(3),
                jobset("set", 2, "run", &json!({})),
                until(&[("Workload of JobSet set", "PodsReady=True")]),
                Step::Finish("set-leader-0", 1, 0),
                Step::Finish("set-worker-0", 2, 0),
                until(&[("Workload of JobSet set", "Finished=True")]),
            ],
        ),
    ]
}

/// Returns the scenarios of the configuration [`block_admission`].
fn with_blocked_admission() -> Vec<Scenario> {
    vec![of(
        "waitForPodsReady with blockAdmission: Jobs start one after another",
        [
            queue(3),
            Step::Create(vec![
                job("a", 1, "run", &json!({})),
                job("b", 1, "run", &json!({})),
                job("c", 1, "run", &json!({})),
            ]),
            until(&[("Job a", "ready=1"), ("Job b", "ready=1"), ("Job c", "ready=1")]),
            Step::Finish("a", 1, 0),
            Step::Finish("b", 1, 0),
            Step::Finish("c", 1, 0),
            until(&[("Workload of Job a", "Finished=True"), ("Workload of Job c", "Finished=True")]),
        ],
    )]
}

/// Returns a pod template without a node, because Kueue adds scheduling gates to its pods.
fn gated_template(play: &str) -> Value {
    let mut template = template(play);
    template["spec"]["nodeName"] = Value::Null;
    template
}

/// Returns the scenarios of the configuration [`elastic_jobs`].
fn with_elastic_jobs() -> Vec<Scenario> {
    let over = json!({
        "metadata": {"annotations": {"kueue.x-k8s.io/elastic-job": "true"}},
        "spec": {"completions": null, "template": gated_template("run")},
    });
    vec![of(
        "an elastic Job grows while it runs, waits for quota for the next pod, and ends",
        [
            queue(4),
            create("other", 1, "run"),
            until(&[("Job other", "ready=1")]),
            Step::Create(vec![job("a", 2, "run", &over)]),
            until(&[("Job a", "ready=2")]),
            Step::Change("Job", "a", json!({"spec": {"parallelism": 3}})),
            until(&[("Job a", "ready=3")]),
            Step::Change("Job", "a", json!({"spec": {"parallelism": 4}})),
            until(&[("Job a", "active=4 ready=3")]),
            Step::Finish("other", 1, 0),
            until(&[("Job a", "ready=4"), ("Job other", "Complete=True")]),
            Step::Finish("a", 4, 0),
            until(&[("Job a", "Complete=True")]),
        ],
    )]
}
