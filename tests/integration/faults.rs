//! An API server that refuses, breaks off, or does the work and loses the answer.
//!
//! The controller runs in this process, behind a layer that spoils every few writes; all else is the real API server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use http::{Method, Request, Response};
use jobwright::job::controller::Controller;
use jobwright::job::metrics::JobMetrics;
use jobwright::runtime::clock::Clock;
use jobwright::runtime::config::{Claim, Config, Limits};
use jobwright::runtime::events;
use jobwright::runtime::kit::Kit;
use jobwright::runtime::worker::SyncMetrics;
use jobwright::runtime::writes::Writes;
use kube::Client;
use kube::client::Body;
use serde_json::json;

use crate::harness::*;

/// What happens to a write.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The server refuses with this code.
    Refused(u16),
    /// The connection breaks before the server has it.
    LostRequest,
    /// The server does it, and the connection breaks before we hear of it.
    LostAnswer,
    /// The server does it, and answers with an error all the same.
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

/// A client that spoils every `every`-th write to Jobs and pods, and the count of the faults so far.
fn faulty(inner: Client, every: usize) -> (Client, Arc<AtomicUsize>) {
    let faults = Arc::new(AtomicUsize::new(0));
    let writes = Arc::new(AtomicUsize::new(0));
    let counted = faults.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (inner, faults, writes) = (inner.clone(), counted.clone(), writes.clone());
        async move {
            let spoilt = request.method() != Method::GET && !request.uri().path().contains("/events");
            let number = if spoilt { writes.fetch_add(1, Ordering::SeqCst) + 1 } else { 1 };
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

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_answer_is_borne_and_the_counts_are_exact() -> Result<()> {
    let scene = Scene::without_controller("faults", &[]).await?;
    let (client, faults) = faulty(scene.cluster.client().await?, 11);
    let clock = Clock::system();
    let (recorder, writer) = events::recorder(client.clone(), clock.clone());
    tokio::spawn(writer.run());
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = JobMetrics::new(&mut registry);
    let kit = Kit {
        client,
        namespace: Some(scene.namespace.clone()),
        writes: Arc::new(Writes::new(20)),
        recorder,
        clock,
        syncs: SyncMetrics::new(&mut registry),
    };
    let config = Config {
        claim: Claim::ManagedBy,
        drives_pods: true,
        concurrency: 8,
        limits: Limits { pod_failure_backoff: Duration::from_millis(50), ..Limits::default() },
    };
    let controller = Arc::new(Controller::new(kit, config, metrics));
    let mut tasks = tokio::task::JoinSet::new();
    controller.watch(&mut tasks);
    controller.ready().await;
    controller.begin(&mut tasks);

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
    println!("bore {count} faults");
    assert!(count > FAULTS.len(), "only {count} faults");
    Ok(())
}
