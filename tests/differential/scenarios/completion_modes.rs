//! Scenarios of Jobs without indexes: one pod, fixed completions, and work queues.

use serde_json::json;

use crate::scenario::*;

pub fn all() -> Vec<Scenario> {
    vec![
        scenario("a job of one pod runs and completes", json!({}), [run(0), ready(0), succeed(0)]),
        scenario("a pod that is never observed as running completes its job", json!({}), [succeed(0)]),
        scenario("a pod whose phase is unknown is active", json!({}), [phase(0, "Unknown"), run(0), succeed(0)]),
        scenario("a pod that stops being ready leaves the ready count", json!({}), [ready(0), run(0), ready(0)]),
        scenario(
            "completions run one after the other",
            json!({"completions": 3}),
            [succeed(0), succeed(0), succeed(0)],
        ),
        scenario(
            "completions run two at a time",
            json!({"completions": 5, "parallelism": 2}),
            [succeed(0), together([succeed(0), succeed(1)]), succeed(0), succeed(0)],
        ),
        scenario(
            "a job gets no more pods than completions are missing",
            json!({"completions": 2, "parallelism": 6}),
            [together([succeed(0), succeed(1)])],
        ),
        scenario("a job with zero completions completes immediately", json!({"completions": 0}), []),
        scenario("a job with zero parallelism gets no pods", json!({"completions": 2, "parallelism": 0}), []),
        scenario(
            "a work queue with one worker completes when the worker succeeds",
            json!({"completions": null, "parallelism": 1}),
            [succeed(0)],
        ),
        scenario(
            "a work queue gets no new pods after its first success",
            json!({"completions": null, "parallelism": 3}),
            [ready(0), succeed(0), fail(0, 1), succeed(0)],
        ),
        scenario(
            "a work queue whose pods all succeed at the same time completes",
            json!({"completions": null, "parallelism": 4}),
            [together([succeed(0), succeed(1), succeed(2), succeed(3)])],
        ),
        scenario(
            "a work queue replaces failed pods before its first success",
            json!({"completions": null, "parallelism": 2, "backoffLimit": 3}),
            [fail(0, 1), Step::AwaitActive(2), succeed(0), succeed(0)],
        ),
        scenario(
            "a work queue with zero parallelism waits until it is raised",
            json!({"completions": null, "parallelism": 0}),
            [change(json!({"parallelism": 1})), succeed(0)],
        ),
        scenario(
            "more pods than one batch of the built-in slow start are created",
            json!({"completions": 9, "parallelism": 9}),
            [together((0..9).map(succeed))],
        ),
        scenario(
            "labels annotations and finalizers of the template reach the pods",
            json!({"template": {"metadata": {
                "labels": {"app": "a"}, "annotations": {"note": "b"}, "finalizers": ["example.com/mine"],
            }}}),
            [run(0)],
        ),
        scenario(
            "a tracking finalizer in the template is not duplicated",
            json!({"template": {"metadata": {
                "finalizers": ["batch.kubernetes.io/job-tracking"],
            }}}),
            [run(0), succeed(0)],
        ),
        Scenario {
            job: "j".repeat(63),
            ..scenario(
                "a job with the longest possible name gets pods",
                json!({"completions": 2}),
                [run(0), succeed(0)],
            )
        },
        scenario(
            "the completion mode NonIndexed equals the default",
            json!({"completionMode": "NonIndexed"}),
            [succeed(0)],
        ),
        scenario(
            "a job with a TTL of zero is deleted when it finishes",
            json!({"ttlSecondsAfterFinished": 0}),
            [succeed(0)],
        ),
    ]
}
