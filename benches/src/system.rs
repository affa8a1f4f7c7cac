//! The compared controllers, each in its own process, on a control plane without other Job controllers.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use testbed::control_plane::ControlPlane;
use testbed::process::Process;
use testbed::{assets, image};

/// Controller that does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    /// Jobwright, as the chart installs it with claim=all.
    Jobwright,
    /// kube-controller-manager with only the Job, CronJob and TTL controllers, and with its limits lifted.
    Builtin,
    /// The same with its default limits.
    BuiltinAsShipped,
}

/// Path of the Jobwright binary, built as for a release.
static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// Builds the Jobwright binary if it is not up to date.
pub fn build() -> Result<()> {
    let binary = image::binary(image::RELEASE)?;
    // The benchmark builds once, before the first measurement, so the cell is still empty.
    let _ = BINARY.set(binary);
    Ok(())
}

impl System {
    /// Returns the name of the system in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jobwright => "jobwright",
            Self::Builtin => "builtin",
            Self::BuiltinAsShipped => "builtin_as_shipped",
        }
    }

    /// Starts the system. It may not be ready when this function returns.
    pub fn start(self, control: &ControlPlane, dir: &Path) -> Result<Process> {
        if self == Self::Jobwright {
            let args =
                ["run".to_owned(), format!("--kubeconfig={}", control.kubeconfig.display()), "--claim=all".to_owned()];
            return Process::start("jobwright", dir, BINARY.get().context("the binary has not been built")?, &args);
        }
        let mut args = vec![
            "--controllers=job-controller,cronjob-controller,ttl-after-finished-controller".to_owned(),
            format!("--kubeconfig={}", control.kubeconfig.display()),
            format!("--cert-dir={}", dir.join("certs").display()),
            "--secure-port=0".to_owned(),
            // Leader election is on, as in a cluster and as in Jobwright.
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

/// Stops a system and deletes its Lease. The built-in controllers do not release their Lease, so the next process would
/// have to wait.
pub async fn stop(mut process: Process, kubectl: &testbed::Kubectl) -> Result<()> {
    process.stop(Duration::from_secs(20))?;
    let gone = ["--namespace=kube-system", "delete", "lease", "bench", "jobwright", "--ignore-not-found"];
    kubectl.run(&gone).await?;
    Ok(())
}

/// Waits until `done` returns true. Fails if the process exits or the timeout expires before.
pub async fn wait(
    process: &mut Process,
    what: &str,
    timeout: Duration,
    done: impl AsyncFn() -> Result<bool>,
) -> Result<()> {
    let begun = Instant::now();
    while !done().await? {
        process.check()?;
        if begun.elapsed() > timeout {
            bail!("{what} took more than {} s; end of the log:\n{}", timeout.as_secs(), process.log_tail(10));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
