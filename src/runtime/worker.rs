//! The loop of every worker: takes keys from a queue, syncs them, and puts back what failed.

use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::errors::WriteError;
use super::queue::Queue;

type Labels = [(&'static str, &'static str); 1];

/// What syncs came to, by controller.
#[derive(Clone)]
pub struct SyncMetrics {
    duration: Family<Labels, Histogram, fn() -> Histogram>,
    failures: Family<Labels, Counter>,
}

impl SyncMetrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let durations: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 15));
        let metrics = Self { duration: Family::new_with_constructor(durations), failures: Family::default() };
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
    let labels = [("controller", controller)];
    while let Some(key) = queue.next().await {
        let begun = Instant::now();
        let result = sync(key.clone()).await;
        metrics.duration.get_or_create(&labels).observe(begun.elapsed().as_secs_f64());
        match result {
            Ok(()) => queue.succeeded(&key),
            Err(WriteError::Stopping | WriteError::Cut) => {}
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
}
