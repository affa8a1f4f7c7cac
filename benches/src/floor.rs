//! Lower bound: a bare client that sends the writes of a Job controller for a number of pods, without any decision.

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

/// Tracking finalizer of a Job's pods. Its removal is the second write for a pod.
const FINALIZER: &str = "batch.kubernetes.io/job-tracking";

/// Creates pods, waits until each has succeeded, and removes its finalizer, with at most `max_concurrent` creations and
/// as many removals in flight.
pub async fn measure(environment: &Environment, pods: usize, max_concurrent: usize) -> Result<Figures> {
    let namespace = environment.cluster.namespace("floor").await?;
    let api: Api<Pod> = Api::namespaced(environment.client.clone(), &namespace);
    let mut template = pod_template(NODE_NAME);
    // Simulated nodes finish only pods of Jobs. Therefore the pods have a Job, which is suspended and has no
    // controller.
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
    let creating = tokio::spawn(creations.buffer_unordered(max_concurrent).try_collect::<()>());
    let (succeeded, released) = tokio::sync::mpsc::unbounded_channel::<String>();
    let releases = stream::unfold(released, |mut inbox| async move { inbox.recv().await.map(|name| (name, inbox)) });
    let releases = releases.map(|name| {
        let api = api.clone();
        async move {
            let no_finalizers = json!({"metadata": {"finalizers": null}});
            api.patch(&name, &PatchParams::default(), &Patch::Merge(no_finalizers)).await.map(drop)
        }
    });
    let releasing = releases.buffer_unordered(max_concurrent).take(pods).try_collect::<()>();
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
