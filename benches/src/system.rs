//! The compared controllers, each in its own process, on a control plane without other Job controllers.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kube::{Client, Config};
use rustix::process::Signal;
use testbed::control_plane::{ControlPlane, free_ports};
use testbed::process::Process;
use testbed::{assets, image};

/// Controller that does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    /// No controller: the benchmark itself sends the writes that the work needs. See [`crate::floor`].
    Floor,
    /// Jobwright, as the chart installs it with claim=all.
    Jobwright,
    /// kube-controller-manager with only the Job, CronJob and TTL controllers, and with its limits lifted.
    Builtin,
    /// The same with its default limits.
    BuiltinAsShipped,
}

/// Path of the Jobwright binary.
static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// Selects the Jobwright binary: `given`, or else one that is built as for a release.
pub fn select_binary(given: Option<&Path>) -> Result<()> {
    let binary = match given {
        Some(path) => path.canonicalize().with_context(|| format!("--binary {}", path.display()))?,
        None => image::binary(image::RELEASE)?,
    };
    // The benchmark selects the binary once, before the first measurement, so the cell is still empty.
    let _ = BINARY.set(binary);
    Ok(())
}

/// A running controller.
pub struct Controller {
    process: Process,
    /// Client for its metrics.
    pub metrics: Client,
}

impl Controller {
    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Fails if the process has ended.
    pub fn check(&mut self) -> Result<()> {
        self.process.check()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Returns the last lines of the log.
    pub fn log_tail(&self, lines: usize) -> String {
        self.process.log_tail(lines)
    }
}

impl System {
    /// All systems.
    pub const ALL: [Self; 4] = [Self::Floor, Self::Jobwright, Self::Builtin, Self::BuiltinAsShipped];

    /// Returns the name of the system in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Jobwright => "jobwright",
            Self::Builtin => "builtin",
            Self::BuiltinAsShipped => "builtin_as_shipped",
        }
    }

    /// Starts the system. It may not be ready when this function returns.
    pub fn start(self, control: &ControlPlane, dir: &Path) -> Result<Controller> {
        let [port] = free_ports()?;
        let kubeconfig = format!("--kubeconfig={}", control.kubeconfig.display());
        if self == Self::Jobwright {
            let args = ["run".to_owned(), kubeconfig, "--claim=all".to_owned(), format!("--listen=127.0.0.1:{port}")];
            let binary = BINARY.get().context("the binary has not been selected")?;
            let process = Process::start("jobwright", dir, binary, &args)?;
            return Ok(Controller { process, metrics: metrics_client("http", port)? });
        }
        let mut args = vec![
            "--controllers=job-controller,cronjob-controller,ttl-after-finished-controller".to_owned(),
            kubeconfig,
            format!("--cert-dir={}", dir.join("certs").display()),
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--authorization-always-allow-paths=/metrics".to_owned(),
            // Leader election is on, as in a cluster and as in Jobwright.
            "--leader-elect=true".to_owned(),
            "--leader-elect-resource-name=bench".to_owned(),
        ];
        match self {
            Self::Builtin => {
                let lifted = [
                    "kube-api-qps=10000",
                    "kube-api-burst=10000",
                    "concurrent-job-syncs=50",
                    "concurrent-cron-job-syncs=50",
                ];
                args.extend(lifted.map(|flag| format!("--{flag}")));
            }
            Self::BuiltinAsShipped => {}
            Self::Floor | Self::Jobwright => bail!("{} is no built-in controller", self.name()),
        }
        let process = Process::start("controllers", dir, &assets::KUBE_CONTROLLER_MANAGER.path()?, &args)?;
        Ok(Controller { process, metrics: metrics_client("https", port)? })
    }
}

/// Returns a client for the metrics of a process on this machine. Its certificate is self-signed.
fn metrics_client(scheme: &str, port: u16) -> Result<Client> {
    let mut config = Config::new(format!("{scheme}://127.0.0.1:{port}").parse()?);
    config.accept_invalid_certs = true;
    Ok(Client::try_from(config)?)
}

/// Stops a system and deletes its Lease. The built-in controllers do not release their Lease, so the next process would
/// have to wait.
pub async fn stop(mut controller: Controller, kubectl: &testbed::Kubectl) -> Result<()> {
    controller.process.stop(Duration::from_secs(20))?;
    let gone = ["--namespace=kube-system", "delete", "lease", "bench", "jobwright", "--ignore-not-found"];
    kubectl.run(&gone).await?;
    Ok(())
}

/// Waits until `done` returns true. Fails if the process exits or the timeout expires before.
pub async fn wait(
    controller: &mut Controller,
    what: &str,
    timeout: Duration,
    done: impl AsyncFn() -> Result<bool>,
) -> Result<()> {
    let begun = Instant::now();
    while !done().await? {
        controller.check()?;
        if begun.elapsed() > timeout {
            bail!("{what} took more than {} s; end of the log:\n{}", timeout.as_secs(), controller.log_tail(10));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
