//! Which Jobs of one namespace are admitted: a pure state that follows each change of a Job or a limit.
//!
//! A Job with a place keeps it until it releases it. The others that a limit selects wait in order: priority, then age. A Job is
//! admitted if each of its limits has room for it and no first Job of a queue ahead of it is held back by one of these limits for want
//! of room. So a large Job is not overtaken for ever by small ones. A Job that can never fit holds no other Job back.
//!
//! Waiting Jobs that the same limits select form one queue. Whatever holds back the first of a queue holds back the whole queue,
//! so an event costs the number of queues and of admitted Jobs, times a logarithm; not the number of waiting Jobs. The tests
//! compare every result with an evaluation of all Jobs from scratch.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::Reason;
use super::claim::{Candidate, Claim};
use super::view::LimitView;
use crate::runtime::identity::Uid;

/// The order of admission.
pub type Place = (Reverse<i32>, Timestamp, Arc<str>, Uid);
/// Indexes of limits, ascending.
type LimitSet = Arc<[usize]>;

/// Room in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// The number of Jobs.
    pub jobs: usize,
    /// The number of pods.
    pub pods: usize,
}

#[derive(Clone, Copy)]
enum Count {
    Add,
    Subtract,
}

impl Room {
    fn change(&mut self, other: Self, change: Count) {
        let apply = match change {
            Count::Add => usize::saturating_add,
            Count::Subtract => usize::saturating_sub,
        };
        (self.jobs, self.pods) = (apply(self.jobs, other.jobs), apply(self.pods, other.pods));
    }
}

/// The admissions of one namespace.
#[derive(Debug, Default)]
pub struct Admissions {
    limits: Vec<Limit>,
    jobs: HashMap<Uid, Entry>,
    /// The sets of limits that select Jobs; equal sets are one.
    sets: HashSet<LimitSet>,
    /// The waiting Jobs that the same limits select, in order.
    queues: BTreeMap<LimitSet, BTreeSet<Place>>,
}

/// A limit and what uses its room.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) view: Arc<LimitView>,
    pub(super) used: Room,
    /// The Jobs that use room.
    pub(super) users: BTreeSet<Place>,
    /// What the Jobs of each group use or wait for.
    pub(super) groups: HashMap<Arc<str>, Room>,
}

/// A Job.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) candidate: Candidate,
    pub(super) limits: LimitSet,
    /// It has a place.
    pub(super) admitted: bool,
    /// Its place was found stored.
    stored: bool,
    pub(super) state: State,
    /// What its sync was asked to write into its annotation: limit, reason, and whether it is the first.
    asked: Option<(usize, Reason, bool)>,
}

/// Whether a Job may start pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No limit selects it, or it starts no pods.
    Free,
    /// It has a place.
    Admitted,
    /// It waits in a queue.
    Queued,
    /// It waits: it needs more pods than the limit at this index allows.
    TooLarge(usize),
    /// It waits for a higher parallelism.
    NoPods,
}

impl Entry {
    pub(super) fn place(&self) -> Place {
        let Candidate { uid, name, priority, created, .. } = &self.candidate;
        (Reverse(*priority), *created, name.clone(), uid.clone())
    }

    fn uses(&self) -> Room {
        let Candidate { need, live, .. } = self.candidate;
        if self.admitted { Room { jobs: 1, pods: need.max(live) } } else { Room { jobs: 0, pods: live } }
    }

    /// What the Job uses or waits for.
    fn demand(&self) -> Room {
        let waits = matches!(self.state, State::Queued | State::TooLarge(_));
        if waits { Room { jobs: 1, pods: self.candidate.need.max(self.candidate.live) } } else { self.uses() }
    }
}

impl Limit {
    fn new(view: Arc<LimitView>) -> Self {
        Self { view, used: Room::default(), users: BTreeSet::new(), groups: HashMap::new() }
    }

    /// Whether there is room for a Job that needs these pods, of which `live` exist and use room already.
    fn has_room(&self, need: usize, live: usize) -> bool {
        let pods = self.used.pods.saturating_add(need.saturating_sub(live));
        self.view.jobs.is_none_or(|most| self.used.jobs < most) && self.view.pods.is_none_or(|most| pods <= most)
    }

    /// Whether it never admits a Job.
    fn is_closed(&self) -> bool {
        self.view.jobs == Some(0)
    }
}

impl Admissions {
    /// Whether there is no limit, so that every Job is free.
    pub fn is_unlimited(&self) -> bool {
        self.limits.is_empty()
    }

    /// Replaces everything that is known. Returns the Jobs to sync: those that wait for something else than their annotation
    /// says, and those that wait no longer.
    pub fn load(&mut self, limits: Vec<Arc<LimitView>>, jobs: impl IntoIterator<Item = Candidate>) -> Vec<Uid> {
        let before: HashMap<Uid, State> = self.jobs.drain().map(|(uid, entry)| (uid, entry.state)).collect();
        self.replace_limits(limits);
        for job in jobs.into_iter().filter(|_| !self.limits.is_empty()).collect::<Vec<_>>() {
            let limits = self.select(&job, |_| None);
            self.insert(job, limits, false);
        }
        self.settle();
        self.changed_since(&before)
    }

    /// Takes in all limits as they are now. Returns the Jobs to sync, as [`Self::load`] does.
    pub fn set_limits(&mut self, limits: Vec<Arc<LimitView>>) -> Vec<Uid> {
        let known: Vec<Arc<LimitView>> = self.limits.iter().map(|limit| limit.view.clone()).collect();
        let limits = sorted(limits);
        if known.len() == limits.len() && known.iter().zip(&limits).all(|(known, limit)| known.limits_as(limit)) {
            return Vec::new();
        }
        // Only limits with a new selector are matched with the labels of all Jobs.
        let same = |limit: &Arc<LimitView>| known.iter().position(|known| known.selects_as(limit));
        let before_at: Vec<Option<usize>> = limits.iter().map(same).collect();
        let jobs = std::mem::take(&mut self.jobs);
        let before: HashMap<Uid, State> = jobs.iter().map(|(uid, entry)| (uid.clone(), entry.state)).collect();
        self.replace_limits(limits);
        for entry in jobs.into_values() {
            let selected = |at: usize| before_at[at].map(|before| entry.limits.binary_search(&before).is_ok());
            let limits = self.select(&entry.candidate, selected);
            // A place that is stored follows from the claim; one that was stored and released is not taken back.
            self.insert(entry.candidate, limits, entry.admitted && !entry.stored);
        }
        self.settle();
        self.changed_since(&before)
    }

    /// Takes in a Job as it is now. Returns the other Jobs to sync, and this one if it is admitted.
    pub fn set_job(&mut self, job: Candidate) -> Vec<Uid> {
        if self.is_unlimited() {
            return Vec::new();
        }
        let before = self.take(&job.uid);
        let keeps = before.as_ref().is_some_and(|before| before.admitted && !before.stored);
        let limits = match &before {
            Some(before) if before.candidate.labels == job.labels => before.limits.clone(),
            _ => self.select(&job, |_| None),
        };
        self.insert(job, limits, keeps);
        self.settle()
    }

    /// Takes in that a Job is gone, finished, or not for limits. Returns the Jobs to sync.
    pub fn remove_job(&mut self, uid: &Uid) -> Vec<Uid> {
        if self.take(uid).is_some() { self.settle() } else { Vec::new() }
    }

    /// Whether this Job may start pods.
    pub fn state(&self, uid: &Uid) -> State {
        self.jobs.get(uid).map_or(State::Free, |entry| entry.state)
    }

    pub(super) fn entry(&self, uid: &Uid) -> Option<&Entry> {
        self.jobs.get(uid)
    }

    pub(super) fn limit(&self, at: usize) -> &Limit {
        &self.limits[at]
    }

    /// The limit that a queued Job waits for: the first that has no room for it, or else the first of the Job ahead.
    pub(super) fn blocking(&self, entry: &Entry) -> usize {
        let Candidate { need, live, .. } = entry.candidate;
        let full = entry.limits.iter().copied().find(|at| !self.limits[*at].has_room(need, live));
        let shared = || {
            let place = entry.place();
            let ahead = |at: &usize| {
                let queues = self.queues.iter().filter(|(set, _)| set.contains(at));
                let firsts = queues.filter_map(|(_, queue)| queue.first()).filter(|first| **first < place);
                let mut jobs = firsts.filter_map(|first| self.jobs.get(&first.3));
                jobs.any(|ahead| !self.limits[*at].has_room(ahead.candidate.need, ahead.candidate.live))
            };
            entry.limits.iter().copied().find(ahead)
        };
        full.or_else(shared).unwrap_or(entry.limits[0])
    }

    /// Whether a queued Job is the first of those that wait for this limit.
    pub(super) fn is_first(&self, place: &Place, limit: usize) -> bool {
        let queues = self.queues.iter().filter(|(set, _)| set.contains(&limit));
        queues.filter_map(|(_, queue)| queue.first()).all(|first| first >= place)
    }

    /// The position of a queued Job among those that this limit selects. It costs the shorter way from either end of each queue.
    pub(super) fn position(&self, place: &Place, limit: usize) -> usize {
        let queues = self.queues.iter().filter(|(set, _)| set.contains(&limit));
        1 + queues.map(|(_, queue)| rank(queue, place)).sum::<usize>()
    }

    /// The limits that select a Job; `known` says which of them are known to, or not to.
    fn select(&mut self, job: &Candidate, known: impl Fn(usize) -> Option<bool>) -> LimitSet {
        let mut labels = None;
        let mut matches = |at: usize| {
            let to_map = || job.labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
            self.limits[at].view.covers(labels.get_or_insert_with(to_map))
        };
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

    /// The Jobs whose state is another than before, or that wait for something else than their annotation says.
    fn changed_since(&self, before: &HashMap<Uid, State>) -> Vec<Uid> {
        let gone = before.iter().filter(|(uid, state)| **state != State::Free && !self.jobs.contains_key(*uid));
        let known = self.jobs.iter().filter(|(uid, entry)| match entry.state {
            State::Free | State::Admitted => before.get(*uid).is_some_and(|state| *state != entry.state),
            _ => self.is_told_wrong(entry),
        });
        let mut changed: Vec<Uid> = gone.map(|(uid, _)| uid).chain(known.map(|(uid, _)| uid)).cloned().collect();
        changed.sort();
        changed
    }

    /// Inserts a Job that is not known. `keeps` says that it has a place that is not stored yet.
    fn insert(&mut self, job: Candidate, limits: LimitSet, keeps: bool) {
        let (admitted, stored) = match job.claim {
            Claim::Nothing | Claim::Zero { holds: false } => (false, false),
            Claim::Holds | Claim::Zero { holds: true } => (true, true),
            Claim::Wants => (keeps, false),
        };
        let too_large = || limits.iter().find(|at| self.limits[**at].view.pods.is_some_and(|most| job.need > most));
        let state = match job.claim {
            _ if limits.is_empty() => State::Free,
            Claim::Nothing => State::Free,
            Claim::Zero { .. } => State::NoPods,
            _ if admitted => State::Admitted,
            _ => too_large().map_or(State::Queued, |at| State::TooLarge(*at)),
        };
        let entry = Entry { candidate: job, limits, admitted, stored, state, asked: None };
        self.count(&entry, Count::Add);
        if state == State::Queued {
            self.queues.entry(entry.limits.clone()).or_default().insert(entry.place());
        }
        self.jobs.insert(entry.candidate.uid.clone(), entry);
    }

    fn take(&mut self, uid: &Uid) -> Option<Entry> {
        let entry = self.jobs.remove(uid)?;
        self.count(&entry, Count::Subtract);
        if entry.state == State::Queued {
            self.dequeue(&entry);
        }
        Some(entry)
    }

    fn dequeue(&mut self, entry: &Entry) {
        if let Some(queue) = self.queues.get_mut(&entry.limits) {
            queue.remove(&entry.place());
            if queue.is_empty() {
                self.queues.remove(&entry.limits);
            }
        }
    }

    /// Adds a Job to what its limits count, or subtracts it.
    fn count(&mut self, entry: &Entry, change: Count) {
        let (uses, demand) = (entry.uses(), entry.demand());
        for at in entry.limits.iter() {
            let limit = &mut self.limits[*at];
            limit.used.change(uses, change);
            if uses != Room::default() {
                match change {
                    Count::Add => limit.users.insert(entry.place()),
                    Count::Subtract => limit.users.remove(&entry.place()),
                };
            }
            if let Some(group) = entry.candidate.group.as_ref().filter(|_| demand != Room::default()) {
                let sum = limit.groups.entry(group.clone()).or_default();
                sum.change(demand, change);
                if *sum == Room::default() {
                    limit.groups.remove(group);
                }
            }
        }
    }

    /// Admits whom there is room for. Returns those, and the Jobs at the heads of queues whose annotation is wrong by now.
    fn settle(&mut self) -> Vec<Uid> {
        let mut changed = Vec::new();
        let mut held_back = BTreeSet::new();
        let open = |set: &LimitSet| !set.iter().any(|at| self.limits[*at].is_closed());
        let queues = self.queues.iter().filter(|(set, _)| open(set));
        let mut heads: BTreeSet<(Place, LimitSet)> =
            queues.filter_map(|(set, queue)| Some((queue.first()?.clone(), set.clone()))).collect();
        while let Some((place, set)) = heads.pop_first() {
            let Some(entry) = self.jobs.get(&place.3) else { continue };
            let Candidate { need, live, .. } = entry.candidate;
            let full: Vec<usize> = set.iter().copied().filter(|at| !self.limits[*at].has_room(need, live)).collect();
            let waits = !full.is_empty() || set.iter().any(|at| held_back.contains(at));
            held_back.extend(full);
            if waits {
                continue;
            }
            if let Some(mut entry) = self.take(&place.3) {
                (entry.admitted, entry.state) = (true, State::Admitted);
                self.count(&entry, Count::Add);
                self.jobs.insert(place.3.clone(), entry);
                changed.push(place.3);
            }
            if let Some(next) = self.queues.get(&set).and_then(BTreeSet::first) {
                heads.insert((next.clone(), set));
            }
        }
        changed.extend(self.ask_fronts());
        changed
    }

    /// The first Jobs of each queue whose annotation is wrong. Each is asked for once: if the write fails, only its own back-off
    /// repeats it. A Job without an annotation has its own sync before it.
    fn ask_fronts(&mut self) -> Vec<Uid> {
        let fronts = self.queues.values().flat_map(|queue| queue.iter().take(2));
        let fronts = fronts.filter_map(|place| self.jobs.get(&place.3)).filter(|entry| entry.candidate.told.is_some());
        let wrong: Vec<_> = fronts
            .filter(|entry| self.is_told_wrong(entry))
            .map(|entry| (entry.candidate.uid.clone(), Some(self.facts(entry))))
            .collect();
        let mut ask = |(uid, facts): (Uid, _)| {
            let entry = self.jobs.get_mut(&uid)?;
            (std::mem::replace(&mut entry.asked, facts) != facts).then_some(uid)
        };
        wrong.into_iter().filter_map(&mut ask).collect()
    }

    /// What the annotation of a waiting Job should say: the limit, the reason, and whether the Job is the first.
    fn facts(&self, entry: &Entry) -> (usize, Reason, bool) {
        let (limit, reason) = self.reason(entry);
        (limit, reason, reason.is_queue() && self.is_first(&entry.place(), limit))
    }

    /// Whether the annotation of a waiting Job says something else than is true.
    pub(super) fn is_told_wrong(&self, entry: &Entry) -> bool {
        let Some(told) = &entry.candidate.told else { return true };
        let (limit, reason, first) = self.facts(entry);
        told.limit != *self.limits[limit].view.identity.name || told.reason != reason || (told.position == 1) != first
    }

    /// The limit that a waiting Job waits for, and why.
    pub(super) fn reason(&self, entry: &Entry) -> (usize, Reason) {
        match entry.state {
            State::TooLarge(at) => (at, Reason::TooLarge),
            State::NoPods => (entry.limits[0], Reason::NoPods),
            _ => {
                let at = self.blocking(entry);
                (at, if self.group_exceeds(entry, at).is_some() { Reason::Group } else { Reason::Queue })
            }
        }
    }

    /// What the group of a Job uses and waits for at a limit, if that is more than the limit allows.
    pub(super) fn group_exceeds(&self, entry: &Entry, at: usize) -> Option<Room> {
        let limit = &self.limits[at];
        let all = *limit.groups.get(entry.candidate.group.as_ref()?)?;
        let jobs = limit.view.jobs.is_some_and(|most| all.jobs > most);
        let pods = limit.view.pods.is_some_and(|most| all.pods > most);
        (all.jobs > 1 && (jobs || pods)).then_some(all)
    }
}

impl Reason {
    /// Whether a Job that waits for this has a position.
    pub fn is_queue(self) -> bool {
        matches!(self, Self::Queue | Self::Group)
    }
}

fn sorted(mut limits: Vec<Arc<LimitView>>) -> Vec<Arc<LimitView>> {
    limits.sort_by(|one, other| one.identity.name.cmp(&other.identity.name));
    limits
}

/// How many places are before this one, counted from the nearer end.
fn rank(queue: &BTreeSet<Place>, place: &Place) -> usize {
    let (mut ahead, mut behind) = (queue.range(..place), queue.range(place..));
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
