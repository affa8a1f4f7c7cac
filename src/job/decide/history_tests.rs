//! Properties over random histories: whatever pods and users do, and wherever the controller crashes between two
//! writes, every finished pod is counted exactly once and the Job comes to its end.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::backoff::Backoff;
use super::fixtures::{Job, pod, time};
use super::{Refused, Situation, Step, decide};
use crate::job::status::JobStatus;
use crate::job::view::{JobView, Phase, PodView};
use crate::runtime::config::Limits;
use crate::runtime::identity::Uid;

/// What happens in a history.
#[derive(Clone, Debug)]
enum Happening {
    /// The controller syncs; after so many writes, if it gets to them, it crashes and forgets all it remembered.
    /// Some kinds of writes may be refused, those that take finalizers off every second time.
    Sync { crash_after: usize, refuse: (bool, bool) },
    /// An active or terminating pod ends.
    End { pod: usize, success: bool },
    /// Somebody deletes a pod.
    Delete { pod: usize },
    /// Time goes by.
    Wait { seconds: i64 },
    /// The user suspends or resumes the Job.
    Suspend(bool),
    /// The user changes the parallelism.
    Scale(i32),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => (0_usize..12, any::<(bool, bool)>()).prop_map(|(crash_after, refuse)| Happening::Sync { crash_after, refuse }),
        4 => (any::<usize>(), prop::bool::weighted(0.7)).prop_map(|(pod, success)| Happening::End { pod, success }),
        1 => any::<usize>().prop_map(|pod| Happening::Delete { pod }),
        2 => (1_i64..40).prop_map(|seconds| Happening::Wait { seconds }),
        1 => any::<bool>().prop_map(Happening::Suspend),
        1 => (0_i32..6).prop_map(Happening::Scale),
    ]
}

/// A cluster of one Job, which refuses what no correct controller writes.
struct World {
    job: JobView,
    pods: BTreeMap<Uid, PodView>,
    backoff: Backoff,
    now: i64,
    made: usize,
    /// Pods that were ever listed as uncounted: each may be so once.
    listed: HashSet<Uid>,
}

/// The controller crashed.
struct Crash;

impl World {
    fn new(completions: Option<i32>, parallelism: i32, backoff_limit: i32) -> Self {
        let job = Job::new().parallelism(parallelism).backoff_limit(backoff_limit);
        let job =
            completions.map_or_else(|| job.clone().work_queue(), |completions| job.clone().completions(completions));
        Self {
            job: job.view,
            pods: BTreeMap::new(),
            backoff: Backoff::default(),
            now: 0,
            made: 0,
            listed: HashSet::new(),
        }
    }

    fn sync(&mut self, mut writes: usize, refuse: (bool, bool)) {
        if self.steps(&mut writes, refuse).is_err() {
            self.backoff = Backoff::default();
        }
    }

    fn steps(&mut self, writes: &mut usize, (refuse_pods, refuse_untracking): (bool, bool)) -> Result<(), Crash> {
        let mut refused = Refused::default();
        for _ in 0..100 {
            let pods: Vec<_> = self.pods.values().cloned().map(Arc::new).collect();
            let situation = Situation { job: &self.job, pods: &pods, backoff: &self.backoff, refused };
            let limits = Limits { max_uncounted_pods: 3, max_pods_per_sync: 2, ..Limits::default() };
            let decision = decide(&situation, time(self.now), &limits);
            self.backoff = decision.backoff;
            match decision.step {
                Step::Nothing => return Ok(()),
                Step::CreatePods(_) | Step::DeletePods { .. } if refuse_pods => {
                    assert!(!refused.pods, "it was told that pods are refused");
                    refused.pods = true;
                }
                Step::CreatePods(count) => {
                    for _ in 0..count {
                        spend(writes)?;
                        self.create();
                    }
                }
                Step::DeletePods { pods, uncounted } => {
                    for pod in &pods {
                        if uncounted {
                            spend(writes)?;
                            assert!(!pod.is_ended(), "an ended pod must not be let go uncounted: {pod:?}");
                            self.untrack(&pod.identity.uid);
                        }
                        spend(writes)?;
                        self.delete(&pod.identity.uid.clone());
                    }
                }
                Step::Untrack(pods) => {
                    assert!(!refused.untracking, "it was told that finalizers are refused");
                    refused.untracking = refuse_untracking;
                    for pod in pods.iter().step_by(if refuse_untracking { 2 } else { 1 }) {
                        spend(writes)?;
                        self.assert_accounted(pod);
                        self.untrack(&pod.identity.uid);
                    }
                }
                Step::WriteStatus { status, .. } => {
                    spend(writes)?;
                    self.store(*status);
                }
                step => panic!("no such step is called for: {step:?}"),
            }
        }
        panic!("a sync does not come to an end");
    }

    fn create(&mut self) {
        assert!(!self.job.status.is_finished() && !self.job.spec.suspend, "no pod may be created now");
        self.made += 1;
        let pod = pod(&format!("{:04}", self.made)).running(self.now).view;
        self.pods.insert(pod.identity.uid.clone(), pod);
        let active = self.pods.values().filter(|pod| pod.is_active()).count();
        assert!(active as i32 <= self.job.spec.parallelism, "{active} pods are active");
    }

    fn delete(&mut self, uid: &Uid) {
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.deleting = true;
            pod.finished_at = time(self.now);
        }
        self.collect(uid);
    }

    fn untrack(&mut self, uid: &Uid) {
        if let Some(pod) = self.pods.get_mut(uid) {
            (pod.tracked, pod.held) = (false, false);
        }
        self.collect(uid);
    }

    /// A pod that is to be deleted, has ended and is held by nothing is gone.
    fn collect(&mut self, uid: &Uid) {
        if self.pods.get(uid).is_some_and(|pod| pod.deleting && pod.is_ended() && !pod.tracked) {
            self.pods.remove(uid);
        }
    }

    fn end(&mut self, uid: &Uid, success: bool) {
        if let Some(pod) = self.pods.get_mut(uid).filter(|pod| !pod.is_ended()) {
            pod.phase = if success { Phase::Succeeded } else { Phase::Failed };
            pod.finished_at = time(self.now);
        }
        self.collect(uid);
    }

    fn assert_accounted(&self, pod: &PodView) {
        let uncounted = &self.job.status.uncounted;
        let stored = uncounted.succeeded.iter().chain(&uncounted.failed).any(|uid| *uid == pod.identity.uid);
        assert!(stored, "the finalizer comes off before the pod is stored: {pod:?}\n{:?}", self.job.status);
    }

    /// What the API server, and the accounting, demand of a status.
    fn store(&mut self, new: JobStatus) {
        let old = self.job.status.clone();
        assert!(!old.is_finished(), "a finished Job's status does not change");
        for (old_list, new_list, counted) in [
            (&old.uncounted.succeeded, &new.uncounted.succeeded, new.succeeded - old.succeeded),
            (&old.uncounted.failed, &new.uncounted.failed, new.failed - old.failed),
        ] {
            let left: Vec<_> = old_list.iter().filter(|uid| !new_list.contains(uid)).collect();
            assert_eq!(left.len() as i32, counted, "a UID becomes a number in one write: {old:?} {new:?}");
            for uid in left {
                assert!(self.pods.get(uid).is_none_or(|pod| !pod.tracked), "{uid} is counted before it is untracked");
            }
            for uid in new_list.iter().filter(|uid| !old_list.contains(uid)) {
                assert!(self.pods.get(uid).is_some_and(|pod| pod.tracked), "{uid} is listed but not tracked");
                assert!(self.listed.insert(uid.clone()), "{uid} is counted twice");
            }
        }
        assert!(new.uncounted.len() <= 3);
        if new.is_finished() {
            let busy = self.pods.values().any(|pod| pod.is_active() || pod.is_terminating() || pod.tracked);
            assert!(!busy && new.uncounted.is_empty(), "finished too early: {new:?}");
        }
        self.job.status = new;
    }

    fn happen(&mut self, happening: Happening) {
        let pick = |pods: &BTreeMap<Uid, PodView>, index: usize| {
            pods.keys().nth(index.checked_rem(pods.len()).unwrap_or_default()).cloned()
        };
        match happening {
            Happening::Sync { crash_after, refuse } => self.sync(crash_after, refuse),
            Happening::End { pod, success } => {
                if let Some(uid) = pick(&self.pods, pod) {
                    self.end(&uid, success);
                }
            }
            Happening::Delete { pod } => {
                if let Some(uid) = pick(&self.pods, pod) {
                    self.delete(&uid);
                }
            }
            Happening::Wait { seconds } => self.now += seconds,
            Happening::Suspend(suspend) => self.job.spec.suspend = suspend,
            Happening::Scale(parallelism) => self.job.spec.parallelism = parallelism,
        }
    }

    /// No more trouble: the Job must come to its end.
    fn finish(&mut self) {
        self.job.spec.suspend = false;
        self.job.spec.parallelism = self.job.spec.parallelism.max(1);
        for _ in 0..200 {
            self.sync(usize::MAX, (false, false));
            if self.job.status.is_finished() {
                return;
            }
            let uids: Vec<_> = self.pods.keys().cloned().collect();
            uids.iter().for_each(|uid| self.end(uid, true));
            self.now += 700;
        }
        panic!("the Job does not finish: {:?}", self.job.status);
    }
}

fn spend(writes: &mut usize) -> Result<(), Crash> {
    *writes = writes.checked_sub(1).ok_or(Crash)?;
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_finished_pod_is_counted_exactly_once_and_the_job_ends(
        completions in prop::option::of(0_i32..8),
        parallelism in 1_i32..5,
        backoff_limit in 0_i32..6,
        history in prop::collection::vec(happening(), 0..60),
    ) {
        let mut world = World::new(completions, parallelism, backoff_limit);
        for happening in history {
            world.happen(happening);
        }
        world.finish();
        let status = &world.job.status;
        prop_assert_eq!((status.succeeded + status.failed) as usize, world.listed.len());
        let complete = status.true_condition("Complete").is_some();
        if complete {
            prop_assert!(status.succeeded >= completions.unwrap_or(1), "{:?}", status);
        } else {
            prop_assert!(status.failed > backoff_limit, "{:?}", status);
        }
    }
}
