//! Counts over a Job's pods that the rules share.

use std::collections::HashSet;
use std::sync::Arc;

use crate::job::view::{JobView, Phase, PodView};
use crate::runtime::identity::Uid;

/// The pods of a Job, counted.
#[derive(Debug)]
pub struct Tally {
    /// Neither ended nor being deleted.
    pub active: Vec<Arc<PodView>>,
    /// Active and ready.
    pub ready: i32,
    /// Being deleted, not ended.
    pub terminating: i32,
    /// With the tracking finalizer: not accounted for.
    pub tracked: Vec<Arc<PodView>>,
    /// Succeeded and not in the status in any form.
    pub new_succeeded: Vec<Arc<PodView>>,
    /// Failed and not in the status in any form.
    pub new_failed: Vec<Arc<PodView>>,
    /// Successes: counted, uncounted and new.
    pub succeeded: i64,
    /// Failures: counted, uncounted and new.
    pub failed: i64,
    /// Restarts of containers in pods that are pending or running.
    pub restarts: i64,
}

impl Tally {
    /// Counts these pods of the Job.
    pub fn of<'a>(job: &JobView, pods: impl Iterator<Item = &'a Arc<PodView>>) -> Self {
        let uncounted = &job.status.uncounted;
        let succeeded: HashSet<&Uid> = uncounted.succeeded.iter().collect();
        let failed: HashSet<&Uid> = uncounted.failed.iter().collect();
        let mut tally = Self {
            active: Vec::new(),
            ready: 0,
            terminating: 0,
            tracked: Vec::new(),
            new_succeeded: Vec::new(),
            new_failed: Vec::new(),
            succeeded: i64::from(job.status.succeeded) + uncounted.succeeded.len() as i64,
            failed: i64::from(job.status.failed) + uncounted.failed.len() as i64,
            restarts: 0,
        };
        for pod in pods {
            if pod.is_active() {
                tally.active.push(pod.clone());
                tally.ready += i32::from(pod.is_ready());
            } else if pod.is_terminating() {
                tally.terminating += 1;
            }
            if matches!(pod.phase, Phase::Pending | Phase::Running) {
                tally.restarts += pod.restarts;
            }
            if !pod.tracked {
                continue;
            }
            tally.tracked.push(pod.clone());
            let uid = &pod.identity.uid;
            if pod.phase == Phase::Succeeded && !succeeded.contains(uid) {
                tally.new_succeeded.push(pod.clone());
            }
            if pod.is_failed(&job.spec) && !failed.contains(uid) {
                tally.new_failed.push(pod.clone());
            }
        }
        tally.succeeded += tally.new_succeeded.len() as i64;
        tally.failed += tally.new_failed.len() as i64;
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;

    #[test]
    fn a_finished_pod_counts_once_whether_new_uncounted_or_counted() {
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
    fn a_pod_being_deleted_is_terminating_and_failed_but_not_active() {
        let pods = [pod("a").running(1).ready(2).deleting(9), pod("b").running(1).ready(2), pod("c").running(1)];
        let tally = Job::new().tally(&pods);
        assert_eq!((tally.active.len(), tally.ready, tally.terminating, tally.failed), (2, 1, 1, 1));
        let waits = Job::new().replace_only_failed().tally(&pods);
        assert_eq!((waits.terminating, waits.failed), (1, 0), "podReplacementPolicy: Failed waits for the phase");
    }
}
