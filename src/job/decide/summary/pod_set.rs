//! Set of pods in the order of their completion indexes, and then of their UIDs.

use std::collections::BTreeMap;
use std::collections::btree_map::Values;
use std::sync::Arc;

use crate::job::index::CompletionIndex;
use crate::job::view::PodView;
use crate::runtime::identity::Uid;

/// Set of pods in the order of their completion indexes, and then of their UIDs. The order is fixed, so that equal
/// states give equal decisions.
#[derive(Debug, Default)]
pub struct PodSet(BTreeMap<Key, Arc<PodView>>);

/// Position of a pod in the order of a set.
type Key = (Option<CompletionIndex>, Uid);

fn key(pod: &PodView) -> Key {
    (pod.index, pod.identity.uid.clone())
}

impl PodSet {
    pub(super) fn insert(&mut self, pod: &Arc<PodView>) {
        self.0.insert(key(pod), pod.clone());
    }

    pub(super) fn remove(&mut self, pod: &PodView) {
        self.0.remove(&key(pod));
    }

    /// Returns the pods, in order.
    pub fn iter(&self) -> Values<'_, Key, Arc<PodView>> {
        self.0.values()
    }

    /// Returns the number of pods.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the set contains no pod.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a PodSet {
    type Item = &'a Arc<PodView>;
    type IntoIter = Values<'a, Key, Arc<PodView>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for PodSet {
    fn eq(&self, other: &Self) -> bool {
        let version = |pod: &Arc<PodView>| (pod.identity.resource_version, pod.phase);
        self.len() == other.len()
            && self.0.iter().zip(&other.0).all(|((a, one), (b, other))| a == b && version(one) == version(other))
    }
}
