//! Record that a leader leaves to the next leader, which shows when the caches of the next leader are recent enough.
//! These rules are pure.
//!
//! The cache of a new leader can be behind the writes of the previous leaders. It has to observe all of these writes,
//! or list everything again. The record contains the versions to observe, for the terms of all leaders since the last
//! full list.

use std::collections::BTreeMap;
use std::fmt;

use super::lease::Handover;

/// Newest written version of each resource. A cache that has observed these versions contains all writes of the leaders
/// so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastWrites(pub BTreeMap<String, u64>);

impl LastWrites {
    /// Parses the format of [`fmt::Display`], such as `jobs=12,pods=34`. Returns `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let pair = |part: &str| {
            let (resource, version) = part.split_once('=')?;
            Some((resource.to_owned(), version.parse().ok()?))
        };
        text.split(',').filter(|part| !part.is_empty()).map(pair).collect::<Option<_>>().map(Self)
    }

    /// Returns the newer of the two versions for each resource.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for (resource, version) in &other.0 {
            let newest = self.0.entry(resource.clone()).or_default();
            *newest = (*newest).max(*version);
        }
        self
    }

    /// Returns whether the record contains each of these resources. A record that lacks one comes from a leader that
    /// did not know all resources, and is not sufficient.
    pub fn covers<'a>(&self, mut resources: impl Iterator<Item = &'a str>) -> bool {
        resources.all(|resource| self.0.contains_key(resource))
    }
}

impl fmt::Display for LastWrites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|(resource, version)| format!("{resource}={version}")).collect();
        f.write_str(&parts.join(","))
    }
}

/// Way in which a leader caught up with the writes of the previous leaders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaughtUp {
    /// Whether the leader listed everything, instead of observing all versions of the record.
    pub listed: bool,
    /// Newest versions in the caches of the leader after it had caught up.
    pub known: LastWrites,
}

/// Knowledge of a leader at the end of its term.
#[derive(Clone, Copy, Debug)]
pub struct Term<'a> {
    /// Handover from the previous leader.
    pub handover: &'a Handover,
    /// Way in which the leader caught up; `None` if it has not caught up.
    pub caught_up: Option<&'a CaughtUp>,
    /// Newest version in the responses to the leader, for each of its resources.
    pub written: &'a LastWrites,
    /// Whether the outcome of each write of the leader is known.
    pub settled: bool,
}

/// Returns the record for the next leader, or `None` if no record is sufficient. Without a record, the next leader
/// lists everything.
pub fn to_leave(term: Term<'_>) -> Option<LastWrites> {
    if !term.settled {
        return None;
    }
    let before = match (term.handover, term.caught_up) {
        // This leader listed everything. The next leader has to observe at least these versions.
        (_, Some(CaughtUp { listed: true, known })) => known,
        // The next leader has to observe the versions that this leader had to observe, because its caches may be older.
        (Handover::Released(before), _) => before,
        (Handover::Abandoned, _) => return None,
    };
    Some(before.clone().and(term.written))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn versions(jobs: u64, pods: u64) -> LastWrites {
        LastWrites([("jobs".to_owned(), jobs), ("pods".to_owned(), pods)].into())
    }

    #[test]
    fn record_is_parsed_as_it_is_printed_and_other_texts_are_rejected() {
        let last = versions(12, 34);
        assert_eq!(last.to_string(), "jobs=12,pods=34");
        assert_eq!(LastWrites::parse(&last.to_string()), Some(last));
        assert_eq!(LastWrites::parse(""), Some(LastWrites::default()));
        for text in ["jobs", "jobs=", "jobs=x", "jobs=-1"] {
            assert_eq!(LastWrites::parse(text), None, "{text}");
        }
    }

    #[test]
    fn record_that_lacks_a_resource_is_not_sufficient() {
        let resources = || ["jobs", "pods"].into_iter();
        assert!(versions(0, 0).covers(resources()));
        assert!(!LastWrites([("jobs".to_owned(), 5)].into()).covers(resources()));
        assert!(!LastWrites::default().covers(resources()));
    }

    #[test]
    fn required_versions_are_passed_on_until_everything_is_listed() {
        let (demanded, known, written) = (versions(10, 20), versions(30, 30), versions(5, 25));
        let released = Handover::Released(demanded);
        let observed = CaughtUp { listed: false, known: known.clone() };
        let listed = CaughtUp { listed: true, known: known.clone() };
        let cases = [
            ("released while it caught up", &released, None, true, Some(versions(10, 25))),
            ("released after it had observed everything", &released, Some(&observed), true, Some(versions(10, 25))),
            ("released after it had listed instead", &released, Some(&listed), true, Some(known.clone())),
            ("took over from a dead leader, and had not caught up", &Handover::Abandoned, None, true, None),
            (
                "took over from a dead leader, and listed",
                &Handover::Abandoned,
                Some(&listed),
                true,
                Some(known.clone()),
            ),
            ("the outcome of a write is unknown", &released, Some(&observed), false, None),
        ];
        for (case, handover, caught_up, settled, expected) in cases {
            let term = Term { handover, caught_up, written: &written, settled };
            assert_eq!(to_leave(term), expected, "{case}");
        }
    }

    /// Replica with the newest version that it observed, and the newest version in the responses to its writes.
    #[derive(Clone, Copy, Debug, Default)]
    struct Replica {
        observed: u64,
        answered: u64,
    }

    /// One term: the replica that leads, the progress of its watch, and the events of the term.
    #[derive(Clone, Debug)]
    struct ReplicaTerm {
        replica: usize,
        /// Progress of its watch before it acquires the Lease, in per cent of the versions between its last one and the
        /// newest.
        observed_percent: u64,
        catches_up: bool,
        writes: u64,
        dies: bool,
        settled: bool,
    }

    fn replica_terms() -> impl Strategy<Value = Vec<ReplicaTerm>> {
        let replica_term =
            (0..3usize, 0..=100u64, any::<bool>(), 0..4u64, prop::bool::weighted(0.2), prop::bool::weighted(0.9))
                .prop_map(|(replica, observed_percent, catches_up, writes, dies, settled)| ReplicaTerm {
                    replica,
                    observed_percent,
                    catches_up,
                    writes,
                    dies,
                    settled,
                });
        prop::collection::vec(replica_term, 1..30)
    }

    proptest! {
        #[test]
        fn working_leader_has_observed_all_writes_of_earlier_leaders(replica_terms in replica_terms()) {
            let one = |version: u64| LastWrites([("pods".to_owned(), version)].into());
            let mut replicas = [Replica::default(); 3];
            let mut newest = 0;
            let mut handover = Handover::Abandoned;
            for replica_term in replica_terms {
                let me = &mut replicas[replica_term.replica];
                me.observed += (newest - me.observed) * replica_term.observed_percent / 100;
                let demanded = match &handover {
                    Handover::Released(record) => Some(record.0["pods"]),
                    Handover::Abandoned => None,
                };
                let mut caught_up = None;
                if replica_term.catches_up {
                    let listed = demanded.is_none_or(|demanded| me.observed < demanded);
                    if listed {
                        me.observed = newest;
                    }
                    prop_assert!(me.observed >= newest, "version {newest} was not observed: {me:?} {handover:?}");
                    caught_up = Some(CaughtUp { listed, known: one(me.observed) });
                    newest += replica_term.writes;
                    if replica_term.writes > 0 {
                        me.answered = newest;
                        // The responses to its writes are in its cache, and the watch delivers these versions too.
                        me.observed = newest;
                    }
                }
                let written = one(me.answered);
                let term = Term {
                    handover: &handover,
                    caught_up: caught_up.as_ref(),
                    written: &written,
                    settled: replica_term.settled,
                };
                let left = if replica_term.dies { None } else { to_leave(term) };
                handover = left.map_or(Handover::Abandoned, Handover::Released);
            }
        }
    }
}
