//! Retry layer of the command line: it repeats reads, and never writes.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{Method, Request, Response};
use kube::client::Body;
use kube::client::retry::RetryPolicy;
use tower::retry::{Policy, Retry};
use tower::{BoxError, Service};

use crate::runtime::requests::What;

/// Maximum number of retries of one read.
const RETRIES: u32 = 4;
/// Wait before the first retry. Each further retry doubles the wait.
const FIRST: Duration = Duration::from_millis(500);
/// Longest wait before a retry.
const LONGEST: Duration = Duration::from_secs(5);
/// Longest requested delay, in seconds, after which a read is retried. With a longer one, the user gets the error.
const MAX_RETRY_AFTER: u64 = 10;

/// Policy of kube for the answers 429, 503 and 504, limited to reads. A write with such an answer may have taken
/// effect.
#[derive(Clone)]
pub(super) struct RetryReads(Option<RetryPolicy>);

impl RetryReads {
    pub(super) fn layer<S: Service<Request<Body>>>(service: S) -> Retry<Self, S> {
        Retry::new(Self(RetryPolicy::new(FIRST, LONGEST, RETRIES, true).ok()), service)
    }
}

impl<B> Policy<Request<Body>, Response<B>, BoxError> for RetryReads {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        request: &mut Request<Body>,
        result: &mut Result<Response<B>, BoxError>,
    ) -> Option<Self::Future> {
        let asked = result.as_ref().ok().and_then(|answer| answer.headers().get(RETRY_AFTER));
        let seconds = asked.and_then(|seconds| seconds.to_str().ok()?.parse::<u64>().ok());
        if seconds.is_some_and(|seconds| seconds > MAX_RETRY_AFTER) {
            return None;
        }
        self.0.as_mut()?.retry(request, result)
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let query = request.uri().query().unwrap_or_default();
        let watch = What::of(request.method(), request.uri().path(), query).verb() == "watch";
        if request.method() != Method::GET || watch {
            return None;
        }
        Policy::<Request<Body>, Response<B>, BoxError>::clone_request(self.0.as_mut()?, request)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tower::ServiceExt;

    use super::*;

    /// Returns how often a request reaches an API server that always gives this answer.
    async fn sent(method: &str, uri: &str, code: u16, retry_after: u64) -> usize {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let service = tower::service_fn(move |_: Request<Body>| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move {
                let answer = Response::builder().status(code).header(RETRY_AFTER, retry_after);
                Ok::<_, BoxError>(answer.body(()).unwrap())
            }
        });
        let request = Request::builder().method(method).uri(uri).body(Body::empty()).unwrap();
        let answer = RetryReads::layer(service).oneshot(request).await.unwrap();
        assert_eq!(answer.status().as_u16(), code);
        count.load(Ordering::SeqCst)
    }

    #[tokio::test(start_paused = true)]
    async fn reads_are_retried_up_to_the_limit_and_writes_never() {
        let jobs = "/apis/batch/v1/namespaces/a/jobs";
        for code in [429, 503, 504] {
            assert_eq!(sent("GET", jobs, code, 1).await, 5, "GET answered {code}");
            for method in ["POST", "PUT", "PATCH", "DELETE"] {
                assert_eq!(sent(method, jobs, code, 1).await, 1, "{method} answered {code}");
            }
            assert_eq!(sent("GET", &format!("{jobs}?watch=true"), code, 1).await, 1, "a watch answered {code}");
            assert_eq!(sent("GET", jobs, code, 11).await, 1, "a read whose requested delay is too long");
        }
        for code in [200, 401, 403, 404, 500] {
            assert_eq!(sent("GET", jobs, code, 1).await, 1, "GET answered {code}");
        }
    }
}
