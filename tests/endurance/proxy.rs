//! A proxy between a replica and the API server that, in bad weather, loses, delays, truncates and refuses, and behind
//! which connections go silent.

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

/// How often something goes wrong in bad weather, of a hundred requests.
const BAD: u32 = 25;
/// The longest a request is late. A write may be under way for no longer than a Lease outlasts the leader's own deadline.
const LATEST: Duration = Duration::from_millis(800);
/// How often a watch is cut in bad weather.
const CUTS: Duration = Duration::from_millis(700);

/// How long the server is overloaded, and how long it asks to wait, in seconds.
pub const OVERLOADED: u64 = 20;

type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// What goes wrong with every request for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Spell {
    /// Nothing.
    #[default]
    None,
    /// Every other write takes effect and is answered 504.
    LostWrites,
    /// Every other write is refused with 429 and a `Retry-After` of [`OVERLOADED`] seconds.
    Overloaded,
    /// Every other answer comes one byte each second.
    Dripping,
}

impl Spell {
    const ALL: [Self; 4] = [Self::None, Self::LostWrites, Self::Overloaded, Self::Dripping];
}

/// The weather over all proxies.
#[derive(Default)]
pub struct Weather {
    bad: AtomicBool,
    /// The number of a [`Spell`].
    spell: AtomicU8,
    /// Requests spoilt so far.
    pub spoilt: AtomicU64,
    /// Watches cut so far.
    pub cut: AtomicU64,
}

impl Weather {
    /// From now on it is bad, or fine.
    pub fn set(&self, bad: bool) {
        self.bad.store(bad, Ordering::Relaxed);
    }

    /// From now on this goes wrong.
    pub fn cast(&self, spell: Spell) {
        self.spell.store(spell as u8, Ordering::Relaxed);
    }

    fn spell(&self) -> Spell {
        Spell::ALL[usize::from(self.spell.load(Ordering::Relaxed)) % Spell::ALL.len()]
    }

    fn is_bad(&self) -> bool {
        self.bad.load(Ordering::Relaxed)
    }
}

/// What happens to a request.
#[derive(Clone, Copy)]
enum Delivery {
    Fine,
    /// The connection breaks before the server has it.
    LostRequest,
    /// The server does it, and the connection breaks before the answer.
    LostAnswer,
    /// The answer breaks off.
    Truncated,
    Late,
    Refused(u16),
    /// The server does it, and answers 504.
    Unknown,
    /// Refused with a header and a plain text.
    Overloaded,
    /// The answer comes one byte each second.
    Dripping,
}

/// A proxy that listens until it is dropped.
pub struct Proxy {
    /// A kubeconfig that leads to it.
    pub kubeconfig: PathBuf,
    /// What the replica's connections go through.
    wire: Wire,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Listens, and passes on to the API server with the rights of this client.
    pub async fn start(client: Client, weather: &'static Weather, dir: &Path) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let wire = Wire::start(listener.local_addr()?).await?;
        let kubeconfig = dir.join(format!("proxy-{}.kubeconfig", wire.address.port()));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": format!("http://{}", wire.address)}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "nobody"}}],
            "users": [{"name": "nobody", "user": {}}],
        });
        std::fs::write(&kubeconfig, config.to_string()).context("writing the proxy's kubeconfig")?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, client.clone(), weather));
            }
        });
        Ok(Self { kubeconfig, wire, task })
    }

    /// Makes connections of its replica silent for good.
    pub fn silence(&self, which: Silence) -> usize {
        self.wire.silence(which)
    }
}

async fn serve(stream: TcpStream, client: Client, weather: &'static Weather) {
    let service = service_fn(|request| pass_on(request, client.clone(), weather));
    // A connection that breaks is what this is for.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn pass_on(request: Request<Incoming>, client: Client, weather: &'static Weather) -> io::Result<Answer> {
    let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    let delivery = delivery(weather, request.method() != http::Method::GET, watches);
    match delivery {
        Delivery::LostRequest => return Err(broken()),
        Delivery::Refused(code) => return Ok(refusal(code)),
        Delivery::Late => tokio::time::sleep(LATEST.mul_f64(fastrand::f64())).await,
        Delivery::Overloaded => return Ok(overloaded()),
        Delivery::Fine | Delivery::LostAnswer | Delivery::Truncated | Delivery::Unknown | Delivery::Dripping => {}
    }
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    // The client says for itself where it goes and who it is.
    parts.headers.remove(http::header::HOST);
    let answer = client.send(Request::from_parts(parts, Body::from(body.to_vec()))).await.map_err(io::Error::other)?;
    let (parts, body) = answer.into_parts();
    if watches {
        return Ok(Response::from_parts(parts, watched(body, weather)));
    }
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    match delivery {
        Delivery::LostAnswer => Err(broken()),
        Delivery::Unknown => Ok(refusal(504)),
        Delivery::Dripping => {
            let drops = stream::unfold(body, |mut body| async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                (!body.is_empty()).then(|| (Ok(Frame::data(body.split_to(1))), body))
            });
            Ok(Response::from_parts(parts, UnsyncBoxBody::new(StreamBody::new(drops))))
        }
        Delivery::Truncated => {
            let half = body.slice(..body.len() / 2);
            let frames = stream::iter([Ok(Frame::data(half)), Err(broken())]);
            Ok(Response::from_parts(parts, UnsyncBoxBody::new(StreamBody::new(frames))))
        }
        _ => Ok(Response::from_parts(parts, whole(body))),
    }
}

/// A watch, which is cut in bad weather, in the middle of an event where there is one.
fn watched(body: Body, weather: &'static Weather) -> UnsyncBoxBody<Bytes, io::Error> {
    let frames = stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        loop {
            let frame = match tokio::time::timeout(CUTS, body.frame()).await {
                Err(_) if !weather.is_bad() => continue,
                Err(_) => None,
                Ok(None) => return None,
                Ok(Some(Err(error))) => return Some((Err(io::Error::other(error)), None)),
                Ok(Some(Ok(frame))) => Some(frame),
            };
            if !weather.is_bad() || fastrand::u32(0..100) >= BAD {
                if let Some(frame) = frame {
                    return Some((Ok(frame), Some(body)));
                }
                continue;
            }
            weather.cut.fetch_add(1, Ordering::Relaxed);
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

fn delivery(weather: &Weather, writes: bool, watches: bool) -> Delivery {
    let spell = match weather.spell() {
        Spell::LostWrites if writes => Some(Delivery::Unknown),
        Spell::Overloaded if writes => Some(Delivery::Overloaded),
        Spell::Dripping if !watches => Some(Delivery::Dripping),
        _ => None,
    };
    if let Some(delivery) = spell.filter(|_| fastrand::bool()) {
        weather.spoilt.fetch_add(1, Ordering::Relaxed);
        return delivery;
    }
    if !weather.is_bad() || fastrand::u32(0..100) >= BAD {
        return Delivery::Fine;
    }
    weather.spoilt.fetch_add(1, Ordering::Relaxed);
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

/// As API priority and fairness refuses.
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
    io::Error::new(io::ErrorKind::ConnectionReset, "the connection broke")
}
