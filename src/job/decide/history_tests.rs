//! Property tests over random histories: every finished pod is counted exactly once and the Job finishes, whatever pods
//! and users do, and wherever the controller crashes between two writes.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::backoff::Backoff;
use super::fixtures::{Job, pod, time};
use super::pod_failure_policy::{PolicyDecision, policy_decision};
use super::pod_replacement_policy::is_failed;
use super::start_waits::StartWaits;
use super::summary::PodSummary;
use super::{DecisionInput, NewPod, Step, decide};
use crate::job::admission::Admission;
use crate::job::config::SyncConfig;
use crate::job::gang::plan::GroupObjects;
use crate::job::status::{COMPLETE, JobStatus, SUCCESS_CRITERIA_MET};
use crate::job::view::{JobView, Phase, PodView};
use crate::job::write_kinds::{CREATE, DELETE, UNTRACK};
use crate::runtime::errors::WriteError;
use crate::runtime::identity::Uid;
use crate::runtime::refusals::Refusals;

/// One event of a history.
#[derive(Clone, Debug)]
enum Happening {
    /// The controller syncs. If the sync makes more writes than `crash_after`, the controller crashes and loses its
    /// memory. The API server may refuse creations and deletions, and every second removal of a finalizer. A pod may
    /// end between two of the writes.
    Sync { crash_after: usize, refuse: (bool, bool), meanwhile: Option<Meanwhile> },
    /// An active or terminating pod ends, with this exit code.
    End { pod: usize, code: i32 },
    /// A user deletes a pod.
    Delete { pod: usize },
    /// Time passes.
    Wait { seconds: i64 },
    /// The user suspends or resumes the Job.
    Suspend(bool),
    /// The user changes the parallelism.
    Scale(i32),
}

/// A pod that ends in the middle of a sync.
#[derive(Clone, Copy, Debug)]
struct Meanwhile {
    /// Number of writes of the sync after which the pod ends.
    after: usize,
    /// Position of the pod among all pods.
    pod: usize,
    /// Exit code of the pod's container.
    code: i32,
}

/// The exit code that the failure policy of some Jobs ignores.
const IGNORED: i32 = 42;

/// The kind of Job that a history is about.
#[derive(Clone, Copy, Debug)]
struct Kind {
    completions: Option<i32>,
    parallelism: i32,
    backoff_limit: i32,
    indexed: bool,
    per_index: Option<i32>,
    ignores: bool,
    waits_for_end: bool,
}

fn kind() -> impl Strategy<Value = Kind> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let plain = (prop::option::of(0_i32..8), 1_i32..5, 0_i32..6, flags, prop::option::of(0_i32..3));
    plain.prop_map(|(completions, parallelism, backoff_limit, (indexed, ignores, waits_for_end), per_index)| {
        let indexed = indexed && completions.is_some();
        let per_index = per_index.filter(|_| indexed);
        let backoff_limit = if per_index.is_some() { i32::MAX } else { backoff_limit };
        // In the API server a failure policy implies `podReplacementPolicy: Failed`.
        Kind {
            completions,
            parallelism,
            backoff_limit,
            indexed,
            per_index,
            ignores,
            waits_for_end: waits_for_end || ignores,
        }
    })
}

fn happening() -> impl Strategy<Value = Happening> {
    let code = || prop_oneof![6 => Just(0), 2 => Just(1), 1 => Just(IGNORED)];
    let meanwhile = (0_usize..8, any::<usize>(), code()).prop_map(|(after, pod, code)| Meanwhile { after, pod, code });
    let sync = (0_usize..12, any::<(bool, bool)>(), prop::option::of(meanwhile));
    prop_oneof![
        6 => sync.prop_map(|(crash_after, refuse, meanwhile)| Happening::Sync { crash_after, refuse, meanwhile }),
        4 => (any::<usize>(), code()).prop_map(|(pod, code)| Happening::End { pod, code }),
        1 => any::<usize>().prop_map(|pod| Happening::Delete { pod }),
        2 => (1_i64..40).prop_map(|seconds| Happening::Wait { seconds }),
        1 => any::<bool>().prop_map(Happening::Suspend),
        1 => (0_i32..6).prop_map(Happening::Scale),
    ]
}

/// A cluster with one Job. It fails the test if the controller makes a write that no correct controller makes.
struct World {
    job: JobView,
    pods: BTreeMap<Uid, PodView>,
    /// Summary of the pods at the last decision, and the UIDs of those pods.
    summary: PodSummary,
    known: Vec<Uid>,
    backoff: Backoff,
    now: i64,
    made: usize,
    /// Pods that were ever listed as uncounted. Each pod may be listed only once.
    listed: HashSet<Uid>,
    /// Pods that have ended or are being deleted.
    ended: HashSet<Uid>,
    /// A pod that ends during the current sync.
    meanwhile: Option<Meanwhile>,
    /// Pods of each index that have failed.
    failures: BTreeMap<u32, HashSet<Uid>>,
    /// Indexes with a pod that was deleted uncounted. The failures that the pod carried may be lost with it.
    forgetful: HashSet<u32>,
}

/// The controller crashed.
struct Crash;

impl World {
    fn new(kind: Kind) -> Self {
        let mut job = Job::new().parallelism(kind.parallelism).backoff_limit(kind.backoff_limit);
        job = match kind.completions {
            Some(completions) if kind.indexed => job.indexed(completions),
            Some(completions) => job.completions(completions),
            None => job.work_queue(),
        };
        if let Some(limit) = kind.per_index {
            job = job.per_index(limit);
        }
        if kind.ignores {
            job = job.rule("Ignore", IGNORED);
        }
        if kind.waits_for_end {
            job = job.replace_only_failed();
        }
        Self {
            summary: PodSummary::new(&job.view, []),
            known: Vec::new(),
            job: job.view,
            pods: BTreeMap::new(),
            backoff: Backoff::default(),
            now: 0,
            made: 0,
            listed: HashSet::new(),
            ended: HashSet::new(),
            meanwhile: None,
            failures: BTreeMap::new(),
            forgetful: HashSet::new(),
        }
    }

    fn sync(&mut self, mut writes: usize, refuse: (bool, bool), meanwhile: Option<Meanwhile>) {
        self.meanwhile = meanwhile;
        if self.steps(&mut writes, refuse).is_err() {
            self.backoff = Backoff::default();
        }
    }

    /// Applies the present versions of the Job and its pods to the summary, which then equals a new one.
    fn update_summary(&mut self) {
        self.summary.set_job(&self.job);
        for uid in &self.known {
            if !self.pods.contains_key(uid) {
                self.summary.set_pod(&self.job, uid, None);
            }
        }
        for (uid, pod) in &self.pods {
            self.summary.set_pod(&self.job, uid, Some(Arc::new(pod.clone())));
        }
        self.known = self.pods.keys().cloned().collect();
        let computed = PodSummary::new(&self.job, self.pods.values().cloned().map(Arc::new));
        assert!(self.summary == computed, "{:?} differs from {computed:?}", self.summary);
    }

    fn steps(&mut self, writes: &mut usize, (refuse_pods, refuse_untracking): (bool, bool)) -> Result<(), Crash> {
        let mut refusals = Refusals::default();
        for _ in 0..100 {
            self.update_summary();
            let input = DecisionInput {
                admission: &Admission::Unlimited,
                groups: GroupObjects::Unmanaged,
                policy: None,
                refused_memory: None,
                retries: None,
                starts: &StartWaits::default(),
                job: &self.job,
                pods: &self.summary,
                orphans: &[],
                backoff: &self.backoff,
                last_untracked_deletion: None,
                counters_dirty_since: None,
                refusals: &refusals,
            };
            let config = SyncConfig {
                max_uncounted_pods: 3,
                max_pods_per_sync: 2,
                counter_write_delay: Duration::ZERO,
                ..SyncConfig::default()
            };
            let decision = decide(&input, time(self.now), &config);
            self.backoff = decision.backoff;
            match decision.step {
                Step::None => return Ok(()),
                Step::CreatePods { .. } if refuse_pods => {
                    assert!(!refusals.is_backed_off(CREATE, None, time(self.now)), "creations wait");
                    refusals.refuse(CREATE, None, &WriteError::Deferred, time(self.now));
                }
                Step::DeletePods { pods, .. } if refuse_pods => {
                    for pod in &pods {
                        let uid = Some(&pod.identity.uid);
                        assert!(!refusals.is_backed_off(DELETE, uid, time(self.now)), "this deletion waits");
                        refusals.refuse(DELETE, uid, &WriteError::Deferred, time(self.now));
                    }
                }
                Step::CreatePods { pods, .. } => {
                    for new in pods {
                        self.spend(writes)?;
                        self.create(new);
                    }
                }
                Step::DeletePods { pods, uncounted } => {
                    for pod in &pods {
                        if uncounted {
                            self.spend(writes)?;
                            assert!(!pod.is_ended(), "an ended pod must not be deleted uncounted: {pod:?}");
                            self.untrack(&pod.identity.uid);
                            self.forgetful.extend(pod.index);
                        }
                        self.spend(writes)?;
                        self.delete(&pod.identity.uid.clone());
                    }
                }
                Step::RemoveFinalizers(pods) => {
                    for (number, pod) in pods.iter().enumerate() {
                        let uid = Some(&pod.identity.uid);
                        assert!(!refusals.is_backed_off(UNTRACK, uid, time(self.now)), "this removal waits");
                        if refuse_untracking && number % 2 == 1 {
                            refusals.refuse(UNTRACK, uid, &WriteError::Deferred, time(self.now));
                            continue;
                        }
                        self.spend(writes)?;
                        self.assert_accounted(pod);
                        self.untrack(&pod.identity.uid);
                    }
                }
                Step::WriteStatus { status, .. } => {
                    self.spend(writes)?;
                    self.store(*status);
                }
                step => panic!("unexpected step: {step:?}"),
            }
        }
        panic!("a sync does not end");
    }

    /// Spends one write of the sync. A pod may end after the write.
    fn spend(&mut self, writes: &mut usize) -> Result<(), Crash> {
        *writes = writes.checked_sub(1).ok_or(Crash)?;
        if let Some(meanwhile) = &mut self.meanwhile {
            match meanwhile.after.checked_sub(1) {
                Some(left) => meanwhile.after = left,
                None => {
                    let Meanwhile { pod, code, .. } = *meanwhile;
                    self.meanwhile = None;
                    self.end_one(pod, code);
                }
            }
        }
        Ok(())
    }

    fn create(&mut self, new: NewPod) {
        assert!(!self.job.status.is_finished() && !self.job.spec.suspend, "no pod may be created now");
        self.made += 1;
        let mut pod = pod(&format!("{:04}", self.made)).running(self.now).view;
        pod.index = new.index;
        pod.index_failures = new.failures.unwrap_or_default();
        if let Some(index) = new.index {
            assert!(index < self.job.indexes(), "no such index");
            assert!(!self.job.status.completed_indexes.set.contains(index), "index {index} has succeeded already");
            let failed = self.job.status.failed_indexes.as_ref();
            assert!(failed.is_none_or(|failed| !failed.set.contains(index)), "index {index} has failed");
            let waits = self.job.spec.replace_only_failed;
            let mut others = self.pods.values().filter(|pod| pod.index == Some(index));
            let same_index = others.find(|pod| pod.is_active() || (waits && pod.is_terminating()));
            assert!(same_index.is_none(), "index {index} has a pod already: {same_index:?}");
        }
        if let (Some(index), Some(failures)) = (new.index, new.failures) {
            let known = self.failures.get(&index).map_or(0, HashSet::len);
            let carried = failures.all() as usize;
            let right = carried == known || (carried < known && self.forgetful.contains(&index));
            assert!(right, "of the {known} failures of index {index}, {carried} are carried over");
        }
        self.pods.insert(pod.identity.uid.clone(), pod);
        let active = self.pods.values().filter(|pod| pod.is_active()).count();
        assert!(active as i32 <= self.job.spec.parallelism, "{active} pods are active");
    }

    /// Records a failure of the pod's index, if the pod is tracked and counts as failed under the Job's replacement
    /// policy.
    fn note_failure(&mut self, uid: &Uid) {
        let Some(pod) = self.pods.get(uid).filter(|pod| pod.tracked && is_failed(&self.job, pod)) else { return };
        if let Some(index) = pod.index {
            self.failures.entry(index).or_default().insert(uid.clone());
        }
    }

    fn delete(&mut self, uid: &Uid) {
        if let Some(pod) = self.pods.get_mut(uid) {
            self.ended.insert(uid.clone());
            pod.deleting = true;
            pod.end.get_or_insert_default();
            if !pod.is_ended() {
                pod.finished_at = time(self.now);
            }
        }
        self.note_failure(uid);
        self.collect(uid);
    }

    fn untrack(&mut self, uid: &Uid) {
        if let Some(pod) = self.pods.get_mut(uid) {
            (pod.tracked, pod.has_finalizers) = (false, false);
        }
        self.collect(uid);
    }

    /// Removes a pod that is being deleted, has ended and has no finalizer.
    fn collect(&mut self, uid: &Uid) {
        if self.pods.get(uid).is_some_and(|pod| pod.deleting && pod.is_ended() && !pod.tracked) {
            self.pods.remove(uid);
        }
    }

    fn end(&mut self, uid: &Uid, code: i32) {
        if let Some(pod) = self.pods.get_mut(uid).filter(|pod| !pod.is_ended()) {
            self.ended.insert(uid.clone());
            pod.phase = if code == 0 { Phase::Succeeded } else { Phase::Failed };
            pod.finished_at = time(self.now);
            if code != 0 {
                pod.end.get_or_insert_default().exits.push(("main".to_owned(), code));
            }
        }
        self.note_failure(uid);
        self.collect(uid);
    }

    fn assert_accounted(&self, pod: &PodView) {
        let status = &self.job.status;
        let ignored = is_failed(&self.job, pod) && policy_decision(&self.job, pod) == PolicyDecision::Ignore;
        if ignored || (status.true_condition(SUCCESS_CRITERIA_MET).is_some() && pod.is_terminating()) {
            return;
        }
        if let (Some(index), Phase::Succeeded) = (pod.index, pod.phase) {
            let failed = status.failed_indexes.as_ref().is_some_and(|failed| failed.set.contains(index));
            let stored = failed || status.completed_indexes.set.contains(index);
            assert!(stored, "index {index} is not stored: {status:?}");
            return;
        }
        let uncounted = &self.job.status.uncounted;
        let stored = uncounted.succeeded.iter().chain(&uncounted.failed).any(|uid| *uid == pod.identity.uid);
        assert!(stored, "the finalizer is removed before the status stores the pod: {pod:?}\n{:?}", self.job.status);
    }

    /// Stores a status and checks the rules of the API server and of the accounting.
    fn store(&mut self, new: JobStatus) {
        let old = self.job.status.clone();
        assert!(!old.is_finished(), "a finished Job's status does not change");
        let (was, is) = (&old.completed_indexes.set, &new.completed_indexes.set);
        assert_eq!(was.overlap(is), was.len(), "no index is forgotten: {old:?} {new:?}");
        if self.job.is_indexed() {
            assert_eq!(i64::from(new.succeeded), is.len() as i64);
            for index in (0..self.job.indexes()).filter(|index| is.contains(*index) && !was.contains(*index)) {
                let counts = |pod: &&PodView| pod.index == Some(index) && pod.phase == Phase::Succeeded && pod.tracked;
                let unlisted = self.pods.values().filter(counts).any(|pod| !self.listed.contains(&pod.identity.uid));
                assert!(unlisted, "index {index} completes with a pod that is counted as failed: {new:?}");
            }
        }
        let (counted, ended) = (new.succeeded + new.failed + new.uncounted.len() as i32, self.ended.len() as i32);
        let to_delete = self.pods.values().filter(|pod| !pod.is_ended() && !pod.deleting);
        let to_delete = to_delete.filter(|pod| new.uncounted.failed.contains(&pod.identity.uid)).count() as i32;
        assert!(counted <= ended + to_delete, "{counted} pods are counted, {ended} have ended: {new:?}");
        let newly_succeeded = if self.job.is_indexed() { 0 } else { new.succeeded - old.succeeded };
        let overlap = new.failed_indexes.as_ref().map_or(0, |failed| failed.set.overlap(is));
        assert_eq!(overlap, 0, "an index has succeeded and failed: {new:?}");
        for (old_list, new_list, counted) in [
            (&old.uncounted.succeeded, &new.uncounted.succeeded, newly_succeeded),
            (&old.uncounted.failed, &new.uncounted.failed, new.failed - old.failed),
        ] {
            let left: Vec<_> = old_list.iter().filter(|uid| !new_list.contains(uid)).collect();
            assert_eq!(
                left.len() as i32,
                counted,
                "UIDs that leave the list are counted in the same write: {old:?} {new:?}"
            );
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

    fn pick(&self, place: usize) -> Option<Uid> {
        self.pods.keys().nth(place.checked_rem(self.pods.len())?).cloned()
    }

    fn end_one(&mut self, place: usize, code: i32) {
        if let Some(uid) = self.pick(place) {
            self.end(&uid, code);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Sync { crash_after, refuse, meanwhile } => self.sync(crash_after, refuse, meanwhile),
            Happening::End { pod, code } => self.end_one(pod, code),
            Happening::Delete { pod } => {
                if let Some(uid) = self.pick(pod) {
                    self.delete(&uid);
                }
            }
            Happening::Wait { seconds } => self.now += seconds,
            Happening::Suspend(suspend) => self.job.spec.suspend = suspend,
            Happening::Scale(parallelism) => self.job.spec.parallelism = parallelism,
        }
    }

    /// Checks that the Job finishes when no further faults occur.
    fn finish(&mut self) {
        self.job.spec.suspend = false;
        self.job.spec.parallelism = self.job.spec.parallelism.max(1);
        for _ in 0..200 {
            self.sync(usize::MAX, (false, false), None);
            if self.job.status.is_finished() {
                return;
            }
            let uids: Vec<_> = self.pods.keys().cloned().collect();
            uids.iter().for_each(|uid| self.end(uid, 0));
            self.now += 700;
        }
        panic!("the Job does not finish: {:?}", self.job.status);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_finished_pod_is_counted_exactly_once_and_the_job_finishes(
        kind in kind(),
        history in prop::collection::vec(happening(), 0..60),
    ) {
        let mut world = World::new(kind);
        for happening in history {
            world.happen(happening);
        }
        world.finish();
        let status = &world.job.status;
        let by_uid = if kind.indexed { status.failed } else { status.succeeded + status.failed };
        prop_assert_eq!(by_uid as usize, world.listed.len());
        if status.true_condition(COMPLETE).is_some() {
            prop_assert!(status.succeeded >= kind.completions.unwrap_or(1), "{:?}", status);
        } else if kind.per_index.is_some() {
            let failed = status.failed_indexes.as_ref().map(|failed| failed.set.len()).unwrap_or_default();
            prop_assert!(failed > 0 && failed + status.succeeded as u64 == kind.completions.unwrap() as u64, "{:?}", status);
        } else {
            prop_assert!(status.failed > kind.backoff_limit, "{:?}", status);
        }
    }
}
