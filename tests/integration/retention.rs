//! Retention of finished Jobs by annotations of the Job or of its namespace, and by flags of the controller.

use std::sync::Arc;

use anyhow::Result;
use clap::Parser;
use http::Request;
use jobwright::cli::run::Arguments;
use jobwright::cli::run::controllers::Controllers;
use jobwright::runtime::clock::Clock;
use jobwright::runtime::context::ControllerContext;
use jobwright::runtime::election::lease::Handover;
use jobwright::runtime::events;
use jobwright::runtime::worker::SyncMetrics;
use jobwright::runtime::write_gate::WriteGate;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams};
use kube::client::Body;
use kube::{Api, Client};
use serde_json::{Value, json};
use testbed::{Cluster, Options};
use tokio::time::Instant;

use crate::harness::*;

const AFTER_SUCCESS: &str = "jobwright.dev/ttl-seconds-after-success";
const AFTER_FAILURE: &str = "jobwright.dev/ttl-seconds-after-failure";

/// Creates a Job with these annotations and ends its pod with this exit code.
async fn finished(scene: &Scene, name: &str, annotations: Value, spec: Value, exit_code: i32) -> Result<()> {
    let mut job = job(name, spec)?;
    job.metadata.annotations = serde_json::from_value(annotations)?;
    job.spec.get_or_insert_default().backoff_limit = Some(0);
    scene.jobs.create(&Default::default(), &job).await?;
    let pod = scene.active(name, 1).await?.remove(0);
    if exit_code == 0 {
        scene.kubelet.succeed(&pod).await?;
    } else {
        scene.kubelet.fail(&pod, exit_code).await?;
    }
    Ok(())
}

async fn gone(scene: &Scene, name: &str) -> Result<()> {
    until(&format!("{name} to be gone"), || async {
        Ok(if scene.jobs.get_opt(name).await?.is_some() { Err("the Job still exists".to_owned()) } else { Ok(()) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn successful_and_failed_jobs_have_separate_retention_times() -> Result<()> {
    // The claim is managed-by. The built-in TTL controller does not know these annotations.
    let scene = Scene::new("retention").await?;
    let both = json!({AFTER_SUCCESS: "0", AFTER_FAILURE: "3600"});
    finished(&scene, "good", both.clone(), json!({}), 0).await?;
    finished(&scene, "bad", both, json!({}), 1).await?;
    gone(&scene, "good").await?;
    scene.condition("bad", "Failed").await?;
    let patch = json!({"metadata": {"annotations": {AFTER_FAILURE: "0"}}});
    scene.jobs.patch("bad", &PatchParams::default(), &Patch::Merge(&patch)).await?;
    gone(&scene, "bad").await
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_retention_is_reported_and_the_job_is_kept() -> Result<()> {
    let scene = Scene::new("retention-wrong").await?;
    finished(&scene, "odd", json!({AFTER_SUCCESS: "7d"}), json!({}), 0).await?;
    let message = format!("annotation {AFTER_SUCCESS}: \"7d\" is not a whole number of seconds");
    scene.event("odd", "InvalidRetention", &message).await?;
    let patch = json!({"metadata": {"annotations": {AFTER_SUCCESS: "0"}}});
    scene.jobs.patch("odd", &PatchParams::default(), &Patch::Merge(&patch)).await?;
    gone(&scene, "odd").await
}

#[tokio::test(flavor = "multi_thread")]
async fn default_retention_applies_to_jobs_without_annotations() -> Result<()> {
    let scene = Scene::with_flags("retention-flag", &["--ttl-after-success=0s"]).await?;
    finished(&scene, "kept", json!({AFTER_SUCCESS: "3600"}), json!({}), 0).await?;
    finished(&scene, "plain", json!({}), json!({}), 0).await?;
    gone(&scene, "plain").await?;
    scene.condition("kept", "Complete").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_annotation_of_a_namespace_applies_to_its_jobs() -> Result<()> {
    let scene = Scene::everywhere("retention-namespace", &[]).await?;
    finished(&scene, "own", json!({}), json!({}), 0).await?;
    scene.condition("own", "Complete").await?;
    let namespaces: Api<Namespace> = Api::all(scene.client.clone());
    let patch = json!({"metadata": {"annotations": {AFTER_SUCCESS: "0"}}});
    namespaces.patch(&scene.namespace, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    gone(&scene, "own").await
}

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    run: Arguments,
}

/// Returns a client whose watches of namespaces deliver no event, so that only lists show namespaces.
fn blind_to_namespaces(inner: Client) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let inner = inner.clone();
        async move {
            let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            if watches && request.uri().path() == "/api/v1/namespaces" {
                std::future::pending::<()>().await;
            }
            inner.send(request).await.map_err(std::io::Error::other)
        }
    });
    Client::new(service, "default")
}

#[tokio::test(flavor = "multi_thread")]
async fn job_is_kept_where_the_watch_of_namespaces_is_stale() -> Result<()> {
    // Only a controller of all namespaces reads the retention of namespaces.
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(&Options::default()).await?));
    let scene = Scene::on(cluster, "retention-stale", &[]).await?;
    let namespaces: Api<Namespace> = Api::all(scene.client.clone());
    let keep_for = async |seconds: &str| {
        let patch = json!({"metadata": {"annotations": {AFTER_SUCCESS: seconds}}});
        namespaces.patch(&scene.namespace, &PatchParams::default(), &Patch::Merge(&patch)).await
    };
    keep_for("0").await?;

    let client = blind_to_namespaces(cluster.client().await?);
    let clock = Clock::system();
    let mut registry = prometheus_client::registry::Registry::default();
    let (recorder, writer) = events::recorder(client.clone(), clock.clone());
    tokio::spawn(writer.run());
    let context = ControllerContext {
        client,
        namespace: None,
        encoding: encoding(),
        write_gate: Arc::new(WriteGate::new(20)),
        recorder,
        clock,
        syncs: SyncMetrics::new(&mut registry),
    };
    let arguments = CommandLine::parse_from(["jobwright"]).run;
    let controllers = Arc::new(Controllers::new(&arguments, &context, &mut registry));
    let _watches = controllers.watch();
    controllers.ready().await;
    let lists = || {
        let caches = controllers.caches();
        caches.iter().find(|(resource, _)| *resource == "namespaces").map(|(_, cache)| cache.watched.lists.get())
    };
    assert_eq!(lists(), Some(1));

    // A leader that crashed may have seen later versions of the namespaces than this replica.
    controllers.catch_up(&Handover::Abandoned, Instant::now()).await;
    assert_eq!(lists(), Some(2), "catching up lists namespaces again");
    let working = controllers.clone();
    let working = tokio::spawn(async move { working.work(std::future::pending::<()>()).await });
    finished(&scene, "expired", json!({}), json!({}), 0).await?;
    gone(&scene, "expired").await?;

    keep_for("3600").await?;
    finished(&scene, "kept", json!({}), json!({}), 0).await?;
    scene.condition("kept", "Complete").await?;
    // When the later Job is deleted, the controller has decided about this one.
    finished(&scene, "later", json!({AFTER_SUCCESS: "0"}), json!({}), 0).await?;
    gone(&scene, "later").await?;
    stays(1.0, || async {
        anyhow::ensure!(scene.jobs.get_opt("kept").await?.is_some(), "the Job was deleted by an outdated annotation");
        Ok(())
    })
    .await?;
    working.abort();
    Ok(())
}
