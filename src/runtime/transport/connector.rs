//! Opening of connections: the TLS configuration of kube, proxies, and the detection of dead connections.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, Write};
use hyper_rustls::{DefaultServerNameResolver, FixedServerNameResolver, HttpsConnector, ResolveServerName};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Config;
use kube::client::{ConfigExt, RustlsTlsError};
use tower::timeout::Timeout;
use tower::util::{BoxCloneSyncService, MapFuture};
use tower::{BoxError, Service};

use super::pools::{Http, Pool, Pools};

/// Longest time to open a connection, including the TLS handshake.
const CONNECT: Duration = Duration::from_secs(10);
/// Time after which an idle HTTP/1.1 connection is closed: shorter than the timeout of any common NAT or load balancer.
const IDLE: Duration = Duration::from_secs(30);
/// Interval of the HTTP/2 PINGs that check the connection of the watches, whether or not the connection is idle.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// Longest time until the answer to a PING. The interval and this timeout together limit the time until a dead watch is
/// detected.
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// Idle time before the first TCP keep-alive probe. Unless a proxy answers in place of the API server, the kernel
/// detects a dead connection too.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// Longest time for which sent data may be unacknowledged.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
/// HTTP/2 flow control window of one watch. A watch that is not read blocks at most its own share of the connection.
const WATCH_WINDOW: u32 = 1 << 20;
/// HTTP/2 flow control window of the connection that the watches share.
const WATCHES_WINDOW: u32 = 32 << 20;

/// Returns the pools of connections to the API server of this configuration. The function opens no connection.
///
/// # Errors
/// A certificate, a key, a server name or the proxy cannot be used.
pub(super) fn pools(config: &Config) -> kube::Result<Pools> {
    let tcp = tcp();
    let Some(proxy) = proxy(config)? else { return pools_over(config, tcp) };
    match proxy.uri().scheme_str() {
        Some("http") => pools_over(config, tunnel(&proxy, tcp)),
        Some("https") => pools_over(config, tunnel(&proxy, https(config, tcp, false)?)),
        _ => {
            let socks = SocksV5::new(proxy.uri().clone(), tcp);
            let socks = match proxy.raw_auth() {
                Some((user, password)) => socks.with_auth(user.to_owned(), password.to_owned()),
                None => socks,
            };
            pools_over(config, socks)
        }
    }
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    // The TLS layer above handles https addresses.
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    tcp
}

/// Returns the proxy that the kubeconfig or the environment configures for this API server.
fn proxy(config: &Config) -> kube::Result<Option<Intercept>> {
    let Some(url) = &config.proxy_url else { return Ok(None) };
    let unsupported = || kube::Error::ProxyProtocolUnsupported { proxy_url: Box::new(url.clone()) };
    if !matches!(url.scheme_str(), Some("http" | "https" | "socks5")) {
        return Err(unsupported());
    }
    // kube takes the proxy from the kubeconfig or from HTTPS_PROXY. NO_PROXY applies only to the latter.
    let variable = |names: [&str; 2]| names.iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default();
    let from_environment = variable(["HTTPS_PROXY", "https_proxy"]).parse::<Uri>().is_ok_and(|given| given == *url);
    let matcher = Matcher::builder().all(url.to_string());
    let matcher = if from_environment { matcher.no(variable(["NO_PROXY", "no_proxy"])) } else { matcher };
    let matcher = matcher.build();
    match matcher.intercept(&config.cluster_url) {
        Some(proxy) => Ok(Some(proxy)),
        None if from_environment => Ok(None),
        None => Err(unsupported()),
    }
}

fn tunnel<H>(proxy: &Intercept, connector: H) -> Tunnel<H> {
    let tunnel = Tunnel::new(proxy.uri().clone(), connector);
    match proxy.basic_auth() {
        Some(auth) => tunnel.with_auth(auth.clone()),
        None => tunnel,
    }
}

/// Wraps a connector in the TLS layer of the configuration.
fn https<H>(config: &Config, connector: H, http2: bool) -> kube::Result<HttpsConnector<H>> {
    let mut tls = config.rustls_client_config()?;
    if http2 {
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    let server_name: Arc<dyn ResolveServerName + Send + Sync> = match &config.tls_server_name {
        None => Arc::new(DefaultServerNameResolver::default()),
        Some(name) => {
            let invalid = |error| kube::Error::RustlsTls(RustlsTlsError::InvalidServerName(error));
            Arc::new(FixedServerNameResolver::new(name.clone().try_into().map_err(invalid)?))
        }
    };
    Ok(HttpsConnector::new(connector, tls, false, server_name))
}

fn pools_over<H>(config: &Config, connector: H) -> kube::Result<Pools>
where
    H: Service<Uri> + Clone + Send + Sync + 'static,
    H::Response: Connection + Read + Write + Send + Unpin + 'static,
    H::Future: Send + 'static,
    H::Error: Into<BoxError>,
{
    let in_time = |connector| MapFuture::new(Timeout::new(connector, CONNECT), Box::pin as fn(_) -> Pin<Box<_>>);
    let requests = in_time(https(config, connector.clone(), false)?);
    let watches = in_time(https(config, connector, true)?);
    let requests = move || -> Http {
        let client = legacy::Builder::new(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(requests.clone());
        BoxCloneSyncService::new(client)
    };
    let watches = move || -> Http {
        let client = legacy::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(None)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .http2_keep_alive_while_idle(true)
            .http2_initial_stream_window_size(WATCH_WINDOW)
            .http2_initial_connection_window_size(WATCHES_WINDOW)
            .build(watches.clone());
        BoxCloneSyncService::new(client)
    };
    Ok(Pools { watches: Pool::new(watches), requests: Pool::new(requests) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(url: &str) -> kube::Result<Option<String>> {
        let mut config = Config::new(Uri::from_static("https://api.example.com:6443"));
        config.proxy_url = Some(url.parse().unwrap());
        Ok(proxy(&config)?.map(|proxy| proxy.uri().to_string()))
    }

    #[test]
    fn proxy_of_the_kubeconfig_is_used_and_an_unsupported_scheme_is_rejected() {
        for url in ["http://proxy:3128/", "https://proxy:3128/", "socks5://proxy:1080/"] {
            assert_eq!(through(url).unwrap().as_deref(), Some(url));
        }
        assert_eq!(through("http://user:p%40ss@proxy:3128").unwrap().as_deref(), Some("http://proxy:3128/"));
        assert!(through("ftp://proxy:21").is_err());
    }
}
