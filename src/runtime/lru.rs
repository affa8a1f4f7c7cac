//! Map of bounded size: a new entry in a full map replaces the least recently used entry.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Map that holds a limited number of entries and evicts the least recently used one.
pub struct Lru<K, V> {
    entries: HashMap<K, (u64, V)>,
    by_age: BTreeMap<u64, K>,
    uses: u64,
    capacity: usize,
}

impl<K: Hash + Eq + Clone, V> Lru<K, V> {
    /// Creates a map for at most `capacity` entries.
    pub fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), by_age: BTreeMap::new(), uses: 0, capacity: capacity.max(1) }
    }

    /// Returns the value of a key and marks the key as the most recently used. Inserts the result of `make` if the map
    /// does not contain the key.
    pub fn entry(&mut self, key: &K, make: impl FnOnce() -> V) -> &mut V {
        if !self.entries.contains_key(key)
            && self.entries.len() >= self.capacity
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.uses += 1;
        let (age, value) = self.entries.entry(key.clone()).or_insert_with(|| (0, make()));
        self.by_age.remove(age);
        *age = self.uses;
        self.by_age.insert(self.uses, key.clone());
        value
    }

    /// Returns the value of a key, if there is one, without marking the key as used.
    pub fn peek_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether the map is empty.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_recently_used_entry_is_replaced() {
        let mut map = Lru::new(2);
        *map.entry(&"a", || 0) += 1;
        *map.entry(&"b", || 0) += 1;
        *map.entry(&"a", || 0) += 1;
        map.entry(&"c", || 0);
        assert_eq!((map.peek_mut(&"a").copied(), map.peek_mut(&"b").copied()), (Some(2), None));
        assert_eq!((map.len(), map.by_age.len()), (2, 2));
    }
}
