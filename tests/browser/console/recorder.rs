//! A proxy in front of the API server that records the requests of the console which change something.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{Method, StatusCode};
use kube::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Largest body of a request.
const MAX_BODY: usize = 4 << 20;

/// A request that changes something.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Method and path with the query, such as `DELETE /apis/batch/v1/…`.
    pub line: String,
    /// Media type of the body.
    pub media: String,
    /// Body of the request; null without one.
    pub body: Value,
}

type Changes = Arc<Mutex<Vec<Change>>>;

/// The proxy. Dropping the value ends it.
pub struct Recorder {
    changes: Changes,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Recorder {
    /// Starts the proxy, which sends every request with the permissions of this client.
    pub async fn start(client: Client) -> Result<Self> {
        let changes = Changes::default();
        let router = Router::new().fallback(forward).with_state((client, Arc::clone(&changes)));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("the proxy ended") });
        Ok(Self { changes, address, task })
    }

    /// Writes a kubeconfig for the proxy, and returns its path.
    pub fn kubeconfig(&self, dir: &Path) -> Result<PathBuf> {
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "production",
            "contexts": [{"name": "production", "context": {"cluster": "production", "user": "production"}}],
            "clusters": [{"name": "production", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "production", "user": {}}],
        });
        let path = dir.join("recorded.kubeconfig");
        std::fs::write(&path, kubeconfig.to_string())?;
        Ok(path)
    }

    /// Returns the changes since the last call.
    pub fn take(&self) -> Vec<Change> {
        std::mem::take(&mut *self.changes.lock().expect("a lock"))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(State((client, changes)): State<(Client, Changes)>, request: Request) -> Response {
    match answer(client, &changes, request).await {
        Ok(response) => response,
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    }
}

async fn answer(client: Client, changes: &Changes, request: Request) -> Result<Response> {
    let (mut head, body) = request.into_parts();
    let body = to_bytes(body, MAX_BODY).await?;
    let path = head.uri.path_and_query().context("a request without a path")?.as_str().to_owned();
    // Reviews of permissions change nothing.
    if head.method != Method::GET && !path.starts_with("/apis/authorization.k8s.io/") {
        let media = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
        let change = Change { line: format!("{} {path}", head.method), media: media.to_owned(), body };
        changes.lock().expect("a lock").push(change);
    }
    head.uri = path.parse()?;
    for name in [HOST, CONTENT_LENGTH, TRANSFER_ENCODING] {
        head.headers.remove(name);
    }
    let response = client.send(http::Request::from_parts(head, kube::client::Body::from(body.to_vec()))).await?;
    let (mut head, body) = response.into_parts();
    head.headers.remove(TRANSFER_ENCODING);
    Ok(Response::from_parts(head, Body::new(body)))
}
