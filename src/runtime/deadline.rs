//! Deadlines of requests: a request that is never answered ends with an error, and its connection is closed.
//!
//! The transport of `jobwright run` has deadlines of its own, which are shorter. The deadlines here hold for any client, so
//! that the loops of this crate never depend on the transport to wake them.

use std::future::Future;
use std::time::Duration;

use http::{Request, Uri};
use http_body_util::{BodyExt, Either};
use kube::Client;
use kube::client::Body;
use thiserror::Error;

use super::liveness::Pulse;

/// How long one request may take until its answer begins. An admission webhook may take 30 s of that.
pub const REQUEST: Duration = Duration::from_secs(45);
/// How long an answer may take from its beginning to its end; there is no such limit for a watch.
pub const ANSWER: Duration = Duration::from_secs(90);

/// A request was not answered in time. It may have taken effect.
#[derive(Debug, Error)]
#[error("no answer from the API server within {0:?}")]
struct NoAnswer(Duration);

/// Makes a request, and abandons it when `limit` has passed. To abandon a request closes its connection, so the next request
/// uses another one.
///
/// # Errors
/// Those of the request; an error without a status code when there was no answer in time.
pub async fn within<T>(limit: Duration, request: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    match tokio::time::timeout(limit, request).await {
        Ok(result) => result,
        Err(_) => Err(kube::Error::Service(Box::new(NoAnswer(limit)))),
    }
}

/// The same client, with a deadline for each request. Each answer, and each event of a watch, is recorded in `pulse`.
pub fn bounded(client: Client, pulse: &Pulse) -> Client {
    let namespace = client.default_namespace().to_owned();
    let pulse = pulse.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, pulse) = (client.clone(), pulse.clone());
        async move {
            let watches = is_watch(request.uri());
            let (parts, body) = within(REQUEST, client.send(request)).await?.into_parts();
            pulse.heard();
            let body = if watches {
                Either::Right(body.map_frame(move |frame| {
                    pulse.heard();
                    frame
                }))
            } else {
                Either::Left(Body::from(within(ANSWER, body.collect()).await?.to_bytes()))
            };
            Ok::<_, kube::Error>(http::Response::from_parts(parts, body))
        }
    });
    Client::new(service, namespace)
}

fn is_watch(uri: &Uri) -> bool {
    uri.query().unwrap_or_default().split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use http::Response;
    use http_body_util::StreamBody;
    use k8s_openapi::api::coordination::v1::Lease;
    use kube::Api;
    use kube::api::WatchParams;
    use tokio::time::Instant;

    use super::*;

    /// A server that answers with headers and no body.
    fn silent() -> Client {
        let service = tower::service_fn(|_: Request<Body>| async {
            let body = StreamBody::new(stream::pending::<Result<hyper::body::Frame<bytes::Bytes>, Infallible>>());
            Ok::<_, Infallible>(Response::new(body))
        });
        Client::new(service, "default")
    }

    #[tokio::test(start_paused = true)]
    async fn request_without_an_answer_ends_at_its_deadline() {
        let never = tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
        let begun = Instant::now();
        for client in [Client::new(never, "default"), silent()] {
            let leases: Api<Lease> = Api::default_namespaced(bounded(client, &Pulse::default()));
            let error = leases.get("lease").await.expect_err("no answer");
            assert!(error.to_string().contains("no answer"), "{error}");
        }
        assert_eq!(begun.elapsed(), REQUEST + ANSWER);
    }

    #[tokio::test(start_paused = true)]
    async fn watch_may_be_silent_once_its_answer_has_begun() {
        let leases: Api<Lease> = Api::default_namespaced(bounded(silent(), &Pulse::default()));
        let mut events = Box::pin(leases.watch(&WatchParams::default(), "1").await.expect("an answer"));
        let event = tokio::time::timeout(10 * REQUEST, futures::StreamExt::next(&mut events)).await;
        assert!(event.is_err(), "{event:?}");
    }
}
