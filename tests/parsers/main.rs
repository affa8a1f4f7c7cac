//! Texts and objects that others write, in every shape: nothing panics, hangs or grows without bound.

mod targets;

use std::time::Instant;

use jobwright::job::view::JobView;
use jobwright::job::wire::WireJob;
use proptest::prelude::*;
use serde_json::{Value, json};
use targets::{TARGETS, job};

/// Pieces that texts of these kinds are made of, so that many of them can be read.
const PIECES: [&str; 24] = [
    "0",
    "1",
    "59",
    "7",
    "-",
    ",",
    "*",
    "/",
    " ",
    "@every ",
    "@daily",
    "1h",
    "30m",
    ".5s",
    "TZ=",
    "CRON_TZ=UTC ",
    "Europe/Paris",
    "MON",
    "jan",
    "?",
    "jobs=12",
    "pods=",
    "4294967296",
    "\u{1f980}",
];

fn texts() -> impl Strategy<Value = Vec<u8>> {
    let made =
        prop::collection::vec(prop::sample::select(&PIECES[..]), 0..14).prop_map(|all| all.concat().into_bytes());
    prop_oneof![made, prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_is_read_or_refused(data in texts()) {
        for (_, target) in TARGETS {
            target(&data);
        }
    }

    #[test]
    fn whatever_a_job_holds_something_is_decided(data in prop::collection::vec(any::<u8>(), 100..400)) {
        job(&data);
        targets::cron_job(&data);
        targets::job_schedule(&data);
    }
}

/// A Job with a bit of everything.
fn usual() -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "a", "namespace": "default", "uid": "u", "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"template": {"spec": {"containers": []}}, "selector": {"matchLabels": {"app": "a"}}},
        "status": {},
    })
}

/// As large as etcd takes: 1.5 MB. What is kept of it is no more, and it is read in no time.
#[test]
fn the_largest_objects_are_read_in_a_moment() {
    let conditions: Vec<Value> = (0..10_000)
        .map(|number| {
            json!({"type": format!("Condition{number}"), "status": "True", "reason": "R", "message": "m".repeat(20),
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
        })
        .collect();
    let uids: Vec<String> = (0..30_000).map(|number| format!("uid-{number:032}")).collect();
    let indexes = (0..100_000).step_by(2).map(|index| index.to_string()).collect::<Vec<_>>().join(",");
    let mut many_conditions = usual();
    many_conditions["status"]["conditions"] = json!(conditions);
    let mut many_uncounted = usual();
    many_uncounted["status"]["uncountedTerminatedPods"] = json!({"succeeded": uids, "failed": []});
    let mut many_indexes = usual();
    many_indexes["spec"]["completions"] = json!(100_000);
    many_indexes["spec"]["completionMode"] = json!("Indexed");
    many_indexes["status"]["completedIndexes"] = json!(indexes);
    let mut deep = usual();
    deep["spec"]["template"] = json!({"spec": {"containers": [{"args": ["x".repeat(1_400_000)]}]}});
    for (what, object) in [
        ("conditions", many_conditions),
        ("uncounted pods", many_uncounted),
        ("indexes", many_indexes),
        ("arguments", deep),
    ] {
        let text = object.to_string();
        let begun = Instant::now();
        let wire: WireJob = serde_json::from_str(&text).expect("a Job");
        let view = JobView::parse(wire).expect("a Job");
        targets::watch(format!("{{\"type\":\"ADDED\",\"object\":{text}}}").as_bytes());
        let patch = view.status.to_patch().to_string();
        assert!(patch.len() < 2 * text.len(), "{what}: {} bytes became {}", text.len(), patch.len());
        // Hours, where something is quadratic in what somebody else writes.
        assert!(begun.elapsed().as_secs() < 30, "{what} took {:?}", begun.elapsed());
    }
}

/// Nested deeper than a parser's stack: refused, not died of.
#[test]
fn nesting_without_end_is_refused() {
    let text = format!("{{\"type\":\"ADDED\",\"object\":{}{}}}", "{\"spec\":".repeat(200_000), "}".repeat(200_000));
    targets::watch(text.as_bytes());
    let mut object = usual().to_string();
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    object = object.replace("\"containers\":[]", &format!("\"containers\":{nested}"));
    targets::watch(format!("{{\"type\":\"ADDED\",\"object\":{object}}}").as_bytes());
}
