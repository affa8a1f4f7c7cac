//! Property tests of everything that parses texts and objects of users: no input causes a panic, a hang or unbounded
//! growth.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a failed expectation ends the test, and the modules of a test are no library"
)]

mod targets;

use std::time::Instant;

use jobwright::job::view::JobView;
use jobwright::job::wire::WireJob;
use jobwright::runtime::codec::{envelope, fields};
use proptest::prelude::*;
use serde_json::{Value, json};
use targets::{TARGETS, job};

/// Fragments that generated texts consist of, so that many of the texts are valid.
const PIECES: [&str; 28] = [
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
    "\u{1b}[",
    "\u{1b}]8;;",
    "38;5;9m",
    "\r",
];

/// Generates texts of fragments, and arbitrary bytes.
fn texts() -> impl Strategy<Value = Vec<u8>> {
    let made =
        prop::collection::vec(prop::sample::select(&PIECES[..]), 0..14).prop_map(|all| all.concat().into_bytes());
    prop_oneof![made, prop::collection::vec(any::<u8>(), 0..200)]
}

/// Generates protobuf messages whose fields have the numbers of real ones, and contain numbers, texts and messages.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let text =
        prop_oneof![Just(b"batch.kubernetes.io/job-tracking".to_vec()), prop::collection::vec(any::<u8>(), 0..20)];
    text.prop_recursive(6, 60, 8, |inner| {
        prop::collection::vec((1_u64..45, inner, any::<Option<u64>>()), 0..8).prop_map(|all| {
            let mut message = Vec::new();
            for (number, content, value) in all {
                match value {
                    Some(value) if number < 16 => {
                        // The number and the wire type of the field, and a number of one to ten bytes.
                        message.push(u8::try_from(number << 3).expect("a small number"));
                        message.extend((0..value % 9).map(|shift| (value >> (7 * shift)) as u8 | 0x80));
                        message.push((value % 0x7f) as u8);
                    }
                    _ => fields::put(&mut message, number, &content),
                }
            }
            message
        })
    })
}

/// Returns a watch frame of this event.
fn frame(event: &[u8]) -> Vec<u8> {
    let length = u32::try_from(event.len()).expect("a short event");
    [&length.to_be_bytes()[..], event].concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_text_is_parsed_or_refused_without_a_panic(data in texts()) {
        for (_, target) in TARGETS {
            target(&data);
        }
    }

    #[test]
    fn every_protobuf_message_is_decoded_or_refused_without_a_panic(
        spec in messages(), metadata in messages(), status in messages(), damage in any::<Option<(prop::sample::Index, u8)>>(),
    ) {
        let mut job = Vec::new();
        for (number, part) in [(1, &metadata), (2, &spec), (3, &status)] {
            fields::put(&mut job, number, part);
        }
        // A template with random fields in an Indexed Job that is valid otherwise.
        let mut valid = Vec::new();
        let mut named = metadata.clone();
        for (number, text) in [(1, "name"), (3, "namespace"), (5, "uid"), (6, "7")] {
            fields::put(&mut named, number, text.as_bytes());
        }
        let mut indexed = Vec::new();
        fields::put(&mut indexed, 6, &job);
        fields::put(&mut indexed, 9, b"Indexed");
        fields::put(&mut valid, 1, &named);
        fields::put(&mut valid, 2, &indexed);
        for mut message in [job, valid, spec] {
            if let Some((at, byte)) = &damage && !message.is_empty() {
                let at = at.index(message.len());
                message[at] = *byte;
            }
            targets::protobuf(&message);
            let mut event = Vec::new();
            fields::put(&mut event, 1, b"ADDED");
            let mut object = Vec::new();
            fields::put(&mut object, 1, &envelope::seal("v1", "Pod", message).bytes);
            fields::put(&mut event, 2, &object);
            targets::protobuf(&frame(&event));
        }
    }

    #[test]
    fn arbitrary_objects_get_a_decision_without_a_panic(data in prop::collection::vec(any::<u8>(), 100..400)) {
        job(&data);
        targets::cron_job(&data);
        targets::job_schedule(&data);
    }
}

/// Returns a small valid Job.
fn small_job() -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "a", "namespace": "default", "uid": "u", "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"template": {"spec": {"containers": []}}, "selector": {"matchLabels": {"app": "a"}}},
        "status": {},
    })
}

/// The objects have up to 1.5 MB, the limit of etcd. The parsed object must not be larger, and parsing must take little
/// time.
#[test]
fn largest_objects_are_parsed_in_bounded_time_and_size() {
    let conditions: Vec<Value> = (0..10_000)
        .map(|number| {
            json!({"type": format!("Condition{number}"), "status": "True", "reason": "R", "message": "m".repeat(20),
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
        })
        .collect();
    let uids: Vec<String> = (0..30_000).map(|number| format!("uid-{number:032}")).collect();
    let indexes = (0..100_000).step_by(2).map(|index| index.to_string()).collect::<Vec<_>>().join(",");
    let mut many_conditions = small_job();
    many_conditions["status"]["conditions"] = json!(conditions);
    let mut many_uncounted = small_job();
    many_uncounted["status"]["uncountedTerminatedPods"] = json!({"succeeded": uids, "failed": []});
    let mut many_indexes = small_job();
    many_indexes["spec"]["completions"] = json!(100_000);
    many_indexes["spec"]["completionMode"] = json!("Indexed");
    many_indexes["status"]["completedIndexes"] = json!(indexes);
    let mut deep = small_job();
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
        assert!(
            patch.len() < 2 * text.len(),
            "{what}: {} bytes were parsed into a patch of {} bytes",
            text.len(),
            patch.len()
        );
        // Anything quadratic in the size of an object that a user wrote would take hours.
        assert!(begun.elapsed().as_secs() < 30, "parsing {what} took {:?}", begun.elapsed());
    }
}

/// The nesting is deeper than the stack of a recursive parser, which would abort the process.
#[test]
fn deep_nesting_is_refused_without_a_stack_overflow() {
    let text = format!("{{\"type\":\"ADDED\",\"object\":{}{}}}", "{\"spec\":".repeat(200_000), "}".repeat(200_000));
    targets::watch(text.as_bytes());
    let mut object = small_job().to_string();
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    object = object.replace("\"containers\":[]", &format!("\"containers\":{nested}"));
    targets::watch(format!("{{\"type\":\"ADDED\",\"object\":{object}}}").as_bytes());
    // Groups, which Kubernetes does not use, and messages in unknown fields.
    targets::protobuf(&[0x0b; 200_000]);
    let mut message = Vec::new();
    for _ in 0..2_000 {
        let inner = std::mem::take(&mut message);
        fields::put(&mut message, 1, &inner);
    }
    targets::protobuf(&message);
}
