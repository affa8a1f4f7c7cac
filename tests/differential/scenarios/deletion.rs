//! Scenarios of Jobs that are deleted, and of pods that are deleted, adopted or released.

use serde_json::json;

use crate::scenario::*;

const TRACKING: &str = "batch.kubernetes.io/job-tracking";

pub fn all() -> Vec<Scenario> {
    let manual = |completions: i32| {
        json!({
            "completions": completions, "parallelism": completions, "manualSelector": true,
            "selector": {"matchLabels": {"app": "mine"}}, "template": {"metadata": {"labels": {"app": "mine"}}},
        })
    };
    vec![
        scenario(
            "background deletion of a job leaves no pod with the tracking finalizer",
            json!({"completions": 3, "parallelism": 2}),
            [ready(0), succeed(1), Step::DeleteJob("Background"), terminated(terminating(0), 143)],
        ),
        scenario(
            "foreground deletion of a job waits for its pods",
            json!({"completions": 3, "parallelism": 2}),
            [
                ready(0),
                succeed(1),
                Step::DeleteJob("Foreground"),
                together([terminated(terminating(0), 143), terminated(terminating(1), 143)]),
            ],
        ),
        scenario(
            "pods of a job deleted with Orphan keep running without the tracking finalizer",
            json!({"completions": 3, "parallelism": 2}),
            [ready(0), succeed(1), Step::DeleteJob("Orphan")],
        ),
        scenario(
            "a new job of the same name starts with empty counters",
            json!({"backoffLimit": 1}),
            [
                fail(0, 1),
                Step::DeleteJob("Background"),
                Step::CreateJob(json!({"completions": 2})),
                succeed(0),
                succeed(0),
            ],
        ),
        scenario("a finished job is deleted", json!({}), [succeed(0), Step::DeleteJob("Background")]),
        scenario("a suspended job is deleted", json!({"suspend": true}), [Step::DeleteJob("Foreground")]),
        scenario(
            "a failed job is deleted in the foreground",
            json!({"backoffLimit": 0}),
            [fail(0, 1), Step::DeleteJob("Foreground")],
        ),
        scenario(
            "a pod that a user deletes counts as failed and is replaced",
            json!({"backoffLimit": 3}),
            [ready(0), delete_pod(0), terminated(terminating(0), 143), Step::AwaitActive(1), succeed(0)],
        ),
        scenario(
            "a pending pod that a user deletes counts as failed",
            json!({"backoffLimit": 3}),
            [delete_pod(0), terminated(terminating(0), 143), Step::AwaitActive(1)],
        ),
        scenario(
            "a deleted pod that exceeds the limit fails the job",
            json!({"backoffLimit": 0}),
            [ready(0), delete_pod(0), terminated(terminating(0), 143)],
        ),
        scenario(
            "a pod that is deleted without its kubelet counts as failed",
            json!({"backoffLimit": 3}),
            [Step::Vanish(Pick::Active(0)), Step::AwaitActive(1), succeed(0)],
        ),
        scenario(
            "a pod deleted after it succeeded counts as succeeded",
            json!({"completions": 2}),
            [succeed(0), Step::Vanish(Pick::Ended(0)), succeed(0)],
        ),
        scenario(
            "a terminating pod delays the end of a job with enough completions",
            json!({"completions": 2, "parallelism": 2}),
            [delete_pod(0), succeed(0), Step::AwaitActive(1), succeed(0), terminated(terminating(0), 143)],
        ),
        scenario(
            "a pod that loses its labels is released and replaced",
            json!({}),
            [
                Step::ChangePod(
                    Pick::Active(0),
                    json!({"metadata": {"labels": {
                        "batch.kubernetes.io/controller-uid": null, "controller-uid": null,
                        "batch.kubernetes.io/job-name": null, "job-name": null,
                    }}}),
                ),
                succeed(0),
            ],
        ),
        scenario(
            "a pod that loses its tracking finalizer while it runs is not counted",
            json!({"completions": 2, "parallelism": 2}),
            [Step::ChangePod(Pick::Active(0), json!({"metadata": {"finalizers": null}})), succeed(0), succeed(0)],
        ),
        scenario(
            "a pod that loses its owner is adopted again",
            json!({}),
            [Step::ChangePod(Pick::Active(0), json!({"metadata": {"ownerReferences": null}})), succeed(0)],
        ),
        scenario(
            "a pod keeps a finalizer of another owner",
            json!({"template": {"metadata": {"finalizers": ["example.com/mine"]}}}),
            [succeed(0)],
        ),
        scenario(
            "an orphaned pod that a manual selector matches is adopted",
            {
                let mut spec = manual(2);
                spec["suspend"] = json!(true);
                spec
            },
            [
                Step::AddPod(json!({"metadata": {"name": "by-hand", "labels": {"app": "mine"}}})),
                Step::AddPod(json!({"metadata": {"name": "unrelated", "labels": {"app": "other"}}})),
            ],
        ),
        scenario(
            "an adopted pod is counted",
            manual(1),
            [succeed(0), Step::AddPod(json!({"metadata": {"name": "late", "labels": {"app": "mine"}}}))],
        ),
        scenario(
            "a surplus adopted pod is deleted",
            manual(1),
            [ready(0), Step::AddPod(json!({"metadata": {"name": "extra", "labels": {"app": "mine"}}}))],
        ),
        scenario(
            "a selector with expressions matches its pods",
            json!({
                "manualSelector": true,
                "selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "b"]}]},
                "template": {"metadata": {"labels": {"app": "b"}}},
            }),
            [ready(0), succeed(0)],
        ),
        scenario(
            "the tracking finalizer of an orphaned pod is removed",
            json!({}),
            [Step::AddPod(json!({"metadata": {
                "name": "orphaned", "finalizers": [TRACKING],
                "labels": {"batch.kubernetes.io/controller-uid": "0b1c", "batch.kubernetes.io/job-name": "gone"},
            }}))],
        ),
    ]
}
