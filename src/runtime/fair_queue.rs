//! Queue that serves the flows that wait in turn, so that a flow with many entries does not delay the others.

use std::collections::VecDeque;
use std::hash::Hash;

use super::maps::FastMap;

/// Queue of entries that belong to flows. Flows are served in turn, the entries of one flow in order. The number of
/// entries of one flow that are in service concurrently is limited. Each flow has a state, which is kept while the flow
/// has entries.
pub struct FairQueue<K, T, S> {
    flows: FastMap<K, Flow<T, S>>,
    /// Flows with waiting entries, the next one first.
    turns: VecDeque<K>,
}

struct Flow<T, S> {
    waiting: VecDeque<T>,
    in_service: usize,
    state: S,
}

impl<K, T, S> Default for FairQueue<K, T, S> {
    fn default() -> Self {
        Self { flows: FastMap::default(), turns: VecDeque::new() }
    }
}

impl<K: Clone + Eq + Hash, T, S: Default> FairQueue<K, T, S> {
    /// Adds an entry at the end of its flow.
    pub fn push(&mut self, key: &K, entry: T) {
        let flow = self.flow(key);
        flow.waiting.push_back(entry);
        if flow.waiting.len() == 1 {
            self.turns.push_back(key.clone());
        }
    }

    /// Removes the next entry, with its flow, and counts it as in service, unless each waiting flow has as many entries in
    /// service as `most` allows for its state.
    pub fn next(&mut self, most: impl Fn(&S) -> usize) -> Option<(K, T)> {
        for _ in 0..self.turns.len() {
            let key = self.turns.pop_front()?;
            let flow = self.flow(&key);
            let entry = if flow.in_service < most(&flow.state) { flow.waiting.pop_front() } else { None };
            flow.in_service += usize::from(entry.is_some());
            if !flow.waiting.is_empty() {
                self.turns.push_back(key.clone());
            }
            if let Some(entry) = entry {
                return Some((key, entry));
            }
        }
        None
    }

    /// Counts an entry of a flow as in service without waiting. Returns false if entries of the flow are waiting, or if
    /// as many are in service as `most` allows for the state of the flow.
    pub fn start(&mut self, key: &K, most: impl Fn(&S) -> usize) -> bool {
        let flow = self.flow(key);
        let may_start = flow.waiting.is_empty() && flow.in_service < most(&flow.state);
        flow.in_service += usize::from(may_start);
        may_start
    }

    /// Records that an entry of this flow is no longer in service.
    pub fn end(&mut self, key: &K) {
        if let Some(flow) = self.flows.get_mut(key) {
            flow.in_service = flow.in_service.saturating_sub(1);
            self.forget_idle(key);
        }
    }

    /// Removes the waiting entries of a flow that do not match `keep`.
    pub fn retain(&mut self, key: &K, keep: impl Fn(&T) -> bool) {
        let Some(flow) = self.flows.get_mut(key) else { return };
        flow.waiting.retain(keep);
        if flow.waiting.is_empty() {
            self.turns.retain(|turn| turn != key);
            self.forget_idle(key);
        }
    }

    /// Returns the number of flows that have entries.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Returns whether no flow has entries.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Returns the state of a flow that has entries.
    pub fn state(&mut self, key: &K) -> Option<&mut S> {
        self.flows.get_mut(key).map(|flow| &mut flow.state)
    }

    /// Returns all waiting entries.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        self.flows.values().flat_map(|flow| &flow.waiting)
    }

    fn flow(&mut self, key: &K) -> &mut Flow<T, S> {
        self.flows.entry(key.clone()).or_insert_with(|| Flow {
            waiting: VecDeque::new(),
            in_service: 0,
            state: S::default(),
        })
    }

    fn forget_idle(&mut self, key: &K) {
        if self.flows.get(key).is_some_and(|flow| flow.waiting.is_empty() && flow.in_service == 0) {
            self.flows.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Queue<K, T> = FairQueue<K, T, ()>;

    #[test]
    fn flows_are_served_in_turn_and_their_entries_in_order() {
        let mut queue = Queue::default();
        for number in 0..4 {
            queue.push(&"large", number);
        }
        queue.push(&"small", 100);
        let served: Vec<u32> = std::iter::from_fn(|| queue.next(|()| 9)).map(|(_, entry)| entry).collect();
        assert_eq!(served, [0, 100, 1, 2, 3]);
    }

    #[test]
    fn flow_at_its_limit_does_not_delay_the_others() {
        let mut queue = Queue::default();
        assert!(queue.start(&"large", |()| 1));
        assert!(!queue.start(&"large", |()| 1));
        queue.push(&"large", 1);
        queue.push(&"small", 2);
        assert_eq!((queue.next(|()| 1), queue.next(|()| 1)), (Some(("small", 2)), None));
        queue.end(&"large");
        assert_eq!(queue.next(|()| 1), Some(("large", 1)));
        for key in ["large", "small"] {
            queue.end(&key);
        }
        assert!(queue.is_empty(), "idle flows use no memory");
    }

    proptest! {
        /// Every entry is served once, no flow exceeds its limit, and no memory is left at the end.
        #[test]
        fn each_entry_is_served_once(actions in prop::collection::vec((0_u8..4, 0_u8..4), 0..200), most in 1_usize..4) {
            let mut queue: Queue<u8, (u8, usize)> = Queue::default();
            let (mut served, mut pushed, mut gone) = (Vec::new(), 0, Vec::new());
            let mut in_service = [0_usize; 4];
            for (number, (action, key)) in actions.into_iter().enumerate() {
                match action {
                    0 => { queue.push(&key, (key, number)); pushed += 1; }
                    1 => if let Some((_, (key, number))) = queue.next(|()| most) {
                        in_service[key as usize] += 1;
                        served.push(number);
                    },
                    2 if in_service[key as usize] > 0 => { queue.end(&key); in_service[key as usize] -= 1; }
                    2 => {}
                    _ => {
                        let first = queue.waiting().find(|entry| entry.0 == key).map(|entry| entry.1);
                        if let Some(first) = first {
                            queue.retain(&key, |entry| entry.1 != first);
                            gone.push(first);
                        }
                    }
                }
                prop_assert!(in_service.iter().all(|count| *count <= most));
            }
            loop {
                for key in 0..4 {
                    for _ in 0..std::mem::take(&mut in_service[key as usize]) {
                        queue.end(&key);
                    }
                }
                let Some((_, (key, number))) = queue.next(|()| most) else { break };
                in_service[key as usize] += 1;
                served.push(number);
            }
            let total = served.len() + gone.len();
            served.sort_unstable();
            served.dedup();
            prop_assert_eq!((served.len() + gone.len(), total), (pushed, pushed));
            prop_assert!(queue.flows.is_empty() && queue.turns.is_empty());
        }
    }
}
