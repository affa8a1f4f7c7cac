//! Measurement of `status.ready` of Jobs: the time from the moment at which the last pod of a Job became ready until the
//! Job's status counts all pods as ready, also after a restart of the controller.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::stream::{BoxStream, StreamExt};
use futures::{TryStreamExt, future};
use k8s_openapi::api::batch::v1::Job;
use kube::api::PostParams;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::Kubelet;

use crate::environment::Environment;
use crate::nodes::slim::SlimPod;
use crate::nodes::{RUNS, STILL};
use crate::report::{Figures, median};
use crate::system::{Controller, System};
use crate::work::pod_template;

/// Number of pods of each Job.
pub const PODS: usize = 8;
/// Maximum time until the status of a Job counts all pods as ready.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Number of Jobs.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Number of Jobs, one after the other, with a running controller.
    pub jobs: usize,
    /// Number of restarts of the controller, with one Job each.
    pub restarts: usize,
}

/// Measures Jobs one after the other, then restarts of the controller.
pub async fn measure(environment: &mut Environment, system: System, size: Size) -> Result<Figures> {
    let controller = environment.begin_warm(system).await?;
    let namespace = environment.cluster.namespace("ready").await?;
    let mut watches = Watches::start(environment, &namespace).await?;
    let mut lags = Vec::new();
    for number in 0..size.jobs {
        let name = watches.create(&format!("ready-{number}"), RUNS).await?;
        let counted = watches.counted(&name).await?;
        lags.push(counted.duration_since(watches.last_ready(&name)?).as_secs_f64());
    }
    let mut after_restart = Vec::new();
    let mut running = controller;
    for number in 0..size.restarts {
        let name = watches.create(&format!("restart-{number}"), STILL).await?;
        let lag;
        (running, lag) = restart(environment, system, running, &mut watches, &namespace, &name).await?;
        after_restart.push(lag);
    }
    environment.end(running).await?;
    let max = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let mut figures = Figures::from([("ready_max_s", max(&lags)), ("restart_ready_max_s", max(&after_restart))]);
    figures.extend(median(&lags).map(|value| ("ready_median_s", value)));
    figures.extend(median(&after_restart).map(|value| ("restart_ready_median_s", value)));
    Ok(figures)
}

/// Stops the controller, makes the pods of a Job ready, starts the controller, and returns the time from the start of
/// its process until the status counts the pods.
async fn restart(
    environment: &mut Environment,
    system: System,
    running: Controller,
    watches: &mut Watches,
    namespace: &str,
    job: &str,
) -> Result<(Controller, f64)> {
    let pods = watches.pods_of(job).await?;
    // The controller stores the number of active pods before it stops.
    tokio::time::sleep(Duration::from_secs(2)).await;
    environment.end(running).await?;
    let kubelet = Kubelet::new(environment.client.clone(), namespace);
    future::try_join_all(pods.iter().map(|pod| kubelet.run(pod, true))).await?;
    let begun = Instant::now();
    let running = environment.begin(system)?;
    let counted = watches.counted(job).await.with_context(|| running.log_tail(10))?;
    Ok((running, counted.duration_since(begun).as_secs_f64()))
}

/// Watches of the Jobs and pods of one namespace, and what they have shown.
struct Watches {
    jobs: Api<Job>,
    job_events: BoxStream<'static, Result<Event<Job>, watcher::Error>>,
    pod_events: BoxStream<'static, Result<Event<SlimPod>, watcher::Error>>,
    /// Pods by Job, each with the moment at which it was first observed to be ready.
    pods: HashMap<String, HashMap<String, Option<Instant>>>,
    /// The moment at which the status of each Job counted all pods as ready.
    counted: HashMap<String, Instant>,
}

impl Watches {
    async fn start(environment: &Environment, namespace: &str) -> Result<Self> {
        let jobs: Api<Job> = Api::namespaced(environment.client.clone(), namespace);
        let pods: Api<SlimPod> = Api::namespaced(environment.client.clone(), namespace);
        let mut job_events = watcher(jobs.clone(), watcher::Config::default()).boxed();
        while !matches!(job_events.try_next().await?, Some(Event::InitDone)) {}
        let mut pod_events = watcher(pods, watcher::Config::default()).boxed();
        while !matches!(pod_events.try_next().await?, Some(Event::InitDone)) {}
        Ok(Self { jobs, job_events, pod_events, pods: HashMap::new(), counted: HashMap::new() })
    }

    /// Creates a Job, and returns its name.
    async fn create(&self, name: &str, node: &str) -> Result<String> {
        let spec = json!({"parallelism": PODS, "completions": PODS, "template": pod_template(node)});
        let job = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))?;
        Ok(self.jobs.create(&PostParams::default(), &job).await?.name_any())
    }

    /// Waits until the status of a Job counts all pods as ready and all of them were observed to be ready, and returns
    /// the moment at which the status did.
    async fn counted(&mut self, job: &str) -> Result<Instant> {
        let ready = |pods: &HashMap<String, Option<Instant>>| pods.values().flatten().count() == PODS;
        self.until(job, |watches| watches.counted.contains_key(job) && watches.pods.get(job).is_some_and(ready))
            .await?;
        self.counted.get(job).copied().with_context(|| format!("Job {job}"))
    }

    /// Waits until a Job has all pods, and returns their names.
    async fn pods_of(&mut self, job: &str) -> Result<Vec<String>> {
        self.until(job, |watches| watches.pods.get(job).is_some_and(|pods| pods.len() == PODS)).await?;
        Ok(self.pods.get(job).into_iter().flat_map(HashMap::keys).cloned().collect())
    }

    /// Returns the moment at which the last pod of a Job was observed to be ready.
    fn last_ready(&self, job: &str) -> Result<Instant> {
        self.pods.get(job).and_then(|pods| pods.values().flatten().max().copied()).with_context(|| format!("Job {job}"))
    }

    async fn until(&mut self, job: &str, done: impl Fn(&Self) -> bool) -> Result<()> {
        let begun = Instant::now();
        while !done(self) {
            let left = TIMEOUT.checked_sub(begun.elapsed()).with_context(|| format!("Job {job} is not ready"))?;
            tokio::select! {
                event = self.job_events.try_next() => if let Some(Event::Apply(job) | Event::InitApply(job)) = event? {
                    self.note_job(&job);
                },
                event = self.pod_events.try_next() => if let Some(Event::Apply(pod) | Event::InitApply(pod)) = event? {
                    self.note_pod(&pod);
                },
                () = tokio::time::sleep(left) => {}
            }
        }
        Ok(())
    }

    fn note_job(&mut self, job: &Job) {
        let ready = job.status.as_ref().and_then(|status| status.ready).unwrap_or_default();
        if usize::try_from(ready).is_ok_and(|ready| ready == PODS) {
            self.counted.entry(job.name_any()).or_insert_with(Instant::now);
        }
    }

    fn note_pod(&mut self, pod: &SlimPod) {
        let Some(job) = pod.owner_references().first().map(|owner| owner.name.clone()) else { return };
        let at = self.pods.entry(job).or_default().entry(pod.name_any()).or_default();
        if pod.is_ready() {
            at.get_or_insert_with(Instant::now);
        }
    }
}
