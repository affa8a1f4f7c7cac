//! Writes that the API server refused: the back-off of each, and the event that reports it.
//!
//! An object has one back-off for each kind of write, so that other changes of the object neither repeat a refused
//! write early nor lengthen its back-off. A change of the spec of the object ends all its back-offs. A successful write
//! ends the back-off of its own kind.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};

use super::errors::WriteError;
use super::events::EventText;
use super::identity::Uid;
use super::maps::FastMap;

/// First back-off after a refusal; each further refusal doubles the back-off.
const FIRST: Duration = Duration::from_secs(1);
/// Longest back-off after a refusal.
pub const LONGEST: Duration = Duration::from_secs(60);

/// Kind of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WriteKind {
    /// Reason of the Warning event about a refusal.
    pub reason: &'static str,
    /// Beginning of the event's message: what failed.
    pub failed: &'static str,
}

/// Refused writes of one object, with the back-off of each.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    generation: Option<i64>,
    backoffs: BTreeMap<(WriteKind, Option<Uid>), WriteBackoff>,
}

/// Back-off of one refused write.
#[derive(Clone, Debug)]
struct WriteBackoff {
    refusals: u32,
    /// Time of the first of these refusals; none if one of them was an outage.
    first: Option<Timestamp>,
    since: Timestamp,
    wait: Duration,
    /// Whether the write failed because the API server was unavailable or overloaded, and not because of a refusal.
    is_outage: bool,
    /// Number of live pods of the object at the refusal, if a quota refused the write. Fewer pods free quota.
    occupied: Option<usize>,
}

impl WriteBackoff {
    /// Returns the end of the back-off, if it has not passed. A clock that was set back ends the back-off too.
    fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let end = self.since.checked_add(self.wait).unwrap_or(self.since);
        (self.since <= now && now < end).then_some(end)
    }
}

impl Refusals {
    /// Records the generation of the object. A changed generation ends all back-offs.
    pub fn seen(&mut self, generation: Option<i64>) {
        if self.generation != generation {
            self.backoffs.clear();
            self.generation = generation;
        }
    }

    /// Records a refused write to the object itself or to one of its parts, and returns the back-off.
    pub fn refuse(&mut self, kind: WriteKind, part: Option<&Uid>, error: &WriteError, now: Timestamp) -> Duration {
        let key = (kind, part.cloned());
        let before = self.backoffs.get(&key);
        let refusals = before.map_or(0, |backoff| backoff.refusals).saturating_add(1);
        let first = before.and_then(|backoff| backoff.first).unwrap_or(now);
        let wait = FIRST.saturating_mul(1 << (refusals - 1).min(16)).min(LONGEST);
        let is_outage = !error.is_refusal();
        let first = Some(first).filter(|_| !is_outage);
        self.backoffs.insert(key, WriteBackoff { refusals, first, since: now, wait, is_outage, occupied: None });
        wait
    }

    /// Records that other writes of the same kind have just succeeded, so that the time of the refusals begins again.
    pub fn restart(&mut self, kind: WriteKind, now: Timestamp) {
        if let Some(backoff) = self.backoffs.get_mut(&(kind, None)) {
            backoff.first = backoff.first.map(|_| now);
        }
    }

    /// Records that a quota caused the refusal while the object had this number of live pods.
    pub fn mark_quota(&mut self, kind: WriteKind, occupied: usize) {
        if let Some(backoff) = self.backoffs.get_mut(&(kind, None)) {
            backoff.occupied = Some(occupied);
        }
    }

    /// Ends the current wait of a write, but keeps its number of refusals, if the object has fewer live pods than when
    /// a quota refused the write.
    pub fn room_made(&mut self, kind: WriteKind, occupied: usize) {
        if let Some(backoff) = self.backoffs.get_mut(&(kind, None))
            && backoff.occupied.is_some_and(|before| occupied < before)
        {
            backoff.wait = Duration::ZERO;
        }
    }

    /// Records that a write succeeded, which ends its back-off.
    pub fn succeed(&mut self, kind: WriteKind, part: Option<&Uid>) {
        if !self.backoffs.is_empty() {
            self.backoffs.remove(&(kind, part.cloned()));
        }
    }

    /// Returns the time until which a write has to wait, if it has to.
    pub fn until(&self, kind: WriteKind, part: Option<&Uid>, now: Timestamp) -> Option<Timestamp> {
        if self.backoffs.is_empty() {
            return None;
        }
        let whole = || self.backoffs.get(&(kind, None))?.until(now);
        let of_part = part.and_then(|part| self.backoffs.get(&(kind, Some(part.clone())))?.until(now));
        of_part.max(whole())
    }

    /// Returns whether a write has to wait.
    pub fn is_backed_off(&self, kind: WriteKind, part: Option<&Uid>, now: Timestamp) -> bool {
        self.until(kind, part, now).is_some()
    }

    /// Returns the time since which the API server has refused this write to the object itself, without a success and
    /// without an outage in between.
    pub fn refused_since(&self, kind: WriteKind) -> Option<Timestamp> {
        self.backoffs.get(&(kind, None))?.first
    }

    /// Returns the earliest time at which a refused write may be repeated.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.backoffs.values().filter_map(|backoff| backoff.until(now)).min()
    }

    /// Returns whether a write to a part that matches `predicate` was refused.
    pub fn any_part(&self, predicate: impl Fn(WriteKind, &Uid) -> bool) -> bool {
        self.backoffs.keys().any(|(kind, part)| part.as_ref().is_some_and(|part| predicate(*kind, part)))
    }

    /// Drops the back-offs of the parts that do not match `keep`, because these parts no longer exist.
    pub fn retain(&mut self, keep: impl Fn(&Uid) -> bool) {
        self.backoffs.retain(|(_, part), _| part.as_ref().is_none_or(&keep));
    }

    /// Ends the back-offs of writes that failed because of an outage, and returns whether there were any.
    pub fn outage_over(&mut self) -> bool {
        let before = self.backoffs.len();
        self.backoffs.retain(|_, backoff| !backoff.is_outage);
        self.backoffs.len() < before
    }

    /// Drops back-offs that ended long ago, of objects for which nothing else is stored.
    pub fn forget_old(&mut self, now: Timestamp) {
        let is_recent = |backoff: &WriteBackoff| {
            let age = now.duration_since(backoff.since);
            age.unsigned_abs() < 2 * LONGEST
        };
        self.backoffs.retain(|_, backoff| is_recent(backoff));
    }

    /// Returns the number of writes that were refused and have not succeeded since.
    pub fn len(&self) -> usize {
        self.backoffs.len()
    }

    /// Returns whether no write is refused.
    pub fn is_empty(&self) -> bool {
        self.backoffs.is_empty()
    }
}

/// Refused writes of many objects, by UID.
#[derive(Debug, Default)]
pub struct ObjectRefusals(Mutex<FastMap<Uid, Refusals>>);

impl ObjectRefusals {
    /// Reads or changes the refusals of one object. An object without refusals uses no memory.
    pub fn of<R>(&self, object: &Uid, access: impl FnOnce(&mut Refusals) -> R) -> R {
        let mut object_refusals = self.lock();
        let Some(known) = object_refusals.get_mut(object) else {
            let mut new = Refusals::default();
            let result = access(&mut new);
            if !new.is_empty() {
                object_refusals.insert(object.clone(), new);
            }
            return result;
        };
        let result = access(known);
        if known.is_empty() {
            object_refusals.remove(object);
        }
        result
    }

    /// Drops the refusals of a deleted object.
    pub fn forget(&self, object: &Uid) {
        self.lock().remove(object);
    }

    /// Drops the refusals of all objects.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, FastMap<Uid, Refusals>> {
        self.0.lock()
    }
}

/// Returns the Warning event about a refused write: what failed, on which object, and the text of the refusal.
pub fn event(kind: WriteKind, object: Option<&str>, error: &WriteError) -> EventText {
    let text = error.to_string();
    // Messages of the API server contain the name of the object. Messages of webhooks may not.
    let object = object.filter(|object| !text.contains(*object));
    let object = object.map_or_else(String::new, |object| format!(" {object}"));
    EventText::warning(kind.reason, format!("{}{object}: {text}", kind.failed))
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use proptest::prelude::*;

    use super::*;

    const CREATE: WriteKind = WriteKind { reason: "FailedCreate", failed: "Error creating" };
    const UNTRACK: WriteKind =
        WriteKind { reason: "FailedFinalizerRemoval", failed: "Error removing the finalizer from pod" };

    fn answer(code: u16, message: &str) -> WriteError {
        kube::Error::Api(Box::new(Status { code, ..Status::failure(message, "Forbidden") })).into()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn each_refusal_doubles_the_back_off_up_to_a_minute_and_success_ends_it() {
        let (mut refusals, denied) = (Refusals::default(), answer(403, "denied"));
        let waits: Vec<u64> = (0..8).map(|_| refusals.refuse(CREATE, None, &denied, at(0)).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(refusals.until(CREATE, None, at(59)), Some(at(60)));
        assert_eq!(refusals.until(CREATE, None, at(60)), None);
        assert_eq!(refusals.until(CREATE, None, at(-1)), None, "the clock was set back");
        refusals.succeed(CREATE, None);
        assert_eq!(refusals.refuse(CREATE, None, &denied, at(100)).as_secs(), 1);
    }

    #[test]
    fn each_kind_of_write_and_each_part_has_its_own_back_off() {
        let (mut refusals, denied) = (Refusals::default(), answer(403, "denied"));
        let (a, b) = (Uid::from("a"), Uid::from("b"));
        refusals.refuse(UNTRACK, Some(&a), &denied, at(0));
        assert!(refusals.is_backed_off(UNTRACK, Some(&a), at(0)));
        assert!(!refusals.is_backed_off(UNTRACK, Some(&b), at(0)) && !refusals.is_backed_off(CREATE, None, at(0)));
        refusals.refuse(CREATE, None, &denied, at(0));
        refusals.refuse(CREATE, None, &denied, at(1));
        assert_eq!(refusals.next(at(0)), Some(at(1)));
        refusals.retain(|part| *part != a);
        assert_eq!(refusals.next(at(1)), Some(at(3)), "the pod is gone");
    }

    #[test]
    fn object_without_refusals_is_not_stored() {
        let (object_refusals, job) = (ObjectRefusals::default(), Uid::from("job"));
        object_refusals.of(&job, |refusals| refusals.seen(Some(1)));
        assert_eq!(object_refusals.lock().len(), 0);
        object_refusals.of(&job, |refusals| refusals.refuse(CREATE, None, &answer(403, "denied"), at(0)));
        assert!(object_refusals.of(&job, |refusals| refusals.is_backed_off(CREATE, None, at(0))));
        object_refusals.of(&job, |refusals| refusals.succeed(CREATE, None));
        assert_eq!(object_refusals.lock().len(), 0);
    }

    #[test]
    fn changed_spec_ends_all_back_offs() {
        let mut refusals = Refusals::default();
        refusals.seen(Some(1));
        refusals.refuse(CREATE, None, &answer(422, "invalid"), at(0));
        refusals.seen(Some(1));
        assert!(refusals.is_backed_off(CREATE, None, at(0)));
        refusals.seen(Some(2));
        assert!(refusals.is_empty());
    }

    #[test]
    fn end_of_an_outage_keeps_the_back_offs_of_refused_writes() {
        let mut refusals = Refusals::default();
        refusals.refuse(CREATE, None, &answer(503, "unavailable"), at(0));
        refusals.refuse(UNTRACK, Some(&"a".into()), &answer(403, "denied"), at(0));
        assert!(refusals.outage_over() && !refusals.outage_over());
        assert_eq!(refusals.len(), 1);
    }

    #[test]
    fn pod_that_ends_frees_quota_and_the_back_off_keeps_growing() {
        let (mut refusals, denied) = (Refusals::default(), answer(403, "exceeded quota: pods"));
        refusals.refuse(CREATE, None, &denied, at(0));
        refusals.refuse(CREATE, None, &denied, at(1));
        refusals.room_made(CREATE, 2);
        assert!(refusals.is_backed_off(CREATE, None, at(1)), "the refusal is not marked as a quota refusal");
        refusals.mark_quota(CREATE, 3);
        refusals.room_made(CREATE, 3);
        assert!(refusals.is_backed_off(CREATE, None, at(1)));
        refusals.room_made(CREATE, 2);
        assert!(!refusals.is_backed_off(CREATE, None, at(1)));
        assert_eq!(refusals.refuse(CREATE, None, &denied, at(1)).as_secs(), 4);
    }

    #[test]
    fn event_names_the_object_once_and_quotes_the_refusal() {
        let kube_names = event(UNTRACK, Some("job-x"), &answer(403, "pods \"job-x\" is forbidden: policy 'p'"));
        assert_eq!(
            kube_names.message,
            "Error removing the finalizer from pod: pods \"job-x\" is forbidden: policy 'p'"
        );
        let webhook = event(UNTRACK, Some("job-x"), &answer(403, "admission webhook denied the request"));
        assert_eq!(
            webhook.message,
            "Error removing the finalizer from pod job-x: admission webhook denied the request"
        );
    }

    proptest! {
        /// The attempts of a refused write are 1, 2, 4, … s apart, regardless of other events of the object.
        #[test]
        fn attempts_of_a_refused_write_keep_its_back_off(gaps in prop::collection::vec(0_i64..900, 1..300), other in any::<u64>()) {
            let (mut refusals, denied) = (Refusals::default(), answer(403, "denied"));
            let (mut now, mut attempts) = (0_i64, Vec::new());
            for (number, gap) in gaps.into_iter().enumerate() {
                // Each gap, in milliseconds, ends with a pod event that starts a sync.
                now += gap;
                let time = Timestamp::from_millisecond(1_700_000_000_000 + now).unwrap();
                if other >> (number % 64) & 1 == 1 {
                    refusals.refuse(UNTRACK, Some(&format!("{number}").into()), &denied, time);
                    refusals.succeed(UNTRACK, Some(&format!("{}", number / 2).into()));
                }
                if !refusals.is_backed_off(CREATE, None, time) {
                    refusals.refuse(CREATE, None, &denied, time);
                    attempts.push(now);
                }
            }
            for (step, pair) in attempts.windows(2).enumerate() {
                let wait = 1000_i64 << step.min(6);
                prop_assert!(pair[1] - pair[0] >= wait.min(60_000), "{attempts:?}");
            }
        }
    }
}
