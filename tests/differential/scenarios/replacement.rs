//! Scenarios of `podReplacementPolicy`.

use serde_json::{Value, json};

use crate::scenario::*;

fn waits(more: Value) -> Value {
    let mut spec = json!({"podReplacementPolicy": "Failed", "backoffLimit": 4});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    spec
}

pub fn all() -> Vec<Scenario> {
    vec![
        scenario(
            "a terminating pod is replaced only when it has terminated",
            waits(json!({})),
            [ready(0), delete_pod(0), terminated(terminating(0), 143), Step::AwaitActive(1), succeed(0)],
        ),
        scenario(
            "a terminating pod that exits with zero counts as succeeded",
            waits(json!({})),
            [ready(0), delete_pod(0), terminated(terminating(0), 0)],
        ),
        scenario(
            "with TerminatingOrFailed a terminating pod is replaced immediately",
            json!({
                "podReplacementPolicy": "TerminatingOrFailed", "backoffLimit": 4,
            }),
            [ready(0), delete_pod(0), Step::AwaitActive(1), terminated(terminating(0), 143), succeed(0)],
        ),
        scenario(
            "other pods continue while one pod is terminating",
            waits(json!({"completions": 3, "parallelism": 2})),
            [
                delete_pod(0),
                succeed(0),
                terminated(terminating(0), 143),
                Step::AwaitActive(2),
                together([succeed(0), succeed(1)]),
            ],
        ),
        scenario(
            "an index is not retried before its pod has terminated",
            waits(json!({"completionMode": "Indexed", "completions": 3, "parallelism": 2})),
            [
                delete_pod(index(0)),
                succeed(index(1)),
                terminated(terminating(0), 143),
                Step::AwaitActive(2),
                together([succeed(index(0)), succeed(index(2))]),
            ],
        ),
        scenario(
            "an index with backoffLimitPerIndex waits until its pod has terminated",
            waits(json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimitPerIndex": 1})),
            [
                delete_pod(index(0)),
                terminated(terminating(0), 143),
                Step::AwaitActive(2),
                succeed(index(0)),
                succeed(index(1)),
            ],
        ),
        scenario(
            "a job that fails waits for its terminating pods",
            waits(json!({
                "backoffLimit": 0, "completions": 2, "parallelism": 2,
            })),
            [fail(0, 1), terminated(terminating(0), 0)],
        ),
        scenario(
            "a resumed job with policy Failed waits for terminating pods",
            waits(json!({"completions": 2, "parallelism": 2})),
            [suspend(), resume(), terminated(terminating(0), 143), terminated(terminating(0), 143)],
        ),
        scenario(
            "raised parallelism waits for terminating pods",
            waits(json!({"completions": 4, "parallelism": 2})),
            [change(json!({"parallelism": 1})), change(json!({"parallelism": 3})), terminated(terminating(0), 143)],
        ),
        scenario(
            "a terminating pod that is deleted without its kubelet is counted as by the built-in controller",
            waits(json!({})),
            [ready(0), delete_pod(0), Step::Vanish(Pick::Terminating(0)), Step::Wait(2)],
        ),
    ]
}
