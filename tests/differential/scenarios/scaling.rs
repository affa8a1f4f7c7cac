//! `parallelism` changed, and which pods go first.

use serde_json::json;

use crate::scenario::*;

fn parallelism(count: i32) -> Step {
    change(json!({"parallelism": count}))
}

pub fn all() -> Vec<Scenario> {
    vec![
        scenario("more parallelism adds pods", json!({"completions": 6}), [parallelism(3), parallelism(9)]),
        scenario(
            "less parallelism takes pods away uncounted",
            json!({"completions": 6, "parallelism": 4}),
            [
                parallelism(2),
                together([terminated(terminating(0), 143), terminated(terminating(1), 143)]),
                together([succeed(0), succeed(1)]),
            ],
        ),
        scenario(
            "no parallelism any more takes all pods away",
            json!({"completions": 3, "parallelism": 3}),
            [parallelism(0), parallelism(1)],
        ),
        scenario(
            "pending pods go before running ones and those before ready ones",
            json!({"completions": 6, "parallelism": 4}),
            [ready(0), run(1), ready(2), parallelism(3), parallelism(2), parallelism(1)],
        ),
        scenario(
            "pods whose phase is unknown go between",
            json!({"completions": 6, "parallelism": 3}),
            [run(0), phase(1, "Unknown"), parallelism(2), parallelism(1)],
        ),
        scenario(
            "of equals the one restarted more often goes",
            json!({"completions": 6, "parallelism": 3, "backoffLimit": 20, "template": {"spec": {"restartPolicy": "OnFailure"}}}),
            [restarted(0, 2), restarted(1, 5), restarted(2, 1), parallelism(2), parallelism(1)],
        ),
        scenario(
            "of equals the newer one goes",
            json!({"completions": 6, "parallelism": 1}),
            [run(0), Step::Wait(1), parallelism(2), run(1), parallelism(1)],
        ),
        scenario(
            "parallelism past what is missing changes nothing",
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
            "an indexed job with less parallelism keeps what is done",
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
            "an elastic indexed job that shrinks to what is done is complete",
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
