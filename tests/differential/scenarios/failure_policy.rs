//! Scenarios of `podFailurePolicy`.

use serde_json::{Value, json};

use crate::scenario::*;

fn codes(action: &str, operator: &str, values: &[i32]) -> Value {
    json!({"action": action, "onExitCodes": {"operator": operator, "values": values}})
}

fn conditions(action: &str, type_: &str) -> Value {
    json!({"action": action, "onPodConditions": [{"type": type_, "status": "True"}]})
}

fn policy(rules: &[Value], more: Value) -> Value {
    let mut spec = json!({"podFailurePolicy": {"rules": rules}});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    spec
}

pub fn all() -> Vec<Scenario> {
    let init = json!({"spec": {"initContainers": [{"name": "init", "image": "i"}]}});
    let two = json!({"spec": {"containers": [{"name": "main", "image": "i"}, {"name": "side", "image": "i"}]}});
    let exits = |pairs: &[(&str, i32)]| -> Value {
        let statuses = pairs.iter().map(|(name, code)| {
            json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {
                "exitCode": code, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:01Z",
            }}})
        });
        statuses.collect()
    };
    vec![
        scenario("an exit code can fail the job", policy(&[codes("FailJob", "In", &[42])], json!({})), [fail(0, 42)]),
        scenario(
            "an exit code that fails the job ends its other pods",
            policy(&[codes("FailJob", "In", &[42])], json!({"completions": 3, "parallelism": 3})),
            [ready(1), fail(0, 42), together([terminated(terminating(0), 143), terminated(terminating(1), 0)])],
        ),
        scenario(
            "an exit code that matches no rule counts toward the limit",
            policy(&[codes("FailJob", "In", &[42])], json!({"backoffLimit": 1})),
            [fail(0, 1), Step::AwaitActive(1), fail(0, 1)],
        ),
        scenario(
            "an exit code can be ignored",
            policy(&[codes("Ignore", "In", &[42])], json!({"backoffLimit": 0})),
            [fail(0, 42), Step::AwaitActive(1), fail(0, 1)],
        ),
        scenario(
            "a rule can exclude exit codes",
            policy(&[codes("FailJob", "NotIn", &[1, 2])], json!({"backoffLimit": 3})),
            [fail(0, 2), Step::AwaitActive(1), fail(0, 3)],
        ),
        scenario(
            "the first matching rule decides",
            policy(&[codes("Ignore", "In", &[42]), codes("FailJob", "In", &[42, 43])], json!({"backoffLimit": 0})),
            [fail(0, 42), Step::AwaitActive(1), fail(0, 43)],
        ),
        scenario(
            "a matching Count rule skips later rules",
            policy(&[codes("Count", "In", &[42]), codes("FailJob", "NotIn", &[1])], json!({"backoffLimit": 1})),
            [fail(0, 42), Step::AwaitActive(1), succeed(0)],
        ),
        scenario(
            "a condition can be ignored",
            policy(&[conditions("Ignore", "DisruptionTarget")], json!({"backoffLimit": 0})),
            [fail_as(0, 137, "DisruptionTarget"), Step::AwaitActive(1), succeed(0)],
        ),
        scenario(
            "a condition can fail the job",
            policy(&[conditions("FailJob", "ConfigIssue")], json!({})),
            [fail_as(0, 1, "ConfigIssue")],
        ),
        scenario(
            "a condition that is False does not match a rule",
            policy(&[conditions("FailJob", "ConfigIssue")], json!({"backoffLimit": 1})),
            [
                Step::Status(Pick::Active(0), json!({"conditions": [{"type": "ConfigIssue", "status": "False"}]})),
                fail(0, 1),
                Step::AwaitActive(1),
            ],
        ),
        scenario(
            "a rule for one container ignores the other containers",
            policy(
                &[
                    json!({"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [42]}}),
                ],
                json!({"template": two, "backoffLimit": 3}),
            ),
            [Step::Status(
                Pick::Active(0),
                json!({"phase": "Failed", "containerStatuses": exits(&[("main", 0), ("side", 42)])}),
            )],
        ),
        scenario(
            "a rule for one container matches that container",
            policy(
                &[
                    json!({"action": "FailJob", "onExitCodes": {"containerName": "side", "operator": "In", "values": [42]}}),
                ],
                json!({"template": two}),
            ),
            [Step::Status(
                Pick::Active(0),
                json!({"phase": "Failed", "containerStatuses": exits(&[("main", 1), ("side", 42)])}),
            )],
        ),
        scenario(
            "the exit code of an init container can fail the job",
            policy(&[codes("FailJob", "In", &[5])], json!({"template": init})),
            [Step::Status(Pick::Active(0), json!({"phase": "Failed", "initContainerStatuses": exits(&[("init", 5)])}))],
        ),
        scenario(
            "the exit codes of app containers are evaluated before those of init containers",
            policy(&[codes("FailJob", "In", &[5, 6])], json!({"template": init})),
            [Step::Status(
                Pick::Active(0),
                json!({
                    "phase": "Failed", "containerStatuses": exits(&[("main", 6)]), "initContainerStatuses": exits(&[("init", 5)]),
                }),
            )],
        ),
        scenario(
            "the policy is applied to a deleted pod when it has terminated",
            policy(&[codes("FailJob", "In", &[42])], json!({"backoffLimit": 3})),
            [ready(0), delete_pod(0), terminated(terminating(0), 42)],
        ),
        scenario(
            "a deleted pod that exits with zero counts as succeeded",
            policy(&[codes("FailJob", "In", &[42])], json!({})),
            [ready(0), delete_pod(0), terminated(terminating(0), 0)],
        ),
        scenario(
            "an exit code can fail an index",
            policy(
                &[codes("FailIndex", "In", &[42])],
                json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3, "backoffLimitPerIndex": 5}),
            ),
            [fail(index(1), 42), succeed(index(0)), succeed(index(2))],
        ),
        scenario(
            "ignored failures of an index are recorded and not counted",
            policy(
                &[conditions("Ignore", "DisruptionTarget")],
                json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimitPerIndex": 0}),
            ),
            [fail_as(index(0), 137, "DisruptionTarget"), Step::AwaitActive(2), fail(index(0), 1), succeed(index(1))],
        ),
        scenario(
            "counted and ignored failures of an index are recorded separately",
            policy(
                &[codes("Ignore", "In", &[42])],
                json!({"completionMode": "Indexed", "completions": 1, "parallelism": 1, "backoffLimitPerIndex": 2}),
            ),
            [fail(0, 42), Step::AwaitActive(1), fail(0, 1), Step::AwaitActive(1), succeed(0)],
        ),
        scenario(
            "one index can fail the job",
            policy(
                &[codes("FailJob", "In", &[42])],
                json!({"completionMode": "Indexed", "completions": 3, "parallelism": 2, "backoffLimitPerIndex": 1}),
            ),
            [succeed(index(0)), fail(index(1), 42), terminated(terminating(0), 143)],
        ),
    ]
}
