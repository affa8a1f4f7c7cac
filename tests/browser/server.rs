//! A server of fixed pages, with the content security policy of the console.

use std::net::SocketAddr;

use anyhow::Result;
use axum::Router;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::routing::get;
use jobwright::ui::guard::POLICY;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A server on loopback. Dropping the value ends the server.
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts a server of these files: the path, the media type, and the text.
    pub async fn start(files: Vec<(&'static str, &'static str, String)>) -> Result<Self> {
        let mut router = Router::new();
        for (path, media, text) in files {
            let headers = [(CONTENT_TYPE, media), (CONTENT_SECURITY_POLICY, POLICY)];
            router = router.route(path, get(async move || (headers, text)));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("the server ended") });
        Ok(Self { address, task })
    }

    /// Returns the URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
