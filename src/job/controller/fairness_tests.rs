//! Fairness: a large Job does not delay the first write of another Job, and refused writes back off.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use super::orphans::MAX_FINALIZER_REMOVALS_PER_SYNC;
use super::{Config, Controller, Key};
use crate::job::config::SyncConfig;
use crate::job::decide::fixtures::pod;
use crate::job::managed_by::Claim;
use crate::job::metrics::JobMetrics;
use crate::job::view::{ControllerRef, JobView, PodView};
use crate::job::{CONTROLLER_UID_LABEL, TRACKING_FINALIZER};
use crate::runtime::cache::Source;
use crate::runtime::clock::Clock;
use crate::runtime::codec::Encoding;
use crate::runtime::context::ControllerContext;
use crate::runtime::events;
use crate::runtime::worker::SyncMetrics;
use crate::runtime::write_gate::WriteGate;

/// Number of pods of the Job that is synced first.
const PODS: usize = 10_000;

/// Write requests, in order.
type Log = Arc<Mutex<Vec<(Method, String)>>>;

/// Response of an API server, as code and body, to a method and a path.
type Server = fn(&Method, &str) -> (u16, Value);

/// Client of an API server that answers after 5 ms.
fn client(log: &Log, answer: Server) -> Client {
    let log = log.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let log = log.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let (code, answer) = answer(&method, &path);
            if method != Method::GET {
                log.lock().push((method, path));
            }
            let body = answer.to_string().into_bytes();
            Ok::<_, std::io::Error>(Response::builder().status(code).body(Body::from(body)).unwrap())
        }
    });
    Client::new(service, "default")
}

/// Response of an API server that has no Job, removes finalizers from pods and creates pods.
fn answer(method: &Method, path: &str) -> (u16, Value) {
    let name = path.rsplit('/').next().unwrap_or_default();
    let made = *method == Method::POST;
    let patched = *method == Method::PATCH && path.contains("/pods/");
    if !made && !patched {
        return (404, json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": ""}));
    }
    let owner = if made { "other" } else { "gone" };
    let reference = json!({"apiVersion": "batch/v1", "kind": "Job", "name": owner, "uid": owner, "controller": true});
    let metadata = json!({
        "name": if made { "made" } else { name },
        "namespace": "default", "uid": if made { "made".to_owned() } else { format!("uid-{name}") },
        "resourceVersion": "2", "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {CONTROLLER_UID_LABEL: owner}, "ownerReferences": [reference],
        "finalizers": if made { json!([TRACKING_FINALIZER]) } else { json!([]) },
    });
    (
        200,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}, "status": {"phase": "Succeeded"}}),
    )
}

/// Response of an API server that has no Job and refuses every write.
fn refuse(method: &Method, _: &str) -> (u16, Value) {
    let (code, reason) = if *method == Method::GET { (404, "NotFound") } else { (403, "Forbidden") };
    (
        code,
        json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "a policy forbids it"}),
    )
}

fn controller(log: &Log, answer: Server) -> Arc<Controller> {
    let client = client(log, answer);
    let clock = Clock::following_tokio(Timestamp::UNIX_EPOCH);
    let (recorder, _) = events::recorder(client.clone(), clock.clone());
    let mut registry = Registry::default();
    let syncs = SyncMetrics::new(&mut registry);
    let context = ControllerContext {
        client,
        namespace: None,
        encoding: Encoding::Json,
        write_gate: Arc::new(WriteGate::new(50)),
        recorder,
        clock,
        syncs,
    };
    // A single worker is the worst case.
    let config = Config {
        claim: Claim::All,
        drives_pods: true,
        log_tail: 0,
        concurrency: 1,
        min_pods_for_summary: 0,
        sync: SyncConfig::default(),
    };
    let controller = Arc::new(Controller::new(context, config, JobMetrics::new(&mut registry)));
    controller.executor.queue.open();
    controller
}

fn job(name: &str, status: &Value) -> JobView {
    let labels = json!({CONTROLLER_UID_LABEL: name});
    let wire = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1"},
        "spec": {
            "completions": 1, "parallelism": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"restartPolicy": "Never"}},
        },
        "status": status,
    });
    JobView::parse(serde_json::from_str(&wire.to_string()).unwrap()).unwrap()
}

/// Adds this number of finished pods with the tracking finalizer to the cache, with this owner, if any.
fn fill(controller: &Controller, count: usize, owner: Option<&str>) {
    for n in 0..count {
        let mut view: PodView = pod(&n.to_string()).succeeded(5).view;
        view.owner = owner.map(|owner| ControllerRef { uid: owner.into(), name: owner.into(), is_job: true });
        view.labels = [(CONTROLLER_UID_LABEL, owner.unwrap_or_default())].into_iter().collect();
        controller.executor.pods.apply(view, Source::Watch);
    }
}

/// Returns the number of writes before the first pod of the other Job, whose key was queued last.
async fn writes_before_the_other(controller: &Arc<Controller>, log: &Log) -> usize {
    controller.executor.jobs.apply(job("other", &json!({})), Source::Watch);
    controller.executor.queue.add(Key::Job("other".into()));
    let working = controller.clone();
    let worker = tokio::spawn(async move { working.work().await });
    let first = loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let position = log.lock().iter().position(|(method, _)| *method == Method::POST);
        if let Some(position) = position {
            break position;
        }
    };
    // The remaining work is done afterwards.
    while controller.executor.pods.all(|pod| pod.tracked).len() > 1 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    worker.abort();
    first
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_deleted_job_do_not_delay_another_job() {
    let log = Log::default();
    let controller = controller(&log, answer);
    fill(&controller, PODS, Some("gone"));
    controller.executor.queue.add(Key::Job("gone".into()));
    let before = writes_before_the_other(&controller, &log).await;
    assert!(before <= MAX_FINALIZER_REMOVALS_PER_SYNC, "{before} writes");
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_finished_job_do_not_delay_another_job() {
    let log = Log::default();
    let controller = controller(&log, answer);
    let conditions = json!([{"type": "FailureTarget", "status": "True"}, {"type": "Failed", "status": "True"}]);
    controller.executor.jobs.apply(job("gone", &json!({"conditions": conditions})), Source::Watch);
    fill(&controller, PODS, Some("gone"));
    controller.executor.queue.add(Key::Job("gone".into()));
    let before = writes_before_the_other(&controller, &log).await;
    assert!(before <= SyncConfig::default().max_pods_per_sync, "{before} writes");
}

#[tokio::test(start_paused = true)]
async fn orphaned_pods_do_not_delay_a_job() {
    let log = Log::default();
    let controller = controller(&log, answer);
    fill(&controller, PODS, None);
    for pod in controller.executor.pods.all(|_| true) {
        controller.executor.queue.add(Key::Orphan(pod.identity.uid.clone()));
    }
    let before = writes_before_the_other(&controller, &log).await;
    assert!(before <= 1, "{before} writes");
}

#[tokio::test(start_paused = true)]
async fn refused_finalizer_removals_of_a_deleted_job_back_off() {
    let log = Log::default();
    let controller = controller(&log, refuse);
    fill(&controller, 1, Some("gone"));
    controller.executor.queue.add(Key::Job("gone".into()));
    let working = controller.clone();
    let worker = tokio::spawn(async move { working.work().await });
    tokio::time::sleep(Duration::from_secs(60)).await;
    worker.abort();
    // After 0, 1, 3, 7, 15 and 31 s.
    assert_eq!(log.lock().len(), 6, "attempts in a minute");
}
