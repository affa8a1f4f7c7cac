//! Scenarios of `backoffLimitPerIndex` and `maxFailedIndexes`.

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
            "a job with backoffLimitPerIndex and no failure completes",
            plain(2, 2, 1),
            [succeed(index(0)), succeed(index(1))],
        ),
        scenario(
            "with a backoffLimitPerIndex of zero a failed index does not stop the others",
            plain(3, 2, 0),
            [fail(index(0), 1), succeed(index(1)), succeed(index(2))],
        ),
        scenario("a job whose indexes all failed fails", plain(2, 2, 0), [fail(index(0), 1), fail(index(1), 1)]),
        scenario(
            "a failed index is retried up to its limit",
            plain(2, 2, 1),
            [fail(index(0), 1), Step::AwaitActive(2), fail(index(0), 1), succeed(index(1))],
        ),
        scenario(
            "an index that fails and then succeeds is completed",
            plain(2, 2, 1),
            [fail(index(0), 1), Step::AwaitActive(2), succeed(index(0)), succeed(index(1))],
        ),
        scenario(
            "the back-off of one index does not delay the others",
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
            "each index has its own back-off",
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
            "more failed indexes than maxFailedIndexes fail the job immediately",
            per_index(4, 3, 0, json!({"maxFailedIndexes": 1})),
            [
                fail(index(0), 1),
                fail(index(1), 1),
                together([terminated(terminating(0), 143), terminated(terminating(1), 143)]),
            ],
        ),
        scenario(
            "with maxFailedIndexes of zero the first failed index fails the job",
            per_index(3, 2, 0, json!({"maxFailedIndexes": 0})),
            [fail(index(1), 1), terminated(terminating(0), 1)],
        ),
        scenario(
            "as many failed indexes as maxFailedIndexes do not stop the others",
            per_index(3, 3, 0, json!({"maxFailedIndexes": 2})),
            [fail(index(0), 1), fail(index(1), 1), succeed(index(2))],
        ),
        scenario(
            "backoffLimit applies in addition to backoffLimitPerIndex",
            per_index(3, 3, 3, json!({"backoffLimit": 1})),
            [fail(index(0), 1), fail(index(1), 1), terminated(terminating(0), 1)],
        ),
        scenario(
            "an invalid failure count annotation counts as zero",
            plain(2, 1, 1),
            [count_of(0, json!("many")), fail(index(0), 1), Step::AwaitActive(1)],
        ),
        scenario(
            "a removed failure count annotation counts as zero",
            plain(2, 1, 0),
            [count_of(0, Value::Null), fail(index(0), 1), succeed(index(1))],
        ),
        scenario(
            "a failure count annotation above the limit fails the index",
            plain(2, 2, 3),
            [count_of(0, json!("7")), fail(index(0), 1), succeed(index(1))],
        ),
        scenario(
            "a deleted pod of an index is replaced after the back-off",
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
            "a resumed job with failed indexes continues",
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
            "the back-off of an index continues after the job is resumed",
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
            "a failed pod of an index in back-off is released when the job is deleted",
            plain(2, 1, 3),
            [fail(index(0), 1), Step::DeleteJob("Background")],
        ),
        scenario(
            "a failed pod of an index in back-off is counted when the job fails",
            per_index(3, 3, 3, json!({"activeDeadlineSeconds": 9})),
            [
                fail(index(0), 1),
                Step::Await("FailureTarget"),
                together([terminated(terminating(0), 143), terminated(terminating(1), 143)]),
            ],
        ),
        scenario(
            "parallelism above the remaining indexes adds no pods",
            plain(3, 3, 0),
            [fail(index(0), 1), change(json!({"parallelism": 1})), change(json!({"parallelism": 5}))],
        ),
        scenario(
            "an elastic job removes failed indexes beyond its last index",
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
