//! Scenarios of `successPolicy`.

use serde_json::{Value, json};

use crate::scenario::*;

fn policy(completions: i32, parallelism: i32, rules: Value, more: Value) -> Value {
    let mut spec = json!({
        "completionMode": "Indexed", "completions": completions, "parallelism": parallelism, "successPolicy": {"rules": rules},
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    spec
}

pub fn all() -> Vec<Scenario> {
    let count = |count: i32| json!([{"succeededCount": count}]);
    vec![
        scenario(
            "a number of successes fulfils the policy",
            policy(4, 3, count(2), json!({})),
            [
                succeed(index(1)),
                succeed(index(2)),
                together([terminated(terminating(0), 143), terminated(terminating(1), 143)]),
            ],
        ),
        scenario(
            "the success of a leader index fulfils the policy",
            policy(3, 3, json!([{"succeededIndexes": "0"}]), json!({})),
            [succeed(index(2)), succeed(index(0)), terminated(terminating(0), 0)],
        ),
        scenario(
            "a number of successes among certain indexes fulfils the policy",
            policy(6, 6, json!([{"succeededIndexes": "0-2,5", "succeededCount": 2}]), json!({})),
            [
                succeed(index(3)),
                succeed(index(5)),
                succeed(index(1)),
                together([
                    terminated(terminating(0), 143),
                    terminated(terminating(1), 143),
                    terminated(terminating(2), 143),
                ]),
            ],
        ),
        scenario(
            "without a number all of certain indexes have to succeed",
            policy(4, 4, json!([{"succeededIndexes": "1,3"}]), json!({})),
            [succeed(index(1)), succeed(index(0)), succeed(index(3)), terminated(terminating(0), 1)],
        ),
        scenario(
            "the message names the first fulfilled rule",
            policy(
                4,
                4,
                json!([{"succeededIndexes": "3"}, {"succeededCount": 2}, {"succeededIndexes": "1"}]),
                json!({}),
            ),
            [
                succeed(index(1)),
                together([terminated(terminating(0), 1), terminated(terminating(1), 1), terminated(terminating(2), 1)]),
            ],
        ),
        scenario(
            "a policy that is never fulfilled changes nothing",
            policy(2, 2, json!([{"succeededIndexes": "0,1"}]), json!({})),
            [succeed(index(0)), succeed(index(1))],
        ),
        scenario(
            "a failed job does not succeed through its policy",
            policy(3, 3, count(2), json!({"backoffLimit": 0})),
            [succeed(index(0)), together([fail(index(1), 1)]), terminated(terminating(0), 0)],
        ),
        scenario(
            "ready pods are deleted after the policy is fulfilled",
            policy(3, 3, count(1), json!({})),
            [
                ready(index(1)),
                ready(index(2)),
                succeed(index(0)),
                together([terminated(terminating(0), 143), terminated(terminating(1), 143)]),
            ],
        ),
        scenario(
            "a success after the outcome is still counted",
            policy(3, 3, count(1), json!({})),
            [succeed(index(0)), together([terminated(terminating(0), 0), terminated(terminating(1), 143)])],
        ),
        scenario(
            "with backoffLimitPerIndex a policy can be fulfilled despite failed indexes",
            policy(4, 4, count(2), json!({"backoffLimitPerIndex": 0})),
            [fail(index(0), 1), succeed(index(1)), succeed(index(2)), terminated(terminating(0), 143)],
        ),
        scenario(
            "with backoffLimitPerIndex a job fails if the index of its policy failed",
            policy(2, 2, json!([{"succeededIndexes": "0"}]), json!({"backoffLimitPerIndex": 0})),
            [fail(index(0), 1), succeed(index(1))],
        ),
        scenario(
            "a failed pod of an index in back-off is released at an early success",
            policy(3, 3, count(1), json!({"backoffLimitPerIndex": 3})),
            [fail(index(0), 1), succeed(index(1)), terminated(terminating(0), 143)],
        ),
    ]
}
