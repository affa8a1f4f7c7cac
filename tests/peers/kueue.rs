//! Scenarios of Kueue.

use serde_json::{Value, json};

use crate::scenario::{Scenario, Step, scenario, template, until};

pub fn of(name: &'static str, steps: impl IntoIterator<Item = Step>) -> Scenario {
    scenario("Kueue", name, steps)
}

/// Returns the step that creates a queue with a quota of this number of CPUs. Jobs of a higher priority preempt others.
pub fn queue(cpus: u32) -> Step {
    let version = "kueue.x-k8s.io/v1beta2";
    Step::Create(vec![
        json!({
            "apiVersion": version, "kind": "ResourceFlavor", "metadata": {"name": "$SIDE"},
            "spec": {"nodeLabels": {"pool": "fast"}},
        }),
        json!({
            "apiVersion": version, "kind": "WorkloadPriorityClass", "metadata": {"name": "$SIDE-high"},
            "value": 1000, "description": "higher than the default",
        }),
        cluster_queue(cpus),
        local_queue(),
    ])
}

fn cluster_queue(cpus: u32) -> Value {
    json!({
        "apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ClusterQueue", "metadata": {"name": "$SIDE"},
        "spec": {
            "namespaceSelector": {},
            "preemption": {"withinClusterQueue": "LowerPriority"},
            "resourceGroups": [{"coveredResources": ["cpu"], "flavors": [
                {"name": "$SIDE", "resources": [{"name": "cpu", "nominalQuota": cpus.to_string()}]},
            ]}],
        },
    })
}

fn local_queue() -> Value {
    json!({
        "apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "LocalQueue", "metadata": {"name": "queue"},
        "spec": {"clusterQueue": "$SIDE"},
    })
}

/// Returns a Job in the queue with this number of pods, which do this. The fields of `over` are laid over it.
pub fn job(name: &str, pods: u32, play: &str, over: &Value) -> Value {
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "labels": {"kueue.x-k8s.io/queue-name": "queue"}},
        "spec": {
            "completions": pods, "parallelism": pods, "backoffLimit": 0,
            "template": template(play),
        },
    });
    testbed::manifest::lay_over(&mut job, over);
    job
}

pub fn create(name: &str, pods: u32, play: &str) -> Step {
    Step::Create(vec![job(name, pods, play, &json!({}))])
}

fn high(name: &str, pods: u32, play: &str) -> Step {
    let over = json!({"metadata": {"labels": {"kueue.x-k8s.io/priority-class": "$SIDE-high"}}});
    Step::Create(vec![job(name, pods, play, &over)])
}

/// Returns a JobSet in the queue with one Job of one pod and one Job of this number of pods.
pub fn jobset(name: &str, pods: u32, play: &str, labels: &Value) -> Step {
    let replicated = |name: &str, pods: u32| {
        json!({"name": name, "replicas": 1, "template": {"spec": {
            "completionMode": "Indexed", "completions": pods, "parallelism": pods, "backoffLimit": 0,
            "template": template(play),
        }}})
    };
    let mut object = json!({
        "apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet",
        "metadata": {"name": name, "labels": {"kueue.x-k8s.io/queue-name": "queue"}},
        "spec": {"replicatedJobs": [replicated("leader", 1), replicated("worker", pods)]},
    });
    testbed::manifest::lay_over(&mut object["metadata"]["labels"], labels);
    Step::Create(vec![object])
}

/// Returns the scenarios of the usual configuration.
pub fn all() -> Vec<Scenario> {
    [quota(), eviction(), partial(), topology(), jobsets(), unmanaged()].into_iter().flatten().collect()
}

fn quota() -> Vec<Scenario> {
    vec![
        of(
            "quota: a Job waits until another one is complete",
            [
                queue(4),
                create("a", 2, "run"),
                until(&[("Job a", "ready=2")]),
                create("b", 2, "run"),
                until(&[("Job b", "ready=2")]),
                create("c", 2, "succeed"),
                until(&[("Workload of Job c", "QuotaReserved=False"), ("Job c", "Suspended=True")]),
                Step::Finish("a", 2, 0),
                until(&[("Job a", "Complete=True"), ("Job c", "Complete=True")]),
                Step::Finish("b", 2, 0),
                until(&[("Workload of Job b", "Finished=True"), ("Workload of Job c", "Finished=True")]),
            ],
        ),
        of(
            "a failed Job releases its quota",
            [
                queue(1),
                create("a", 1, "run"),
                until(&[("Job a", "ready=1")]),
                create("b", 1, "succeed"),
                until(&[("Workload of Job b", "QuotaReserved=False")]),
                Step::Finish("a", 1, 1),
                until(&[("Workload of Job a", "Finished=True (Failed)"), ("Job b", "Complete=True")]),
            ],
        ),
        of(
            "reclaimable pods: ended pods release quota while the Job runs",
            [
                queue(3),
                create("a", 3, "run"),
                until(&[("Job a", "ready=3")]),
                create("b", 2, "succeed"),
                until(&[("Workload of Job b", "QuotaReserved=False")]),
                Step::Finish("a", 1, 0),
                until(&[("Workload of Job a", "\"count\":1")]),
                Step::Finish("a", 1, 0),
                until(&[("Job b", "Complete=True"), ("Workload of Job a", "\"count\":2")]),
                Step::Finish("a", 1, 0),
                until(&[("Workload of Job a", "Finished=True")]),
            ],
        ),
        of(
            "TTL: a complete Job is deleted with its Workload",
            [
                queue(1),
                Step::Create(vec![job("a", 1, "succeed", &json!({"spec": {"ttlSecondsAfterFinished": 5}}))]),
                Step::Gone("Job a"),
                Step::Gone("Workload of Job a"),
            ],
        ),
    ]
}

fn eviction() -> Vec<Scenario> {
    vec![
        of(
            "preemption: a Job of higher priority suspends a running one, which is resumed later",
            [
                queue(2),
                create("low", 2, "run"),
                until(&[("Job low", "ready=2")]),
                high("high", 2, "run"),
                until(&[
                    ("Workload of Job low", "Preempted=True"),
                    ("Job low", "Suspended=True"),
                    ("Job high", "ready=2"),
                ]),
                Step::Finish("high", 2, 0),
                until(&[("Job high", "Complete=True"), ("Job low", "ready=2")]),
                Step::Finish("low", 2, 0),
                until(&[("Workload of Job low", "Finished=True")]),
            ],
        ),
        of(
            "preemption: completed indexes of a preempted Indexed Job are kept",
            [
                queue(3),
                Step::Create(vec![job("low", 3, "run", &json!({"spec": {"completionMode": "Indexed"}}))]),
                until(&[("Job low", "ready=3")]),
                Step::Finish("low", 1, 0),
                until(&[("Job low", "succeeded=1")]),
                high("high", 3, "run"),
                until(&[("Job low", "Suspended=True"), ("Job high", "ready=3")]),
                Step::Finish("high", 3, 0),
                until(&[("Job low", "ready=2")]),
                Step::Finish("low", 2, 0),
                until(&[("Workload of Job low", "Finished=True"), ("Job low", "succeeded=3")]),
            ],
        ),
        of(
            "a Workload is deactivated and activated again",
            [
                queue(2),
                create("a", 2, "run"),
                until(&[("Job a", "ready=2")]),
                Step::ChangeWorkload("Job a", json!({"spec": {"active": false}})),
                until(&[("Job a", "Suspended=True"), ("Workload of Job a", "Evicted=True")]),
                Step::ChangeWorkload("Job a", json!({"spec": {"active": true}})),
                until(&[("Job a", "ready=2")]),
                Step::Finish("a", 2, 0),
                until(&[("Workload of Job a", "Finished=True")]),
            ],
        ),
        of(
            "a ClusterQueue is drained and started again",
            [
                queue(2),
                create("a", 2, "run"),
                until(&[("Job a", "ready=2")]),
                Step::Change("ClusterQueue", "$SIDE", json!({"spec": {"stopPolicy": "HoldAndDrain"}})),
                until(&[("Job a", "Suspended=True"), ("Workload of Job a", "Evicted=True")]),
                Step::Change("ClusterQueue", "$SIDE", json!({"spec": {"stopPolicy": "None"}})),
                until(&[("Job a", "ready=2")]),
                Step::Finish("a", 2, 0),
                until(&[("Workload of Job a", "Finished=True")]),
            ],
        ),
    ]
}

fn partial() -> Vec<Scenario> {
    let minimum = |equal: bool| {
        json!({"metadata": {"annotations": {
            "kueue.x-k8s.io/job-min-parallelism": "2",
            "kueue.x-k8s.io/job-completions-equal-parallelism": equal.to_string(),
        }}})
    };
    let mut indexed = minimum(true);
    indexed["spec"] = json!({"completionMode": "Indexed"});
    vec![
        of(
            "partial admission: fewer pods run at a time",
            [
                queue(3),
                Step::Create(vec![job("a", 5, "run", &minimum(false))]),
                until(&[("Job a", "ready=3"), ("Job a", "parallelism=3 completions=5")]),
                Step::Finish("a", 3, 0),
                until(&[("Job a", "ready=2"), ("Job a", "succeeded=3")]),
                Step::Finish("a", 2, 0),
                until(&[("Workload of Job a", "Finished=True"), ("Job a", "succeeded=5")]),
            ],
        ),
        of(
            "partial admission: an Indexed Job runs fewer indexes",
            [
                queue(3),
                Step::Create(vec![job("a", 5, "run", &indexed)]),
                until(&[("Job a", "ready=3"), ("Job a", "parallelism=3 completions=3")]),
                Step::Finish("a", 3, 0),
                until(&[("Workload of Job a", "Finished=True"), ("Job a", "succeeded=3")]),
            ],
        ),
        of(
            "partial admission, preemption, and admission with all pods",
            [
                queue(4),
                create("first", 1, "run"),
                until(&[("Job first", "ready=1")]),
                Step::Create(vec![job("a", 4, "run", &minimum(false))]),
                until(&[("Job a", "ready=3")]),
                high("high", 3, "run"),
                until(&[("Job a", "Suspended=True"), ("Job high", "ready=3")]),
                Step::Finish("first", 1, 0),
                Step::Finish("high", 3, 0),
                until(&[("Job a", "ready=4"), ("Job a", "parallelism=4 completions=4")]),
                Step::Finish("a", 4, 0),
                until(&[("Workload of Job a", "Finished=True")]),
            ],
        ),
    ]
}

fn jobsets() -> Vec<Scenario> {
    let high = json!({"kueue.x-k8s.io/priority-class": "$SIDE-high"});
    vec![
        of(
            "JobSet: waits for quota, and completes",
            [
                queue(3),
                create("a", 1, "run"),
                until(&[("Job a", "ready=1")]),
                jobset("set", 2, "succeed", &json!({})),
                until(&[("Workload of JobSet set", "QuotaReserved=False"), ("JobSet set", "Suspended=True")]),
                Step::Finish("a", 1, 0),
                until(&[("JobSet set", "Completed=True"), ("Workload of JobSet set", "Finished=True")]),
            ],
        ),
        of(
            "JobSet: preempted by another JobSet, resumed later",
            [
                queue(3),
                jobset("low", 2, "run", &json!({})),
                until(&[("Job low-leader-0", "ready=1"), ("Job low-worker-0", "ready=2")]),
                jobset("high", 2, "run", &high),
                until(&[("JobSet low", "Suspended=True"), ("Job high-worker-0", "ready=2")]),
                Step::Finish("high-leader-0", 1, 0),
                Step::Finish("high-worker-0", 2, 0),
                until(&[("JobSet high", "Completed=True"), ("Job low-worker-0", "ready=2")]),
                Step::Finish("low-leader-0", 1, 0),
                Step::Finish("low-worker-0", 2, 0),
                until(&[("Workload of JobSet low", "Finished=True")]),
            ],
        ),
    ]
}

fn unmanaged() -> Vec<Scenario> {
    let limit = json!({
        "apiVersion": "jobwright.dev/v1beta1", "kind": "JobLimit", "metadata": {"name": "one"},
        "spec": {"selector": {}, "maxActiveJobs": 1},
    });
    let other = |labels: Value| json!({"metadata": {"labels": labels}, "spec": {"managedBy": "example.com/other"}});
    vec![
        of(
            "managedBy names another controller: no pod is created",
            [
                queue(1),
                Step::Create(vec![job("a", 1, "succeed", &other(json!({})))]),
                until(&[("Job a", "suspend=false"), ("Workload of Job a", "Admitted=True")]),
            ],
        ),
        of(
            "a JobLimit of one Job ignores the Jobs that Kueue manages",
            [
                queue(5),
                Step::Create(vec![limit]),
                create("a", 1, "run"),
                create("b", 1, "run"),
                jobset("set", 2, "run", &json!({})),
                until(&[("Job a", "ready=1"), ("Job b", "ready=1"), ("Job set-worker-0", "ready=2")]),
                Step::Finish("a", 1, 0),
                Step::Finish("b", 1, 0),
                Step::Finish("set-leader-0", 1, 0),
                Step::Finish("set-worker-0", 2, 0),
                until(&[("Workload of JobSet set", "Finished=True"), ("Workload of Job b", "Finished=True")]),
            ],
        ),
        of(
            "a Job without a queue starts immediately",
            [
                queue(1),
                Step::Create(vec![job("a", 2, "succeed", &json!({"metadata": {"labels": null}}))]),
                until(&[("Job a", "Complete=True")]),
            ],
        ),
    ]
}

/// Returns the scenario in which Kueue assigns the indexes of a Job to nodes by their racks.
fn topology() -> Vec<Scenario> {
    let node = |number: u32, rack: u32| {
        let room = json!({"cpu": "2", "memory": "8Gi", "pods": "20"});
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {
                "name": format!("$SIDE-{number}"),
                "labels": {"side": "$SIDE", "rack": rack.to_string(), "kubernetes.io/hostname": format!("$SIDE-{number}")},
            },
            "status": {
                "allocatable": room, "capacity": room,
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"}],
            },
        })
    };
    let version = "kueue.x-k8s.io/v1beta2";
    let over = json!({"spec": {"completionMode": "Indexed", "template": {
        "metadata": {"annotations": {"kueue.x-k8s.io/podset-required-topology": "rack"}},
        "spec": {"nodeName": null},
    }}});
    vec![of(
        "topology: the indexes of a Job run in one rack, in the order of the nodes",
        [
            Step::Create(vec![
                node(0, 0),
                node(1, 1),
                node(2, 1),
                json!({
                    "apiVersion": version, "kind": "Topology", "metadata": {"name": "$SIDE"},
                    "spec": {"levels": [{"nodeLabel": "rack"}, {"nodeLabel": "kubernetes.io/hostname"}]},
                }),
                json!({
                    "apiVersion": version, "kind": "ResourceFlavor", "metadata": {"name": "$SIDE"},
                    "spec": {"nodeLabels": {"side": "$SIDE"}, "topologyName": "$SIDE"},
                }),
                cluster_queue(6),
                local_queue(),
            ]),
            Step::Create(vec![job("a", 4, "run", &over)]),
            // The node selectors of the pods name both nodes of the second rack.
            until(&[("Job a", "ready=4"), ("Job a", "NAMESPACE-1"), ("Job a", "NAMESPACE-2")]),
            Step::Finish("a", 4, 0),
            until(&[("Workload of Job a", "Finished=True")]),
        ],
    )]
}
