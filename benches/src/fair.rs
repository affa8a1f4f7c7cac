//! Measurement of other Jobs while one large Job starts: the time until a new Job of one pod has its pod, and the time
//! from the end of a pod to the next pod of its Job.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use testbed::Kubelet;
use tokio::task::JoinSet;

use crate::crowded::create_all;
use crate::environment::{Environment, spread};
use crate::nodes::slim::SlimPod;
use crate::nodes::{RUNS, STILL};
use crate::report::Figures;
use crate::system::Controller;
use crate::work::{Seen, pod_template};

/// Time between two new Jobs.
const BETWEEN_JOBS: Duration = Duration::from_millis(200);
/// Time between two ends of pods.
const BETWEEN_ENDS: Duration = Duration::from_millis(100);
/// Number of Jobs whose pods end.
const CHAINS: usize = 10;
/// Maximum duration of the start of the large Job, and then of the Jobs that were created in the meantime.
const TIMEOUTS: [Duration; 2] = [Duration::from_secs(900), Duration::from_secs(60)];

/// Results of the requests of the benchmark.
enum Done {
    /// A Job was created: its UID, and the times of the request and of the response.
    Created(String, Instant, Instant),
    /// A pod was ended.
    Ended,
}

/// Starts a Job of `pods` pods, and measures other Jobs until all pods exist.
pub async fn measure(environment: &Environment, controller: &Controller, pods: usize) -> Result<Figures> {
    let client = &environment.client;
    let large = environment.cluster.namespace("fair-large").await?;
    let small = environment.cluster.namespace("fair-small").await?;
    let jobs: Api<Job> = Api::namespaced(client.clone(), &small);
    let mut events = watcher(Api::<SlimPod>::namespaced(client.clone(), &small), watcher::Config::default()).boxed();
    while !matches!(events.try_next().await?, Some(Event::InitDone)) {}
    let chains = (0..CHAINS).map(|number| job(&format!("chain-{number}"), 1, 100_000, STILL));
    create_all(&jobs, chains.collect::<Result<Vec<_>>>()?).await?;
    let mut seen = Seen::default();
    let mut live = VecDeque::new();
    while live.len() < CHAINS {
        let event = tokio::time::timeout(TIMEOUTS[1], events.try_next()).await;
        note(&mut seen, &mut live, event.context("the first Jobs have no pods")??);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;

    let before = environment.begin_times(controller).await?;
    let begun = Instant::now();
    let large_jobs: Api<Job> = Api::namespaced(client.clone(), &large);
    large_jobs.create(&PostParams::default(), &job("large", pods, pods, RUNS)?).await?;
    let kubelet = Kubelet::new(client.clone(), &small);
    let (mut requests, mut asked, mut responses) = (JoinSet::new(), HashMap::new(), Vec::new());
    let mut started = std::pin::pin!(wait_for_pods(client, &large, pods));
    let (mut jobs_tick, mut ends_tick) = (tokio::time::interval(BETWEEN_JOBS), tokio::time::interval(BETWEEN_ENDS));
    let (mut number, mut start_s) = (0, None);
    let mut figures = Figures::new();
    // The last Jobs and ends are measured to their pods, too, because these are the ones that waited longest.
    while start_s.is_none() || !requests.is_empty() || seen.first_since(&asked).len() < asked.len() {
        let going = start_s.is_none();
        if begun.elapsed() > TIMEOUTS[0] || start_s.is_some_and(|at: f64| begun.elapsed().as_secs_f64() > at + 60.0) {
            let without = asked.len() - seen.first_since(&asked).len();
            bail!("{without} of {} Jobs have no pod after {:.0} s", asked.len(), begun.elapsed().as_secs_f64());
        }
        tokio::select! {
            event = events.try_next() => note(&mut seen, &mut live, event?),
            done = requests.join_next(), if !requests.is_empty() => {
                if let Some(Done::Created(uid, request, response)) = done.transpose()?.transpose()? {
                    responses.push(response.duration_since(request).as_secs_f64());
                    asked.insert(uid, request);
                }
            },
            result = &mut started, if going => {
                result?;
                start_s = Some(begun.elapsed().as_secs_f64());
                figures = environment.times_since(&before, controller, pods).await?;
            },
            _ = jobs_tick.tick(), if going => {
                requests.spawn(create(jobs.clone(), job(&format!("new-{number}"), 1, 1, STILL)?));
                number += 1;
            },
            _ = ends_tick.tick(), if going => if let Some(pod) = live.pop_front() {
                let kubelet = kubelet.clone();
                requests.spawn(async move { kubelet.succeed(&pod).await.map(|_| Done::Ended) });
            },
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
    }
    figures.extend(start_s.map(|start| ("start_s", start)));
    figures.insert("pods", pods as f64);
    figures.extend(spread(["new_job_pod_median_s", "new_job_pod_p99_s"], &seen.first_since(&asked)));
    figures.extend(spread(["next_pod_median_s", "next_pod_p99_s"], &seen.gaps));
    figures.extend(spread(["job_request_median_s", "job_request_p99_s"], &responses));
    Ok(figures)
}

/// Records an event, and queues the new pods of the Jobs whose pods end.
fn note(seen: &mut Seen, live: &mut VecDeque<String>, event: Option<Event<SlimPod>>) {
    if let Some(Event::Apply(pod) | Event::InitApply(pod)) = event {
        let owner = pod.owner_references().first().map(|owner| owner.name.clone()).unwrap_or_default();
        if seen.note(&pod) && owner.starts_with("chain-") {
            live.push_back(pod.name_any());
        }
    }
}

fn job(name: &str, parallelism: usize, completions: usize, node: &str) -> Result<Job> {
    let spec = json!({"parallelism": parallelism, "completions": completions, "template": pod_template(node)});
    Ok(serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))?)
}

async fn create(jobs: Api<Job>, job: Job) -> Result<Done> {
    let request = Instant::now();
    let job = jobs.create(&PostParams::default(), &job).await?;
    Ok(Done::Created(job.uid().context("a UID")?, request, Instant::now()))
}

/// Waits until a namespace has this number of pods.
async fn wait_for_pods(client: &Client, namespace: &str, wanted: usize) -> Result<()> {
    let pods: Api<PartialObjectMeta<Pod>> = Api::namespaced(client.clone(), namespace);
    loop {
        let page = pods.list_metadata(&ListParams::default().limit(1)).await?;
        let rest = usize::try_from(page.metadata.remaining_item_count.unwrap_or_default())?;
        if page.items.len() + rest >= wanted {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
