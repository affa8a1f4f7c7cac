//! HTTP client for all requests to the API server, built from the parts of kube.
//!
//! The layers from the outside in: [`deadline`] limits the duration of a request, [`retry_after`] makes every
//! `Retry-After` header visible to kube, `rotation` follows changed credentials, `pools` keeps watches and other
//! requests on separate connections, and `connector` opens the connections. No layer repeats a write. `retry_reads`
//! repeats reads for the command line, which has no queue that would retry them.

mod connector;
pub mod deadline;
mod pools;
pub mod retry_after;
mod retry_reads;
mod rotation;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Response;
use http_body_util::combinators::UnsyncBoxBody;
use kube::client::ClientBuilder;
use kube::{Client, Config};
use tower::{BoxError, Layer};

use self::deadline::Deadlines;
use self::retry_after::RetryAfter;
use self::retry_reads::RetryReads;
use self::rotation::Rotating;
use super::requests::RequestMetrics;

/// Response type of every layer of this module.
pub type Answer = Response<AnswerBody>;
/// Response body of every layer of this module.
pub type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

/// Function that loads the configuration of a client again. The error names what cannot be read.
pub type Source = Arc<dyn Fn() -> BoxFuture<'static, Result<Config, String>> + Send + Sync>;

/// Builds the client of a controller. It counts every request and repeats none. `limit` is the longest time until an
/// answer, if it is shorter than the default.
///
/// # Errors
/// The configuration holds unusable certificates, keys, proxies or credentials.
pub fn controller_client(
    config: Config,
    source: Source,
    limit: Option<Duration>,
    metrics: &RequestMetrics,
) -> kube::Result<Client> {
    let namespace = config.default_namespace.clone();
    let service = metrics.layer(Deadlines::limited_to(limit).layer(RetryAfter.layer(Rotating::new(config, source)?)));
    Ok(ClientBuilder::new(service, namespace).build())
}

/// Builds the client of a command. It repeats reads that an overloaded API server refuses, and repeats no writes.
/// `limit` is the longest time until an answer, if it is shorter than the default.
///
/// # Errors
/// The configuration holds unusable certificates, keys, proxies or credentials.
pub fn command_client(config: Config, source: Source, limit: Option<Duration>) -> kube::Result<Client> {
    let namespace = config.default_namespace.clone();
    let service = Deadlines::limited_to(limit).layer(RetryAfter.layer(Rotating::new(config, source)?));
    Ok(ClientBuilder::new(RetryReads::layer(service), namespace).build())
}
