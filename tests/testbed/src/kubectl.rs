//! kubectl in one namespace: the kubectl of the testbed, or on a given cluster that of the user.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;

use crate::{Cluster, assets};

/// Runs kubectl in one namespace.
pub struct Kubectl {
    program: PathBuf,
    /// Kubeconfig of the cluster.
    pub kubeconfig: PathBuf,
    /// Namespace of the commands. If empty, kubectl uses the namespace of the kubeconfig.
    pub namespace: String,
}

impl Kubectl {
    /// Returns kubectl for this namespace of this cluster. Builds kubectl first if it is missing.
    pub fn new(cluster: &Cluster, namespace: String) -> Result<Self> {
        // The user of a given cluster has a kubectl that fits its version, so no build is needed.
        let given = cluster.control.is_none().then(on_path).flatten();
        let program = match given {
            Some(program) => program,
            None => {
                assets::ensure(&[assets::KUBECTL])?;
                assets::KUBECTL.path()?
            }
        };
        Ok(Self { program, kubeconfig: cluster.kubeconfig.clone(), namespace })
    }

    /// Runs kubectl and returns its stdout. The error of a failure contains its stderr.
    pub async fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<String> {
        self.run_with(args, "").await
    }

    /// Applies these manifests, and returns the stdout of kubectl.
    pub async fn apply(&self, manifests: &str) -> Result<String> {
        self.run_with(&["apply", "-f", "-"], manifests).await
    }

    async fn run_with<S: AsRef<OsStr>>(&self, args: &[S], input: &str) -> Result<String> {
        let namespace = if self.namespace.is_empty() { &[][..] } else { &["--namespace", &self.namespace] };
        let starting = || format!("starting {}", self.program.display());
        let mut child = tokio::process::Command::new(&self.program)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(namespace)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(starting)?;
        let mut stdin = child.stdin.take().with_context(starting)?;
        // kubectl can exit before it has read its stdin, which is no error.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await.with_context(starting)?;
        if !output.status.success() {
            let shown: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
            bail!("kubectl {}: {}", shown.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

fn on_path() -> Option<PathBuf> {
    let dirs = std::env::var_os("PATH")?;
    std::env::split_paths(&dirs).map(|dir: PathBuf| dir.join("kubectl")).find(|path: &PathBuf| Path::is_file(path))
}
