//! The least it can take: a bare client that makes a Job controller's writes for so many pods, with nothing to decide.

use std::time::Instant;

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::kwok::NODE_NAME;

use crate::environment::Environment;
use crate::report::Figures;
use crate::work::pod_template;

/// The finalizer of a Job's pods; taking it off is the second write of a pod's life.
const FINALIZER: &str = "batch.kubernetes.io/job-tracking";

/// Creates pods, waits until each has succeeded, and takes its finalizer off, so many requests at once.
pub async fn measure(environment: &Environment, pods: usize, at_once: usize) -> Result<Figures> {
    let namespace = environment.cluster.namespace("floor").await?;
    let api: Api<Pod> = Api::namespaced(environment.client.clone(), &namespace);
    let mut template = pod_template(NODE_NAME);
    // Simulated nodes end pods of Jobs only, so these have a Job, which nobody works on.
    let jobs: Api<Job> = Api::namespaced(environment.client.clone(), &namespace);
    let job = json!({"metadata": {"name": "floor"}, "spec": {"suspend": true, "template": template}});
    let job = jobs.create(&PostParams::default(), &serde_json::from_value(job)?).await?;
    template["metadata"] = json!({
        "generateName": "floor-", "finalizers": [FINALIZER],
        "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "floor", "uid": job.uid()}],
    });
    let pod: Pod = serde_json::from_value(template)?;
    let mut events = watcher(api.clone(), watcher::Config::default()).boxed();
    while !matches!(events.try_next().await?, Some(Event::InitDone)) {}
    let begun = Instant::now();
    let creating = api.clone();
    let creations = stream::iter(0..pods).map(move |_| {
        let (api, pod) = (creating.clone(), pod.clone());
        async move { api.create(&PostParams::default(), &pod).await.map(drop) }
    });
    let creating = tokio::spawn(creations.buffer_unordered(at_once).try_collect::<()>());
    let (succeeded, released) = tokio::sync::mpsc::unbounded_channel::<String>();
    let releases = stream::unfold(released, |mut inbox| async move { inbox.recv().await.map(|name| (name, inbox)) });
    let releases = releases.map(|name| {
        let api = api.clone();
        async move {
            let off = json!({"metadata": {"finalizers": null}});
            api.patch(&name, &PatchParams::default(), &Patch::Merge(off)).await.map(drop)
        }
    });
    let releasing = releases.buffer_unordered(at_once).take(pods).try_collect::<()>();
    let watching = async {
        loop {
            if let Some(Event::Apply(pod)) = events.try_next().await? {
                let ended = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Succeeded");
                if ended && !pod.finalizers().is_empty() && succeeded.send(pod.name_any()).is_err() {
                    return anyhow::Ok(());
                }
            }
        }
    };
    tokio::select! {
        result = releasing => result?,
        result = watching => result?,
    }
    creating.await??;
    let wall_s = begun.elapsed().as_secs_f64();
    Ok(Figures::from([("wall_s", wall_s), ("pods_per_s", pods as f64 / wall_s)]))
}
