//! Results of reads with the permissions of a user, which are shown again for some seconds.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Time for which what was read is shown again.
const VALID: Duration = Duration::from_secs(5);
/// Number of stored results from which old ones are removed.
const MANY: usize = 1000;

/// Results of the last seconds. The key has the key of the user whose permissions were used.
pub struct Recent<K, V> {
    known: Mutex<HashMap<K, (Instant, V)>>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { known: Mutex::default() }
    }
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    /// Returns the stored result of a read, or the result of `read`. The age of a result is measured from the start of its read.
    pub async fn get(&self, key: K, read: impl Future<Output = V>) -> V {
        let now = Instant::now();
        if let Some((at, value)) = self.known.lock().get(&key)
            && now.duration_since(*at) < VALID
        {
            return value.clone();
        }
        let value = read.await;
        let mut known = self.known.lock();
        if known.len() >= MANY {
            known.retain(|_, (at, _)| now.duration_since(*at) < VALID);
        }
        known.insert(key, (now, value.clone()));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn result_is_read_again_after_some_seconds() {
        let recent = Recent::default();
        assert_eq!(recent.get("a", async { 1 }).await, 1);
        assert_eq!((recent.get("a", async { 2 }).await, recent.get("b", async { 3 }).await), (1, 3));
        tokio::time::advance(VALID).await;
        assert_eq!(recent.get("a", async { 4 }).await, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn old_results_are_removed_when_there_are_many() {
        let recent = Recent::default();
        for key in 0..MANY {
            recent.get(key, async {}).await;
        }
        tokio::time::advance(VALID).await;
        recent.get(MANY, async {}).await;
        assert_eq!(recent.known.lock().len(), 1);
    }
}
