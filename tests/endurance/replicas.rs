//! Two replicas of Jobwright, each behind its own proxy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use rustix::process::Signal;
use testbed::Cluster;
use testbed::control_plane;
use testbed::permissions::Permissions;
use testbed::process::Process;
use testbed::wire::Silence;

use crate::proxy::{Proxy, ProxyFaults};

/// Lease duration of the replicas. It is short, so that the leader changes often during a test.
pub const LEASE: Duration = Duration::from_secs(5);

const FLAGS: [&str; 7] = [
    "--claim=all",
    "--pod-failure-backoff=50ms",
    "--pod-failure-backoff-max=1s",
    "--leader-elect=true",
    "--leader-elect-lease-duration=5s",
    "--leader-elect-renew-deadline=4s",
    "--leader-elect-retry-period=300ms",
];

struct Replica {
    process: Option<Process>,
    proxy: Proxy,
    /// Port of the metrics endpoint.
    port: u16,
    /// Program that the next start runs.
    program: PathBuf,
    dir: tempfile::TempDir,
}

/// All replicas of the test.
pub struct Replicas {
    all: Vec<Replica>,
    leases: Api<Lease>,
    flags: Vec<String>,
}

impl Replicas {
    /// Starts the replicas with the permissions of the released manifests.
    pub async fn start(
        cluster: &Cluster,
        namespace: &str,
        dir: &Path,
        proxy_faults: &'static ProxyFaults,
    ) -> Result<Self> {
        let permissions =
            Permissions { namespace: Some(namespace.to_owned()), claim: "all".to_owned(), logs: false, gangs: false };
        let kubeconfig = permissions.grant(cluster, namespace, dir, |_| {}).await?;
        let client = control_plane::client(&kubeconfig).await?;
        let flags = FLAGS.iter().map(|&flag| flag.to_owned()).chain([format!("--namespace={namespace}")]).collect();
        let leases = Api::namespaced(cluster.client().await?, namespace);
        let mut replicas = Self { all: Vec::new(), leases, flags };
        for number in 0..2 {
            let proxy = Proxy::start(client.clone(), proxy_faults, dir).await?;
            let [port] = control_plane::free_ports()?;
            let program = PathBuf::from(env!("CARGO_BIN_EXE_jobwright"));
            replicas.all.push(Replica { process: None, proxy, port, program, dir: tempfile::tempdir()? });
            replicas.start_one(number)?;
        }
        Ok(replicas)
    }

    /// Replaces a replica by one that runs this program, after a graceful end (SIGTERM) or a crash (SIGKILL).
    pub fn replace(&mut self, number: usize, program: &Path, graceful: bool) -> Result<()> {
        let replica = &mut self.all[number];
        if let Some(mut process) = replica.process.take() {
            if graceful {
                process.stop(Duration::from_secs(10))?;
            } else {
                process.kill();
            }
        }
        replica.program = program.to_owned();
        self.start_one(number)
    }

    /// Returns the program that a replica runs.
    pub fn program(&self, number: usize) -> &Path {
        &self.all[number].program
    }

    /// Starts a replica that is not running.
    pub fn start_one(&mut self, number: usize) -> Result<()> {
        let replica = &mut self.all[number];
        let args = [
            "run".to_owned(),
            format!("--kubeconfig={}", replica.proxy.kubeconfig.display()),
            format!("--listen=127.0.0.1:{}", replica.port),
        ];
        let args: Vec<String> = args.into_iter().chain(self.flags.iter().cloned()).collect();
        let env = [("JOBWRIGHT_LOG", "info".to_owned())];
        replica.process = Some(Process::start_with("jobwright", replica.dir.path(), &replica.program, &args, &env)?);
        Ok(())
    }

    /// Returns the number of the replica that holds the Lease. None if the Lease cannot be read or if the log of no
    /// replica contains the identity of the holder.
    pub async fn leader(&self) -> Option<usize> {
        let lease = self.leases.get("jobwright").await.ok()?;
        let holder = lease.spec?.holder_identity?;
        let holds =
            |replica: &Replica| replica.process.as_ref().is_some_and(|process| has_logged_leadership(process, &holder));
        self.all.iter().position(holds)
    }

    /// Returns the port of the metrics endpoint of a replica.
    pub fn port(&self, number: usize) -> u16 {
        self.all[number].port
    }

    /// Returns the number of leader changes so far.
    pub async fn changes(&self) -> Result<i32> {
        let lease = self.leases.get("jobwright").await?;
        Ok(lease.spec.and_then(|spec| spec.lease_transitions).unwrap_or_default())
    }

    /// Kills a replica with SIGKILL.
    pub fn kill(&mut self, number: usize) {
        if let Some(mut process) = self.all[number].process.take() {
            process.kill();
        }
    }

    /// Makes connections of a replica silent permanently. Returns their number.
    pub fn silence(&self, number: usize, which: Silence) -> usize {
        self.all[number].proxy.silence(which)
    }

    /// Sends a signal to a replica.
    pub fn signal(&self, number: usize, signal: Signal) {
        if let Some(process) = &self.all[number].process {
            process.signal(signal);
        }
    }

    /// Returns an error if a replica has exited.
    pub fn check(&mut self) -> Result<()> {
        for replica in &mut self.all {
            replica.process.as_mut().context("a replica is not running")?.check()?;
        }
        Ok(())
    }

    /// Returns the last lines of the log of each replica.
    pub fn logs(&self, lines: usize) -> String {
        let tails =
            self.all.iter().filter_map(|replica| replica.process.as_ref()).map(|process| process.log_tail(lines));
        tails.collect::<Vec<_>>().join("\n---\n")
    }

    /// Waits until any replica renews the Lease after `since`; fails if that takes longer than `within`.
    pub async fn renewed(&self, since: Timestamp, within: Duration) -> Result<()> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let lease = self.leases.get("jobwright").await.ok().and_then(|lease| lease.spec);
            let renewed = lease.as_ref().and_then(|lease| lease.renew_time.as_ref()).map(|time| time.0);
            if renewed.is_some_and(|renewed| renewed > since) {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                bail!("no replica renewed the Lease within {within:?} after {since}: {lease:?}\n{}", self.logs(20));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until a replica leads.
    pub async fn one_leads(&self) -> Result<()> {
        for _ in 0..300 {
            if self.leader().await.is_some() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("no replica leads after 30 s:\n{}", self.logs(20))
    }
}

/// Returns whether a process has logged that it leads under this identity. The logs of other replicas contain the
/// identity too, but in other messages.
fn has_logged_leadership(process: &Process, identity: &str) -> bool {
    process.log_tail(usize::MAX).lines().any(|line| line.contains(" leading ") && line.contains(identity))
}
