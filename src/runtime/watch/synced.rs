//! Completeness of a cache: whether it reflects a full list, and one that is recent enough.

use tokio::sync::watch;
use tokio::time::Instant;

/// State that shows whether a cache is complete: it contains a full list and all later events.
pub struct Synced {
    state: watch::Sender<Lists>,
}

#[derive(Clone, Copy, Default)]
struct Lists {
    /// Time of the request for the list that the cache contains completely.
    complete: Option<Instant>,
    /// Earliest request time of a list that is recent enough.
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
    /// Returns whether the cache contains a full list that is recent enough.
    pub fn is_done(&self) -> bool {
        self.state.borrow().is_done()
    }

    /// Waits until the cache contains a full list that is recent enough.
    pub async fn wait(&self) {
        // `self` owns the sender, so the channel stays open during the wait.
        let _ = self.state.subscribe().wait_for(|lists| lists.is_done()).await;
    }

    /// Requires the cache to reflect everything up to `since`. If its list was requested earlier, the watch lists
    /// again.
    pub fn require_since(&self, since: Instant) {
        self.state.send_modify(|lists| lists.required_since = lists.required_since.max(Some(since)));
    }

    /// Records that the cache contains the full list that was requested at `since`.
    pub fn set(&self, since: Instant) {
        self.state.send_modify(|lists| lists.complete = Some(since));
    }

    /// Waits until a list that was requested at `since` is no longer recent enough.
    pub(super) async fn outdated(&self, since: Instant) {
        let _ = self.state.subscribe().wait_for(|lists| lists.required_since > Some(since)).await;
    }
}
