//! Measurement of many Jobs that wait for one JobLimit: what the controller uses while it admits them one by one, and
//! the delay of Jobs in another namespace in the meantime.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use futures::{StreamExt, future::ready};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::Kubelet;
use testbed::kwok::NODE_NAME;

use crate::crowded::{STILL, create_all};
use crate::environment::Environment;
use crate::report::{Figures, median, quantile};
use crate::system::{Controller, wait};
use crate::usage;
use crate::work::pod_template;

/// Number of Jobs that the limit admits concurrently.
const ADMITTED: usize = 20;
/// Time between the ends of two Jobs.
const BETWEEN_ENDS: Duration = Duration::from_millis(100);
/// Time between two Jobs in the other namespace.
const BETWEEN_PROBES: Duration = Duration::from_millis(500);

/// Number of Jobs, and duration of the measurement.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Number of waiting Jobs.
    pub jobs: usize,
    /// Time for which ten Jobs finish each second.
    pub length: Duration,
}

/// Creates waiting Jobs in a namespace, finishes ten of them each second, and measures the controller.
pub async fn measure(environment: &Environment, controller: &mut Controller, size: Size) -> Result<Figures> {
    let nodes: Api<Node> = Api::all(environment.client.clone());
    nodes.create(&PostParams::default(), &serde_json::from_value(json!({"metadata": {"name": STILL}}))?).await?;
    let namespace = environment.cluster.namespace("limited").await?;
    limit(environment, &namespace).await?;
    let jobs: Api<Job> = Api::namespaced(environment.client.clone(), &namespace);
    let probes = Probes::new(environment).await?;
    let alone = probes.run(Duration::from_secs(5)).await?;
    let before = usage::of(controller.id())?.cpu_s;
    let manifests =
        (0..size.jobs).map(|number| job(&format!("waits-{number:05}"), STILL)).collect::<Result<Vec<_>>>()?;
    create_all(&jobs, manifests).await?;
    // All Jobs are waiting when the last one has the annotation.
    let last = format!("waits-{:05}", size.jobs - 1);
    wait(controller, "all Jobs to wait", Duration::from_secs(120), async || {
        Ok(jobs.get(&last).await?.annotations().contains_key("jobwright.dev/waiting"))
    })
    .await?;
    settle(controller).await?;
    let filled = usage::of(controller.id())?;
    let (ended, meanwhile) =
        tokio::join!(end_ten_a_second(environment, &namespace, size.length), probes.run(size.length));
    let (ended, meanwhile) = (ended?, meanwhile?);
    let after = usage::of(controller.id())?;
    controller.check()?;
    // The same work in a namespace without a limit shows the cost of the limit.
    let unlimited = environment.cluster.namespace("unlimited").await?;
    settle(controller).await?;
    let begun = usage::of(controller.id())?.cpu_s;
    let created = Api::namespaced(environment.client.clone(), &unlimited);
    let (created, done, probed) = tokio::join!(
        make_ten_a_second(&created, size.length),
        end_ten_a_second(environment, &unlimited, size.length),
        probes.run(size.length)
    );
    created?;
    done?;
    probed?;
    let without = usage::of(controller.id())?.cpu_s - begun;
    let mut figures = Figures::from([
        ("cpu_percent_without_limit", without / size.length.as_secs_f64() * 100.0),
        ("fill_controller_cpu_s", filled.cpu_s - before),
        ("controller_rss_mib", after.now_mib),
        ("cpu_percent", (after.cpu_s - filled.cpu_s) / size.length.as_secs_f64() * 100.0),
        ("ended_per_s", ended as f64 / size.length.as_secs_f64()),
    ]);
    figures.extend(median(&alone).map(|value| ("other_namespace_alone_median_s", value)));
    figures.extend(median(&meanwhile).map(|value| ("other_namespace_median_s", value)));
    figures.extend(quantile(&meanwhile, 0.99).map(|value| ("other_namespace_p99_s", value)));
    Ok(figures)
}

async fn limit(environment: &Environment, namespace: &str) -> Result<()> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("jobwright.dev", "v1beta1", "JobLimit"));
    let limits: Api<DynamicObject> = Api::namespaced_with(environment.client.clone(), namespace, &kind);
    let limit = json!({
        "apiVersion": "jobwright.dev/v1beta1", "kind": "JobLimit",
        "metadata": {"name": "some"}, "spec": {"maxActiveJobs": ADMITTED},
    });
    limits.create(&PostParams::default(), &serde_json::from_value(limit)?).await?;
    // The controller observes the limit within milliseconds.
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
}

fn job(name: &str, node: &str) -> Result<Job> {
    Ok(serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"template": pod_template(node)}}))?)
}

/// Waits until the controller is idle, so that late writes for the last Jobs, such as events, are not measured.
pub async fn settle(controller: &Controller) -> Result<()> {
    for _ in 0..120 {
        let before = usage::of(controller.id())?.cpu_s;
        tokio::time::sleep(Duration::from_secs(2)).await;
        if usage::of(controller.id())?.cpu_s - before < 0.03 {
            break;
        }
    }
    Ok(())
}

/// Creates ten Jobs each second.
async fn make_ten_a_second(jobs: &Api<Job>, length: Duration) -> Result<()> {
    let begun = Instant::now();
    let mut tick = tokio::time::interval(BETWEEN_ENDS);
    for number in 0.. {
        tick.tick().await;
        if begun.elapsed() >= length {
            break;
        }
        jobs.create(&PostParams::default(), &job(&format!("free-{number:05}"), STILL)?).await?;
    }
    Ok(())
}

/// Makes the pods of ten Jobs succeed each second. Returns their number.
async fn end_ten_a_second(environment: &Environment, namespace: &str, length: Duration) -> Result<usize> {
    let pods: Api<Pod> = Api::namespaced(environment.client.clone(), namespace);
    let kubelet = Kubelet::new(environment.client.clone(), namespace);
    let mut started = VecDeque::new();
    let mut events = new_pods(pods);
    let (begun, mut ended) = (Instant::now(), 0);
    let mut tick = tokio::time::interval(BETWEEN_ENDS);
    while begun.elapsed() < length {
        tokio::select! {
            pod = events.try_next() => started.push_back(pod?.context("the watch ended")?),
            _ = tick.tick() => if let Some(pod) = started.pop_front() {
                kubelet.succeed(&pod).await?;
                ended += 1;
            },
        }
    }
    Ok(ended)
}

/// Returns the names of unfinished pods, each when it is first observed.
fn new_pods(pods: Api<Pod>) -> BoxStream<'static, Result<String, watcher::Error>> {
    let mut seen = std::collections::HashSet::new();
    let events = watcher(pods, watcher::Config::default()).try_filter_map(|event| {
        ready(Ok(match event {
            Event::Apply(pod) | Event::InitApply(pod) => Some(pod),
            _ => None,
        }))
    });
    let new = events.try_filter_map(move |pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let is_new = !matches!(phase, Some("Succeeded" | "Failed")) && seen.insert(pod.uid());
        ready(Ok(is_new.then(|| pod.name_any())))
    });
    new.boxed()
}

/// Jobs in a namespace without limits, which are created one after the other.
struct Probes {
    jobs: Api<Job>,
    pods: Api<Pod>,
}

impl Probes {
    async fn new(environment: &Environment) -> Result<Self> {
        let namespace = environment.cluster.namespace("other").await?;
        let (client, other) = (environment.client.clone(), environment.client.clone());
        Ok(Self { jobs: Api::namespaced(client, &namespace), pods: Api::namespaced(other, &namespace) })
    }

    /// Returns the time from the creation of each Job to its first pod, in seconds.
    async fn run(&self, length: Duration) -> Result<Vec<f64>> {
        let begun = Instant::now();
        let mut lags = Vec::new();
        while begun.elapsed() < length {
            let name = format!("probe-{}", begun.elapsed().as_nanos());
            let asked = Instant::now();
            self.jobs.create(&PostParams::default(), &job(&name, NODE_NAME)?).await?;
            let list = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={name}")).limit(1);
            while self.pods.list(&list).await?.items.is_empty() {
                anyhow::ensure!(asked.elapsed() < Duration::from_secs(60), "{name} has no pod");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            lags.push(asked.elapsed().as_secs_f64());
            tokio::time::sleep(BETWEEN_PROBES).await;
        }
        Ok(lags)
    }
}
