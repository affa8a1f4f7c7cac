//! Jobs of every kind, one after the other, each of which has to come to exactly the end that its manifest implies.

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

/// How long a Job may take, faults and all.
const PATIENCE: Duration = Duration::from_secs(240);
/// How often it is looked at how far a Job is.
const EVERY: Duration = Duration::from_millis(200);

/// What a Job is, and comes to.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// 12 indexes, of which two fail for good and three once.
    Indexed,
    /// 10 completions; one pod of four fails.
    Plain,
    /// As many pods as there is parallelism.
    WorkQueue,
    /// Pods of indexes that never end, and a deadline. Most exit with 0 when they are deleted, after they were counted as failed.
    Deadline,
    /// It is gone soon after its end.
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

    /// Whether this status is the one the Job has to end with; if not, what is wrong with it. `ended` is how its pods
    /// were seen to end.
    fn check(self, status: &JobStatus, ended: Ended) -> Result<()> {
        let conditions: Vec<_> = status.conditions.iter().flatten().collect();
        let last =
            conditions.iter().find(|one| matches!(one.type_.as_str(), "Complete" | "Failed")).context("an end")?;
        let (end, reason) = (last.type_.as_str(), last.reason.as_deref().unwrap_or_default());
        let (succeeded, failed) = (status.succeeded.unwrap_or_default(), status.failed.unwrap_or_default());
        let counted = ended.fits(succeeded, failed);
        let indexes =
            [&status.completed_indexes, &status.failed_indexes].map(|text| text.as_deref().unwrap_or_default());
        match self {
            Self::Indexed => {
                ensure!(indexes == ["0-4,6-10", "5,11"], "the indexes are {indexes:?}");
                ensure!((end, reason) == ("Failed", "FailedIndexes"), "{end} {reason}");
                // A pod made twice for one index, which a change of leaders may bring about, counts once.
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
        ensure!(left == [0, 0, 0] && listed == 0, "it is over with {left:?} pods and {listed} uncounted");
        Ok(())
    }
}

/// A template whose pods end as `plays` says. They have a node already, so that nobody schedules them, and whoever deletes
/// them has to wait for the kubelet.
pub fn template(plays: &str) -> Value {
    json!({
        "metadata": {"labels": {PLAYS: plays}},
        "spec": {
            "nodeName": "played", "restartPolicy": "Never", "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "image": "played"}],
        },
    })
}

/// What the load came to.
#[derive(Default)]
pub struct Tally {
    pub jobs: AtomicUsize,
    pub pods: AtomicUsize,
    /// Pods made beyond what a Job's completions want.
    pub beyond: AtomicUsize,
    /// How long each Job of three pods at once took, in seconds.
    pub took: Mutex<Vec<f64>>,
}

/// A namespace full of Jobs.
pub struct Load {
    pub client: Client,
    pub namespace: String,
    pub kubelets: Kubelets,
    pub tally: Tally,
}

impl Load {
    /// An empty one in a namespace of its own.
    pub async fn new(cluster: &Cluster) -> Result<Self> {
        let namespace = cluster.namespace("endurance").await?;
        let client = cluster.client().await?;
        let kubelets = Kubelets::start(client.clone(), &namespace);
        Ok(Self { client, namespace, kubelets, tally: Tally::default() })
    }

    /// Has so many Jobs run at any time until then, with a pause between one and the next in its place.
    ///
    /// # Errors
    /// A Job did not come to the end it has to.
    pub async fn run_many(&self, slots: usize, pause: Duration, until: Instant) -> Result<()> {
        futures::future::try_join_all((0..slots).map(|slot| self.run(slot, pause, until))).await?;
        Ok(())
    }

    /// Has one Job after the other run until then; `slot` tells those of several callers apart.
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
        let deadline = Instant::now() + PATIENCE;
        let begun = Instant::now();
        let uid = loop {
            match jobs.create(&PostParams::default(), &manifest).await {
                Ok(made) => break made.uid().context("a UID")?,
                // The API server is away, or its answer was lost.
                Err(error) => {
                    if let Ok(Some(found)) = jobs.get_opt(name).await {
                        break found.uid().context("a UID")?;
                    }
                    ensure!(Instant::now() < deadline, "it cannot be created: {error}");
                    tokio::time::sleep(EVERY).await;
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
                Ok(None) => bail!("it is gone"),
                Err(_) => {}
            }
            if Instant::now() > deadline {
                bail!("it does not end; its pods {:?}; {last:#?}", self.kubelets.ended(&uid));
            }
            tokio::time::sleep(EVERY).await;
        }
        // Its time to live may end before anybody has seen its end.
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
            ensure!(Instant::now() < deadline, "it cannot be deleted: {error}");
            tokio::time::sleep(EVERY).await;
        }
        self.kubelets.forget(&uid);
        Ok(())
    }

    /// Checks a Job's last status against how its pods ended, which may be written down a moment later.
    async fn checked(&self, kind: Kind, uid: &str, status: &JobStatus) -> Result<Ended> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let ended = self.kubelets.ended(uid);
            match kind.check(status, ended) {
                Ok(()) => return Ok(ended),
                Err(error) if Instant::now() > deadline => return Err(error.context(format!("{status:#?}"))),
                Err(_) => tokio::time::sleep(EVERY).await,
            }
        }
    }

    /// Waits until all pods are gone: nobody holds one back.
    ///
    /// # Errors
    /// Some are not.
    pub async fn all_gone(&self) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = pods.list(&ListParams::default()).await?.items;
            if left.is_empty() {
                return Ok(());
            }
            let described: Vec<_> =
                left.iter().map(|pod| format!("{} {:?}", pod.name_any(), pod.finalizers())).collect();
            ensure!(Instant::now() < deadline, "pods are left: {described:#?}");
            tokio::time::sleep(EVERY).await;
        }
    }
}

fn is_over(status: &JobStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|one| matches!(one.type_.as_str(), "Complete" | "Failed") && one.status == "True")
}
