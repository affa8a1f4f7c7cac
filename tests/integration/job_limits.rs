//! JobLimits on a real API server: admission order, waiting reasons and exemptions.

use anyhow::Result;
use http::{Method, Request};
use jobwright::limit::types::JobLimit;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::client::Body;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::harness::*;
use crate::metrics::get;

const WAITING: &str = "jobwright.dev/waiting";
/// Finalizer that keeps a pod terminating.
const HOLD: &str = "example.com/hold";

fn api(scene: &Scene) -> Api<JobLimit> {
    Api::namespaced(scene.client.clone(), &scene.namespace)
}

pub async fn limit(scene: &Scene, name: &str, spec: Value) -> kube::Result<JobLimit> {
    let manifest =
        json!({"apiVersion": "jobwright.dev/v1beta1", "kind": "JobLimit", "metadata": {"name": name}, "spec": spec});
    api(scene).patch(name, &PatchParams::apply("test").force(), &Patch::Apply(manifest)).await
}

/// Creates a scene whose controller serves metrics on the returned port.
pub async fn scene(prefix: &str) -> Result<(Scene, u16)> {
    let [port] = testbed::control_plane::free_ports()?;
    let scene =
        Scene::with_flags(prefix, &["--pod-failure-backoff=50ms", &format!("--listen=127.0.0.1:{port}")]).await?;
    Ok((scene, port))
}

/// Creates a limit, and waits until the controller's cache contains it.
pub async fn limit_known((scene, port): &(Scene, u16), name: &str, spec: Value) -> Result<()> {
    limit(scene, name, spec).await?;
    until("the limit in the cache of the controller", || async {
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

/// Waits until a Job is at this position of the queue, and checks that the Job has not started.
async fn waits(scene: &Scene, name: &str, position: usize) -> Result<()> {
    until(&format!("{name} to wait at position {position}"), || async {
        let job = scene.jobs.get(name).await?;
        let text = job.annotations().get(WAITING).cloned().unwrap_or_default();
        let waiting: Value = serde_json::from_str(&text).unwrap_or_default();
        Ok(if waiting["position"] == position { Ok(()) } else { Err(format!("{text:?}")) })
    })
    .await?;
    let status = scene.jobs.get(name).await?.status.unwrap_or_default();
    assert_eq!((status.start_time, status.active), (None, None), "a waiting Job has not started");
    assert!(scene.pods_of(name).await?.is_empty());
    Ok(())
}

/// Waits until the annotation of a Job states this reason for waiting.
async fn waits_because(scene: &Scene, name: &str, reason: &str) -> Result<()> {
    until(&format!("{name} to wait because of {reason}"), || async {
        let job = scene.jobs.get(name).await?;
        let text = job.annotations().get(WAITING).cloned().unwrap_or_default();
        let waiting: Value = serde_json::from_str(&text).unwrap_or_default();
        Ok(if waiting["reason"] == reason { Ok(()) } else { Err(format!("{text:?} {:?}", job.status)) })
    })
    .await
}

/// Sets the finalizers of a pod.
async fn hold(scene: &Scene, pod: &str, finalizers: Value) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    scene.pods.patch(pod, &PatchParams::default(), &patch).await?;
    Ok(())
}

async fn end(scene: &Scene, name: &str) -> Result<()> {
    for pod in scene.pods_of(name).await?.iter().filter(|pod| is_active(pod)) {
        scene.kubelet.succeed(&pod.name_any()).await?;
    }
    scene.condition(name, "Complete").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_beyond_a_limit_wait_in_order_and_are_admitted_one_by_one() -> Result<()> {
    let started = scene("limit").await?;
    limit_known(&started, "one", json!({"maxActiveJobs": 1})).await?;
    let (scene, _) = started;
    create(&scene, "first", json!({}), json!({})).await?;
    scene.active("first", 1).await?;
    create(&scene, "second", json!({}), json!({})).await?;
    waits(&scene, "second", 1).await?;
    scene.event("second", "WaitingForLimit", "position 1 at JobLimit one: 1 of 1 Jobs in use by first").await?;
    // A Job of higher priority is admitted first. The time of a deadline begins with the admission.
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
    until("the removal of the waiting annotation", || async {
        let job = scene.jobs.get("urgent").await?;
        let waiting = job.annotations().get(WAITING).cloned();
        Ok(waiting.map_or(Ok(()), Err))
    })
    .await?;
    assert_eq!(job.annotations().get("jobwright.dev/priority").map(String::as_str), Some("10"));
    waits(&scene, "second", 1).await?;
    end(&scene, "urgent").await?;
    scene.active("second", 1).await?;
    end(&scene, "second").await
}

#[tokio::test(flavor = "multi_thread")]
async fn raised_or_deleted_limit_admits_waiting_jobs_immediately() -> Result<()> {
    let started = scene("limit-raised").await?;
    limit_known(&started, "none", json!({"maxActiveJobs": 0, "selector": {"matchLabels": {"team": "a"}}})).await?;
    let (scene, _) = started;
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
async fn pod_limit_counts_the_pods_that_active_jobs_can_have() -> Result<()> {
    let started = scene("limit-pods").await?;
    limit_known(&started, "pods", json!({"maxActivePods": 5})).await?;
    let (mut scene, _) = started;
    create(&scene, "three", json!({}), json!({"parallelism": 3, "completions": 3})).await?;
    scene.active("three", 3).await?;
    create(&scene, "four", json!({}), json!({"parallelism": 4, "completions": 9})).await?;
    waits(&scene, "four", 1).await?;
    // A restarted controller makes the same decision.
    scene.controller = None;
    scene.start_controller().await?;
    create(&scene, "two", json!({}), json!({"parallelism": 2, "completions": 2})).await?;
    waits(&scene, "two", 2).await?;
    end(&scene, "three").await?;
    scene.active("four", 4).await?;
    waits(&scene, "two", 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn job_too_large_for_a_limit_waits_with_a_warning_and_blocks_no_other_job() -> Result<()> {
    let started = scene("limit-large").await?;
    limit_known(&started, "pods", json!({"maxActivePods": 5})).await?;
    let (scene, _) = started;
    create(&scene, "six", json!({}), json!({"parallelism": 6, "completions": 6})).await?;
    let message = "needs 6 pods, but JobLimit pods allows 5: lower spec.parallelism";
    scene.event("six", "ExceedsLimit", message).await?;
    waits_because(&scene, "six", "TooLarge").await?;
    create(&scene, "small", json!({}), json!({})).await?;
    scene.active("small", 1).await?;
    scene.change("six", json!({"parallelism": 4})).await?;
    scene.active("six", 4).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn job_with_parallelism_zero_takes_no_place() -> Result<()> {
    let started = scene("limit-zero").await?;
    limit_known(&started, "one", json!({"maxActiveJobs": 1})).await?;
    let (scene, _) = started;
    create(&scene, "zero", json!({}), json!({"parallelism": 0})).await?;
    waits_because(&scene, "zero", "NoPods").await?;
    create(&scene, "runs", json!({}), json!({})).await?;
    scene.active("runs", 1).await?;
    scene.change("zero", json!({"parallelism": 1})).await?;
    waits_because(&scene, "zero", "Queue").await?;
    // A Job that is scaled to zero releases its place, and waits when it is scaled up again.
    scene.change("runs", json!({"parallelism": 0})).await?;
    scene.active("zero", 1).await?;
    waits_because(&scene, "runs", "NoPods").await?;
    scene.change("runs", json!({"parallelism": 1})).await?;
    waits_because(&scene, "runs", "Queue").await?;
    assert_eq!(scene.active("runs", 0).await?.len(), 0);
    end(&scene, "zero").await?;
    end(&scene, "runs").await?;
    let job = scene.jobs.get("runs").await?;
    assert_eq!(job.annotations().get(WAITING), None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_job_whose_old_pods_terminate_waits_for_a_place() -> Result<()> {
    let started = scene("limit-terminating").await?;
    limit_known(&started, "one", json!({"maxActiveJobs": 1})).await?;
    let (mut scene, _) = started;
    create(&scene, "stopped", json!({}), json!({})).await?;
    let pod = scene.active("stopped", 1).await?.remove(0);
    hold(&scene, &pod, json!([TRACKING_FINALIZER, HOLD])).await?;
    scene.change("stopped", json!({"suspend": true})).await?;
    scene.condition("stopped", "Suspended").await?;
    create(&scene, "runs", json!({}), json!({})).await?;
    scene.active("runs", 1).await?;
    assert!(scene.pods.get(&pod).await?.metadata.deletion_timestamp.is_some());
    scene.change("stopped", json!({"suspend": false})).await?;
    waits_because(&scene, "stopped", "Queue").await?;
    // The Job also waits under a restarted controller.
    scene.controller = None;
    scene.start_controller().await?;
    stays(1.0, || async {
        let status = scene.jobs.get("stopped").await?.status.unwrap_or_default();
        assert_eq!(status.start_time, None);
        assert_eq!(scene.pods_of("stopped").await?.len(), 1, "the old pod, and no new one");
        Ok(())
    })
    .await?;
    end(&scene, "runs").await?;
    scene.active("stopped", 1).await?;
    hold(&scene, &pod, json!(null)).await
}

/// Returns a client whose watches of Jobs never begin, and which resumes the Job `stopped` before each of its status
/// writes.
fn resumes_unseen(inner: Client, jobs: Api<Job>) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let (inner, jobs) = (inner.clone(), jobs.clone());
        async move {
            let uri = request.uri().clone();
            let watches = uri.query().is_some_and(|query| query.contains("watch=true"));
            if watches && uri.path().ends_with("/jobs") {
                std::future::pending::<()>().await;
            }
            if request.method() == Method::PATCH && uri.path().ends_with("/jobs/stopped/status") {
                let resume = Patch::Merge(json!({"spec": {"suspend": false}}));
                jobs.patch("stopped", &PatchParams::default(), &resume).await.map_err(std::io::Error::other)?;
            }
            inner.send(request).await.map_err(std::io::Error::other)
        }
    });
    Client::new(service, "default")
}

#[tokio::test(flavor = "multi_thread")]
async fn job_that_a_conflict_shows_to_be_resumed_is_not_admitted_without_evaluation() -> Result<()> {
    let scene = Scene::without_controller("limit-conflict", &[]).await?;
    limit(&scene, "one", json!({"maxActiveJobs": 1})).await?;
    create(&scene, "runs", json!({}), json!({})).await?;
    create(&scene, "stopped", json!({}), json!({"suspend": true})).await?;
    let client = resumes_unseen(scene.cluster.client().await?, scene.jobs.clone());
    let _tasks = crate::faults::controller(&scene, client).await;
    scene.active("runs", 1).await?;
    waits_because(&scene, "stopped", "Queue").await?;
    assert!(scene.pods_of("stopped").await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_admitted_by_kueue_are_not_limited_and_a_group_beyond_the_limit_gets_a_warning() -> Result<()> {
    let started = scene("limit-groups").await?;
    limit_known(&started, "two", json!({"maxActiveJobs": 2})).await?;
    let (scene, _) = started;
    let child = json!({"labels": {"jobset.sigs.k8s.io/jobset-name": "train"}});
    let admitted = json!({"template": {"metadata": {"labels": {"kueue.x-k8s.io/podset": "workers"}}}});
    for name in ["kueue-0", "kueue-1", "kueue-2"] {
        create(&scene, name, child.clone(), admitted.clone()).await?;
    }
    for name in ["kueue-0", "kueue-1", "kueue-2"] {
        scene.active(name, 1).await?;
    }
    for name in ["t-0", "t-1"] {
        create(&scene, name, child.clone(), json!({})).await?;
        scene.active(name, 1).await?;
    }
    create(&scene, "t-2", child, json!({})).await?;
    waits_because(&scene, "t-2", "Group").await?;
    let message = "The Jobs of JobSet train may wait for each other forever: they need 3 Jobs, but the limit allows 2";
    scene.event("t-2", "GroupExceedsLimit", message).await
}

#[tokio::test(flavor = "multi_thread")]
async fn resumed_job_waits_like_a_new_job() -> Result<()> {
    let started = scene("limit-resumed").await?;
    limit_known(&started, "one", json!({"maxActiveJobs": 1})).await?;
    let (scene, _) = started;
    create(&scene, "stopped", json!({}), json!({"suspend": true})).await?;
    scene.condition("stopped", "Suspended").await?;
    create(&scene, "runs", json!({}), json!({})).await?;
    scene.active("runs", 1).await?;
    scene.change("stopped", json!({"suspend": false})).await?;
    until("the Job to wait", || async {
        let job = scene.jobs.get("stopped").await?;
        Ok(if job.annotations().contains_key(WAITING) { Ok(()) } else { Err(format!("{:?}", job.status)) })
    })
    .await?;
    assert!(scene.pods_of("stopped").await?.is_empty());
    // A suspended Job releases its place.
    scene.change("runs", json!({"suspend": true})).await?;
    scene.active("stopped", 1).await?;
    scene
        .job_until("stopped", "the Job to be resumed", |status| {
            condition(status, "Suspended").is_none() && status.start_time.is_some()
        })
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_job_limit_is_rejected_by_the_api_server_with_an_explanation() -> Result<()> {
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

#[tokio::test(flavor = "multi_thread")]
async fn status_of_a_limit_has_its_usage_and_the_waiting_jobs() -> Result<()> {
    let mut scene = Scene::without_controller("limit-status", &[]).await?;
    let kubectl = testbed::Kubectl::new(scene.cluster, scene.namespace.clone())?;
    limit(&scene, "one", json!({"maxActiveJobs": 1, "maxActivePods": 10})).await?;
    let priority = |value: &str| json!({"annotations": {"jobwright.dev/priority": value}});
    for (name, metadata) in [("a", json!({})), ("b", json!({})), ("urgent", priority("5"))] {
        create(&scene, name, metadata, json!({"parallelism": 2, "completions": 2})).await?;
    }
    scene.start_controller().await?;
    let stored = |used: &str, waiting: i32, next: &[&str], saturated: &str| {
        let (used, saturated) = (used.to_owned(), saturated.to_owned());
        let next: Vec<String> = next.iter().map(|name| (*name).to_owned()).collect();
        let api = api(&scene);
        async move {
            until("the status of the limit", || async {
                let limit = api.get("one").await?;
                let generation = limit.metadata.generation;
                let status = limit.status.unwrap_or_default();
                let is = |type_: &str, status_: &str| {
                    status.conditions.iter().any(|one| one.type_ == type_ && one.status == status_)
                };
                let fits = (&status.used, status.waiting, &status.next, status.observed_generation)
                    == (&used, waiting, &next, generation)
                    && is("Ready", "True")
                    && is("Saturated", &saturated);
                Ok(if fits { Ok(()) } else { Err(format!("{status:?}")) })
            })
            .await
        }
    };
    stored("1/1 Jobs, 2/10 pods", 2, &["a", "b"], "True").await?;
    let columns = kubectl.run(&["get", "joblimit", "one"]).await?;
    let rows: Vec<&str> = columns.lines().collect();
    assert!(rows[0].contains("USED") && rows[0].contains("WAITING"), "{columns}");
    assert!(rows[1].contains("1/1 Jobs, 2/10 pods   2"), "{columns}");
    kubectl.run(&["wait", "--for=condition=Saturated", "joblimit/one", "--timeout=10s"]).await?;
    limit(&scene, "one", json!({"maxActiveJobs": 2, "maxActivePods": 10})).await?;
    stored("2/2 Jobs, 4/10 pods", 1, &["b"], "True").await?;
    limit(&scene, "one", json!({"maxActiveJobs": 5})).await?;
    stored("3/5 Jobs", 0, &[], "False").await
}
