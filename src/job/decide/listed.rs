//! Pods that the status lists as uncounted. The list decides whether such a pod counts as succeeded or failed, whatever
//! its phase is later.
//!
//! A pod can be listed before it has ended: a pod that is being deleted counts as failed, and every unfinished pod
//! counts as failed when the Job fails. Its containers may still exit with 0 before the finalizer is removed. The pod
//! then is `Succeeded` and listed as failed. Without this rule it would be counted twice: by its UID and, in an Indexed
//! Job, by its index.

use std::borrow::Cow;
use std::sync::Arc;

use crate::job::status::Uncounted;
use crate::job::view::{Phase, PodView};
use crate::runtime::identity::Uid;
use crate::runtime::maps::FastSet;

/// The UIDs of a Job's uncounted pods, as sets.
#[derive(Debug, PartialEq)]
pub struct Listed {
    succeeded: FastSet<Uid>,
    failed: FastSet<Uid>,
}

impl Listed {
    /// Collects the UIDs in these lists.
    pub fn of(uncounted: &Uncounted) -> Self {
        let set = |list: &[Uid]| list.iter().cloned().collect();
        Self { succeeded: set(&uncounted.succeeded), failed: set(&uncounted.failed) }
    }

    /// Returns the UIDs that are listed differently in `other`.
    pub fn differences(&self, other: &Self) -> FastSet<Uid> {
        let succeeded = self.succeeded.symmetric_difference(&other.succeeded);
        succeeded.chain(self.failed.symmetric_difference(&other.failed)).cloned().collect()
    }

    /// Returns whether a pod is in one of the lists.
    pub fn contains(&self, pod: &PodView) -> bool {
        let uid = &pod.identity.uid;
        self.succeeded.contains(uid) || self.failed.contains(uid)
    }

    /// Returns the pod as every rule has to see it: an ended pod has the phase under which it is listed.
    pub fn as_listed<'p>(&self, pod: &'p Arc<PodView>) -> Cow<'p, Arc<PodView>> {
        let uid = &pod.identity.uid;
        let phase = match pod.phase {
            Phase::Succeeded if self.failed.contains(uid) => Phase::Failed,
            Phase::Failed if self.succeeded.contains(uid) => Phase::Succeeded,
            _ => return Cow::Borrowed(pod),
        };
        let mut listed = PodView::clone(pod);
        listed.phase = phase;
        Cow::Owned(Arc::new(listed))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Step;
    use super::super::fixtures::*;
    use crate::job::status::FAILURE_TARGET;

    /// One Job of each kind in which a pod can be listed as failed before it has ended.
    fn kinds() -> [(&'static str, Job); 4] {
        let indexed = || Job::new().indexed(3).parallelism(3).started(0);
        [
            ("NonIndexed", Job::new().completions(3).parallelism(3).started(0)),
            ("Indexed", indexed()),
            ("backoffLimitPerIndex", indexed().per_index(2)),
            ("successPolicy", indexed().success_rules(serde_json::json!([{"succeededCount": 1}]))),
        ]
    }

    #[test]
    fn pod_listed_as_failed_stays_failed_when_it_succeeds_in_every_completion_mode() {
        for (name, job) in kinds() {
            // The index has a replacement, so that the pod is no longer the failure record of its index.
            let job = job.uncounted(&[], &["uid-a"]);
            let pods = [pod("a").index(0).deleting(3).succeeded(5), pod("b").index(0).running(6)];
            let summary = job.summary(&pods);
            assert_eq!((summary.succeeded(), summary.failed()), (0, 1), "{name}");
            assert_eq!(summary.succeeded_indexes().to_string(), "", "{name}");
            let Step::RemoveFinalizers(released) = job.clone().refused().decide(&pods).step else { panic!("{name}") };
            assert_eq!(names(&released), ["a"], "{name}");
            let gone = [pods[0].clone().untracked(), pods[1].clone()];
            let Step::WriteStatus { status, .. } = job.refused().decide(&gone).step else { panic!("{name}") };
            assert_eq!((status.succeeded, status.failed, status.uncounted.len()), (0, 1, 0), "{name}");
            assert!(status.completed_indexes.set.is_empty() && !status.has_outcome(), "{name}");
        }
    }

    #[test]
    fn pod_that_succeeds_after_the_job_failed_stays_failed() {
        for (name, job) in kinds() {
            let job = job.condition(FAILURE_TARGET).uncounted(&[], &["uid-a"]);
            let Step::RemoveFinalizers(released) = job.decide(&[pod("a").index(0).succeeded(5)]).step else {
                panic!("{name}")
            };
            assert_eq!(names(&released), ["a"], "{name}");
            let rest = [pod("a").index(0).succeeded(5).untracked()];
            let Step::WriteStatus { status, .. } = job.decide(&rest).step else { panic!("{name}") };
            assert_eq!((status.succeeded, status.failed), (0, 1), "{name}");
            assert!(status.is_finished() && status.completed_indexes.set.is_empty(), "{name}");
        }
    }

    #[test]
    fn pod_listed_as_succeeded_stays_succeeded_and_fails_no_job() {
        let job = Job::new().completions(2).rule("FailJob", 42).uncounted(&["uid-a"], &[]);
        let summary = job.summary(&[pod("a").failed(5).exit("main", 42)]);
        assert_eq!((summary.succeeded(), summary.failed(), summary.failing().len()), (1, 0, 0));
    }

    #[test]
    fn failure_record_of_an_index_stays_one_when_its_pod_succeeds_after_it_was_listed() {
        let job = Job::new().indexed(1).per_index(2).uncounted(&[], &["uid-a"]);
        let record = pod("a").index(0).failures(1, 0).deleting(3).succeeded(5);
        let summary = job.summary(std::slice::from_ref(&record));
        assert_eq!(names(&summary.records().values().cloned().collect::<Vec<_>>()), ["a"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn each_pod_is_in_exactly_one_count(
            pods in prop::collection::vec((0..4_u8, any::<bool>(), 0..3_u32, 0..3_u8), 0..12),
            indexed in any::<bool>(),
        ) {
            let phases = |n: usize, (phase, deleting, index, _): (u8, bool, u32, u8)| {
                let pod = pod(&n.to_string()).index(index).running(1);
                let pod = if deleting { pod.deleting(2) } else { pod };
                match phase {
                    0 => pod,
                    1 => pod.failed(5),
                    _ => pod.succeeded(5),
                }
            };
            let list = |wanted: u8| -> Vec<String> {
                let listed = pods.iter().enumerate().filter(|(_, pod)| pod.3 == wanted);
                listed.map(|(n, _)| format!("uid-{n}")).collect()
            };
            let (succeeded, failed) = (list(1), list(2));
            let (succeeded, failed): (Vec<&str>, Vec<&str>) =
                (succeeded.iter().map(String::as_str).collect(), failed.iter().map(String::as_str).collect());
            let job = Job::new().completions(3).parallelism(3);
            let job = if indexed { job.indexed(3).uncounted(&[], &failed) } else { job.uncounted(&succeeded, &failed) };
            let made: Vec<Pod> = pods.iter().copied().enumerate().map(|(n, pod)| phases(n, pod)).collect();
            let summary = job.summary(&made);
            let ended = made.iter().enumerate().filter(|(n, pod)| {
                pod.view.is_ended() || pod.view.deleting || (1..3).contains(&pods[*n].3)
            });
            prop_assert!(summary.succeeded() + summary.failed() <= ended.count() as i64);
        }
    }
}
