//! The cluster of these tests, which has the image, and the steps of an administrator on that cluster.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use rustix::process::{Pid, Signal, kill_process};
use testbed::{Cluster, Kubectl, Nodes, Options, control_plane, image, node};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::harness::{Scene, until};
use crate::helm::{chart, helm};

/// The namespace of the installation.
pub const SYSTEM: &str = "jobwright-system";
/// Tag of the image, and a second tag of the same image as the target of an upgrade.
const TAGS: [&str; 2] = [env!("CARGO_PKG_VERSION"), "upgrade"];

static ENVIRONMENT: OnceCell<Option<Mutex<Environment>>> = OnceCell::const_new();

/// A cluster that has the image of Jobwright.
pub struct Environment {
    pub cluster: &'static Cluster,
    repository: String,
    ui_repository: Option<String>,
}

impl Environment {
    /// Waits for exclusive use of the cluster. Prints the reason and returns `None` if no cluster can be used.
    pub async fn exclusive() -> Result<Option<MutexGuard<'static, Self>>> {
        let environment = ENVIRONMENT.get_or_try_init(Self::start).await?;
        Ok(match environment {
            Some(environment) => Some(environment.lock().await),
            None => None,
        })
    }

    async fn start() -> Result<Option<Mutex<Self>>> {
        let leak = |cluster| -> &'static Cluster { Box::leak(Box::new(cluster)) };
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(kubeconfig) = set("KUBECONFIG") {
            let Some(image) = set("JOBWRIGHT_IMAGE") else {
                testbed::skipped!("set JOBWRIGHT_IMAGE to the name of the image in the cluster of KUBECONFIG");
                return Ok(None);
            };
            let repository = image.into_string().ok().context("JOBWRIGHT_IMAGE is not UTF-8")?;
            let ui_repository = set("JOBWRIGHT_UI_IMAGE").and_then(|image| image.into_string().ok());
            let cluster = leak(Cluster::given(kubeconfig.into()));
            return Ok(Some(Mutex::new(Self { cluster, repository, ui_repository })));
        }
        if let Some(obstacle) = node::obstacle() {
            testbed::skipped!("{obstacle}; set KUBECONFIG and JOBWRIGHT_IMAGE to run this against a cluster");
            return Ok(None);
        }
        let (tarball, ui) = (tempfile::NamedTempFile::new()?, tempfile::NamedTempFile::new()?);
        image::make(tarball.path(), &TAGS, image::TEST)?;
        image::make_of(image::Program::Ui, ui.path(), &TAGS, image::TEST)?;
        // The built-in controllers are on, as in a usual cluster.
        let control_plane = control_plane::Options { builtin_job_controllers: true, ..Default::default() };
        let mut cluster = Cluster::start(&Options { control_plane, nodes: Nodes::Real }).await?;
        let node = cluster.node.as_mut().context("the cluster has no real node")?;
        node.import(tarball.path()).await?;
        node.import(ui.path()).await?;
        let (repository, ui_repository) = (image::REPOSITORY.to_owned(), Some(image::UI_REPOSITORY.to_owned()));
        Ok(Some(Mutex::new(Self { cluster: leak(cluster), repository, ui_repository })))
    }

    /// Returns the name of the image of the console, if the cluster has that image.
    pub fn ui_image(&self) -> Option<&str> {
        self.ui_repository.as_deref()
    }

    /// Returns kubectl for the namespace of the installation.
    pub fn kubectl(&self) -> Result<Kubectl> {
        Kubectl::new(self.cluster, SYSTEM.to_owned())
    }

    /// Creates a namespace for the Jobs of a user.
    pub async fn user(&self, prefix: &str) -> Result<Scene> {
        Scene::on(self.cluster, prefix, &[]).await
    }

    /// Runs helm on this cluster, and returns its stdout.
    pub fn helm(&self, args: &[&str]) -> Result<String> {
        let kubeconfig = format!("--kubeconfig={}", self.cluster.kubeconfig.display());
        helm(&[args, &[kubeconfig.as_str()]].concat())
    }

    /// Installs or upgrades the chart as `release`, without waiting for the pods.
    pub fn install(&self, namespace: &str, release: &str, flags: &[&str]) -> Result<()> {
        let chart = chart();
        let chart = chart.to_str().context("the path is not UTF-8")?;
        let repository = format!("image.repository={}", self.repository);
        let common = ["upgrade", "--install", release, chart, "--namespace", namespace, "--create-namespace", "--set"];
        self.helm(&[&common[..], &[&repository], flags].concat())?;
        Ok(())
    }

    /// Installs the chart and waits until all replicas are ready.
    pub async fn install_ready(&self, flags: &[&str]) -> Result<()> {
        self.install(SYSTEM, "jobwright", flags)?;
        self.rolled_out().await
    }

    /// Waits until all replicas of the Deployment are ready. The error describes the pods and their last log lines.
    pub async fn rolled_out(&self) -> Result<()> {
        let kubectl = self.kubectl()?;
        let Err(error) = kubectl.run(&["rollout", "status", "deployment/jobwright", "--timeout=240s"]).await else {
            return Ok(());
        };
        let mut found = Vec::new();
        for args in [
            &["describe", "deployments,pods"][..],
            &["logs", "--selector=app.kubernetes.io/name=jobwright", "--tail=20", "--prefix"],
            &["describe", "nodes"],
        ] {
            found.push(kubectl.run(args).await.unwrap_or_else(|error| error.to_string()));
        }
        Err(error.context(found.join("\n")))
    }

    /// Uninstalls a release, and waits until its pods are deleted.
    pub async fn uninstall(&self, namespace: &str, release: &str) -> Result<()> {
        self.helm(&["uninstall", release, "--namespace", namespace, "--wait", "--timeout=60s"])?;
        let kubectl = Kubectl::new(self.cluster, namespace.to_owned())?;
        until("the pods to be gone", || async {
            let pods = kubectl.run(&["get", "pods", "--output=name"]).await?;
            Ok(if pods.is_empty() { Ok(()) } else { Err(pods) })
        })
        .await
    }

    /// Returns the names of the installation's running pods.
    pub async fn pods(&self) -> Result<Vec<String>> {
        let names =
            ["get", "pods", "--output=jsonpath={.items[*].metadata.name}", "--field-selector=status.phase=Running"];
        Ok(self.kubectl()?.run(&names).await?.split_whitespace().map(str::to_owned).collect())
    }

    /// Returns the name of the pod that holds the Lease.
    pub async fn leader(&self) -> Result<String> {
        let holder = "--output=jsonpath={.spec.holderIdentity}";
        let holder = self.kubectl()?.run(&["--namespace=kube-system", "get", "lease", "jobwright", holder]).await?;
        let (pod, _) = holder.rsplit_once('_').with_context(|| format!("{holder:?} names no pod"))?;
        Ok(pod.to_owned())
    }

    /// Waits until a pod other than these holds the Lease, and returns its name.
    pub async fn another_leader(&self, than: &[String]) -> Result<String> {
        until("another leader", || async {
            Ok(match self.leader().await {
                Ok(leader) if !than.contains(&leader) => Ok(leader),
                Ok(leader) => Err(leader),
                Err(error) => Err(error.to_string()),
            })
        })
        .await
    }

    /// Returns the time of the last renewal of the Lease.
    pub async fn renewed(&self, scene: &Scene) -> Result<Timestamp> {
        let leases: Api<Lease> = Api::namespaced(scene.client.clone(), "kube-system");
        let spec = leases.get("jobwright").await?.spec.context("the Lease has no spec")?;
        Ok(spec.renew_time.context("the Lease has no renewTime")?.0)
    }

    /// Returns the response of a pod for this path.
    pub async fn get(&self, pod: &str, path: &str) -> Result<String> {
        let url = format!("/api/v1/namespaces/{SYSTEM}/pods/{pod}:8080/proxy{path}");
        self.kubectl()?.run(&["get", "--raw", &url]).await
    }

    /// Whether the node is a real node on this machine, whose processes are visible.
    pub fn is_ours(&self) -> bool {
        self.cluster.node.is_some()
    }
}

/// Returns the ids of the processes of the image on this machine, each with the name of its pod.
pub fn processes() -> Result<Vec<(i32, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if line.starts_with(b"/jobwright\0run\0") {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let variables: Vec<String> =
                environment.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
            let pod = variables.iter().find_map(|variable| variable.strip_prefix("POD_NAME="));
            found.push((pid, pod.context("the process has no POD_NAME")?.to_owned()));
        }
    }
    Ok(found)
}

/// Kills the process of a pod with SIGKILL, which simulates a crash.
pub fn kill(pod: &str) -> Result<()> {
    let processes = processes()?;
    let Some((pid, _)) = processes.iter().find(|(_, name)| name == pod) else {
        bail!("no process of {pod}: {processes:?}")
    };
    kill_process(Pid::from_raw(*pid).context("the process id is 0")?, Signal::KILL)?;
    Ok(())
}

/// Waits until the count is above 0. Fails if the count has reached its goal, so that some of the work is left.
pub async fn in_progress(what: &str, goal: usize, count: impl AsyncFn() -> Result<usize>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let done = count().await?;
        if (1..goal).contains(&done) {
            return Ok(());
        }
        if done >= goal || Instant::now() > deadline {
            bail!("{what}: {done} of {goal} are done");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Returns the path of a file in the source tree.
pub fn file(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string()
}
