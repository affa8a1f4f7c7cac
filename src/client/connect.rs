//! Finds and connects to the cluster. Each way to fail has an error of one sentence that names the fix.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError};
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
    #[error("{what} {name:?} does not exist in the kubeconfig; it has {}", if .known.is_empty() { "none" } else { .known })]
    Unknown { what: &'static str, name: String, known: String },
    #[error("{flag} {value:?} is not usable: {reason}")]
    Flag { flag: &'static str, value: String, reason: String },
    #[error("cannot reach the API server at {server}: {reason}")]
    Unreachable { server: String, reason: String },
    #[error(
        "the API server at {server} rejected the credentials (401 {reason}); check those in the kubeconfig, of --token or of the service account"
    )]
    Unauthorized { server: String, reason: String },
    #[error("the connection to {server} is not secure: {reason}")]
    Unsafe { server: String, reason: &'static str },
}

/// The flags that select the cluster and the credentials, as kubectl has them.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ClusterArguments {
    /// Kubeconfig file; default: the files in KUBECONFIG, ~/.kube/config, then the service account of the pod
    #[arg(long, value_name = "FILE", global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME", global = true)]
    pub context: Option<String>,
    /// Cluster of the kubeconfig
    #[arg(long, value_name = "NAME", global = true)]
    pub cluster: Option<String>,
    /// User of the kubeconfig
    #[arg(long, value_name = "NAME", global = true)]
    pub user: Option<String>,
    /// User to impersonate
    #[arg(long = "as", value_name = "USER", global = true)]
    pub impersonate: Option<String>,
    /// Group to impersonate; may be repeated
    #[arg(long = "as-group", value_name = "GROUP", global = true)]
    pub impersonate_groups: Vec<String>,
    /// Bearer token, in place of the credentials of the kubeconfig
    #[arg(long, value_name = "TOKEN", global = true, hide_env_values = true)]
    pub token: Option<String>,
    /// Address of the API server
    #[arg(short, long, value_name = "URL", global = true)]
    pub server: Option<String>,
    /// Longest time to wait for an answer of the API server, such as 5s; 0 for the default of 40s
    #[arg(long, value_name = "DURATION", global = true, value_parser = crate::client::duration::timeout)]
    pub request_timeout: Option<Duration>,
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
        connect(find(self).await?, self.limit(), metrics).await
    }

    /// Returns a client of the same API server without credentials, for requests that bring those of their own users.
    ///
    /// # Errors
    /// No cluster is configured, or the connection would not be secure.
    #[cfg(feature = "ui")]
    pub async fn without_credentials(&self) -> Result<Client, ConnectError> {
        let without = |mut config: Config| {
            config.auth_info = AuthInfo::default();
            config
        };
        let Found { config, source } = find(self).await?;
        let (server, config) = (config.cluster_url.to_string(), without(config));
        if let Some(reason) = danger(&config) {
            return Err(ConnectError::Unsafe { server, reason });
        }
        let source: Source = Arc::new(move || {
            let loaded = source();
            Box::pin(async move { loaded.await.map(without) })
        });
        let client = transport::command_client(config, source, self.limit());
        client.map_err(|error| ConnectError::Unreachable { server, reason: in_words(&message(&error)) })
    }

    /// Returns the flags of the connection that the user gave and that a suggested command repeats. The token is left
    /// out, because it is a credential.
    pub fn given(&self) -> Vec<(&'static str, String)> {
        let path = self.kubeconfig.as_ref().map(|path| path.display().to_string());
        let flags = [
            ("--kubeconfig", path.as_ref()),
            ("--context", self.context.as_ref()),
            ("--cluster", self.cluster.as_ref()),
            ("--user", self.user.as_ref()),
            ("--server", self.server.as_ref()),
            ("--as", self.impersonate.as_ref()),
        ];
        let flags = flags.into_iter().filter_map(|(flag, value)| Some((flag, non_empty(value)?.clone())));
        flags.chain(self.impersonate_groups.iter().map(|group| ("--as-group", group.clone()))).collect()
    }

    /// Returns the name of the cluster as pages show it: that of the context, or else the address of the API server.
    #[cfg(feature = "client")]
    pub async fn name(&self) -> String {
        match load(self).await {
            Ok((config, context)) => context.unwrap_or_else(|| config.cluster_url.to_string()),
            Err(_) => "this cluster".to_owned(),
        }
    }

    fn limit(&self) -> Option<Duration> {
        self.request_timeout.filter(|limit| !limit.is_zero())
    }
}

fn non_empty(value: Option<&String>) -> Option<&String> {
    value.filter(|value| !value.is_empty())
}

async fn connect(
    found: Found,
    limit: Option<Duration>,
    metrics: Option<&RequestMetrics>,
) -> Result<Client, ConnectError> {
    let Found { config, source } = found;
    let server = config.cluster_url.to_string();
    if let Some(reason) = danger(&config) {
        return Err(ConnectError::Unsafe { server, reason });
    }
    let unreachable = |reason: &str| ConnectError::Unreachable { server: server.clone(), reason: in_words(reason) };
    let client = match metrics {
        Some(metrics) => transport::controller_client(config, source, limit, metrics),
        None => transport::command_client(config, source, limit),
    };
    let client = client.map_err(|error| unreachable(&message(&error)))?;
    let timeout = limit.unwrap_or(CONNECT_TIMEOUT).min(CONNECT_TIMEOUT);
    match tokio::time::timeout(timeout, client.apiserver_version()).await {
        Ok(Ok(_)) => Ok(client),
        Ok(Err(kube::Error::Api(status))) if status.code == 401 => {
            Err(ConnectError::Unauthorized { server, reason: status.message.clone() })
        }
        Ok(Err(error)) => Err(unreachable(&message(&error))),
        Err(_) => Err(unreachable(&format!("no answer in {timeout:?}"))),
    }
}

/// Returns the reason of a failed connection in words, with the fix. Libraries nest the cause in their own errors.
fn in_words(reason: &str) -> String {
    let check = "check that the server is running and that the kubeconfig has its address";
    let known = [
        ("Connection refused", "connection refused", check),
        ("failed to lookup address", "the name of the server cannot be resolved", check),
        ("No route to host", "no route to the server", check),
        (
            "UnknownIssuer",
            "the certificate of the server is signed by an unknown authority",
            "check certificate-authority in the kubeconfig",
        ),
        (
            "NotValidForName",
            "the certificate of the server is not valid for this name",
            "check server and tls-server-name in the kubeconfig",
        ),
        ("Expired", "the certificate of the server has expired", "renew the certificate"),
    ];
    match known.into_iter().find(|(mark, _, _)| reason.contains(mark)) {
        Some((_, what, fix)) => format!("{what}; {fix}"),
        // The client puts its own name before the cause.
        None => format!("{}; {check}", reason.strip_prefix("ServiceError: ").unwrap_or(reason)),
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
async fn find(arguments: &ClusterArguments) -> Result<Found, ConnectError> {
    let path = non_empty_path(arguments.kubeconfig.as_ref());
    match load(arguments).await {
        Ok((config, context)) => {
            // Reloading uses the context of the start: the user may have switched the kubeconfig to another cluster
            // meanwhile.
            let again = ClusterArguments { context, ..arguments.clone() };
            let source: Source = Arc::new(move || {
                let again = again.clone();
                Box::pin(async move {
                    let loaded = load(&again).await;
                    loaded.map(|(config, _)| config).map_err(|error| error.text())
                })
            });
            Ok(Found { config, source })
        }
        Err(LoadError::Flag(error)) => Err(error),
        Err(LoadError::Kubeconfig(error)) => {
            let reason = reason(&error);
            if let Some(path) = path {
                return Err(ConnectError::Kubeconfig { path, reason });
            }
            // Contexts exist in kubeconfig files only, so the service account of a pod cannot satisfy --context.
            let named = [&arguments.context, &arguments.cluster, &arguments.user];
            if named.into_iter().any(|name| non_empty(name.as_ref()).is_some()) {
                return Err(ConnectError::NoCluster { reason });
            }
            let config =
                without_kubeconfig(arguments).map_err(|error| error.unwrap_or(ConnectError::NoCluster { reason }))?;
            let again = arguments.clone();
            let source: Source = Arc::new(move || {
                let again = again.clone();
                Box::pin(async move {
                    let loaded = without_kubeconfig(&again);
                    loaded.map_err(|error| error.map_or_else(String::new, |error| error.to_string()))
                })
            });
            Ok(Found { config, source })
        }
    }
}

fn non_empty_path(path: Option<&PathBuf>) -> Option<PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty()).cloned()
}

/// Reason why a kubeconfig cannot be loaded.
enum LoadError {
    /// A file cannot be read, or holds no usable cluster.
    Kubeconfig(KubeconfigError),
    /// A flag names something that does not exist, or has an unusable value.
    Flag(ConnectError),
}

impl LoadError {
    fn text(&self) -> String {
        match self {
            Self::Kubeconfig(error) => reason(error),
            Self::Flag(error) => error.to_string(),
        }
    }
}

impl From<KubeconfigError> for LoadError {
    fn from(error: KubeconfigError) -> Self {
        Self::Kubeconfig(error)
    }
}

/// Loads a kubeconfig with every file that it names. Returns the configuration and the name of the context in use.
async fn load(arguments: &ClusterArguments) -> Result<(Config, Option<String>), LoadError> {
    let file = match non_empty_path(arguments.kubeconfig.as_ref()) {
        Some(path) => Kubeconfig::read_from(path)?,
        None => of_files(&files(std::env::var_os("KUBECONFIG"), std::env::home_dir()))?,
    };
    let given = |value: &Option<String>| non_empty(value.as_ref()).cloned();
    let (context, cluster, user) = (given(&arguments.context), given(&arguments.cluster), given(&arguments.user));
    exists("context", context.as_ref(), file.contexts.iter().map(|one| &one.name))?;
    exists("cluster", cluster.as_ref(), file.clusters.iter().map(|one| &one.name))?;
    exists("user", user.as_ref(), file.auth_infos.iter().map(|one| &one.name))?;
    let context = context.or_else(|| file.current_context.clone());
    if context.is_none()
        && cluster.is_none()
        && let Some(server) = given(&arguments.server)
    {
        // As with kubectl, an address is enough for a server that needs no more.
        return Ok((overridden(Config::new(url(&server)?), arguments)?, None));
    }
    let options = KubeConfigOptions { context: context.clone(), cluster, user };
    let config = Config::from_custom_kubeconfig(file, &options).await?;
    Ok((overridden(config, arguments)?, context))
}

/// Returns the error that a flag names something that the kubeconfig does not have.
fn exists<'a>(
    what: &'static str,
    name: Option<&String>,
    mut known: impl Iterator<Item = &'a String> + Clone,
) -> Result<(), LoadError> {
    let Some(name) = name else { return Ok(()) };
    let all = known.clone().map(String::as_str).collect::<Vec<_>>().join(", ");
    if known.any(|one| one == name) {
        return Ok(());
    }
    Err(LoadError::Flag(ConnectError::Unknown { what, name: name.clone(), known: all }))
}

/// Returns the files of the kubeconfig, as kubectl finds them: those in `KUBECONFIG`, or `~/.kube/config`.
fn files(listed: Option<OsString>, home: Option<PathBuf>) -> Vec<PathBuf> {
    let listed = listed.map(|list| std::env::split_paths(&list).collect::<Vec<_>>()).unwrap_or_default();
    let listed: Vec<PathBuf> = listed.into_iter().filter(|path| !path.as_os_str().is_empty()).collect();
    if listed.is_empty() { home.map(|home| home.join(".kube/config")).into_iter().collect() } else { listed }
}

/// Merges the files. As with kubectl, files that do not exist are skipped.
fn of_files(files: &[PathBuf]) -> Result<Kubeconfig, KubeconfigError> {
    let existing: Vec<&PathBuf> = files.iter().filter(|path| path.exists()).collect();
    if let ([], Some(first)) = (&existing[..], files.first()) {
        // The error names the file that would have been read.
        return Kubeconfig::read_from(first);
    }
    let mut merged = Kubeconfig::default();
    for file in existing {
        merged = merged.merge(Kubeconfig::read_from(file)?)?;
    }
    Ok(merged)
}

/// Returns the configuration of the service account of the pod, or else that of the address in `--server`. `None` as the
/// error stands for neither.
fn without_kubeconfig(arguments: &ClusterArguments) -> Result<Config, Option<ConnectError>> {
    let only_flag = |error: LoadError| match error {
        LoadError::Flag(error) => Some(error),
        LoadError::Kubeconfig(_) => None,
    };
    let config = match (Config::incluster(), non_empty(arguments.server.as_ref())) {
        (Ok(config), _) => config,
        (Err(_), Some(server)) => Config::new(url(server).map_err(only_flag)?),
        (Err(_), None) => return Err(None),
    };
    overridden(config, arguments).map_err(only_flag)
}

/// Applies the flags that change a loaded configuration.
fn overridden(mut config: Config, arguments: &ClusterArguments) -> Result<Config, LoadError> {
    if let Some(server) = non_empty(arguments.server.as_ref()) {
        config.cluster_url = url(server)?;
    }
    if let Some(token) = non_empty(arguments.token.as_ref()) {
        // The token takes the place of all other credentials: the API server would prefer a client certificate.
        let auth_info: AuthInfo = serde_json::from_value(serde_json::json!({ "token": token })).unwrap_or_default();
        config.auth_info = auth_info;
    }
    if let Some(user) = non_empty(arguments.impersonate.as_ref()) {
        config.auth_info.impersonate = Some(user.clone());
    }
    if !arguments.impersonate_groups.is_empty() {
        if config.auth_info.impersonate.is_none() {
            let (flag, value) = ("--as-group", arguments.impersonate_groups.join(","));
            let reason = "a group is impersonated together with a user; give --as too".to_owned();
            return Err(LoadError::Flag(ConnectError::Flag { flag, value, reason }));
        }
        config.auth_info.impersonate_groups = Some(arguments.impersonate_groups.clone());
    }
    Ok(config)
}

fn url(server: &str) -> Result<http::Uri, LoadError> {
    let whole = if server.contains("://") { server.to_owned() } else { format!("https://{server}") };
    whole.parse().map_err(|error: http::uri::InvalidUri| {
        let (flag, value, reason) = ("--server", server.to_owned(), error.to_string());
        LoadError::Flag(ConnectError::Flag { flag, value, reason })
    })
}

/// Returns in words why a kubeconfig cannot be used.
fn reason(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(error, path) => {
            format!("cannot read {}: {}", path.display(), super::output::io_reason(error))
        }
        KubeconfigError::CurrentContextNotSet => "the kubeconfig has no current-context".to_owned(),
        KubeconfigError::FindPath => "there is no home directory".to_owned(),
        other => with_causes(other),
    }
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

    #[test]
    fn missing_files_of_a_list_are_skipped_and_the_first_file_wins() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, context: &str| {
            let path = dir.path().join(name);
            let text =
                format!("current-context: {context}\ncontexts: [{{name: {context}, context: {{cluster: c}}}}]\n");
            std::fs::write(&path, text).unwrap();
            path
        };
        let (first, second) = (file("a", "one"), file("b", "two"));
        let list = std::env::join_paths([dir.path().join("missing"), first.clone(), second.clone()]).unwrap();
        let listed = files(Some(list), None);
        let merged = of_files(&listed).unwrap();
        assert_eq!(merged.current_context.as_deref(), Some("one"));
        assert_eq!(merged.contexts.len(), 2);
        let missing = of_files(&[dir.path().join("missing")]).unwrap_err();
        assert!(reason(&missing).ends_with("missing: no such file or directory"), "{}", reason(&missing));
        assert_eq!(files(None, Some("/home/a".into())), [PathBuf::from("/home/a/.kube/config")]);
        assert_eq!(files(Some(OsString::new()), Some("/home/a".into())), [PathBuf::from("/home/a/.kube/config")]);
    }

    #[test]
    fn flags_override_the_server_and_the_credentials() {
        let config = || Config::new("https://a.example.com".parse().unwrap());
        let arguments = ClusterArguments {
            server: Some("b.example.com:6443".to_owned()),
            token: Some("secret".to_owned()),
            impersonate: Some("jane".to_owned()),
            impersonate_groups: vec!["dev".to_owned()],
            ..ClusterArguments::default()
        };
        let Ok(changed) = overridden(config(), &arguments) else { panic!("the flags are valid") };
        assert_eq!(changed.cluster_url.to_string(), "https://b.example.com:6443/");
        assert!(changed.auth_info.token.is_some());
        assert_eq!(changed.auth_info.impersonate.as_deref(), Some("jane"));
        assert_eq!(changed.auth_info.impersonate_groups, Some(vec!["dev".to_owned()]));
        let given = arguments.given();
        assert!(given.contains(&("--as", "jane".to_owned())) && !format!("{given:?}").contains("secret"), "{given:?}");
        let alone = ClusterArguments { impersonate: None, ..arguments };
        let error = overridden(config(), &alone).err().map(|error| error.text()).unwrap_or_default();
        assert!(error.contains("--as-group") && error.contains("give --as"), "{error}");
    }

    #[test]
    fn reason_of_a_failed_connection_is_in_words() {
        let refused =
            in_words("ServiceError: client error (Connect): tcp connect error: Connection refused (os error 111)");
        assert!(refused.starts_with("connection refused; check that the server"), "{refused}");
        let slow = in_words("ServiceError: no complete response within 1ms");
        assert!(slow.starts_with("no complete response within 1ms; check that the server"), "{slow}");
        let issuer = in_words("client error (Connect): invalid peer certificate: UnknownIssuer");
        assert!(issuer.contains("unknown authority; check certificate-authority"), "{issuer}");
    }
}
