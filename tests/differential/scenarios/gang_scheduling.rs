//! Scenarios of `scheduling`, with the feature gate WorkloadWithJob of both controllers.

use serde_json::{Value, json};

use crate::scenario::*;

fn gang(min_count: i32) -> Value {
    json!({"schedulingPolicy": {"gang": {"minCount": min_count}}})
}

pub fn all() -> Vec<Scenario> {
    let three = |scheduling: Value| json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed", "scheduling": scheduling});
    let mut suspended = three(gang(3));
    suspended["suspend"] = json!(true);
    let everything = json!({
        "schedulingPolicy": {"gang": {"minCount": 2}}, "disruptionMode": {"all": {}},
        "schedulingConstraints": {"topology": [{"key": "example.com/rack"}]},
    });
    vec![
        scenario(
            "a job without scheduling gets a workload with the basic policy",
            json!({"completions": 2, "parallelism": 2}),
            [succeed(0), succeed(0)],
        ),
        scenario(
            "the pods of a gang job belong to its pod group",
            three(gang(3)),
            [together([succeed(0), succeed(1), succeed(2)])],
        ),
        scenario(
            "the replacement of a failed pod belongs to the same pod group",
            three(gang(2)),
            [fail(0, 1), Step::AwaitActive(3), together([succeed(0), succeed(1), succeed(2)])],
        ),
        scenario("the workload has all fields of scheduling", three(everything), [fail(0, 1)]),
        scenario(
            "a job without minCount has a gang of its parallelism, also after scaling",
            json!({"completions": 6, "parallelism": 2, "scheduling": {"schedulingPolicy": {"gang": {}}}}),
            [
                change(json!({"parallelism": 4})),
                change(json!({"parallelism": 0})),
                Step::AwaitActive(0),
                change(json!({"parallelism": 1})),
                Step::AwaitActive(1),
            ],
        ),
        scenario(
            "a changed minCount reaches workload and pod group",
            json!({"completions": 4, "parallelism": 4, "scheduling": gang(2)}),
            [change(json!({"scheduling": gang(4)})), change(json!({"scheduling": gang(1)})), succeed(0)],
        ),
        scenario(
            "a job created suspended has its workload and pod group before its pods",
            suspended,
            [resume(), suspend(), resume(), Step::AwaitActive(3)],
        ),
        scenario(
            "a job whose template names a group gets no workload",
            json!({"template": {"spec": {"schedulingGroup": {"podGroupName": "mine"}}}}),
            [succeed(0)],
        ),
        scenario(
            "a finished job keeps its workload and pod group",
            json!({"backoffLimit": 0, "scheduling": {"schedulingPolicy": {"basic": {}}}}),
            [fail(0, 1), Step::Await("Failed")],
        ),
    ]
}
