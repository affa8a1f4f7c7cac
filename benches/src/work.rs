//! Pieces of work: Jobs of several kinds, which are created and watched until all are complete.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use testbed::kwok::NODE_NAME;

/// Maximum number of creations by the benchmark itself that are in flight.
pub const MAX_CONCURRENT: usize = 50;

/// A piece of work: Jobs of one kind.
#[derive(Clone, Debug)]
pub struct Work {
    /// Name in the report.
    pub name: &'static str,
    /// Description in the report.
    pub what: String,
    /// Number of Jobs.
    pub jobs: usize,
    /// Completions of each Job.
    pub completions: usize,
    /// Parallelism of each Job.
    pub parallelism: usize,
    /// Whether the Jobs are Indexed.
    pub indexed: bool,
}

/// Durations of a piece of work.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Time from the first request to the completion of the last Job, in seconds.
    pub wall_s: f64,
    /// Time from the creation request of each Job until its first pod is observed, in seconds.
    pub first_pod_s: Vec<f64>,
    /// Time from observing that a pod has succeeded until the next pod of its Job is observed, in seconds.
    pub next_pod_s: Vec<f64>,
}

impl Work {
    /// Returns a piece of work of `jobs` Jobs with these completions and this parallelism.
    pub fn new(name: &'static str, jobs: usize, completions: usize, parallelism: usize, indexed: bool) -> Self {
        let what = format!("{jobs} Job(s), completions {completions}, parallelism {parallelism}");
        Self { name, what, jobs, completions, parallelism, indexed }
    }

    /// Returns the total number of pods.
    pub fn pods(&self) -> usize {
        self.jobs * self.completions
    }

    fn job(&self, number: usize) -> Result<Job> {
        let spec = json!({
            "completions": self.completions,
            "parallelism": self.parallelism,
            "completionMode": if self.indexed { "Indexed" } else { "NonIndexed" },
            "template": pod_template(NODE_NAME),
        });
        Ok(serde_json::from_value(json!({"metadata": {"name": format!("{}-{number}", self.name)}, "spec": spec}))?)
    }

    /// Creates the Jobs in a namespace and waits until all are complete. `done` is updated to the number of succeeded
    /// pods that the statuses of the Jobs count.
    pub async fn run(
        &self,
        client: &Client,
        namespace: &str,
        timeout: Duration,
        done: &AtomicUsize,
    ) -> Result<Outcome> {
        let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        // The pods of large pieces of work are not watched, because the watch would add work for the API server.
        let watched = self.pods() <= 1000 && self.jobs * self.parallelism <= 500;
        let mut job_events = watcher(jobs.clone(), watcher::Config::default()).boxed();
        while !matches!(job_events.try_next().await?, Some(Event::InitDone)) {}
        let mut pod_events = watcher(pods, watcher::Config::default()).boxed();
        while watched && !matches!(pod_events.try_next().await?, Some(Event::InitDone)) {}
        let manifests = (0..self.jobs).map(|number| self.job(number)).collect::<Result<Vec<_>>>()?;
        let begun = Instant::now();
        let creations = stream::iter(manifests).map(move |job| {
            let jobs = jobs.clone();
            async move {
                let asked = Instant::now();
                let job = jobs.create(&PostParams::default(), &job).await?;
                anyhow::Ok((job.uid().context("a UID")?, asked))
            }
        });
        let creating = tokio::spawn(creations.buffer_unordered(MAX_CONCURRENT).try_collect::<HashMap<_, _>>());
        let mut seen = Seen::default();
        let mut complete = HashSet::new();
        let mut counted: HashMap<String, usize> = HashMap::new();
        while complete.len() < self.jobs {
            let left = timeout.checked_sub(begun.elapsed());
            let Some(left) = left else {
                bail!("{}: {} of {} Jobs are complete", self.name, complete.len(), self.jobs)
            };
            tokio::select! {
                event = job_events.try_next() => if let Some(Event::Apply(job) | Event::InitApply(job)) = event? {
                    let succeeded = usize::try_from(job.status.as_ref().and_then(|status| status.succeeded).unwrap_or_default())?;
                    let before = counted.insert(job.name_any(), succeeded).unwrap_or_default();
                    done.fetch_add(succeeded.saturating_sub(before), Ordering::Relaxed);
                    if is_complete(&job, self.completions)? {
                        complete.insert(job.name_any());
                    }
                },
                event = pod_events.try_next(), if watched => if let Some(Event::Apply(pod)) = event? {
                    seen.note(&pod);
                },
                () = tokio::time::sleep(left) => {}
            }
        }
        let wall_s = begun.elapsed().as_secs_f64();
        let asked = creating.await??;
        let first_pod_s =
            seen.first.iter().filter_map(|(job, at)| Some(at.duration_since(*asked.get(job)?).as_secs_f64()));
        Ok(Outcome { wall_s, first_pod_s: first_pod_s.collect(), next_pod_s: seen.gaps })
    }
}

/// Returns a pod template for a node that needs no scheduler, no service account token and no work of admission.
pub fn pod_template(node: &str) -> Value {
    json!({"spec": {
        "restartPolicy": "Never",
        "nodeName": node,
        "automountServiceAccountToken": false,
        "containers": [{"name": "main", "image": "busybox:1.36", "command": ["true"]}],
    }})
}

/// Returns whether a Job is complete.
///
/// # Errors
/// Returns an error if the Job failed or counts the wrong number of pods, which ends the benchmark.
fn is_complete(job: &Job, completions: usize) -> Result<bool> {
    let status = job.status.as_ref();
    let holds = |type_: &str| {
        let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        conditions.into_iter().any(|condition| condition.type_ == type_ && condition.status == "True")
    };
    if holds("Failed") {
        bail!("Job {} failed", job.name_any());
    }
    if !holds("Complete") {
        return Ok(false);
    }
    let succeeded = status.and_then(|status| status.succeeded).unwrap_or_default();
    if usize::try_from(succeeded)? != completions {
        bail!("Job {} is complete but counts {succeeded} of {completions} pods", job.name_any());
    }
    Ok(true)
}

/// Times at which pods were first observed.
#[derive(Default)]
struct Seen {
    /// Time of the first pod, by Job UID.
    first: HashMap<String, Instant>,
    /// Whether each pod has succeeded, by pod UID.
    pods: HashMap<String, bool>,
    /// Times of succeeded pods without a successor, by Job UID.
    ended: HashMap<String, Vec<Instant>>,
    /// Times from a succeeded pod to its successor, in seconds.
    gaps: Vec<f64>,
}

impl Seen {
    fn note(&mut self, pod: &Pod) {
        let (Some(uid), Some(job)) = (pod.uid(), pod.owner_references().first().map(|owner| owner.uid.clone())) else {
            return;
        };
        let now = Instant::now();
        if !self.pods.contains_key(&uid) {
            self.first.entry(job.clone()).or_insert(now);
            if let Some(ended) = self.ended.get_mut(&job).and_then(Vec::pop) {
                self.gaps.push(now.duration_since(ended).as_secs_f64());
            }
        }
        let succeeded = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Succeeded");
        let before = self.pods.insert(uid, succeeded);
        if succeeded && before != Some(true) {
            self.ended.entry(job).or_default().push(now);
        }
    }
}
