//! The loop of every worker: takes keys from a queue, syncs them, and puts back what failed.

use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;

use futures::{StreamExt, stream};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::errors::WriteError;
use super::liveness::Syncs;
use super::queue::Queue;

type MetricLabels = [(&'static str, &'static str); 1];

/// What syncs came to, by controller.
#[derive(Clone)]
pub struct SyncMetrics {
    duration: Family<MetricLabels, Histogram, fn() -> Histogram>,
    failures: Family<MetricLabels, Counter>,
    /// The syncs that run.
    pub running: Syncs,
}

impl SyncMetrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let durations: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 15));
        let metrics = Self {
            duration: Family::new_with_constructor(durations),
            failures: Family::default(),
            running: Syncs::default(),
        };
        registry.register("sync_duration_seconds", "How long one look at an object took", metrics.duration.clone());
        registry.register("sync_failures", "Looks that failed and are tried again", metrics.failures.clone());
        metrics
    }
}

/// Works until the queue is closed. `controller` is who works, for the log and the metrics.
pub async fn work<K, F>(queue: &Queue<K>, controller: &'static str, metrics: &SyncMetrics, sync: impl Fn(K) -> F)
where
    K: Hash + Eq + Clone + Debug,
    F: Future<Output = Result<(), WriteError>>,
{
    run_workers(queue, controller, metrics, 1, sync).await;
}

/// The same, on so many keys at once.
pub async fn run_workers<K, F>(
    queue: &Queue<K>,
    controller: &'static str,
    metrics: &SyncMetrics,
    concurrency: usize,
    sync: impl Fn(K) -> F,
) where
    K: Hash + Eq + Clone + Debug,
    F: Future<Output = Result<(), WriteError>>,
{
    let keys = stream::unfold((), |()| async { queue.next().await.map(|key| (key, ())) });
    keys.for_each_concurrent(concurrency, |key| work_on(queue, controller, metrics, key.clone(), sync(key))).await;
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
        // Whoever returned this has recorded each refusal, and wakes the key when a back-off is over.
        Err(WriteError::Deferred) => {
            metrics.failures.get_or_create(&labels).inc();
        }
        Err(error) => {
            metrics.failures.get_or_create(&labels).inc();
            let wait = queue.retry(key.clone());
            if error.is_namespace_terminating() {
                tracing::debug!(controller, ?key, %error, "the namespace is going");
            } else {
                tracing::warn!(controller, ?key, %error, retry_in = ?wait, "a sync failed");
            }
        }
    }
    queue.done(&key);
}
