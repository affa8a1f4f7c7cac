//! Plays all kubelets: finishes each pod according to its label, and records how each pod finished.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, ResourceExt};
use testbed::Kubelet;
use tokio::task::JoinHandle;

/// Label that determines how a pod finishes.
pub const PLAYS: &str = "endurance/plays";
/// Label value: the pod succeeds.
pub const SUCCEED: &str = "succeed";
/// Label value: one of four pods fails.
pub const SOMETIMES: &str = "sometimes";
/// Label value: the pod runs until it is deleted.
pub const STAY: &str = "stay";
/// Label value: the index of the pod determines whether it fails; see [`fails`].
pub const BY_INDEX: &str = "by-index";

/// Time between two lists of the pods.
const INTERVAL: Duration = Duration::from_millis(60);
/// Maximum number of pods that are handled concurrently.
const MAX_CONCURRENT: usize = 8;

/// Number of finished pods of one Job, by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    pub succeeded: i32,
    pub failed: i32,
    /// Succeeded pods for which it is unknown whether they still had the finalizer when they finished.
    pub perhaps_succeeded: i32,
    /// Failed pods for which it is unknown whether they still had the finalizer when they finished.
    pub perhaps_failed: i32,
    /// All finished pods, including those that were released without being counted.
    pub all: i32,
}

impl Ended {
    /// Returns whether these counters of a status are correct.
    pub fn fits(self, succeeded: i32, failed: i32) -> bool {
        (self.succeeded..=self.succeeded + self.perhaps_succeeded).contains(&succeeded) && self.fits_failed(failed)
    }

    /// Returns whether this number of failed pods in a status is correct.
    pub fn fits_failed(self, failed: i32) -> bool {
        (self.failed..=self.failed + self.perhaps_failed).contains(&failed)
    }

    /// Returns the maximum number of pods that a status may count.
    pub fn countable(self) -> i32 {
        self.succeeded + self.failed + self.perhaps_succeeded + self.perhaps_failed
    }
}

/// Record of a finished pod.
struct Entry {
    job: String,
    succeeded: bool,
    /// Whether the pod had the tracking finalizer when it finished. A pod without the finalizer had been released
    /// without being counted. None if the test did not finish the pod itself.
    counts: Option<bool>,
}

/// The kubelets, which run until they are dropped, and their records.
pub struct Kubelets {
    /// Finished pods by UID.
    ledger: Arc<Mutex<HashMap<String, Entry>>>,
    task: JoinHandle<()>,
}

impl Drop for Kubelets {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Kubelets {
    /// Starts the kubelets for the pods of a namespace.
    pub fn start(client: Client, namespace: &str) -> Self {
        let ledger = Arc::new(Mutex::default());
        let player = Player {
            pods: Api::namespaced(client.clone(), namespace),
            kubelet: Kubelet::new(client, namespace),
            ledger: ledger.clone(),
        };
        let task = tokio::spawn(async move {
            loop {
                // The API server may be unavailable.
                if let Err(error) = player.poll().await {
                    eprintln!("kubelets: {error:#}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                tokio::time::sleep(INTERVAL).await;
            }
        });
        Self { ledger, task }
    }

    /// Returns how the pods of a Job have finished.
    pub fn ended(&self, job: &str) -> Ended {
        let mut ended = Ended::default();
        for entry in locked(&self.ledger).values().filter(|entry| entry.job == job) {
            ended.all += 1;
            let number = match (entry.counts, entry.succeeded) {
                (Some(true), true) => &mut ended.succeeded,
                (Some(true), false) => &mut ended.failed,
                (None, true) => &mut ended.perhaps_succeeded,
                (None, false) => &mut ended.perhaps_failed,
                (Some(false), _) => continue,
            };
            *number += 1;
        }
        ended
    }

    /// Removes the records of a Job's pods.
    pub fn forget(&self, job: &str) {
        locked(&self.ledger).retain(|_, entry| entry.job != job);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Player {
    pods: Api<Pod>,
    kubelet: Kubelet,
    ledger: Arc<Mutex<HashMap<String, Entry>>>,
}

impl Player {
    async fn poll(&self) -> Result<()> {
        let pods = self.pods.list(&ListParams::default()).await?.items;
        stream::iter(pods)
            .for_each_concurrent(MAX_CONCURRENT, |pod| async move {
                // A failed request is repeated after the next list.
                let _ = self.play(&pod).await;
            })
            .await;
        Ok(())
    }

    async fn play(&self, pod: &Pod) -> Result<()> {
        let name = pod.name_any();
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
        let ended = matches!(phase, "Succeeded" | "Failed");
        let deleting = pod.metadata.deletion_timestamp.is_some();
        if ended {
            self.record(pod, phase == "Succeeded", is_tracked(pod).then_some(true));
        } else if deleting && is_graceful(pod) {
            let last = self.kubelet.succeed(&name).await?;
            self.record(&last, true, Some(is_tracked(&last)));
        } else if deleting {
            let last = self.kubelet.fail(&name, 143).await?;
            self.record(&last, false, Some(is_tracked(&last)));
        } else if plays(pod) == STAY {
            if phase != "Running" {
                self.kubelet.run(&name, true).await?;
            }
        } else if fails(pod) {
            let last = self.kubelet.fail(&name, 1).await?;
            self.record(&last, false, Some(is_tracked(&last)));
        } else {
            let last = self.kubelet.succeed(&name).await?;
            self.record(&last, true, Some(is_tracked(&last)));
        }
        // An API server that is killed during a deletion can leave a pod without finalizers and with a grace period of
        // 0.
        if deleting && (pod.metadata.deletion_grace_period_seconds != Some(0) || pod.finalizers().is_empty()) {
            self.pods.delete(&name, &DeleteParams::default().grace_period(0)).await?;
        }
        Ok(())
    }

    /// Records how a pod finished. An existing record is kept.
    fn record(&self, pod: &Pod, succeeded: bool, counts: Option<bool>) {
        let owner = pod.owner_references().first().map(|owner| owner.uid.clone());
        if let (Some(uid), Some(job)) = (pod.uid(), owner) {
            locked(&self.ledger).entry(uid).or_insert(Entry { job, succeeded, counts });
        }
    }
}

fn is_tracked(pod: &Pod) -> bool {
    pod.finalizers().iter().any(|finalizer| finalizer == "batch.kubernetes.io/job-tracking")
}

fn plays(pod: &Pod) -> &str {
    pod.labels().get(PLAYS).map(String::as_str).unwrap_or_default()
}

/// Returns whether the containers of a pod that runs until it is deleted then exit with 0, as three of four do.
fn is_graceful(pod: &Pod) -> bool {
    plays(pod) == STAY && !pod.uid().unwrap_or_default().bytes().map(u32::from).sum::<u32>().is_multiple_of(4)
}

/// Returns whether a pod fails. The result for one pod is always the same.
fn fails(pod: &Pod) -> bool {
    let number = |annotations: &BTreeMap<String, String>, key: &str| annotations.get(key)?.parse::<u32>().ok();
    match plays(pod) {
        SOMETIMES => pod.uid().unwrap_or_default().bytes().map(u32::from).sum::<u32>() % 4 == 0,
        BY_INDEX => {
            let index = number(pod.annotations(), "batch.kubernetes.io/job-completion-index").unwrap_or_default();
            let before = number(pod.annotations(), "batch.kubernetes.io/job-index-failure-count").unwrap_or_default();
            index % 6 == 5 || index % 4 == 1 && before == 0
        }
        _ => false,
    }
}
