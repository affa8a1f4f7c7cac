//! etcd, kube-apiserver, kube-controller-manager and kube-scheduler on loopback.
//!
//! The entry point is [`ControlPlane::start`], which returns when the API server is ready.

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
use crate::version::Version;

/// Options for the start of a control plane.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Kubernetes version. `None` stands for [`Version::selected`].
    pub version: Option<Version>,
    /// Whether the built-in Job, CronJob and TTL controllers run. Off by default, because Jobwright replaces them.
    pub builtin_job_controllers: bool,
    /// Additional flags of kube-controller-manager.
    pub controller_manager_flags: Vec<String>,
    /// Additional flags of kube-apiserver.
    pub apiserver_flags: Vec<String>,
    /// Whether kube-scheduler runs. A cluster without nodes needs no scheduler.
    pub scheduler: bool,
    /// Additional flags of kube-scheduler.
    pub scheduler_flags: Vec<String>,
}

/// A running control plane. Dropping the value stops its processes.
pub struct ControlPlane {
    // The fields are dropped in this order, so that the API server stops before etcd, to which it writes.
    /// kube-scheduler, if [`Options::scheduler`] is set.
    pub scheduler: Option<Process>,
    controller_manager: Mutex<Process>,
    apiserver: Mutex<Process>,
    etcd: Mutex<Process>,
    /// Kubernetes version in which the control plane was started.
    pub version: Version,
    /// URL of the API server, `https://127.0.0.1:PORT`.
    pub server: String,
    /// Kubeconfig of a cluster administrator.
    pub kubeconfig: PathBuf,
    /// Certificate authority of the cluster.
    pub authority: Authority,
    etcd_args: Vec<String>,
    apiserver_args: Vec<String>,
    apiserver_flags: Vec<String>,
    manager_args: Vec<String>,
    dir: PathBuf,
}

/// Suffix of `--controllers` that switches off the controllers of kube-controller-manager that Jobwright replaces.
pub const REPLACED: &str = ",-job-controller,-cronjob-controller,-ttl-after-finished-controller";
/// Suffix of `--controllers` that switches off the pod garbage collector. It deletes terminating pods without a node
/// every 20 s, which would interfere with tests that set the status of such pods.
const POD_GARBAGE_COLLECTOR: &str = ",-pod-garbage-collector-controller";

impl ControlPlane {
    /// Starts all processes with their files below `dir`, and waits until the API server is ready.
    pub async fn start(dir: &Path, options: &Options) -> Result<Self> {
        let version = match options.version {
            Some(version) => version,
            None => Version::selected()?,
        };
        assets::ensure_of(version, assets::CONTROL_PLANE)?;
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
            // The data need not survive a crash of the machine. Without fsync, tests are several times faster.
            "--unsafe-no-fsync".to_owned(),
            // The quota has room for the largest load of the benchmark.
            "--quota-backend-bytes=8589934592".to_owned(),
            format!("--listen-client-urls={etcd_url}"),
            format!("--advertise-client-urls={etcd_url}"),
            format!("--listen-peer-urls={peer_url}"),
            format!("--initial-advertise-peer-urls={peer_url}"),
            format!("--initial-cluster=default={peer_url}"),
            "--log-level=warn".to_owned(),
        ];
        let mut etcd = start_etcd(dir, &etcd_args)?;
        let apiserver_args = vec![
            format!("--etcd-servers={etcd_url}"),
            format!("--secure-port={secure_port}"),
            "--bind-address=127.0.0.1".to_owned(),
            // The API server rejects a loopback address as an endpoint.
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
        let apiserver = start_apiserver(dir, &apiserver_args, &options.apiserver_flags, version)?;

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
        let mut scheduler_args = vec![
            format!("--kubeconfig={}", component("kube-scheduler")?),
            "--leader-elect=false".to_owned(),
            format!("--secure-port={scheduler_port}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--cert-dir={}", dir.join("scheduler/certs").display()),
        ];
        scheduler_args.extend(options.scheduler_flags.iter().cloned());

        let mut apiserver = apiserver;
        let client = client(&kubeconfig).await?;
        wait_ready(&client, &mut etcd, &mut apiserver).await?;
        // These processes exit when no API server responds, so they start after the API server.
        let controller_manager =
            start_controller_manager(dir, version, &manager_args, options.builtin_job_controllers)?;
        let scheduler = if options.scheduler {
            let path = assets::KUBE_SCHEDULER.path_of(version)?;
            Some(Process::start("kube-scheduler", &dir.join("scheduler"), &path, &scheduler_args)?)
        } else {
            None
        };
        Ok(Self {
            version,
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
            apiserver_flags: options.apiserver_flags.clone(),
            dir: dir.to_owned(),
        })
    }

    /// Returns the process id of the API server.
    pub async fn apiserver_id(&self) -> u32 {
        self.apiserver.lock().await.id()
    }

    /// Returns the process id of etcd.
    pub async fn etcd_id(&self) -> u32 {
        self.etcd.lock().await.id()
    }

    /// Returns the process id of kube-controller-manager.
    pub async fn controller_manager_id(&self) -> u32 {
        self.controller_manager.lock().await.id()
    }

    /// Stops the API server in an orderly way, as an upgrade does. [`ControlPlane::restart_apiserver_as`] starts it again.
    pub async fn stop_apiserver(&self) -> Result<()> {
        self.apiserver.lock().await.stop(Duration::from_secs(20)).map(drop)
    }

    /// Kills the API server, which simulates a crash. [`ControlPlane::restart_apiserver`] starts it again.
    pub async fn kill_apiserver(&self) {
        self.apiserver.lock().await.kill();
    }

    /// Starts the API server again on its port, and waits until it is ready.
    pub async fn restart_apiserver(&self) -> Result<()> {
        self.restart_apiserver_as(self.version, &self.apiserver_flags).await
    }

    /// Starts the API server of this version on the port and the etcd of the previous one, and waits until it is
    /// ready. The previous one has to be killed or stopped first. `flags` replaces [`Options::apiserver_flags`], because
    /// an API server refuses feature gates that it does not know.
    pub async fn restart_apiserver_as(&self, version: Version, flags: &[String]) -> Result<()> {
        assets::ensure_of(version, &[assets::KUBE_APISERVER])?;
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut apiserver = self.apiserver.lock().await;
        let mut etcd = self.etcd.lock().await;
        loop {
            *apiserver = start_apiserver(&self.dir, &self.apiserver_args, flags, version)?;
            let client = client(&self.kubeconfig).await?;
            match wait_ready(&client, &mut etcd, &mut apiserver).await {
                Ok(()) => return Ok(()),
                // The kernel can take a moment to release the port of the killed process.
                Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(500)).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Kills etcd, which simulates a crash. [`ControlPlane::restart_etcd`] starts it again.
    pub async fn kill_etcd(&self) {
        self.etcd.lock().await.kill();
    }

    /// Starts etcd again with its stored data, and waits until the API server is ready.
    pub async fn restart_etcd(&self) -> Result<()> {
        let mut etcd = self.etcd.lock().await;
        *etcd = start_etcd(&self.dir, &self.etcd_args)?;
        let client = client(&self.kubeconfig).await?;
        wait_ready(&client, &mut etcd, &mut *self.apiserver.lock().await).await
    }

    /// Restarts kube-controller-manager with the Job, CronJob and TTL controllers on or off.
    pub async fn switch_builtin_job_controllers(&self, on: bool) -> Result<()> {
        let mut manager = self.controller_manager.lock().await;
        manager.stop(Duration::from_secs(10))?;
        *manager = start_controller_manager(&self.dir, self.version, &self.manager_args, on)?;
        Ok(())
    }

    /// Fails if a process of the control plane has ended.
    pub fn check(&mut self) -> Result<()> {
        self.etcd.get_mut().check()?;
        self.apiserver.get_mut().check()?;
        self.controller_manager.get_mut().check()?;
        self.scheduler.as_mut().map_or(Ok(()), Process::check)
    }
}

fn start_controller_manager(dir: &Path, version: Version, args: &[String], job_controllers: bool) -> Result<Process> {
    let mut args = args.to_vec();
    // The first argument is --controllers, the list of the other controllers.
    if !job_controllers && let Some(controllers) = args.first_mut() {
        controllers.push_str(REPLACED);
    }
    Process::start(
        "kube-controller-manager",
        &dir.join("controller-manager"),
        &assets::KUBE_CONTROLLER_MANAGER.path_of(version)?,
        &args,
    )
}

fn start_etcd(dir: &Path, args: &[String]) -> Result<Process> {
    Process::start("etcd", &dir.join("etcd"), &assets::ETCD.path()?, args)
}

fn start_apiserver(dir: &Path, args: &[String], flags: &[String], version: Version) -> Result<Process> {
    let args = [args, flags].concat();
    Process::start("kube-apiserver", &dir.join("apiserver"), &assets::KUBE_APISERVER.path_of(version)?, &args)
}

/// Returns a client for a kubeconfig file.
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
                bail!("kube-apiserver was not ready after 60 s ({error}); end of its log:\n{}", apiserver.log_tail(15))
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Returns the address of the Service `kubernetes`, at which pods reach the API server. Each process has a network of
/// its own, because real nodes of several testbeds run concurrently.
pub fn service_address() -> Ipv4Addr {
    let own = u8::try_from(std::process::id() % 250).unwrap_or_default();
    Ipv4Addr::new(10, 96, own, 1)
}

fn network_of(address: Ipv4Addr) -> Ipv4Addr {
    let [a, b, c, _] = address.octets();
    Ipv4Addr::new(a, b, c, 0)
}

/// Returns ports on which no process listens now. Another process can bind one of them first, so the start of a testbed
/// is retried.
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
