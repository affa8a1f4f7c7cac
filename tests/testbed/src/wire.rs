//! A TCP proxy whose connections can become silent: no data passes in either direction, and no connection is closed.
//!
//! The kernel still acknowledges the data of the client, so TCP keep-alive alone does not detect the silence.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Time without data after which a connection is idle.
const IDLE: Duration = Duration::from_millis(300);

/// Selection of the connections that become silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// All existing connections. New connections work.
    All,
    /// The newest connection.
    One,
    /// All idle connections. They stand for half-open ones, as after the expiry of a NAT entry.
    Idle,
}

/// A proxy that listens until it is dropped.
pub struct Wire {
    /// Address on which the proxy listens.
    pub address: SocketAddr,
    connections: Arc<Mutex<Vec<Weak<Connection>>>>,
    task: JoinHandle<()>,
}

struct Connection {
    silent: watch::Sender<bool>,
    last: Mutex<Instant>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    /// Starts a proxy that connects each client to `server`.
    pub async fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let connections: Arc<Mutex<Vec<Weak<Connection>>>> = Arc::default();
        let known = connections.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let connection =
                    Arc::new(Connection { silent: watch::Sender::new(false), last: Mutex::new(Instant::now()) });
                let mut known = locked(&known);
                known.retain(|connection| connection.strong_count() > 0);
                known.push(Arc::downgrade(&connection));
                tokio::spawn(carry(client, server, connection));
            }
        });
        Ok(Self { address, connections, task })
    }

    /// Starts a proxy in front of a control plane, and writes a copy of a kubeconfig that connects through the proxy.
    pub async fn before(server: &str, kubeconfig: &Path) -> Result<(Self, PathBuf)> {
        let address = server.rsplit('/').next().unwrap_or_default().parse().context("the server's address")?;
        let wire = Self::start(address).await?;
        let text = std::fs::read_to_string(kubeconfig)?;
        let path = kubeconfig.with_extension(format!("{}.kubeconfig", wire.address.port()));
        std::fs::write(&path, text.replace(&address.to_string(), &wire.address.to_string()))?;
        Ok((wire, path))
    }

    /// Makes the selected connections silent for the rest of their life, and returns their number.
    pub fn silence(&self, which: Silence) -> usize {
        let connections: Vec<Arc<Connection>> = locked(&self.connections).iter().filter_map(Weak::upgrade).collect();
        let speaking = connections.into_iter().filter(|connection| !*connection.silent.borrow());
        let mut chosen: Vec<_> = match which {
            Silence::Idle => speaking.filter(|connection| locked(&connection.last).elapsed() > IDLE).collect(),
            Silence::All | Silence::One => speaking.collect(),
        };
        if which == Silence::One {
            // The newest connection is the one that current requests most likely use.
            chosen.drain(..chosen.len().saturating_sub(1));
        }
        chosen.iter().for_each(|connection| {
            connection.silent.send_replace(true);
        });
        chosen.len()
    }
}

async fn carry(client: TcpStream, server: SocketAddr, connection: Arc<Connection>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((client_read, client_write), (server_read, server_write)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = pump(client_read, server_write, &connection) => {}
        () = pump(server_read, client_write, &connection) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, connection: &Connection) {
    let mut silent = connection.silent.subscribe();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            biased;
            () = async { drop(silent.wait_for(|silent| *silent).await) } => None,
            read = from.read(&mut buffer) => Some(read.unwrap_or_default()),
        };
        let Some(read) = read else { return std::future::pending().await };
        *locked(&connection.last) = Instant::now();
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
