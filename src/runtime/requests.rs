//! Metrics of all requests to the API server: a layer around the HTTP client that counts and times each request.

use std::borrow::Cow;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tower::{Layer, Service};

type MetricLabels = Vec<(&'static str, Cow<'static, str>)>;

/// Number, results and durations of the requests to the API server.
#[derive(Clone)]
pub struct RequestMetrics {
    total: Family<MetricLabels, Counter>,
    duration: Family<MetricLabels, Histogram, fn() -> Histogram>,
}

impl RequestMetrics {
    /// Creates the metrics and registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let durations: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 15));
        let metrics = Self { total: Family::default(), duration: Family::new_with_constructor(durations) };
        registry.register(
            "api_requests",
            "Requests to the API server, by verb, resource and HTTP status code (<error> if no response arrived)",
            metrics.total.clone(),
        );
        registry.register(
            "api_request_duration_seconds",
            "Time from a request until the response of the API server began",
            metrics.duration.clone(),
        );
        metrics
    }

    fn count(&self, what: &What, code: Cow<'static, str>, took: Duration) {
        let mut labels = vec![("verb", what.verb.into()), ("resource", Cow::Owned(what.resource.clone()))];
        self.duration.get_or_create(&labels).observe(took.as_secs_f64());
        labels.push(("code", code));
        self.total.get_or_create(&labels).inc();
    }
}

/// Operation that a request asks for, in the terms of RBAC.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct What {
    verb: &'static str,
    /// Resource, such as `pods` or `jobs/status`; empty for a path that contains no resource.
    resource: String,
}

impl What {
    /// Returns the RBAC verb.
    pub(super) fn verb(&self) -> &'static str {
        self.verb
    }

    /// Returns the resource, with the subresource if there is one.
    pub(super) fn resource(&self) -> &str {
        &self.resource
    }

    pub(super) fn of(method: &Method, path: &str, query: &str) -> Self {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let rest: Vec<&str> = match parts.next() {
            Some("api") => parts.skip(1).collect(),
            Some("apis") => parts.skip(2).collect(),
            _ => Vec::new(),
        };
        let rest = match rest.as_slice() {
            ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
            rest => rest,
        };
        let (resource, named) = match rest {
            [] => (String::new(), true),
            [resource] => ((*resource).to_owned(), false),
            [resource, _] => ((*resource).to_owned(), true),
            [resource, _, sub, ..] => (format!("{resource}/{sub}"), true),
        };
        let watching = query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"));
        let verb = match (method, named) {
            (&Method::GET, _) if watching => "watch",
            (&Method::GET, true) => "get",
            (&Method::GET, false) => "list",
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "update",
            (&Method::PATCH, _) => "patch",
            (&Method::DELETE, true) => "delete",
            (&Method::DELETE, false) => "deletecollection",
            _ => "other",
        };
        Self { verb, resource }
    }
}

impl<S> Layer<S> for RequestMetrics {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Counted { inner, metrics: self.clone() }
    }
}

/// Client whose requests are counted.
#[derive(Clone)]
pub struct Counted<S> {
    inner: S,
    metrics: RequestMetrics,
}

impl<S, In, Out> Service<Request<In>> for Counted<S>
where
    S: Service<Request<In>, Response = Response<Out>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<In>) -> Self::Future {
        let what = What::of(request.method(), request.uri().path(), request.uri().query().unwrap_or_default());
        let mut count = Count { what, metrics: self.metrics.clone(), begun: Instant::now(), code: "<error>".into() };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            if let Ok(answer) = &answer {
                count.answered(answer.status());
            }
            answer
        })
    }
}

/// Guard that counts a request when it is dropped, so that an abandoned request is counted too.
struct Count {
    what: What,
    metrics: RequestMetrics,
    begun: Instant,
    code: Cow<'static, str>,
}

impl Count {
    fn answered(&mut self, status: StatusCode) {
        self.code = status.as_str().to_owned().into();
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        let code = std::mem::take(&mut self.code);
        self.metrics.count(&self.what, code, self.begun.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_is_labelled_with_its_rbac_verb_and_resource() {
        let cases = [
            (Method::GET, "/apis/batch/v1/jobs", "", "list", "jobs"),
            (Method::GET, "/apis/batch/v1/jobs", "watch=true&resourceVersion=5", "watch", "jobs"),
            (Method::GET, "/api/v1/namespaces/a/pods", "", "list", "pods"),
            (Method::GET, "/api/v1/namespaces/a/pods/b", "", "get", "pods"),
            (Method::POST, "/api/v1/namespaces/a/pods", "", "create", "pods"),
            (Method::PATCH, "/apis/batch/v1/namespaces/a/jobs/b/status", "", "patch", "jobs/status"),
            (Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/a/leases/b", "", "update", "leases"),
            (Method::DELETE, "/api/v1/namespaces/a/pods/b", "", "delete", "pods"),
            (Method::GET, "/api/v1/namespaces/a", "", "get", "namespaces"),
            (Method::GET, "/version", "", "get", ""),
        ];
        for (method, path, query, verb, resource) in cases {
            let named = What { verb, resource: resource.to_owned() };
            assert_eq!(What::of(&method, path, query), named, "{method} {path}?{query}");
        }
    }
}
