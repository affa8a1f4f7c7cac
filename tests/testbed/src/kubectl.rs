//! kubectl in one namespace: the testbed's own, or on a given cluster the user's.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;

use crate::{Cluster, assets};

/// Runs kubectl in one namespace.
pub struct Kubectl {
    program: PathBuf,
    /// The cluster's kubeconfig.
    pub kubeconfig: PathBuf,
    /// The namespace; the kubeconfig's if empty.
    pub namespace: String,
}

impl Kubectl {
    /// For this namespace of this cluster.
    pub fn new(cluster: &Cluster, namespace: String) -> Result<Self> {
        // Whoever brings a cluster has a kubectl that fits it, and need not wait until one is built.
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

    /// Runs it and returns what it prints; what it complains of is the error.
    pub async fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<String> {
        self.run_with(args, "").await
    }

    /// Applies these manifests.
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
        // It may not want its input, and end before it has read it.
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
