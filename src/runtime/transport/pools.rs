//! Connections to the API server: one pool for watches, one for all other requests.
//!
//! Watches share one HTTP/2 connection that PINGs check; other requests have an HTTP/1.1 connection each, so dropping
//! one closes exactly its connection. After a request got no answer, its pool is replaced: the next request opens a
//! fresh connection instead of trying idle ones that may be just as dead. Requests in flight keep theirs.

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

/// A hyper client, which holds a pool of connections.
pub(super) type Http = BoxCloneSyncService<Request<Body>, Response<Incoming>, legacy::Error>;

/// A pool of connections that can be replaced.
pub(super) struct Pool {
    make: Box<dyn Fn() -> Http + Send + Sync>,
    /// The number of replacements, and the present one.
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

    /// Replaces the pool, unless that was done since it was used as number `used`.
    fn replace(&self, used: u64, pool: &'static str) {
        let mut current = self.lock();
        if current.0 != used {
            return;
        }
        let before = std::mem::replace(&mut *current, (used + 1, (self.make)()));
        drop(current);
        // Closes its idle connections.
        drop(before);
        tracing::debug!(pool, "a request got no answer: the next ones use fresh connections");
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Http)> {
        self.current.lock()
    }
}

/// The connections to one API server with one set of credentials.
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
        // A hyper client is always ready.
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
            // A watch may be dropped at any time; only an error says something about its connection.
            doubt.dispel();
            Ok(answer.map(|body| {
                let body = body.map_err(BoxError::from).boxed_unsync();
                Watched { inner: body, doubts: vec![doubt, others], on_drop: false }.boxed_unsync()
            }))
        })
    }
}

/// Replaces a pool when dropped, unless dispelled: the request that holds it got no answer.
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

    /// Sends a request. An error dispels the doubt: the connection itself said so, and the others need not be as broken.
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

/// A response body that knows what its end says about its connection.
struct Watched {
    inner: AnswerBody,
    doubts: Vec<Doubt>,
    /// Whether to be dropped before the end means that no more came.
    on_drop: bool,
}

impl Watched {
    fn settled(mut self) -> Self {
        if self.inner.is_end_stream() {
            self.settle(false);
        }
        self
    }

    /// The body has ended, well or with an error.
    fn settle(&mut self, failed: bool) {
        // Of a watch that failed, by an unanswered PING or otherwise, nobody may have noticed on the other connections.
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
