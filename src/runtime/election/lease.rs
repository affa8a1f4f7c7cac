//! Content of the Lease, and the time at which it can be acquired: pure rules, without a clock and without a client.
//!
//! The rules are those of client-go: a holder counts as alive for the duration of its Lease after the last change that
//! this replica observed, by the clock of this replica. The clocks of different machines therefore need not agree.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::record::LastWrites;
use crate::runtime::clock::Moment;

/// Annotation of the Lease with the installation of its holder.
pub const INSTALLATION: &str = "jobwright.dev/installation";
/// Annotation of the Lease with the Jobs that its holder claims.
pub const CLAIM: &str = "jobwright.dev/claim";
/// Annotation of a released Lease with the versions that the caches of the next holder must observe, for each resource.
pub const LAST_WRITES: &str = "jobwright.dev/last-writes";

/// Identity of a replica that can hold the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaIdentity {
    /// Unique identity of the replica. A container that is restarted in the same pod keeps it.
    pub identity: String,
    /// Installation, such as `jobwright-system/jobwright`. Replicas of one installation replace each other.
    pub installation: String,
    /// Value of `--claim` of the replica.
    pub claim: String,
}

/// Observed state of the Lease, and the time of the first observation of that state.
#[derive(Clone, Debug)]
pub struct ObservedLease {
    /// Lease, or `None` if it does not exist.
    pub lease: Option<Lease>,
    /// Time of the first observation of this state, by the clock of this replica.
    pub at: Moment,
}

/// State in which the previous holder left the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handover {
    /// The holder released the Lease and left a record of the versions that the next leader has to observe.
    Released(LastWrites),
    /// The holder did not renew the Lease in time, or left no record. The next leader has to list everything.
    Abandoned,
}

impl ObservedLease {
    fn spec(&self) -> Option<&LeaseSpec> {
        self.lease.as_ref()?.spec.as_ref()
    }

    /// Returns the identity of the holder, if there is one.
    pub fn holder(&self) -> Option<&str> {
        self.spec()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.lease.as_ref()?.metadata.annotations.as_ref()?.get(name).map(String::as_str)
    }

    /// Returns the earliest time at which `me` can acquire the Lease.
    pub fn acquirable_at(&self, me: &ReplicaIdentity) -> Moment {
        let lasts = self.spec().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
        match self.holder() {
            // The container was restarted in the same pod, so the previous holder has ended.
            Some(holder) if holder == me.identity => self.at,
            Some(_) => self.at + Duration::from_secs(lasts.max(0).unsigned_abs().into()),
            None => self.at,
        }
    }

    /// Returns whether `other` is the observed state: the resource versions are equal.
    pub fn is_same(&self, other: Option<&Lease>) -> bool {
        let version = |lease: Option<&Lease>| lease.and_then(|lease| lease.metadata.resource_version.clone());
        version(self.lease.as_ref()) == version(other)
    }

    /// Returns the installation and the claim of the holder, if one of them differs from that of `me`.
    pub fn foreign_holder(&self, me: &ReplicaIdentity) -> Option<(String, String)> {
        self.holder().filter(|holder| *holder != me.identity)?;
        let installation = self.annotation(INSTALLATION).unwrap_or("unknown");
        let claim = self.annotation(CLAIM).unwrap_or("unknown");
        (installation != me.installation || claim != me.claim).then(|| (installation.to_owned(), claim.to_owned()))
    }

    /// Returns the handover to a replica that acquires the Lease now.
    pub fn handover(&self) -> Handover {
        let left = self.annotation(LAST_WRITES).filter(|_| self.holder().is_none()).and_then(LastWrites::parse);
        left.map_or(Handover::Abandoned, Handover::Released)
    }

    /// Returns the Lease with `me` as its holder.
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

    /// Returns the Lease without a holder and with the record of the last writes. Without a record, the next holder
    /// lists everything.
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
    fn lease_can_be_acquired_without_a_holder_or_after_its_duration_without_a_renewal() {
        let (me, other) = (replica_identity("me", "a"), replica_identity("other", "a"));
        let at = Moment::default();
        let held = observed(None, at).acquired_by(&other, LASTS, Timestamp::UNIX_EPOCH);
        let released = observed(Some(held.clone()), at).released(None, Timestamp::UNIX_EPOCH);
        let cases = [
            ("the Lease does not exist", None, at),
            ("held by another replica, whatever its timestamps are", Some(held.clone()), at + LASTS),
            ("released", Some(released), at),
            (
                "held by this replica, from before the restart of its container",
                Some(observed(Some(held.clone()), at).acquired_by(&me, LASTS, Timestamp::UNIX_EPOCH)),
                at,
            ),
        ];
        for (case, lease, acquirable_at) in cases {
            assert_eq!(observed(lease, at).acquirable_at(&me), acquirable_at, "{case}");
        }
    }

    #[test]
    fn acquiring_counts_a_transition_and_renewing_does_not() {
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
    fn record_of_the_last_writes_is_stored_on_release_and_removed_on_acquisition() {
        let me = replica_identity("me", "a");
        let at = Moment::default();
        let last = LastWrites(BTreeMap::from([("jobs".into(), 12), ("pods".into(), 34)]));
        let held = observed(None, at).acquired_by(&me, LASTS, Timestamp::UNIX_EPOCH);
        let released = observed(Some(held.clone()), at).released(Some(&last), Timestamp::UNIX_EPOCH);
        assert_eq!(observed(Some(released.clone()), at).handover(), Handover::Released(last));
        let again = observed(Some(released), at).acquired_by(&me, LASTS, Timestamp::UNIX_EPOCH);
        assert_eq!(observed(Some(again), at).handover(), Handover::Abandoned, "the holder did not release the Lease");
        assert_eq!(observed(Some(held.clone()), at).handover(), Handover::Abandoned);
        let without =
            observed(Some(observed(Some(held), at).released(Some(&LastWrites::default()), Timestamp::UNIX_EPOCH)), at);
        let without = without.released(None, Timestamp::UNIX_EPOCH);
        assert_eq!(observed(Some(without), at).handover(), Handover::Abandoned, "released without a record");
        assert_eq!(observed(None, at).handover(), Handover::Abandoned);
    }

    #[test]
    fn holder_of_another_installation_or_claim_is_foreign() {
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
            "same installation, another claim"
        );
    }
}
