//! Fair work queue: the keys to sync next, and the times of later syncs.
//!
//! The queue contains a key at most once, and never hands out a key twice concurrently. All additions of a key during
//! its sync cause one further sync, so that batches grow automatically under load. Keys are handed out in the order of
//! arrival. Minor keys have a lane of their own, so that thousands of them do not delay the other keys. A key is minor by
//! its kind, or because it was added without an event.

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::maps::{FastMap, FastSet};

/// Wait after the first failure of a key. Each further failure doubles the wait.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest wait after a failure.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Interval of minor keys: while both lanes contain keys, every eighth key that is handed out is a minor one.
const MINOR_EVERY: u32 = 8;

/// Fair work queue of keys.
pub struct Queue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

struct State<K> {
    ready: VecDeque<K>,
    /// Ready keys that are minor, and keys that moved from here to `ready`.
    minor: VecDeque<K>,
    is_minor: fn(&K) -> bool,
    /// Number of keys that were handed out while both lanes contained keys.
    handed_out: u32,
    /// Keys that are ready, with their lanes.
    waiting: FastMap<K, Lane>,
    running: FastSet<K>,
    /// Keys that were added while they were running.
    dirty: FastSet<K>,
    later: BTreeMap<(Instant, u64), K>,
    due: FastMap<K, (Instant, u64)>,
    failures: FastMap<K, u32>,
    sequence: u64,
    closed: bool,
}

/// Lane in which a ready key waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Major,
    Minor,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self { state: Mutex::new(State::new(false, |_| false)), changed: Notify::new() }
    }
}

impl<K> State<K> {
    fn new(closed: bool, is_minor: fn(&K) -> bool) -> Self {
        Self {
            ready: VecDeque::new(),
            minor: VecDeque::new(),
            is_minor,
            handed_out: 0,
            waiting: FastMap::default(),
            running: FastSet::default(),
            dirty: FastSet::default(),
            later: BTreeMap::new(),
            due: FastMap::default(),
            failures: FastMap::default(),
            sequence: 0,
            closed,
        }
    }
}

impl<K: Hash + Eq + Clone> Queue<K> {
    /// Creates a queue that accepts no keys until it is opened.
    pub fn closed() -> Self {
        Self::closed_with_minor(|_| false)
    }

    /// Creates a closed queue in which the keys that match `is_minor` are minor.
    pub fn closed_with_minor(is_minor: fn(&K) -> bool) -> Self {
        Self { state: Mutex::new(State::new(true, is_minor)), changed: Notify::new() }
    }

    /// Empties the queue and opens it: from now on it accepts keys and hands them out.
    pub fn open(&self) {
        let mut state = self.lock();
        *state = State::new(false, state.is_minor);
    }

    /// Returns whether the queue accepts keys.
    pub fn is_open(&self) -> bool {
        !self.lock().closed
    }

    /// Adds a key to the end of the queue, unless the queue contains it.
    pub fn add(&self, key: K) {
        self.lock().make_ready(key);
        self.changed.notify_one();
    }

    /// Adds a key as a minor one, unless the queue contains it: its object has to be looked at, but nothing has happened
    /// to it. [`Self::add`] makes it a major key.
    pub fn add_minor(&self, key: K) {
        self.lock().make_ready_in(key, Lane::Minor);
        self.changed.notify_one();
    }

    /// Schedules a key to be added at `when`. An earlier scheduled time of the key is kept.
    pub fn add_at(&self, key: K, when: Instant) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        if let Some(due) = state.due.get(&key).copied() {
            if due.0 <= when {
                return;
            }
            state.later.remove(&due);
        }
        state.sequence += 1;
        let due = (when, state.sequence);
        state.due.insert(key.clone(), due);
        state.later.insert(due, key);
        // Otherwise, a caller of `next` waits for an earlier time already.
        let is_first = state.later.first_key_value().is_some_and(|(first, _)| *first == due);
        drop(state);
        if is_first {
            self.changed.notify_one();
        }
    }

    /// Cancels the scheduled time of a key.
    pub fn cancel(&self, key: &K) {
        let mut state = self.lock();
        if let Some(due) = state.due.remove(key) {
            state.later.remove(&due);
        }
    }

    /// Schedules a key again after a failure, with a wait that doubles each time, and returns the wait.
    pub fn retry(&self, key: K) -> Duration {
        let mut state = self.lock();
        let failures = state.failures.entry(key.clone()).or_default();
        let wait = FIRST_RETRY.saturating_mul(1 << (*failures).min(16)).min(LAST_RETRY);
        *failures += 1;
        drop(state);
        self.add_at(key, Instant::now() + wait);
        wait
    }

    /// Clears the failures of a key after a successful sync.
    pub fn succeeded(&self, key: &K) {
        self.lock().failures.remove(key);
    }

    /// Makes every key that waits after a failure ready now, because its sync may succeed again.
    pub fn retry_now(&self) {
        let mut state = self.lock();
        // Keeps the order of their scheduled times.
        let failures = std::mem::take(&mut state.failures);
        let failed: Vec<_> = state
            .later
            .iter()
            .filter(|(_, key)| failures.contains_key(*key))
            .map(|(due, key)| (*due, key.clone()))
            .collect();
        for (due, key) in failed {
            state.later.remove(&due);
            state.due.remove(&key);
            state.make_ready(key);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Returns the next key as soon as one is ready, or `None` if the queue is closed. The caller must call
    /// [`Queue::done`] after the work on the key.
    pub async fn next(&self) -> Option<K> {
        loop {
            let notified = self.changed.notified();
            let wake = {
                let mut state = self.lock();
                if state.closed {
                    return None;
                }
                state.take_due(Instant::now());
                if let Some(key) = state.pop() {
                    state.waiting.remove(&key);
                    state.running.insert(key.clone());
                    // Another caller takes the next key, or waits for the next time in place of this one.
                    if !state.waiting.is_empty() || !state.later.is_empty() {
                        self.changed.notify_one();
                    }
                    return Some(key);
                }
                state.later.first_key_value().map(|((when, _), _)| *when)
            };
            match wake {
                Some(when) => {
                    tokio::select! {
                        biased;
                        () = notified => {}
                        () = tokio::time::sleep_until(when) => {}
                    }
                }
                None => notified.await,
            }
        }
    }

    /// Records that the work on a key has ended. A key that was added during the work goes to the end of the queue.
    pub fn done(&self, key: &K) {
        let mut state = self.lock();
        state.running.remove(key);
        if state.dirty.remove(key) {
            state.make_ready(key.clone());
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Closes the queue: it drops all keys, hands out none and accepts none, so that it does not grow without workers.
    pub fn close(&self) {
        let mut state = self.lock();
        *state = State::new(true, state.is_minor);
        drop(state);
        self.changed.notify_waiters();
        // Wakes a caller that has checked the state but does not wait yet.
        self.changed.notify_one();
    }

    /// Returns the number of keys that are ready to be handed out.
    pub fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Returns the number of keys that are scheduled for a later time.
    pub fn timers(&self) -> usize {
        self.lock().later.len()
    }

    /// Returns whether no key is ready.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock()
    }
}

impl<K: Hash + Eq + Clone> State<K> {
    fn make_ready(&mut self, key: K) {
        let lane = if (self.is_minor)(&key) { Lane::Minor } else { Lane::Major };
        self.make_ready_in(key, lane);
    }

    fn make_ready_in(&mut self, key: K, lane: Lane) {
        if self.closed {
            return;
        }
        if self.running.contains(&key) {
            self.dirty.insert(key);
            return;
        }
        if self.waiting.get(&key).is_some_and(|known| *known == Lane::Major || *known == lane) {
            return;
        }
        self.waiting.insert(key.clone(), lane);
        let lane = if lane == Lane::Minor { &mut self.minor } else { &mut self.ready };
        lane.push_back(key);
    }

    fn pop(&mut self) -> Option<K> {
        // Keys that became major ones are handed out in the other lane.
        while self.minor.front().is_some_and(|key| self.waiting.get(key) != Some(&Lane::Minor)) {
            self.minor.pop_front();
        }
        if self.minor.is_empty() || self.ready.is_empty() {
            return self.ready.pop_front().or_else(|| self.minor.pop_front());
        }
        self.handed_out = self.handed_out.wrapping_add(1);
        if self.handed_out.is_multiple_of(MINOR_EVERY) { self.minor.pop_front() } else { self.ready.pop_front() }
    }

    fn take_due(&mut self, now: Instant) {
        while let Some(entry) = self.later.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            self.due.remove(&key);
            self.make_ready(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn key_is_queued_once_and_never_runs_concurrently() {
        let queue = Queue::default();
        queue.add("a");
        queue.add("b");
        queue.add("a");
        assert_eq!(queue.len(), 2);
        assert_eq!(queue.next().await, Some("a"));
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next().await, Some("b"), "key a is running, so it is not handed out");
        assert!(queue.is_empty());
        queue.done(&"a");
        assert_eq!(queue.next().await, Some("a"), "additions during the run cause one further run");
        queue.done(&"a");
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn key_that_is_due_waits_for_no_busy_worker() {
        let queue = Queue::default();
        let begun = Instant::now();
        let worker = async || {
            let key = queue.next().await.unwrap();
            let taken = begun.elapsed().as_secs();
            tokio::time::sleep(Duration::from_secs(60)).await;
            (key, taken)
        };
        let feed = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            queue.add_at("due", begun + Duration::from_secs(9));
            queue.add_at("later", begun + Duration::from_secs(12));
            // The worker that waits for the time takes this key.
            tokio::time::sleep(Duration::from_secs(1)).await;
            queue.add("busy");
        };
        let (one, two, three, ()) = tokio::join!(worker(), worker(), worker(), feed);
        let mut taken = [one, two, three];
        taken.sort_by_key(|(_, at)| *at);
        assert_eq!(taken, [("busy", 2), ("due", 9), ("later", 12)]);
    }

    #[tokio::test(start_paused = true)]
    async fn event_of_a_minor_key_moves_it_before_the_others() {
        let queue = Queue::default();
        for key in 0..100 {
            queue.add_minor(key);
        }
        queue.add(50);
        queue.add_minor(50);
        assert_eq!(queue.len(), 100);
        let mut order = Vec::new();
        for _ in 0..100 {
            let key = queue.next().await.unwrap();
            queue.done(&key);
            order.push(key);
        }
        let others: Vec<i32> = (0..100).filter(|key| *key != 50).collect();
        assert_eq!((order[0], &order[1..]), (50, &*others));
        assert!(queue.is_empty());
        // The place that the key has left in the lane does not count for a later addition.
        queue.add(50);
        queue.add_minor(7);
        assert_eq!((queue.next().await, queue.next().await), (Some(50), Some(7)));
    }

    #[tokio::test(start_paused = true)]
    async fn key_added_while_it_runs_is_queued_behind_the_others() {
        let queue = Queue::default();
        for key in ["busy", "quiet", "idle"] {
            queue.add(key);
        }
        let first = queue.next().await;
        queue.add("busy");
        queue.done(&"busy");
        assert_eq!((first, queue.next().await, queue.next().await), (Some("busy"), Some("quiet"), Some("idle")));
        assert_eq!(queue.next().await, Some("busy"));
    }

    #[tokio::test(start_paused = true)]
    async fn minor_keys_get_their_share_without_delaying_the_others() {
        let queue = Queue::closed_with_minor(|key: &u32| *key >= 100);
        queue.open();
        (100..10_100).for_each(|key| queue.add(key));
        (0..16).for_each(|key| queue.add(key));
        let mut order = Vec::new();
        for _ in 0..30 {
            let key = queue.next().await.unwrap();
            queue.done(&key);
            order.push(key);
        }
        let major: Vec<u32> = order.iter().copied().filter(|key| *key < 100).collect();
        assert_eq!(major, (0..16).collect::<Vec<_>>(), "major keys keep their order");
        assert!(order[..18].iter().filter(|key| **key < 100).count() == 16, "{order:?}");
        assert!(order[..8].contains(&100), "a minor key is among the first eight: {order:?}");
        queue.close();
        queue.open();
        queue.add(100);
        queue.add(1);
        assert_eq!(queue.next().await, Some(1), "minor keys are still minor after the queue was reopened");
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_key_is_not_handed_out() {
        let queue = Queue::default();
        queue.add_at("a", Instant::now() + Duration::from_secs(30));
        queue.cancel(&"a");
        assert_eq!(queue.timers(), 0);
        assert!(tokio::time::timeout(Duration::from_secs(60), queue.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn earliest_of_several_scheduled_times_is_kept() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add_at("a", start + Duration::from_secs(30));
        queue.add_at("a", start + Duration::from_secs(10));
        queue.add_at("a", start + Duration::from_secs(20));
        assert_eq!(queue.next().await, Some("a"));
        assert_eq!(start.elapsed().as_secs(), 10);
        queue.done(&"a");
        let more = tokio::time::timeout(Duration::from_secs(60), queue.next()).await;
        assert!(more.is_err(), "the later times were cancelled");
    }

    #[tokio::test(start_paused = true)]
    async fn each_failure_doubles_the_wait_up_to_a_minute() {
        let queue = Queue::default();
        let waits: Vec<u64> = (0..8).map(|_| queue.retry("a").as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        queue.succeeded(&"a");
        assert_eq!(queue.retry("a").as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn retry_now_makes_failed_keys_ready_immediately() {
        let queue = Queue::default();
        let start = Instant::now();
        for _ in 0..5 {
            queue.retry("failed");
        }
        queue.add_at("later", start + Duration::from_secs(100));
        queue.retry_now();
        assert_eq!(queue.next().await, Some("failed"));
        assert_eq!(start.elapsed().as_secs(), 0);
        queue.done(&"failed");
        assert_eq!(queue.next().await, Some("later"), "a key without failures keeps its scheduled time");
        assert_eq!(start.elapsed().as_secs(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn closing_wakes_every_waiter() {
        let queue = std::sync::Arc::new(Queue::<&str>::default());
        let waiters: Vec<_> = (0..4)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.next().await })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.close();
        for waiter in waiters {
            assert_eq!(waiter.await.ok().flatten(), None);
        }
    }
}
