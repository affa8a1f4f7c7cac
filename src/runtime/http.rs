//! HTTP server for health and metrics on one port: `/livez`, `/readyz`, `/metrics`.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

/// Health check: returns the current problems, one sentence each. An empty list means healthy.
pub type Check = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// Binds `address` and serves in the background until `stop` resolves.
///
/// # Errors
/// The server cannot listen on the address. The error is a sentence that names the address and the cause.
pub async fn serve(
    address: SocketAddr,
    registry: Registry,
    (liveness, readiness): (Check, Check),
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), String> {
    let unusable =
        |error: std::io::Error| format!("cannot listen on {address}: {error}; choose another address with --listen");
    let listener = TcpListener::bind(address).await.map_err(unusable)?;
    tracing::info!(address = %listener.local_addr().map_err(unusable)?, "serving /livez, /readyz and /metrics");
    let registry = Arc::new(registry);
    let health = liveness.clone();
    let app = Router::new()
        .route("/livez", get(move || async move { answer(&liveness()) }))
        // The name that older components of Kubernetes use.
        .route("/healthz", get(move || async move { answer(&health()) }))
        .route("/readyz", get(move || async move { answer(&readiness()) }))
        .route("/metrics", get(move || async move { metrics(&registry) }));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stop).await {
            tracing::error!(%error, "server for health and metrics failed");
        }
    });
    Ok(())
}

fn answer(problems: &[String]) -> (StatusCode, String) {
    if problems.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n")
    }
}

type Page = (StatusCode, [(header::HeaderName, &'static str); 1], String);

fn metrics(registry: &Registry) -> Page {
    let mut text = String::new();
    let (code, text) = match prometheus_client::encoding::text::encode(&mut text, registry) {
        Ok(()) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    (code, [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_readiness_lists_the_problems() {
        assert_eq!(answer(&[]).0, StatusCode::OK);
        let (code, text) = answer(&["caches: not synced: pods".into(), "permissions: none".into()]);
        assert_eq!(
            (code, text.as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "caches: not synced: pods\npermissions: none\n")
        );
    }
}
