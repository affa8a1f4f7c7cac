//! A cluster for tests: our own control plane on loopback, or the one a given `KUBECONFIG` names.
//!
//! Two ways in: [`Cluster::shared`], one a process, for tests that keep to a namespace of their own; and
//! [`Cluster::start`], for tests that need nodes, other flags, or to harm the control plane.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use tokio::sync::OnceCell;

use crate::assets;
use crate::control_plane::{self, ControlPlane};
use crate::crds;
use crate::kwok;
use crate::node::{self, RealNode};
use crate::process::Process;

/// Which nodes a cluster gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Nodes {
    /// None: pods wait, and tests play the kubelet.
    #[default]
    None,
    /// One real node.
    Real,
    /// Simulated nodes.
    Simulated,
    /// A real node where one can run, else simulated ones.
    Auto,
}

/// What a cluster is started with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The control plane's settings.
    pub control_plane: control_plane::Options,
    /// Its nodes.
    pub nodes: Nodes,
}

/// A running cluster. Dropped, it is gone.
pub struct Cluster {
    /// A kubeconfig of an administrator.
    pub kubeconfig: PathBuf,
    /// Our own control plane; none where `KUBECONFIG` names somebody's cluster.
    pub control: Option<ControlPlane>,
    /// The real node, if it has one.
    pub node: Option<RealNode>,
    kwok: Option<Process>,
    home: Option<Home>,
}

/// The folder of a testbed, locked while it lives, so that the next one can clear away what a killed one left.
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
    /// The cluster all tests of a process share: the one `KUBECONFIG` names if it is set, else a control plane
    /// without nodes, started at first use.
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

    /// A cluster somebody else runs.
    pub fn given(kubeconfig: PathBuf) -> Self {
        Self { kubeconfig, control: None, node: None, kwok: None, home: None }
    }

    /// Starts a cluster of our own and waits until it takes pods.
    pub async fn start(options: &Options) -> Result<Self> {
        assets::ensure(assets::CONTROL_PLANE)?;
        let mut tries = 0;
        loop {
            tries += 1;
            // Ports are picked, let go and taken again; another process may be quicker.
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
                eprintln!("testbed: {obstacle}; using simulated nodes, whose pods succeed at once and have no logs");
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

    /// A new client; each test takes its own, since a client lives in the runtime that made it.
    pub async fn client(&self) -> Result<Client> {
        control_plane::client(&self.kubeconfig).await
    }

    /// The cluster's folder: logs, certificates, kubeconfigs. None for a given cluster.
    pub fn dir(&self) -> Option<&Path> {
        self.home.as_ref().map(|home| home.dir.as_path())
    }

    /// Fails if a process of the cluster has ended.
    pub fn check(&mut self) -> Result<()> {
        if let Some(control) = &mut self.control {
            control.check()?;
        }
        self.kwok.as_mut().map_or(Ok(()), Process::check)
    }

    /// A fresh namespace, ready for pods, with a name that starts with `prefix`.
    pub async fn namespace(&self, prefix: &str) -> Result<String> {
        let client = self.client().await?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let wanted: Namespace = serde_json::from_value(serde_json::json!({
            "metadata": {"generateName": format!("{prefix}-"), "labels": {"jobwright.dev/test": "true"}},
        }))?;
        let made = namespaces.create(&PostParams::default(), &wanted).await?;
        let name = made.metadata.name.context("a namespace without a name")?;
        wait_for_account(&client, &name).await?;
        Ok(name)
    }

    /// Deletes a namespace; does not wait until it is gone.
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

/// For a control plane that many tests share: the garbage collector's usual 20 requests a second would make them wait for
/// each other.
pub fn unthrottled() -> control_plane::Options {
    let flags = ["--kube-api-qps=500", "--kube-api-burst=1000", "--concurrent-gc-syncs=20"].map(str::to_owned);
    control_plane::Options { controller_manager_flags: flags.to_vec(), ..control_plane::Options::default() }
}

/// Pods are refused until the namespace has its default service account.
async fn wait_for_account(client: &Client, namespace: &str) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    for _ in 0..600 {
        if accounts.get_opt("default").await?.is_some() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("namespace {namespace} got no default service account in 30 s: is kube-controller-manager running?")
}
