//! The cluster of the test: the built-in controllers, Jobwright, JobSet and Kueue on one API server.
//!
//! The two sides of a scenario are two namespaces. The Jobs of one side have the `managedBy` of Jobwright, and those of
//! the other side have none.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, PropagationPolicy,
};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use testbed::process::Process;
use testbed::{Cluster, Kubelet, Options, cluster, control_plane, jobwright};
use tokio::sync::Mutex;

use crate::controllers::Peer;
use crate::player::{self, Player};
use crate::scenario::{SIDE, Step};
use crate::snapshot::{Snapshot, owner_of, snapshot};

/// Kinds of the scenarios: name, group, version, plural, and whether objects have a namespace.
const KINDS: &[(&str, &str, &str, &str, bool)] = &[
    ("Job", "batch", "v1", "jobs", true),
    ("Pod", "", "v1", "pods", true),
    ("JobSet", "jobset.x-k8s.io", "v1alpha2", "jobsets", true),
    ("Workload", "kueue.x-k8s.io", "v1beta2", "workloads", true),
    ("JobLimit", "jobwright.dev", "v1beta1", "joblimits", true),
    ("LocalQueue", "kueue.x-k8s.io", "v1beta2", "localqueues", true),
    ("Node", "", "v1", "nodes", false),
    ("Topology", "kueue.x-k8s.io", "v1beta2", "topologies", false),
    ("ClusterQueue", "kueue.x-k8s.io", "v1beta2", "clusterqueues", false),
    ("ResourceFlavor", "kueue.x-k8s.io", "v1beta2", "resourceflavors", false),
    ("WorkloadPriorityClass", "kueue.x-k8s.io", "v1beta2", "workloadpriorityclasses", false),
];

/// The running cluster with all controllers.
pub struct Stage {
    // The fields are dropped in this order, so that the cluster stops last.
    _player: Player,
    pub jobset: Mutex<Peer>,
    pub kueue: Mutex<Peer>,
    ours: Mutex<Process>,
    pub client: Client,
    pub cluster: Cluster,
}

/// One side of a scenario.
#[derive(Clone)]
pub struct Side {
    pub namespace: String,
    /// Whether Jobwright manages the Jobs.
    pub ours: bool,
    client: Client,
}

impl Stage {
    /// Starts everything, and waits until JobSets and Workloads are admitted.
    pub async fn start() -> Result<Arc<Self>> {
        let control = control_plane::Options { builtin_job_controllers: true, ..cluster::unthrottled() };
        let cluster = Cluster::start(&Options { control_plane: control, ..Options::default() }).await?;
        let client = cluster.client().await?;
        let dir = cluster.dir().context("the cluster has no folder")?.join("jobwright");
        let binary = Path::new(env!("CARGO_BIN_EXE_jobwright"));
        let ours =
            jobwright::start(binary, &dir, &cluster.kubeconfig, &[], "debug,hyper=warn,tower=warn,h2=warn").await?;
        let jobset = Peer::jobset(&cluster).await?;
        let kueue = Peer::kueue(&cluster, &json!({})).await?;
        let player = player::play(client.clone());
        Ok(Arc::new(Self {
            cluster,
            client,
            jobset: Mutex::new(jobset),
            kueue: Mutex::new(kueue),
            ours: Mutex::new(ours),
            _player: player,
        }))
    }

    /// Creates the two sides of a scenario: that of the built-in controller, and that of Jobwright.
    pub async fn sides(&self) -> Result<[Side; 2]> {
        let side = |ours: bool| async move {
            let namespace = self.cluster.namespace(if ours { "ours" } else { "builtin" }).await?;
            anyhow::Ok(Side { namespace, ours, client: self.client.clone() })
        };
        Ok([side(false).await?, side(true).await?])
    }

    /// Fails if a process has ended.
    pub async fn check(&self) -> Result<()> {
        self.jobset.lock().await.check()?;
        self.kueue.lock().await.check()?;
        self.ours.lock().await.check()
    }

    /// Returns the last lines of the logs about a namespace.
    pub async fn logs(&self, namespace: &str) -> String {
        let ours = self.ours.lock().await.log_tail(200_000);
        let lines: Vec<&str> = ours.lines().filter(|line| line.contains(namespace)).collect();
        format!(
            "{}\n{}\n{}",
            lines[lines.len().saturating_sub(10)..].join("\n"),
            self.jobset.lock().await.log(namespace),
            self.kueue.lock().await.log(namespace)
        )
    }
}

impl Side {
    /// Returns `spec.managedBy` of the side's Jobs, or an empty text.
    pub fn managed_by(&self) -> &'static str {
        if self.ours { "jobwright.dev/controller" } else { "" }
    }

    /// Returns the objects of a kind.
    fn api(&self, kind: &str) -> Result<Api<DynamicObject>> {
        let found = KINDS.iter().find(|known| known.0 == kind);
        let &(kind, group, version, plural, namespaced) = found.with_context(|| format!("no kind {kind}"))?;
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        Ok(if namespaced {
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        })
    }

    async fn list(&self, kind: &str) -> Result<Vec<Value>> {
        let list = self.api(kind)?.list(&ListParams::default()).await?;
        Ok(list.items.iter().map(serde_json::to_value).collect::<Result<_, _>>()?)
    }

    /// Returns the description of the side's objects.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let (jobs, pods) = (self.list("Job").await?, self.list("Pod").await?);
        let (jobsets, workloads) = (self.list("JobSet").await?, self.list("Workload").await?);
        Ok(snapshot(&self.namespace, &jobs, &pods, &jobsets, &workloads))
    }

    /// Performs a step, except for those that wait.
    pub async fn perform(&self, step: &Step) -> Result<()> {
        match step {
            Step::Create(objects) => {
                for object in objects {
                    self.create(object).await?;
                }
            }
            Step::Change(kind, name, patch) => {
                let patch = Patch::Merge(self.fill_in(patch)?);
                self.api(kind)?.patch(&self.name(name), &PatchParams::default(), &patch).await?;
            }
            Step::ChangeWorkload(owner, patch) => {
                let workloads = self.list("Workload").await?;
                let found = workloads.iter().find(|workload| owner_of(workload) == *owner);
                let found = found.with_context(|| format!("no Workload of {owner}"))?;
                let name = found["metadata"]["name"].as_str().unwrap_or_default();
                self.api("Workload")?.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
            }
            Step::Delete(kind, name) => {
                let background =
                    DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
                self.api(kind)?.delete(&self.name(name), &background).await?;
            }
            Step::Finish(job, count, code) => {
                let kubelet = Kubelet::new(self.client.clone(), &self.namespace);
                let names = self.pods(job, *count, |_| true).await?;
                let ends = names.iter().map(|name| async {
                    match *code {
                        0 => kubelet.succeed(name).await,
                        code => kubelet.fail(name, code).await,
                    }
                });
                try_join_all(ends).await?;
            }
            Step::Ready(job, count) => {
                let kubelet = Kubelet::new(self.client.clone(), &self.namespace);
                let names = self.pods(job, *count, |pod| pod["status"]["phase"] == "Pending").await?;
                try_join_all(names.iter().map(|name| kubelet.run(name, true))).await?;
            }
            Step::Until(_) | Step::Gone(_) => {}
        }
        Ok(())
    }

    async fn create(&self, object: &Value) -> Result<()> {
        let mut object = self.fill_in(object)?;
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        if self.ours {
            let mut specs = Vec::new();
            match kind.as_str() {
                "Job" => specs.push(&mut object["spec"]),
                "JobSet" => {
                    let jobs = object["spec"]["replicatedJobs"].as_array_mut().into_iter().flatten();
                    specs.extend(jobs.map(|job| &mut job["template"]["spec"]));
                }
                _ => {}
            }
            for spec in specs {
                // A scenario can name another controller.
                if spec["managedBy"].is_null() {
                    spec["managedBy"] = json!(self.managed_by());
                }
            }
        }
        let context = || format!("creating {object}");
        let typed: DynamicObject = serde_json::from_value(object.clone())?;
        self.api(&kind)?.create(&PostParams::default(), &typed).await.with_context(context)?;
        Ok(())
    }

    /// Returns the names of active pods of a Job that satisfy a condition: the first ones, by index and age.
    async fn pods(&self, job: &str, count: usize, wanted: impl Fn(&Value) -> bool) -> Result<Vec<String>> {
        let list = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
        let pods = self.api("Pod")?.list(&list).await?.items;
        let mut pods: Vec<_> = pods
            .iter()
            .filter(|pod| {
                let ended = matches!(pod.data["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
                !ended && pod.metadata.deletion_timestamp.is_none() && wanted(&pod.data)
            })
            .collect();
        let index = |pod: &DynamicObject| {
            pod.annotations().get("batch.kubernetes.io/job-completion-index").and_then(|text| text.parse::<u32>().ok())
        };
        pods.sort_by_key(|pod| (index(pod), pod.creation_timestamp(), pod.name_any()));
        if pods.len() < count {
            bail!("{job} has {} such pods, not {count}", pods.len());
        }
        Ok(pods.iter().take(count).map(|pod| pod.name_any()).collect())
    }

    fn name(&self, name: &str) -> String {
        name.replace(SIDE, &self.namespace)
    }

    fn fill_in(&self, value: &Value) -> Result<Value> {
        Ok(serde_json::from_str(&value.to_string().replace(SIDE, &self.namespace))?)
    }
}
