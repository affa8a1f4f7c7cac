//! Lower bound: a bare client that sends the writes of a Job controller for a piece of work, without any decision.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::nodes::slim::SlimPod;
use crate::work::{MAX_CONCURRENT, Work, pod_template};

/// Tracking finalizer of a Job's pods. Its removal is the second write for a pod.
const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// Maximum number of creations, and of removals of finalizers, that are in flight.
const MAX_WRITES: usize = 64;

/// Does one round of a piece of work: creates its Jobs, creates their pods, waits until each pod has ended, and removes
/// its finalizer. As many pods as the Jobs allow run concurrently. Returns the duration in seconds.
///
/// The Jobs are suspended and have no controller. They are created because the work creates them, and because kwok ends
/// only pods of Jobs.
pub async fn round(client: &Client, namespace: &str, node: &str, work: &Work) -> Result<f64> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    let pods: Api<SlimPod> = Api::namespaced(client.clone(), namespace);
    let creating: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let total = work.jobs * work.completions;
    let mut events = watcher(pods.clone(), watcher::Config::default()).boxed();
    while !matches!(events.try_next().await?, Some(Event::InitDone)) {}
    let active = Arc::new(Semaphore::new(work.jobs * work.parallelism));
    let begun = Instant::now();
    let (node, completions, permits) = (node.to_owned(), work.completions, active.clone());
    let owners = stream::iter(0..work.jobs).map(move |number| {
        let (jobs, template) = (jobs.clone(), pod_template(&node));
        async move {
            let name = format!("floor-{number}");
            let job = json!({"metadata": {"name": name}, "spec": {"suspend": true, "template": template}});
            let job = jobs.create(&PostParams::default(), &serde_json::from_value(job)?).await?;
            let mut pod = template;
            pod["metadata"] = json!({
                "generateName": format!("{name}-"), "finalizers": [FINALIZER],
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job.uid()}],
            });
            anyhow::Ok(serde_json::from_value::<Pod>(pod)?)
        }
    });
    let manifests = owners
        .buffer_unordered(MAX_CONCURRENT)
        .map_ok(move |pod| stream::iter((0..completions).map(move |_| anyhow::Ok(pod.clone()))))
        .try_flatten();
    let creations = manifests.try_for_each_concurrent(MAX_WRITES, move |pod| {
        let (creating, permits) = (creating.clone(), permits.clone());
        async move {
            permits.acquire().await?.forget();
            creating.create(&PostParams::default(), &pod).await?;
            Ok(())
        }
    });
    let creating = tokio::spawn(creations);
    let (ended, inbox) = tokio::sync::mpsc::unbounded_channel::<String>();
    let inbox = stream::unfold(inbox, |mut inbox| async move { inbox.recv().await.map(|name| (name, inbox)) });
    let releasing = inbox.take(total).map(anyhow::Ok).try_for_each_concurrent(MAX_WRITES, |name| {
        let pods = pods.clone();
        async move {
            let no_finalizers = json!({"metadata": {"finalizers": null}});
            pods.patch(&name, &PatchParams::default(), &Patch::Merge(no_finalizers)).await?;
            Ok(())
        }
    });
    let watching = async {
        let mut seen = std::collections::HashSet::new();
        loop {
            if let Some(Event::Apply(pod)) = events.try_next().await?
                && pod.is_ended()
                && seen.insert(pod.uid())
            {
                active.add_permits(1);
                ended.send(pod.name_any()).context("the writes have ended")?;
            }
        }
    };
    let writing = async { tokio::try_join!(async { creating.await? }, releasing) };
    tokio::select! {
        result = writing => drop(result?),
        result = watching => return result,
    }
    Ok(begun.elapsed().as_secs_f64())
}
