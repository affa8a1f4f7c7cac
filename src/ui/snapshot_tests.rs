//! Snapshots of the pages for every state of a Job, in `src/ui/snapshots/`.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test --lib ui::snapshot_tests` writes the files. Without the variable, a page that differs fails
//! the test.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use serde_json::{Value, json};

use super::cache::JobRow;
use super::fixtures::{Scene, job};
use super::jobs::JobQuery;
use super::views::job::{Opened, Part, page};
use crate::client::explain::job::{Facts, explain};
use crate::client::explain::policy::PolicyState;
use crate::client::leases::Leases;
use crate::job::admission::Admission;
use crate::job::config::SyncConfig;

const NOW: &str = "2026-01-01T01:00:00Z";

/// Job with its pods and events.
struct Case {
    name: &'static str,
    job: Value,
    pods: Vec<Value>,
    events: Vec<Value>,
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn case(name: &'static str, status: Value) -> Case {
    Case { name, job: job("team-a", name, status), pods: Vec::new(), events: Vec::new() }
}

fn pod(name: &str, phase: &str, container: Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "team-a", "uid": name, "creationTimestamp": "2026-01-01T00:30:00Z"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "main"}]},
        "status": {"phase": phase, "startTime": "2026-01-01T00:30:02Z", "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:30:01Z"}],
            "containerStatuses": [{"name": "main", "image": "a", "imageID": "", "ready": phase == "Running", "restartCount": 0,
                "state": container}]},
    })
}

fn running(name: &str) -> Value {
    pod(name, "Running", json!({"running": {"startedAt": "2026-01-01T00:30:05Z"}}))
}

fn failed(name: &str) -> Value {
    pod(
        name,
        "Failed",
        json!({"terminated": {"exitCode": 3, "reason": "Error", "message": "disk <full>",
        "startedAt": "2026-01-01T00:30:05Z", "finishedAt": "2026-01-01T00:40:05Z"}}),
    )
}

fn end(type_: &str, reason: &str) -> Value {
    json!({"startTime": "2026-01-01T00:30:00Z", "conditions": [{"type": type_, "status": "True", "reason": reason,
        "message": "the message", "lastTransitionTime": "2026-01-01T00:45:00Z"}]})
}

fn cases() -> Vec<Case> {
    let started = |more: Value| {
        let mut status = json!({"startTime": "2026-01-01T00:30:00Z"});
        status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        status
    };
    let mut cases = vec![
        case("not-started", json!({})),
        Case {
            pods: vec![running("running-1"), running("running-2")],
            ..case("running", started(json!({"active": 2, "ready": 2})))
        },
        case(
            "suspended",
            json!({"conditions": [{"type": "Suspended", "status": "True", "reason": "JobSuspended",
            "message": "Job suspended", "lastTransitionTime": "2026-01-01T00:00:01Z"}]}),
        ),
        case("waiting", json!({})),
        case("paused", started(json!({}))),
        Case {
            pods: vec![failed("failing-1"), running("failing-2")],
            ..case("failing", started(json!({"active": 1, "failed": 1})))
        },
        case("complete", end("Complete", "CompletionsReached")),
        Case { pods: vec![failed("failed-1")], ..case("failed", end("Failed", "BackoffLimitExceeded")) },
        case("terminating", started(json!({"active": 1, "terminating": 1}))),
        case("managed-externally", json!({})),
    ];
    let waits =
        json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"example.com/a:1\""}});
    cases.push(Case {
        pods: vec![pod("stuck-1", "Pending", waits)],
        events: vec![json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "stuck-1", "uid": "stuck-1"},
            "type": "Warning", "reason": "Failed", "message": "no such image\u{202e}", "count": 4, "lastTimestamp": "2026-01-01T00:59:00Z"})],
        ..case("stuck", started(json!({"active": 1, "ready": 0})))
    });
    for Case { name, job, .. } in &mut cases {
        match *name {
            "suspended" => job["spec"]["suspend"] = true.into(),
            "paused" => job["spec"]["parallelism"] = 0.into(),
            "terminating" => {
                job["metadata"]["deletionTimestamp"] = "2026-01-01T00:59:50Z".into();
                job["metadata"]["finalizers"] = json!(["example.com/hold"]);
            }
            "managed-externally" => job["spec"]["managedBy"] = "example.com/other".into(),
            "waiting" => {
                let waiting = json!({"limit": "lim", "position": 2, "reason": "Queue", "message": "1 Job is ahead"});
                job["metadata"]["annotations"] =
                    json!({crate::job::admission::WAITING_ANNOTATION: waiting.to_string()});
            }
            "failed" => {
                let report = json!({"pod": "failed-1", "container": "main", "exitCode": 3, "reason": "Error",
                    "message": "disk <full>", "log": ["one\u{1b}[31m", "two"]});
                job["metadata"]["annotations"] = json!({crate::job::FAILURE_ANNOTATION: report.to_string()});
                job["metadata"]["labels"] = json!({"app": "etl"});
                job["metadata"]["ownerReferences"] = json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": "o", "controller": true}]);
            }
            _ => {}
        }
    }
    cases
}

fn opened(case: &Case) -> Opened {
    let job: Job = serde_json::from_value(case.job.clone()).unwrap();
    let pods: Vec<Pod> = case.pods.iter().map(|pod| serde_json::from_value(pod.clone()).unwrap()).collect();
    let events: Vec<Event> = case.events.iter().map(|event| serde_json::from_value(event.clone()).unwrap()).collect();
    let admission = match case.name {
        "waiting" => {
            let text = case.job["metadata"]["annotations"][crate::job::admission::WAITING_ANNOTATION].as_str().unwrap();
            Admission::Pending(serde_json::from_str(text).unwrap())
        }
        _ => Admission::Unlimited,
    };
    let suggest = crate::client::suggest::Suggestions::new("jobwright", Some("team-a".to_owned()), Vec::new());
    let facts = Facts {
        job: &job,
        pods: Some(&pods),
        events: &[],
        pod_events: &events,
        nodes: &BTreeMap::new(),
        limits: &SyncConfig::default(),
        admission: &admission,
        policy: &PolicyState::Nothing,
        group: None,
        leases: &Leases::default(),
        suggest: &suggest,
        unread: &[],
    };
    let explanation = explain(&facts, now());
    Opened { job, pods: Ok(pods), events: Ok(events), explanation }
}

/// Compares the content of a page with its snapshot.
pub(super) fn assert_main(name: &str, page: &str) {
    let main = page.split_once("<main").and_then(|(_, rest)| rest.split_once("</main>")).unwrap().0;
    assert_snapshot(name, &format!("<main{main}</main>"));
}

/// Compares a page with its snapshot, with one element on each line.
pub(super) fn assert_snapshot(name: &str, html: &str) {
    let text = html.replace("><", ">\n<") + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ui/snapshots").join(format!("{name}.html"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let different = text.lines().zip(expected.lines()).find(|(is, was)| is != was);
    assert!(
        text == expected,
        "{} differs, the first time at {different:?}; to accept the page, set UPDATE_SNAPSHOTS=1",
        path.display()
    );
}

#[tokio::test]
async fn page_of_a_job_in_each_state_is_as_in_its_snapshot() {
    let scene = Scene::new(&["*"], Vec::new(), false);
    let context = scene.console.context(scene.user(), "team-a");
    for case in cases() {
        let opened = opened(&case);
        for (part, suffix) in [(Part::Overview, ""), (Part::Pods, "-pods")] {
            let html = page(&opened, part, &context, &scene.console, &maud::html! {}, now()).into_string();
            assert!(!html.contains('\u{202e}') && !html.contains('\u{1b}') && !html.contains("<full>"), "{html}");
            assert_snapshot(&format!("job-{}{suffix}", case.name), &html);
        }
    }
}

#[tokio::test]
async fn table_of_jobs_in_each_state_is_as_in_its_snapshot() {
    let scene = Scene::new(&["*"], cases().into_iter().map(|case| case.job).collect(), false);
    let jobs = scene.console.visible::<JobRow>(scene.user(), None).await.unwrap();
    let html = super::views::jobs::main(&jobs, &JobQuery::parse("sort=state").unwrap(), now()).into_string();
    assert_snapshot("jobs", &html);
    let html = super::views::jobs::main(&jobs, &JobQuery::parse("q=none&state=failed").unwrap(), now()).into_string();
    assert_snapshot("jobs-none", &html);
}
