//! JobSet and Kueue on the cluster of the test: their manifests from the folders of their Go modules, and their
//! programs as processes of the test.
//!
//! The API server calls the webhooks through Services of the type ExternalName, which lead to the processes on loopback.
//! The rest of the manifests is unchanged. The permissions of the manifests are left out, because the processes run as
//! an administrator.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::{Value, json};
use testbed::assets::{self, Program};
use testbed::manifest::lay_over;
use testbed::process::Process;
use testbed::{Cluster, Kubectl, control_plane};

/// Maximum time until a controller admits objects.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Kinds of the manifests that are applied.
const KINDS: &[&str] = &[
    "Namespace",
    "CustomResourceDefinition",
    "Secret",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

/// A running controller.
pub struct Peer {
    process: Process,
    start: Start,
}

/// Values with which a controller is started.
struct Start {
    program: Program,
    dir: PathBuf,
    kubeconfig: PathBuf,
    port: u16,
}

impl Peer {
    /// Installs JobSet, and waits until it admits JobSets.
    pub async fn jobset(cluster: &Cluster) -> Result<Self> {
        let start = Start::new(cluster, assets::JOBSET)?;
        let control = cluster.control.as_ref().context("the cluster has no control plane of its own")?;
        let names = ["jobset-webhook-service.jobset-system.svc"];
        let issued = control.authority.server("jobset-webhook", &names)?;
        fs::copy(&issued.certificate, start.dir.join("tls.crt"))?;
        fs::copy(&issued.key, start.dir.join("tls.key"))?;
        let authority = fs::read(control.authority.certificate())?;
        start.install(cluster, "sigs.k8s.io/jobset", "jobset", Some(authority)).await?;
        let config = json!({
            "apiVersion": "config.jobset.x-k8s.io/v1alpha1",
            "kind": "Configuration",
            "internalCertManagement": {"enable": false},
            "leaderElection": {"leaderElect": false},
            "health": {"healthProbeBindAddress": "0"},
            "metrics": {"bindAddress": "0"},
            "webhook": {"host": "127.0.0.1", "port": start.port, "certDir": start.dir},
        });
        let mut peer = start.run(&config)?;
        peer.admits(cluster, &jobset_probe()).await?;
        Ok(peer)
    }

    /// Installs Kueue, and waits until it admits its resources. `extra` is laid over its configuration.
    pub async fn kueue(cluster: &Cluster, extra: &Value) -> Result<Self> {
        let start = Start::new(cluster, assets::KUEUE)?;
        start.install(cluster, "sigs.k8s.io/kueue", "kueue", None).await?;
        let config = start.kueue_config(extra);
        let mut peer = start.run(&config)?;
        peer.mount(cluster, "kueue-system", "kueue-webhook-server-cert").await?;
        peer.admits(cluster, &kueue_probe()).await?;
        Ok(peer)
    }

    /// Writes the certificate in a Secret to the folder of the controller as soon as the Secret contains one, as the
    /// volume of a pod does.
    async fn mount(&mut self, cluster: &Cluster, namespace: &str, secret: &str) -> Result<()> {
        let secrets: Api<Secret> = Api::namespaced(cluster.client().await?, namespace);
        let deadline = Instant::now() + TIMEOUT;
        loop {
            self.process.check()?;
            let data = secrets.get(secret).await?.data.unwrap_or_default();
            if let (Some(certificate), Some(key)) = (data.get("tls.crt"), data.get("tls.key")) {
                fs::write(self.start.dir.join("tls.key"), &key.0)?;
                fs::write(self.start.dir.join("tls.crt"), &certificate.0)?;
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{secret} has no certificate:\n{}", self.process.log_tail(30));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Restarts Kueue with another configuration.
    pub async fn restart_kueue(&mut self, cluster: &Cluster, extra: &Value) -> Result<()> {
        self.process.stop(Duration::from_secs(10))?;
        self.process = self.start.process(&self.start.kueue_config(extra))?;
        self.admits(cluster, &kueue_probe()).await
    }

    /// Fails if the controller has ended.
    pub fn check(&mut self) -> Result<()> {
        self.process.check()
    }

    /// Returns the last lines of the log that contain this text.
    pub fn log(&self, text: &str) -> String {
        let log = self.process.log_tail(200_000);
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(text)).collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    /// Waits until the API server admits this object in a dry run, so that the webhooks work.
    async fn admits(&mut self, cluster: &Cluster, probe: &Value) -> Result<()> {
        let kubectl = Kubectl::new(cluster, "default".to_owned())?;
        let file = self.start.dir.join("probe.json");
        fs::write(&file, probe.to_string())?;
        let deadline = Instant::now() + TIMEOUT;
        let path = file.display().to_string();
        loop {
            self.process.check()?;
            match kubectl.run(&["create", "--dry-run=server", "-f", &path]).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    bail!("{error:#}\n{}", self.process.log_tail(30));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }
}

impl Start {
    fn new(cluster: &Cluster, program: Program) -> Result<Self> {
        assets::ensure(&[program])?;
        let dir = cluster.dir().context("the cluster has no folder")?.join(program.name);
        fs::create_dir_all(&dir)?;
        let [port] = control_plane::free_ports()?;
        Ok(Self { program, dir, kubeconfig: cluster.kubeconfig.clone(), port })
    }

    fn run(self, config: &Value) -> Result<Peer> {
        Ok(Peer { process: self.process(config)?, start: self })
    }

    /// Returns a configuration of Kueue, with `extra` laid over it.
    fn kueue_config(&self, extra: &Value) -> Value {
        let mut config = json!({
            "apiVersion": "config.kueue.x-k8s.io/v1beta2",
            "kind": "Configuration",
            "namespace": "kueue-system",
            // Without certificates of its own, Kueue needs some at a fixed path outside of the folder of the test.
            "internalCertManagement": {"enable": true},
            "leaderElection": {"leaderElect": false},
            "health": {"healthProbeBindAddress": "0"},
            "metrics": {"bindAddress": "0"},
            "webhook": {"host": "127.0.0.1", "port": self.port, "certDir": self.dir},
            "clientConnection": {"qps": 500, "burst": 1000},
            "featureGates": {"VisibilityOnDemand": false},
            "integrations": {"frameworks": ["batch/job", "jobset.x-k8s.io/jobset"]},
        });
        lay_over(&mut config, extra);
        config
    }

    fn process(&self, config: &Value) -> Result<Process> {
        let path = self.dir.join("config.yaml");
        fs::write(&path, config.to_string())?;
        let args = [format!("--kubeconfig={}", self.kubeconfig.display()), format!("--config={}", path.display())];
        Process::start(self.program.name, &self.dir, &self.program.path()?, &args)
    }

    /// Applies the manifests in `config/default` of the module, and the Service of the webhooks.
    async fn install(&self, cluster: &Cluster, module: &str, prefix: &str, authority: Option<Vec<u8>>) -> Result<()> {
        let kubectl = Kubectl::new(cluster, String::new())?;
        let folder = assets::sources(prefix, module)?.join("config/default");
        let rendered = kubectl.run(&[Path::new("kustomize"), &folder]).await?;
        let mut applied = String::new();
        for document in rendered.split("\n---\n") {
            let mut object: Value = serde_saphyr::from_str(document).context("reading a manifest")?;
            let kind = object["kind"].as_str().unwrap_or_default();
            if KINDS.contains(&kind) {
                self.redirect(&mut object, authority.as_deref())?;
                applied.push_str(&format!("{object}\n---\n"));
            }
        }
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("{prefix}-webhook-service"), "namespace": format!("{prefix}-system")},
            "spec": {"type": "ExternalName", "externalName": "127.0.0.1"},
        });
        applied.push_str(&service.to_string());
        let file = self.dir.join("manifests.yaml");
        fs::write(&file, applied)?;
        // The CustomResourceDefinitions of Kueue are too large for the annotation of a client-side apply.
        kubectl.run(&["apply", "--server-side", "-f", &file.display().to_string()]).await?;
        Ok(())
    }

    /// Sets the port of the webhooks of this object, and their certificate authority if one is given.
    fn redirect(&self, object: &mut Value, authority: Option<&[u8]>) -> Result<()> {
        let mut configs = Vec::new();
        if object["kind"] == "CustomResourceDefinition" {
            configs.extend(object.pointer_mut("/spec/conversion/webhook/clientConfig"));
        } else {
            let webhooks = object.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten();
            configs.extend(webhooks.map(|webhook| &mut webhook["clientConfig"]));
        }
        for config in configs {
            config["service"]["port"] = json!(self.port);
            if let Some(authority) = authority {
                config["caBundle"] = serde_json::to_value(ByteString(authority.to_vec()))?;
            }
        }
        Ok(())
    }
}

fn jobset_probe() -> Value {
    json!({
        "apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": {"name": "probe"},
        "spec": {"replicatedJobs": [{"name": "a", "template": {"spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "main", "image": "i"}],
        }}}}}]},
    })
}

fn kueue_probe() -> Value {
    json!({
        "apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ResourceFlavor", "metadata": {"name": "probe"},
    })
}
