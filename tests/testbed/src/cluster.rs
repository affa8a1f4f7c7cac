//! A cluster for tests: a control plane on loopback, or the cluster that `KUBECONFIG` names.
//!
//! There are two entry points: [`Cluster::shared`], one per process, for tests that stay in a namespace of their own,
//! and [`Cluster::start`], for tests that need nodes or other flags, or that stop parts of the control plane.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use tokio::sync::OnceCell;

use crate::control_plane::{self, ControlPlane};
use crate::crds;
use crate::kwok;
use crate::node::{self, RealNode};
use crate::process::Process;
use crate::version::Version;

/// Selection of the nodes of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Nodes {
    /// No nodes: pods stay pending, and tests set the status of pods.
    #[default]
    None,
    /// One real node, on which pods run.
    Real,
    /// Simulated nodes, on which pods succeed immediately.
    Simulated,
    /// A real node if this machine can run one, or else simulated nodes.
    Auto,
}

/// Options for the start of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Options of the control plane.
    pub control_plane: control_plane::Options,
    /// Nodes of the cluster.
    pub nodes: Nodes,
}

/// A running cluster. Dropping the value stops the cluster and deletes its folder.
pub struct Cluster {
    /// Kubeconfig of an administrator.
    pub kubeconfig: PathBuf,
    /// Control plane that this process runs. `None` for a cluster that `KUBECONFIG` names.
    pub control: Option<ControlPlane>,
    /// Real node of the cluster, if there is one.
    pub node: Option<RealNode>,
    kwok: Option<Process>,
    home: Option<Home>,
}

/// The folder of a testbed. A lock marks the folder as in use, so that a later testbed can delete the folders of killed
/// ones.
struct Home {
    dir: PathBuf,
    _lock: File,
}

impl Home {
    fn new() -> Result<Self> {
        let base = std::env::temp_dir().join("jobwright-testbed");
        fs::create_dir_all(&base)?;
        for entry in fs::read_dir(&base)?.flatten() {
            let abandoned = File::open(entry.path().join("lock")).is_ok_and(|lock| lock.try_lock().is_ok());
            if abandoned {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let dir = tempfile::Builder::new().prefix("tb").rand_bytes(6).tempdir_in(&base)?.keep();
        let lock = File::create(dir.join("lock"))?;
        lock.lock()?;
        Ok(Self { dir, _lock: lock })
    }
}

static SHARED: OnceCell<Cluster> = OnceCell::const_new();

impl Cluster {
    /// Returns the cluster that all tests of a process share: the one that `KUBECONFIG` names, or else a control plane
    /// without nodes, which the first call starts.
    pub async fn shared() -> Result<&'static Self> {
        SHARED
            .get_or_try_init(|| async {
                match std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty()) {
                    Some(path) => {
                        let cluster = Self::given(PathBuf::from(path));
                        crds::install(&cluster.client().await?).await?;
                        Ok(cluster)
                    }
                    None => Self::start(&Options { control_plane: unthrottled(), ..Options::default() }).await,
                }
            })
            .await
    }

    /// Returns a given cluster, which this process does not run.
    pub fn given(kubeconfig: PathBuf) -> Self {
        Self { kubeconfig, control: None, node: None, kwok: None, home: None }
    }

    /// Starts a cluster, and waits until it accepts pods.
    pub async fn start(options: &Options) -> Result<Self> {
        let mut tries = 0;
        loop {
            tries += 1;
            // A free port is found, released and bound again. Another process can bind the port in between.
            match Self::try_start(options).await {
                Err(error) if tries < 3 && format!("{error:#}").contains("address already in use") => {}
                result => return result,
            }
        }
    }

    async fn try_start(options: &Options) -> Result<Self> {
        let nodes = match (options.nodes, node::obstacle()) {
            (Nodes::Auto, None) => Nodes::Real,
            (Nodes::Auto, Some(obstacle)) => {
                eprintln!(
                    "testbed: {obstacle}; using simulated nodes, whose pods succeed immediately and have no logs"
                );
                Nodes::Simulated
            }
            (Nodes::Real, Some(obstacle)) => anyhow::bail!("{obstacle}; simulated nodes run anywhere"),
            (nodes, _) => nodes,
        };
        let home = Home::new()?;
        let mut settings = options.control_plane.clone();
        settings.scheduler |= nodes != Nodes::None;
        let control = ControlPlane::start(&home.dir, &settings).await?;
        let client = control_plane::client(&control.kubeconfig).await?;
        let mut node = None;
        let mut kwok = None;
        match nodes {
            Nodes::Real => node = Some(RealNode::start(&home.dir.join("node"), &control, &client).await?),
            Nodes::Simulated => kwok = Some(kwok::start(&home.dir.join("kwok"), &control, &client, 4).await?),
            Nodes::None | Nodes::Auto => {}
        }
        wait_for_account(&client, "default").await?;
        crds::install(&client).await?;
        Ok(Self { kubeconfig: control.kubeconfig.clone(), control: Some(control), node, kwok, home: Some(home) })
    }

    /// Returns a new client. Each test needs its own, because a client is bound to the runtime that created it.
    pub async fn client(&self) -> Result<Client> {
        control_plane::client(&self.kubeconfig).await
    }

    /// Returns the version that the API server reports.
    pub async fn version(&self) -> Result<Version> {
        let info = self.client().await?.apiserver_version().await?;
        // Distributions append a `+` to the minor version.
        let minor = info.minor.trim_end_matches(|c: char| !c.is_ascii_digit());
        Ok(Version::new(minor.parse().with_context(|| format!("reading the version {}", info.git_version))?))
    }

    /// Returns the folder of the cluster with logs, certificates and kubeconfigs. Returns `None` for a given cluster.
    pub fn dir(&self) -> Option<&Path> {
        self.home.as_ref().map(|home| home.dir.as_path())
    }

    /// Returns whether pods run as processes: on a real node, or on a given cluster.
    pub fn runs_processes(&self) -> bool {
        self.node.is_some() || self.control.is_none()
    }

    /// Returns the process id of kwok, if it simulates the nodes.
    pub fn kwok_id(&self) -> Option<u32> {
        self.kwok.as_ref().map(Process::id)
    }

    /// Fails if a process of the cluster has ended.
    pub fn check(&mut self) -> Result<()> {
        if let Some(control) = &mut self.control {
            control.check()?;
        }
        self.kwok.as_mut().map_or(Ok(()), Process::check)
    }

    /// Creates a namespace whose name starts with `prefix`, waits until it accepts pods, and returns its name.
    pub async fn namespace(&self, prefix: &str) -> Result<String> {
        let client = self.client().await?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let wanted: Namespace = serde_json::from_value(serde_json::json!({
            "metadata": {"generateName": format!("{prefix}-"), "labels": {"jobwright.dev/test": "true"}},
        }))?;
        let made = namespaces.create(&PostParams::default(), &wanted).await?;
        let name = made.metadata.name.context("the namespace has no name")?;
        wait_for_account(&client, &name).await?;
        Ok(name)
    }

    /// Deletes a namespace, without waiting for the end of the deletion.
    pub async fn delete_namespace(&self, name: &str) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client().await?);
        namespaces.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kwok = None;
        self.node = None;
        self.control = None;
        if let Some(home) = &self.home {
            let _ = fs::remove_dir_all(&home.dir);
        }
    }
}

/// Returns options for a control plane that many tests share. The default limit of 20 requests per second of the
/// garbage collector would delay these tests.
pub fn unthrottled() -> control_plane::Options {
    let flags = ["--kube-api-qps=500", "--kube-api-burst=1000", "--concurrent-gc-syncs=20"].map(str::to_owned);
    control_plane::Options { controller_manager_flags: flags.to_vec(), ..control_plane::Options::default() }
}

/// Waits for the default service account of a namespace, because the API server refuses pods without it.
async fn wait_for_account(client: &Client, namespace: &str) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    for _ in 0..600 {
        if accounts.get_opt("default").await?.is_some() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!(
        "namespace {namespace} has no default service account after 30 s: check that kube-controller-manager is running"
    )
}
