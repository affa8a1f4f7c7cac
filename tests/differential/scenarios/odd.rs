//! Things that should not happen and do.

use serde_json::json;

use crate::scenario::*;

pub fn all() -> Vec<Scenario> {
    vec![
        scenario(
            "numbers changed by hand are put right",
            json!({"completions": 3, "parallelism": 2}),
            [Step::Tamper(json!({"active": 77, "ready": 5, "terminating": 9})), succeed(0)],
        ),
        scenario(
            "successes added by hand are believed",
            json!({"completions": 3, "parallelism": 2}),
            [Step::Tamper(json!({"succeeded": 2})), succeed(0)],
        ),
        scenario(
            "failures added by hand are believed",
            json!({"backoffLimit": 3}),
            [Step::Tamper(json!({"failed": 4})), terminated(terminating(0), 143)],
        ),
        scenario(
            "a uid of nobody is counted",
            json!({"completions": 3, "parallelism": 1}),
            [
                Step::Tamper(json!({"uncountedTerminatedPods": {"succeeded": ["nobody"]}})),
                Step::Tamper(json!({"uncountedTerminatedPods": {"failed": ["no-one"]}})),
            ],
        ),
        scenario(
            "indexes added by hand are believed",
            json!({"completionMode": "Indexed", "completions": 4, "parallelism": 1}),
            [Step::Tamper(json!({"completedIndexes": "1,3", "succeeded": 2})), succeed(index(0)), succeed(index(2))],
        ),
        scenario(
            "an outcome set by hand stands",
            json!({"completions": 3, "parallelism": 2}),
            [
                Step::Tamper(json!({"conditions": [{
                    "type": "FailureTarget", "status": "True", "reason": "ByHand", "message": "somebody said so",
                }]})),
                together([terminated(terminating(0), 143), terminated(terminating(1), 143)]),
            ],
        ),
        scenario(
            "a success set by hand stands",
            json!({"completions": 3, "parallelism": 2}),
            [
                Step::Tamper(json!({"conditions": [{
                    "type": "SuccessCriteriaMet", "status": "True", "reason": "ByHand", "message": "somebody said so",
                }]})),
                together([terminated(terminating(0), 143), terminated(terminating(1), 143)]),
            ],
        ),
        scenario(
            "a condition of somebody else's is left alone",
            json!({}),
            [
                Step::Tamper(
                    json!({"conditions": [{"type": "Odd", "status": "True", "reason": "Why", "message": "not"}]}),
                ),
                succeed(0),
            ],
        ),
        scenario(
            "a quota that refuses pods is told",
            json!({"completions": 3, "parallelism": 3, "suspend": true}),
            [Step::Quota(0), resume()],
        ),
        scenario(
            "a quota lets as many pods through as it has room for",
            json!({"completions": 3, "parallelism": 3, "suspend": true}),
            [Step::Quota(2), resume(), Step::AwaitActive(2), Step::NoQuota, Step::AwaitActive(3)],
        ),
        scenario(
            "a finished job is not woken by its spec",
            json!({"completions": 1}),
            [succeed(0), change(json!({"parallelism": 5})), change(json!({"suspend": true}))],
        ),
        scenario(
            "a pod that fails after it succeeded counts once",
            json!({"completions": 2}),
            [succeed(0), Step::Status(Pick::Ended(0), json!({"reason": "Odd"})), succeed(0)],
        ),
    ]
}
