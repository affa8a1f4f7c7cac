//! `backoffLimit`, pod back-off, `activeDeadlineSeconds`.

use serde_json::json;

use crate::scenario::*;

pub fn all() -> Vec<Scenario> {
    let on_failure = |limit: i32| json!({"backoffLimit": limit, "template": {"spec": {"restartPolicy": "OnFailure"}}});
    vec![
        scenario("with a limit of none the first failure fails the job", json!({"backoffLimit": 0}), [fail(0, 1)]),
        scenario(
            "a failure within the limit is borne after its back-off",
            json!({"backoffLimit": 1}),
            [fail(0, 1), Step::AwaitActive(1), succeed(0)],
        ),
        scenario(
            "one failure more than the limit fails the job",
            json!({"backoffLimit": 1}),
            [fail(0, 1), Step::AwaitActive(1), fail(0, 1)],
        ),
        scenario(
            "two failures at once can exceed the limit",
            json!({"backoffLimit": 1, "completions": 3, "parallelism": 3}),
            [together([fail(0, 1), fail(1, 1)]), terminated(terminating(0), 143)],
        ),
        scenario(
            "when the job fails its other pods are deleted and count as failed",
            json!({"backoffLimit": 0, "completions": 4, "parallelism": 3}),
            [ready(0), run(1), fail(2, 7), terminated(terminating(0), 137), terminated(terminating(0), 0)],
        ),
        scenario(
            "successes before the failure stay counted",
            json!({"backoffLimit": 0, "completions": 4, "parallelism": 2}),
            [succeed(0), fail(0, 1), terminated(terminating(0), 1)],
        ),
        scenario(
            "a success ends the back-off",
            json!({"backoffLimit": 5, "completions": 4, "parallelism": 2}),
            [fail(0, 1), succeed(0), Step::AwaitActive(2), succeed(0), together([succeed(0), succeed(1)])],
        ),
        scenario(
            "two failures double the wait",
            json!({"backoffLimit": 5}),
            [fail(0, 1), Step::AwaitActive(1), fail(0, 1), Step::AwaitActive(1), succeed(0)],
        ),
        scenario(
            "the limit raised in time saves the job",
            json!({"backoffLimit": 0, "parallelism": 0}),
            [
                change(json!({"backoffLimit": 2})),
                change(json!({"parallelism": 1})),
                fail(0, 1),
                Step::AwaitActive(1),
                succeed(0),
            ],
        ),
        scenario("restarts in place below the limit do not fail the job", on_failure(3), [restarted(0, 2), succeed(0)]),
        scenario(
            "as many restarts in place as the limit fail the job",
            on_failure(3),
            [restarted(0, 3), terminated(terminating(0), 1)],
        ),
        scenario(
            "with a limit of none the first restart fails the job",
            on_failure(0),
            [restarted(0, 1), terminated(terminating(0), 1)],
        ),
        scenario(
            "restarts of all pods count together",
            json!({"backoffLimit": 4, "completions": 2, "parallelism": 2, "template": {"spec": {"restartPolicy": "OnFailure"}}}),
            [restarted(0, 2), restarted(1, 2), terminated(terminating(0), 1), terminated(terminating(0), 1)],
        ),
        scenario(
            "restarts of init containers count too",
            json!({"backoffLimit": 2, "template": {"spec": {
                "restartPolicy": "OnFailure", "initContainers": [{"name": "init", "image": "i"}],
            }}}),
            [
                Step::Status(
                    Pick::Active(0),
                    json!({"phase": "Pending", "initContainerStatuses": [{
                        "name": "init", "image": "i", "imageID": "", "ready": false, "restartCount": 2,
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    }]}),
                ),
                terminated(terminating(0), 1),
            ],
        ),
        scenario(
            "under the policy never restarts do not count",
            json!({"backoffLimit": 1}),
            [restarted(0, 5), succeed(0)],
        ),
        scenario(
            "under the policy on failure a failed pod counts once",
            on_failure(1),
            [fail(0, 1), Step::AwaitActive(1), fail(0, 1)],
        ),
        scenario(
            "a job past its deadline fails",
            json!({"activeDeadlineSeconds": 9, "completions": 2, "parallelism": 2}),
            [run(0), Step::Await("FailureTarget"), terminated(terminating(0), 143), terminated(terminating(0), 143)],
        ),
        scenario("a job done before its deadline is complete", json!({"activeDeadlineSeconds": 30}), [succeed(0)]),
        scenario(
            "a deadline set while the job runs is heeded",
            json!({}),
            [run(0), change(json!({"activeDeadlineSeconds": 1})), terminated(terminating(0), 143)],
        ),
        scenario(
            "a deadline moved away in time saves the job",
            json!({"activeDeadlineSeconds": 12}),
            [change(json!({"activeDeadlineSeconds": 600})), Step::Wait(9), succeed(0)],
        ),
        scenario(
            "a deadline without pods fails the job all the same",
            json!({"activeDeadlineSeconds": 3, "parallelism": 0}),
            [Step::Await("Failed")],
        ),
        scenario(
            "a pod that ends well after the job has failed counts as failed",
            json!({
                "backoffLimit": 0, "completions": 2, "parallelism": 2,
            }),
            [fail(0, 1), terminated(terminating(0), 0)],
        ),
        scenario(
            "sidecars that end last say when the pod ended",
            json!({"backoffLimit": 2, "template": {"spec": {
                "initContainers": [{"name": "side", "image": "i", "restartPolicy": "Always"}],
            }}}),
            [fail(0, 1), Step::AwaitActive(1), succeed(0)],
        ),
    ]
}
