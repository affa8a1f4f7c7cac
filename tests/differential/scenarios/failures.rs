//! Scenarios of `backoffLimit`, the pod back-off and `activeDeadlineSeconds`.

use serde_json::json;

use crate::scenario::*;

pub fn all() -> Vec<Scenario> {
    let on_failure = |limit: i32| json!({"backoffLimit": limit, "template": {"spec": {"restartPolicy": "OnFailure"}}});
    vec![
        scenario(
            "with a backoffLimit of zero the first failure fails the job",
            json!({"backoffLimit": 0}),
            [fail(0, 1)],
        ),
        scenario(
            "a failure within the limit is retried after the back-off",
            json!({"backoffLimit": 1}),
            [fail(0, 1), Step::AwaitActive(1), succeed(0)],
        ),
        scenario(
            "one failure more than the limit fails the job",
            json!({"backoffLimit": 1}),
            [fail(0, 1), Step::AwaitActive(1), fail(0, 1)],
        ),
        scenario(
            "two concurrent failures can exceed the limit",
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
            "a success resets the back-off",
            json!({"backoffLimit": 5, "completions": 4, "parallelism": 2}),
            [fail(0, 1), succeed(0), Step::AwaitActive(2), succeed(0), together([succeed(0), succeed(1)])],
        ),
        scenario(
            "two failures double the wait",
            json!({"backoffLimit": 5}),
            [fail(0, 1), Step::AwaitActive(1), fail(0, 1), Step::AwaitActive(1), succeed(0)],
        ),
        scenario(
            "a raised backoffLimit applies to later failures",
            json!({"backoffLimit": 0, "parallelism": 0}),
            [
                change(json!({"backoffLimit": 2})),
                change(json!({"parallelism": 1})),
                fail(0, 1),
                Step::AwaitActive(1),
                succeed(0),
            ],
        ),
        scenario(
            "container restarts below the limit do not fail the job",
            on_failure(3),
            [restarted(0, 2), succeed(0)],
        ),
        scenario(
            "container restarts that reach the limit fail the job",
            on_failure(3),
            [restarted(0, 3), terminated(terminating(0), 1)],
        ),
        scenario(
            "with a backoffLimit of zero the first container restart fails the job",
            on_failure(0),
            [restarted(0, 1), terminated(terminating(0), 1)],
        ),
        scenario(
            "container restarts of all pods are added up",
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
            "with restart policy Never container restarts are not counted",
            json!({"backoffLimit": 1}),
            [restarted(0, 5), succeed(0)],
        ),
        scenario(
            "with restart policy OnFailure a failed pod counts once",
            on_failure(1),
            [fail(0, 1), Step::AwaitActive(1), fail(0, 1)],
        ),
        scenario(
            "a job past its deadline fails",
            json!({"activeDeadlineSeconds": 9, "completions": 2, "parallelism": 2}),
            [run(0), Step::Await("FailureTarget"), terminated(terminating(0), 143), terminated(terminating(0), 143)],
        ),
        scenario(
            "a job that finishes before its deadline is complete",
            json!({"activeDeadlineSeconds": 30}),
            [succeed(0)],
        ),
        scenario(
            "a deadline that is set while the job runs takes effect",
            json!({}),
            [run(0), change(json!({"activeDeadlineSeconds": 1})), terminated(terminating(0), 143)],
        ),
        scenario(
            "a deadline that is extended in time does not fail the job",
            json!({"activeDeadlineSeconds": 12}),
            [change(json!({"activeDeadlineSeconds": 600})), Step::Wait(9), succeed(0)],
        ),
        scenario(
            "a deadline fails a job without pods",
            json!({"activeDeadlineSeconds": 3, "parallelism": 0}),
            [Step::Await("Failed")],
        ),
        scenario(
            "a pod that succeeds after the job has failed counts as failed",
            json!({
                "backoffLimit": 0, "completions": 2, "parallelism": 2,
            }),
            [fail(0, 1), terminated(terminating(0), 0)],
        ),
        scenario(
            "a sidecar that terminates last determines the finish time of its pod",
            json!({"backoffLimit": 2, "template": {"spec": {
                "initContainers": [{"name": "side", "image": "i", "restartPolicy": "Always"}],
            }}}),
            [fail(0, 1), Step::AwaitActive(1), succeed(0)],
        ),
    ]
}
