//! Writes that admission policies refuse or change. One event reports the refusal, retries back off, and other work
//! continues. After the removal of the policy, everything completes with exact counts.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use http::{Request, Response};
use jobwright::schedule::job_schedule::types::JobSchedule;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::faults;
use crate::harness::*;
use crate::metrics::get;
use crate::policies::{Policy, Rule, scene_with_mutating_policies};

/// Number of refusals that the tests wait for. With waits of 1 s and 2 s, the third comes after 3 s.
const REFUSALS: i32 = 3;

/// Returns the events about an object that have this reason.
async fn events(scene: &Scene, name: &str, reason: &str) -> Result<Vec<Event>> {
    let events: Api<Event> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let about = ListParams::default().fields(&format!("involvedObject.name={name},reason={reason}"));
    Ok(events.list(&about).await?.items)
}

/// Waits until one event has counted the refusals. Checks that the event names the subject and the policy, and that the
/// refusals since `since` are at least 1 s, 2 s, 4 s, … apart.
async fn refused(scene: &Scene, name: &str, reason: &str, since: Instant) -> Result<Event> {
    let what = format!("{REFUSALS} refusals of {name} in one event {reason}");
    let event = until(&what, || async {
        let events = events(scene, name, reason).await?;
        let counted = events.iter().find(|event| event.count >= Some(REFUSALS)).cloned();
        Ok(counted.ok_or_else(|| {
            format!("{:?}", events.iter().map(|event| (&event.message, event.count)).collect::<Vec<_>>())
        }))
    })
    .await?;
    let all = events(scene, name, reason).await?;
    assert_eq!(all.len(), 1, "one event for one refusal: {all:?}");
    let text = event.message.clone().unwrap_or_default();
    assert!(text.contains("AdmissionPolicy '") && text.contains(r"must not\t do that"), "{text}");
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    let elapsed = since.elapsed().as_secs_f64();
    let most = 1 + (elapsed + 1.0).log2().floor() as i32;
    assert!(event.count <= Some(most), "{:?} refusals of {name} in {elapsed} s", event.count);
    Ok(event)
}

/// Waits until the output of `jobwright explain` for an object contains these texts.
async fn explained(scene: &Scene, subject: &str, texts: &[&str]) -> Result<()> {
    until(&format!("{texts:?} of {subject}"), || async {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_jobwright"));
        command.args(["explain", subject]).arg(format!("--namespace={}", scene.namespace));
        command.arg(format!("--kubeconfig={}", scene.cluster.kubeconfig.display())).stdin(Stdio::null());
        let text = String::from_utf8(command.output().await?.stdout)?;
        Ok(if texts.iter().all(|wanted| text.contains(wanted)) { Ok(()) } else { Err(text) })
    })
    .await
}

/// A write of the Job controller that is refused.
#[derive(Clone, Copy)]
struct Row {
    job: &'static str,
    rule: Rule,
    /// Status reason of the refusal, which determines the status code.
    code: &'static str,
    event: &'static str,
    explained: &'static [&'static str],
}

const ROWS: &[Row] = &[
    Row {
        job: "untracking",
        rule: ("", "pods", "UPDATE"),
        code: "Forbidden",
        event: "FailedFinalizerRemoval",
        explained: &[
            "cannot finish: Error removing the finalizer",
            "untracking must not",
            "validatingadmissionpolicies",
        ],
    },
    Row {
        job: "status-403",
        rule: ("batch", "jobs/status", "UPDATE"),
        code: "Forbidden",
        event: "FailedStatusUpdate",
        explained: &["Error updating status", "status-403 must not"],
    },
    Row {
        job: "status-413",
        rule: ("batch", "jobs/status", "UPDATE"),
        code: "RequestEntityTooLarge",
        event: "FailedStatusUpdate",
        explained: &["Error updating status", "status-413 must not"],
    },
    Row {
        job: "status-422",
        rule: ("batch", "jobs/status", "UPDATE"),
        code: "Invalid",
        event: "FailedStatusUpdate",
        explained: &["Error updating status", "status-422 must not"],
    },
    Row {
        job: "creation",
        rule: ("", "pods", "CREATE"),
        code: "Forbidden",
        event: "FailedCreate",
        explained: &["Error creating", "creation must not"],
    },
    Row {
        job: "deletion",
        rule: ("", "pods", "DELETE"),
        code: "Forbidden",
        event: "FailedDelete",
        explained: &["Error deleting", "deletion must not"],
    },
    Row {
        job: "adoption",
        rule: ("", "pods", "UPDATE"),
        code: "Invalid",
        event: "FailedAdopt",
        explained: &["Error adopting pod", "adoption must not"],
    },
    Row {
        job: "release",
        rule: ("", "pods", "UPDATE"),
        code: "Forbidden",
        event: "FailedRelease",
        explained: &["Error releasing pod", "release must not"],
    },
];

/// Changes a label of a pod every 150 ms, so that its Job is synced, until the task is aborted.
fn disturb(scene: &Scene, pod: String) -> tokio::task::JoinHandle<()> {
    let pods = scene.pods.clone();
    tokio::spawn(async move {
        for number in 0.. {
            let patch = json!({"metadata": {"labels": {"changed": number.to_string()}}});
            let _ = pods.patch(&pod, &PatchParams::default(), &Patch::Merge(&patch)).await;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    })
}

async fn orphan(scene: &Scene, name: &str, labels: Value) -> Result<()> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox:1.36"}]},
    }))?;
    scene.pods.create(&PostParams::default(), &pod).await?;
    Ok(())
}

impl Row {
    async fn run(self, scene: &Scene) -> Result<()> {
        let Self { job, rule, code, event, explained: texts } = self;
        let own_selector = matches!(job, "adoption" | "release");
        let mut spec = json!({"completions": 2, "parallelism": if job == "deletion" { 2 } else { 1 }});
        if own_selector {
            spec["manualSelector"] = json!(true);
            spec["selector"] = json!({"matchLabels": {"app": job}});
            spec["template"]["metadata"]["labels"] = json!({"app": job, "batch.kubernetes.io/job-name": job});
        }
        let is_at_start = matches!(event, "FailedStatusUpdate" | "FailedCreate");
        let mut disturbances = Vec::new();
        if !is_at_start {
            scene.create(job, spec.clone()).await?;
            let pods = scene.active(job, if job == "deletion" { 2 } else { 1 }).await?;
            scene.job_until(job, "the start", |status| status.active >= Some(1)).await?;
            disturbances.push(disturb(scene, pods[0].clone()));
        }
        let policy = Policy::refuse(scene, job, &[rule], code).await?;
        let since = Instant::now();
        match job {
            "untracking" => {
                let pod = scene.active(job, 1).await?.remove(0);
                scene.kubelet.succeed(&pod).await?;
                // Only one pod cannot be counted. The controller still creates the other one.
                scene.active(job, 1).await?;
                let next = scene.active(job, 1).await?.remove(0);
                scene.kubelet.succeed(&next).await?;
            }
            "deletion" => {
                scene.change(job, json!({"parallelism": 1})).await?;
            }
            "adoption" => {
                orphan(scene, "adoption-orphan", json!({"app": job, "batch.kubernetes.io/job-name": job})).await?
            }
            "release" => {
                let pod = scene.active(job, 1).await?.remove(0);
                let patch = json!({"metadata": {"labels": {"app": "other"}}});
                scene.pods.patch(&pod, &PatchParams::default(), &Patch::Merge(&patch)).await?;
            }
            _ => {
                scene.create(job, spec).await?;
                if event == "FailedStatusUpdate" {
                    let pod = scene.active(job, 1).await?.remove(0);
                    disturbances.push(disturb(scene, pod));
                } else {
                    scene.job_until(job, "the start", |status| status.start_time.is_some()).await?;
                }
            }
        }
        if matches!(job, "untracking" | "deletion") {
            // Each of several pods has an event and a back-off of its own.
            until("refusals", || async {
                let events = events(scene, job, event).await?;
                let count: Option<i32> = events.iter().map(|event| event.count).max().flatten();
                Ok(if count >= Some(REFUSALS) { Ok(()) } else { Err(format!("{count:?}")) })
            })
            .await?;
        } else {
            refused(scene, job, event, since).await?;
        }
        explained(scene, &format!("job/{job}"), texts).await?;
        disturbances.into_iter().for_each(|disturbance| disturbance.abort());
        policy.lift().await?;
        let _playing = scene.succeed_of(job);
        let status = scene.condition(job, "Complete").await?;
        assert_eq!((status.succeeded, status.failed), (Some(2), None), "{job}");
        Ok(())
    }
}

impl Scene {
    /// Sets the pods of one Job to Succeeded as soon as they exist, until the returned value is dropped.
    fn succeed_of(&self, job: &str) -> Playing {
        let (pods, kubelet) = (self.pods.clone(), self.kubelet.clone());
        let list = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
        Playing::new(async move {
            loop {
                if let Ok(list) = pods.list(&list).await {
                    let active: Vec<_> =
                        list.items.iter().filter(|pod| is_active(pod)).map(ResourceExt::name_any).collect();
                    let _ = futures::future::join_all(active.iter().map(|pod| kubelet.succeed(pod))).await;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refused_write_of_the_job_controller_is_reported_and_backs_off() -> Result<()> {
    let scene = Scene::new("refusals").await?;
    try_join_all(ROWS.iter().map(|row| async { row.run(&scene).await.context(row.job) })).await?;
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn finalizers_that_are_removed_at_creation_are_added_again_and_every_failure_counts() -> Result<()> {
    let Some(scene) = scene_with_mutating_policies("stripped").await? else { return Ok(()) };
    let policy = Policy::strip_finalizers(&scene, "job", &[("", "pods", "CREATE")]).await?;
    scene.create("job", json!({"completions": 3, "parallelism": 1, "backoffLimit": 2})).await?;
    for _ in 0..3 {
        let pod = scene.active("job", 1).await?.remove(0);
        until("the finalizer", || async {
            let pod = scene.pods.get(&pod).await?;
            Ok(if is_tracked(&pod) { Ok(()) } else { Err(format!("{:?}", pod.metadata)) })
        })
        .await?;
        scene.kubelet.fail(&pod, 1).await?;
    }
    let status = scene.condition("job", "Failed").await?;
    assert_eq!((status.succeeded, status.failed), (None, Some(3)));
    scene.event("job", "FinalizerMissing", "batch.kubernetes.io/job-tracking").await?;
    policy.lift().await?;
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_cannot_be_tracked_are_deleted_and_creation_backs_off() -> Result<()> {
    let Some(scene) = scene_with_mutating_policies("untrackable").await? else { return Ok(()) };
    let policy = Policy::strip_finalizers(&scene, "job", &[("", "pods", "CREATE"), ("", "pods", "UPDATE")]).await?;
    scene.create("job", json!({"completions": 2, "parallelism": 2, "backoffLimit": 0})).await?;
    let since = Instant::now();
    let event = until("refused creations in one event", || async {
        let events = events(&scene, "job", "FailedCreate").await?;
        let counted = events.iter().find(|event| event.count >= Some(REFUSALS)).cloned();
        Ok(counted.ok_or_else(|| format!("{events:?}")))
    })
    .await?;
    assert!(event.message.unwrap_or_default().contains("lacks the finalizer"));
    explained(&scene, "job/job", &["lacks the finalizer batch.kubernetes.io/job-tracking"]).await?;
    let created: i32 = events(&scene, "job", "SuccessfulCreate").await?.iter().filter_map(|event| event.count).sum();
    let most = 1 + (since.elapsed().as_secs_f64() + 1.0).log2().floor() as i32;
    assert!(created <= most, "{created} pods in {:?}", since.elapsed());
    scene.active("job", 0).await?;
    let status = scene.jobs.get("job").await?.status.unwrap_or_default();
    assert_eq!(
        (status.failed, status.succeeded),
        (None, None),
        "a pod without a finalizer counts neither as failed nor as succeeded"
    );
    policy.lift().await?;
    let _playing = scene.succeed_of("job");
    let status = scene.condition("job", "Complete").await?;
    assert_eq!((status.succeeded, status.failed), (Some(2), None));
    scene.nothing_tracked().await
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_writes_of_schedules_and_of_the_ttl_are_reported_and_back_off() -> Result<()> {
    let mut scene = Scene::without_controller("refused-runs", &["--claim=all"]).await?;
    if scene.cluster.control.is_none() {
        testbed::skipped!("the built-in controllers of a given cluster can be on");
        return Ok(());
    }
    scene.start_controller().await?;
    let scene = &scene;
    try_join_all([
        Box::pin(start_is_refused(scene)) as std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send + '_>>,
        Box::pin(status_is_refused(scene)),
        Box::pin(history_is_refused(scene)),
        Box::pin(schedule_status_is_refused(scene)),
        Box::pin(expiry_is_refused(scene)),
    ])
    .await?;
    Ok(())
}

/// Creates a suspended CronJob that missed its time long ago and whose next time is far away.
async fn cron_job(scene: &Scene, name: &str, more: Value) -> Result<Api<CronJob>> {
    let api: Api<CronJob> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let template = serde_json::to_value(job("x", json!({"managedBy": null}))?)?;
    let mut manifest = json!({
        "metadata": {"name": name},
        "spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": template["spec"]}},
    });
    testbed::manifest::lay_over(&mut manifest["spec"], &more);
    api.create(&PostParams::default(), &serde_json::from_value(manifest)?).await?;
    let last = json!({"status": {"lastScheduleTime": "2020-06-01T00:00:00Z"}});
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(last)).await?;
    Ok(api)
}

async fn resume(api: &Api<CronJob>, name: &str) -> Result<Instant> {
    api.patch(name, &PatchParams::default(), &Patch::Merge(json!({"spec": {"suspend": false}}))).await?;
    Ok(Instant::now())
}

async fn jobs_of(scene: &Scene, owner: &str) -> Result<Vec<String>> {
    let jobs = scene.jobs.list(&ListParams::default()).await?.items;
    let of =
        |job: &k8s_openapi::api::batch::v1::Job| job.owner_references().iter().any(|reference| reference.name == owner);
    Ok(jobs.into_iter().filter(of).map(|job| job.name_any()).collect())
}

async fn start_is_refused(scene: &Scene) -> Result<()> {
    let api = cron_job(scene, "starting", json!({})).await?;
    let policy = Policy::refuse(scene, "starting", &[("batch", "jobs", "CREATE")], "Forbidden").await?;
    let since = resume(&api, "starting").await?;
    refused(scene, "starting", "FailedCreate", since).await?;
    explained(scene, "cronjob/starting", &["Error creating job", "starting must not"]).await?;
    policy.lift().await?;
    until("the Job", || async {
        let jobs = jobs_of(scene, "starting").await?;
        Ok(if jobs.len() == 1 { Ok(()) } else { Err(format!("{jobs:?}")) })
    })
    .await
}

async fn status_is_refused(scene: &Scene) -> Result<()> {
    let api = cron_job(scene, "storing", json!({})).await?;
    let policy = Policy::refuse(scene, "storing", &[("batch", "cronjobs/status", "UPDATE")], "Forbidden").await?;
    let since = resume(&api, "storing").await?;
    refused(scene, "storing", "FailedStatusUpdate", since).await?;
    explained(scene, "cronjob/storing", &["Error updating status", "storing must not"]).await?;
    assert_eq!(jobs_of(scene, "storing").await?.len(), 1, "its Job is started exactly once");
    policy.lift().await?;
    until("the status", || async {
        let status = api.get("storing").await?.status.unwrap_or_default();
        let active = status.active.unwrap_or_default().len();
        Ok(if active == 1 { Ok(()) } else { Err(format!("{active} active")) })
    })
    .await
}

async fn history_is_refused(scene: &Scene) -> Result<()> {
    let api = cron_job(scene, "keeping", json!({"successfulJobsHistoryLimit": 0})).await?;
    let policy = Policy::refuse(scene, "keeping", &[("batch", "jobs", "DELETE")], "Forbidden").await?;
    resume(&api, "keeping").await?;
    let name =
        until("the Job", || async { Ok(jobs_of(scene, "keeping").await?.pop().ok_or_else(|| "none".to_owned())) })
            .await?;
    let pod = scene.active(&name, 1).await?.remove(0);
    let since = Instant::now();
    scene.kubelet.succeed(&pod).await?;
    refused(scene, "keeping", "FailedDelete", since).await?;
    explained(scene, "cronjob/keeping", &["keeping must not"]).await?;
    policy.lift().await?;
    until("the Job to be gone", || async {
        let jobs = jobs_of(scene, "keeping").await?;
        Ok(if jobs.is_empty() { Ok(()) } else { Err(format!("{jobs:?}")) })
    })
    .await
}

async fn schedule_status_is_refused(scene: &Scene) -> Result<()> {
    let policy =
        Policy::refuse(scene, "own", &[("jobwright.dev", "jobschedules/status", "UPDATE")], "Forbidden").await?;
    let api: Api<JobSchedule> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let template = serde_json::to_value(job("x", json!({"managedBy": null}))?)?;
    let manifest = json!({
        "apiVersion": "jobwright.dev/v1beta1", "kind": "JobSchedule", "metadata": {"name": "own"},
        "spec": {"schedules": ["0 0 1 1 *"], "jobTemplate": {"spec": template["spec"]}},
    });
    let since = Instant::now();
    api.create(&PostParams::default(), &serde_json::from_value(manifest)?).await?;
    refused(scene, "own", "FailedStatusUpdate", since).await?;
    explained(scene, "jobschedule/own", &["own must not"]).await?;
    policy.lift().await
}

async fn expiry_is_refused(scene: &Scene) -> Result<()> {
    let policy = Policy::refuse(scene, "expiring", &[("batch", "jobs", "DELETE")], "Forbidden").await?;
    scene.create("expiring", json!({"managedBy": null, "ttlSecondsAfterFinished": 0})).await?;
    let pod = scene.active("expiring", 1).await?.remove(0);
    let since = Instant::now();
    scene.kubelet.succeed(&pod).await?;
    refused(scene, "expiring", "FailedDelete", since).await?;
    explained(scene, "job/expiring", &["refuses to clean up the Job", "expiring must not"]).await?;
    policy.lift().await?;
    until("the Job to be gone", || async {
        let found = scene.jobs.get_opt("expiring").await?;
        Ok(if found.is_none() { Ok(()) } else { Err("the Job still exists".to_owned()) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refused_event_only_adds_a_log_line() -> Result<()> {
    let scene = Scene::new("no-events").await?;
    let policy = Policy::refuse(&scene, "job", &[("", "events", "CREATE")], "Forbidden").await?;
    let _playing = scene.succeed_of("job");
    scene.create("job", json!({"completions": 3, "parallelism": 1})).await?;
    assert_eq!(scene.condition("job", "Complete").await?.succeeded, Some(3));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let log = scene.controller.as_ref().context("the controller is not running")?.process.log_tail(100_000);
    let lines = log.lines().filter(|line| line.contains("cannot write an event")).count();
    assert!((4..=8).contains(&lines), "expected lines for three creations and the completion, got {lines}");
    policy.lift().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_cannot_be_renewed_is_logged_and_the_replica_is_not_ready() -> Result<()> {
    let [port] = testbed::control_plane::free_ports()?;
    let listen = format!("--listen=127.0.0.1:{port}");
    let periods =
        ["--leader-elect-lease-duration=3s", "--leader-elect-renew-deadline=2s", "--leader-elect-retry-period=200ms"];
    let flags = [&["--leader-elect=true", &*listen][..], &periods].concat();
    let scene = Scene::with_flags("no-lease", &flags).await?;
    let ready = |wanted: bool| async move {
        let (code, text) = get(port, "/readyz").await?;
        Ok(if (code == 200) == wanted { Ok(()) } else { Err(format!("{code} {text}")) })
    };
    until("the replica to lead", || ready(true)).await?;
    let policy =
        Policy::refuse(&scene, "jobwright", &[("coordination.k8s.io", "leases", "UPDATE")], "Forbidden").await?;
    until("the replica not to be ready", || ready(false)).await?;
    let log = scene.controller.as_ref().context("the controller is not running")?.process.log_tail(100_000);
    assert!(
        log.contains("ValidatingAdmissionPolicy") && log.contains("jobwright must not"),
        "the log does not name the policy"
    );
    policy.lift().await?;
    until("the replica to lead again", || ready(true)).await?;
    let _playing = scene.succeed_of("job");
    scene.create("job", json!({})).await?;
    assert_eq!(scene.condition("job", "Complete").await?.succeeded, Some(1));
    Ok(())
}

/// Returns a client whose status writes of Jobs are refused with this code, as by a webhook, the number of these
/// writes, and a switch for the refusals.
fn refusing(inner: Client, code: u16) -> (Client, Arc<AtomicUsize>, Arc<std::sync::atomic::AtomicBool>) {
    let (count, on) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::atomic::AtomicBool::new(true)));
    let (counted, is_on) = (count.clone(), on.clone());
    let service = tower::service_fn(move |request: Request<Body>| {
        let (inner, count, is_on) = (inner.clone(), counted.clone(), is_on.clone());
        async move {
            let is_status = request.method() == http::Method::PATCH && request.uri().path().ends_with("/status");
            if !is_status || !request.uri().path().contains("/jobs/") || !is_on.load(Ordering::SeqCst) {
                return inner.send(request).await.map_err(std::io::Error::other);
            }
            count.fetch_add(1, Ordering::SeqCst);
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                "message": "admission webhook \"w.example.com\" denied the request: no", "reason": "Conflict",
            });
            let body = Body::from(status.to_string().into_bytes());
            Response::builder()
                .status(code)
                .header("content-type", "application/json")
                .body(body)
                .map_err(std::io::Error::other)
        }
    });
    (Client::new(service, "default"), count, on)
}

#[tokio::test(flavor = "multi_thread")]
async fn webhook_refusal_with_code_409_or_404_backs_off() -> Result<()> {
    for code in [409, 404] {
        let scene = Scene::without_controller("no-conflict", &[]).await?;
        let (client, count, on) = refusing(scene.cluster.client().await?, code);
        let _tasks = faults::controller(&scene, client).await;
        let since = Instant::now();
        scene.create("job", json!({})).await?;
        scene.event("job", "FailedStatusUpdate", "admission webhook \"w.example.com\" denied the request").await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let most = 1 + (since.elapsed().as_secs_f64() + 1.0).log2().floor() as usize;
        let writes = count.load(Ordering::SeqCst);
        assert!((2..=most).contains(&writes), "{writes} writes in {:?}", since.elapsed());
        on.store(false, Ordering::SeqCst);
        let _playing = scene.succeed_of("job");
        assert_eq!(scene.condition("job", "Complete").await?.succeeded, Some(1));
    }
    Ok(())
}
