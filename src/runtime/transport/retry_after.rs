//! Support for `Retry-After`: a tower layer that copies the value of the header into the body, where kube reads it.
//!
//! kube keeps only the `Status` of a refusal. API priority and fairness refuses with the header and a plain text.

use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{BoxError, Layer, Service};

use super::{Answer, AnswerBody};
use crate::runtime::codec::{self, Encoding};

/// Limit of the bytes that are read from the body of a refusal.
const LONGEST: usize = 1 << 20;

/// Layer that makes `Retry-After` visible to kube.
#[derive(Clone, Copy, Default)]
pub struct RetryAfter;

impl<S> Layer<S> for RetryAfter {
    type Service = WithRetryAfter<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WithRetryAfter(inner)
    }
}

/// Client whose refusals contain the requested delay in their body.
#[derive(Clone)]
pub struct WithRetryAfter<S>(S);

impl<S, In, Out> Service<Request<In>> for WithRetryAfter<S>
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
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<In>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await.map_err(Into::into)?.map(|body| body.map_err(Into::into).boxed_unsync());
            match seconds(&answer) {
                Some(seconds) => with_body(answer, seconds).await,
                None => Ok(answer),
            }
        })
    }
}

/// Returns the number of seconds that a refusal asks the client to wait.
fn seconds(answer: &Answer) -> Option<u32> {
    let refused = answer.status().is_client_error() || answer.status().is_server_error();
    let header = answer.headers().get(RETRY_AFTER).filter(|_| refused)?;
    header.to_str().ok()?.trim().parse().ok().filter(|seconds| *seconds > 0)
}

async fn with_body(answer: Answer, seconds: u32) -> Result<Answer, BoxError> {
    let (mut parts, mut rest) = answer.into_parts();
    let mut body = Vec::new();
    while let Some(frame) = rest.frame().await {
        if let Ok(data) = frame?.into_data() {
            body.extend_from_slice(&data);
        }
        if body.len() > LONGEST {
            break;
        }
    }
    let body = status(Encoding::of(&parts.headers), &body.into(), parts.status.as_u16(), seconds);
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body: AnswerBody = Full::new(Bytes::from(body.to_string())).map_err(|never| match never {}).boxed_unsync();
    Ok(Response::from_parts(parts, body))
}

/// Returns the `Status` of a refusal with the requested delay in its details. A delay that the body contains is kept.
fn status(encoding: Encoding, body: &Bytes, code: u16, seconds: u32) -> Value {
    let parsed = match encoding {
        Encoding::Json => serde_json::from_slice(body).ok().filter(|status: &Value| status["kind"] == "Status"),
        Encoding::Protobuf => codec::status(encoding, body).and_then(|status| serde_json::to_value(status).ok()),
    };
    let Some(mut status) = parsed else {
        return json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
            "message": String::from_utf8_lossy(body).trim(),
            "reason": if code == 429 { "TooManyRequests" } else { "ServiceUnavailable" },
            "details": {"retryAfterSeconds": seconds},
        });
    };
    if !status["details"].is_object() {
        status["details"] = json!({});
    }
    if status["details"]["retryAfterSeconds"].as_u64().is_none_or(|given| given == 0) {
        status["details"]["retryAfterSeconds"] = json!(seconds);
    }
    status
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::runtime::errors::WriteError;

    async fn refused(code: u16, header: Option<&'static str>, body: &'static str) -> WriteError {
        let service = tower::service_fn(move |_| async move {
            let mut answer = Response::builder().status(code);
            if let Some(header) = header {
                answer = answer.header(RETRY_AFTER, header);
            }
            Ok::<_, Infallible>(answer.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap())
        });
        let client = kube::Client::new(RetryAfter.layer(service), "default");
        client.apiserver_version().await.unwrap_err().into()
    }

    #[tokio::test]
    async fn retry_after_header_applies_when_the_body_contains_no_delay() {
        let plain = refused(429, Some("20"), "Too many requests, please try again later.\n").await;
        assert_eq!((plain.code(), plain.retry_after_seconds()), (Some(429), Some(20)));
        assert_eq!(plain.to_string(), "Too many requests, please try again later.");
        let without_details = r#"{"kind":"Status","status":"Failure","code":503,"message":"later","details":null}"#;
        let without_details = refused(503, Some(" 7"), without_details).await;
        assert_eq!((without_details.code(), without_details.retry_after_seconds()), (Some(503), Some(7)));
        let with_details =
            r#"{"kind":"Status","status":"Failure","code":429,"message":"m","details":{"retryAfterSeconds":3}}"#;
        assert_eq!(refused(429, Some("9"), with_details).await.retry_after_seconds(), Some(3));
        assert_eq!(refused(429, None, with_details).await.retry_after_seconds(), Some(3));
        for header in [None, Some("0"), Some("soon"), Some("Wed, 21 Oct 2015 07:28:00 GMT"), Some("-1")] {
            assert_eq!(refused(429, header, "no").await.retry_after_seconds(), None, "{header:?}");
        }
    }
}
