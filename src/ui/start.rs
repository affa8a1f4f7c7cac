//! Starts a console on this machine.

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
use super::origin::Origins;
use super::pods::PodReads;
use super::server;
use super::session::Sessions;
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
    #[error("cannot listen on {address}: {error}; choose another port with --port, or any free one with --port=0")]
    Listen { address: SocketAddr, error: std::io::Error },
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
    let address = SocketAddr::new(address, port);
    let unusable = |error| StartError::Listen { address, error };
    let listener = TcpListener::bind(address).await.map_err(unusable)?;
    let bound = listener.local_addr().map_err(unusable)?;
    let (access, user) = (Access::default(), User::local(client));
    let all = match all_namespaces {
        Some(all) => all,
        None => access.check(&user, LIST_JOBS, None).await == Decision::Allowed,
    };
    let caches = Arc::new(Caches::new(if all { Scope::All } else { Scope::Namespace(namespace) }));
    let (stopping, stopped) = watch::channel(false);
    let console = Arc::new(Console {
        caches: caches.clone(),
        access,
        pods: PodReads::default(),
        sessions: Sessions::new(bound.port())?,
        origins: Origins::loopback(bound.port()),
        read_only,
        zone: TimeZone::system(),
        suggest,
        cluster,
        user,
        stop: stopped,
    });
    started(&format!("http://{bound}{}", console.sessions.login_path().unwrap_or_default()));
    let feeding = tokio::spawn(caches.feed(reader));
    let served = server::serve(listener, console, stopping, stop).await;
    feeding.abort();
    served.map_err(StartError::Serve)
}
