//! Scenarios of `suspend`.

use serde_json::json;
use testbed::report::Feature;

use crate::scenario::*;

pub fn all() -> Vec<Scenario> {
    vec![
        scenario("a job created suspended gets no pods", json!({"suspend": true}), []),
        scenario("a job created suspended starts when it is resumed", json!({"suspend": true}), [resume(), succeed(0)]),
        scenario(
            "a job created with suspend false gets no Suspended condition",
            json!({"suspend": false}),
            [succeed(0)],
        ),
        scenario(
            "the pods of a suspended job are deleted without being counted",
            json!({"completions": 3, "parallelism": 2}),
            [ready(0), suspend(), terminated(terminating(0), 143), terminated(terminating(0), 0)],
        ),
        scenario(
            "a resumed job continues with its remaining completions",
            json!({"completions": 3, "parallelism": 2}),
            [
                succeed(0),
                suspend(),
                together([terminated(terminating(0), 143), terminated(terminating(1), 143)]),
                resume(),
                together([succeed(0), succeed(1)]),
            ],
        ),
        scenario(
            "a job can be suspended and resumed repeatedly",
            json!({}),
            [
                suspend(),
                terminated(terminating(0), 143),
                resume(),
                suspend(),
                terminated(terminating(0), 143),
                resume(),
                succeed(0),
            ],
        ),
        scenario(
            "a resumed job does not wait for terminating pods",
            json!({"completions": 2, "parallelism": 2}),
            [
                suspend(),
                resume(),
                together([terminated(terminating(0), 143), terminated(terminating(1), 143)]),
                together([succeed(0), succeed(1)]),
            ],
        ),
        scenario(
            "the deadline of a suspended job does not expire",
            json!({"suspend": true, "activeDeadlineSeconds": 12}),
            [Step::Wait(13), resume(), succeed(0)],
        ),
        scenario(
            "the deadline of a resumed job starts again",
            json!({"activeDeadlineSeconds": 9}),
            [
                suspend(),
                terminated(terminating(0), 143),
                resume(),
                Step::Await("FailureTarget"),
                terminated(terminating(0), 143),
            ],
        )
        .needs(Feature::MutableSchedulingDirectives),
        scenario("a suspended job with no completions is complete", json!({"suspend": true, "completions": 0}), []),
        scenario(
            "a pod that failed before the suspension counts",
            json!({"backoffLimit": 3, "completions": 2, "parallelism": 2}),
            [fail(0, 1), suspend(), terminated(terminating(0), 143), resume()],
        ),
        scenario(
            "the template of a suspended job can change and new pods use it",
            json!({"suspend": true}),
            [change(json!({"template": {"spec": {"nodeSelector": {"disk": "fast"}}}})), resume()],
        ),
        scenario(
            "the resources in the template of a suspended job can change",
            json!({"suspend": true}),
            [
                change(json!({"template": {"spec": {"containers": [{
                    "name": "main", "image": "i", "resources": {"requests": {"cpu": "10m"}},
                }]}}})),
                resume(),
                succeed(0),
            ],
        )
        .needs(Feature::MutablePodResources),
        scenario(
            "the labels and annotations in the template of a suspended job can change",
            json!({"suspend": true}),
            [change(json!({"template": {"metadata": {"annotations": {"queue": "fast"}}}})), resume()],
        ),
        scenario(
            "an indexed job is suspended and resumed",
            json!({"completionMode": "Indexed", "completions": 3, "parallelism": 2}),
            [
                succeed(index(0)),
                suspend(),
                together([terminated(terminating(0), 143), terminated(terminating(1), 143)]),
                resume(),
                succeed(index(2)),
                succeed(index(1)),
            ],
        ),
        scenario(
            "parallelism that changes during suspension applies after resuming",
            json!({"completions": 4, "suspend": true}),
            [change(json!({"parallelism": 3})), resume()],
        ),
    ]
}
