//! Jobs and pods that are deleted, adopted, let go.

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
            "a job deleted in the background leaves nothing tracked",
            json!({"completions": 3, "parallelism": 2}),
            [ready(0), succeed(1), Step::DeleteJob("Background"), terminated(terminating(0), 143)],
        ),
        scenario(
            "a job deleted in the foreground waits for its pods",
            json!({"completions": 3, "parallelism": 2}),
            [
                ready(0),
                succeed(1),
                Step::DeleteJob("Foreground"),
                together([terminated(terminating(0), 143), terminated(terminating(1), 143)]),
            ],
        ),
        scenario(
            "pods of a job deleted alone live on untracked",
            json!({"completions": 3, "parallelism": 2}),
            [ready(0), succeed(1), Step::DeleteJob("Orphan")],
        ),
        scenario(
            "a job of the same name begins from nothing",
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
            "a pod that somebody deletes counts as failed and is replaced",
            json!({"backoffLimit": 3}),
            [ready(0), delete_pod(0), terminated(terminating(0), 143), Step::AwaitActive(1), succeed(0)],
        ),
        scenario(
            "a pending pod that somebody deletes counts as failed",
            json!({"backoffLimit": 3}),
            [delete_pod(0), terminated(terminating(0), 143), Step::AwaitActive(1)],
        ),
        scenario(
            "a pod deleted one time too often fails the job",
            json!({"backoffLimit": 0}),
            [ready(0), delete_pod(0), terminated(terminating(0), 143)],
        ),
        scenario(
            "a pod that vanishes counts as failed",
            json!({"backoffLimit": 3}),
            [Step::Vanish(Pick::Active(0)), Step::AwaitActive(1), succeed(0)],
        ),
        scenario(
            "a pod deleted after it succeeded counts as succeeded",
            json!({"completions": 2}),
            [succeed(0), Step::Vanish(Pick::Ended(0)), succeed(0)],
        ),
        scenario(
            "a pod deleted while its job has all it wants delays the end",
            json!({"completions": 2, "parallelism": 2}),
            [delete_pod(0), succeed(0), Step::AwaitActive(1), succeed(0), terminated(terminating(0), 143)],
        ),
        scenario(
            "a pod that loses its labels is let go and replaced",
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
            "a pod of another finalizer keeps it",
            json!({"template": {"metadata": {"finalizers": ["example.com/mine"]}}}),
            [succeed(0)],
        ),
        scenario(
            "an orphan that a selector of the user's matches is adopted",
            {
                let mut spec = manual(2);
                spec["suspend"] = json!(true);
                spec
            },
            [
                Step::AddPod(json!({"metadata": {"name": "by-hand", "labels": {"app": "mine"}}})),
                Step::AddPod(json!({"metadata": {"name": "stranger", "labels": {"app": "other"}}})),
            ],
        ),
        scenario(
            "an adopted pod counts",
            manual(1),
            [succeed(0), Step::AddPod(json!({"metadata": {"name": "late", "labels": {"app": "mine"}}}))],
        ),
        scenario(
            "an adopted pod too many is deleted",
            manual(1),
            [ready(0), Step::AddPod(json!({"metadata": {"name": "extra", "labels": {"app": "mine"}}}))],
        ),
        scenario(
            "a selector with expressions finds its pods",
            json!({
                "manualSelector": true,
                "selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "b"]}]},
                "template": {"metadata": {"labels": {"app": "b"}}},
            }),
            [ready(0), succeed(0)],
        ),
        scenario(
            "a stray pod with the tracking finalizer is let go",
            json!({}),
            [Step::AddPod(json!({"metadata": {
                "name": "stray", "finalizers": [TRACKING],
                "labels": {"batch.kubernetes.io/controller-uid": "0b1c", "batch.kubernetes.io/job-name": "gone"},
            }}))],
        ),
    ]
}
