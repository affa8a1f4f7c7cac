//! Admission of the Jobs of one namespace: a pure state that is updated with each change of a Job or a limit.
//!
//! An admitted Job keeps its reservation until it releases it. The other Jobs that a limit selects wait, ordered by
//! priority and then by age. A Job is admitted on two conditions: each of its limits has capacity for it, and none of
//! these limits lacks capacity for the first Job of a queue ahead of it. Small Jobs can therefore not overtake a large
//! Job forever. A Job that needs more than a limit allows does not block other Jobs.
//!
//! Waiting Jobs that the same limits select form one queue. A reason to block the first Job of a queue blocks the whole
//! queue. The cost of an event therefore depends on the number of queues and of admitted Jobs, times a logarithm, and
//! not on the number of waiting Jobs. The tests compare every result with an evaluation of all Jobs from scratch.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::status::{Load, MAX_NEXT};
use super::view::LimitView;
use super::workload::{Reservation, Workload};
use crate::job::admission::Reason;
use crate::runtime::identity::Uid;
use crate::runtime::maps::FastMap;

/// Sort key of the admission order: priority (highest first), creation time, name, UID.
pub type QueueKey = (Reverse<i32>, Timestamp, Arc<str>, Uid);
/// Indexes of limits in [`Admissions`], ascending.
type LimitSet = Arc<[usize]>;

/// Used capacity of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of Jobs.
    pub jobs: usize,
    /// Number of pods.
    pub pods: usize,
}

#[derive(Clone, Copy)]
enum Count {
    Add,
    Subtract,
}

impl Usage {
    fn change(&mut self, other: Self, change: Count) {
        let apply = match change {
            Count::Add => usize::saturating_add,
            Count::Subtract => usize::saturating_sub,
        };
        (self.jobs, self.pods) = (apply(self.jobs, other.jobs), apply(self.pods, other.pods));
    }
}

/// Admissions of one namespace.
#[derive(Debug, Default)]
pub struct Admissions {
    limits: Vec<Limit>,
    jobs: FastMap<Uid, Entry>,
    /// Sets of limits that select Jobs. Equal sets share one allocation.
    sets: HashSet<LimitSet>,
    /// Queues of waiting Jobs, by the set of limits that selects them.
    queues: BTreeMap<LimitSet, BTreeSet<QueueKey>>,
}

/// Limit with its current usage.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) view: Arc<LimitView>,
    pub(super) used: Usage,
    /// Jobs that use capacity.
    pub(super) users: BTreeSet<QueueKey>,
    /// Capacity that the Jobs of each group use or wait for.
    pub(super) groups: HashMap<Arc<str>, Usage>,
}

/// Job that limits apply to.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) workload: Workload,
    pub(super) limits: LimitSet,
    /// Whether the Job has a reservation.
    pub(super) admitted: bool,
    /// Whether the reservation is stored on the API server.
    stored: bool,
    pub(super) state: AdmissionState,
    /// Content of the annotation that the last requested sync is to write: the limit, the reason, and whether the Job
    /// is the first.
    requested_update: Option<(usize, Reason, bool)>,
}

/// Whether a Job is allowed to start pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdmissionState {
    /// No limit selects the Job, or the Job starts no pods.
    Unlimited,
    /// The Job has a reservation.
    Admitted,
    /// The Job waits in a queue.
    Pending,
    /// The Job waits because it needs more pods than the limit at this index allows.
    TooLarge(usize),
    /// The Job waits because its parallelism is 0.
    NoPods,
}

impl Entry {
    pub(super) fn queue_key(&self) -> QueueKey {
        let Workload { uid, name, priority, created, .. } = &self.workload;
        (Reverse(*priority), *created, name.clone(), uid.clone())
    }

    fn usage(&self) -> Usage {
        let Workload { need, live, .. } = self.workload;
        if self.admitted { Usage { jobs: 1, pods: need.max(live) } } else { Usage { jobs: 0, pods: live } }
    }

    /// Returns the capacity that the Job uses or waits for.
    fn demand(&self) -> Usage {
        let waits = matches!(self.state, AdmissionState::Pending | AdmissionState::TooLarge(_));
        if waits { Usage { jobs: 1, pods: self.workload.need.max(self.workload.live) } } else { self.usage() }
    }
}

impl Limit {
    fn new(view: Arc<LimitView>) -> Self {
        Self { view, used: Usage::default(), users: BTreeSet::new(), groups: HashMap::new() }
    }

    /// Returns whether the limit has capacity for a Job that needs `need` pods, of which `live` exist and use capacity
    /// already.
    fn has_room(&self, need: usize, live: usize) -> bool {
        let pods = self.used.pods.saturating_add(need.saturating_sub(live));
        self.view.jobs.is_none_or(|max| self.used.jobs < max) && self.view.pods.is_none_or(|max| pods <= max)
    }

    /// Returns whether the limit admits no Job at all.
    fn is_closed(&self) -> bool {
        self.view.jobs == Some(0)
    }
}

impl Admissions {
    /// Returns whether the namespace has no limit, so that every Job is allowed to start.
    pub fn is_unlimited(&self) -> bool {
        self.limits.is_empty()
    }

    /// Replaces the whole state. Returns the Jobs to sync: those whose annotation does not match the reason why they
    /// wait, and those that no longer wait.
    pub fn load(&mut self, limits: Vec<Arc<LimitView>>, jobs: impl IntoIterator<Item = Workload>) -> Vec<Uid> {
        let before: FastMap<Uid, AdmissionState> = self.jobs.drain().map(|(uid, entry)| (uid, entry.state)).collect();
        self.replace_limits(limits);
        for job in jobs.into_iter().filter(|_| !self.limits.is_empty()).collect::<Vec<_>>() {
            let limits = self.select(&job, |_| None);
            self.insert(job, limits, false);
        }
        self.admit_pending();
        self.changed_since(&before)
    }

    /// Replaces all limits. Returns the Jobs to sync, as [`Self::load`] does.
    pub fn set_limits(&mut self, limits: Vec<Arc<LimitView>>) -> Vec<Uid> {
        let known: Vec<Arc<LimitView>> = self.limits.iter().map(|limit| limit.view.clone()).collect();
        let limits = sorted(limits);
        if known.len() == limits.len() && known.iter().zip(&limits).all(|(known, limit)| known.limits_as(limit)) {
            return Vec::new();
        }
        // Only a limit with a changed selector is matched against the labels of all Jobs.
        let same = |limit: &Arc<LimitView>| known.iter().position(|known| known.selects_as(limit));
        let before_at: Vec<Option<usize>> = limits.iter().map(same).collect();
        let jobs = std::mem::take(&mut self.jobs);
        let before: FastMap<Uid, AdmissionState> = jobs.iter().map(|(uid, entry)| (uid.clone(), entry.state)).collect();
        self.replace_limits(limits);
        for entry in jobs.into_values() {
            let selected = |at: usize| before_at[at].map(|before| entry.limits.binary_search(&before).is_ok());
            let limits = self.select(&entry.workload, selected);
            // A stored reservation follows from the workload. A reservation that was stored and then released is not
            // restored.
            self.insert(entry.workload, limits, entry.admitted && !entry.stored);
        }
        self.admit_pending();
        self.changed_since(&before)
    }

    /// Inserts or updates a Job. Returns the other Jobs to sync, and this one if the update admits it.
    pub fn set_job(&mut self, job: Workload) -> Vec<Uid> {
        if self.is_unlimited() {
            return Vec::new();
        }
        let before = self.take(&job.uid);
        let keeps = before.as_ref().is_some_and(|before| before.admitted && !before.stored);
        let limits = match &before {
            Some(before) if before.workload.labels == job.labels => before.limits.clone(),
            _ => self.select(&job, |_| None),
        };
        self.insert(job, limits, keeps);
        self.admit_pending()
    }

    /// Removes a Job that was deleted, has finished, or is not subject to limits. Returns the Jobs to sync.
    pub fn remove_job(&mut self, uid: &Uid) -> Vec<Uid> {
        if self.take(uid).is_some() { self.admit_pending() } else { Vec::new() }
    }

    /// Returns the usage of the limit with this name, and the Jobs that it selects and that wait.
    pub fn load_of(&self, limit: &str) -> Load {
        let Some(at) = self.limits.iter().position(|known| &*known.view.identity.name == limit) else {
            return Load::default();
        };
        let queues = || self.queues.iter().filter(|(set, _)| set.contains(&at)).map(|(_, queue)| queue);
        // A Job that needs more than a maximum is in no queue.
        let too_large =
            |entry: &&Entry| matches!(entry.state, AdmissionState::TooLarge(_)) && entry.limits.contains(&at);
        let too_large = self.jobs.values().filter(too_large).count();
        let mut first: Vec<&QueueKey> = queues().flat_map(|queue| queue.iter().take(MAX_NEXT)).collect();
        first.sort();
        Load {
            used: self.limits[at].used,
            waiting: queues().map(BTreeSet::len).sum::<usize>() + too_large,
            next: first.into_iter().take(MAX_NEXT).map(|key| key.2.clone()).collect(),
        }
    }

    /// Returns whether this Job is allowed to start pods.
    pub fn state(&self, uid: &Uid) -> AdmissionState {
        self.jobs.get(uid).map_or(AdmissionState::Unlimited, |entry| entry.state)
    }

    pub(super) fn entry(&self, uid: &Uid) -> Option<&Entry> {
        self.jobs.get(uid)
    }

    pub(super) fn limit(&self, at: usize) -> &Limit {
        &self.limits[at]
    }

    pub(super) fn limits(&self) -> impl Iterator<Item = &Limit> {
        self.limits.iter()
    }

    /// Returns the limit that a queued Job waits for: its first limit without capacity for it, or else its first limit
    /// that lacks capacity for the first Job of a queue ahead.
    pub(super) fn blocking(&self, entry: &Entry) -> usize {
        let Workload { need, live, .. } = entry.workload;
        let full = entry.limits.iter().copied().find(|at| !self.limits[*at].has_room(need, live));
        let shared = || {
            let key = entry.queue_key();
            let ahead = |at: &usize| {
                let queues = self.queues.iter().filter(|(set, _)| set.contains(at));
                let firsts = queues.filter_map(|(_, queue)| queue.first()).filter(|first| **first < key);
                let mut jobs = firsts.filter_map(|first| self.jobs.get(&first.3));
                jobs.any(|ahead| !self.limits[*at].has_room(ahead.workload.need, ahead.workload.live))
            };
            entry.limits.iter().copied().find(ahead)
        };
        full.or_else(shared).unwrap_or(entry.limits[0])
    }

    /// Returns whether a queued Job is the first of the Jobs that wait for this limit.
    pub(super) fn is_head(&self, key: &QueueKey, limit: usize) -> bool {
        let queues = self.queues.iter().filter(|(set, _)| set.contains(&limit));
        queues.filter_map(|(_, queue)| queue.first()).all(|first| first >= key)
    }

    /// Returns the position of a queued Job among the queued Jobs that this limit selects, from 1. The cost is the
    /// distance from the nearer end of each queue.
    pub(super) fn position(&self, key: &QueueKey, limit: usize) -> usize {
        let queues = self.queues.iter().filter(|(set, _)| set.contains(&limit));
        1 + queues.map(|(_, queue)| rank(queue, key)).sum::<usize>()
    }

    /// Returns the limits that select a Job. `known` returns whether a limit selects the Job, or none if the labels
    /// have to be compared.
    fn select(&mut self, job: &Workload, known: impl Fn(usize) -> Option<bool>) -> LimitSet {
        let matches = |at: usize| self.limits[at].view.covers(&job.labels);
        let set = (0..self.limits.len()).filter(|at| known(*at).unwrap_or_else(|| matches(*at)));
        let set: LimitSet = set.collect();
        match self.sets.get(&set) {
            Some(same) => same.clone(),
            None => {
                self.sets.insert(set.clone());
                set
            }
        }
    }

    fn replace_limits(&mut self, limits: Vec<Arc<LimitView>>) {
        self.queues.clear();
        self.sets.clear();
        self.limits = sorted(limits).into_iter().map(Limit::new).collect();
    }

    /// Returns the Jobs whose state changed, and the waiting Jobs whose annotation is outdated.
    fn changed_since(&self, before: &FastMap<Uid, AdmissionState>) -> Vec<Uid> {
        let gone =
            before.iter().filter(|(uid, state)| **state != AdmissionState::Unlimited && !self.jobs.contains_key(*uid));
        let known = self.jobs.iter().filter(|(uid, entry)| match entry.state {
            AdmissionState::Unlimited | AdmissionState::Admitted => {
                before.get(*uid).is_some_and(|state| *state != entry.state)
            }
            _ => self.is_publication_outdated(entry),
        });
        let mut changed: Vec<Uid> = gone.map(|(uid, _)| uid).chain(known.map(|(uid, _)| uid)).cloned().collect();
        changed.sort();
        changed
    }

    /// Inserts a Job that is not in the state. `keeps` states that the Job has a reservation that is not stored yet.
    fn insert(&mut self, job: Workload, limits: LimitSet, keeps: bool) {
        let (admitted, stored) = match job.reservation {
            Reservation::None | Reservation::Zero { reserved: false } => (false, false),
            Reservation::Reserved | Reservation::Zero { reserved: true } => (true, true),
            Reservation::Requested => (keeps, false),
        };
        let too_large = || limits.iter().find(|at| self.limits[**at].view.pods.is_some_and(|max| job.need > max));
        let state = match job.reservation {
            _ if limits.is_empty() => AdmissionState::Unlimited,
            Reservation::None => AdmissionState::Unlimited,
            Reservation::Zero { .. } => AdmissionState::NoPods,
            _ if admitted => AdmissionState::Admitted,
            _ => too_large().map_or(AdmissionState::Pending, |at| AdmissionState::TooLarge(*at)),
        };
        let entry = Entry { workload: job, limits, admitted, stored, state, requested_update: None };
        self.count(&entry, Count::Add);
        if state == AdmissionState::Pending {
            self.queues.entry(entry.limits.clone()).or_default().insert(entry.queue_key());
        }
        self.jobs.insert(entry.workload.uid.clone(), entry);
    }

    fn take(&mut self, uid: &Uid) -> Option<Entry> {
        let entry = self.jobs.remove(uid)?;
        self.count(&entry, Count::Subtract);
        if entry.state == AdmissionState::Pending {
            self.dequeue(&entry);
        }
        Some(entry)
    }

    fn dequeue(&mut self, entry: &Entry) {
        if let Some(queue) = self.queues.get_mut(&entry.limits) {
            queue.remove(&entry.queue_key());
            if queue.is_empty() {
                self.queues.remove(&entry.limits);
            }
        }
    }

    /// Adds a Job to the usage of its limits, or subtracts it.
    fn count(&mut self, entry: &Entry, change: Count) {
        let (uses, demand) = (entry.usage(), entry.demand());
        for at in entry.limits.iter() {
            let limit = &mut self.limits[*at];
            limit.used.change(uses, change);
            if uses != Usage::default() {
                match change {
                    Count::Add => limit.users.insert(entry.queue_key()),
                    Count::Subtract => limit.users.remove(&entry.queue_key()),
                };
            }
            if let Some(group) = entry.workload.group.as_ref().filter(|_| demand != Usage::default()) {
                let sum = limit.groups.entry(group.clone()).or_default();
                sum.change(demand, change);
                if *sum == Usage::default() {
                    limit.groups.remove(group);
                }
            }
        }
    }

    /// Admits all Jobs for which there is capacity. Returns the admitted Jobs, and the Jobs at the heads of queues
    /// whose annotation is outdated.
    fn admit_pending(&mut self) -> Vec<Uid> {
        let mut changed = Vec::new();
        let mut held_back = BTreeSet::new();
        let open = |set: &LimitSet| !set.iter().any(|at| self.limits[*at].is_closed());
        let queues = self.queues.iter().filter(|(set, _)| open(set));
        let mut heads: BTreeSet<(QueueKey, LimitSet)> =
            queues.filter_map(|(set, queue)| Some((queue.first()?.clone(), set.clone()))).collect();
        while let Some((key, set)) = heads.pop_first() {
            let Some(entry) = self.jobs.get(&key.3) else { continue };
            let Workload { need, live, .. } = entry.workload;
            let full: Vec<usize> = set.iter().copied().filter(|at| !self.limits[*at].has_room(need, live)).collect();
            let waits = !full.is_empty() || set.iter().any(|at| held_back.contains(at));
            held_back.extend(full);
            if waits {
                continue;
            }
            if let Some(mut entry) = self.take(&key.3) {
                (entry.admitted, entry.state) = (true, AdmissionState::Admitted);
                self.count(&entry, Count::Add);
                self.jobs.insert(key.3.clone(), entry);
                changed.push(key.3);
            }
            if let Some(next) = self.queues.get(&set).and_then(BTreeSet::first) {
                heads.insert((next.clone(), set));
            }
        }
        changed.extend(self.request_head_updates());
        changed
    }

    /// Returns the first two Jobs of each queue whose annotation is outdated. An update is requested once for each Job:
    /// if the write fails, only the back-off of the write repeats it. A Job without an annotation is skipped, because
    /// its own sync is still to come.
    fn request_head_updates(&mut self) -> Vec<Uid> {
        let heads = self.queues.values().flat_map(|queue| queue.iter().take(2));
        let heads = heads.filter_map(|key| self.jobs.get(&key.3)).filter(|entry| entry.workload.published.is_some());
        let outdated: Vec<_> = heads
            .filter(|entry| self.is_publication_outdated(entry))
            .map(|entry| (entry.workload.uid.clone(), Some(self.expected_waiting(entry))))
            .collect();
        let mut request_update = |(uid, expected_waiting): (Uid, _)| {
            let entry = self.jobs.get_mut(&uid)?;
            (std::mem::replace(&mut entry.requested_update, expected_waiting) != expected_waiting).then_some(uid)
        };
        outdated.into_iter().filter_map(&mut request_update).collect()
    }

    /// Returns the correct content of the annotation of a waiting Job: the limit, the reason, and whether the Job is
    /// the first.
    fn expected_waiting(&self, entry: &Entry) -> (usize, Reason, bool) {
        let (limit, reason) = self.reason(entry);
        (limit, reason, reason.is_queue() && self.is_head(&entry.queue_key(), limit))
    }

    /// Returns whether the annotation of a waiting Job is outdated or missing.
    pub(super) fn is_publication_outdated(&self, entry: &Entry) -> bool {
        let Some(published) = &entry.workload.published else { return true };
        let (limit, reason, first) = self.expected_waiting(entry);
        published.limit != *self.limits[limit].view.identity.name
            || published.reason != reason
            || (published.position == 1) != first
    }

    /// Returns the limit that a waiting Job waits for, and the reason.
    pub(super) fn reason(&self, entry: &Entry) -> (usize, Reason) {
        match entry.state {
            AdmissionState::TooLarge(at) => (at, Reason::TooLarge),
            AdmissionState::NoPods => (entry.limits[0], Reason::NoPods),
            _ => {
                let at = self.blocking(entry);
                (at, if self.group_exceeds(entry, at).is_some() { Reason::Group } else { Reason::Queue })
            }
        }
    }

    /// Returns the capacity that the group of a Job uses and waits for, if a limit does not allow that much.
    pub(super) fn group_exceeds(&self, entry: &Entry, at: usize) -> Option<Usage> {
        let limit = &self.limits[at];
        let all = *limit.groups.get(entry.workload.group.as_ref()?)?;
        let jobs = limit.view.jobs.is_some_and(|max| all.jobs > max);
        let pods = limit.view.pods.is_some_and(|max| all.pods > max);
        (all.jobs > 1 && (jobs || pods)).then_some(all)
    }
}

impl Reason {
    /// Returns whether a Job that waits for this reason has a queue position.
    pub fn is_queue(self) -> bool {
        matches!(self, Self::Queue | Self::Group)
    }
}

fn sorted(mut limits: Vec<Arc<LimitView>>) -> Vec<Arc<LimitView>> {
    limits.sort_by(|one, other| one.identity.name.cmp(&other.identity.name));
    limits
}

/// Returns the number of keys before this one, counted from the nearer end of the queue.
fn rank(queue: &BTreeSet<QueueKey>, key: &QueueKey) -> usize {
    let (mut ahead, mut behind) = (queue.range(..key), queue.range(key..));
    let mut steps = 0;
    loop {
        if ahead.next().is_none() {
            return steps;
        }
        if behind.next().is_none() {
            return queue.len() - steps;
        }
        steps += 1;
    }
}
