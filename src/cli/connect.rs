//! Finds and connects to the cluster. Each way to fail has an error of one sentence that names the fix.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use thiserror::Error;

use crate::runtime::errors::message;
use crate::runtime::requests::RequestMetrics;
use crate::runtime::transport::{self, Source};

/// Longest time to wait for the first answer of the API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Reason why a command has no connection to a cluster.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum ConnectError {
    #[error("cannot use the kubeconfig {}: {reason}; give --kubeconfig a readable kubeconfig file", .path.display())]
    Kubeconfig { path: PathBuf, reason: String },
    #[error("no cluster to work with: {reason}; give --kubeconfig a file, set KUBECONFIG, or run inside a cluster")]
    NoCluster { reason: String },
    #[error(
        "cannot reach the API server at {server}: {reason}; check that it is running and that the kubeconfig has its address"
    )]
    Unreachable { server: String, reason: String },
    #[error(
        "the API server at {server} rejected the credentials: {reason}; check those in the kubeconfig or of the service account"
    )]
    Unauthorized { server: String, reason: String },
    #[error("the connection to {server} is not secure: {reason}")]
    Unsafe { server: String, reason: &'static str },
}

/// The flags that select the cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct ClusterArguments {
    /// Kubeconfig file; without it KUBECONFIG, ~/.kube/config, then the service account of the pod
    #[arg(long, env = "JOBWRIGHT_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, env = "JOBWRIGHT_CONTEXT", value_name = "NAME")]
    context: Option<String>,
}

impl ClusterArguments {
    /// Connects to the cluster that the flags, the environment or the service account of the pod name. With `metrics`,
    /// as for the controller, requests are counted there and none is repeated. Without, as for a command, reads are
    /// repeated while the API server is busy.
    ///
    /// # Errors
    /// No cluster is configured, the connection would not be secure, or the API server does not answer or rejects the
    /// credentials. The error names the fix.
    pub async fn connect(&self, metrics: Option<&RequestMetrics>) -> Result<Client, ConnectError> {
        let found = find(self.kubeconfig.as_deref(), self.context.as_deref()).await?;
        connect(found, metrics).await
    }
}

async fn connect(found: Found, metrics: Option<&RequestMetrics>) -> Result<Client, ConnectError> {
    let Found { config, source } = found;
    let server = config.cluster_url.to_string();
    if let Some(reason) = danger(&config) {
        return Err(ConnectError::Unsafe { server, reason });
    }
    let unreachable = |reason: String| ConnectError::Unreachable { server: server.clone(), reason };
    let client = match metrics {
        Some(metrics) => transport::controller_client(config, source, metrics),
        None => transport::command_client(config, source),
    };
    let client = client.map_err(|error| unreachable(message(&error)))?;
    match tokio::time::timeout(CONNECT_TIMEOUT, client.apiserver_version()).await {
        Ok(Ok(_)) => Ok(client),
        Ok(Err(kube::Error::Api(status))) if status.code == 401 => {
            Err(ConnectError::Unauthorized { server, reason: status.message.clone() })
        }
        Ok(Err(error)) => Err(unreachable(message(&error))),
        Err(_) => Err(unreachable(format!("no answer in {} s", CONNECT_TIMEOUT.as_secs()))),
    }
}

/// Returns why an attacker between this machine and the API server could read or change requests, if one could.
fn danger(config: &Config) -> Option<&'static str> {
    if config.accept_invalid_certs {
        return Some(
            "the kubeconfig sets insecure-skip-tls-verify; remove it and set the cluster's certificate-authority",
        );
    }
    let host = config.cluster_url.host().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let local = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    let plain = config.cluster_url.scheme() == Some(&http::uri::Scheme::HTTP);
    (plain && !local).then_some("http:// is accepted for a proxy on this machine only; use the https:// address")
}

/// Configuration of a cluster, and the function that loads it again.
struct Found {
    config: Config,
    source: Source,
}

/// Finds the configuration: the given kubeconfig, the default ones, or the service account of the pod.
async fn find(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Found, ConnectError> {
    let path = kubeconfig.map(Path::to_owned);
    match load(path.clone(), context.map(str::to_owned)).await {
        Ok((config, context)) => {
            // Reloading uses the context of the start: the user may have switched the kubeconfig to another cluster
            // meanwhile.
            let source: Source = Arc::new(move || {
                let (path, context) = (path.clone(), context.clone());
                Box::pin(async move {
                    let loaded = load(path, context).await;
                    loaded.map(|(config, _)| config).map_err(|error| with_causes(&error))
                })
            });
            Ok(Found { config, source })
        }
        Err(error) => {
            let reason = with_causes(&error);
            if let Some(path) = path {
                return Err(ConnectError::Kubeconfig { path, reason });
            }
            // Contexts exist in kubeconfig files only, so the service account of a pod cannot satisfy --context.
            if context.is_some() {
                return Err(ConnectError::NoCluster { reason });
            }
            let config = Config::incluster().map_err(|_| ConnectError::NoCluster { reason })?;
            let source: Source =
                Arc::new(|| Box::pin(async { Config::incluster().map_err(|error| with_causes(&error)) }));
            Ok(Found { config, source })
        }
    }
}

/// Loads a kubeconfig with every file that it names. Returns the configuration and the name of the context in use.
async fn load(path: Option<PathBuf>, context: Option<String>) -> Result<(Config, Option<String>), KubeconfigError> {
    let file = match &path {
        Some(path) => Kubeconfig::read_from(path)?,
        None => Kubeconfig::read()?,
    };
    let context = context.or_else(|| file.current_context.clone());
    let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
    Ok((Config::from_custom_kubeconfig(file, &options).await?, context))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text_of_cause = error.to_string();
        if !text.contains(&text_of_cause) {
            text = format!("{text}: {text_of_cause}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unverified_or_remote_http_server_is_refused() {
        let config = |url: &str| Config::new(url.parse().unwrap());
        for safe in ["https://api.example.com", "http://127.0.0.1:8001", "http://localhost:8001", "http://[::1]:8001"] {
            assert_eq!(danger(&config(safe)), None, "{safe}");
        }
        assert!(danger(&config("http://api.example.com")).is_some());
        assert!(danger(&config("http://10.0.0.1")).is_some());
        let mut unverified = config("https://api.example.com");
        unverified.accept_invalid_certs = true;
        assert!(danger(&unverified).unwrap().contains("certificate-authority"));
    }
}
