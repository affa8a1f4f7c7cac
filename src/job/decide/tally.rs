//! Counts of a Job's pods that several rules use.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::listed::Listed;
use super::pod_failure_policy::{PolicyDecision, policy_decision};
use super::pod_replacement_policy::is_failed;
use super::{backoff_limit_per_index, completion_mode};
use crate::job::index::{CompletionIndex, IndexSet};
use crate::job::view::{JobView, Phase, PodView};
use crate::runtime::identity::Uid;

/// The counts of a Job's pods, and the lists of pods by state.
#[derive(Debug, Default)]
pub struct Tally {
    /// Pods that have neither ended nor are being deleted.
    pub active: Vec<Arc<PodView>>,
    /// Number of active pods that are ready.
    pub ready: i32,
    /// Pods that are being deleted and have not ended.
    pub terminating: Vec<Arc<PodView>>,
    /// Pods that count as failed under the Job's replacement policy, whether or not they are accounted for.
    pub failed_pods: Vec<Arc<PodView>>,
    /// Pods with the tracking finalizer, which are not accounted for. For an Indexed Job they are in order of their
    /// indexes.
    pub tracked: Vec<Arc<PodView>>,
    /// Tracked pods that succeeded and that the status does not list.
    pub new_succeeded: Vec<Arc<PodView>>,
    /// Tracked pods that failed and that the status does not list.
    pub new_failed: Vec<Arc<PodView>>,
    /// Number of successes: counted, listed as uncounted, and new. For an Indexed Job, the number of succeeded indexes.
    pub succeeded: i64,
    /// Number of failures that count: counted, listed as uncounted, and new.
    pub failed: i64,
    /// Number of container restarts in pods that are pending or running.
    pub restarts: i64,
    /// Indexes that succeeded.
    pub succeeded_indexes: IndexSet,
    /// Indexes that failed.
    pub failed_indexes: IndexSet,
    /// UIDs of pods whose adoption or release the API server refuses for now. Adoption adds the tracking finalizer, so until one
    /// of these succeeds, the status must not count the pods as pods without the finalizer.
    pub unclaimed: HashSet<Uid>,
    /// Failed pods that keep their finalizer as the record of their index's failures.
    pub records: BTreeMap<CompletionIndex, Arc<PodView>>,
}

impl Tally {
    /// Counts these pods of the Job.
    pub fn of<'a>(job: &JobView, pods: impl Iterator<Item = &'a Arc<PodView>>) -> Self {
        let uncounted = &job.status.uncounted;
        let listed = Listed::of(uncounted);
        let mut tally = Self::default();
        for pod in pods {
            let pod = listed.as_listed(pod);
            let pod = pod.as_ref();
            if pod.is_active() {
                tally.active.push(pod.clone());
                tally.ready += i32::from(pod.is_ready());
            } else if pod.is_terminating() {
                tally.terminating.push(pod.clone());
            }
            if matches!(pod.phase, Phase::Pending | Phase::Running) {
                tally.restarts += pod.restarts;
            }
            let has_failed = is_failed(job, pod);
            if has_failed {
                tally.failed_pods.push(pod.clone());
            }
            if !pod.tracked {
                continue;
            }
            tally.tracked.push(pod.clone());
            if !job.can_count(pod) || listed.contains(pod) {
                continue;
            }
            if pod.phase == Phase::Succeeded {
                tally.new_succeeded.push(pod.clone());
            }
            if has_failed {
                tally.new_failed.push(pod.clone());
            }
        }
        let counting =
            tally.new_failed.iter().filter(|pod| policy_decision(job, pod) != PolicyDecision::Ignore).count();
        tally.failed = i64::from(job.status.failed) + (uncounted.failed.len() + counting) as i64;
        if job.is_indexed() {
            tally.count_indexes(job);
        } else {
            let new = uncounted.succeeded.len() + tally.new_succeeded.len();
            tally.succeeded = i64::from(job.status.succeeded) + new as i64;
        }
        tally
    }

    fn count_indexes(&mut self, job: &JobView) {
        self.tracked.sort_by_key(|pod| pod.index);
        self.succeeded_indexes = completion_mode::succeeded(job, &self.tracked);
        self.succeeded = self.succeeded_indexes.len().try_into().unwrap_or(i64::MAX);
        self.failed_indexes = backoff_limit_per_index::failed(job, &self.tracked, &self.succeeded_indexes);
        let over = self.succeeded_indexes.union(&self.failed_indexes);
        self.records = backoff_limit_per_index::records(job, &self.tracked, &self.active, &over);
    }

    /// Returns whether the Job has no active, terminating or tracked pods.
    pub fn is_idle(&self) -> bool {
        self.active.is_empty() && self.terminating.is_empty() && self.tracked.is_empty()
    }

    /// Returns whether this pod is the record of its index's failures.
    pub fn is_record(&self, pod: &PodView) -> bool {
        let record = pod.index.and_then(|index| self.records.get(&index));
        record.is_some_and(|record| record.identity.uid == pod.identity.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;

    #[test]
    fn finished_pod_counts_once_whether_new_uncounted_or_counted() {
        let job = Job::new().counted(3, 2).uncounted(&["uid-b"], &["uid-d"]);
        let pods = [
            pod("a").succeeded(5),
            pod("b").succeeded(5),
            pod("c").failed(5),
            pod("d").failed(5),
            pod("e").untracked().succeeded(5),
        ];
        let tally = job.tally(&pods);
        assert_eq!((tally.succeeded, tally.failed), (3 + 1 + 1, 2 + 1 + 1));
        assert_eq!(names(&tally.new_succeeded), ["a"]);
        assert_eq!(names(&tally.new_failed), ["c"]);
    }

    #[test]
    fn pod_being_deleted_is_terminating_and_failed_but_not_active() {
        let pods = [pod("a").running(1).ready(2).deleting(9), pod("b").running(1).ready(2), pod("c").running(1)];
        let tally = Job::new().tally(&pods);
        assert_eq!((tally.active.len(), tally.ready, tally.terminating.len(), tally.failed), (2, 1, 1, 1));
        let waits = Job::new().replace_only_failed().tally(&pods);
        assert_eq!((waits.terminating.len(), waits.failed), (1, 0), "podReplacementPolicy: Failed waits for the phase");
    }

    #[test]
    fn pod_listed_as_failed_does_not_count_as_succeeded() {
        let job = Job::new().work_queue().uncounted(&[], &["uid-a"]);
        let tally = job.tally(&[pod("a").deleting(3).succeeded(5)]);
        assert_eq!((tally.succeeded, tally.failed), (0, 1));
    }

    #[test]
    fn failures_that_a_policy_ignores_do_not_count() {
        let job = Job::new().rule("Ignore", 42);
        let tally = job.tally(&[pod("a").failed(5).exit("main", 42), pod("b").failed(5).exit("main", 1)]);
        assert_eq!((tally.failed, tally.new_failed.len()), (1, 2));
    }

    #[test]
    fn only_pods_with_a_valid_index_of_an_indexed_job_count() {
        let job = Job::new().indexed(2).completed("0").counted(1, 0);
        let pods = [
            pod("again").index(0).succeeded(5),
            pod("new").index(1).succeeded(5),
            pod("beyond").index(2).succeeded(5),
            pod("none").failed(5),
            pod("bad").index(1).failed(5),
        ];
        let tally = job.tally(&pods);
        assert_eq!((tally.succeeded, tally.failed), (2, 1));
        assert_eq!(
            names(&tally.tracked),
            ["none", "again", "new", "bad", "beyond"],
            "tracked pods are in order of their indexes"
        );
    }
}
