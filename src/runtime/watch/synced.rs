//! Whether a cache is complete, and how recent it is.

use tokio::sync::watch;
use tokio::time::Instant;

/// Whether a cache holds all there is: all there was at some time, and what came since.
pub struct Synced {
    state: watch::Sender<Lists>,
}

#[derive(Clone, Copy, Default)]
struct Lists {
    /// When the list was asked for that the cache holds whole.
    complete: Option<Instant>,
    /// A list that was asked for earlier will not do.
    required_since: Option<Instant>,
}

impl Lists {
    fn is_done(self) -> bool {
        self.complete.is_some() && self.complete >= self.required_since
    }
}

impl Default for Synced {
    fn default() -> Self {
        Self { state: watch::Sender::new(Lists::default()) }
    }
}

impl Synced {
    /// A list is in the cache, and no newer one is wanted.
    pub fn is_done(&self) -> bool {
        self.state.borrow().is_done()
    }

    /// Returns once that is so.
    pub async fn wait(&self) {
        // The sender is ours, so it does not go away.
        let _ = self.state.subscribe().wait_for(|lists| lists.is_done()).await;
    }

    /// Wants the cache to know all that had happened by `since`: unless its list was asked for later, it is listed again.
    pub fn require_since(&self, since: Instant) {
        self.state.send_modify(|lists| lists.required_since = lists.required_since.max(Some(since)));
    }

    /// Says that a list that was asked for at `since` is in the cache.
    pub fn set(&self, since: Instant) {
        self.state.send_modify(|lists| lists.complete = Some(since));
    }

    /// Resolves when a list that was asked for at `since` will not do.
    pub(super) async fn outdated(&self, since: Instant) {
        let _ = self.state.subscribe().wait_for(|lists| lists.required_since > Some(since)).await;
    }
}
