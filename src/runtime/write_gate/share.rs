//! Number of writes that one object may have in flight, adapted to their latency.
//!
//! The fastest write of an object is one that did not wait behind the others. Writes that take several times as long
//! wait in the API server, and more of them in flight only delay the writes of other objects. If a webhook makes all
//! writes slow, the fastest one is slow as well, and more of them in flight give more throughput. The rule has the idea
//! of TCP Vegas: the share grows slowly while the latency is near its minimum, and shrinks while it is far from it.

use std::time::Duration;

use tokio::time::Instant;

/// Smallest share, if the window of the gate is not smaller. It is enough to occupy an API server of which each write
/// takes a few milliseconds.
const MIN: f64 = 4.0;
/// Latency in relation to the fastest write below which the share grows.
const NEAR: f64 = 2.0;
/// Latency in relation to the fastest write above which the share shrinks.
const FAR: f64 = 3.0;
/// Time after which the fastest write counts no longer, because the API server may have become slower since.
const MEMORY: Duration = Duration::from_secs(300);

/// Kind of a write. A webhook or a quota can make the kinds differ in latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The creation of an object
    Creation,
    /// A patch or a deletion
    Change,
}

/// Share of one object in the writes in flight.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// The share, or none if it is as large as possible.
    limit: Option<f64>,
    creations: Fastest,
    changes: Fastest,
}

/// Latency of the fastest write in the present period and in the one before it.
#[derive(Debug, Default)]
struct Fastest {
    since: Option<Instant>,
    present: Option<Duration>,
    last: Option<Duration>,
}

impl Share {
    /// Returns the number of writes that may be in flight, if it is at most `largest`.
    pub(super) fn most(&self, largest: usize) -> usize {
        self.limit.map_or(largest, |limit| (limit as usize).min(largest)).max(1)
    }

    /// Adapts the share to the latency of a write that succeeded.
    pub(super) fn record(&mut self, kind: Kind, latency: Duration, largest: usize, now: Instant) {
        let fastest = match kind {
            Kind::Creation => &mut self.creations,
            Kind::Change => &mut self.changes,
        };
        let fastest = fastest.with(latency, now).as_secs_f64();
        let (latency, largest) = (latency.as_secs_f64(), largest.max(1) as f64);
        let limit = self.limit.unwrap_or(largest).min(largest);
        let limit = if latency > FAR * fastest {
            limit - 1.0
        } else if latency < NEAR * fastest {
            limit + 1.0 / limit
        } else {
            limit
        };
        self.limit = Some(limit.clamp(MIN.min(largest), largest));
    }
}

impl Fastest {
    /// Takes a latency into account, and returns the smallest one.
    fn with(&mut self, latency: Duration, now: Instant) -> Duration {
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) > MEMORY {
            (self.since, self.last) = (Some(now), self.present.take());
        }
        let present = self.present.map_or(latency, |present| present.min(latency));
        self.present = Some(present);
        self.last.map_or(present, |last| last.min(present))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LARGEST: usize = 16;

    /// Records writes with the latency that this function returns for the share at that time, and returns the share.
    fn after(share: &mut Share, writes: usize, latency: impl Fn(usize) -> u64) -> usize {
        let now = Instant::now();
        for _ in 0..writes {
            let latency = Duration::from_millis(latency(share.most(LARGEST)));
            share.record(Kind::Creation, latency, LARGEST, now);
        }
        share.most(LARGEST)
    }

    #[test]
    fn share_shrinks_while_writes_wait_behind_each_other() {
        let mut share = Share::default();
        assert_eq!(share.most(LARGEST), LARGEST);
        share.record(Kind::Creation, Duration::from_millis(5), LARGEST, Instant::now());
        // The API server executes the writes one after the other.
        assert_eq!(after(&mut share, 100, |in_flight| 5 * in_flight as u64), 4);
    }

    #[test]
    fn share_stays_large_where_every_write_is_slow() {
        let mut share = Share::default();
        assert_eq!(after(&mut share, 100, |_| 1000), LARGEST);
        // The share grows again when the API server has become faster.
        share.record(Kind::Creation, Duration::from_millis(5), LARGEST, Instant::now());
        assert_eq!(after(&mut share, 20, |_| 100), 4);
        assert_eq!(after(&mut share, 200, |_| 5), LARGEST);
    }

    #[test]
    fn kinds_of_writes_are_not_compared() {
        let mut share = Share::default();
        for _ in 0..100 {
            share.record(Kind::Change, Duration::from_millis(5), LARGEST, Instant::now());
            share.record(Kind::Creation, Duration::from_secs(1), LARGEST, Instant::now());
        }
        assert_eq!(share.most(LARGEST), LARGEST);
    }

    #[test]
    fn fastest_write_is_forgotten() {
        let (mut share, start) = (Share::default(), Instant::now());
        share.record(Kind::Change, Duration::from_millis(5), LARGEST, start);
        for minute in 0..30 {
            let now = start + Duration::from_secs(60 * minute);
            share.record(Kind::Change, Duration::from_secs(1), LARGEST, now);
        }
        assert!(share.most(LARGEST) < LARGEST);
        for _ in 0..1000 {
            share.record(Kind::Change, Duration::from_secs(1), LARGEST, start + Duration::from_secs(1800));
        }
        assert_eq!(share.most(LARGEST), LARGEST);
    }

    proptest! {
        /// The share is at least one and never exceeds the largest one.
        #[test]
        fn share_is_within_its_bounds(writes in prop::collection::vec((any::<bool>(), 0_u64..5000, 0_usize..40), 1..100)) {
            let (mut share, now) = (Share::default(), Instant::now());
            for (creation, latency, largest) in writes {
                let kind = if creation { Kind::Creation } else { Kind::Change };
                share.record(kind, Duration::from_millis(latency), largest, now);
                let most = share.most(largest);
                prop_assert!(most >= 1 && most <= largest.max(1), "{most} of {largest}");
                prop_assert!(most >= largest.clamp(1, 4), "{most} of {largest}");
            }
        }
    }
}
