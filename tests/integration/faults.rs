//! An API server that refuses writes, breaks connections, or executes a write and loses the response.
//!
//! The controller runs in this process. A layer of its client injects a fault into every n-th write and forwards all
//! other requests to the real API server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use jobwright::job::config::{Config, SyncConfig};
use jobwright::job::controller::Controller;
use jobwright::job::managed_by::Claim;
use jobwright::job::metrics::JobMetrics;
use jobwright::limit;
use jobwright::runtime::clock::Clock;
use jobwright::runtime::context::ControllerContext;
use jobwright::runtime::controller::Controller as _;
use jobwright::runtime::events;
use jobwright::runtime::worker::SyncMetrics;
use jobwright::runtime::write_gate::WriteGate;
use kube::api::Patch;
use kube::client::Body;
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::harness::*;

/// Fault that a write encounters.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The server refuses the write with this code.
    Refused(u16),
    /// The connection breaks before the server receives the request.
    LostRequest,
    /// The server executes the write, and the connection breaks before the response arrives.
    LostAnswer,
    /// The server executes the write, and responds with an error.
    WrongAnswer,
}

const FAULTS: &[Fault] = &[
    Fault::Refused(409),
    Fault::LostAnswer,
    Fault::Refused(500),
    Fault::Refused(422),
    Fault::LostRequest,
    Fault::WrongAnswer,
    Fault::Refused(429),
];

/// Returns a client that injects a fault into every `every`-th write of Jobs and pods, and the number of faults so far.
fn faulty(inner: Client, every: usize) -> (Client, Arc<AtomicUsize>) {
    let faults = Arc::new(AtomicUsize::new(0));
    let writes = Arc::new(AtomicUsize::new(0));
    let counted = faults.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (inner, faults, writes) = (inner.clone(), counted.clone(), writes.clone());
        async move {
            let is_write = request.method() != Method::GET && !request.uri().path().contains("/events");
            let number = if is_write { writes.fetch_add(1, Ordering::SeqCst) + 1 } else { 1 };
            if !number.is_multiple_of(every) {
                return inner.send(request).await.map_err(broken);
            }
            let fault = FAULTS[faults.fetch_add(1, Ordering::SeqCst) % FAULTS.len()];
            match fault {
                Fault::Refused(code) => Ok(error(code)),
                Fault::LostRequest => Err(broken("the connection broke")),
                Fault::LostAnswer => {
                    inner.send(request).await.map_err(broken)?;
                    Err(broken("the connection broke"))
                }
                Fault::WrongAnswer => {
                    inner.send(request).await.map_err(broken)?;
                    Ok(error(500))
                }
            }
        }
    });
    (Client::new(service, "default"), faults)
}

fn broken(error: impl ToString) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::ConnectionReset, error.to_string())
}

fn error(code: u16) -> Response<Body> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "message": format!("injected {code}"), "reason": "Injected",
        "details": if code == 429 { json!({"retryAfterSeconds": 1}) } else { json!({}) },
    });
    let body = Body::from(status.to_string().into_bytes());
    Response::builder().status(code).header("content-type", "application/json").body(body).expect("a valid answer")
}

/// Returns a client whose removals of a finalizer wait up to 1 s for the addition of an owner, and the number of these
/// removals.
fn slow_to_untrack(inner: Client) -> (Client, Arc<AtomicUsize>) {
    let waited = Arc::new(AtomicUsize::new(0));
    let count = waited.clone();
    let adopted = Arc::new(watch::Sender::new(false));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (inner, count, adopted) = (inner.clone(), count.clone(), adopted.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(broken)?.to_bytes();
            let contains = |text: &str| parts.method == Method::PATCH && String::from_utf8_lossy(&body).contains(text);
            let (untracks, adopts) = (contains("$deleteFromPrimitiveList"), contains("ownerReferences"));
            if untracks {
                count.fetch_add(1, Ordering::SeqCst);
                let mut adopted = adopted.subscribe();
                let _ = tokio::time::timeout(Duration::from_secs(1), adopted.wait_for(|adopted| *adopted)).await;
            }
            let answer = inner.send(Request::from_parts(parts, Body::from(body.to_vec()))).await.map_err(broken);
            if adopts {
                adopted.send_replace(true);
            }
            answer
        }
    });
    (Client::new(service, "default"), waited)
}

/// Runs the Job controller with this client in this process, until the returned tasks are dropped.
pub async fn controller(scene: &Scene, client: Client) -> JoinSet<()> {
    let clock = Clock::system();
    let (recorder, writer) = events::recorder(client.clone(), clock.clone());
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = JobMetrics::new(&mut registry);
    let context = ControllerContext {
        client,
        namespace: Some(scene.namespace.clone()),
        encoding: encoding(),
        write_gate: Arc::new(WriteGate::new(20)),
        recorder,
        clock,
        syncs: SyncMetrics::new(&mut registry),
    };
    let config = Config {
        claim: Claim::ManagedBy,
        drives_pods: true,
        log_tail: 0,
        concurrency: 8,
        min_pods_for_summary: 0,
        sync: SyncConfig { pod_failure_backoff: Duration::from_millis(50), ..SyncConfig::default() },
    };
    let controller = Arc::new(Controller::new(context.clone(), config, metrics));
    let limits = Arc::new(limit::controller::Controller::new(context, controller.handle()));
    controller.set_admission_control(limits.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(writer.run());
    controller.clone().watch(&mut tasks);
    limits.clone().watch(&mut tasks);
    controller.ready().await;
    limits.ready().await;
    controller.begin(&mut tasks);
    tasks
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_stay_exact_under_every_kind_of_api_fault() -> Result<()> {
    let scene = Scene::without_controller("faults", &[]).await?;
    let (client, faults) = faulty(scene.cluster.client().await?, 11);
    let _tasks = controller(&scene, client).await;

    let playing = scene.succeed_all();
    let jobs: Vec<String> = (0..6).map(|number| format!("job-{number}")).collect();
    for job in &jobs {
        scene.create(job, json!({"completions": 12, "parallelism": 4, "backoffLimit": 0})).await?;
    }
    for job in &jobs {
        let status = scene.condition(job, "Complete").await?;
        assert_eq!((status.succeeded, status.failed), (Some(12), None), "{job}");
    }
    drop(playing);
    scene.nothing_tracked().await?;
    let count = faults.load(Ordering::SeqCst);
    println!("injected {count} faults");
    assert!(count > FAULTS.len(), "expected more faults than {count}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_adopted_while_its_finalizer_is_being_removed_keeps_the_finalizer() -> Result<()> {
    let scene = Scene::without_controller("adopted-meanwhile", &[]).await?;
    let (client, waited) = slow_to_untrack(scene.cluster.client().await?);
    let _tasks = controller(&scene, client).await;
    scene.create("job", json!({})).await?;
    let pod = scene.active("job", 1).await?.remove(0);
    let disown = json!({"metadata": {"ownerReferences": null}});
    scene.pods.patch(&pod, &Default::default(), &Patch::Merge(&disown)).await?;
    until("the adoption, and an attempt to remove the finalizer", || async {
        let found = scene.pods.get(&pod).await?;
        let tried = waited.load(Ordering::SeqCst) > 0;
        Ok(if tried && !found.owner_references().is_empty() { Ok(()) } else { Err(format!("{:?}", found.metadata)) })
    })
    .await?;
    // By then, every request that was in flight has reached the server.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(is_tracked(&scene.pods.get(&pod).await?), "without its finalizer, the pod would not be counted");
    scene.kubelet.succeed(&pod).await?;
    assert_eq!(scene.condition("job", "Complete").await?.succeeded, Some(1));
    scene.nothing_tracked().await
}
