//! A console with objects in every state, on a cluster with a real node.

mod recorder;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use testbed::process::Process;
use testbed::{Cluster, Kubectl, Nodes, Options, node};
use tokio::sync::OnceCell;

pub use self::recorder::Change;
use self::recorder::Recorder;
use crate::harness::{Browser, Cookie, Page};
use crate::scene::{Scene, until};

const STATES: &str = include_str!("states.yaml");
/// A second Job that needs the limit of the first one. It is created afterwards, so that it is the one that waits.
const LICENSED: &str = "
apiVersion: batch/v1
kind: Job
metadata: {name: licensed-2, labels: {uses: license}}
spec:
  managedBy: jobwright.dev/controller
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: 'busybox:1.36', command: ['true']}]
";

static CLUSTER: OnceCell<Option<Cluster>> = OnceCell::const_new();

/// Creates a namespace with a controller on a cluster with a real node. Prints the reason and returns `None` if this
/// machine cannot run a node.
pub async fn scene(prefix: &str) -> Result<Option<Scene>> {
    let cluster = CLUSTER
        .get_or_try_init(|| async {
            if let Some(obstacle) = node::obstacle() {
                testbed::skipped!("{obstacle}");
                return anyhow::Ok(None);
            }
            Ok(Some(Cluster::start(&Options { nodes: Nodes::Real, ..Options::default() }).await?))
        })
        .await?;
    let Some(cluster) = cluster else { return Ok(None) };
    let mut scene = Scene::on(cluster, prefix, &["--pod-failure-backoff=1s", "--log-tail=10"]).await?;
    scene.start_controller().await?;
    Ok(Some(scene))
}

/// Creates objects in every state, and waits until they are in it.
pub async fn states(scene: &Scene) -> Result<()> {
    let kubectl = kubectl(scene)?;
    kubectl.apply(STATES).await?;
    reached(&kubectl, &["licensed-1=Running"]).await?;
    kubectl.apply(LICENSED).await?;
    for run in ["backup-1", "backup-2"] {
        kubectl.run(&["create", "job", run, "--from=cronjob/backup"]).await?;
    }
    let wanted = [
        "nightly-report=Complete",
        "hostile=Complete",
        "backup-2=Complete",
        "shards=Failed",
        "migrate=Failed",
        "slow=Failed",
        "paused=Suspended",
        "import=Running",
        "render=Running",
    ];
    reached(&kubectl, &wanted).await?;
    until("the failed indexes", || async {
        let failed = kubectl.run(&["get", "job", "render", "-o", "jsonpath={.status.failedIndexes}"]).await?;
        Ok(if failed == "5,16" { Ok(()) } else { Err(failed) })
    })
    .await?;
    until("the pod without an image", || async {
        let reason = "jsonpath={.items[*].status.containerStatuses[*].state.waiting.reason}";
        let reason = kubectl.run(&["get", "pods", "-l", "job-name=image-typo", "-o", reason]).await?;
        Ok(if reason.contains("ImagePull") { Ok(()) } else { Err(reason) })
    })
    .await
}

/// Runs kubectl in the namespace of the scene.
pub fn kubectl(scene: &Scene) -> Result<Kubectl> {
    Kubectl::new(scene.cluster, scene.namespace.clone())
}

/// Waits until each `NAME=STATUS` is in the table of kubectl.
async fn reached(kubectl: &Kubectl, wanted: &[&str]) -> Result<()> {
    until("the states of the Jobs", || async {
        let table = kubectl.run(&["get", "jobs", "--no-headers"]).await?;
        let has =
            |name: &str, status: &str| table.lines().any(|line| line.split_whitespace().take(2).eq([name, status]));
        let all = wanted.iter().all(|one| one.split_once('=').is_some_and(|(name, status)| has(name, status)));
        Ok(if all { Ok(()) } else { Err(table) })
    })
    .await
}

/// A running `jobwright ui`, in which a browser has signed in.
pub struct Console {
    process: Process,
    recorder: Recorder,
    address: String,
    cookie: Cookie,
    _dir: tempfile::TempDir,
}

impl Console {
    /// Starts a console of the namespace of the scene, and signs in.
    pub async fn start(browser: &Browser, scene: &Scene, flags: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let recorder = Recorder::start(scene.client.clone()).await?;
        let kubeconfig = recorder.kubeconfig(dir.path())?;
        let mut args = vec![format!("--namespace={}", scene.namespace)];
        args.extend(flags.iter().map(|&flag| flag.to_owned()));
        let program = Path::new(env!("CARGO_BIN_EXE_jobwright"));
        let (process, login) = testbed::console::start(program, dir.path(), &kubeconfig, &args).await?;
        let (address, _) = login.split_once("/login").context("no address of the sign-in")?;
        let cookie = browser
            .page(crate::harness::Options::default(), async |page| {
                page.goto(&login).await?;
                page.wait_until("location.pathname === '/'").await?;
                page.wait_for("h1").await?;
                let cookies = page.cookies().await?;
                match &cookies[..] {
                    [cookie] if cookie.is_protected => Ok(cookie.clone()),
                    other => bail!("cookies: {other:?}"),
                }
            })
            .await?;
        Ok(Self { address: address.to_owned(), process, recorder, cookie, _dir: dir })
    }

    /// Opens a page of the console with the session.
    pub async fn open(&self, page: &Page, path: &str) -> Result<()> {
        page.set_cookie(&self.cookie, &self.address).await?;
        page.goto(&self.url(path)).await
    }

    /// Returns the URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// Returns the requests that changed something since the last call.
    pub fn changes(&self) -> Vec<Change> {
        self.recorder.take()
    }

    /// Returns the end of the log.
    pub fn log(&self) -> String {
        self.process.log_tail(30)
    }

    /// Ends the process.
    pub fn stop(&mut self) -> Result<()> {
        let status = tokio::task::block_in_place(|| self.process.stop(Duration::from_secs(5)))?;
        if !status.success() {
            bail!("the console ended with {status}: {}", self.log());
        }
        Ok(())
    }
}
