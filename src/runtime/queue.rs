//! A fair queue of keys: what to look at next, and when.
//!
//! A key waits in it at most once. It is never handed out twice at the same time: what comes in for it while it is
//! worked on is taken together when that ends, so that batches grow by themselves under load. First come, first served,
//! but for minor keys: those wait in a lane of their own, so that thousands of them do not hold the others up.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The first wait after a failure; doubled by each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest wait after a failure.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// While both lanes hold keys, one key of this many is a minor one.
const MINOR_EVERY: u32 = 8;

/// A fair queue of keys.
pub struct Queue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

struct State<K> {
    ready: VecDeque<K>,
    /// Ready too, and minor.
    minor: VecDeque<K>,
    is_minor: fn(&K) -> bool,
    /// How many keys were handed out while both lanes held some.
    handed_out: u32,
    waiting: HashSet<K>,
    running: HashSet<K>,
    /// Came in while it was running.
    dirty: HashSet<K>,
    later: BTreeMap<(Instant, u64), K>,
    due: HashMap<K, (Instant, u64)>,
    failures: HashMap<K, u32>,
    sequence: u64,
    closed: bool,
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
            waiting: HashSet::new(),
            running: HashSet::new(),
            dirty: HashSet::new(),
            later: BTreeMap::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
            sequence: 0,
            closed,
        }
    }
}

impl<K: Hash + Eq + Clone> Queue<K> {
    /// A queue that takes no keys until it is opened.
    pub fn closed() -> Self {
        Self::closed_with_minor(|_| false)
    }

    /// The same, where some keys are minor.
    pub fn closed_with_minor(is_minor: fn(&K) -> bool) -> Self {
        Self { state: Mutex::new(State::new(true, is_minor)), changed: Notify::new() }
    }

    /// Begins anew, with nothing in it: takes keys and hands them out.
    pub fn open(&self) {
        let mut state = self.lock();
        *state = State::new(false, state.is_minor);
    }

    /// Whether it takes keys.
    pub fn is_open(&self) -> bool {
        !self.lock().closed
    }

    /// Puts a key at the end, unless it waits already.
    pub fn add(&self, key: K) {
        self.lock().make_ready(key);
        self.changed.notify_one();
    }

    /// Puts a key at the end at `when`; an earlier time for it stands.
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
        drop(state);
        self.changed.notify_one();
    }

    /// Takes back the time at which a key was to be put at the end.
    pub fn cancel(&self, key: &K) {
        let mut state = self.lock();
        if let Some(due) = state.due.remove(key) {
            state.later.remove(&due);
        }
    }

    /// Puts a key back after a failure, later each time. Tells how long it waits.
    pub fn retry(&self, key: K) -> Duration {
        let mut state = self.lock();
        let failures = state.failures.entry(key.clone()).or_default();
        let wait = FIRST_RETRY.saturating_mul(1 << (*failures).min(16)).min(LAST_RETRY);
        *failures += 1;
        drop(state);
        self.add_at(key, Instant::now() + wait);
        wait
    }

    /// Forgets a key's failures: it went well.
    pub fn succeeded(&self, key: &K) {
        self.lock().failures.remove(key);
    }

    /// Makes every key that waits after a failure ready now: what they failed at may work again.
    pub fn retry_now(&self) {
        let mut state = self.lock();
        // In the order in which they would have come.
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

    /// The next key, once there is one; none once the queue is closed. [`Queue::done`] must follow.
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
                    if !state.waiting.is_empty() {
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

    /// The work on a key has ended; if it came in meanwhile, it is put at the end.
    pub fn done(&self, key: &K) {
        let mut state = self.lock();
        state.running.remove(key);
        if state.dirty.remove(key) {
            state.make_ready(key.clone());
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Forgets its keys, hands out no more and takes none, so that it does not grow while nobody works.
    pub fn close(&self) {
        let mut state = self.lock();
        *state = State::new(true, state.is_minor);
        drop(state);
        self.changed.notify_waiters();
        // One that is between its look and its wait finds this.
        self.changed.notify_one();
    }

    /// How many keys are ready to be handed out.
    pub fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// How many keys are to become ready at some time.
    pub fn timers(&self) -> usize {
        self.lock().later.len()
    }

    /// Whether no key is ready.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock()
    }
}

impl<K: Hash + Eq + Clone> State<K> {
    fn make_ready(&mut self, key: K) {
        if self.closed {
            return;
        }
        if self.running.contains(&key) {
            self.dirty.insert(key);
        } else if self.waiting.insert(key.clone()) {
            let lane = if (self.is_minor)(&key) { &mut self.minor } else { &mut self.ready };
            lane.push_back(key);
        }
    }

    fn pop(&mut self) -> Option<K> {
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
    async fn a_key_waits_once_and_runs_once_at_a_time() {
        let queue = Queue::default();
        queue.add("a");
        queue.add("b");
        queue.add("a");
        assert_eq!(queue.len(), 2);
        assert_eq!(queue.next().await, Some("a"));
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next().await, Some("b"), "a runs, so it must wait");
        assert!(queue.is_empty());
        queue.done(&"a");
        assert_eq!(queue.next().await, Some("a"), "what came in meanwhile is taken together");
        queue.done(&"a");
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_key_goes_behind_the_others() {
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
    async fn minor_keys_do_not_hold_up_the_others_and_have_their_share() {
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
        assert_eq!(major, (0..16).collect::<Vec<_>>(), "in their order");
        assert!(order[..18].iter().filter(|key| **key < 100).count() == 16, "{order:?}");
        assert!(order[..8].contains(&100), "a minor key has its share: {order:?}");
        queue.close();
        queue.open();
        queue.add(100);
        queue.add(1);
        assert_eq!(queue.next().await, Some(1), "after a new beginning too");
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_time_is_forgotten() {
        let queue = Queue::default();
        queue.add_at("a", Instant::now() + Duration::from_secs(30));
        queue.cancel(&"a");
        assert_eq!(queue.timers(), 0);
        assert!(tokio::time::timeout(Duration::from_secs(60), queue.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_of_several_times_stands() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add_at("a", start + Duration::from_secs(30));
        queue.add_at("a", start + Duration::from_secs(10));
        queue.add_at("a", start + Duration::from_secs(20));
        assert_eq!(queue.next().await, Some("a"));
        assert_eq!(start.elapsed().as_secs(), 10);
        queue.done(&"a");
        let more = tokio::time::timeout(Duration::from_secs(60), queue.next()).await;
        assert!(more.is_err(), "the later times were taken back");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_each_time_up_to_a_minute() {
        let queue = Queue::default();
        let waits: Vec<u64> = (0..8).map(|_| queue.retry("a").as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        queue.succeeded(&"a");
        assert_eq!(queue.retry("a").as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn failed_keys_can_be_had_at_once() {
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
        assert_eq!(queue.next().await, Some("later"), "what waits for its own time goes on waiting");
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
