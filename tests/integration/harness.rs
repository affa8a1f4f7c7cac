//! A namespace with a controller of its own, and helpers for the usual steps of a test.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use jobwright::runtime::codec::Encoding;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use testbed::manifest::lay_over;
use testbed::permissions::Permissions;
use testbed::process::Process;
use testbed::{Cluster, Kubelet, Options};

pub const TRACKING_FINALIZER: &str = "batch.kubernetes.io/job-tracking";

/// Maximum time that [`until`] waits.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A namespace with a controller of its own, and clients for both.
pub struct Scene {
    pub cluster: &'static Cluster,
    pub namespace: String,
    pub client: Client,
    pub jobs: Api<Job>,
    pub pods: Api<Pod>,
    pub kubelet: Kubelet,
    pub controller: Option<Controller>,
    pub flags: Vec<String>,
    /// Kubeconfig of a user with exactly the permissions that the chart grants.
    pub kubeconfig: PathBuf,
    _dir: tempfile::TempDir,
}

/// A running `jobwright run` process.
pub struct Controller {
    pub process: Process,
    _dir: tempfile::TempDir,
}

impl Controller {
    /// Starts the binary and waits until its log reports that the controller is ready.
    pub async fn start(kubeconfig: &Path, flags: &[String]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let binary = Path::new(env!("CARGO_BIN_EXE_jobwright"));
        let log = "debug,hyper=warn,hyper_util=warn,tower=warn,h2=warn,rustls=warn,kube=info";
        let process = testbed::jobwright::start(binary, dir.path(), kubeconfig, flags, log).await?;
        Ok(Self { process, _dir: dir })
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(controller) = &self.controller
        {
            eprintln!("--- end of the controller's log:\n{}", controller.process.log_tail(60));
        }
    }
}

/// Returns whether a log line of Jobwright has the UID of an object and no name: `name`, `job` or `pod`.
pub fn names_an_object_by_its_uid_alone(line: &str) -> bool {
    let is_uid = |text: &[u8]| {
        let is_dash = |at: usize| [8, 13, 18, 23].contains(&at);
        text.iter().enumerate().all(|(at, byte)| if is_dash(at) { *byte == b'-' } else { byte.is_ascii_hexdigit() })
    };
    let has_name = ["name=", "job=", "pod=", "\"name\":", "\"job\":", "\"pod\":"].iter().any(|key| line.contains(key));
    line.contains("jobwright::") && !has_name && line.as_bytes().windows(36).any(is_uid)
}

impl Drop for Controller {
    fn drop(&mut self) {
        // Fails the test on a request that RBAC refused. Refusals by admission (a quota, a terminating namespace) name
        // no user. An API server that has just started refuses every request for a moment.
        let log = self.process.log_tail(100_000);
        let nameless = log.lines().find(|line| names_an_object_by_its_uid_alone(line));
        if let Some(nameless) = nameless.filter(|_| !std::thread::panicking()) {
            panic!("a log line names an object by its UID alone: {nameless}");
        }
        if log.contains("watch failed; retrying") {
            return;
        }
        let refused = log.lines().find(|line| line.contains("is forbidden: User ") && line.contains(" cannot "));
        if let Some(refused) = refused.filter(|_| !std::thread::panicking()) {
            panic!("the chart lacks a permission: {refused}");
        }
    }
}

impl Scene {
    /// Creates a namespace and starts a controller with a short back-off.
    pub async fn new(prefix: &str) -> Result<Self> {
        Self::with_flags(prefix, &["--pod-failure-backoff=50ms"]).await
    }

    /// Creates a namespace and starts a controller with these flags.
    pub async fn with_flags(prefix: &str, flags: &[&str]) -> Result<Self> {
        let mut scene = Self::without_controller(prefix, flags).await?;
        scene.start_controller().await?;
        Ok(scene)
    }

    /// Creates a namespace without a controller.
    pub async fn without_controller(prefix: &str, flags: &[&str]) -> Result<Self> {
        Self::on(Cluster::shared().await?, prefix, flags).await
    }

    /// Creates a namespace without a controller on the given cluster.
    pub async fn on(cluster: &'static Cluster, prefix: &str, flags: &[&str]) -> Result<Self> {
        let namespace = cluster.namespace(prefix).await?;
        let client = cluster.client().await?;
        let mut all = vec![format!("--namespace={namespace}")];
        all.extend(flags.iter().map(|&flag| flag.to_owned()));
        let claim = if flags.contains(&"--claim=all") { "all" } else { "managed-by" };
        let logs = flags.iter().any(|flag| flag.starts_with("--log-tail"));
        let gangs = flags.contains(&"--feature-gates=WorkloadWithJob=true");
        let permissions = Permissions { namespace: Some(namespace.clone()), claim: claim.to_owned(), logs, gangs };
        let dir = tempfile::tempdir()?;
        let kubeconfig = permissions.grant(cluster, &namespace, dir.path(), |_| {}).await?;
        Ok(Self {
            kubeconfig,
            _dir: dir,
            jobs: Api::namespaced(client.clone(), &namespace),
            pods: Api::namespaced(client.clone(), &namespace),
            kubelet: Kubelet::new(client.clone(), &namespace),
            controller: None,
            flags: all,
            cluster,
            namespace,
            client,
        })
    }

    /// Starts a cluster, and creates a namespace without a controller on that cluster.
    pub async fn on_new_cluster(prefix: &str, flags: &[&str]) -> Result<Self> {
        // Leaked because a scene borrows its cluster for 'static. The cluster's processes end with this process.
        let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(&Options::default()).await?));
        Self::on(cluster, prefix, flags).await
    }

    /// Starts a cluster with a controller of all namespaces, and creates a namespace on that cluster.
    pub async fn everywhere(prefix: &str, flags: &[&str]) -> Result<Self> {
        let mut scene = Self::on_new_cluster(prefix, flags).await?;
        let cluster = scene.cluster;
        scene.flags.retain(|flag| !flag.starts_with("--namespace"));
        let claim = if flags.contains(&"--claim=all") { "all" } else { "managed-by" };
        let permissions = Permissions { namespace: None, claim: claim.to_owned(), logs: false, gangs: false };
        let dir = cluster.dir().context("the cluster has no folder")?;
        scene.kubeconfig = permissions.grant(cluster, "everywhere", dir, |_| {}).await?;
        scene.start_controller().await?;
        Ok(scene)
    }

    pub async fn start_controller(&mut self) -> Result<()> {
        self.controller = Some(Controller::start(&self.kubeconfig, &self.flags).await?);
        Ok(())
    }

    /// Creates a Job with the default spec of [`job`], overlaid with these fields.
    pub async fn create(&self, name: &str, spec: Value) -> Result<Job> {
        Ok(self.jobs.create(&PostParams::default(), &job(name, spec)?).await?)
    }

    /// Changes a Job's spec.
    pub async fn change(&self, name: &str, spec: Value) -> Result<Job> {
        let patch = json!({"spec": spec});
        Ok(self.jobs.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?)
    }

    /// Waits until the status of the Job satisfies `wanted`, and returns the status. `what` names it in the error.
    pub async fn job_until(&self, name: &str, what: &str, wanted: impl Fn(&JobStatus) -> bool) -> Result<JobStatus> {
        let look = || async {
            let job = self.jobs.get(name).await?;
            let status = job.status.unwrap_or_default();
            Ok(if wanted(&status) { Ok(status) } else { Err(format!("{status:#?}")) })
        };
        until(what, look).await
    }

    /// Waits until the Job has this condition, and returns its status.
    pub async fn condition(&self, name: &str, type_: &str) -> Result<JobStatus> {
        self.job_until(name, type_, |status| condition(status, type_).is_some()).await
    }

    /// Waits until a Job has exactly `count` pods that are neither finished nor being deleted. Returns their names, the
    /// oldest first.
    pub async fn active(&self, job: &str, count: usize) -> Result<Vec<String>> {
        let what = format!("{count} active pods of {job}");
        until(&what, || async {
            let pods = self.pods_of(job).await?;
            let names: Vec<_> = pods.iter().filter(|pod| is_active(pod)).map(ResourceExt::name_any).collect();
            Ok(if names.len() == count { Ok(names) } else { Err(format!("{names:?}")) })
        })
        .await
    }

    /// Returns all pods with the Job's name in their label, the oldest first.
    pub async fn pods_of(&self, job: &str) -> Result<Vec<Pod>> {
        let list = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
        let mut pods = self.pods.list(&list).await?.items;
        pods.sort_by_key(|pod| (pod.creation_timestamp(), pod.name_any()));
        Ok(pods)
    }

    /// Waits until no pod in the namespace has the tracking finalizer.
    pub async fn nothing_tracked(&self) -> Result<()> {
        until("no pod to have the tracking finalizer", || async {
            let pods = self.pods.list(&ListParams::default()).await?.items;
            let tracked: Vec<_> = pods.iter().filter(|pod| is_tracked(pod)).map(ResourceExt::name_any).collect();
            Ok(if tracked.is_empty() { Ok(()) } else { Err(format!("{tracked:?}")) })
        })
        .await
    }

    /// Waits until an event about this object has this reason, and a message that contains this text.
    pub async fn event(&self, name: &str, reason: &str, message: &str) -> Result<()> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let what = format!("an event {reason} of {name} with {message:?}");
        until(&what, || async {
            let events = events.list(&ListParams::default()).await?.items;
            let of_job: Vec<_> =
                events.iter().filter(|event| event.involved_object.name.as_deref() == Some(name)).collect();
            let found = of_job.iter().any(|event| {
                event.reason.as_deref() == Some(reason)
                    && event.message.as_deref().is_some_and(|text| text.contains(message))
            });
            let seen =
                || of_job.iter().map(|event| format!("{:?} {:?}\n", event.reason, event.message)).collect::<String>();
            Ok(if found { Ok(()) } else { Err(seen()) })
        })
        .await
    }

    /// Sets every pod to Succeeded as soon as the pod exists, until the returned value is dropped. Meant for Jobs with
    /// many pods.
    pub fn succeed_all(&self) -> Playing {
        self.succeed_selected("")
    }

    /// Does the same with the pods that a label selector matches.
    pub fn succeed_selected(&self, selector: &str) -> Playing {
        let (pods, kubelet, params) = (self.pods.clone(), self.kubelet.clone(), ListParams::default().labels(selector));
        Playing(tokio::spawn(async move {
            loop {
                if let Ok(list) = pods.list(&params).await {
                    let active: Vec<_> =
                        list.items.iter().filter(|pod| is_active(pod)).map(ResourceExt::name_any).collect();
                    // A pod may be deleted by now; the next list shows that.
                    let _ = futures::future::join_all(active.iter().map(|pod| kubelet.succeed(pod))).await;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }))
    }
}

/// A background task in place of a kubelet. Dropping the value stops the task.
pub struct Playing(tokio::task::JoinHandle<()>);

impl Playing {
    /// Runs this future until the value is dropped.
    pub fn new(play: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(play))
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Returns the encoding of a controller that runs in the process of the test.
pub fn encoding() -> Encoding {
    Encoding::from_str(&testbed::jobwright::tested_wire(), true).expect("TESTED_WIRE is json or protobuf")
}

/// Returns a Job that Jobwright manages, with one container, its spec overlaid with these fields.
pub fn job(name: &str, spec: Value) -> Result<Job> {
    let mut manifest = json!({
        "metadata": {"name": name},
        "spec": {
            "managedBy": "jobwright.dev/controller",
            "template": {"spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "main", "image": "busybox:1.36", "command": ["true"]}],
            }},
        },
    });
    lay_over(&mut manifest["spec"], &spec);
    Ok(serde_json::from_value(manifest)?)
}

/// Returns the condition of this type if its status is True.
pub fn condition<'a>(status: &'a JobStatus, type_: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == type_ && condition.status == "True")
}

pub fn is_tracked(pod: &Pod) -> bool {
    pod.finalizers().iter().any(|finalizer| finalizer == TRACKING_FINALIZER)
}

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub fn is_active(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase(pod), "Succeeded" | "Failed")
}

/// Calls `look` every 20 ms until it returns an inner `Ok`. After [`TIMEOUT`], fails with `what` and the last inner
/// `Err`.
pub async fn until<T, F>(what: &str, look: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<std::result::Result<T, String>>>,
{
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let seen = match look().await.with_context(|| format!("waiting for {what}"))? {
            Ok(found) => return Ok(found),
            Err(seen) => seen,
        };
        if Instant::now() > deadline {
            bail!("waited {} s for {what}, but saw:\n{seen}", TIMEOUT.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Checks every 50 ms for this time that `check` succeeds.
pub async fn stays<F>(seconds: f64, check: impl Fn() -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < end {
        check().await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
