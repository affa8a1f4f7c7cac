//! What a Lease says, and when it may be taken: pure rules, no clock and no client.
//!
//! The rules are client-go's: a holder is believed for as long as its Lease lasts after the last change we saw of it, by
//! our own clock, so that clocks of different machines need not agree.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::record::LastWrites;
use crate::runtime::clock::Moment;

/// Annotation of the Lease: which installation its holder belongs to.
pub const INSTALLATION: &str = "jobwright.dev/installation";
/// Annotation of the Lease: which Jobs its holder claims.
pub const CLAIM: &str = "jobwright.dev/claim";
/// Annotation of a released Lease: the newest version of each resource that its last holder wrote.
pub const LAST_WRITES: &str = "jobwright.dev/last-writes";

/// One who may hold the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaIdentity {
    /// Unlike any other's; equal for a container that is started again in the same pod.
    pub identity: String,
    /// The installation, such as `jobwright-system/jobwright`: replicas of one installation relieve each other.
    pub installation: String,
    /// What it claims, as on the command line.
    pub claim: String,
}

/// What was seen of the Lease, and when it was first seen so.
#[derive(Clone, Debug)]
pub struct ObservedLease {
    /// The Lease; none if there is none.
    pub lease: Option<Lease>,
    /// When, by our own clock, it became as it is.
    pub at: Moment,
}

/// How the Lease came to be free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handover {
    /// Its holder released it, and left a record of what its successor has to know.
    Released(LastWrites),
    /// Its holder was silent for too long, or left no record: everything has to be listed.
    Abandoned,
}

impl ObservedLease {
    fn spec(&self) -> Option<&LeaseSpec> {
        self.lease.as_ref()?.spec.as_ref()
    }

    /// Who holds it.
    pub fn holder(&self) -> Option<&str> {
        self.spec()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.lease.as_ref()?.metadata.annotations.as_ref()?.get(name).map(String::as_str)
    }

    /// From when on `me` may take it.
    pub fn acquirable_at(&self, me: &ReplicaIdentity) -> Moment {
        let lasts = self.spec().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
        match self.holder() {
            // A container that was started again in the same pod: the one before it is dead.
            Some(holder) if holder == me.identity => self.at,
            Some(_) => self.at + Duration::from_secs(lasts.max(0).unsigned_abs().into()),
            None => self.at,
        }
    }

    /// Whether it is still as it was: same holder, same renewal.
    pub fn is_same(&self, other: Option<&Lease>) -> bool {
        let version = |lease: Option<&Lease>| lease.and_then(|lease| lease.metadata.resource_version.clone());
        version(self.lease.as_ref()) == version(other)
    }

    /// The installation and claim of the holder, where they are not `me`'s own.
    pub fn foreign_holder(&self, me: &ReplicaIdentity) -> Option<(String, String)> {
        self.holder().filter(|holder| *holder != me.identity)?;
        let installation = self.annotation(INSTALLATION).unwrap_or("unknown");
        let claim = self.annotation(CLAIM).unwrap_or("unknown");
        (installation != me.installation || claim != me.claim).then(|| (installation.to_owned(), claim.to_owned()))
    }

    /// What whoever takes it now takes over.
    pub fn handover(&self) -> Handover {
        let left = self.annotation(LAST_WRITES).filter(|_| self.holder().is_none()).and_then(LastWrites::parse);
        left.map_or(Handover::Abandoned, Handover::Released)
    }

    /// The Lease with `me` as its holder.
    pub fn acquired_by(&self, me: &ReplicaIdentity, duration: Duration, now: Timestamp) -> Lease {
        let mut lease = self.lease.clone().unwrap_or_default();
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(&me.identity) {
            spec.lease_transitions = Some(if self.lease.is_some() {
                spec.lease_transitions.unwrap_or_default().saturating_add(1)
            } else {
                0
            });
            spec.acquire_time = Some(MicroTime(now));
        }
        spec.holder_identity = Some(me.identity.clone());
        spec.lease_duration_seconds = Some(seconds(duration));
        spec.renew_time = Some(MicroTime(now));
        let annotations = lease.metadata.annotations.get_or_insert_default();
        annotations.insert(INSTALLATION.to_owned(), me.installation.clone());
        annotations.insert(CLAIM.to_owned(), me.claim.clone());
        annotations.remove(LAST_WRITES);
        lease
    }

    /// The Lease without a holder, and the record of the last writes; without one, whoever takes the Lease lists everything.
    pub fn released(&self, record: Option<&LastWrites>, now: Timestamp) -> Lease {
        let mut lease = self.lease.clone().unwrap_or_default();
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        (spec.renew_time, spec.acquire_time) = (Some(MicroTime(now)), Some(MicroTime(now)));
        let annotations = lease.metadata.annotations.get_or_insert_default();
        match record {
            Some(record) => annotations.insert(LAST_WRITES.to_owned(), record.to_string()),
            None => annotations.remove(LAST_WRITES),
        };
        lease
    }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn replica_identity(identity: &str, installation: &str) -> ReplicaIdentity {
        ReplicaIdentity { identity: identity.into(), installation: installation.into(), claim: "managed-by".into() }
    }

    fn observed(lease: Option<Lease>, at: Moment) -> ObservedLease {
        ObservedLease { lease, at }
    }

    const LASTS: Duration = Duration::from_secs(15);

    #[test]
    fn a_lease_is_free_when_nobody_holds_it_or_its_holder_is_silent_for_its_whole_length() {
        let (me, other) = (replica_identity("me", "a"), replica_identity("other", "a"));
        let at = Moment::default();
        let held = observed(None, at).acquired_by(&other, LASTS, Timestamp::UNIX_EPOCH);
        let released = observed(Some(held.clone()), at).released(None, Timestamp::UNIX_EPOCH);
        let cases = [
            ("there is none", None, at),
            ("held by another, however old its times say it is", Some(held.clone()), at + LASTS),
            ("released", Some(released), at),
            (
                "ours, from before this container was started again",
                Some(observed(Some(held.clone()), at).acquired_by(&me, LASTS, Timestamp::UNIX_EPOCH)),
                at,
            ),
        ];
        for (case, lease, acquirable_at) in cases {
            assert_eq!(observed(lease, at).acquirable_at(&me), acquirable_at, "{case}");
        }
    }

    #[test]
    fn taking_counts_the_transition_and_renewing_does_not() {
        let (me, other) = (replica_identity("me", "a"), replica_identity("other", "a"));
        let at = Moment::default();
        let time = |second| Timestamp::from_second(second).unwrap();
        let first = observed(None, at).acquired_by(&other, LASTS, time(1));
        let renewed = observed(Some(first.clone()), at).acquired_by(&other, LASTS, time(2));
        let taken = observed(Some(renewed.clone()), at).acquired_by(&me, LASTS, time(3));
        let facts = |lease: &Lease| {
            let spec = lease.spec.clone().unwrap();
            let second = |time: Option<MicroTime>| time.unwrap().0.as_second();
            (spec.holder_identity.unwrap(), spec.lease_transitions, second(spec.acquire_time), second(spec.renew_time))
        };
        assert_eq!(facts(&first), ("other".into(), Some(0), 1, 1));
        assert_eq!(facts(&renewed), ("other".into(), Some(0), 1, 2));
        assert_eq!(facts(&taken), ("me".into(), Some(1), 3, 3));
    }

    #[test]
    fn word_of_the_last_writes_is_left_on_release_and_gone_once_taken() {
        let me = replica_identity("me", "a");
        let at = Moment::default();
        let last = LastWrites(BTreeMap::from([("jobs".into(), 12), ("pods".into(), 34)]));
        let held = observed(None, at).acquired_by(&me, LASTS, Timestamp::UNIX_EPOCH);
        let released = observed(Some(held.clone()), at).released(Some(&last), Timestamp::UNIX_EPOCH);
        assert_eq!(observed(Some(released.clone()), at).handover(), Handover::Released(last));
        let again = observed(Some(released), at).acquired_by(&me, LASTS, Timestamp::UNIX_EPOCH);
        assert_eq!(observed(Some(again), at).handover(), Handover::Abandoned, "its holder died without a word");
        assert_eq!(observed(Some(held.clone()), at).handover(), Handover::Abandoned);
        let without =
            observed(Some(observed(Some(held), at).released(Some(&LastWrites::default()), Timestamp::UNIX_EPOCH)), at);
        let without = without.released(None, Timestamp::UNIX_EPOCH);
        assert_eq!(observed(Some(without), at).handover(), Handover::Abandoned, "released without a record");
        assert_eq!(observed(None, at).handover(), Handover::Abandoned);
    }

    #[test]
    fn another_installation_is_told_from_a_replica_of_ours() {
        let me = replica_identity("me", "a/jobwright");
        let at = Moment::default();
        let held =
            |by: &ReplicaIdentity| observed(Some(observed(None, at).acquired_by(by, LASTS, Timestamp::UNIX_EPOCH)), at);
        assert_eq!(held(&replica_identity("replica", "a/jobwright")).foreign_holder(&me), None);
        assert_eq!(held(&me).foreign_holder(&me), None);
        let foreign_holder = held(&replica_identity("x", "b/jobwright")).foreign_holder(&me);
        assert_eq!(foreign_holder, Some(("b/jobwright".into(), "managed-by".into())));
        let all = ReplicaIdentity { claim: "all".into(), ..replica_identity("x", "a/jobwright") };
        assert_eq!(
            held(&all).foreign_holder(&me),
            Some(("a/jobwright".into(), "all".into())),
            "same name, other claim"
        );
    }
}
