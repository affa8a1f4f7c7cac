//! etcd, kube-apiserver, kube-controller-manager and kube-scheduler on loopback.
//!
//! One way in: [`ControlPlane::start`]. It returns when the API server says it is ready.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::sync::Mutex;

use crate::assets;
use crate::certs::Authority;
use crate::process::Process;

/// What a control plane is started with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Leaves the built-in Job, CronJob and TTL controllers on. Off by default: Jobwright takes their place.
    pub builtin_job_controllers: bool,
    /// More flags for kube-controller-manager.
    pub controller_manager_flags: Vec<String>,
    /// More flags for kube-apiserver.
    pub apiserver_flags: Vec<String>,
    /// Starts kube-scheduler. Without nodes there is nothing to schedule on.
    pub scheduler: bool,
}

/// A running control plane.
pub struct ControlPlane {
    // In the order they are stopped: the API server before the store it writes to.
    /// kube-scheduler, where asked for.
    pub scheduler: Option<Process>,
    controller_manager: Mutex<Process>,
    apiserver: Mutex<Process>,
    etcd: Mutex<Process>,
    /// The API server's address, `https://127.0.0.1:PORT`.
    pub server: String,
    /// A kubeconfig of a cluster administrator.
    pub kubeconfig: PathBuf,
    /// The cluster's certificate authority.
    pub authority: Authority,
    etcd_args: Vec<String>,
    apiserver_args: Vec<String>,
    manager_args: Vec<String>,
    dir: PathBuf,
}

/// What switches the controllers off that Jobwright replaces, in kube-controller-manager's list.
pub const REPLACED: &str = ",-job-controller,-cronjob-controller,-ttl-after-finished-controller";
/// Where no pod is ever scheduled, this one ends those that are deleted, every 20 s and whatever a test plays with them.
const POD_GARBAGE_COLLECTOR: &str = ",-pod-garbage-collector-controller";

impl ControlPlane {
    /// Starts everything below `dir` and waits until the API server is ready.
    pub async fn start(dir: &Path, options: &Options) -> Result<Self> {
        let authority = Authority::new(&dir.join("pki"))?;
        let server_certificate = authority.server(
            "apiserver",
            &[
                "127.0.0.1",
                "localhost",
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                &service_address().to_string(),
            ],
        )?;
        let kubelet_client =
            authority.client("apiserver-kubelet-client", "kube-apiserver-kubelet-client", &["system:masters"])?;
        let (account_key, account_public) = authority.service_account_key()?;
        let [client_port, peer_port, secure_port, manager_port, scheduler_port] = free_ports()?;
        let server = format!("https://127.0.0.1:{secure_port}");
        let etcd_url = format!("http://127.0.0.1:{client_port}");
        let peer_url = format!("http://127.0.0.1:{peer_port}");

        let etcd_args = vec![
            format!("--data-dir={}", dir.join("etcd/data").display()),
            // Tests outlive no machine; not waiting for the disk makes them several times faster.
            "--unsafe-no-fsync".to_owned(),
            // Room for the largest work of the bench.
            "--quota-backend-bytes=8589934592".to_owned(),
            format!("--listen-client-urls={etcd_url}"),
            format!("--advertise-client-urls={etcd_url}"),
            format!("--listen-peer-urls={peer_url}"),
            format!("--initial-advertise-peer-urls={peer_url}"),
            format!("--initial-cluster=default={peer_url}"),
            "--log-level=warn".to_owned(),
        ];
        let mut etcd = start_etcd(dir, &etcd_args)?;
        let mut apiserver_args = vec![
            format!("--etcd-servers={etcd_url}"),
            format!("--secure-port={secure_port}"),
            "--bind-address=127.0.0.1".to_owned(),
            // A loopback address may not be published as an endpoint.
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--cert-dir={}", dir.join("apiserver/certs").display()),
            format!("--tls-cert-file={}", server_certificate.certificate.display()),
            format!("--tls-private-key-file={}", server_certificate.key.display()),
            format!("--service-cluster-ip-range={}/24", network_of(service_address())),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", account_public.display()),
            format!("--service-account-signing-key-file={}", account_key.display()),
            format!("--client-ca-file={}", authority.certificate().display()),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--max-requests-inflight=3000".to_owned(),
            "--max-mutating-requests-inflight=1000".to_owned(),
            format!("--kubelet-client-certificate={}", kubelet_client.certificate.display()),
            format!("--kubelet-client-key={}", kubelet_client.key.display()),
            "--kubelet-preferred-address-types=Hostname".to_owned(),
        ];
        apiserver_args.extend(options.apiserver_flags.iter().cloned());
        let apiserver = start_apiserver(dir, &apiserver_args)?;

        let kubeconfig = dir.join("admin.kubeconfig");
        authority.kubeconfig(&kubeconfig, &server, "testbed-admin", &["system:masters"])?;
        let component = |name: &str| -> Result<String> {
            let path = dir.join(format!("{name}.kubeconfig"));
            authority.kubeconfig(&path, &server, &format!("system:{name}"), &[])?;
            Ok(path.display().to_string())
        };
        let mut manager_args = vec![
            format!("--controllers=*{}", if options.scheduler { "" } else { POD_GARBAGE_COLLECTOR }),
            format!("--kubeconfig={}", component("kube-controller-manager")?),
            format!("--service-account-private-key-file={}", account_key.display()),
            format!("--root-ca-file={}", authority.certificate().display()),
            "--leader-elect=false".to_owned(),
            format!("--secure-port={manager_port}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--use-service-account-credentials=true".to_owned(),
            format!("--cert-dir={}", dir.join("controller-manager/certs").display()),
        ];
        manager_args.extend(options.controller_manager_flags.iter().cloned());
        let scheduler_args = [
            format!("--kubeconfig={}", component("kube-scheduler")?),
            "--leader-elect=false".to_owned(),
            format!("--secure-port={scheduler_port}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--cert-dir={}", dir.join("scheduler/certs").display()),
        ];

        let mut apiserver = apiserver;
        let client = client(&kubeconfig).await?;
        wait_ready(&client, &mut etcd, &mut apiserver).await?;
        // These give up when they find no API server, so they start after it.
        let controller_manager = start_controller_manager(dir, &manager_args, options.builtin_job_controllers)?;
        let scheduler = if options.scheduler {
            let path = assets::KUBE_SCHEDULER.path()?;
            Some(Process::start("kube-scheduler", &dir.join("scheduler"), &path, &scheduler_args)?)
        } else {
            None
        };
        Ok(Self {
            scheduler,
            controller_manager: Mutex::new(controller_manager),
            manager_args,
            apiserver: Mutex::new(apiserver),
            etcd: Mutex::new(etcd),
            server,
            kubeconfig,
            authority,
            etcd_args,
            apiserver_args,
            dir: dir.to_owned(),
        })
    }

    /// The API server's process id.
    pub async fn apiserver_id(&self) -> u32 {
        self.apiserver.lock().await.id()
    }

    /// Kills the API server, as a crash would; [`ControlPlane::restart_apiserver`] brings it back.
    pub async fn kill_apiserver(&self) {
        self.apiserver.lock().await.kill();
    }

    /// Starts the API server again on its port and waits until it is ready.
    pub async fn restart_apiserver(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut apiserver = self.apiserver.lock().await;
        let mut etcd = self.etcd.lock().await;
        loop {
            *apiserver = start_apiserver(&self.dir, &self.apiserver_args)?;
            let client = client(&self.kubeconfig).await?;
            match wait_ready(&client, &mut etcd, &mut apiserver).await {
                Ok(()) => return Ok(()),
                // The port of the one that was killed may take a moment to become free.
                Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(500)).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Kills etcd, as a crash would; [`ControlPlane::restart_etcd`] brings it back.
    pub async fn kill_etcd(&self) {
        self.etcd.lock().await.kill();
    }

    /// Starts etcd again on what it had stored, and waits until the API server is ready.
    pub async fn restart_etcd(&self) -> Result<()> {
        let mut etcd = self.etcd.lock().await;
        *etcd = start_etcd(&self.dir, &self.etcd_args)?;
        let client = client(&self.kubeconfig).await?;
        wait_ready(&client, &mut etcd, &mut *self.apiserver.lock().await).await
    }

    /// Stops kube-controller-manager and starts it again with the Job, CronJob and TTL controllers on or off.
    pub async fn switch_builtin_job_controllers(&self, on: bool) -> Result<()> {
        let mut manager = self.controller_manager.lock().await;
        manager.stop(Duration::from_secs(10))?;
        *manager = start_controller_manager(&self.dir, &self.manager_args, on)?;
        Ok(())
    }

    /// Fails if any part has ended.
    pub fn check(&mut self) -> Result<()> {
        self.etcd.get_mut().check()?;
        self.apiserver.get_mut().check()?;
        self.controller_manager.get_mut().check()?;
        self.scheduler.as_mut().map_or(Ok(()), Process::check)
    }
}

fn start_controller_manager(dir: &Path, args: &[String], job_controllers: bool) -> Result<Process> {
    let mut args = args.to_vec();
    // The first of them is the list of controllers that are on anyway.
    if !job_controllers && let Some(controllers) = args.first_mut() {
        controllers.push_str(REPLACED);
    }
    Process::start(
        "kube-controller-manager",
        &dir.join("controller-manager"),
        &assets::KUBE_CONTROLLER_MANAGER.path()?,
        &args,
    )
}

fn start_etcd(dir: &Path, args: &[String]) -> Result<Process> {
    Process::start("etcd", &dir.join("etcd"), &assets::ETCD.path()?, args)
}

fn start_apiserver(dir: &Path, args: &[String]) -> Result<Process> {
    Process::start("kube-apiserver", &dir.join("apiserver"), &assets::KUBE_APISERVER.path()?, args)
}

/// A client for a kubeconfig file.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    let config = Kubeconfig::read_from(kubeconfig).with_context(|| format!("reading {}", kubeconfig.display()))?;
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

async fn wait_ready(client: &Client, etcd: &mut Process, apiserver: &mut Process) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        etcd.check()?;
        apiserver.check()?;
        let request = http::Request::get("/readyz").body(Vec::new())?;
        match client.request_text(request).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                bail!("kube-apiserver was not ready after 60 s ({error}); its log ends:\n{}", apiserver.log_tail(15))
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// The address of the Service `kubernetes`, at which pods find the API server. Real nodes of several testbeds live side by
/// side, so each process takes a network of its own.
pub fn service_address() -> Ipv4Addr {
    let own = u8::try_from(std::process::id() % 250).unwrap_or_default();
    Ipv4Addr::new(10, 96, own, 1)
}

fn network_of(address: Ipv4Addr) -> Ipv4Addr {
    let [a, b, c, _] = address.octets();
    Ipv4Addr::new(a, b, c, 0)
}

/// Ports nobody listens on now. Another process may take one before we do; whoever starts a testbed tries again then.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
