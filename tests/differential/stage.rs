//! The cluster in which both controllers run, and the observed objects of each namespace.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Namespace, Pod, ResourceQuota, ServiceAccount};
use k8s_openapi::api::scheduling::v1beta1::{PodGroup, Workload};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, PropagationPolicy};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use testbed::manifest::lay_over;
use testbed::permissions::Permissions;
use testbed::process::Process;
use testbed::{Cluster, Kubelet, Options, Version, control_plane};

use crate::scenario::{Pick, Step};
use crate::snapshot::Side;

/// Cluster with both controllers.
pub struct Stage {
    pub client: Client,
    /// Kubernetes version of the cluster.
    pub version: Version,
    cluster: Cluster,
    ours: Mutex<Process>,
    sides: Sides,
    _home: tempfile::TempDir,
}

type Sides = Arc<Mutex<BTreeMap<String, Side>>>;

impl Stage {
    /// Starts a control plane with the built-in Job controller, and Jobwright beside it. With `gangs`, both have the
    /// feature gate WorkloadWithJob.
    pub async fn start(gangs: bool) -> Result<Self> {
        let gates =
            "--feature-gates=GenericWorkload=true,WorkloadWithJob=true,TopologyAwareWorkloadScheduling=true".to_owned();
        let served = "--runtime-config=scheduling.k8s.io/v1beta1=true".to_owned();
        let settings = control_plane::Options {
            builtin_job_controllers: true,
            // The limits are raised because the test compares results and not speed, and the built-in controller's own
            // limits are the slowest part. The disabled controllers delete pods on nodes that do not exist, or remove a
            // DisruptionTarget condition after some time.
            controller_manager_flags: [
                "--controllers=-pod-garbage-collector-controller,-node-lifecycle-controller,-taint-eviction-controller,-disruption-controller",
                "--kube-api-qps=2000",
                "--kube-api-burst=2000",
                "--concurrent-job-syncs=50",
                "--concurrent-gc-syncs=10",
                "--resource-quota-sync-period=5s",
            ]
            .map(str::to_owned)
            .into_iter()
            .chain(gangs.then(|| gates.clone()))
            .collect(),
            apiserver_flags: if gangs { vec![gates, served] } else { Vec::new() },
            ..control_plane::Options::default()
        };
        let cluster = Cluster::start(&Options { control_plane: settings, ..Options::default() }).await?;
        let home = tempfile::tempdir()?;
        let binary = Path::new(env!("CARGO_BIN_EXE_jobwright"));
        let flags: Vec<String> = gangs.then(|| "--feature-gates=WorkloadWithJob=true".to_owned()).into_iter().collect();
        let permissions = Permissions { namespace: None, claim: "managed-by".to_owned(), logs: false, gangs };
        let kubeconfig = permissions.grant(&cluster, "jobwright", home.path(), |_| {}).await?;
        let ours = testbed::jobwright::start(binary, home.path(), &kubeconfig, &flags, "info,kube=error").await?;
        let client = cluster.client().await?;
        let sides = Sides::default();
        follow::<Job>(
            &client,
            &sides,
            |side, job| side.jobs.insert(job.name_any(), job).is_some(),
            |side, job| {
                // A Job with the same name may have been created in the meantime.
                if side.jobs.get(&job.name_any()).is_some_and(|known| known.uid() == job.uid()) {
                    side.jobs.remove(&job.name_any());
                }
            },
        );
        follow::<Pod>(
            &client,
            &sides,
            |side, pod| {
                side.record(&pod);
                side.pods.insert(pod.name_any(), pod).is_some()
            },
            |side, pod| {
                side.pods.remove(&pod.name_any());
            },
        );
        if gangs {
            follow::<Workload>(&client, &sides, Side::insert_workload, |side, workload| {
                side.workloads.remove(&workload.name_any());
            });
            follow::<PodGroup>(&client, &sides, Side::insert_pod_group, |side, group| {
                side.pod_groups.remove(&group.name_any());
            });
        }
        follow::<Event>(
            &client,
            &sides,
            |side, event| side.events.insert(event.name_any(), event).is_some(),
            |_, _| (),
        );
        let version = Version::selected()?;
        Ok(Self { client, version, cluster, ours: Mutex::new(ours), sides, _home: home })
    }

    /// Returns an error if one of the processes has exited.
    pub fn check(&mut self) -> Result<()> {
        self.cluster.check()?;
        self.ours.get_mut().unwrap_or_else(PoisonError::into_inner).check()
    }

    /// Returns the last lines of Jobwright's log that contain the name of a namespace.
    pub fn log(&self, namespace: &str) -> String {
        let log = self.ours.lock().unwrap_or_else(PoisonError::into_inner).log_tail(100_000);
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(namespace)).collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    /// Returns the observed objects of a namespace.
    pub fn side(&self, namespace: &str) -> Side {
        let mut sides = self.sides.lock().unwrap_or_else(PoisonError::into_inner);
        let side = sides.entry(namespace.to_owned()).or_default();
        namespace.clone_into(&mut side.namespace);
        side.clone()
    }

    /// Creates a namespace and waits until pods can be created in it.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let wanted: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        namespaces.create(&PostParams::default(), &wanted).await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), name);
        while accounts.get_opt("default").await?.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Deletes the Jobs and pods of a namespace, and its observed objects.
    pub async fn clear(&self, namespace: &str) -> Result<()> {
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let background =
            DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
        jobs.delete_collection(&background, &Default::default()).await?;
        for pod in pods.list(&Default::default()).await?.items {
            let no_finalizers = json!({"metadata": {"finalizers": null}});
            let _ = pods.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&no_finalizers)).await;
            let _ = pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await;
        }
        self.sides.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
        Ok(())
    }

    /// Creates the Job of a scenario on one side.
    pub async fn create(&self, namespace: &str, name: &str, spec: &Value, ours: bool) -> Result<()> {
        let mut manifest = json!({
            "metadata": {"name": name},
            "spec": {
                "template": {"spec": {
                    "restartPolicy": "Never",
                    // The node does not exist, so that deleted pods stay until a step terminates them.
                    "nodeName": "nowhere",
                    "terminationGracePeriodSeconds": 5,
                    "automountServiceAccountToken": false,
                    "containers": [{"name": "main", "image": "i"}],
                }},
            },
        });
        lay_over(&mut manifest["spec"], spec);
        if ours {
            manifest["spec"]["managedBy"] = json!("jobwright.dev/controller");
        }
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        jobs.create(&PostParams::default(), &serde_json::from_value(manifest)?).await?;
        Ok(())
    }

    /// Performs a step on one side, whose objects were last observed as `seen`. Returns whether the pod that the step
    /// selects exists.
    pub async fn perform(&self, seen: &Side, job: &str, step: &Step, ours: bool) -> Result<bool> {
        let namespace = seen.namespace.as_str();
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        let kubelet = Kubelet::new(self.client.clone(), namespace);
        let quotas: Api<ResourceQuota> = Api::namespaced(self.client.clone(), namespace);
        let plain = PatchParams::default();
        match step {
            Step::Status(pod, status) => {
                let Some(pod) = pick(seen, *pod) else { return Ok(false) };
                kubelet.patch(&pod, status.clone()).await?;
            }
            Step::End(pod, code, conditions) => {
                let Some(pod) = pick(seen, *pod) else { return Ok(false) };
                end(&kubelet, &pod, *code, conditions).await?;
            }
            Step::Together(steps) => {
                let steps = steps.iter().map(|step| Box::pin(self.perform(seen, job, step, ours)));
                let done = futures::future::try_join_all(steps).await?;
                return Ok(done.contains(&true));
            }
            Step::DeletePod(pod) => {
                let Some(pod) = pick(seen, *pod) else { return Ok(false) };
                kubelet.pods().delete(&pod, &DeleteParams::default()).await?;
            }
            Step::Terminated(pod, code) => {
                let Some(pod) = pick(seen, *pod) else { return Ok(false) };
                let tracked = seen.pods.get(&pod).is_some_and(|pod| !pod.finalizers().is_empty());
                // Whether a controller observes the end of a pod that was released without being counted depends on
                // timing: see docs/differences.md.
                if tracked {
                    end(&kubelet, &pod, *code, &[]).await?;
                }
                kubelet.pods().delete(&pod, &DeleteParams::default().grace_period(0)).await?;
            }
            Step::Vanish(pod) => {
                let Some(pod) = pick(seen, *pod) else { return Ok(false) };
                kubelet.pods().delete(&pod, &DeleteParams::default().grace_period(0)).await?;
            }
            Step::ChangePod(pod, change) => {
                let Some(pod) = pick(seen, *pod) else { return Ok(false) };
                kubelet.pods().patch(&pod, &plain, &Patch::Merge(change)).await?;
            }
            Step::AddPod(pod) => {
                let mut manifest = json!({"spec": {
                    "restartPolicy": "Never", "nodeName": "nowhere", "automountServiceAccountToken": false,
                    "containers": [{"name": "main", "image": "i"}],
                }});
                lay_over(&mut manifest, pod);
                kubelet.pods().create(&PostParams::default(), &serde_json::from_value(manifest)?).await?;
            }
            Step::Change(spec) => {
                let change = json!({"spec": spec});
                jobs.patch(job, &plain, &Patch::Merge(&change)).await?;
            }
            Step::Tamper(status) => {
                let change = json!({"status": status});
                jobs.patch_status(job, &plain, &Patch::Merge(&change)).await?;
            }
            Step::DeleteJob(policy) => {
                let policy = match *policy {
                    "Foreground" => PropagationPolicy::Foreground,
                    "Orphan" => PropagationPolicy::Orphan,
                    _ => PropagationPolicy::Background,
                };
                jobs.delete(job, &DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() }).await?;
            }
            Step::CreateJob(spec) => self.create(namespace, job, spec, ours).await?,
            Step::Quota(pods) => {
                testbed::quota::enforce(&self.client, namespace, "few", &[("pods", &pods.to_string())]).await?;
            }
            Step::NoQuota => {
                quotas.delete("few", &DeleteParams::default()).await?;
            }
            Step::AwaitActive(_) | Step::Await(_) => {}
            Step::Wait(seconds) => tokio::time::sleep(Duration::from_secs(*seconds)).await,
        }
        Ok(true)
    }
}

/// Terminates all containers of a pod with this exit code, and finishes the pod.
async fn end(kubelet: &Kubelet, pod: &str, code: i32, conditions: &[Value]) -> Result<()> {
    if code == 0 {
        kubelet.succeed(pod).await?;
        return Ok(());
    }
    // The conditions have to be set before the phase or with it, as a kubelet does.
    if !conditions.is_empty() {
        kubelet.patch(pod, json!({"conditions": conditions})).await?;
    }
    kubelet.fail(pod, code).await?;
    Ok(())
}

fn is_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Returns the active pods of a side.
pub fn active(side: &Side) -> Vec<&Pod> {
    side.pods.values().filter(|pod| !is_ended(pod) && pod.metadata.deletion_timestamp.is_none()).collect()
}

/// Returns the name of the pod that a step selects.
fn pick(side: &Side, pick: Pick) -> Option<String> {
    let index = |pod: &Pod| {
        pod.annotations().get("batch.kubernetes.io/job-completion-index").and_then(|text| text.parse::<u32>().ok())
    };
    let deleting = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
    let mut pods: Vec<&Pod> = match pick {
        Pick::Active(_) => active(side),
        Pick::Index(wanted) => active(side).into_iter().filter(|pod| index(pod) == Some(wanted)).collect(),
        Pick::Terminating(_) => side.pods.values().filter(|pod| !is_ended(pod) && deleting(pod)).collect(),
        Pick::Ended(_) => side.pods.values().filter(|pod| is_ended(pod)).collect(),
    };
    // The order does not depend on the state of a pod, so that a pod keeps its position.
    pods.sort_by_key(|pod| (index(pod), pod.creation_timestamp(), pod.name_any()));
    let place = match pick {
        Pick::Active(place) | Pick::Terminating(place) | Pick::Ended(place) => place,
        Pick::Index(_) => 0,
    };
    pods.get(place).map(|pod| pod.name_any())
}

/// Watches all objects of a kind and updates the observed objects.
fn follow<K>(
    client: &Client,
    sides: &Sides,
    insert: impl Fn(&mut Side, K) -> bool + Send + 'static,
    remove: impl Fn(&mut Side, K) + Send + 'static,
) where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    let (api, sides): (Api<K>, _) = (Api::all(client.clone()), sides.clone());
    tokio::spawn(async move {
        let mut stream = watcher(api, watcher::Config::default()).default_backoff().boxed();
        loop {
            match stream.try_next().await {
                Ok(Some(event)) => {
                    let mut sides = sides.lock().unwrap_or_else(PoisonError::into_inner);
                    match event {
                        watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
                            let side = sides.entry(object.meta().namespace.clone().unwrap_or_default()).or_default();
                            insert(side, object);
                        }
                        watcher::Event::Delete(object) => {
                            let side = sides.entry(object.meta().namespace.clone().unwrap_or_default()).or_default();
                            remove(side, object);
                        }
                        watcher::Event::Init | watcher::Event::InitDone => {}
                    }
                }
                Ok(None) => return,
                Err(error) => eprintln!("a watch of the differential test failed: {error}"),
            }
        }
    });
}

/// Parses a number from the environment.
pub fn number(name: &str, default: usize) -> Result<usize> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} must be a number but is {text:?}")),
        Err(_) => Ok(default),
    }
}
