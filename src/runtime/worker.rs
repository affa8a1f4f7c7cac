//! The loop of every worker: takes keys from a queue, syncs them, and puts back what failed.

use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;

use super::errors::WriteError;
use super::queue::Queue;

/// Works until the queue is closed. `what` is synced, for the log.
pub async fn work<K, F>(queue: &Queue<K>, what: &str, sync: impl Fn(K) -> F)
where
    K: Hash + Eq + Clone + Debug,
    F: Future<Output = Result<(), WriteError>>,
{
    while let Some(key) = queue.next().await {
        match sync(key.clone()).await {
            Ok(()) => queue.succeeded(&key),
            Err(WriteError::Stopping) => {}
            Err(error) => {
                let wait = queue.retry(key.clone());
                if error.is_namespace_terminating() {
                    tracing::debug!(what, ?key, %error, "the namespace is going");
                } else {
                    tracing::warn!(what, ?key, %error, retry_in = ?wait, "a sync failed");
                }
            }
        }
        queue.done(&key);
    }
}
