//! Load of Jobs of several kinds, each of which has to reach exactly the outcome that its manifest implies.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use testbed::Cluster;

use crate::kubelet::{BY_INDEX, Ended, Kubelets, PLAYS, SOMETIMES, STAY, SUCCEED};

/// Maximum duration of a Job, including faults.
const TIMEOUT: Duration = Duration::from_secs(240);
/// Time between two reads of a Job.
const INTERVAL: Duration = Duration::from_millis(200);

/// Kind of a Job, which determines its manifest and its outcome.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// 12 indexes, of which two always fail and three fail once.
    Indexed,
    /// 10 completions; one of four pods fails.
    Plain,
    /// No completions, and three pods in parallel.
    WorkQueue,
    /// Indexed pods that run until they are deleted, and a deadline. Most pods exit with 0 when the controller deletes
    /// them, after they were counted as failed.
    Deadline,
    /// A TTL of one second.
    Ttl,
}

const KINDS: [Kind; 6] = [Kind::Indexed, Kind::Plain, Kind::Ttl, Kind::WorkQueue, Kind::Plain, Kind::Deadline];

impl Kind {
    fn manifest(self, name: &str) -> Result<Job> {
        let (plays, mut spec) = match self {
            Self::Indexed => (
                BY_INDEX,
                json!({
                    "completionMode": "Indexed", "completions": 12, "parallelism": 4, "backoffLimitPerIndex": 2,
                }),
            ),
            Self::Plain => (SOMETIMES, json!({"completions": 10, "parallelism": 3, "backoffLimit": 1000})),
            Self::WorkQueue => (SUCCEED, json!({"parallelism": 3})),
            Self::Deadline => (
                STAY,
                json!({
                    "completionMode": "Indexed", "completions": 5, "parallelism": 5, "activeDeadlineSeconds": 4,
                }),
            ),
            Self::Ttl => (SUCCEED, json!({"completions": 4, "parallelism": 2, "ttlSecondsAfterFinished": 1})),
        };
        spec["template"] = template(plays);
        Ok(serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))?)
    }

    /// Checks that a status is the final status that the Job must have. `ended` states how its pods finished.
    ///
    /// # Errors
    /// Returns the field that is wrong.
    fn check(self, status: &JobStatus, ended: Ended) -> Result<()> {
        let conditions: Vec<_> = status.conditions.iter().flatten().collect();
        let last = conditions
            .iter()
            .find(|one| matches!(one.type_.as_str(), "Complete" | "Failed"))
            .context("the Job has no final condition")?;
        let (end, reason) = (last.type_.as_str(), last.reason.as_deref().unwrap_or_default());
        let (succeeded, failed) = (status.succeeded.unwrap_or_default(), status.failed.unwrap_or_default());
        let counted = ended.fits(succeeded, failed);
        let indexes =
            [&status.completed_indexes, &status.failed_indexes].map(|text| text.as_deref().unwrap_or_default());
        match self {
            Self::Indexed => {
                ensure!(indexes == ["0-4,6-10", "5,11"], "completed and failed indexes are {indexes:?}");
                ensure!((end, reason) == ("Failed", "FailedIndexes"), "{end} {reason}");
                // A change of the leader can create two pods for one index; the index is still counted once.
                ensure!(
                    succeeded == 10 && ended.fits_failed(failed),
                    "{succeeded} succeeded, {failed} failed of {ended:?}"
                );
            }
            Self::Plain => {
                ensure!(end == "Complete" && succeeded >= 10 && counted, "{end} {succeeded} and {failed} of {ended:?}");
            }
            Self::WorkQueue | Self::Ttl => {
                ensure!(end == "Complete" && counted, "{end} {succeeded} and {failed} of {ended:?}");
            }
            Self::Deadline => {
                ensure!((end, reason) == ("Failed", "DeadlineExceeded"), "{end} {reason}");
                ensure!(succeeded == 0 && failed <= ended.all, "{succeeded} succeeded, {failed} failed of {ended:?}");
            }
        }
        let uncounted = status.uncounted_terminated_pods.as_ref();
        let listed = uncounted.map_or(0, |uncounted| {
            uncounted.succeeded.as_ref().map_or(0, Vec::len) + uncounted.failed.as_ref().map_or(0, Vec::len)
        });
        let left = [status.active, status.terminating, status.ready].map(Option::unwrap_or_default);
        ensure!(
            left == [0, 0, 0] && listed == 0,
            "the finished Job has {left:?} active, terminating and ready pods and {listed} uncounted pods"
        );
        Ok(())
    }
}

/// Returns a pod template whose pods finish according to `plays`. The pods are assigned to a node, so that no scheduler
/// is needed and a deletion waits for the kubelet.
pub fn template(plays: &str) -> Value {
    json!({
        "metadata": {"labels": {PLAYS: plays}},
        "spec": {
            "nodeName": "played", "restartPolicy": "Never", "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "image": "played"}],
        },
    })
}

/// Figures of the load.
#[derive(Default)]
pub struct Tally {
    pub jobs: AtomicUsize,
    pub pods: AtomicUsize,
    /// Succeeded pods in excess of the completions of their Job.
    pub beyond: AtomicUsize,
    /// Duration of each work queue Job of three pods, in seconds.
    pub took: Mutex<Vec<f64>>,
}

/// Namespace in which the load runs.
pub struct Load {
    pub client: Client,
    pub namespace: String,
    pub kubelets: Kubelets,
    pub tally: Tally,
}

impl Load {
    /// Creates the namespace, without Jobs, and starts its kubelets.
    pub async fn new(cluster: &Cluster) -> Result<Self> {
        let namespace = cluster.namespace("endurance").await?;
        let client = cluster.client().await?;
        let kubelets = Kubelets::start(client.clone(), &namespace);
        Ok(Self { client, namespace, kubelets, tally: Tally::default() })
    }

    /// Runs `slots` Jobs concurrently until a time, with a pause between two Jobs of one slot.
    ///
    /// # Errors
    /// Returns the first Job that did not reach its outcome.
    pub async fn run_many(&self, slots: usize, pause: Duration, until: Instant) -> Result<()> {
        futures::future::try_join_all((0..slots).map(|slot| self.run(slot, pause, until))).await?;
        Ok(())
    }

    /// Runs one Job after the other until a time. `slot` makes the names of concurrent callers unique.
    async fn run(&self, slot: usize, pause: Duration, until: Instant) -> Result<()> {
        for round in 0.. {
            if Instant::now() > until {
                break;
            }
            let kind = KINDS[(round + slot) % KINDS.len()];
            let name = format!("{kind:?}-{slot}-{round}").to_lowercase();
            self.one(kind, &name).await.with_context(|| format!("Job {name}"))?;
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    async fn one(&self, kind: Kind, name: &str) -> Result<()> {
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), &self.namespace);
        let manifest = kind.manifest(name)?;
        let deadline = Instant::now() + TIMEOUT;
        let begun = Instant::now();
        let uid = loop {
            match jobs.create(&PostParams::default(), &manifest).await {
                Ok(made) => break made.uid().context("a UID")?,
                // The API server is unavailable, or its response was lost.
                Err(error) => {
                    if let Ok(Some(found)) = jobs.get_opt(name).await {
                        break found.uid().context("a UID")?;
                    }
                    ensure!(Instant::now() < deadline, "the Job cannot be created: {error}");
                    tokio::time::sleep(INTERVAL).await;
                }
            }
        };
        let mut last = JobStatus::default();
        loop {
            match jobs.get_opt(name).await {
                Ok(Some(found)) => {
                    last = found.status.unwrap_or_default();
                    if is_over(&last) && !matches!(kind, Kind::Ttl) {
                        break;
                    }
                }
                Ok(None) if matches!(kind, Kind::Ttl) => break,
                Ok(None) => bail!("the Job was deleted"),
                Err(_) => {}
            }
            if Instant::now() > deadline {
                bail!("the Job does not finish; its pods: {:?}; its status: {last:#?}", self.kubelets.ended(&uid));
            }
            tokio::time::sleep(INTERVAL).await;
        }
        // The TTL may delete the Job before its final status was read.
        let ended = if is_over(&last) { self.checked(kind, &uid, &last).await? } else { self.kubelets.ended(&uid) };
        self.tally.jobs.fetch_add(1, Ordering::Relaxed);
        self.tally.pods.fetch_add(usize::try_from(ended.countable())?, Ordering::Relaxed);
        if matches!(kind, Kind::WorkQueue) {
            self.tally.took.lock().unwrap_or_else(PoisonError::into_inner).push(begun.elapsed().as_secs_f64());
        }
        if matches!(kind, Kind::Plain) {
            self.tally.beyond.fetch_add(usize::try_from(last.succeeded.unwrap_or_default() - 10)?, Ordering::Relaxed);
        }
        while let Err(error) = jobs.delete(name, &DeleteParams::background()).await {
            if matches!(&error, kube::Error::Api(status) if status.code == 404) {
                break;
            }
            ensure!(Instant::now() < deadline, "the Job cannot be deleted: {error}");
            tokio::time::sleep(INTERVAL).await;
        }
        self.kubelets.forget(&uid);
        Ok(())
    }

    /// Checks the final status of a Job against its finished pods, whose records may be a moment late.
    async fn checked(&self, kind: Kind, uid: &str, status: &JobStatus) -> Result<Ended> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let ended = self.kubelets.ended(uid);
            match kind.check(status, ended) {
                Ok(()) => return Ok(ended),
                Err(error) if Instant::now() > deadline => return Err(error.context(format!("{status:#?}"))),
                Err(_) => tokio::time::sleep(INTERVAL).await,
            }
        }
    }

    /// Waits until all pods are deleted, so that no finalizer is left.
    ///
    /// # Errors
    /// Returns the pods that are left after the timeout.
    pub async fn all_gone(&self) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let left = pods.list(&ListParams::default()).await?.items;
            if left.is_empty() {
                return Ok(());
            }
            let described: Vec<_> =
                left.iter().map(|pod| format!("{} {:?}", pod.name_any(), pod.finalizers())).collect();
            ensure!(Instant::now() < deadline, "pods are left: {described:#?}");
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

fn is_over(status: &JobStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|one| matches!(one.type_.as_str(), "Complete" | "Failed") && one.status == "True")
}
