//! Scenarios of changes of `parallelism`, and of the order in which pods are deleted.

use serde_json::json;

use crate::scenario::*;

fn parallelism(count: i32) -> Step {
    change(json!({"parallelism": count}))
}

pub fn all() -> Vec<Scenario> {
    vec![
        scenario("higher parallelism adds pods", json!({"completions": 6}), [parallelism(3), parallelism(9)]),
        scenario(
            "lower parallelism deletes pods without counting them",
            json!({"completions": 6, "parallelism": 4}),
            [
                parallelism(2),
                together([terminated(terminating(0), 143), terminated(terminating(1), 143)]),
                together([succeed(0), succeed(1)]),
            ],
        ),
        scenario(
            "parallelism of zero deletes all pods",
            json!({"completions": 3, "parallelism": 3}),
            [parallelism(0), parallelism(1)],
        ),
        scenario(
            "pending pods are deleted before running pods and running pods before ready pods",
            json!({"completions": 6, "parallelism": 4}),
            [ready(0), run(1), ready(2), parallelism(3), parallelism(2), parallelism(1)],
        ),
        scenario(
            "pods of unknown phase are deleted between pending and running pods",
            json!({"completions": 6, "parallelism": 3}),
            [run(0), phase(1, "Unknown"), parallelism(2), parallelism(1)],
        ),
        scenario(
            "of equal pods the one with more restarts is deleted",
            json!({"completions": 6, "parallelism": 3, "backoffLimit": 20, "template": {"spec": {"restartPolicy": "OnFailure"}}}),
            [restarted(0, 2), restarted(1, 5), restarted(2, 1), parallelism(2), parallelism(1)],
        ),
        scenario(
            "of equal pods the newer one is deleted",
            json!({"completions": 6, "parallelism": 1}),
            [run(0), Step::Wait(1), parallelism(2), run(1), parallelism(1)],
        ),
        scenario(
            "parallelism above the missing completions changes nothing",
            json!({"completions": 2, "parallelism": 2}),
            [parallelism(5), succeed(0), parallelism(1), succeed(0)],
        ),
        scenario(
            "a work queue scales up and down",
            json!({"completions": null, "parallelism": 2}),
            [parallelism(4), parallelism(1), succeed(0)],
        ),
        scenario(
            "a work queue does not grow after its first success",
            json!({"completions": null, "parallelism": 2}),
            [succeed(0), parallelism(5), succeed(0)],
        ),
        scenario(
            "an indexed job with lower parallelism keeps its completed indexes",
            json!({
                "completionMode": "Indexed", "completions": 5, "parallelism": 4,
            }),
            [ready(index(3)), run(index(2)), succeed(index(1)), parallelism(2), parallelism(4)],
        ),
        scenario(
            "an elastic indexed job grows",
            json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2}),
            [
                succeed(index(0)),
                change(json!({"completions": 4, "parallelism": 4})),
                together([succeed(index(1)), succeed(index(2)), succeed(index(3))]),
            ],
        ),
        scenario(
            "an elastic indexed job shrinks",
            json!({"completionMode": "Indexed", "completions": 4, "parallelism": 4}),
            [
                succeed(index(3)),
                succeed(index(0)),
                change(json!({"completions": 2, "parallelism": 2})),
                terminated(terminating(0), 143),
                succeed(index(1)),
            ],
        ),
        scenario(
            "an elastic indexed job that shrinks to its completed indexes is complete",
            json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3}),
            [
                together([succeed(index(0)), succeed(index(1))]),
                change(json!({"completions": 2, "parallelism": 2})),
                terminated(terminating(0), 0),
            ],
        ),
        scenario(
            "an elastic indexed job shrinks and grows again",
            json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3}),
            [
                succeed(index(2)),
                change(json!({"completions": 1, "parallelism": 1})),
                terminated(terminating(0), 0),
                change(json!({"completions": 3, "parallelism": 3})),
                together([succeed(index(0)), succeed(index(1)), succeed(index(2))]),
            ],
        ),
        scenario(
            "a failure beyond the last index of a job that shrank does not count twice",
            json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3, "backoffLimit": 3}),
            [
                fail(index(2), 1),
                change(json!({"completions": 2, "parallelism": 2})),
                succeed(index(0)),
                succeed(index(1)),
            ],
        ),
    ]
}
