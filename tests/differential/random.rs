//! Random scenarios. One seed always generates the same scenario.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::scenario::*;

/// Generates the scenario of a seed.
pub fn scenario(seed: usize) -> Scenario {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(seed as u64).to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let made = any_scenario().new_tree(&mut runner).expect("the generator rejects no value").current();
    Scenario { name: format!("seed {seed}"), lenient: true, ..made }
}

fn any_scenario() -> impl Strategy<Value = Scenario> {
    spec().prop_flat_map(|spec| {
        let elastic = spec["completionMode"] == "Indexed";
        (Just(spec), prop::collection::vec(step(elastic), 2..8))
            .prop_map(|(spec, steps)| crate::scenario::scenario("", spec, steps))
    })
}

/// Generates Job specs that the API server accepts.
fn spec() -> impl Strategy<Value = Value> {
    let sizes = (prop::option::weighted(0.85, 1..5_i32), 1..5_i32, 0..4_i32);
    let modes =
        (prop::bool::weighted(0.5), prop::option::weighted(0.5, 0..3_i32), prop::option::weighted(0.3, 0..2_i32));
    let policies = (prop::option::weighted(0.35, failure_rules()), prop::option::weighted(0.3, success_rules()));
    let rest = (prop::bool::weighted(0.3), prop::bool::weighted(0.15), prop::bool::weighted(0.15));
    (sizes, modes, policies, rest).prop_map(
        |(
            (completions, parallelism, limit),
            (indexed, per_index, max_failed),
            (failure, success),
            (waits, suspend, on_failure),
        )| {
            let mut spec = json!({"completions": completions, "parallelism": parallelism, "backoffLimit": limit});
            let indexed = indexed && completions.is_some();
            if indexed {
                spec["completionMode"] = json!("Indexed");
                if let Some(limit) = per_index {
                    spec["backoffLimitPerIndex"] = json!(limit);
                    spec["backoffLimit"] = json!(i32::MAX);
                    if let (Some(max_failed), Some(completions)) = (max_failed, completions) {
                        spec["maxFailedIndexes"] = json!(max_failed.min(completions));
                    }
                }
                if let (Some(rules), Some(completions)) = (success, completions) {
                    let rules: Vec<Value> = rules.iter().map(|rule| rule(completions)).collect();
                    spec["successPolicy"] = json!({"rules": rules});
                }
            }
            let with_policy = failure.is_some();
            if let Some(rules) = failure {
                // The API server accepts the action FailIndex only together with `backoffLimitPerIndex`.
                let is_valid =
                    |rule: &Value| rule["action"] != "FailIndex" || spec.get("backoffLimitPerIndex").is_some();
                let rules: Vec<Value> = rules.into_iter().filter(is_valid).collect();
                spec["podFailurePolicy"] = json!({"rules": rules});
            }
            if waits || with_policy {
                spec["podReplacementPolicy"] = json!("Failed");
            }
            spec["suspend"] = json!(suspend);
            if on_failure && !with_policy && spec.get("backoffLimitPerIndex").is_none() {
                spec["template"] = json!({"spec": {"restartPolicy": "OnFailure"}});
            }
            spec
        },
    )
}

fn failure_rules() -> impl Strategy<Value = Vec<Value>> {
    let rule = (
        select(vec!["FailJob", "FailIndex", "Ignore", "Count"]),
        prop::bool::weighted(0.7),
        select(vec!["In", "NotIn"]),
    )
        .prop_map(|(action, by_code, operator)| {
            if by_code {
                json!({"action": action, "onExitCodes": {"operator": operator, "values": [42]}})
            } else {
                json!({"action": action, "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]})
            }
        });
    prop::collection::vec(rule, 1..4)
}

type SuccessRule = fn(i32) -> Value;

fn success_rules() -> impl Strategy<Value = Vec<SuccessRule>> {
    let rules: Vec<SuccessRule> = vec![
        |_| json!({"succeededCount": 1}),
        |completions| json!({"succeededCount": completions.min(2)}),
        |_| json!({"succeededIndexes": "0"}),
        |completions| json!({"succeededIndexes": whole(completions), "succeededCount": completions.min(2)}),
        |completions| json!({"succeededIndexes": format!("{}", completions - 1)}),
    ];
    prop::collection::vec(select(rules), 1..3)
}

fn step(elastic: bool) -> impl Strategy<Value = Step> {
    let place = || 0..4_usize;
    let single = prop_oneof![
        6 => place().prop_map(succeed),
        4 => (place(), select(vec![1, 42])).prop_map(|(pod, code)| fail(pod, code)),
        1 => place().prop_map(|pod| fail_as(pod, 137, "DisruptionTarget")),
        2 => place().prop_map(ready),
        1 => place().prop_map(run),
        1 => (place(), 1..4_i32).prop_map(|(pod, times)| restarted(pod, times)),
        2 => place().prop_map(delete_pod),
        3 => (place(), select(vec![0, 1, 42, 143])).prop_map(|(pod, code)| terminated(terminating(pod), code)),
    ];
    let size = (0..5_i32).prop_map(move |size| {
        if elastic && size > 0 {
            change(json!({"parallelism": size, "completions": size}))
        } else {
            change(json!({"parallelism": size}))
        }
    });
    prop_oneof![
        12 => single,
        1 => size,
        1 => Just(suspend()),
        2 => Just(resume()),
        // The duration of the first back-off.
        1 => Just(Step::Wait(11)),
    ]
}

/// Returns all indexes as a text. The API server refuses an interval of one index, such as `0-0`.
fn whole(completions: i32) -> String {
    if completions == 1 { "0".to_owned() } else { format!("0-{}", completions - 1) }
}
