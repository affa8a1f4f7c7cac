//! Plays all kubelets: pods end as their label says, and what was seen to end is written down.

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

/// The label that says how a pod ends.
pub const PLAYS: &str = "endurance/plays";
/// It succeeds.
pub const SUCCEED: &str = "succeed";
/// One of four fails.
pub const SOMETIMES: &str = "sometimes";
/// It runs until it is deleted.
pub const STAY: &str = "stay";
/// By its index: see [`fails`].
pub const BY_INDEX: &str = "by-index";

/// How often the pods are looked at.
const EVERY: Duration = Duration::from_millis(60);
/// Pods at once.
const MAX_CONCURRENT: usize = 8;

/// How the pods of one Job have ended that its controller has to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    pub succeeded: i32,
    pub failed: i32,
    /// Of those whose end nobody saw, so that it is not known whether they had been given up.
    pub perhaps_succeeded: i32,
    pub perhaps_failed: i32,
    /// All pods whose end is known, counted or given up.
    pub all: i32,
}

impl Ended {
    /// Whether a status with these numbers is right.
    pub fn fits(self, succeeded: i32, failed: i32) -> bool {
        (self.succeeded..=self.succeeded + self.perhaps_succeeded).contains(&succeeded) && self.fits_failed(failed)
    }

    /// Whether a status with so many failures is right.
    pub fn fits_failed(self, failed: i32) -> bool {
        (self.failed..=self.failed + self.perhaps_failed).contains(&failed)
    }

    /// Those that may be counted.
    pub fn countable(self) -> i32 {
        self.succeeded + self.failed + self.perhaps_succeeded + self.perhaps_failed
    }
}

/// What is known of a pod that has ended.
struct Entry {
    job: String,
    succeeded: bool,
    /// It had the tracking finalizer when it ended; one that had not was given up. None if nobody saw it end.
    counts: Option<bool>,
}

/// The players, until dropped, and what they know.
pub struct Kubelets {
    /// By pod UID.
    ledger: Arc<Mutex<HashMap<String, Entry>>>,
    task: JoinHandle<()>,
}

impl Drop for Kubelets {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Kubelets {
    /// Plays those of a namespace.
    pub fn start(client: Client, namespace: &str) -> Self {
        let ledger = Arc::new(Mutex::default());
        let player = Player {
            pods: Api::namespaced(client.clone(), namespace),
            kubelet: Kubelet::new(client, namespace),
            ledger: ledger.clone(),
        };
        let task = tokio::spawn(async move {
            loop {
                // The API server may be away.
                if let Err(error) = player.poll().await {
                    eprintln!("kubelets: {error:#}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                tokio::time::sleep(EVERY).await;
            }
        });
        Self { ledger, task }
    }

    /// How the pods of this Job have ended.
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

    /// Forgets the pods of this Job.
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
                // What failed is tried at the next look.
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
            self.write_down(pod, phase == "Succeeded", is_tracked(pod).then_some(true));
        } else if deleting && is_graceful(pod) {
            let last = self.kubelet.succeed(&name).await?;
            self.write_down(&last, true, Some(is_tracked(&last)));
        } else if deleting {
            let last = self.kubelet.fail(&name, 143).await?;
            self.write_down(&last, false, Some(is_tracked(&last)));
        } else if plays(pod) == STAY {
            if phase != "Running" {
                self.kubelet.run(&name, true).await?;
            }
        } else if fails(pod) {
            let last = self.kubelet.fail(&name, 1).await?;
            self.write_down(&last, false, Some(is_tracked(&last)));
        } else {
            let last = self.kubelet.succeed(&name).await?;
            self.write_down(&last, true, Some(is_tracked(&last)));
        }
        // An API server that is killed in the middle of a deletion leaves a pod that nothing holds.
        if deleting && (pod.metadata.deletion_grace_period_seconds != Some(0) || pod.finalizers().is_empty()) {
            self.pods.delete(&name, &DeleteParams::default().grace_period(0)).await?;
        }
        Ok(())
    }

    /// What was written down first stands.
    fn write_down(&self, pod: &Pod, succeeded: bool, counts: Option<bool>) {
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

/// Whether the containers of a pod that stays until it is deleted then exit with 0: three of four do.
fn is_graceful(pod: &Pod) -> bool {
    plays(pod) == STAY && !pod.uid().unwrap_or_default().bytes().map(u32::from).sum::<u32>().is_multiple_of(4)
}

/// Whether a pod fails, which is the same however often it is asked.
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
