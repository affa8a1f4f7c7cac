//! Scenarios of unusual events: statuses that a user changed, quotas, and changes of finished Jobs.

use serde_json::json;

use crate::scenario::*;

pub fn all() -> Vec<Scenario> {
    vec![
        scenario(
            "pod counts changed by a user are corrected",
            json!({"completions": 3, "parallelism": 2}),
            [Step::Tamper(json!({"active": 77, "ready": 5, "terminating": 9})), succeed(0)],
        ),
        scenario(
            "a number of successes added by a user is accepted",
            json!({"completions": 3, "parallelism": 2}),
            [Step::Tamper(json!({"succeeded": 2})), succeed(0)],
        ),
        scenario(
            "a number of failures added by a user is accepted",
            json!({"backoffLimit": 3}),
            [Step::Tamper(json!({"failed": 4})), terminated(terminating(0), 143)],
        ),
        scenario(
            "a uid without a pod is counted",
            json!({"completions": 3, "parallelism": 1}),
            [
                Step::Tamper(json!({"uncountedTerminatedPods": {"succeeded": ["unknown"]}})),
                Step::Tamper(json!({"uncountedTerminatedPods": {"failed": ["missing"]}})),
            ],
        ),
        scenario(
            "completed indexes added by a user are accepted",
            json!({"completionMode": "Indexed", "completions": 4, "parallelism": 1}),
            [Step::Tamper(json!({"completedIndexes": "1,3", "succeeded": 2})), succeed(index(0)), succeed(index(2))],
        ),
        scenario(
            "a FailureTarget condition set by a user is kept",
            json!({"completions": 3, "parallelism": 2}),
            [
                Step::Tamper(json!({"conditions": [{
                    "type": "FailureTarget", "status": "True", "reason": "ByHand", "message": "set by a user",
                }]})),
                together([terminated(terminating(0), 143), terminated(terminating(1), 143)]),
            ],
        ),
        scenario(
            "a SuccessCriteriaMet condition set by a user is kept",
            json!({"completions": 3, "parallelism": 2}),
            [
                Step::Tamper(json!({"conditions": [{
                    "type": "SuccessCriteriaMet", "status": "True", "reason": "ByHand", "message": "set by a user",
                }]})),
                together([terminated(terminating(0), 143), terminated(terminating(1), 143)]),
            ],
        ),
        scenario(
            "a condition of another controller is left unchanged",
            json!({}),
            [
                Step::Tamper(
                    json!({"conditions": [{"type": "Odd", "status": "True", "reason": "Why", "message": "not"}]}),
                ),
                succeed(0),
            ],
        ),
        scenario(
            "a quota that refuses pods is reported in an event",
            json!({"completions": 3, "parallelism": 3, "suspend": true}),
            [Step::Quota(0), resume()],
        ),
        scenario(
            "a quota admits pods up to its limit",
            json!({"completions": 3, "parallelism": 3, "suspend": true}),
            [Step::Quota(2), resume(), Step::AwaitActive(2), Step::NoQuota, Step::AwaitActive(3)],
        ),
        scenario(
            "a finished job is not restarted by a change of its spec",
            json!({"completions": 1}),
            [succeed(0), change(json!({"parallelism": 5})), change(json!({"suspend": true}))],
        ),
        scenario(
            "a succeeded pod whose status changes again counts once",
            json!({"completions": 2}),
            [succeed(0), Step::Status(Pick::Ended(0), json!({"reason": "Odd"})), succeed(0)],
        ),
    ]
}
