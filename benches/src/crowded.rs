//! Measurements in a cluster with many objects: duration of a start, memory of the controller, and its use of processor
//! and requests without any work.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{ListParams, PostParams};
use kube::core::PartialObjectMeta;
use serde_json::json;
use testbed::kwok::NODE_NAME;

use crate::environment::Environment;
use crate::report::Figures;
use crate::system::{System, wait};
use crate::usage;
use crate::work::{MAX_CONCURRENT, pod_template};

/// Name of a node without a kubelet: its pods never change their phase.
pub const STILL: &str = "still";
/// Maximum duration of a start.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Number of objects, and duration of the idle measurement.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Number of Jobs with four pods each that never finish.
    pub jobs: usize,
    /// Number of finished Jobs.
    pub finished: usize,
    /// Number of pods without a Job.
    pub unrelated: usize,
    /// Duration of the idle measurement.
    pub idle: Duration,
}

impl Size {
    /// Returns the number of pods of Jobs.
    pub fn pods(self) -> usize {
        self.jobs * 4
    }
}

/// Creates Jobs with pods that never finish, and finished Jobs. Jobwright is the controller during the creation.
pub async fn fill(environment: &mut Environment, size: Size) -> Result<()> {
    let nodes: Api<Node> = Api::all(environment.client.clone());
    nodes.create(&PostParams::default(), &serde_json::from_value(json!({"metadata": {"name": STILL}}))?).await?;
    let mut controller = environment.begin(System::Jobwright)?;
    let namespace = environment.cluster.namespace("many").await?;
    let job = |name: String, completions: usize, parallelism: usize| {
        let spec = json!({"completions": completions, "parallelism": parallelism, "template": pod_template(STILL)});
        serde_json::from_value::<Job>(json!({"metadata": {"name": name}, "spec": spec}))
    };
    let mut jobs = Vec::new();
    for number in 0..size.jobs {
        jobs.push(job(format!("lasting-{number}"), 4, 4)?);
    }
    for number in 0..size.finished {
        // A Job with zero completions completes immediately.
        jobs.push(job(format!("finished-{number}"), 0, 1)?);
    }
    create_all(&Api::namespaced(environment.client.clone(), &namespace), jobs).await?;
    let pods: Api<PartialObjectMeta<Pod>> = Api::namespaced(environment.client.clone(), &namespace);
    let wanted = size.pods();
    wait(&mut controller, "filling the cluster", Duration::from_secs(600), async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let page = pods.list(&ListParams::default().limit(1)).await?;
        let rest = usize::try_from(page.metadata.remaining_item_count.unwrap_or_default())?;
        Ok(page.items.len() + rest >= wanted)
    })
    .await?;
    // Wait for the last status writes, which must not be part of the measured start.
    tokio::time::sleep(Duration::from_secs(2)).await;
    settle(environment).await?;
    environment.end(controller).await
}

/// Waits until the API server is idle, so that earlier work does not affect the next measurement.
async fn settle(environment: &Environment) -> Result<()> {
    let apiserver = environment.control()?.apiserver_id().await;
    for _ in 0..60 {
        let before = usage::of(apiserver)?.cpu_s;
        tokio::time::sleep(Duration::from_secs(1)).await;
        if usage::of(apiserver)?.cpu_s - before < 0.1 {
            break;
        }
    }
    Ok(())
}

/// Creates pods without a Job.
pub async fn add_unrelated_pods(environment: &Environment, count: usize) -> Result<()> {
    let namespace = environment.cluster.namespace("unrelated").await?;
    let mut pod = pod_template(STILL);
    pod["metadata"] = json!({"generateName": "unrelated-", "labels": {"app": "web"}});
    let pod: Pod = serde_json::from_value(pod)?;
    create_all(&Api::namespaced(environment.client.clone(), &namespace), vec![pod; count]).await
}

/// Creates objects, at most [`MAX_CONCURRENT`] concurrently.
pub async fn create_all<K>(api: &Api<K>, objects: Vec<K>) -> Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let creations =
        stream::iter(objects).map(|object| async move { api.create(&PostParams::default(), &object).await.map(drop) });
    Ok(creations.buffer_unordered(MAX_CONCURRENT).try_collect::<()>().await?)
}

/// Measures the time from the start of the process to the first pod of a waiting Job, and the memory after the start.
pub async fn restart(environment: &mut Environment, system: System, size: Size) -> Result<Figures> {
    let namespace = environment.cluster.namespace("restart").await?;
    let jobs: Api<Job> = Api::namespaced(environment.client.clone(), &namespace);
    let spec = json!({"template": pod_template(NODE_NAME)});
    jobs.create(&PostParams::default(), &serde_json::from_value(json!({"metadata": {"name": "new"}, "spec": spec}))?)
        .await?;
    settle(environment).await?;
    let pods: Api<Pod> = Api::namespaced(environment.client.clone(), &namespace);
    let begun = Instant::now();
    let mut controller = environment.begin(system)?;
    wait(&mut controller, "the first pod", START_TIMEOUT, async || {
        Ok(!pods.list(&ListParams::default().limit(1)).await?.items.is_empty())
    })
    .await?;
    let first = begun.elapsed().as_secs_f64();
    // The first sync of each Job is part of the start.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let used = usage::of(controller.id())?;
    environment.end(controller).await?;
    Ok(Figures::from([
        ("pods", size.pods() as f64),
        ("to_first_pod_s", first),
        ("controller_cpu_s", used.cpu_s),
        ("controller_rss_mib", used.peak_mib),
        ("controller_rss_after_mib", used.now_mib),
    ]))
}

/// Measures what a controller uses without any work.
pub async fn idle(environment: &mut Environment, system: System, length: Duration) -> Result<Figures> {
    let controller = environment.begin_warm(system).await?;
    // Wait until the work of the start is done.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = usage::of(controller.id())?;
    let writes_before = job_requests(environment).await?;
    tokio::time::sleep(length).await;
    let after = usage::of(controller.id())?;
    let requests = job_requests(environment).await? - writes_before;
    environment.end(controller).await.context("stopping the controller")?;
    Ok(Figures::from([
        ("cpu_percent", (after.cpu_s - before.cpu_s) / length.as_secs_f64() * 100.0),
        ("controller_rss_mib", after.now_mib),
        ("requests", requests),
    ]))
}

/// Returns the number of requests for Jobs, CronJobs and pods so far, without watches, which are renewed periodically.
async fn job_requests(environment: &Environment) -> Result<f64> {
    let requests = crate::requests::so_far(&environment.client).await?;
    Ok(crate::requests::of_controllers(&Default::default(), &requests).values().sum())
}
