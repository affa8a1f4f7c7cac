//! The work: Jobs of several kinds, made and watched until all are complete.

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

/// So many requests the bench itself makes at once.
pub const MAX_CONCURRENT: usize = 50;

/// Jobs of one kind.
#[derive(Clone, Debug)]
pub struct Work {
    /// Its name in the report.
    pub name: &'static str,
    /// What it is, in words.
    pub what: String,
    /// So many Jobs.
    pub jobs: usize,
    /// So many pods each.
    pub completions: usize,
    /// So many pods at once.
    pub parallelism: usize,
    /// Whether each pod has an index.
    pub indexed: bool,
}

/// How it went.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// From the first request to the last Job complete, in seconds.
    pub wall_s: f64,
    /// From the request for a Job to its first pod seen, in seconds.
    pub first_pod_s: Vec<f64>,
    /// From a pod seen to have succeeded to its Job's next one seen, in seconds.
    pub next_pod_s: Vec<f64>,
}

impl Work {
    /// So many Jobs of so many pods each, so many at once.
    pub fn new(name: &'static str, jobs: usize, completions: usize, parallelism: usize, indexed: bool) -> Self {
        let what = format!("{jobs} Job(s), completions {completions}, parallelism {parallelism}");
        Self { name, what, jobs, completions, parallelism, indexed }
    }

    /// So many pods in all.
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

    /// Makes the Jobs in this namespace and waits until all are complete; `done` says how many pods the Jobs count.
    pub async fn run(
        &self,
        client: &Client,
        namespace: &str,
        patience: Duration,
        done: &AtomicUsize,
    ) -> Result<Outcome> {
        let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        // What is measured in pods is not watched: that would be work of the bench's own.
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
            let left = patience.checked_sub(begun.elapsed());
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

/// A pod on this node that needs no scheduler, no token and no work of admission's.
pub fn pod_template(node: &str) -> Value {
    json!({"spec": {
        "restartPolicy": "Never",
        "nodeName": node,
        "automountServiceAccountToken": false,
        "containers": [{"name": "main", "image": "busybox:1.36", "command": ["true"]}],
    }})
}

/// Whether a Job is complete, with the right count; one that fails ends the bench.
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
        bail!("Job {} counts {succeeded} of {completions}", job.name_any());
    }
    Ok(true)
}

/// When what was first seen of pods.
#[derive(Default)]
struct Seen {
    /// The first pod of each Job.
    first: HashMap<String, Instant>,
    /// All pods, and whether they were seen to have succeeded.
    pods: HashMap<String, bool>,
    /// Of each Job, pods that succeeded and were not followed yet.
    ended: HashMap<String, Vec<Instant>>,
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
