//! The programs that a testbed runs: found in `KUBEBUILDER_ASSETS`, or built once from the Go modules in `go/`.
//!
//! The entry point is [`ensure`]. A built program is in a cache folder that is named after the hash of its module. It
//! is rebuilt only when that module changes, and `cargo clean` does not delete it. The programs of Kubernetes exist
//! once for each [`Version`].

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::version::{Version, module_dir};

/// Module of the programs of Kubernetes. The folder below `go/` depends on the version.
const KUBERNETES: &str = "kubernetes";

/// Build tag without which promtool contains the clients of all service discoveries. No other program knows it.
const TAGS: &str = "remove_all_sd";

/// A program that the testbed runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// File name of the binary.
    pub name: &'static str,
    /// Module that builds it: a folder below `go/`, or [`KUBERNETES`].
    module: &'static str,
    /// Go package of the program.
    package: &'static str,
}

const fn program(name: &'static str, module: &'static str, package: &'static str) -> Program {
    Program { name, module, package }
}

/// etcd, the store of the control plane.
pub const ETCD: Program = program("etcd", "etcd", "go.etcd.io/etcd/server/v3");
/// kube-apiserver, the API server.
pub const KUBE_APISERVER: Program = program("kube-apiserver", KUBERNETES, "k8s.io/kubernetes/cmd/kube-apiserver");
/// kube-controller-manager, which runs the built-in controllers.
pub const KUBE_CONTROLLER_MANAGER: Program =
    program("kube-controller-manager", KUBERNETES, "k8s.io/kubernetes/cmd/kube-controller-manager");
/// kube-scheduler, which assigns pods to nodes.
pub const KUBE_SCHEDULER: Program = program("kube-scheduler", KUBERNETES, "k8s.io/kubernetes/cmd/kube-scheduler");
/// kubectl, the command line of Kubernetes.
pub const KUBECTL: Program = program("kubectl", KUBERNETES, "k8s.io/kubernetes/cmd/kubectl");
/// kubelet, the agent of a real node.
pub const KUBELET: Program = program("kubelet", KUBERNETES, "k8s.io/kubernetes/cmd/kubelet");
/// kwok, which simulates nodes.
pub const KWOK: Program = program("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok");
/// containerd, the container runtime of a real node.
pub const CONTAINERD: Program =
    program("containerd", "containerd", "github.com/containerd/containerd/v2/cmd/containerd");
/// helm, which renders and installs charts.
pub const HELM: Program = program("helm", "helm", "helm.sh/helm/v4/cmd/helm");
/// promtool, which tests the alert rules.
pub const PROMTOOL: Program = program("promtool", "prometheus", "github.com/prometheus/prometheus/cmd/promtool");
/// The shim process between containerd and runc.
pub const CONTAINERD_SHIM: Program =
    program("containerd-shim-runc-v2", "containerd", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2");
/// ctr, the command line of containerd, which imports images.
pub const CTR: Program = program("ctr", "containerd", "github.com/containerd/containerd/v2/cmd/ctr");
/// pause, the program of a pod's sandbox container.
pub const PAUSE: Program = program("pause", "pause", "jobwright.dev/testbed/pause");
/// The controller of JobSet, which `make peers` runs on top of Jobs.
pub const JOBSET: Program = program("jobset", "jobset", "sigs.k8s.io/jobset");
/// The controller of Kueue, which `make peers` runs on top of Jobs.
pub const KUEUE: Program = program("kueue", "kueue", "sigs.k8s.io/kueue/cmd/kueue");
/// A program that uses client-go as users do, for `make peers`.
pub const CLIENT_GO: Program = program("client", "client", "jobwright.dev/peers/client");

/// Programs of a control plane, including kubectl.
pub const CONTROL_PLANE: &[Program] = &[ETCD, KUBE_APISERVER, KUBE_CONTROLLER_MANAGER, KUBE_SCHEDULER, KUBECTL];
/// Programs of a real node that no Debian package provides.
pub const REAL_NODE: &[Program] = &[KUBELET, CONTAINERD, CONTAINERD_SHIM, CTR, PAUSE];

/// Returns the folder of built programs: `JOBWRIGHT_CACHE`, or else `jobwright` in the user's cache folder.
pub fn cache_dir() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("JOBWRIGHT_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("jobwright")))
        .or_else(|| set("HOME").map(|dir| dir.join(".cache/jobwright")))
        .context("no cache folder for built programs: set JOBWRIGHT_CACHE or HOME")
}

/// Builds those of these programs that are missing, in the selected Kubernetes version. The first build takes minutes,
/// and prints its progress.
pub fn ensure(programs: &[Program]) -> Result<()> {
    ensure_of(Version::selected()?, programs)
}

/// Builds those of these programs that are missing, in this Kubernetes version.
pub fn ensure_of(version: Version, programs: &[Program]) -> Result<()> {
    let mut modules: Vec<String> = programs.iter().map(|program| program.module_of(version)).collect();
    modules.dedup();
    for module in modules {
        let missing = |program: &&Program| program.module_of(version) == module && !program.is_there(version);
        if programs.iter().any(|program| missing(&program)) {
            let cache = cache_dir()?;
            fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
            // Several test processes can arrive here concurrently. One of them builds, and the others wait for the
            // lock.
            let lock = File::create(cache.join(format!("{module}.lock")))?;
            lock.lock().context("waiting for another build")?;
            let missing: Vec<&Program> = programs.iter().filter(missing).collect();
            if !missing.is_empty() {
                build(&module, &missing, version)?;
            }
        }
    }
    Ok(())
}

impl Program {
    /// Returns the path of the program in the selected Kubernetes version. It exists after [`ensure`].
    pub fn path(&self) -> Result<PathBuf> {
        self.path_of(Version::selected()?)
    }

    /// Returns the path of the program in this Kubernetes version. It exists after [`ensure_of`].
    pub fn path_of(&self, version: Version) -> Result<PathBuf> {
        // `KUBEBUILDER_ASSETS` holds one Kubernetes version, which is unknown here.
        let any_version = !Version::is_chosen() && version == Version::selected()?;
        if let Some(assets) =
            std::env::var_os("KUBEBUILDER_ASSETS").filter(|_| self.module != KUBERNETES || any_version)
        {
            let given = Path::new(&assets).join(self.name);
            if given.is_file() {
                return Ok(given);
            }
        }
        Ok(module_cache(&self.module_of(version))?.join(self.name))
    }

    fn is_there(&self, version: Version) -> bool {
        self.path_of(version).is_ok_and(|path| path.is_file())
    }

    /// Returns the folder below `go/` of the module that builds the program.
    fn module_of(&self, version: Version) -> String {
        if self.module == KUBERNETES { version.module() } else { self.module.to_owned() }
    }
}

/// Returns the folder with the downloaded sources of a Go module that the module `module` of the tests requires.
pub fn sources(module: &str, path: &str) -> Result<PathBuf> {
    let output = Command::new("go")
        .current_dir(module_dir(module))
        .args(["list", "-m", "-f", "{{.Dir}}", path])
        .output()
        .with_context(|| format!("finding the module {path} with go list"))?;
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// Returns the cache folder of a module, named after the module and the hash of the files that define its build.
fn module_cache(module: &str) -> Result<PathBuf> {
    let mut hash = Sha256::new();
    for file in ["go.mod", "go.sum", "main.go"] {
        let path = module_dir(module).join(file);
        if path.exists() {
            hash.update(fs::read(&path).with_context(|| format!("reading {}", path.display()))?);
        }
    }
    let digest = hash.finalize();
    let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Ok(cache_dir()?.join(format!("{module}-{short}")))
}

/// Builds the programs of one module into its cache folder.
fn build(module: &str, programs: &[&Program], version: Version) -> Result<()> {
    let ldflags = ldflags(module, version)?;
    let target = module_cache(module)?;
    fs::create_dir_all(&target)?;
    let names: Vec<&str> = programs.iter().map(|program| program.name).collect();
    eprintln!("testbed: building {} in {module} (once; the Kubernetes components take minutes)", names.join(", "));
    let started = Instant::now();
    for program in programs {
        // Each program is built under another name and then renamed, so that an interrupted build leaves no partial
        // file.
        let unfinished = target.join(format!("{}.unfinished", program.name));
        let mut child = Command::new("go")
            .current_dir(module_dir(module))
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            .args(["build", "-buildvcs=false", "-tags", TAGS, "-ldflags", &ldflags, "-o"])
            .args([unfinished.as_os_str(), program.package.as_ref()])
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start `go`, which builds the programs of the testbed: install Go 1.26 or newer, or set KUBEBUILDER_ASSETS")?;
        let mut reported = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if reported.elapsed() > Duration::from_secs(10) {
                eprintln!("testbed: still building {}, {} s so far", program.name, started.elapsed().as_secs());
                reported = Instant::now();
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        if !status.success() {
            bail!("go build of {} in {} ended with {status}", program.package, module_dir(module).display());
        }
        fs::rename(&unfinished, target.join(program.name))?;
    }
    eprintln!("testbed: built {} in {} s", names.join(", "), started.elapsed().as_secs());
    Ok(())
}

/// Returns linker flags that strip symbols and set the version that the Kubernetes programs report.
fn ldflags(module: &str, version: Version) -> Result<String> {
    if module != version.module() {
        return Ok("-s -w".to_owned());
    }
    let (release, minor) = (version.release()?, version.minor());
    let base = "k8s.io/component-base/version";
    Ok(format!(
        "-s -w -X {base}.gitVersion={release} -X {base}.gitMajor=1 -X {base}.gitMinor={minor} \
         -X k8s.io/client-go/pkg/version.gitVersion={release}"
    ))
}

/// Returns the stages of kwok, which define what simulated nodes and pods do and when, from kwok's Go module.
pub fn kwok_stages() -> Result<String> {
    let dir = sources("kwok", "sigs.k8s.io/kwok")?;
    let files = [
        "node/fast/node-initialize.yaml",
        "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
        "pod/fast/pod-ready.yaml",
        "pod/fast/pod-complete.yaml",
        "pod/fast/pod-delete.yaml",
    ];
    let mut stages = String::new();
    for file in files {
        let path = dir.join("kustomize/stage").join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("reading kwok's stage {}", path.display()))?;
        stages.push_str(&text);
        stages.push_str("\n---\n");
    }
    Ok(stages)
}
