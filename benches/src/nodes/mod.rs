//! Lean simulated nodes: a process that sets the status of pods as a kubelet would, with two requests for each pod, like
//! kwok, and with less processor time.
//!
//! The process is this program with the hidden flag `--serve-nodes`, so that its processor time is separate from that
//! of the benchmark. [`start`] runs it, and [`serve`] is what it does.

pub mod slim;
mod steps;

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use testbed::control_plane::{self, ControlPlane};
use testbed::process::Process;
use tokio::sync::{Mutex, mpsc};

use slim::SlimPod;
use steps::{Held, Step, step};

/// Node on which pods run and then end.
pub const ENDS: &str = "lean-ends";
/// Node on which pods become ready and continue to run.
pub const RUNS: &str = "lean-runs";
/// Node on which the status of pods never changes.
pub const STILL: &str = "lean-still";
/// Annotation of a pod template: the pods of all indexes that are a multiple of this number fail.
pub const FAIL_EVERY: &str = "bench.jobwright.dev/fail-every";
/// Annotation of a pod template: the pods of a Job end only when this number of them runs.
pub const END_TOGETHER: &str = "bench.jobwright.dev/end-together";

/// Maximum number of status writes that are in flight for one node.
const MAX_CONCURRENT: usize = 32;
/// Interval at which the Leases of the nodes are renewed. Without renewals, kube-controller-manager marks the pods of
/// a node as not ready after 40 s.
const RENEWAL: Duration = Duration::from_secs(10);
/// Text that the process prints once it acts on pods.
const READY: &str = "lean nodes are ready";

/// Creates the nodes, and starts the process that acts for them.
pub async fn start(dir: &Path, control: &ControlPlane, client: &Client) -> Result<Process> {
    let nodes: Api<Node> = Api::all(client.clone());
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    for name in [ENDS, RUNS, STILL] {
        let node = json!({
            "metadata": {"name": name},
            "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]},
        });
        nodes.create(&PostParams::default(), &serde_json::from_value(node)?).await?;
        let lease = json!({
            "metadata": {"name": name, "namespace": "kube-node-lease"},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now_micro()},
        });
        leases.create(&PostParams::default(), &serde_json::from_value(lease)?).await?;
    }
    let program = std::env::current_exe().context("the path of this program")?;
    let flags = [format!("--serve-nodes={}", control.kubeconfig.display())];
    let mut process = Process::start("lean-nodes", dir, &program, &flags)?;
    let begun = Instant::now();
    while !process.log_tail(5).contains(READY) {
        process.check()?;
        if begun.elapsed() > Duration::from_secs(30) {
            bail!("the lean nodes are not ready after 30 s:\n{}", process.log_tail(10));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(process)
}

/// Acts for the nodes until the process is stopped.
pub async fn serve(kubeconfig: &Path) -> Result<()> {
    let client = control_plane::client(kubeconfig).await?;
    let (ready, mut readies) = mpsc::channel(2);
    let announced = async {
        for _ in 0..2 {
            readies.recv().await.context("a node has ended")?;
        }
        println!("{READY}");
        anyhow::Ok(())
    };
    tokio::try_join!(announced, renew(&client), act(&client, ENDS, ready.clone()), act(&client, RUNS, ready))?;
    Ok(())
}

/// Renews the Leases of all nodes.
async fn renew(client: &Client) -> Result<()> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let mut tick = tokio::time::interval(RENEWAL);
    loop {
        tick.tick().await;
        for name in [ENDS, RUNS, STILL] {
            let renewed = json!({"spec": {"renewTime": now_micro()}});
            leases.patch(name, &PatchParams::default(), &Patch::Merge(renewed)).await?;
        }
    }
}

/// Sets the status of the pods of one node.
async fn act(client: &Client, node: &'static str, ready: mpsc::Sender<()>) -> Result<()> {
    let config = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let mut events = watcher(Api::<SlimPod>::all(client.clone()), config).boxed();
    let (queue, inbox) = mpsc::unbounded_channel::<(SlimPod, Step)>();
    let inbox = stream::unfold(inbox, |mut inbox| async move { inbox.recv().await.map(|next| (next, inbox)) });
    let (held, ending) = (&Mutex::new(Held::default()), &queue.clone());
    let acting = inbox.map(anyhow::Ok).try_for_each_concurrent(MAX_CONCURRENT, |(pod, step)| async move {
        let exists = carry_out(client, &pod, step).await?;
        if exists && step == Step::Run && node == ENDS {
            let ends = held.lock().await.runs(pod);
            for pod in ends {
                ending.send((pod, Step::End))?;
            }
        }
        Ok(())
    });
    let watching = async {
        let mut begun = HashSet::new();
        while let Some(event) = events.try_next().await? {
            match event {
                Event::Apply(pod) | Event::InitApply(pod) => {
                    // Each step of a pod is taken once, although several events of the pod ask for it.
                    if let Some(step) = step(&pod)
                        && begun.insert((pod.uid(), step))
                    {
                        queue.send((pod, step)).context("the writes have ended")?;
                    }
                }
                Event::Delete(pod) => {
                    let uid = pod.uid();
                    begun.remove(&(uid.clone(), Step::Run));
                    begun.remove(&(uid, Step::Delete));
                }
                Event::InitDone => ready.send(()).await.context("the process ends")?,
                Event::Init => {}
            }
        }
        bail!("the watch of {node} has ended")
    };
    tokio::select! {
        result = acting => result,
        result = watching => result,
    }
}

/// Takes a step of a pod. Returns false if the pod was deleted in the meantime.
async fn carry_out(client: &Client, pod: &SlimPod, step: Step) -> Result<bool> {
    let pods: Api<SlimPod> = Api::namespaced(client.clone(), &pod.namespace().context("a namespace")?);
    let name = pod.name_any();
    let now = Timestamp::now();
    let result = match step {
        Step::Delete => pods.delete(&name, &DeleteParams::default().grace_period(0)).await.map(drop),
        Step::Run | Step::End => {
            let status = if step == Step::Run { steps::running(pod, now) } else { steps::ended(pod, now) };
            pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.map(drop)
        }
    };
    match result {
        Ok(()) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error).with_context(|| format!("pod {name}: {step:?}")),
    }
}

/// Returns the current time as a Lease contains it.
fn now_micro() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}
