//! Maps and sets of UIDs, and of keys that contain a UID, with a hash function that is fast for short keys.
//!
//! Users write owner references, so a user chooses some of the keys. The hash function therefore has a random seed in
//! each process, and keys with equal hashes cannot be computed in advance.

use std::collections::{HashMap, HashSet};

use ahash::RandomState;

/// Map with a fast hash function that has a random seed.
pub type FastMap<K, V> = HashMap<K, V, RandomState>;

/// Set with a fast hash function that has a random seed.
pub type FastSet<K> = HashSet<K, RandomState>;
