//! The kubelet of all pods of the test: their template's annotation states what they do.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use testbed::Kubelet;
use tokio::task::JoinHandle;

use crate::scenario::PLAY;

/// Label of the pods of a JobSet with the number of its restarts.
const RESTARTS: &str = "jobset.sigs.k8s.io/restart-attempt";
/// Time between the start of a pod and its end.
const RUN: Duration = Duration::from_millis(300);

/// A background task that plays the kubelet. Dropping the value stops the task.
pub struct Player(JoinHandle<()>);

impl Drop for Player {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the player has started for a pod.
#[derive(Clone, Copy, Default)]
struct Begun {
    running: bool,
    terminating: bool,
}

/// Plays the kubelet for all pods with the annotation, in all namespaces.
pub fn play(client: Client) -> Player {
    Player(tokio::spawn(async move {
        let pods: Api<Pod> = Api::all(client.clone());
        let mut events = watcher(pods, watcher::Config::default()).default_backoff().applied_objects().boxed();
        let mut begun: HashMap<String, Begun> = HashMap::new();
        loop {
            match events.try_next().await {
                Ok(Some(pod)) => {
                    let Some(play) = pod.annotations().get(PLAY).cloned() else { continue };
                    let known = begun.entry(pod.uid().unwrap_or_default()).or_default();
                    let terminating = pod.metadata.deletion_timestamp.is_some();
                    if terminating && !known.terminating {
                        known.terminating = true;
                        tokio::spawn(terminate(client.clone(), pod));
                    } else if !terminating && !known.running && !is_gated(&pod) {
                        known.running = true;
                        tokio::spawn(run(client.clone(), pod, play));
                    }
                }
                Ok(None) => return,
                Err(error) => eprintln!("the watch of the player failed: {error}"),
            }
        }
    }))
}

/// Runs a pod as its annotation states. A pod that is deleted meanwhile gives errors, which do not matter.
async fn run(client: Client, pod: Pod, play: String) {
    let kubelet = Kubelet::new(client, &pod.namespace().unwrap_or_default());
    let name = pod.name_any();
    let restarts = pod.labels().get(RESTARTS).and_then(|text| text.parse().ok()).unwrap_or(0);
    let plays: Vec<&str> = play.split(',').collect();
    let play = plays.get(restarts).or(plays.last()).copied().unwrap_or_default();
    if play == "hold" {
        return;
    }
    let _ = kubelet.run(&name, true).await;
    if play == "succeed" {
        tokio::time::sleep(RUN).await;
        let _ = kubelet.succeed(&name).await;
    } else if play == "fail" {
        tokio::time::sleep(RUN).await;
        let _ = kubelet.fail(&name, 1).await;
    }
}

/// Terminates a pod that is being deleted, as a kubelet does: the containers end by SIGTERM, and the pod is removed.
async fn terminate(client: Client, pod: Pod) {
    let kubelet = Kubelet::new(client, &pod.namespace().unwrap_or_default());
    let name = pod.name_any();
    if let Err(error) = try_terminate(&kubelet, &pod, &name).await {
        let gone = error.downcast_ref::<kube::Error>().is_some_and(is_gone);
        if !gone {
            eprintln!("terminating pod {name}: {error:#}");
        }
    }
}

async fn try_terminate(kubelet: &Kubelet, pod: &Pod, name: &str) -> Result<()> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if !matches!(phase, Some("Succeeded" | "Failed")) {
        kubelet.fail(name, 143).await?;
    }
    kubelet.pods().delete(name, &DeleteParams::default().grace_period(0)).await?;
    Ok(())
}

fn is_gated(pod: &Pod) -> bool {
    let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref());
    gates.is_some_and(|gates| !gates.is_empty())
}

fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 || status.code == 409)
}
