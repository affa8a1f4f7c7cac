//! Completion indexes of an Indexed Job: which ones have succeeded or failed, and which ones have pods.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::backoff_limit_per_index;
use super::basis::Stored;
use crate::job::index::{CompletionIndex, IndexSet};
use crate::job::view::{JobView, PodView};
use crate::runtime::identity::Uid;

/// What a pod means for its completion index.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct IndexFacts {
    /// Completion index of the pod, if the Job is Indexed and has this index.
    pub(super) index: Option<CompletionIndex>,
    pub(super) active: bool,
    /// Whether the pod is terminating and blocks its replacement.
    pub(super) blocks: bool,
    /// Whether the pod is tracked and succeeded.
    pub(super) succeeded: bool,
    /// Whether the pod is tracked and failed, and the failures of each index are limited.
    pub(super) failed: bool,
    /// Whether the pod is tracked and its failure fails the index.
    pub(super) fails: bool,
}

/// Completion indexes by their state.
#[derive(Debug)]
pub(super) struct Indexes {
    /// Indexes that have pods.
    with_pods: BTreeMap<CompletionIndex, Pods>,
    /// Indexes that succeeded.
    pub(super) succeeded: IndexSet,
    /// Indexes that failed.
    pub(super) failed: IndexSet,
    /// Numbers of the indexes that the Job runs and that succeeded or failed.
    pub(super) ended: Ended,
    /// Indexes for which no pod may be created: they have succeeded or failed, have a pod, or are not listed.
    pub(super) taken: IndexSet,
    /// Indexes with several active pods.
    pub(super) crowded: BTreeSet<CompletionIndex>,
    /// Failed pods that keep their finalizer as the record of their index's failures.
    pub(super) records: BTreeMap<CompletionIndex, Arc<PodView>>,
}

/// Numbers of the indexes that a Job runs and that have ended. Without a list of indexes, a Job runs all its indexes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Indexes that succeeded.
    pub succeeded: u64,
    /// Indexes that failed.
    pub failed: u64,
}

/// Pods of one index.
#[derive(Debug, Default)]
struct Pods {
    active: u32,
    blocking: u32,
    succeeded: u32,
    /// Pods whose failure fails the index.
    fatal: u32,
    /// Failed pods, by UID.
    failed: BTreeMap<Uid, Arc<PodView>>,
}

impl Pods {
    fn change(&mut self, facts: &IndexFacts, change: impl Fn(u32) -> u32) {
        let counted = [
            (&mut self.active, facts.active),
            (&mut self.blocking, facts.blocks),
            (&mut self.succeeded, facts.succeeded),
            (&mut self.fatal, facts.fails),
        ];
        for (count, fact) in counted {
            if fact {
                *count = change(*count);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.active + self.blocking + self.succeeded + self.fatal == 0 && self.failed.is_empty()
    }
}

impl Indexes {
    pub(super) fn new(job: &JobView, stored: &Stored) -> Self {
        let is_limited = job.is_indexed() && job.spec.backoff_limit_per_index.is_some();
        let succeeded = if job.is_indexed() { stored.completed_indexes.clone() } else { IndexSet::default() };
        let failed = if is_limited { stored.failed_indexes.clone() } else { IndexSet::default() };
        let over = succeeded.union(&failed);
        let listed = job.listed_indexes();
        let count = |set: &IndexSet| listed.map_or(set.len(), |listed| listed.overlap(set));
        Self {
            with_pods: BTreeMap::new(),
            ended: Ended { succeeded: count(&succeeded), failed: count(&failed) },
            taken: listed.map_or_else(|| over.clone(), |listed| over.union(&listed.complement(job.indexes()))),
            succeeded,
            failed,
            crowded: BTreeSet::new(),
            records: BTreeMap::new(),
        }
    }

    /// Adds a pod. The caller refreshes its index afterwards.
    pub(super) fn add(&mut self, facts: &IndexFacts, pod: &Arc<PodView>) {
        let Some(index) = facts.index else { return };
        let pods = self.with_pods.entry(index).or_default();
        pods.change(facts, |count| count + 1);
        if facts.failed {
            pods.failed.insert(pod.identity.uid.clone(), pod.clone());
        }
        if pods.is_empty() {
            self.with_pods.remove(&index);
        }
    }

    /// Removes a pod. The caller refreshes its index afterwards.
    pub(super) fn subtract(&mut self, facts: &IndexFacts, pod: &PodView) {
        let Some(index) = facts.index else { return };
        let Some(pods) = self.with_pods.get_mut(&index) else { return };
        pods.change(facts, |count| count - 1);
        if facts.failed {
            pods.failed.remove(&pod.identity.uid);
        }
        if pods.is_empty() {
            self.with_pods.remove(&index);
        }
    }

    /// Applies a change of the stored status.
    pub(super) fn stored_changed(&mut self, job: &JobView, before: &Stored, after: &Stored) {
        if !job.is_indexed() {
            return;
        }
        let completed = before.completed_indexes.differences(&after.completed_indexes);
        for index in completed.chain(before.failed_indexes.differences(&after.failed_indexes)) {
            self.refresh(job, after, Some(index));
        }
        if before.has_outcome != after.has_outcome {
            let all: Vec<CompletionIndex> = self.with_pods.keys().copied().collect();
            for index in all {
                self.refresh(job, after, Some(index));
            }
        }
    }

    /// Determines the state of an index from its pods and the stored status.
    ///
    /// An index succeeds when one of its pods succeeds, even if other pods of the index fail. A stored failure of an
    /// index is final. Pods that end after the outcome of the Job is stored end because of it, and fail no index.
    pub(super) fn refresh(&mut self, job: &JobView, stored: &Stored, index: Option<CompletionIndex>) {
        let Some(index) = index else { return };
        let none = Pods::default();
        let pods = self.with_pods.get(&index).unwrap_or(&none);
        let is_limited = job.spec.backoff_limit_per_index.is_some();
        let failure_stored = stored.failed_indexes.contains(index);
        let succeeded = stored.completed_indexes.contains(index) || pods.succeeded > 0 && !failure_stored;
        let fails = !stored.has_outcome && pods.fatal > 0 && !succeeded;
        let failed = is_limited && (failure_stored || fails);
        let is_over = succeeded || failed;
        let record = if is_over || pods.active > 0 { None } else { backoff_limit_per_index::record(&pods.failed) };
        match record {
            Some(record) => self.records.insert(index, record.clone()),
            None => self.records.remove(&index),
        };
        if pods.active > 1 {
            self.crowded.insert(index);
        } else {
            self.crowded.remove(&index);
        }
        self.taken.set(index, is_over || pods.active > 0 || pods.blocking > 0);
        if job.runs_index(index) {
            change(&mut self.ended.succeeded, self.succeeded.contains(index), succeeded);
            change(&mut self.ended.failed, self.failed.contains(index), failed);
        } else if index < job.indexes() {
            self.taken.insert(index);
        }
        self.succeeded.set(index, succeeded);
        self.failed.set(index, failed);
    }
}

/// Changes the number of the elements of a set after one element was added or removed.
fn change(count: &mut u64, was_contained: bool, is_contained: bool) {
    match (was_contained, is_contained) {
        (false, true) => *count += 1,
        (true, false) => *count -= 1,
        _ => {}
    }
}

impl PartialEq for Indexes {
    fn eq(&self, other: &Self) -> bool {
        let numbers = |pods: &Pods| (pods.active, pods.blocking, pods.succeeded, pods.fatal, pods.failed.len());
        self.with_pods
            .iter()
            .map(|(index, pods)| (index, numbers(pods)))
            .eq(other.with_pods.iter().map(|(index, pods)| (index, numbers(pods))))
            && self.succeeded == other.succeeded
            && self.failed == other.failed
            && self.ended == other.ended
            && self.taken == other.taken
            && self.crowded == other.crowded
            && self
                .records
                .iter()
                .map(|(index, pod)| (index, &pod.identity))
                .eq(other.records.iter().map(|(index, pod)| (index, &pod.identity)))
    }
}
