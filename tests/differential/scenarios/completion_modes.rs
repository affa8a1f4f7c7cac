//! The three kinds of Jobs without indexes.

use serde_json::json;

use crate::scenario::*;

pub fn all() -> Vec<Scenario> {
    vec![
        scenario("a job of one pod runs and completes", json!({}), [run(0), ready(0), succeed(0)]),
        scenario("a pod that is never seen running completes its job", json!({}), [succeed(0)]),
        scenario("a pod whose phase is unknown is active", json!({}), [phase(0, "Unknown"), run(0), succeed(0)]),
        scenario("a ready pod that is no longer ready is counted so", json!({}), [ready(0), run(0), ready(0)]),
        scenario(
            "completions are worked off one after the other",
            json!({"completions": 3}),
            [succeed(0), succeed(0), succeed(0)],
        ),
        scenario(
            "completions are worked off two at a time",
            json!({"completions": 5, "parallelism": 2}),
            [succeed(0), together([succeed(0), succeed(1)]), succeed(0), succeed(0)],
        ),
        scenario(
            "no more pods are made than completions are missing",
            json!({"completions": 2, "parallelism": 6}),
            [together([succeed(0), succeed(1)])],
        ),
        scenario("no completions at all are complete at once", json!({"completions": 0}), []),
        scenario("no parallelism makes no pods", json!({"completions": 2, "parallelism": 0}), []),
        scenario(
            "a work queue with one worker completes with it",
            json!({"completions": null, "parallelism": 1}),
            [succeed(0)],
        ),
        scenario(
            "a work queue gets no new pods after its first success",
            json!({"completions": null, "parallelism": 3}),
            [ready(0), succeed(0), fail(0, 1), succeed(0)],
        ),
        scenario(
            "a work queue whose pods all succeed at once completes",
            json!({"completions": null, "parallelism": 4}),
            [together([succeed(0), succeed(1), succeed(2), succeed(3)])],
        ),
        scenario(
            "a work queue replaces failures before its first success",
            json!({"completions": null, "parallelism": 2, "backoffLimit": 3}),
            [fail(0, 1), Step::AwaitActive(2), succeed(0), succeed(0)],
        ),
        scenario(
            "a work queue without parallelism waits for it",
            json!({"completions": null, "parallelism": 0}),
            [change(json!({"parallelism": 1})), succeed(0)],
        ),
        scenario(
            "more pods than the built-in slow start takes at once",
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
            "a template that has the tracking finalizer itself gives it once",
            json!({"template": {"metadata": {
                "finalizers": ["batch.kubernetes.io/job-tracking"],
            }}}),
            [run(0), succeed(0)],
        ),
        Scenario {
            job: "j".repeat(63),
            ..scenario("the longest name a job can have makes pods", json!({"completions": 2}), [run(0), succeed(0)])
        },
        scenario("the name of no mode is the usual mode", json!({"completionMode": "NonIndexed"}), [succeed(0)]),
        scenario(
            "a job that lives only a moment after its end is gone",
            json!({"ttlSecondsAfterFinished": 0}),
            [succeed(0)],
        ),
    ]
}
