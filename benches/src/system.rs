//! The controllers that are compared, each in a process of its own on a control plane without them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use testbed::control_plane::ControlPlane;
use testbed::process::Process;
use testbed::{assets, image};

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    /// Jobwright, as the chart installs it with claim=all.
    Jobwright,
    /// kube-controller-manager with nothing but the three controllers, its limits lifted.
    Builtin,
    /// The same with its limits as they come.
    BuiltinAsShipped,
}

/// Jobwright as it is released.
static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// Builds what is to be measured, where it is not up to date.
pub fn build() -> Result<()> {
    let binary = image::binary(image::RELEASE)?;
    // Set once: the bench builds before it begins.
    let _ = BINARY.set(binary);
    Ok(())
}

impl System {
    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jobwright => "jobwright",
            Self::Builtin => "builtin",
            Self::BuiltinAsShipped => "builtin_as_shipped",
        }
    }

    /// Starts it; it may not work yet.
    pub fn start(self, control: &ControlPlane, dir: &Path) -> Result<Process> {
        if self == Self::Jobwright {
            let args =
                ["run".to_owned(), format!("--kubeconfig={}", control.kubeconfig.display()), "--claim=all".to_owned()];
            return Process::start("jobwright", dir, BINARY.get().context("it is built first")?, &args);
        }
        let mut args = vec![
            "--controllers=job-controller,cronjob-controller,ttl-after-finished-controller".to_owned(),
            format!("--kubeconfig={}", control.kubeconfig.display()),
            format!("--cert-dir={}", dir.join("certs").display()),
            "--secure-port=0".to_owned(),
            // As in a cluster, and as Jobwright does.
            "--leader-elect=true".to_owned(),
            "--leader-elect-resource-name=bench".to_owned(),
        ];
        if self == Self::Builtin {
            let lifted = [
                "kube-api-qps=10000",
                "kube-api-burst=10000",
                "concurrent-job-syncs=50",
                "concurrent-cron-job-syncs=50",
            ];
            args.extend(lifted.map(|flag| format!("--{flag}")));
        }
        Process::start("controllers", dir, &assets::KUBE_CONTROLLER_MANAGER.path()?, &args)
    }
}

/// Stops it so that its Lease is free: the built-in one does not let it go, so the next one would wait.
pub async fn stop(mut process: Process, kubectl: &testbed::Kubectl) -> Result<()> {
    process.stop(Duration::from_secs(20))?;
    let gone = ["--namespace=kube-system", "delete", "lease", "bench", "jobwright", "--ignore-not-found"];
    kubectl.run(&gone).await?;
    Ok(())
}

/// Waits until `done`, and fails when the process ends before or it takes too long.
pub async fn wait(
    process: &mut Process,
    what: &str,
    patience: Duration,
    done: impl AsyncFn() -> Result<bool>,
) -> Result<()> {
    let begun = Instant::now();
    while !done().await? {
        process.check()?;
        if begun.elapsed() > patience {
            bail!("{what} took more than {} s; the log ends:\n{}", patience.as_secs(), process.log_tail(10));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
