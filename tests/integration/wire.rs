//! Jobs and Pods in both encodings, on a real API server: both are read as the same objects, and the pods of a template
//! are stored as the same objects.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use jobwright::job::decide::{NewPod, Raised};
use jobwright::job::pod::PodBuilder;
use jobwright::job::view::{IndexFailures, JobView};
use jobwright::job::wire::{WireJob, WirePod};
use jobwright::runtime::codec::{Encoding, WireEvent};
use jobwright::runtime::objects::Objects;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::harness::*;

/// Fields of a pod that differ between any two pods.
const OWN_FIELDS: &[&str] = &["name", "uid", "resourceVersion", "creationTimestamp"];

fn objects<K>(scene: &Scene, encoding: Encoding) -> Objects<K>
where
    K: jobwright::runtime::codec::WireObject
        + kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    Objects::new(Api::namespaced(scene.client.clone(), &scene.namespace), encoding)
}

/// Returns the templates of `pod_templates.yaml`, which have every field that the construction of a pod reads or changes,
/// and many that it only copies.
fn templates() -> Result<BTreeMap<String, Value>> {
    Ok(serde_saphyr::from_str(include_str!("pod_templates.yaml"))?)
}

/// Returns a pod without the fields that differ between any two pods.
fn comparable(mut pod: Value) -> Value {
    for field in OWN_FIELDS {
        pod["metadata"].as_object_mut().expect("metadata").remove(*field);
    }
    for entry in pod["metadata"]["managedFields"].as_array_mut().into_iter().flatten() {
        entry["time"] = Value::Null;
    }
    for condition in pod["status"]["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastTransitionTime"] = Value::Null;
    }
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_one_template_are_stored_equally_in_both_encodings() -> Result<()> {
    let scene = Scene::without_controller("wire-pods", &[]).await?;
    let failures = Some(IndexFailures { counted: 2, ignored: 1 });
    for (name, template) in templates()? {
        for indexed in [false, true] {
            let name = format!("{name}-{}", if indexed { "indexed" } else { "plain" });
            let mode = if indexed { "Indexed" } else { "NonIndexed" };
            let spec = json!({"completionMode": mode, "completions": 12, "template": template, "managedBy": "example.com/none"});
            let mut manifest = serde_json::to_value(job(&name, json!({}))?)?;
            manifest["spec"] = spec;
            scene.jobs.create(&PostParams::default(), &serde_json::from_value(manifest)?).await?;
            let mut stored = Vec::new();
            for encoding in [Encoding::Json, Encoding::Protobuf] {
                let wire = objects::<WireJob>(&scene, encoding).get_opt(&name).await?.context("no Job")?;
                let view = JobView::parse(wire).context("no view")?;
                let new = if indexed { NewPod { index: Some(11), failures } } else { NewPod::default() };
                let body = PodBuilder::new(&view, None, &Raised::default())?.pod(&new)?;
                ensure!(body.encoding == encoding, "{name}: the pod is {:?}", body.encoding);
                let created = objects::<WirePod>(&scene, encoding).create(&PostParams::default(), body).await?;
                stored.push(serde_json::to_value(scene.pods.get(&created.name_any()).await?)?);
            }
            let [json, protobuf] = <[Value; 2]>::try_from(stored).expect("two pods").map(comparable);
            assert_eq!(protobuf, json, "{name}");
            assert_eq!(json["metadata"]["ownerReferences"][0]["name"], json!(name));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_and_pods_are_read_equally_in_both_encodings() -> Result<()> {
    let scene = Scene::without_controller("wire-read", &[]).await?;
    let exit_codes = json!({"operator": "NotIn", "values": [1, 42], "containerName": "main"});
    scene
        .create(
            "full",
            json!({
                "managedBy": "jobwright.dev/controller", "completionMode": "Indexed", "completions": 9, "parallelism": 0,
                "backoffLimitPerIndex": 0, "maxFailedIndexes": 3, "activeDeadlineSeconds": 100, "suspend": true,
                "ttlSecondsAfterFinished": 0, "podReplacementPolicy": "Failed",
                "podFailurePolicy": {"rules": [
                    {"action": "FailIndex", "onExitCodes": exit_codes},
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]},
                "successPolicy": {"rules": [{"succeededIndexes": "0-2", "succeededCount": 1}, {"succeededCount": 3}]},
            }),
        )
        .await?;
    scene.create("plain", json!({})).await?;
    let now = "2026-01-02T03:04:05Z";
    let status = json!({
        "startTime": now, "active": 2, "ready": 0, "terminating": 1, "succeeded": 1, "failed": 2, "completedIndexes": "0",
        "failedIndexes": "", "uncountedTerminatedPods": {"succeeded": ["u1"], "failed": ["u2", "u3"]},
        "conditions": [{"type": "Suspended", "status": "False", "lastTransitionTime": now, "reason": "R", "message": "m"}],
    });
    let patch = json!({"status": status, "metadata": {"annotations": {"a": "b"}}});
    for name in ["full", "plain"] {
        // The Indexed fields are invalid for the other Job.
        let mut patch = patch.clone();
        if name == "plain" {
            patch["status"] = json!({"active": 0, "ready": 0, "uncountedTerminatedPods": {}});
        }
        scene.jobs.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    }
    let jobs = |encoding| objects::<WireJob>(&scene, encoding);
    for name in ["full", "plain"] {
        let [json, protobuf] = [jobs(Encoding::Json), jobs(Encoding::Protobuf)].map(|jobs| async move {
            let mut wire = jobs.get_opt(name).await?.context("no Job")?;
            let facts = wire.spec.template.facts();
            // The templates differ in their encoding.
            wire.spec.template = serde_json::from_str("{}")?;
            let selector =
                wire.spec.selector.take().map(|selector| serde_json::to_value(selector).expect("a selector"));
            anyhow::Ok(format!("{wire:#?}{facts:#?}{selector:#?}"))
        });
        assert_eq!(protobuf.await?, json.await?, "{name}");
    }

    let pod = json!({
        "metadata": {"name": "pod", "labels": {"a": "b"}, "finalizers": ["example.com/mine"]},
        "spec": {
            "nodeName": "node",
            "initContainers": [{"name": "sidecar", "image": "s", "restartPolicy": "Always"}, {"name": "init", "image": "i"}],
            "containers": [{"name": "main", "image": "m"}],
        },
    });
    scene.pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    let pods = |encoding| objects::<WirePod>(&scene, encoding);
    let compare = async || {
        let json = pods(Encoding::Json).get_opt("pod").await?.context("no pod")?;
        let protobuf = pods(Encoding::Protobuf).get_opt("pod").await?.context("no pod")?;
        assert_eq!(format!("{protobuf:#?}"), format!("{json:#?}"));
        anyhow::Ok(())
    };
    compare().await?;
    let ended = |name: &str, code: i32| {
        json!({"name": name, "image": "m", "imageID": "", "ready": false, "restartCount": 3,
            "state": {"terminated": {"exitCode": code, "signal": 9, "reason": "Error", "message": "m", "startedAt": now, "finishedAt": now}},
            "lastState": {"terminated": {"exitCode": 0}}})
    };
    let waiting = json!({"name": "init", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no image"}}});
    let status = json!({
        "phase": "Failed", "reason": "Evicted", "message": "\u{fc}",
        "conditions": [
            {"type": "Ready", "status": "False", "lastTransitionTime": now, "lastProbeTime": null},
            {"type": "DisruptionTarget", "status": "True", "reason": "R", "message": "m", "lastTransitionTime": now},
        ],
        "containerStatuses": [ended("main", 137)],
        "initContainerStatuses": [ended("sidecar", 0), waiting],
    });
    scene.kubelet.patch("pod", status).await?;
    compare().await?;
    scene.pods.delete("pod", &DeleteParams { grace_period_seconds: Some(7), ..DeleteParams::default() }).await?;
    compare().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn protobuf_requests_return_pages_statuses_and_watch_events() -> Result<()> {
    let scene = Scene::without_controller("wire-requests", &[]).await?;
    let jobs = objects::<WireJob>(&scene, Encoding::Protobuf);
    for name in ["a", "b", "c"] {
        scene.create(name, json!({"suspend": true})).await?;
    }
    let first = jobs.list(&ListParams::default().limit(2)).await?;
    assert_eq!(first.items.len(), 2);
    assert!(!first.continue_token.is_empty() && !first.resource_version.is_empty());
    let rest = jobs.list(&ListParams::default().limit(2).continue_token(&first.continue_token)).await?;
    assert_eq!((rest.items.len(), &*rest.continue_token), (1, ""));

    assert!(jobs.get_opt("missing").await?.is_none());
    let body = jobwright::runtime::codec::Encoded::json(serde_json::to_vec(&job("a", json!({}))?)?);
    let Err(kube::Error::Api(status)) = jobs.create(&PostParams::default(), body).await else {
        anyhow::bail!("the Job was created twice")
    };
    assert!(status.is_already_exists() && status.code == 409 && status.details.is_some(), "{status:?}");

    let mut events = Box::pin(jobs.watch(&WatchParams::default(), &rest.resource_version).await?);
    let patch = json!({"metadata": {"labels": {"x": "y"}, "finalizers": ["example.com/held"]}});
    let patched = jobs.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await?;
    assert_eq!(patched.metadata.labels.as_ref().map(|labels| labels["x"].as_str()), Some("y"));
    let deleted = jobs.delete("a", &DeleteParams::background()).await?;
    assert!(deleted.left().is_some_and(|job| job.metadata.deletion_timestamp.is_some()), "the finalizer keeps the Job");
    let deleted = jobs.delete("b", &DeleteParams::background()).await?;
    assert!(deleted.right().is_some_and(|status| status.is_success()), "the Job is gone");
    let mut seen = Vec::new();
    while seen.len() < 3 {
        match events.next().await.context("the watch ended")?? {
            WireEvent::Applied(Ok(job)) => seen.push(format!("changed {}", job.metadata.name.unwrap_or_default())),
            WireEvent::Deleted(Ok(job)) => seen.push(format!("deleted {}", job.metadata.name.unwrap_or_default())),
            other => seen.push(format!("{other:?}")),
        }
    }
    assert_eq!(seen, ["changed a", "changed a", "deleted b"]);

    let Err(kube::Error::Api(status)) = jobs.watch(&WatchParams::default(), "none").await.map(drop) else {
        anyhow::bail!("a watch from an invalid version works")
    };
    assert!(status.code >= 400 && status.message.contains("none"), "{status:?}");
    Ok(())
}
