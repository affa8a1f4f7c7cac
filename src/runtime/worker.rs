//! The loop of every worker: takes keys from a queue, syncs them in a span, and retries what failed.

use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;

use futures::{StreamExt, stream};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use tracing::Instrument;

use super::errors::WriteError;
use super::identity::{Identity, Uid};
use super::liveness::Syncs;
use super::queue::Queue;
use super::spans::sync_span;

type MetricLabels = [(&'static str, &'static str); 1];

/// Durations and failures of syncs, by controller.
#[derive(Clone)]
pub struct SyncMetrics {
    duration: Family<MetricLabels, Histogram, fn() -> Histogram>,
    failures: Family<MetricLabels, Counter>,
    /// The syncs that are running.
    pub running: Syncs,
}

impl SyncMetrics {
    /// Registers the metrics.
    pub fn new(registry: &mut Registry) -> Self {
        let durations: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 15));
        let metrics = Self {
            duration: Family::new_with_constructor(durations),
            failures: Family::default(),
            running: Syncs::default(),
        };
        registry.register("sync_duration_seconds", "Duration of one sync of an object", metrics.duration.clone());
        registry.register("sync_failures", "Syncs that failed and are retried", metrics.failures.clone());
        metrics
    }
}

/// The object that a key stands for.
#[derive(Clone, Debug)]
pub struct Target {
    /// Kind of the object.
    pub kind: &'static str,
    /// UID of the object.
    pub uid: Uid,
    /// Identity of the object; none if the cache does not hold the object any more.
    pub identity: Option<Identity>,
}

/// Syncs one key after the other until the queue is closed. `controller` is the name of the controller in metrics and logs;
/// `target` returns the object of a key.
pub async fn work<K, F>(
    queue: &Queue<K>,
    controller: &'static str,
    metrics: &SyncMetrics,
    target: impl Fn(&K) -> Target,
    sync: impl Fn(K) -> F,
) where
    K: Hash + Eq + Clone + Debug,
    F: Future<Output = Result<(), WriteError>>,
{
    run_workers(queue, controller, metrics, 1, target, sync).await;
}

/// Syncs up to `concurrency` keys concurrently until the queue is closed.
pub async fn run_workers<K, F>(
    queue: &Queue<K>,
    controller: &'static str,
    metrics: &SyncMetrics,
    concurrency: usize,
    target: impl Fn(&K) -> Target,
    sync: impl Fn(K) -> F,
) where
    K: Hash + Eq + Clone + Debug,
    F: Future<Output = Result<(), WriteError>>,
{
    let keys = stream::unfold((), |()| async { queue.next().await.map(|key| (key, ())) });
    let work_on = |key: K| {
        let span = sync_span(controller, &target(&key));
        work_on(queue, controller, metrics, key.clone(), sync(key)).instrument(span)
    };
    keys.for_each_concurrent(concurrency, work_on).await;
}

async fn work_on<K>(
    queue: &Queue<K>,
    controller: &'static str,
    metrics: &SyncMetrics,
    key: K,
    sync: impl Future<Output = Result<(), WriteError>>,
) where
    K: Hash + Eq + Clone + Debug,
{
    let labels = [("controller", controller)];
    let begun = Instant::now();
    let result = metrics.running.observe(controller, sync).await;
    metrics.duration.get_or_create(&labels).observe(begun.elapsed().as_secs_f64());
    match result {
        Ok(()) => queue.succeeded(&key),
        Err(WriteError::Closed | WriteError::Aborted) => {}
        // The sync has recorded each refusal, and adds the key again when a back-off ends.
        Err(WriteError::Deferred) => {
            metrics.failures.get_or_create(&labels).inc();
        }
        Err(error) => {
            metrics.failures.get_or_create(&labels).inc();
            let wait = queue.retry(key.clone());
            if error.is_namespace_terminating() {
                tracing::debug!(%error, "sync failed: the namespace is being deleted");
            } else {
                tracing::warn!(%error, retry_in = ?wait, "sync failed");
            }
        }
    }
    queue.done(&key);
    // Most syncs wait for nothing. Without this line, thousands of them would run before any response is read.
    tokio::task::yield_now().await;
}
