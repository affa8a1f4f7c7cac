//! UIDs of deleted objects, so that a late response about one of them does not bring it back.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::runtime::identity::Uid;
use crate::runtime::maps::FastSet;

/// Time for which the UID of a deleted object is remembered. Any response about the object that is still in flight
/// arrives earlier.
const REMEMBER_DELETED: Duration = Duration::from_secs(600);

/// UIDs of deleted objects, kept for [`REMEMBER_DELETED`]. Each UID is added once and expires once, so that the cost of
/// a deletion does not depend on the number of earlier deletions.
#[derive(Default)]
pub(super) struct Tombstones {
    uids: FastSet<Uid>,
    /// The same UIDs, in the order of deletion.
    by_age: VecDeque<(Instant, Uid)>,
}

impl Tombstones {
    /// Adds the UID of an object that was deleted.
    pub(super) fn add(&mut self, uid: &Uid, now: Instant) {
        self.expire(now);
        if self.uids.insert(uid.clone()) {
            self.by_age.push_back((now, uid.clone()));
        }
    }

    /// Returns whether the object with this UID is known to have been deleted.
    pub(super) fn contains(&self, uid: &Uid) -> bool {
        self.uids.contains(uid)
    }

    /// Forgets the UIDs whose time has passed.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.by_age.front().is_some_and(|(at, _)| now.duration_since(*at) >= REMEMBER_DELETED) {
            if let Some((_, uid)) = self.by_age.pop_front() {
                self.uids.remove(&uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_deletion_visits_each_tombstone_twice_at_most() {
        let mut tombstones = Tombstones::default();
        let begin = Instant::now();
        let uid = |n: u64| Uid::from(n.to_string());
        // 100 deletions per second for an hour. Each deletion is reported twice.
        for n in 0..360_000 {
            let now = begin + Duration::from_millis(10 * n);
            let before = tombstones.by_age.len();
            tombstones.add(&uid(n), now);
            tombstones.add(&uid(n), now);
            assert!(tombstones.by_age.len().abs_diff(before) <= 1, "at most one UID is added or expires");
            assert_eq!(tombstones.by_age.len(), tombstones.uids.len());
            assert!(tombstones.uids.len() <= 60_000);
        }
        assert!(tombstones.contains(&uid(359_999)) && tombstones.contains(&uid(300_001)));
        assert!(!tombstones.contains(&uid(299_999)));
        tombstones.expire(begin + Duration::from_secs(4_300));
        assert!(tombstones.uids.is_empty() && tombstones.by_age.is_empty(), "all UIDs have expired");
    }
}
