//! Attacks by a user who is allowed to create Jobs, CronJobs and pods in one namespace only. SECURITY.md lists them.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::{Cluster, Kubelet};

use crate::harness::*;

/// Finalizer that keeps a forged object from the garbage collector for as long as a test needs it.
const HELD: &str = "example.com/held";

fn owner(kind: &str, name: &str, uid: &str) -> Value {
    json!([{"apiVersion": "batch/v1", "kind": kind, "name": name, "uid": uid, "controller": true}])
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_in_one_namespace_do_not_affect_jobs_in_another() -> Result<()> {
    let scene = Scene::everywhere("victim", &["--claim=all", "--pod-failure-backoff=50ms"]).await?;
    let attacker = scene.cluster.namespace("attacker").await?;
    let (pods, jobs): (Api<Pod>, Api<Job>) =
        (Api::namespaced(scene.client.clone(), &attacker), Api::namespaced(scene.client.clone(), &attacker));
    let kubelet = Kubelet::new(scene.client.clone(), &attacker);

    // The victim's CronJob forbids concurrent Jobs. An unfinished Job in the attacker's namespace names it as its
    // owner.
    let crons: Api<CronJob> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let cron = serde_json::from_value(json!({
        "metadata": {"name": "cron"},
        "spec": {"schedule": "* * * * *", "concurrencyPolicy": "Forbid", "successfulJobsHistoryLimit": 1,
            "jobTemplate": {
                "metadata": {"namespace": attacker, "name": "elsewhere"},
                "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "i"}]}}},
            }},
    }))?;
    let cron = crons.create(&PostParams::default(), &cron).await?;
    let created = Timestamp::now().as_second().div_euclid(60);
    let mut forged = job("forged", json!({"managedBy": null}))?;
    forged.metadata.owner_references =
        Some(serde_json::from_value(owner("CronJob", "cron", &cron.uid().context("missing uid")?))?);
    forged.metadata.finalizers = Some(vec![HELD.to_owned()]);
    jobs.create(&PostParams::default(), &forged).await?;

    // The template of the victim's Job names the attacker's namespace. Pods there name this Job as their owner.
    let template = json!({"metadata": {"namespace": attacker}});
    let spec = json!({"managedBy": null, "completions": 3, "parallelism": 1, "backoffLimit": 0, "template": template});
    let victim = scene.create("victim", spec).await?;
    let own = scene.active("victim", 1).await?.remove(0);
    let own = scene.pods.get(&own).await?;
    let names = ["succeeds", "succeeds-too", "fails", "runs", "has-no-owner"];
    for name in names {
        let pod = serde_json::from_value(json!({
            "metadata": {"name": name, "finalizers": [HELD]},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "i"}]},
        }))?;
        pods.create(&PostParams::default(), &pod).await?;
    }
    kubelet.succeed("succeeds").await?;
    kubelet.succeed("succeeds-too").await?;
    kubelet.fail("fails", 1).await?;
    let uid = victim.uid().context("missing uid")?;
    for name in names {
        let owner = if name == "has-no-owner" { Value::Null } else { owner("Job", "victim", &uid) };
        let finalizers = [TRACKING_FINALIZER, HELD];
        let claim = json!({"metadata": {"labels": own.labels(), "finalizers": finalizers, "ownerReferences": owner}});
        pods.patch(name, &Default::default(), &Patch::Merge(&claim)).await?;
    }

    // The controller removes the finalizers of the forged pods, and neither counts, adopts nor replaces these pods.
    until("the forged pods to lose the tracking finalizer", || async {
        let found = pods.list(&ListParams::default()).await?.items;
        let tracked: Vec<_> = found.iter().filter(|pod| is_tracked(pod)).map(ResourceExt::name_any).collect();
        Ok(if tracked.is_empty() { Ok(()) } else { Err(format!("{tracked:?}")) })
    })
    .await?;
    let orphan = pods.get("has-no-owner").await?;
    assert!(orphan.owner_references().is_empty(), "{:?}", orphan.metadata);
    for done in 1..=3 {
        let active = scene.active("victim", 1).await?.remove(0);
        scene.kubelet.succeed(&active).await?;
        let counted = |status: &k8s_openapi::api::batch::v1::JobStatus| status.succeeded == Some(done);
        let status = scene.job_until("victim", "one more", counted).await?;
        assert_eq!(status.failed, None, "{status:?}");
    }
    scene.condition("victim", "Complete").await?;
    assert_eq!(scene.pods_of("victim").await?.len(), 3);

    // The CronJob's own Job starts in the next minute, in its own namespace.
    let name = format!("cron-{}", created + 1);
    let deadline = std::time::Instant::now() + Duration::from_secs(75);
    while scene.jobs.get_opt(&name).await?.is_none() {
        assert!(std::time::Instant::now() < deadline, "{name} did not start");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let events = scene.cluster.client().await?;
    let events: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(events, &scene.namespace);
    let about = events.list(&ListParams::default()).await?.items;
    assert!(about.iter().all(|event| event.reason.as_deref() != Some("UnexpectedJob")), "{about:?}");
    assert!(jobs.get_opt("elsewhere").await?.is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_managed_fields_neither_stop_the_controller_nor_hide_other_jobs() -> Result<()> {
    let mut scene = Scene::without_controller("forged-fields", &["--claim=all"]).await?;
    if scene.cluster.control.is_none() {
        testbed::skipped!("the built-in controllers of a given cluster can be on");
        return Ok(());
    }
    scene.start_controller().await?;
    // A user who is allowed to change Jobs, but not their status, forges entries of kube-controller-manager. One of the
    // times lies in the year -1.
    let forge = async |name: &str, time: &str, field: &str| -> Result<Value> {
        // The API server stores the time of an entry only if another field of the entry changes too.
        let forged = json!({"metadata": {"managedFields": [{
            "manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "apiVersion": "batch/v1",
            "time": time, "fieldsType": "FieldsV1", "fieldsV1": {"f:status": {field: {}}},
        }]}});
        // No typed client can read such a time, so the request consists of untyped JSON.
        let path = format!("/apis/batch/v1/namespaces/{}/jobs/{name}", scene.namespace);
        let request = http::Request::patch(path).header("content-type", "application/merge-patch+json");
        let stored: Value = scene.client.request(request.body(forged.to_string().into_bytes())?).await?;
        Ok(stored["metadata"]["managedFields"].clone())
    };
    for name in ["job", "odd"] {
        scene.create(name, json!({"managedBy": null, "completions": 2, "parallelism": 1})).await?;
        scene.job_until(name, "1 active", |status| status.active == Some(1)).await?;
    }
    for (time, field) in [("2026-01-01T00:00:00Z", "f:active"), ("2026-01-01T00:00:09Z", "f:ready")] {
        let stored = forge("job", time, field).await?.to_string();
        assert!(stored.contains("kube-controller-manager") && stored.contains(time), "{stored}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let stored = forge("odd", "0000-01-01T00:00:00+10:00", "f:failed").await?.to_string();
    assert!(stored.contains("\"time\":\"-"), "{stored}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    scene.controller.as_mut().context("the controller is not running")?.process.check()?;
    // The odd Job blocks no other Job, neither in the watch nor in a list. The odd Job itself is stuck: the API server
    // refuses every patch of an object with such a time.
    scene.controller = None;
    scene.start_controller().await?;
    let _playing = scene.succeed_all();
    assert_eq!(scene.condition("job", "Complete").await?.succeeded, Some(2));
    scene.controller.as_mut().context("the controller is not running")?.process.check()
}

#[tokio::test(flavor = "multi_thread")]
async fn server_of_an_unknown_authority_is_rejected_and_no_token_is_logged() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let Some(control) = &cluster.control else {
        testbed::skipped!("the certificate authority of a given cluster is unknown");
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let secret = "not-to-be-logged-0123456789";
    let run = |authority: &std::path::Path, more: &str| -> Result<(bool, String)> {
        let path = dir.path().join("kubeconfig");
        std::fs::write(
            &path,
            json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "a",
                "clusters": [{"name": "a", "cluster": {"server": format!("{}{more}", control.server), "certificate-authority": authority}}],
                "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
                "users": [{"name": "a", "user": {"token": secret}}],
            })
            .to_string(),
        )?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_jobwright"));
        command.args(["run", &format!("--kubeconfig={}", path.display())]).env("JOBWRIGHT_LOG", "trace");
        let output = command.output()?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let other = testbed::certs::Authority::new(&dir.path().join("other"))?;
    let (ran, text) = run(&other.certificate(), "")?;
    assert!(!ran && text.contains("cannot reach the API server") && text.contains("certificate"), "{text}");
    assert!(!text.contains(secret), "{text}");
    let (ran, text) = run(&control.authority.certificate(), "")?;
    assert!(!ran && text.contains("rejected the credentials"), "{text}");
    assert!(!text.contains(secret), "{text}");
    Ok(())
}
