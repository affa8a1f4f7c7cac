//! What a leader leaves to the next one, so that the next one knows when its caches are recent enough: pure rules.
//!
//! A cache that only watched may be behind the writes of the leaders before. Either it hears of all of them, or it lists
//! everything again. The record says what there is to hear, for the terms of all leaders since everything was last listed.

use std::collections::BTreeMap;
use std::fmt;

use super::lease::Handover;

/// A version of each resource. Who has heard of these knows all that the leaders so far did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastWrites(pub BTreeMap<String, u64>);

impl LastWrites {
    /// Reads what [`fmt::Display`] wrote: `jobs=12,pods=34`. None if it is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let pair = |part: &str| {
            let (resource, version) = part.split_once('=')?;
            Some((resource.to_owned(), version.parse().ok()?))
        };
        text.split(',').filter(|part| !part.is_empty()).map(pair).collect::<Option<_>>().map(Self)
    }

    /// The newer version of each resource.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for (resource, version) in &other.0 {
            let newest = self.0.entry(resource.clone()).or_default();
            *newest = (*newest).max(*version);
        }
        self
    }

    /// Whether it says something of each of these resources. One that does not comes from a leader that did not know of all
    /// resources, and says too little.
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

/// How a leader caught up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaughtUp {
    /// It listed everything, instead of hearing of all that was demanded.
    pub listed: bool,
    /// The newest versions in its caches then.
    pub known: LastWrites,
}

/// What a leader knows at the end of its term.
#[derive(Clone, Copy, Debug)]
pub struct Term<'a> {
    /// What it took over.
    pub handover: &'a Handover,
    /// How it caught up; none if it had not yet.
    pub caught_up: Option<&'a CaughtUp>,
    /// The newest versions that its own writes were answered with, for each of its resources.
    pub written: &'a LastWrites,
    /// The outcome of each of its writes is known.
    pub settled: bool,
}

/// The record to leave. None where no record can say enough: then the next leader lists everything.
pub fn to_leave(term: Term<'_>) -> Option<LastWrites> {
    if !term.settled {
        return None;
    }
    let before = match (term.handover, term.caught_up) {
        // It listed everything. The next has to know as much.
        (_, Some(CaughtUp { listed: true, known })) => known,
        // What was demanded of this leader is demanded of the next, which may have heard less.
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
    fn record_is_read_as_it_is_written_and_nothing_else_is() {
        let last = versions(12, 34);
        assert_eq!(last.to_string(), "jobs=12,pods=34");
        assert_eq!(LastWrites::parse(&last.to_string()), Some(last));
        assert_eq!(LastWrites::parse(""), Some(LastWrites::default()));
        for text in ["jobs", "jobs=", "jobs=x", "jobs=-1"] {
            assert_eq!(LastWrites::parse(text), None, "{text}");
        }
    }

    #[test]
    fn record_that_lacks_a_resource_says_too_little() {
        let resources = || ["jobs", "pods"].into_iter();
        assert!(versions(0, 0).covers(resources()));
        assert!(!LastWrites([("jobs".to_owned(), 5)].into()).covers(resources()));
        assert!(!LastWrites::default().covers(resources()));
    }

    #[test]
    fn demands_are_carried_on_until_everything_is_listed() {
        let (demanded, known, written) = (versions(10, 20), versions(30, 30), versions(5, 25));
        let released = Handover::Released(demanded);
        let observed = CaughtUp { listed: false, known: known.clone() };
        let listed = CaughtUp { listed: true, known: known.clone() };
        let cases = [
            ("released while it caught up", &released, None, true, Some(versions(10, 25))),
            ("released after it had heard of everything", &released, Some(&observed), true, Some(versions(10, 25))),
            ("released after it had listed instead", &released, Some(&listed), true, Some(known.clone())),
            ("took over from a dead leader, and had not caught up", &Handover::Abandoned, None, true, None),
            (
                "took over from a dead leader, and listed",
                &Handover::Abandoned,
                Some(&listed),
                true,
                Some(known.clone()),
            ),
            ("a write went unanswered", &released, Some(&observed), false, None),
        ];
        for (case, handover, caught_up, settled, expected) in cases {
            let term = Term { handover, caught_up, written: &written, settled };
            assert_eq!(to_leave(term), expected, "{case}");
        }
    }

    /// A replica: what it has heard, and what its own writes were answered with.
    #[derive(Clone, Copy, Debug, Default)]
    struct Replica {
        observed: u64,
        answered: u64,
    }

    /// One term: who leads, how far its watch has come, and how the term goes.
    #[derive(Clone, Debug)]
    struct ReplicaTerm {
        place: usize,
        /// Of a hundred: how far its watch comes from where it was towards the newest version before it takes the Lease.
        hears: u64,
        catches_up: bool,
        writes: u64,
        dies: bool,
        settled: bool,
    }

    fn replica_terms() -> impl Strategy<Value = Vec<ReplicaTerm>> {
        let replica_term =
            (0..3usize, 0..=100u64, any::<bool>(), 0..4u64, prop::bool::weighted(0.2), prop::bool::weighted(0.9))
                .prop_map(|(place, hears, catches_up, writes, dies, settled)| ReplicaTerm {
                    place,
                    hears,
                    catches_up,
                    writes,
                    dies,
                    settled,
                });
        prop::collection::vec(replica_term, 1..30)
    }

    proptest! {
        #[test]
        fn leader_that_works_has_heard_of_all_writes_of_the_leaders_before(replica_terms in replica_terms()) {
            let one = |version: u64| LastWrites([("pods".to_owned(), version)].into());
            let mut replicas = [Replica::default(); 3];
            let mut newest = 0;
            let mut handover = Handover::Abandoned;
            for replica_term in replica_terms {
                let me = &mut replicas[replica_term.place];
                me.observed += (newest - me.observed) * replica_term.hears / 100;
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
                    prop_assert!(me.observed >= newest, "it works without knowledge of version {newest}: {me:?} {handover:?}");
                    caught_up = Some(CaughtUp { listed, known: one(me.observed) });
                    newest += replica_term.writes;
                    if replica_term.writes > 0 {
                        me.answered = newest;
                        // What its writes are answered with is in its cache, and the watch brings it.
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
