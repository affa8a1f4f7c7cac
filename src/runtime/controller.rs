//! Interface of a controller: what a run needs to start, observe and stop it.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::watch::CacheState;

/// A controller. It watches always, and works only while this replica leads.
pub trait Controller: Send + Sync {
    /// Returns the name of the controller in metrics.
    fn name(&self) -> &'static str;

    /// Starts to keep its caches in step with the API server. The watches end when the tasks are dropped.
    fn watch(self: Arc<Self>, tasks: &mut JoinSet<()>);

    /// Returns once its caches hold all objects.
    fn ready(&self) -> BoxFuture<'_, ()>;

    /// Requires that its caches know all that had happened by `since`; [`Self::ready`] waits for it.
    fn require_since(&self, since: Instant);

    /// Starts to sync all objects. The caches of all controllers are complete.
    fn begin(self: Arc<Self>, tasks: &mut JoinSet<()>);

    /// Starts no more syncs.
    fn end(&self);

    /// Forgets everything that it remembers between syncs, after the tasks of a term have ended.
    fn forget_all(&self) {}

    /// Returns the states of its caches, by resource.
    fn caches(&self) -> Vec<(&'static str, CacheState)>;

    /// Returns the number of keys that wait for a sync; none for a controller without a queue.
    fn queue_depth(&self) -> Option<usize>;

    /// Returns the number of entries that it remembers of Jobs between syncs, by kind.
    fn remembered(&self) -> Vec<(&'static str, usize)> {
        Vec::new()
    }
}
