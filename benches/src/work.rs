//! Pieces of work: Jobs of several kinds, which are created and watched until all are complete.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::batch::v1::Job;
use kube::api::PostParams;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::nodes::slim::SlimPod;
use crate::nodes::{END_TOGETHER, FAIL_EVERY};

/// Maximum number of creations by the benchmark itself that are in flight.
pub const MAX_CONCURRENT: usize = 50;
/// In work with failing pods, the pods of each index that is a multiple of this number fail.
const FAILING_EVERY: usize = 2;

/// Kind of the Jobs of a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Jobs without indexes.
    Plain,
    /// Indexed Jobs.
    Indexed,
    /// Indexed Jobs whose pods end only when all of them run.
    Together,
    /// Indexed Jobs with backoffLimitPerIndex.
    PerIndex,
    /// Indexed Jobs with backoffLimitPerIndex 0, of which the pods of every second index fail.
    Failing,
}

/// A piece of work: Jobs of one kind.
#[derive(Clone, Debug)]
pub struct Work {
    /// Name in the report.
    pub name: String,
    /// Description in the report.
    pub what: String,
    /// Number of Jobs.
    pub jobs: usize,
    /// Completions of each Job.
    pub completions: usize,
    /// Parallelism of each Job.
    pub parallelism: usize,
    /// Kind of the Jobs.
    pub mode: Mode,
    /// Number of times that the work is done, one after the other.
    pub rounds: usize,
    /// Whether the pods are watched, which adds work for the API server.
    pub watched: bool,
}

/// Durations of a piece of work.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Time from the first request to the completion of the last Job, in seconds.
    pub wall_s: f64,
    /// Time from the creation request of each Job until its first pod is observed, in seconds.
    pub first_pod_s: Vec<f64>,
    /// Time from observing that a pod has ended until the next pod of its Job is observed, in seconds.
    pub next_pod_s: Vec<f64>,
}

impl Outcome {
    /// Adds the durations of another round of the same work.
    pub fn add(&mut self, round: Self) {
        self.wall_s += round.wall_s;
        self.first_pod_s.extend(round.first_pod_s);
        self.next_pod_s.extend(round.next_pod_s);
    }
}

impl Work {
    /// Returns a piece of work of `jobs` Jobs with these completions and this parallelism.
    pub fn new(name: impl Into<String>, jobs: usize, completions: usize, parallelism: usize, mode: Mode) -> Self {
        let what = format!("{jobs} Job(s), completions {completions}, parallelism {parallelism}");
        let watched = jobs * completions <= 1000 && jobs * parallelism <= 500;
        Self { name: name.into(), what, jobs, completions, parallelism, mode, rounds: 1, watched }
    }

    /// Returns the total number of pods.
    pub fn pods(&self) -> usize {
        self.jobs * self.completions * self.rounds
    }

    /// Returns the number of pods of each Job that fail.
    fn failing(&self) -> usize {
        if self.mode == Mode::Failing { self.completions.div_ceil(FAILING_EVERY) } else { 0 }
    }

    fn job(&self, number: usize, node: &str) -> Result<Job> {
        let mut template = pod_template(node);
        match self.mode {
            Mode::Failing => template["metadata"] = json!({"annotations": {FAIL_EVERY: FAILING_EVERY.to_string()}}),
            Mode::Together => {
                template["metadata"] = json!({"annotations": {END_TOGETHER: self.parallelism.to_string()}});
            }
            Mode::Plain | Mode::Indexed | Mode::PerIndex => {}
        }
        let mut spec = json!({
            "completions": self.completions,
            "parallelism": self.parallelism,
            "completionMode": if self.mode == Mode::Plain { "NonIndexed" } else { "Indexed" },
            "template": template,
        });
        match self.mode {
            Mode::PerIndex => spec["backoffLimitPerIndex"] = json!(1),
            Mode::Failing => spec["backoffLimitPerIndex"] = json!(0),
            Mode::Plain | Mode::Indexed | Mode::Together => {}
        }
        Ok(serde_json::from_value(json!({"metadata": {"name": format!("{}-{number}", self.name)}, "spec": spec}))?)
    }

    /// Creates the Jobs in a namespace and waits until all have ended: one round of the work. `done` is updated to the number of succeeded
    /// pods that the statuses of the Jobs count.
    pub async fn run(
        &self,
        client: &Client,
        namespace: &str,
        node: &str,
        timeout: Duration,
        done: &AtomicUsize,
    ) -> Result<Outcome> {
        let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
        let pods: Api<SlimPod> = Api::namespaced(client.clone(), namespace);
        let mut job_events = watcher(jobs.clone(), watcher::Config::default()).boxed();
        while !matches!(job_events.try_next().await?, Some(Event::InitDone)) {}
        let mut pod_events = watcher(pods, watcher::Config::default()).boxed();
        while self.watched && !matches!(pod_events.try_next().await?, Some(Event::InitDone)) {}
        let manifests = (0..self.jobs).map(|number| self.job(number, node)).collect::<Result<Vec<_>>>()?;
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
        let mut ended = HashSet::new();
        let mut counted: HashMap<String, usize> = HashMap::new();
        while ended.len() < self.jobs {
            let left = timeout.checked_sub(begun.elapsed());
            let Some(left) = left else { bail!("{}: {} of {} Jobs have ended", self.name, ended.len(), self.jobs) };
            tokio::select! {
                event = job_events.try_next() => if let Some(Event::Apply(job) | Event::InitApply(job)) = event? {
                    let succeeded = usize::try_from(job.status.as_ref().and_then(|status| status.succeeded).unwrap_or_default())?;
                    let before = counted.insert(job.name_any(), succeeded).unwrap_or_default();
                    done.fetch_add(succeeded.saturating_sub(before), Ordering::Relaxed);
                    if is_ended(&job, self.completions, self.failing())? {
                        ended.insert(job.name_any());
                    }
                },
                event = pod_events.try_next(), if self.watched => if let Some(Event::Apply(pod)) = event? {
                    seen.note(&pod);
                },
                () = tokio::time::sleep(left) => {}
            }
        }
        let wall_s = begun.elapsed().as_secs_f64();
        let asked = creating.await??;
        Ok(Outcome { wall_s, first_pod_s: seen.first_since(&asked), next_pod_s: seen.gaps })
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

/// Returns whether a Job has ended.
///
/// # Errors
/// Returns an error if the result of the Job or the number of its pods is wrong, which ends the benchmark.
fn is_ended(job: &Job, completions: usize, failing: usize) -> Result<bool> {
    let status = job.status.as_ref();
    let holds = |type_: &str| {
        let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        conditions.into_iter().any(|condition| condition.type_ == type_ && condition.status == "True")
    };
    let (wanted, other) = if failing > 0 { ("Failed", "Complete") } else { ("Complete", "Failed") };
    if holds(other) {
        bail!("Job {} has the condition {other}", job.name_any());
    }
    if !holds(wanted) {
        return Ok(false);
    }
    let count = |field: Option<i32>| usize::try_from(field.unwrap_or_default());
    let succeeded = count(status.and_then(|status| status.succeeded))?;
    let failed = count(status.and_then(|status| status.failed))?;
    if (succeeded, failed) != (completions - failing, failing) {
        bail!("Job {} has ended but counts {succeeded} and {failed} of {completions} pods", job.name_any());
    }
    Ok(true)
}

/// Times at which pods were first observed.
#[derive(Default)]
pub struct Seen {
    /// Time of the first pod, by Job UID.
    pub first: HashMap<String, Instant>,
    /// Whether each pod has ended, by pod UID.
    pods: HashMap<String, bool>,
    /// Times of ended pods without a successor, by Job UID.
    ended: HashMap<String, Vec<Instant>>,
    /// Times from an ended pod to its successor, in seconds.
    pub gaps: Vec<f64>,
}

impl Seen {
    /// Records an event of a pod. Returns whether the pod is new.
    pub fn note(&mut self, pod: &SlimPod) -> bool {
        let (Some(uid), Some(job)) = (pod.uid(), pod.owner_references().first().map(|owner| owner.uid.clone())) else {
            return false;
        };
        let now = Instant::now();
        let is_new = !self.pods.contains_key(&uid);
        if is_new {
            self.first.entry(job.clone()).or_insert(now);
            if let Some(ended) = self.ended.get_mut(&job).and_then(Vec::pop) {
                self.gaps.push(now.duration_since(ended).as_secs_f64());
            }
        }
        let before = self.pods.insert(uid, pod.is_ended());
        if pod.is_ended() && before != Some(true) {
            self.ended.entry(job).or_default().push(now);
        }
        is_new
    }

    /// Returns the time from each of these moments, by Job UID, to the first pod of the Job, in seconds.
    pub fn first_since(&self, asked: &HashMap<String, Instant>) -> Vec<f64> {
        let lags = asked.iter().filter_map(|(job, at)| Some(self.first.get(job)?.duration_since(*at).as_secs_f64()));
        lags.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(condition: &str, succeeded: i32, failed: i32) -> Job {
        let status = json!({
            "conditions": [{"type": condition, "status": "True"}], "succeeded": succeeded, "failed": failed,
        });
        serde_json::from_value(json!({"metadata": {"name": "a"}, "status": status})).unwrap()
    }

    #[test]
    fn wrong_result_of_a_job_ends_the_benchmark() {
        assert!(is_ended(&job("Complete", 4, 0), 4, 0).unwrap());
        assert!(!is_ended(&job("SuccessCriteriaMet", 4, 0), 4, 0).unwrap(), "the Job is not complete yet");
        assert!(is_ended(&job("Failed", 2, 2), 4, 2).unwrap());
        is_ended(&job("Failed", 4, 0), 4, 0).expect_err("the Job should be complete");
        is_ended(&job("Complete", 3, 0), 4, 0).expect_err("a pod is missing");
        is_ended(&job("Failed", 3, 1), 4, 2).expect_err("a failed pod is missing");
    }

    #[test]
    fn time_to_the_next_pod_begins_with_the_end_of_the_last_one() {
        let pod = |uid: &str, phase: &str| -> SlimPod {
            let owner = json!({"apiVersion": "batch/v1", "kind": "Job", "name": "a", "uid": "job"});
            let metadata = json!({"name": uid, "uid": uid, "ownerReferences": [owner]});
            serde_json::from_value(json!({"metadata": metadata, "status": {"phase": phase}})).unwrap()
        };
        let mut seen = Seen::default();
        let begun = Instant::now();
        assert!(seen.note(&pod("a", "Pending")));
        assert!(!seen.note(&pod("a", "Failed")));
        assert!(!seen.note(&pod("a", "Failed")), "the end counts once");
        assert!(seen.note(&pod("b", "Pending")));
        assert!(seen.note(&pod("c", "Pending")), "the third pod follows no end");
        assert_eq!(seen.gaps.len(), 1);
        assert_eq!(seen.first_since(&HashMap::from([("job".to_owned(), begun)])).len(), 1);
    }
}
