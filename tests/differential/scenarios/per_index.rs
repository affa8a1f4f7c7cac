//! `backoffLimitPerIndex` and `maxFailedIndexes`.

use serde_json::{Value, json};

use crate::scenario::*;

fn per_index(completions: i32, parallelism: i32, limit: i32, more: Value) -> Value {
    let mut spec = json!({
        "completionMode": "Indexed", "completions": completions, "parallelism": parallelism, "backoffLimitPerIndex": limit,
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    spec
}

fn plain(completions: i32, parallelism: i32, limit: i32) -> Value {
    per_index(completions, parallelism, limit, json!({}))
}

pub fn all() -> Vec<Scenario> {
    let count_of = |pod: u32, value: Value| {
        Step::ChangePod(
            Pick::Index(pod),
            json!({"metadata": {"annotations": {"batch.kubernetes.io/job-index-failure-count": value}}}),
        )
    };
    vec![
        scenario(
            "with limits for each index and no failure the job completes",
            plain(2, 2, 1),
            [succeed(index(0)), succeed(index(1))],
        ),
        scenario(
            "an index without a limit fails at its first failure and the others go on",
            plain(3, 2, 0),
            [fail(index(0), 1), succeed(index(1)), succeed(index(2))],
        ),
        scenario("all indexes failed is a failed job", plain(2, 2, 0), [fail(index(0), 1), fail(index(1), 1)]),
        scenario(
            "a failed index is tried again up to its limit",
            plain(2, 2, 1),
            [fail(index(0), 1), Step::AwaitActive(2), fail(index(0), 1), succeed(index(1))],
        ),
        scenario(
            "a failed index that succeeds later is a success",
            plain(2, 2, 1),
            [fail(index(0), 1), Step::AwaitActive(2), succeed(index(0)), succeed(index(1))],
        ),
        scenario(
            "the wait of one index does not hold the others",
            plain(4, 2, 2),
            [
                fail(index(0), 1),
                succeed(index(1)),
                Step::AwaitActive(2),
                succeed(index(0)),
                succeed(index(2)),
                succeed(index(3)),
            ],
        ),
        scenario(
            "each index waits for itself",
            plain(3, 3, 2),
            [
                fail(index(0), 1),
                Step::Wait(2),
                fail(index(1), 1),
                Step::AwaitActive(3),
                together([succeed(index(0)), succeed(index(1)), succeed(index(2))]),
            ],
        ),
        scenario(
            "more failed indexes than may be fail the job at once",
            per_index(4, 3, 0, json!({"maxFailedIndexes": 1})),
            [
                fail(index(0), 1),
                fail(index(1), 1),
                together([terminated(terminating(0), 143), terminated(terminating(1), 143)]),
            ],
        ),
        scenario(
            "no failed index may be",
            per_index(3, 2, 0, json!({"maxFailedIndexes": 0})),
            [fail(index(1), 1), terminated(terminating(0), 1)],
        ),
        scenario(
            "as many failed indexes as may be do not stop the others",
            per_index(3, 3, 0, json!({"maxFailedIndexes": 2})),
            [fail(index(0), 1), fail(index(1), 1), succeed(index(2))],
        ),
        scenario(
            "a global limit beside those of the indexes is heeded",
            per_index(3, 3, 3, json!({"backoffLimit": 1})),
            [fail(index(0), 1), fail(index(1), 1), terminated(terminating(0), 1)],
        ),
        scenario(
            "a corrupt failure count counts as none",
            plain(2, 1, 1),
            [count_of(0, json!("many")), fail(index(0), 1), Step::AwaitActive(1)],
        ),
        scenario(
            "a failure count that was taken away counts as none",
            plain(2, 1, 0),
            [count_of(0, Value::Null), fail(index(0), 1), succeed(index(1))],
        ),
        scenario(
            "a failure count set high by hand fails its index",
            plain(2, 2, 3),
            [count_of(0, json!("7")), fail(index(0), 1), succeed(index(1))],
        ),
        scenario(
            "a pod of an index deleted by somebody waits and carries on",
            plain(2, 2, 2),
            [
                delete_pod(index(0)),
                terminated(terminating(0), 143),
                Step::AwaitActive(2),
                succeed(index(0)),
                succeed(index(1)),
            ],
        ),
        scenario(
            "a suspended job with failed indexes goes on",
            plain(3, 3, 0),
            [
                fail(index(0), 1),
                suspend(),
                together([terminated(terminating(0), 143), terminated(terminating(1), 143)]),
                resume(),
                succeed(index(1)),
                succeed(index(2)),
            ],
        ),
        scenario(
            "a suspended job's index that waits goes on waiting",
            plain(2, 2, 3),
            [
                fail(index(0), 1),
                suspend(),
                terminated(terminating(0), 143),
                resume(),
                Step::AwaitActive(2),
                together([succeed(index(0)), succeed(index(1))]),
            ],
        ),
        scenario(
            "an index that waits is let go when the job is deleted",
            plain(2, 1, 3),
            [fail(index(0), 1), Step::DeleteJob("Background")],
        ),
        scenario(
            "an index that waits is counted when the job fails",
            per_index(3, 3, 3, json!({"activeDeadlineSeconds": 9})),
            [
                fail(index(0), 1),
                Step::Await("FailureTarget"),
                together([terminated(terminating(0), 143), terminated(terminating(1), 143)]),
            ],
        ),
        scenario(
            "parallelism beyond the indexes left makes no more pods",
            plain(3, 3, 0),
            [fail(index(0), 1), change(json!({"parallelism": 1})), change(json!({"parallelism": 5}))],
        ),
        scenario(
            "an elastic job loses failed indexes beyond its last",
            per_index(3, 3, 0, json!({})),
            [
                fail(index(2), 1),
                change(json!({"completions": 2, "parallelism": 2})),
                succeed(index(0)),
                succeed(index(1)),
            ],
        ),
    ]
}
