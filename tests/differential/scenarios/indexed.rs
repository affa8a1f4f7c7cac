//! Scenarios of `completionMode: Indexed`.

use serde_json::{Value, json};

use crate::scenario::*;

fn indexed(completions: i32, parallelism: i32, more: Value) -> Value {
    let mut spec = json!({"completionMode": "Indexed", "completions": completions, "parallelism": parallelism});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    spec
}

fn plain(completions: i32, parallelism: i32) -> Value {
    indexed(completions, parallelism, json!({}))
}

pub fn all() -> Vec<Scenario> {
    let index_of = |pod: usize, value: Value| {
        Step::ChangePod(
            Pick::Active(pod),
            json!({"metadata": {"annotations": {"batch.kubernetes.io/job-completion-index": value}}}),
        )
    };
    vec![
        scenario("an indexed job of one index completes", plain(1, 1), [run(0), succeed(0)]),
        scenario("indexes run in order", plain(3, 1), [succeed(0), succeed(0), succeed(0)]),
        scenario(
            "indexes that succeed out of order are listed as intervals",
            plain(8, 8),
            [
                succeed(index(5)),
                succeed(index(3)),
                succeed(index(4)),
                succeed(index(7)),
                together([succeed(index(0)), succeed(index(1))]),
                together([succeed(index(2)), succeed(index(6))]),
            ],
        ),
        scenario(
            "the lowest free index runs next",
            plain(6, 2),
            [succeed(index(1)), succeed(index(0)), succeed(index(3))],
        ),
        scenario(
            "a failed index is retried",
            indexed(3, 3, json!({"backoffLimit": 3})),
            [
                fail(index(1), 1),
                Step::AwaitActive(3),
                together([succeed(index(0)), succeed(index(1)), succeed(index(2))]),
            ],
        ),
        scenario(
            "failures of all indexes count toward one backoffLimit",
            indexed(3, 3, json!({"backoffLimit": 1})),
            [together([fail(index(0), 1), fail(index(1), 1)]), terminated(terminating(0), 1)],
        ),
        scenario("an indexed job with zero completions completes immediately", plain(0, 1), []),
        scenario(
            "every container gets its index as an environment variable",
            indexed(
                2,
                2,
                json!({"template": {"spec": {
                    "initContainers": [{"name": "init", "image": "i"}],
                    "containers": [
                        {"name": "main", "image": "i", "env": [{"name": "A", "value": "b"}]},
                        {"name": "own", "image": "i", "env": [{"name": "JOB_COMPLETION_INDEX", "value": "mine"}]},
                    ],
                }}}),
            ),
            [],
        ),
        Scenario {
            job: "j".repeat(59),
            ..scenario("pod names of a job with a long name contain the index", plain(12, 2), [succeed(0), succeed(0)])
        },
        scenario(
            "the hostname with the index replaces the hostname of the template",
            indexed(
                1,
                1,
                json!({"template": {"spec": {
                    "hostname": "mine", "subdomain": "sub",
                }}}),
            ),
            [],
        ),
        scenario(
            "the index annotation replaces the annotation of the template",
            indexed(
                1,
                1,
                json!({"template": {"metadata": {
                    "annotations": {"batch.kubernetes.io/job-completion-index": "9", "note": "kept"},
                }}}),
            ),
            [],
        ),
        scenario(
            "a pod with an invalid index is replaced without being counted",
            plain(2, 2),
            [index_of(0, json!("none")), terminated(terminating(0), 1)],
        ),
        scenario(
            "a pod whose index is removed is replaced without being counted",
            plain(2, 2),
            [index_of(0, Value::Null), terminated(terminating(0), 1)],
        ),
        scenario(
            "a pod with a negative index is replaced without being counted",
            plain(2, 2),
            [index_of(1, json!("-1"))],
        ),
        scenario(
            "a pod with an index beyond the last is replaced without being counted",
            plain(2, 2),
            [index_of(0, json!("2")), terminated(terminating(0), 1)],
        ),
        scenario(
            "one of two pods with the same index is deleted",
            plain(3, 3),
            [ready(index(1)), index_of(0, json!("1")), terminated(terminating(0), 143)],
        ),
        scenario(
            "a finished pod without a valid index is not counted",
            plain(2, 1),
            [together([index_of(0, json!("7"))]), succeed(0)],
        ),
        scenario(
            "a deleted pod of an index is replaced immediately",
            indexed(2, 2, json!({"backoffLimit": 4})),
            [
                delete_pod(index(0)),
                terminated(terminating(0), 143),
                Step::AwaitActive(2),
                together([succeed(index(0)), succeed(index(1))]),
            ],
        ),
        scenario(
            "a succeeded index stays completed when its pod is deleted",
            plain(3, 1),
            [succeed(index(0)), Step::Vanish(Pick::Ended(0)), succeed(index(1)), succeed(index(2))],
        ),
        scenario(
            "an indexed job past its deadline fails",
            indexed(3, 2, json!({"activeDeadlineSeconds": 12})),
            [
                succeed(index(0)),
                Step::Await("FailureTarget"),
                together([terminated(terminating(0), 143), terminated(terminating(1), 143)]),
            ],
        ),
        scenario(
            "many indexes succeed at the same time",
            plain(20, 20),
            [together((0..20).map(|at| succeed(index(at))))],
        ),
        scenario(
            "an indexed job is deleted",
            plain(3, 2),
            [
                succeed(index(0)),
                Step::DeleteJob("Background"),
                together([terminated(terminating(0), 143), terminated(terminating(1), 143)]),
            ],
        ),
    ]
}
