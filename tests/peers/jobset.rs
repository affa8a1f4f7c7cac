//! Scenarios of JobSet.

use serde_json::{Value, json};

use crate::scenario::{Scenario, Step, scenario, template, until};

/// Returns a replicated Job of a JobSet: its name, the number of its Jobs and of the pods of each Job, and what the pods
/// do. Each pod has an index, and no failed pod is replaced.
fn replicated(name: &str, replicas: u32, pods: u32, play: &str) -> Value {
    json!({
        "name": name,
        "replicas": replicas,
        "template": {"spec": {
            "completionMode": "Indexed", "completions": pods, "parallelism": pods, "backoffLimit": 0,
            "template": template(play),
        }},
    })
}

/// Returns the step that creates the JobSet `set` with these replicated Jobs and other fields of the spec.
fn create(jobs: &[Value], spec: &Value) -> Step {
    let mut object = json!({
        "apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": {"name": "set"},
        "spec": {"replicatedJobs": jobs},
    });
    testbed::manifest::lay_over(&mut object["spec"], spec);
    Step::Create(vec![object])
}

/// Returns all scenarios.
pub fn all() -> Vec<Scenario> {
    [success(), failure(), order(), suspension()].into_iter().flatten().collect()
}

fn of(name: &'static str, steps: impl IntoIterator<Item = Step>) -> Scenario {
    scenario("JobSet", name, steps)
}

fn success() -> Vec<Scenario> {
    let any = json!({"successPolicy": {"operator": "Any", "targetReplicatedJobs": ["leader"]}});
    vec![
        of(
            "all Jobs complete",
            [
                create(&[replicated("leader", 1, 1, "succeed"), replicated("worker", 2, 2, "succeed")], &json!({})),
                until(&[("JobSet set", "Completed=True"), ("Job set-worker-1", "succeeded=2")]),
            ],
        ),
        of(
            "success policy: the leader completes while workers run",
            [
                create(&[replicated("leader", 1, 1, "run"), replicated("worker", 2, 2, "run")], &any),
                until(&[("Job set-leader-0", "ready=1"), ("Job set-worker-1", "ready=2")]),
                Step::Finish("set-leader-0", 1, 0),
                until(&[("JobSet set", "Completed=True")]),
            ],
        ),
        of(
            "TTL: a completed JobSet is deleted with its Jobs and pods",
            [
                create(&[replicated("worker", 2, 1, "succeed")], &json!({"ttlSecondsAfterFinished": 5})),
                Step::Gone("JobSet set"),
                Step::Gone("Job set-worker-0"),
            ],
        ),
    ]
}

fn failure() -> Vec<Scenario> {
    let rule = |action: &str| {
        json!({"failurePolicy": {"maxRestarts": 2, "rules": [
            {"name": "first", "action": action, "targetReplicatedJobs": ["worker"], "onJobFailureReasons": ["PodFailurePolicy"]},
        ]}})
    };
    let policy = json!({"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}}]});
    let fatal = |play: &str| {
        let mut job = replicated("worker", 1, 1, play);
        job["template"]["spec"]["podFailurePolicy"] = policy.clone();
        job
    };
    vec![
        of(
            "a Job fails without a failure policy",
            [
                create(&[replicated("leader", 1, 1, "run"), replicated("worker", 1, 2, "run")], &json!({})),
                until(&[("Job set-leader-0", "ready=1"), ("Job set-worker-0", "ready=2")]),
                Step::Finish("set-worker-0", 1, 1),
                until(&[("JobSet set", "Failed=True"), ("Job set-worker-0", "Failed=True")]),
            ],
        ),
        of(
            "failure policy: one restart, then all Jobs complete",
            [
                create(
                    &[replicated("leader", 1, 1, "run,succeed"), replicated("worker", 2, 2, "fail,succeed")],
                    &json!({"failurePolicy": {"maxRestarts": 3}}),
                ),
                until(&[("JobSet set", "Completed=True"), ("JobSet set", "restarts=1")]),
            ],
        ),
        of(
            "failure policy: each Job is deleted before any is created again (BlockingRecreate)",
            [
                create(
                    &[replicated("leader", 1, 1, "run,succeed"), replicated("worker", 2, 2, "fail,succeed")],
                    &json!({"failurePolicy": {"maxRestarts": 3, "restartStrategy": "BlockingRecreate"}}),
                ),
                until(&[("JobSet set", "Completed=True"), ("JobSet set", "restarts=1")]),
            ],
        ),
        of(
            "failure policy: the maximum number of restarts is reached",
            [
                create(&[replicated("worker", 1, 1, "fail")], &json!({"failurePolicy": {"maxRestarts": 2}})),
                until(&[("JobSet set", "Failed=True"), ("JobSet set", "restarts=2")]),
            ],
        ),
        of(
            "failure policy: a rule for the reason PodFailurePolicy fails the JobSet",
            [
                create(&[replicated("leader", 1, 1, "run"), fatal("fail")], &rule("FailJobSet")),
                until(&[("JobSet set", "Failed=True"), ("JobSet set", "restarts=0")]),
            ],
        ),
        of(
            "failure policy: a rule restarts the JobSet without counting the restart",
            [
                create(&[fatal("fail,succeed")], &rule("RestartJobSetAndIgnoreMaxRestarts")),
                until(&[("JobSet set", "Completed=True"), ("JobSet set", "restarts=1")]),
            ],
        ),
    ]
}

fn order() -> Vec<Scenario> {
    let mut worker = replicated("worker", 2, 1, "succeed");
    worker["dependsOn"] = json!([{"name": "leader", "status": "Complete"}]);
    let mut served = replicated("worker", 2, 1, "succeed");
    served["dependsOn"] = json!([{"name": "leader", "status": "Ready"}]);
    vec![
        of(
            "startup policy InOrder: workers start when the leader is ready",
            [
                create(
                    &[replicated("leader", 1, 2, "hold"), replicated("worker", 2, 1, "run")],
                    &json!({"startupPolicy": {"startupPolicyOrder": "InOrder"}}),
                ),
                until(&[("Job set-leader-0", "active=2 ready=0")]),
                Step::Ready("set-leader-0", 1),
                until(&[("Job set-leader-0", "active=2 ready=1")]),
                Step::Ready("set-leader-0", 1),
                until(&[("JobSet set", "StartupPolicyCompleted=True"), ("Job set-worker-1", "ready=1")]),
                Step::Finish("set-worker-0", 1, 0),
                Step::Finish("set-worker-1", 1, 0),
                Step::Finish("set-leader-0", 2, 0),
                until(&[("JobSet set", "Completed=True")]),
            ],
        ),
        of(
            "dependsOn Complete: workers start when the leader is complete",
            [
                create(&[replicated("leader", 1, 1, "run"), worker], &json!({})),
                until(&[("Job set-leader-0", "ready=1")]),
                Step::Finish("set-leader-0", 1, 0),
                until(&[("JobSet set", "Completed=True"), ("Job set-worker-1", "succeeded=1")]),
            ],
        ),
        of(
            "dependsOn Ready: workers start when the leader is ready",
            [
                create(&[replicated("leader", 1, 2, "hold"), served], &json!({})),
                until(&[("Job set-leader-0", "active=2 ready=0")]),
                Step::Ready("set-leader-0", 2),
                until(&[("Job set-worker-1", "succeeded=1")]),
                Step::Finish("set-leader-0", 2, 0),
                until(&[("JobSet set", "Completed=True")]),
            ],
        ),
    ]
}

fn suspension() -> Vec<Scenario> {
    vec![
        of(
            "startup policy InOrder: a JobSet is suspended and resumed while it starts",
            [
                create(
                    &[replicated("leader", 1, 1, "hold"), replicated("worker", 1, 2, "hold")],
                    &json!({"startupPolicy": {"startupPolicyOrder": "InOrder"}}),
                ),
                until(&[("Job set-leader-0", "active=1 ready=0")]),
                Step::Change("JobSet", "set", json!({"spec": {"suspend": true}})),
                until(&[("JobSet set", "Suspended=True"), ("Job set-leader-0", "Suspended=True")]),
                Step::Change("JobSet", "set", json!({"spec": {"suspend": false}})),
                until(&[("Job set-leader-0", "active=1 ready=0")]),
                Step::Ready("set-leader-0", 1),
                until(&[("Job set-worker-0", "active=2 ready=0")]),
                Step::Ready("set-worker-0", 2),
                until(&[("Job set-worker-0", "ready=2"), ("JobSet set", "StartupPolicyCompleted=True")]),
                Step::Finish("set-leader-0", 1, 0),
                Step::Finish("set-worker-0", 2, 0),
                until(&[("JobSet set", "Completed=True")]),
            ],
        ),
        of(
            "suspend and resume",
            [
                create(&[replicated("worker", 2, 2, "run")], &json!({"suspend": true})),
                until(&[("JobSet set", "Suspended=True"), ("Job set-worker-1", "Suspended=True")]),
                Step::Change("JobSet", "set", json!({"spec": {"suspend": false}})),
                until(&[("Job set-worker-0", "ready=2"), ("Job set-worker-1", "ready=2")]),
                Step::Finish("set-worker-0", 1, 0),
                until(&[("Job set-worker-0", "succeeded=1")]),
                Step::Change("JobSet", "set", json!({"spec": {"suspend": true}})),
                until(&[("JobSet set", "Suspended=True"), ("Job set-worker-1", "active=0")]),
                Step::Change("JobSet", "set", json!({"spec": {"suspend": false}})),
                until(&[("Job set-worker-0", "ready=1"), ("Job set-worker-1", "ready=2")]),
                Step::Finish("set-worker-0", 1, 0),
                Step::Finish("set-worker-1", 2, 0),
                until(&[("JobSet set", "Completed=True")]),
            ],
        ),
        of(
            "deletion of a running JobSet",
            [
                create(&[replicated("worker", 2, 2, "run")], &json!({})),
                until(&[("Job set-worker-0", "ready=2"), ("Job set-worker-1", "ready=2")]),
                Step::Delete("JobSet", "set"),
                Step::Gone("JobSet set"),
                Step::Gone("Job set-worker-0"),
                Step::Gone("Job set-worker-1"),
            ],
        ),
    ]
}
