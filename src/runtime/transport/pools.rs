//! Connections to the API server: one pool for watches and one pool for all other requests.
//!
//! The watches share one HTTP/2 connection, which PINGs check. Each other request has its own HTTP/1.1 connection, so
//! that dropping a request closes exactly its connection. After a request without an answer, its pool is replaced: the
//! next request opens a new connection and does not try idle connections that may be dead too. Requests in flight keep
//! their connections.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use kube::client::Body;
use parking_lot::{Mutex, MutexGuard};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service};
use tracing::Instrument;

use super::{Answer, AnswerBody};
use crate::runtime::requests::What;

/// Client of hyper, which contains a pool of connections.
pub(super) type Http = BoxCloneSyncService<Request<Body>, Response<Incoming>, legacy::Error>;

/// Pool of connections that can be replaced.
pub(super) struct Pool {
    make: Box<dyn Fn() -> Http + Send + Sync>,
    /// Number of replacements so far, and the current pool.
    current: Mutex<(u64, Http)>,
}

impl Pool {
    pub(super) fn new(make: impl Fn() -> Http + Send + Sync + 'static) -> Arc<Self> {
        let current = Mutex::new((0, make()));
        Arc::new(Self { make: Box::new(make), current })
    }

    fn current(&self) -> (u64, Http) {
        self.lock().clone()
    }

    /// Replaces the pool, unless it was already replaced since the request took pool number `used`.
    fn replace(&self, used: u64, pool: &'static str) {
        let mut current = self.lock();
        if current.0 != used {
            return;
        }
        let before = std::mem::replace(&mut *current, (used + 1, (self.make)()));
        drop(current);
        // The drop closes the idle connections of the old pool.
        drop(before);
        tracing::debug!(pool, "request without an answer; next requests use new connections");
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Http)> {
        self.current.lock()
    }
}

/// Connections to one API server with one set of credentials.
#[derive(Clone)]
pub(super) struct Pools {
    pub(super) watches: Arc<Pool>,
    pub(super) requests: Arc<Pool>,
}

impl Service<Request<Body>> for Pools {
    type Response = Answer;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Answer, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // The client of hyper is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let query = request.uri().query().unwrap_or_default();
        let watch = What::of(request.method(), request.uri().path(), query).verb() == "watch";
        let span = tracing::debug_span!(
            "HTTP",
            http.method = %request.method(),
            http.url = %request.uri(),
            http.status_code = tracing::field::Empty,
            otel.kind = "client",
        );
        let send = if watch { self.watch(request) } else { self.request(request) };
        let recorded = span.clone();
        let send = async move {
            let answer = send.await?;
            recorded.record("http.status_code", answer.status().as_u16());
            Ok(answer)
        };
        Box::pin(send.instrument(span))
    }
}

impl Pools {
    fn request(&self, request: Request<Body>) -> BoxFuture<'static, Result<Answer, BoxError>> {
        let mut doubt = Doubt::about(&self.requests, "requests");
        Box::pin(async move {
            let answer = doubt.send(request).await?;
            Ok(answer.map(|body| {
                let body = body.map_err(BoxError::from).boxed_unsync();
                Watched { inner: body, doubts: vec![doubt], on_drop: true }.settled().boxed_unsync()
            }))
        })
    }

    fn watch(&self, request: Request<Body>) -> BoxFuture<'static, Result<Answer, BoxError>> {
        let mut doubt = Doubt::about(&self.watches, "watches");
        let mut others = Doubt::about(&self.requests, "requests");
        others.dispel();
        Box::pin(async move {
            let answer = doubt.send(request).await?;
            // A watch can be dropped at any time, so that only an error indicates a dead connection.
            doubt.dispel();
            Ok(answer.map(|body| {
                let body = body.map_err(BoxError::from).boxed_unsync();
                Watched { inner: body, doubts: vec![doubt, others], on_drop: false }.boxed_unsync()
            }))
        })
    }
}

/// Guard that replaces a pool when it is dropped, unless it was dispelled: the request that holds it got no answer.
struct Doubt {
    pool: Arc<Pool>,
    name: &'static str,
    used: u64,
    http: Http,
    stands: bool,
}

impl Doubt {
    fn about(pool: &Arc<Pool>, name: &'static str) -> Self {
        let (used, http) = pool.current();
        Self { pool: pool.clone(), name, used, http, stands: true }
    }

    /// Sends a request. An error dispels the doubt: the connection itself reported the problem, and the other
    /// connections of the pool are not necessarily broken.
    async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        let answer = self.http.call(request).await;
        if answer.is_err() {
            self.dispel();
        }
        Ok(answer?)
    }

    fn dispel(&mut self) {
        self.stands = false;
    }
}

impl Drop for Doubt {
    fn drop(&mut self) {
        if self.stands {
            self.pool.replace(self.used, self.name);
        }
    }
}

/// Response body that replaces the pools if its end shows that connections may be dead.
struct Watched {
    inner: AnswerBody,
    doubts: Vec<Doubt>,
    /// Whether a drop of the body before its end means that the rest of the response did not arrive.
    on_drop: bool,
}

impl Watched {
    fn settled(mut self) -> Self {
        if self.inner.is_end_stream() {
            self.settle(false);
        }
        self
    }

    /// Settles the doubts after the body has ended, successfully or with an error.
    fn settle(&mut self, failed: bool) {
        // If a watch fails, through an unanswered PING or another error, other connections may be dead and undetected.
        self.doubts.iter_mut().for_each(|doubt| doubt.stands = failed && !self.on_drop);
        self.doubts.clear();
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(_))) if !self.inner.is_end_stream() => {}
            Poll::Ready(Some(Err(_))) => self.settle(true),
            Poll::Ready(_) => self.settle(false),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
