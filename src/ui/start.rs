//! Starts a console, on this machine or in the cluster.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use jiff::tz::TimeZone;
use kube::Client;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::access::{Access, Decision, Permission};
use super::cache::Caches;
use super::console::Console;
use super::identity::User;
use super::logs::Followers;
use super::origin::Origins;
use super::pods::PodReads;
use super::queues::QueueReads;
use super::server;
use super::session::Sessions;
use super::sign_in::{InCluster, SignIn};
use crate::client::explain::collect::Scope;
use crate::client::suggest::Suggestions;

/// Permission that a console of all namespaces needs.
const LIST_JOBS: Permission = Permission { verb: "list", group: "batch", resource: "jobs" };

/// Settings of a console.
pub struct Options {
    /// Client with the credentials of the user.
    pub client: Client,
    /// Client that feeds the caches. On the machine of the user, this is the client of the user.
    pub reader: Client,
    /// Namespace that the flags or the context select.
    pub namespace: String,
    /// Whether the console shows this namespace only, all namespaces, or what the user may list (`None`).
    pub all_namespaces: Option<bool>,
    /// Loopback address on which the console listens.
    pub address: IpAddr,
    /// Port; 0 for a free one.
    pub port: u16,
    /// Whether the console makes no changes.
    pub read_only: bool,
    /// Name of the cluster, as pages show it.
    pub cluster: String,
    /// Writes the commands that pages suggest.
    pub suggest: Suggestions,
}

/// Reason why a console does not start, or stops.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum StartError {
    #[error("--address {0} is no loopback address; the console serves this machine only, so use 127.0.0.1 or ::1")]
    Address(IpAddr),
    #[error("cannot listen on {address}: {error}; choose {fix}")]
    Listen { address: SocketAddr, error: std::io::Error, fix: &'static str },
    #[error("the operating system has no random numbers for the sign-in: {0}")]
    Random(#[from] getrandom::Error),
    #[error("the console stopped: {0}")]
    Serve(std::io::Error),
}

/// Serves a console until `stop` resolves. `started` gets the address with the one-time token.
///
/// # Errors
/// The console cannot listen, or fails later.
pub async fn serve(
    options: Options,
    started: impl FnOnce(&str),
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), StartError> {
    let Options { client, reader, namespace, all_namespaces, address, port, read_only, cluster, suggest } = options;
    if !address.is_loopback() {
        return Err(StartError::Address(address));
    }
    let (listener, bound) =
        listen(SocketAddr::new(address, port), "another port with --port, or any free one with --port=0").await?;
    let (access, user) = (Access::default(), User::local(client));
    let all = match all_namespaces {
        Some(all) => all,
        None => access.check(&user, LIST_JOBS, None).await == Decision::Allowed,
    };
    let sessions = Sessions::new(bound.port())?;
    started(&format!("http://{bound}{}", sessions.login_path().unwrap_or_default()));
    let parts = Parts {
        scope: if all { Scope::All } else { Scope::Namespace(namespace) },
        access,
        sign_in: SignIn::Session { sessions, user },
        origins: Origins::loopback(bound.port()),
        read_only,
        zone: TimeZone::system(),
        suggest,
        cluster,
    };
    run(listener, reader, parts, stop).await
}

/// Settings of a console in the cluster.
pub struct InClusterOptions {
    /// Users of the console.
    pub users: InCluster,
    /// Client with the credentials of the console, which feeds the caches.
    pub reader: Client,
    /// Namespace to which the console is limited. `None` for all namespaces.
    pub namespace: Option<String>,
    /// Address on which the console listens.
    pub listen: SocketAddr,
    /// Hosts under which the proxy serves the console.
    pub hosts: Vec<String>,
    /// Whether the console makes no changes.
    pub read_only: bool,
    /// Name of the cluster, as pages show it.
    pub cluster: String,
    /// Writes the commands that pages suggest.
    pub suggest: Suggestions,
}

/// Serves a console in the cluster until `stop` resolves. `started` gets the address on which the console listens.
///
/// # Errors
/// The console cannot listen, or fails later.
pub async fn serve_in_cluster(
    options: InClusterOptions,
    started: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), StartError> {
    let InClusterOptions { users, reader, namespace, listen: address, hosts, read_only, cluster, suggest } = options;
    let (listener, bound) = listen(address, "another address with --listen").await?;
    started(bound);
    let parts = Parts {
        scope: namespace.map_or(Scope::All, Scope::Namespace),
        access: Access::default(),
        sign_in: SignIn::InCluster(users),
        origins: Origins::behind_proxy(hosts),
        read_only,
        zone: TimeZone::UTC,
        suggest,
        cluster,
    };
    run(listener, reader, parts, stop).await
}

async fn listen(address: SocketAddr, fix: &'static str) -> Result<(TcpListener, SocketAddr), StartError> {
    let unusable = |error| StartError::Listen { address, error, fix };
    let listener = TcpListener::bind(address).await.map_err(unusable)?;
    let bound = listener.local_addr().map_err(unusable)?;
    Ok((listener, bound))
}

/// Parts in which the consoles on this machine and in the cluster differ.
struct Parts {
    scope: Scope,
    access: Access,
    sign_in: SignIn,
    origins: Origins,
    read_only: bool,
    zone: TimeZone,
    suggest: Suggestions,
    cluster: String,
}

/// Serves the console while the caches follow the cluster.
async fn run(
    listener: TcpListener,
    reader: Client,
    parts: Parts,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), StartError> {
    let Parts { scope, access, sign_in, origins, read_only, zone, suggest, cluster } = parts;
    let caches = Arc::new(Caches::new(scope));
    let (stopping, stopped) = watch::channel(false);
    let console = Arc::new(Console {
        caches: caches.clone(),
        access,
        pods: PodReads::default(),
        followers: Followers::default(),
        queues: QueueReads::default(),
        sign_in,
        origins,
        read_only,
        zone,
        suggest,
        cluster,
        stop: stopped,
    });
    let feeding = tokio::spawn(caches.feed(reader));
    let served = server::serve(listener, console, stopping, stop).await;
    feeding.abort();
    served.map_err(StartError::Serve)
}
