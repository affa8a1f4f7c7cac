//! JobLimits on a real API server.

use anyhow::Result;
use jobwright::job::limit::types::JobLimit;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::harness::*;
use crate::metrics::get;

const WAITING: &str = "jobwright.dev/waiting";

fn api(scene: &Scene) -> Api<JobLimit> {
    Api::namespaced(scene.client.clone(), &scene.namespace)
}

async fn limit(scene: &Scene, name: &str, spec: Value) -> kube::Result<JobLimit> {
    let manifest =
        json!({"apiVersion": "jobwright.dev/v1beta1", "kind": "JobLimit", "metadata": {"name": name}, "spec": spec});
    api(scene).patch(name, &PatchParams::apply("test").force(), &Patch::Apply(manifest)).await
}

/// A scene whose controller can be asked what it knows.
async fn scene(prefix: &str) -> Result<(Scene, u16)> {
    let [port] = testbed::control_plane::free_ports()?;
    let scene =
        Scene::with_flags(prefix, &["--pod-failure-backoff=50ms", &format!("--listen=127.0.0.1:{port}")]).await?;
    Ok((scene, port))
}

/// Creates a limit, and waits until the controller has heard of it.
async fn limit_known((scene, port): &(Scene, u16), name: &str, spec: Value) -> Result<()> {
    limit(scene, name, spec).await?;
    until("the limit to be known", || async {
        let (_, text) = get(*port, "/metrics").await?;
        let known = text.contains("jobwright_cache_objects{resource=\"joblimits\"} 1");
        Ok(if known { Ok(()) } else { Err(String::new()) })
    })
    .await
}

async fn create(scene: &Scene, name: &str, metadata: Value, spec: Value) -> Result<()> {
    let mut job = job(name, spec)?;
    let more: kube::api::ObjectMeta = serde_json::from_value(metadata)?;
    (job.metadata.labels, job.metadata.annotations) = (more.labels, more.annotations);
    scene.jobs.create(&Default::default(), &job).await?;
    Ok(())
}

async fn waits(scene: &Scene, name: &str, position: usize) -> Result<()> {
    until(&format!("{name} to wait at {position}"), || async {
        let job = scene.jobs.get(name).await?;
        let text = job.annotations().get(WAITING).cloned().unwrap_or_default();
        let told: Value = serde_json::from_str(&text).unwrap_or_default();
        Ok(if told["position"] == position { Ok(()) } else { Err(format!("{text:?}")) })
    })
    .await?;
    let status = scene.jobs.get(name).await?.status.unwrap_or_default();
    assert_eq!((status.start_time, status.active), (None, None), "it has not started");
    assert!(scene.pods_of(name).await?.is_empty());
    Ok(())
}

async fn end(scene: &Scene, name: &str) -> Result<()> {
    for pod in scene.pods_of(name).await?.iter().filter(|pod| is_active(pod)) {
        scene.kubelet.succeed(&pod.name_any()).await?;
    }
    scene.condition(name, "Complete").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_beyond_a_limit_wait_in_order_and_go_on_one_by_one() -> Result<()> {
    let asked = scene("limit").await?;
    limit_known(&asked, "one", json!({"maxActiveJobs": 1})).await?;
    let (scene, _) = asked;
    create(&scene, "first", json!({}), json!({})).await?;
    scene.active("first", 1).await?;
    create(&scene, "second", json!({}), json!({})).await?;
    waits(&scene, "second", 1).await?;
    scene.event("second", "WaitingForLimit", "position 1 at JobLimit one: 1 of 1 Jobs are taken").await?;
    // Who is more urgent goes first; who has a deadline has it from its start.
    create(
        &scene,
        "urgent",
        json!({"annotations": {"jobwright.dev/priority": "10"}}),
        json!({"activeDeadlineSeconds": 600}),
    )
    .await?;
    waits(&scene, "urgent", 1).await?;
    waits(&scene, "second", 2).await?;
    end(&scene, "first").await?;
    scene.active("urgent", 1).await?;
    let job = scene.jobs.get("urgent").await?;
    until("it to be told no more that it waits", || async {
        let job = scene.jobs.get("urgent").await?;
        let told = job.annotations().get(WAITING).cloned();
        Ok(told.map_or(Ok(()), Err))
    })
    .await?;
    assert_eq!(job.annotations().get("jobwright.dev/priority").map(String::as_str), Some("10"));
    waits(&scene, "second", 1).await?;
    end(&scene, "urgent").await?;
    scene.active("second", 1).await?;
    end(&scene, "second").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_raised_or_deleted_lets_them_go_at_once() -> Result<()> {
    let asked = scene("limit-raised").await?;
    limit_known(&asked, "none", json!({"maxActiveJobs": 0, "selector": {"matchLabels": {"team": "a"}}})).await?;
    let (scene, _) = asked;
    for name in ["a", "b", "c"] {
        create(&scene, name, json!({"labels": {"team": "a"}}), json!({})).await?;
    }
    create(&scene, "other", json!({"labels": {"team": "b"}}), json!({})).await?;
    create(&scene, "kueue", json!({"labels": {"team": "a", "kueue.x-k8s.io/queue-name": "q"}}), json!({})).await?;
    scene.active("other", 1).await?;
    scene.active("kueue", 1).await?;
    for (name, position) in [("a", 1), ("b", 2), ("c", 3)] {
        waits(&scene, name, position).await?;
    }
    limit(&scene, "none", json!({"maxActiveJobs": 1, "selector": {"matchLabels": {"team": "a"}}})).await?;
    scene.active("a", 1).await?;
    waits(&scene, "b", 1).await?;
    api(&scene).delete("none", &DeleteParams::default()).await?;
    scene.active("b", 1).await?;
    scene.active("c", 1).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_limited_by_what_their_jobs_may_have_at_once() -> Result<()> {
    let asked = scene("limit-pods").await?;
    limit_known(&asked, "pods", json!({"maxActivePods": 5})).await?;
    let (mut scene, _) = asked;
    create(&scene, "three", json!({}), json!({"parallelism": 3, "completions": 3})).await?;
    scene.active("three", 3).await?;
    create(&scene, "four", json!({}), json!({"parallelism": 4, "completions": 9})).await?;
    waits(&scene, "four", 1).await?;
    create(&scene, "six", json!({}), json!({"parallelism": 6, "completions": 6})).await?;
    waits(&scene, "six", 2).await?;
    // Whoever comes after the controller's death finds the same.
    scene.controller = None;
    scene.start_controller().await?;
    end(&scene, "three").await?;
    scene.active("four", 4).await?;
    waits(&scene, "six", 1).await?;
    scene
        .event(
            "six",
            "WaitingForLimit",
            "allows 5 active pods, and this Job may have 6 at once: lower spec.parallelism",
        )
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_resumed_waits_as_a_new_one_does() -> Result<()> {
    let asked = scene("limit-resumed").await?;
    limit_known(&asked, "one", json!({"maxActiveJobs": 1})).await?;
    let (scene, _) = asked;
    create(&scene, "stopped", json!({}), json!({"suspend": true})).await?;
    scene.condition("stopped", "Suspended").await?;
    create(&scene, "runs", json!({}), json!({})).await?;
    scene.active("runs", 1).await?;
    scene.change("stopped", json!({"suspend": false})).await?;
    until("it to wait", || async {
        let job = scene.jobs.get("stopped").await?;
        Ok(if job.annotations().contains_key(WAITING) { Ok(()) } else { Err(format!("{:?}", job.status)) })
    })
    .await?;
    assert!(scene.pods_of("stopped").await?.is_empty());
    // One that is suspended makes room.
    scene.change("runs", json!({"suspend": true})).await?;
    scene.active("stopped", 1).await?;
    scene
        .job_until("stopped", "it to be resumed", |status| {
            condition(status, "Suspended").is_none() && status.start_time.is_some()
        })
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_by_the_api_server_in_words() -> Result<()> {
    let scene = Scene::without_controller("limit-wrong", &[]).await?;
    let cases = [
        (json!({}), "set maxActiveJobs, maxActivePods or both"),
        (json!({"maxActiveJobs": -1}), "should be greater than or equal to 0"),
        (json!({"maxActiveJobs": "two"}), "spec.maxActiveJobs"),
    ];
    for (spec, message) in cases {
        let refused = limit(&scene, "wrong", spec.clone()).await;
        let text = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains(message), "{spec}: {text:?}");
    }
    Ok(())
}
