//! Proxy between a replica and the API server that injects faults: it loses, delays, truncates and refuses requests,
//! and silences connections.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::stream;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use serde_json::json;
use testbed::wire::{Silence, Wire};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Percentage of requests with a fault while random faults are on.
const FAULT_PERCENT: u32 = 25;
/// Maximum delay of a request. A write must not be in flight for longer than a Lease outlasts the leader's renew
/// deadline.
const MAX_DELAY: Duration = Duration::from_millis(800);
/// Time without an event after which a watch may be cut while random faults are on.
const CUTS: Duration = Duration::from_millis(700);

/// `Retry-After` of an overloaded API server, in seconds.
pub const OVERLOADED: u64 = 20;

type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// Fault of every second request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum ProxyFault {
    /// No fault.
    #[default]
    None,
    /// Every second write takes effect and gets the response 504.
    LostWrites,
    /// Every second write is refused with 429 and a `Retry-After` of [`OVERLOADED`] seconds.
    Overloaded,
    /// Every second response arrives one byte each second.
    Slow,
}

impl ProxyFault {
    const ALL: [Self; 4] = [Self::None, Self::LostWrites, Self::Overloaded, Self::Slow];
}

/// Faults of all proxies, shared by the proxies and the test.
#[derive(Default)]
pub struct ProxyFaults {
    /// Whether random faults are on.
    random: AtomicBool,
    /// Number of a [`ProxyFault`].
    fault: AtomicU8,
    /// Number of requests with a fault so far.
    pub spoilt: AtomicU64,
    /// Number of watches cut so far.
    pub cut: AtomicU64,
}

impl ProxyFaults {
    /// Switches random faults on or off.
    pub fn set_random(&self, on: bool) {
        self.random.store(on, Ordering::Relaxed);
    }

    /// Sets the fault of every second request.
    pub fn set(&self, fault: ProxyFault) {
        self.fault.store(fault as u8, Ordering::Relaxed);
    }

    fn fault(&self) -> ProxyFault {
        ProxyFault::ALL[usize::from(self.fault.load(Ordering::Relaxed)) % ProxyFault::ALL.len()]
    }

    fn is_random(&self) -> bool {
        self.random.load(Ordering::Relaxed)
    }
}

/// Disposition of one request.
#[derive(Clone, Copy)]
enum Delivery {
    Fine,
    /// The connection is reset before the request reaches the API server.
    LostRequest,
    /// The request takes effect, and the connection is reset before the response.
    LostAnswer,
    /// The response is truncated.
    Truncated,
    Late,
    Refused(u16),
    /// The request takes effect, and the response is 504.
    Unknown,
    /// The request is refused with 429, a `Retry-After` header and a plain text.
    Overloaded,
    /// The response arrives one byte each second.
    Slow,
}

/// Proxy that listens until it is dropped.
pub struct Proxy {
    /// Path of a kubeconfig for the proxy.
    pub kubeconfig: PathBuf,
    /// TCP relay in front of the proxy, which can silence connections.
    wire: Wire,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Starts a proxy that forwards requests to the API server with the credentials of this client.
    pub async fn start(client: Client, proxy_faults: &'static ProxyFaults, dir: &Path) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let wire = Wire::start(listener.local_addr()?).await?;
        let kubeconfig = dir.join(format!("proxy-{}.kubeconfig", wire.address.port()));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": format!("http://{}", wire.address)}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "none"}}],
            "users": [{"name": "none", "user": {}}],
        });
        std::fs::write(&kubeconfig, config.to_string()).context("writing the proxy's kubeconfig")?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, client.clone(), proxy_faults));
            }
        });
        Ok(Self { kubeconfig, wire, task })
    }

    /// Makes connections of the replica silent permanently. Returns their number.
    pub fn silence(&self, which: Silence) -> usize {
        self.wire.silence(which)
    }
}

async fn serve(stream: TcpStream, client: Client, proxy_faults: &'static ProxyFaults) {
    let service = service_fn(|request| pass_on(request, client.clone(), proxy_faults));
    // Connections are reset on purpose, so the error is ignored.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn pass_on(request: Request<Incoming>, client: Client, proxy_faults: &'static ProxyFaults) -> io::Result<Answer> {
    let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    let delivery = delivery(proxy_faults, request.method() != http::Method::GET, watches);
    match delivery {
        Delivery::LostRequest => return Err(broken()),
        Delivery::Refused(code) => return Ok(refusal(code)),
        Delivery::Late => tokio::time::sleep(MAX_DELAY.mul_f64(fastrand::f64())).await,
        Delivery::Overloaded => return Ok(overloaded()),
        Delivery::Fine | Delivery::LostAnswer | Delivery::Truncated | Delivery::Unknown | Delivery::Slow => {}
    }
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    // The client sets its own host and credentials.
    parts.headers.remove(http::header::HOST);
    let answer = client.send(Request::from_parts(parts, Body::from(body.to_vec()))).await.map_err(io::Error::other)?;
    let (parts, body) = answer.into_parts();
    if watches {
        return Ok(Response::from_parts(parts, watched(body, proxy_faults)));
    }
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    match delivery {
        Delivery::LostAnswer => Err(broken()),
        Delivery::Unknown => Ok(refusal(504)),
        Delivery::Slow => {
            let bytes = stream::unfold(body, |mut body| async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                (!body.is_empty()).then(|| (Ok(Frame::data(body.split_to(1))), body))
            });
            Ok(Response::from_parts(parts, UnsyncBoxBody::new(StreamBody::new(bytes))))
        }
        Delivery::Truncated => {
            let half = body.slice(..body.len() / 2);
            let frames = stream::iter([Ok(Frame::data(half)), Err(broken())]);
            Ok(Response::from_parts(parts, UnsyncBoxBody::new(StreamBody::new(frames))))
        }
        _ => Ok(Response::from_parts(parts, whole(body))),
    }
}

/// Returns the events of a watch. While random faults are on, the watch is cut, possibly in the middle of an event.
fn watched(body: Body, proxy_faults: &'static ProxyFaults) -> UnsyncBoxBody<Bytes, io::Error> {
    let frames = stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        loop {
            let frame = match tokio::time::timeout(CUTS, body.frame()).await {
                Err(_) if !proxy_faults.is_random() => continue,
                Err(_) => None,
                Ok(None) => return None,
                Ok(Some(Err(error))) => return Some((Err(io::Error::other(error)), None)),
                Ok(Some(Ok(frame))) => Some(frame),
            };
            if !proxy_faults.is_random() || fastrand::u32(0..100) >= FAULT_PERCENT {
                if let Some(frame) = frame {
                    return Some((Ok(frame), Some(body)));
                }
                continue;
            }
            proxy_faults.cut.fetch_add(1, Ordering::Relaxed);
            let part = frame.and_then(|frame| frame.into_data().ok()).filter(|_| fastrand::bool());
            return match part {
                Some(data) => {
                    let half = data.slice(..data.len() / 2);
                    Some((Ok(Frame::data(half)), None))
                }
                None => Some((Err(broken()), None)),
            };
        }
    });
    UnsyncBoxBody::new(StreamBody::new(frames))
}

/// Draws the disposition of a request.
fn delivery(proxy_faults: &ProxyFaults, writes: bool, watches: bool) -> Delivery {
    let fault = match proxy_faults.fault() {
        ProxyFault::LostWrites if writes => Some(Delivery::Unknown),
        ProxyFault::Overloaded if writes => Some(Delivery::Overloaded),
        ProxyFault::Slow if !watches => Some(Delivery::Slow),
        _ => None,
    };
    if let Some(delivery) = fault.filter(|_| fastrand::bool()) {
        proxy_faults.spoilt.fetch_add(1, Ordering::Relaxed);
        return delivery;
    }
    if !proxy_faults.is_random() || fastrand::u32(0..100) >= FAULT_PERCENT {
        return Delivery::Fine;
    }
    proxy_faults.spoilt.fetch_add(1, Ordering::Relaxed);
    let codes = [409, 422, 429, 500, 503, 504];
    match fastrand::u32(0..6) {
        0 => Delivery::LostRequest,
        1 => Delivery::LostAnswer,
        2 => Delivery::Truncated,
        3 => Delivery::Late,
        _ => Delivery::Refused(codes[fastrand::usize(0..codes.len())]),
    }
}

fn refusal(code: u16) -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": format!("injected {code}"),
        "reason": "Injected", "details": if code == 429 { json!({"retryAfterSeconds": 1}) } else { json!({}) },
    });
    let mut answer = Response::new(whole(Bytes::from(status.to_string())));
    *answer.status_mut() = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

/// Returns a refusal as API Priority and Fairness sends it.
fn overloaded() -> Answer {
    let mut answer = Response::new(whole(Bytes::from_static(b"Too many requests, please try again later.\n")));
    *answer.status_mut() = http::StatusCode::TOO_MANY_REQUESTS;
    answer.headers_mut().insert(http::header::RETRY_AFTER, OVERLOADED.into());
    answer
}

fn whole(body: Bytes) -> UnsyncBoxBody<Bytes, io::Error> {
    UnsyncBoxBody::new(Full::new(body).map_err(|never: Infallible| match never {}))
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the connection was reset")
}
