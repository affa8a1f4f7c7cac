//! What decisions ask of a summary.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Ended, PodSet, PodSummary};
use crate::job::index::{CompletionIndex, IndexSet};
use crate::job::view::PodView;
use crate::runtime::identity::Uid;

impl PodSummary {
    /// Returns the tracked pods that the Job controls, whether or not its selector matches them. The release of a pod may
    /// have failed, so that the Job still controls it.
    pub fn tracked_in_any_case(&self) -> impl Iterator<Item = &Arc<PodView>> {
        self.pods.values().map(|entry| &entry.pod).filter(|pod| pod.tracked)
    }

    /// Returns the pods that the selector no longer matches.
    pub fn unselected(&self) -> &PodSet {
        &self.sets.unselected
    }

    /// Returns the number of pods that the Job controls.
    pub fn len(&self) -> usize {
        self.pods.len()
    }

    /// Returns whether the Job controls no pod.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// Returns whether the Job controls this pod.
    pub fn contains(&self, uid: &Uid) -> bool {
        self.pods.contains_key(uid)
    }

    /// Returns the number of pods that have not ended, whether or not the selector matches them.
    pub fn unended(&self) -> usize {
        usize::try_from(self.counts.unended).unwrap_or_default()
    }

    /// Returns the number of pods that have neither ended nor are being deleted.
    pub fn active(&self) -> usize {
        usize::try_from(self.counts.active).unwrap_or_default()
    }

    /// Returns the active pods, ordered by UID. The cost depends on the number of all pods.
    pub fn active_pods(&self) -> impl Iterator<Item = &Arc<PodView>> {
        self.pods.values().filter(|entry| entry.facts.active).map(|entry| &entry.pod)
    }

    /// Returns the number of active pods that are ready.
    pub fn ready(&self) -> i32 {
        i32::try_from(self.counts.ready).unwrap_or(i32::MAX)
    }

    /// Returns the number of active pods that run.
    pub fn running(&self) -> usize {
        usize::try_from(self.counts.running).unwrap_or_default()
    }

    /// Returns a pod that the Job controls.
    pub fn pod(&self, uid: &Uid) -> Option<&Arc<PodView>> {
        self.pods.get(uid).map(|entry| &entry.pod)
    }

    /// Returns the active pods that did not start in time and are to be deleted.
    pub fn failed_start(&self) -> &PodSet {
        &self.sets.failed_start
    }

    /// Returns the number of pods that are being deleted and have not ended.
    pub fn terminating(&self) -> usize {
        usize::try_from(self.counts.terminating).unwrap_or_default()
    }

    /// Returns the number of container restarts in pods that are pending or running.
    pub fn restarts(&self) -> i64 {
        self.counts.restarts
    }

    /// Returns whether a pod has the tracking finalizer, that is, is not accounted for.
    pub fn is_tracked(&self, uid: &Uid) -> bool {
        self.pods.get(uid).is_some_and(|entry| entry.facts.tracked)
    }

    /// Returns all tracked pods, ordered by UID. The cost depends on the number of all pods.
    pub fn tracked_pods(&self) -> impl Iterator<Item = Arc<PodView>> {
        let tracked = self.pods.values().filter(|entry| entry.facts.tracked);
        tracked.map(|entry| self.listed.as_listed(&entry.pod).into_owned())
    }

    /// Returns the tracked pods that are not active.
    pub fn inactive(&self) -> &PodSet {
        &self.sets.inactive
    }

    /// Returns whether the status lists a pod as uncounted.
    pub fn is_listed(&self, pod: &PodView) -> bool {
        self.listed.contains(pod)
    }

    /// Returns the failed pods that match a `FailJob` rule, and the pods whose start deadline fails the Job.
    pub fn failing(&self) -> &PodSet {
        &self.sets.failing
    }

    /// Returns the tracked pods that succeeded and that the status does not list.
    pub fn new_succeeded(&self) -> &PodSet {
        &self.sets.new_succeeded
    }

    /// Returns the tracked pods that failed and that the status does not list.
    pub fn new_failed(&self) -> &PodSet {
        &self.sets.new_failed
    }

    /// Returns the number of successes: counted, listed as uncounted, and new. For an Indexed Job, returns the number of
    /// succeeded indexes.
    pub fn succeeded(&self) -> i64 {
        if self.basis.is_indexed() {
            return self.indexes.succeeded.len().try_into().unwrap_or(i64::MAX);
        }
        let new = self.stored.uncounted.succeeded.len() + self.sets.new_succeeded.len();
        i64::from(self.stored.succeeded) + new as i64
    }

    /// Returns the number of failures that count: counted, listed as uncounted, and new.
    pub fn failed(&self) -> i64 {
        i64::from(self.stored.failed) + self.stored.uncounted.failed.len() as i64 + self.counts.counting
    }

    /// Returns the indexes that succeeded.
    pub fn succeeded_indexes(&self) -> &IndexSet {
        &self.indexes.succeeded
    }

    /// Returns the indexes that failed.
    pub fn failed_indexes(&self) -> &IndexSet {
        &self.indexes.failed
    }

    /// Returns the numbers of the indexes that the Job runs and that have ended.
    pub fn ended_indexes(&self) -> Ended {
        self.indexes.ended
    }

    /// Returns the indexes for which no pod may be created: they have succeeded or failed, have a pod, or are not listed.
    pub fn taken_indexes(&self) -> &IndexSet {
        &self.indexes.taken
    }

    /// Returns the failed pods that keep their finalizer as the record of their index's failures.
    pub fn records(&self) -> &BTreeMap<CompletionIndex, Arc<PodView>> {
        &self.indexes.records
    }

    /// Returns whether this pod is the record of its index's failures.
    pub fn is_record(&self, pod: &PodView) -> bool {
        let record = pod.index.and_then(|index| self.indexes.records.get(&index));
        record.is_some_and(|record| record.identity.uid == pod.identity.uid)
    }

    /// Returns whether an Indexed Job has active pods without an index of its own.
    pub fn has_misplaced(&self) -> bool {
        self.counts.unplaced > 0 || !self.indexes.crowded.is_empty()
    }

    /// Returns whether the Job has no active, terminating or tracked pods.
    pub fn is_idle(&self) -> bool {
        self.counts.active == 0 && self.counts.terminating == 0 && self.counts.tracked == 0
    }
}
