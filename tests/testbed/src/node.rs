//! A real node: kubelet, containerd and runc, whose pods are real processes.
//!
//! The entry point is [`RealNode::start`]. All processes of the node run in a PID namespace of their own, so that the
//! kernel ends kubelet, containerd, its shims and all pods together when the testbed ends, even after a crash.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};

use crate::assets;
use crate::control_plane::{self, ControlPlane, free_ports};
use crate::images;
use crate::packages;
use crate::process::Process;
use crate::service::ServiceAddress;

/// Name of the node. The API server connects to the kubelet by this name, so it must resolve to loopback on any
/// machine.
pub const NODE_NAME: &str = "localhost";

/// Debian packages of a real node, and for each package the files of which one must exist.
const PACKAGES: &[(&str, &[&str])] = &[
    ("runc", &["/usr/sbin/runc", "/usr/bin/runc", "/usr/local/sbin/runc", "/usr/local/bin/runc"]),
    ("containernetworking-plugins", &["/usr/lib/cni/bridge", "/opt/cni/bin/bridge"]),
    ("busybox-static", &["/bin/busybox", "/usr/bin/busybox"]),
    ("iptables", &["/usr/sbin/iptables", "/sbin/iptables"]),
    ("conntrack", &["/usr/sbin/conntrack"]),
];

/// A running node. Dropping the value stops the node and deletes its bridge and cgroups.
pub struct RealNode {
    process: Process,
    cgroups: Vec<PathBuf>,
    bridge: String,
    dir: PathBuf,
    _service: ServiceAddress,
}

/// Returns the reason why a real node cannot run on this machine, or `None` if one can. Installs no packages.
pub fn obstacle() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("a real node needs Linux".to_owned());
    }
    if !rustix::process::geteuid().is_root() {
        return Some("a real node needs root (for runc, cgroups and networks)".to_owned());
    }
    let missing = missing_packages();
    if missing.is_empty() {
        return None;
    }
    packages::obstacle().map(|reason| format!("a real node needs {}, and {reason}", missing.join(", ")))
}

fn missing_packages() -> Vec<&'static str> {
    let missing = |files: &[&str]| !files.iter().any(|file| Path::new(file).exists());
    PACKAGES.iter().filter(|(_, files)| missing(files)).map(|(name, _)| *name).collect()
}

impl RealNode {
    /// Starts the node with its files below `dir`, and waits until the node is registered and Ready.
    pub async fn start(dir: &Path, control: &ControlPlane, client: &Client) -> Result<Self> {
        packages::install(missing_packages)?;
        assets::ensure(assets::REAL_NODE)?;
        fs::create_dir_all(dir)?;
        let id = format!("jw{}", std::process::id());
        let cgroups = make_cgroups(&id)?;
        let bridge = format!("{id}br");
        write_containerd_config(dir)?;
        write_cni_config(dir, &bridge)?;
        write_kubelet_config(dir, control, &id)?;

        let script = dir.join("node.sh");
        fs::write(
            &script,
            format!(
                "{containerd} --config {dir}/containerd.toml >containerd.log 2>&1 &\n\
                 while [ ! -S {dir}/containerd.sock ]; do sleep 0.05; done\n\
                 # A kubelet that starts before containerd is ready exits, so the loop restarts it like an init system.\n\
                 while :; do {kubelet} --config={dir}/kubelet.yaml --kubeconfig={dir}/kubelet.kubeconfig \
                 --root-dir={dir}/kubelet --hostname-override={NODE_NAME} \
                 --node-labels=kubernetes.io/hostname={NODE_NAME} >>kubelet.log 2>&1; sleep 0.2; done &\n\
                 wait\n",
                containerd = assets::CONTAINERD.path()?.display(),
                kubelet = assets::KUBELET.path()?.display(),
                dir = dir.display(),
            ),
        )?;
        let shim_dir = assets::CONTAINERD_SHIM.path()?.parent().map(Path::to_owned).unwrap_or_default();
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", shim_dir.display());
        let flags =
            ["--pid", "--mount", "--propagation", "private", "--fork", "--kill-child", "--mount-proc", "/bin/sh"];
        let mut args: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        args.push(script.display().to_string());
        let process = Process::start_with("node", dir, Path::new("/usr/bin/unshare"), &args, &[("PATH", path)])?;
        let service = ServiceAddress::forward(control_plane::service_address(), &control.server)?;
        let mut node = Self { process, cgroups, bridge, dir: dir.to_owned(), _service: service };
        let (pause, busybox) = (dir.join("pause.tar"), dir.join("busybox.tar"));
        images::pause(&assets::PAUSE.path()?, &pause)?;
        images::busybox(&busybox)?;
        node.import(&pause).await?;
        node.import(&busybox).await?;
        node.wait_ready(dir, client).await?;
        Ok(node)
    }

    /// Imports the images of a tarball into containerd. Retries for 30 s until containerd responds.
    pub async fn import(&mut self, tarball: &Path) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            self.process.check()?;
            let output = tokio::process::Command::new(assets::CTR.path()?)
                .arg("--address")
                .arg(self.dir.join("containerd.sock"))
                .args(["--namespace", "k8s.io", "images", "import"])
                .arg(tarball)
                .output()
                .await?;
            if output.status.success() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("containerd did not import an image: {}", String::from_utf8_lossy(&output.stderr));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn wait_ready(&mut self, dir: &Path, client: &Client) -> Result<()> {
        let nodes: Api<Node> = Api::all(client.clone());
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            self.process.check()?;
            let node = nodes.get_opt(NODE_NAME).await?;
            let ready =
                node.and_then(|node| node.status).and_then(|status| status.conditions).is_some_and(|conditions| {
                    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
                });
            if ready {
                return Ok(());
            }
            if Instant::now() > deadline {
                let log = fs::read_to_string(dir.join("kubelet.log")).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(15).collect();
                bail!(
                    "the node was not ready after 90 s; end of the kubelet's log:\n{}",
                    tail.into_iter().rev().collect::<Vec<_>>().join("\n")
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for RealNode {
    fn drop(&mut self) {
        self.process.kill();
        let _ = Command::new("ip").args(["link", "delete", &self.bridge]).output();
        for cgroup in &self.cgroups {
            remove_cgroup(cgroup);
        }
    }
}

/// Creates a cgroup in each hierarchy. Two kubelets with the same root cgroup would end each other's pods.
fn make_cgroups(name: &str) -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let mut made = Vec::new();
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        if let (Some(target), Some("cgroup" | "cgroup2")) = (fields.next(), fields.next()) {
            let dir = Path::new(target).join(name);
            fs::create_dir_all(&dir).with_context(|| format!("making the cgroup {}", dir.display()))?;
            made.push(dir);
        }
    }
    Ok(made)
}

fn remove_cgroup(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(dir);
}

fn write_containerd_config(dir: &Path) -> Result<()> {
    let runc = PACKAGES[0].1.iter().find(|file| Path::new(file).exists()).context("runc is missing")?;
    let cni = if Path::new("/usr/lib/cni/bridge").exists() { "/usr/lib/cni" } else { "/opt/cni/bin" };
    let dir = dir.display();
    let text = format!(
        r#"version = 3
root = "{dir}/containerd/root"
state = "{dir}/containerd/state"
[grpc]
  address = "{dir}/containerd.sock"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{pause}"
[plugins.'io.containerd.cri.v1.runtime']
  # Lowering oom_score_adj is refused in many containers and virtual machines.
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = "runc"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = "{runc}"
        SystemdCgroup = false
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["{cni}"]
    conf_dir = "{dir}/cni"
"#,
        pause = images::PAUSE_IMAGE,
    );
    Ok(fs::write(format!("{dir}/containerd.toml"), text)?)
}

fn write_cni_config(dir: &Path, bridge: &str) -> Result<()> {
    let conf = dir.join("cni");
    fs::create_dir_all(&conf)?;
    // Bridges of several testbeds exist concurrently, so each derives its subnet from its process id.
    let subnet = std::process::id() % 200 + 20;
    let text = serde_json::json!({
        "cniVersion": "1.0.0",
        "name": "testbed",
        "plugins": [
            {
                "type": "bridge", "bridge": bridge, "isGateway": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": dir.join("cni-data"),
                    "ranges": [[{"subnet": format!("10.{subnet}.0.0/16")}]],
                    // The network of the Service `kubernetes`, through which pods reach the API server.
                    "routes": [{"dst": "10.96.0.0/16"}],
                },
            },
            {"type": "loopback"},
        ],
    });
    Ok(fs::write(conf.join("10-testbed.conflist"), serde_json::to_vec_pretty(&text)?)?)
}

fn write_kubelet_config(dir: &Path, control: &ControlPlane, cgroup: &str) -> Result<()> {
    let [port] = free_ports()?;
    let shown = dir.display();
    let text = format!(
        r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
port: {port}
healthzPort: 0
failCgroupV1: false
failSwapOn: false
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
enforceNodeAllocatable: []
containerRuntimeEndpoint: unix://{shown}/containerd.sock
resolvConf: ""
# No DNS server listens at this address. Without an address, every pod gets a warning.
clusterDNS: [10.96.255.10]
clusterDomain: cluster.local
syncFrequency: 1s
fileCheckFrequency: 0s
nodeStatusUpdateFrequency: 10s
podLogsDir: {shown}/pod-logs
evictionHard:
  memory.available: 50Mi
  nodefs.available: 1%
  nodefs.inodesFree: 1%
  imagefs.available: 1%
imageGCHighThresholdPercent: 100
authentication:
  anonymous:
    enabled: false
  webhook:
    enabled: true
  x509:
    clientCAFile: {ca}
authorization:
  mode: Webhook
"#,
        ca = control.authority.certificate().display(),
    );
    fs::write(dir.join("kubelet.yaml"), text)?;
    let user = format!("system:node:{NODE_NAME}");
    control.authority.kubeconfig(&dir.join("kubelet.kubeconfig"), &control.server, &user, &["system:nodes"])
}
