//! Live reads: GET requests for objects whose existence the events of a watch leave in doubt.
//!
//! The reads run concurrently with the watch. Their number is limited, and each has its own deadline and back-off. The
//! cache keeps the object unchanged until the answer arrives. The reads advance while [`LiveReads::next`] is polled.

use std::collections::VecDeque;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use kube::{Client, Resource};
use tokio::time::Instant;

use super::LiveScope;
use crate::runtime::codec::{Encoding, WireObject};
use crate::runtime::errors::message;
use crate::runtime::identity::Identity;
use crate::runtime::objects::Objects;
use crate::runtime::transport::deadline::within;

/// Maximum number of reads in flight.
const MAX_CONCURRENT_READS: usize = 16;
/// Timeout of one read.
const DEADLINE: Duration = Duration::from_secs(10);
/// Wait after the first failed read of an object. Each further failure doubles the wait.
const WAIT: Duration = Duration::from_millis(200);
/// Longest wait after a failed read.
const MAX_WAIT: Duration = Duration::from_secs(8);

/// Object that has to be read.
struct PendingRead {
    identity: Identity,
    failures: u32,
    /// Whether the object was missing from the last list, which is complete only with the answer.
    of_list: bool,
}

/// Answer to a live read.
pub(super) struct Answer<W> {
    /// Identity of the object in doubt.
    pub identity: Identity,
    /// Object with that name, if there is one. A different UID means that the object in doubt was deleted.
    pub found: Option<W>,
    of_list: bool,
}

/// Objects that have to be read, and the reads in flight.
pub(super) struct LiveReads<W> {
    client: Client,
    encoding: Encoding,
    queued: VecDeque<PendingRead>,
    in_flight: FuturesUnordered<BoxFuture<'static, (PendingRead, kube::Result<Option<W>>)>>,
    /// Failed reads that wait for their next attempt.
    backing_off: FuturesUnordered<BoxFuture<'static, PendingRead>>,
    /// Time of the request for the last list, and number of objects that the list still leaves in doubt.
    list: Option<(Instant, usize)>,
    failing: bool,
}

impl<W> LiveReads<W>
where
    W: Resource<DynamicType = ()> + WireObject,
    W::Scope: LiveScope<W>,
{
    /// Creates an empty set of reads of objects that are watched.
    pub(crate) fn new(watched: &Objects<W>) -> Self {
        let (client, encoding) = watched.client();
        Self {
            client,
            encoding,
            queued: VecDeque::new(),
            in_flight: FuturesUnordered::new(),
            backing_off: FuturesUnordered::new(),
            list: None,
            failing: false,
        }
    }

    /// Queues a read of an object that a watch event leaves in doubt.
    pub(crate) fn add(&mut self, identity: Identity) {
        self.queued.push_back(PendingRead { identity, failures: 0, of_list: false });
    }

    /// Replaces all reads by reads of the objects that a list leaves in doubt. An object that was in doubt before is
    /// either in that list or among these objects. `listed` is the time of the request for the list.
    pub(crate) fn list_ended(&mut self, listed: Instant, doubtful: impl Iterator<Item = Identity>) {
        self.queued = doubtful.map(|identity| PendingRead { identity, failures: 0, of_list: true }).collect();
        self.in_flight.clear();
        self.backing_off.clear();
        self.list = Some((listed, self.queued.len()));
    }

    /// Records that this answer was applied to the cache.
    pub(crate) fn settled(&mut self, answer: &Answer<W>) {
        if let Some((_, open)) = self.list.as_mut().filter(|_| answer.of_list) {
            *open = open.saturating_sub(1);
        }
    }

    /// Returns the time of the request for the last list if the list is complete now. Each list is returned once.
    pub(crate) fn completed(&mut self) -> Option<Instant> {
        self.list.take_if(|(_, open)| *open == 0).map(|(listed, _)| listed)
    }

    /// Returns the next answer. The future is pending while no object is in doubt, and can be dropped at any time.
    pub(crate) async fn next(&mut self) -> Answer<W> {
        loop {
            while self.in_flight.len() < MAX_CONCURRENT_READS
                && let Some(pending) = self.queued.pop_front()
            {
                self.in_flight.push(read(self.client.clone(), self.encoding, pending));
            }
            tokio::select! {
                biased;
                Some(pending) = self.backing_off.next() => self.queued.push_back(pending),
                Some((pending, result)) = self.in_flight.next() => match result {
                    Ok(found) => {
                        self.failing = false;
                        return Answer { identity: pending.identity, found, of_list: pending.of_list };
                    }
                    Err(error) => self.failed(pending, &error),
                },
                else => std::future::pending().await,
            }
        }
    }

    fn failed(&mut self, mut pending: PendingRead, error: &kube::Error) {
        let (namespace, name) = (&pending.identity.namespace, &pending.identity.name);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(
                kind = %W::kind(&()),
                %namespace,
                %name,
                error = %message(error),
                "live read failed; retrying"
            );
        }
        let wait = (WAIT * (1 << pending.failures.min(6))).min(MAX_WAIT);
        pending.failures += 1;
        self.backing_off.push(Box::pin(async move {
            tokio::time::sleep(wait).await;
            pending
        }));
    }
}

fn read<W>(
    client: Client,
    encoding: Encoding,
    pending: PendingRead,
) -> BoxFuture<'static, (PendingRead, kube::Result<Option<W>>)>
where
    W: Resource<DynamicType = ()> + WireObject,
    W::Scope: LiveScope<W>,
{
    let objects = Objects::new(W::Scope::api(client, &pending.identity.namespace), encoding);
    Box::pin(async move {
        let result = within(DEADLINE, objects.get_opt(&pending.identity.name)).await;
        (pending, result)
    })
}
