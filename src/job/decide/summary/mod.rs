//! What decisions need to know of a Job's pods, kept up to date change by change.
//!
//! A [`PodSummary`] holds counts, and the sets of the pods for which something is to be done. [`PodSummary::set_pod`] and
//! [`PodSummary::set_job`] apply one change each, so that the cost of an event does not depend on the number of pods.
//! A summary that has seen any sequence of changes equals a new one; a property test and, in debug
//! builds, every sync compare the two.

mod basis;
mod indexes;
mod pod_set;
mod queries;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::basis::{Basis, Stored};
pub use self::indexes::Ended;
use self::indexes::{IndexFacts, Indexes};
pub use self::pod_set::PodSet;
use super::listed::Listed;
use super::pod_failure_policy::{PolicyDecision, policy_decision};
use super::pod_replacement_policy::is_failed;
use super::{backoff_limit_per_index, claims};
use crate::job::view::{JobView, Phase, PodView};
use crate::runtime::identity::Uid;

/// Summary of the pods that a Job controls.
#[derive(Debug, PartialEq)]
pub struct PodSummary {
    /// Fields of the Job's spec from which the facts about its pods follow.
    basis: Basis,
    /// Parts of the Job's status from which the facts about its pods follow.
    stored: Stored,
    /// Pods that the status lists as uncounted.
    listed: Listed,
    /// All pods that the Job controls.
    pods: BTreeMap<Uid, Entry>,
    counts: Counts,
    sets: Sets,
    indexes: Indexes,
}

/// A pod, and what follows for it from the Job.
#[derive(Debug)]
struct Entry {
    pod: Arc<PodView>,
    facts: Facts,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.pod.identity == other.pod.identity && self.facts == other.facts
    }
}

/// Numbers of pods. All but the first are numbers of pods that the selector matches.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    /// Pods that have not ended, whether or not the selector matches them.
    unended: i64,
    active: i64,
    ready: i64,
    terminating: i64,
    tracked: i64,
    /// New failed pods whose failure counts.
    counting: i64,
    /// Active pods of an Indexed Job without an index that the Job runs.
    unplaced: i64,
    /// Active pods that run.
    running: i64,
    /// Container restarts in pods that are pending or running.
    restarts: i64,
}

/// Pods for which something is to be done.
#[derive(Debug, Default, PartialEq)]
struct Sets {
    /// Pods that the selector does not match.
    unselected: PodSet,
    /// Tracked pods that are not active.
    inactive: PodSet,
    /// Failed pods that match a `FailJob` rule, and pods whose start deadline fails the Job.
    failing: PodSet,
    /// Tracked pods that succeeded and that the status does not list.
    new_succeeded: PodSet,
    /// Tracked pods that failed and that the status does not list.
    new_failed: PodSet,
    /// Active pods that did not start in time and are to be deleted.
    failed_start: PodSet,
}

/// What follows for a pod from the pod itself, the Job's spec, and the lists in the Job's status.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Facts {
    unended: bool,
    /// Whether the selector matches the pod. All following facts are false otherwise.
    selected: bool,
    active: bool,
    ready: bool,
    terminating: bool,
    tracked: bool,
    fails_job: bool,
    new_succeeded: bool,
    new_failed: bool,
    /// Whether the failure of a new failed pod counts.
    counts: bool,
    unplaced: bool,
    running: bool,
    failed_start: bool,
    restarts: i64,
    of_index: IndexFacts,
}

impl PodSummary {
    /// Computes the summary of these pods. Pods that the Job does not control are left out.
    pub fn new(job: &JobView, pods: impl IntoIterator<Item = Arc<PodView>>) -> Self {
        let stored = Stored::of(job);
        let mut summary = Self {
            basis: Basis::of(job),
            listed: Listed::of(&stored.uncounted),
            indexes: Indexes::new(job, &stored),
            stored,
            pods: BTreeMap::new(),
            counts: Counts::default(),
            sets: Sets::default(),
        };
        for pod in pods {
            let uid = pod.identity.uid.clone();
            summary.set_pod(job, &uid, Some(pod));
        }
        summary
    }

    /// Applies a new version of the Job.
    pub fn set_job(&mut self, job: &JobView) {
        if !self.basis.is_of(job) {
            let pods = std::mem::take(&mut self.pods);
            *self = Self::new(job, pods.into_values().map(|entry| entry.pod));
            return;
        }
        if self.stored.is_of(job) {
            return;
        }
        let before = std::mem::replace(&mut self.stored, Stored::of(job));
        if before.uncounted != self.stored.uncounted {
            let listed = Listed::of(&self.stored.uncounted);
            let affected = self.listed.differences(&listed);
            self.listed = listed;
            for uid in affected {
                if let Some(entry) = self.pods.remove(&uid) {
                    self.subtract(&entry);
                    self.add(job, uid, entry.pod);
                }
            }
        }
        self.indexes.stored_changed(job, &before, &self.stored);
    }

    /// Applies the present version of a pod; none if the Job does not control the pod, or if it is gone or accounted for.
    pub fn set_pod(&mut self, job: &JobView, uid: &Uid, pod: Option<Arc<PodView>>) {
        if let Some(entry) = self.pods.remove(uid) {
            self.subtract(&entry);
            self.indexes.refresh(job, &self.stored, entry.facts.of_index.index);
        }
        if let Some(pod) = pod.filter(|pod| claims::controls(job, pod)) {
            self.add(job, uid.clone(), pod);
        }
    }

    fn add(&mut self, job: &JobView, uid: Uid, pod: Arc<PodView>) {
        let shown = self.listed.as_listed(&pod).into_owned();
        let facts = self.facts(job, &shown);
        self.counts.change(&facts, 1);
        self.sets.each(&facts, |set| set.insert(&shown));
        self.indexes.add(&facts.of_index, &shown);
        self.indexes.refresh(job, &self.stored, facts.of_index.index);
        self.pods.insert(uid, Entry { pod, facts });
    }

    fn subtract(&mut self, entry: &Entry) {
        self.counts.change(&entry.facts, -1);
        self.sets.each(&entry.facts, |set| set.remove(&entry.pod));
        self.indexes.subtract(&entry.facts.of_index, &entry.pod);
    }

    fn facts(&self, job: &JobView, pod: &PodView) -> Facts {
        let unended = !pod.is_ended();
        if !job.selects(&pod.labels) {
            return Facts { unended, ..Facts::default() };
        }
        let (has_failed, has_succeeded) = (is_failed(job, pod), pod.phase == Phase::Succeeded);
        // A pod that did not start in time fails the Job before the pod has ended.
        let failed_start = pod.is_active() && pod.start_failure.is_some();
        let decision = has_failed.then(|| policy_decision(job, pod));
        let fails_job = match &decision {
            Some(decision) => matches!(decision, PolicyDecision::FailJob(_) | PolicyDecision::StartFailsJob(_)),
            None => failed_start && matches!(policy_decision(job, pod), PolicyDecision::StartFailsJob(_)),
        };
        let is_new = pod.tracked && job.can_count(pod) && !self.listed.contains(pod);
        let index = if job.is_indexed() { job.index_of(pod) } else { None };
        let limits_index = job.spec.backoff_limit_per_index.is_some();
        let fails_index = |decision| backoff_limit_per_index::fails_index(job, pod, decision);
        Facts {
            unended,
            selected: true,
            active: pod.is_active(),
            ready: pod.is_ready(),
            terminating: pod.is_terminating(),
            tracked: pod.tracked,
            fails_job,
            running: pod.is_active() && pod.phase == Phase::Running,
            failed_start,
            new_succeeded: is_new && has_succeeded,
            new_failed: is_new && has_failed,
            counts: is_new && decision.as_ref().is_some_and(|decision| *decision != PolicyDecision::Ignore),
            unplaced: pod.is_active() && job.is_indexed() && !index.is_some_and(|index| job.runs_index(index)),
            restarts: if matches!(pod.phase, Phase::Pending | Phase::Running) { pod.restarts } else { 0 },
            of_index: IndexFacts {
                index,
                active: pod.is_active(),
                blocks: pod.is_terminating() && job.spec.replace_only_failed,
                succeeded: pod.tracked && has_succeeded,
                failed: pod.tracked && has_failed && limits_index,
                fails: pod.tracked && decision.as_ref().is_some_and(fails_index),
            },
        }
    }
}

impl Counts {
    /// Adds a pod with these facts (`sign` 1), or subtracts it (-1).
    fn change(&mut self, facts: &Facts, sign: i64) {
        let counted = [
            (&mut self.unended, facts.unended),
            (&mut self.active, facts.active),
            (&mut self.ready, facts.ready),
            (&mut self.terminating, facts.terminating),
            (&mut self.tracked, facts.tracked),
            (&mut self.counting, facts.counts),
            (&mut self.unplaced, facts.unplaced),
            (&mut self.running, facts.running),
        ];
        for (count, fact) in counted {
            *count += sign * i64::from(fact);
        }
        self.restarts += sign * facts.restarts;
    }
}

impl Sets {
    /// Changes each set to which a pod with these facts belongs.
    fn each(&mut self, facts: &Facts, mut change: impl FnMut(&mut PodSet)) {
        let sets = [
            (&mut self.unselected, !facts.selected),
            (&mut self.inactive, facts.tracked && !facts.active),
            (&mut self.failing, facts.fails_job),
            (&mut self.new_succeeded, facts.new_succeeded),
            (&mut self.new_failed, facts.new_failed),
            (&mut self.failed_start, facts.failed_start),
        ];
        for (set, fact) in sets {
            if fact {
                change(set);
            }
        }
    }
}
