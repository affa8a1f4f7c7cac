//! Deadlines for requests to the API server: a tower layer that ends requests which take too long.
//!
//! Every client that this crate builds has the layer, so callers limit a request only if they need a shorter deadline,
//! with [`within`]. A request that misses its deadline is dropped, which closes its connection. All times are on the
//! clock of tokio, so that simulated API servers can use the layer too.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::uri::PathAndQuery;
use http::{Request, Response, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use thiserror::Error;
use tokio::time::{Instant, Sleep, timeout_at};
use tower::{BoxError, Layer, Service};

use super::{Answer, AnswerBody};
use crate::runtime::requests::What;

/// Longest time until the headers of any response, and until the end of a response that is neither a list nor a log.
/// One admission webhook may take 30 s, and a dead connection has to be detected within 45 s.
pub const ANSWER: Duration = Duration::from_secs(40);
/// Longest pause within a list or a log. The API server writes a response without pauses.
pub const LIST_SILENCE: Duration = Duration::from_secs(20);
/// Longest time for a whole list or log. The API server ends a request after 60 s unless it is configured otherwise.
pub const LIST: Duration = Duration::from_secs(120);
/// Longest watch that is requested over HTTP/1.1. HTTP/1.1 has no PING, so that a silent watch cannot be distinguished
/// from a dead one. Instead, the API server ends the watch after a bookmark, and the client requests it again on the
/// same connection.
pub const HTTP1_WATCH: Duration = Duration::from_secs(30);
/// Longest silence of a watch over HTTP/1.1. After this time, the client ends the watch.
pub const HTTP1_SILENCE: Duration = Duration::from_secs(40);

/// Error of a request that took too long.
#[derive(Debug, Error)]
pub enum Late {
    /// The headers or the complete response did not arrive within the deadline.
    #[error("no complete response within {0:?}")]
    Answer(Duration),
    /// The response paused for too long.
    #[error("no data for {0:?} in the middle of a response")]
    Silent(Duration),
}

/// Makes a request with a deadline that is shorter than the layer's, and drops the request when `limit` has passed.
///
/// # Errors
/// The error of the request, or an error without a status code if the response was late.
pub async fn within<T>(limit: Duration, request: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    match tokio::time::timeout(limit, request).await {
        Ok(result) => result,
        Err(_) => Err(kube::Error::Service(Box::new(Late::Answer(limit)))),
    }
}

/// Layer that gives every request its deadline.
#[derive(Clone, Default)]
pub struct Deadlines {
    /// Whether the last watch was answered over HTTP/1.1.
    http1: Arc<AtomicBool>,
    /// Limit that the user gave, for the whole of a response that ends.
    limit: Option<Duration>,
}

impl Deadlines {
    /// Returns deadlines that are at most `limit` for a request whose response ends.
    pub fn limited_to(limit: Option<Duration>) -> Self {
        Self { limit, ..Self::default() }
    }
}

impl<S> Layer<S> for Deadlines {
    type Service = WithDeadline<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WithDeadline { inner, http1: self.http1.clone(), limit: self.limit }
    }
}

/// Client whose requests have deadlines.
#[derive(Clone)]
pub struct WithDeadline<S> {
    inner: S,
    http1: Arc<AtomicBool>,
    limit: Option<Duration>,
}

/// Kind of a response, which determines its limits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Short response with a limit for the whole response.
    Single,
    /// Response that can be long, with limits for the whole response and for each pause.
    List,
    /// Response without an end.
    Watch,
}

impl Kind {
    fn of<B>(request: &Request<B>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        if query.split('&').any(|pair| pair == "follow=true") {
            return Self::Watch;
        }
        let what = What::of(request.method(), request.uri().path(), query);
        match what.verb() {
            "watch" => Self::Watch,
            "list" => Self::List,
            "get" if what.resource() == "pods/log" => Self::List,
            _ => Self::Single,
        }
    }
}

impl<S, In, Out> Service<Request<In>> for WithDeadline<S>
where
    S: Service<Request<In>, Response = Response<Out>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    Out: Body<Data = Bytes> + Send + 'static,
    Out::Error: Into<BoxError>,
{
    type Response = Answer;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Answer, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<In>) -> Self::Future {
        let kind = Kind::of(&request);
        if kind == Kind::Watch && self.http1.load(Ordering::Relaxed) {
            shorten(request.uri_mut());
        }
        let begun = Instant::now();
        let (single, list) = (shorter(ANSWER, self.limit), shorter(LIST, self.limit));
        let answer = self.inner.call(request);
        let last_was_http1 = self.http1.clone();
        Box::pin(async move {
            let answer = timeout_at(begun + single, answer).await.map_err(|_| Late::Answer(single))?;
            let answer = answer.map_err(Into::into)?;
            let http1 = answer.version() != Version::HTTP_2;
            if kind == Kind::Watch {
                last_was_http1.store(http1, Ordering::Relaxed);
            }
            let failed = !answer.status().is_success();
            Ok(answer.map(|body| {
                let body = BoundedBody::new(body.map_err(Into::into).boxed_unsync());
                let body = match kind {
                    Kind::Watch if !failed && http1 => body.silent_for(HTTP1_SILENCE, true),
                    Kind::Watch if !failed => body,
                    Kind::List if !failed => body.until(begun, list).silent_for(LIST_SILENCE, false),
                    _ => body.until(begun, single),
                };
                body.boxed_unsync()
            }))
        })
    }
}

fn shorter(deadline: Duration, limit: Option<Duration>) -> Duration {
    limit.map_or(deadline, |limit| deadline.min(limit))
}

/// Sets the timeout of a watch request to [`HTTP1_WATCH`], unless the request has a shorter timeout.
fn shorten(uri: &mut Uri) {
    let limit = HTTP1_WATCH.as_secs();
    let seconds = |pair: &str| pair.strip_prefix("timeoutSeconds=").map(|given| given.parse::<u64>().unwrap_or(limit));
    let query = uri.query().unwrap_or_default();
    let requested = query.split('&').find_map(seconds).unwrap_or(limit).min(limit);
    let others: String = query.split('&').filter(|pair| seconds(pair).is_none()).flat_map(|pair| [pair, "&"]).collect();
    let path_and_query = format!("{}?{others}timeoutSeconds={requested}", uri.path());
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(path_and_query).ok();
    if let Ok(shortened) = Uri::from_parts(parts) {
        *uri = shortened;
    }
}

/// Response body that ends within its limits.
struct BoundedBody {
    /// Body of the response; `None` after it was dropped, which closes the connection.
    inner: Option<AnswerBody>,
    total: Option<(Duration, Pin<Box<Sleep>>)>,
    silence: Option<(Duration, Pin<Box<Sleep>>)>,
    /// Whether silence ends the body without an error, as the API server ends a watch.
    ends_quietly: bool,
}

impl BoundedBody {
    fn new(inner: AnswerBody) -> Self {
        Self { inner: Some(inner), total: None, silence: None, ends_quietly: false }
    }

    fn until(self, begun: Instant, limit: Duration) -> Self {
        Self { total: Some((limit, Box::pin(tokio::time::sleep_until(begun + limit)))), ..self }
    }

    fn silent_for(self, limit: Duration, ends_quietly: bool) -> Self {
        Self { silence: Some((limit, Box::pin(tokio::time::sleep(limit)))), ends_quietly, ..self }
    }
}

impl Body for BoundedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        if let Some((limit, sleep)) = &mut this.total
            && sleep.as_mut().poll(context).is_ready()
        {
            let limit = *limit;
            this.inner = None;
            return Poll::Ready(Some(Err(Late::Answer(limit).into())));
        }
        if let Poll::Ready(frame) = Pin::new(inner).poll_frame(context) {
            if let Some((limit, sleep)) = &mut this.silence {
                sleep.as_mut().reset(Instant::now() + *limit);
            }
            return Poll::Ready(frame);
        }
        if let Some((limit, sleep)) = &mut this.silence
            && sleep.as_mut().poll(context).is_ready()
        {
            let limit = *limit;
            this.inner = None;
            if this.ends_quietly {
                tracing::debug!(seconds = limit.as_secs(), "ended a silent watch");
                return Poll::Ready(None);
            }
            return Poll::Ready(Some(Err(Late::Silent(limit).into())));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use http_body_util::{Full, StreamBody};
    use tower::ServiceExt;

    use super::*;

    /// Behaviour of the simulated API server after the headers.
    #[derive(Clone, Copy)]
    enum Then {
        Ends,
        Silence,
        /// Sends one byte per second.
        Drips,
    }

    /// Sends one request to an API server with this behaviour, and returns the duration in seconds and the result.
    async fn send(method: &str, uri: &str, headers_after: Duration, then: Then) -> (u64, Result<usize, String>) {
        let service = tower::service_fn(move |_: Request<()>| async move {
            tokio::time::sleep(headers_after).await;
            let frames = stream::unfold(0, move |sent| async move {
                match then {
                    Then::Ends => return None,
                    Then::Silence => std::future::pending().await,
                    Then::Drips => tokio::time::sleep(Duration::from_secs(1)).await,
                }
                Some((Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x"))), sent + 1))
            });
            Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
        });
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        let begun = Instant::now();
        let result = async {
            let answer = Deadlines::default().layer(service).oneshot(request).await?;
            Ok::<_, BoxError>(answer.into_body().collect().await?.to_bytes().len())
        };
        let result = tokio::time::timeout(Duration::from_secs(1000), result).await;
        (begun.elapsed().as_secs(), result.unwrap_or_else(|_| Err("no end".into())).map_err(|error| error.to_string()))
    }

    const POD: &str = "/api/v1/namespaces/a/pods/b";
    const PODS: &str = "/api/v1/namespaces/a/pods";
    const WATCH: &str = "/api/v1/namespaces/a/pods?watch=true&timeoutSeconds=290";

    #[tokio::test(start_paused = true)]
    async fn every_request_except_a_watch_ends_by_its_deadline() {
        let now = Duration::ZERO;
        let never = Duration::from_secs(10_000);
        for (method, uri) in [("GET", POD), ("GET", PODS), ("POST", PODS), ("PATCH", POD), ("GET", WATCH)] {
            let (seconds, result) = send(method, uri, never, Then::Ends).await;
            assert_eq!(seconds, 40, "{method} {uri} whose headers never arrive");
            assert!(result.unwrap_err().contains("no complete response within 40s"));
        }
        for (method, uri, then, expected) in [
            ("GET", POD, Then::Silence, 40),
            ("DELETE", POD, Then::Drips, 40),
            ("POST", PODS, Then::Drips, 40),
            ("GET", PODS, Then::Silence, 20),
            ("GET", PODS, Then::Drips, 120),
            ("GET", "/api/v1/namespaces/a/pods/b/log?tailLines=5", Then::Silence, 20),
        ] {
            let (seconds, result) = send(method, uri, now, then).await;
            assert_eq!(seconds, expected, "{method} {uri}");
            assert!(result.is_err(), "{method} {uri}");
        }
        assert_eq!(send("POST", PODS, Duration::from_secs(39), Then::Ends).await, (39, Ok(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn silent_watch_over_http1_ends_without_an_error_and_an_active_one_continues() {
        assert_eq!(send("GET", WATCH, Duration::ZERO, Then::Silence).await, (40, Ok(0)));
        let (seconds, result) = send("GET", WATCH, Duration::ZERO, Then::Drips).await;
        assert_eq!((seconds, result), (1000, Err("no end".to_owned())));
    }

    #[tokio::test]
    async fn watch_over_http1_is_requested_with_a_short_timeout() {
        let service = |version: Version| {
            tower::service_fn(move |request: Request<()>| async move {
                let mut response = Response::new(Full::new(Bytes::from(request.uri().to_string())));
                *response.version_mut() = version;
                Ok::<_, Infallible>(response)
            })
        };
        let requested = async |layer: &Deadlines, version: Version, uri: &str| {
            let request = Request::builder().uri(uri).body(()).unwrap();
            let answer = layer.layer(service(version)).oneshot(request).await.unwrap();
            String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
        };
        let layer = Deadlines::default();
        assert_eq!(requested(&layer, Version::HTTP_2, WATCH).await, WATCH);
        assert_eq!(
            requested(&layer, Version::HTTP_11, WATCH).await,
            WATCH,
            "the protocol is unknown before the first answer"
        );
        let short = WATCH.replace("290", "30");
        assert_eq!(requested(&layer, Version::HTTP_11, WATCH).await, short);
        let shorter = WATCH.replace("290", "5");
        assert_eq!(requested(&layer, Version::HTTP_11, &shorter).await, shorter);
        assert_eq!(requested(&layer, Version::HTTP_11, PODS).await, PODS, "a list is not changed");
        assert_eq!(requested(&layer, Version::HTTP_2, WATCH).await, short, "the last answer was over HTTP/1.1");
        assert_eq!(requested(&layer, Version::HTTP_2, WATCH).await, WATCH);
    }
}
