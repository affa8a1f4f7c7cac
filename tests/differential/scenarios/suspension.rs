//! `suspend`.

use serde_json::json;

use crate::scenario::*;

pub fn all() -> Vec<Scenario> {
    vec![
        scenario("a job created suspended makes no pods", json!({"suspend": true}), []),
        scenario("a job created suspended starts when it is resumed", json!({"suspend": true}), [resume(), succeed(0)]),
        scenario("a job created unsuspended on purpose gets no condition", json!({"suspend": false}), [succeed(0)]),
        scenario(
            "a suspended job gives up its pods without counting them",
            json!({"completions": 3, "parallelism": 2}),
            [ready(0), suspend(), terminated(terminating(0), 143), terminated(terminating(0), 0)],
        ),
        scenario(
            "a resumed job goes on where it was",
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
            "a job can be suspended and resumed again and again",
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
            "a resumed job does not wait for pods that are still ending",
            json!({"completions": 2, "parallelism": 2}),
            [
                suspend(),
                resume(),
                together([terminated(terminating(0), 143), terminated(terminating(1), 143)]),
                together([succeed(0), succeed(1)]),
            ],
        ),
        scenario(
            "a suspended job's clock stands",
            json!({"suspend": true, "activeDeadlineSeconds": 12}),
            [Step::Wait(13), resume(), succeed(0)],
        ),
        scenario(
            "a resumed job's clock begins anew",
            json!({"activeDeadlineSeconds": 9}),
            [
                suspend(),
                terminated(terminating(0), 143),
                resume(),
                Step::Await("FailureTarget"),
                terminated(terminating(0), 143),
            ],
        ),
        scenario("a suspended job with no completions is complete", json!({"suspend": true, "completions": 0}), []),
        scenario(
            "a pod that failed before the suspension counts",
            json!({"backoffLimit": 3, "completions": 2, "parallelism": 2}),
            [fail(0, 1), suspend(), terminated(terminating(0), 143), resume()],
        ),
        scenario(
            "a suspended job's template may change and new pods follow it",
            json!({"suspend": true}),
            [change(json!({"template": {"spec": {"nodeSelector": {"disk": "fast"}}}})), resume()],
        ),
        scenario(
            "a suspended job's pods may get other resources",
            json!({"suspend": true}),
            [
                change(json!({"template": {"spec": {"containers": [{
                    "name": "main", "image": "i", "resources": {"requests": {"cpu": "10m"}},
                }]}}})),
                resume(),
                succeed(0),
            ],
        ),
        scenario(
            "a suspended job's labels and annotations for pods may change",
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
            "parallelism changed while suspended counts after resuming",
            json!({"completions": 4, "suspend": true}),
            [change(json!({"parallelism": 3})), resume()],
        ),
    ]
}
