//! Live reads: GETs of objects of which a watch cannot say whether they still exist.
//!
//! They run beside the watch, a bounded number at a time, each with a deadline and a back-off of its own. The cache keeps an
//! object as it is until the answer arrives. To poll [`LiveReads::next`] is all that they need.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::LiveScope;
use crate::runtime::errors::message;
use crate::runtime::identity::Identity;
use crate::runtime::transport::deadline::within;

/// The limit of reads in flight.
const MAX_CONCURRENT_READS: usize = 16;
/// How long one read may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// The wait after the first failed read of an object; doubled by each further one, up to the longest.
const WAIT: Duration = Duration::from_millis(200);
const MAX_WAIT: Duration = Duration::from_secs(8);

/// An object to be read.
struct PendingRead {
    identity: Identity,
    failures: u32,
    /// The list that the object was missing from needs the answer to be complete.
    of_list: bool,
}

/// The answer of a live read.
pub(super) struct Answer<W> {
    /// The object that was in doubt.
    pub identity: Identity,
    /// The object of its name, if there is one; another UID means that the object in doubt is gone.
    pub found: Option<W>,
    of_list: bool,
}

/// The objects to be read, and the reads in flight.
pub(super) struct LiveReads<W> {
    client: Client,
    queued: VecDeque<PendingRead>,
    in_flight: FuturesUnordered<BoxFuture<'static, (PendingRead, kube::Result<Option<W>>)>>,
    /// Those that failed, until it is time to try again.
    backing_off: FuturesUnordered<BoxFuture<'static, PendingRead>>,
    /// When the last list was asked for, and how many of its objects are in doubt.
    list: Option<(Instant, usize)>,
    failing: bool,
}

impl<W> LiveReads<W>
where
    W: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    W::Scope: LiveScope<W>,
{
    pub fn new(client: Client) -> Self {
        Self {
            client,
            queued: VecDeque::new(),
            in_flight: FuturesUnordered::new(),
            backing_off: FuturesUnordered::new(),
            list: None,
            failing: false,
        }
    }

    /// Reads an object that a watch event leaves in doubt.
    pub fn add(&mut self, identity: Identity) {
        self.queued.push_back(PendingRead { identity, failures: 0, of_list: false });
    }

    /// Reads the objects that a list leaves in doubt, instead of all others: what was in doubt before that list is either in it
    /// or among these. The list was asked for at `listed`.
    pub fn list_ended(&mut self, listed: Instant, doubtful: impl Iterator<Item = Identity>) {
        self.queued = doubtful.map(|identity| PendingRead { identity, failures: 0, of_list: true }).collect();
        self.in_flight.clear();
        self.backing_off.clear();
        self.list = Some((listed, self.queued.len()));
    }

    /// Takes note that the cache holds this answer.
    pub fn settled(&mut self, answer: &Answer<W>) {
        if let Some((_, open)) = self.list.as_mut().filter(|_| answer.of_list) {
            *open = open.saturating_sub(1);
        }
    }

    /// When the list was asked for that is complete now; once for each list.
    pub fn completed(&mut self) -> Option<Instant> {
        self.list.take_if(|(_, open)| *open == 0).map(|(listed, _)| listed)
    }

    /// Resolves with the next answer; pending as long as nothing is in doubt. It may be dropped at any time.
    pub async fn next(&mut self) -> Answer<W> {
        loop {
            while self.in_flight.len() < MAX_CONCURRENT_READS
                && let Some(pending) = self.queued.pop_front()
            {
                self.in_flight.push(read(self.client.clone(), pending));
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
            tracing::warn!(kind = %W::kind(&()), %namespace, %name, error = %message(error), "a live read failed; it is repeated until it succeeds");
        }
        let wait = (WAIT * (1 << pending.failures.min(6))).min(MAX_WAIT);
        pending.failures += 1;
        self.backing_off.push(Box::pin(async move {
            tokio::time::sleep(wait).await;
            pending
        }));
    }
}

fn read<W>(client: Client, pending: PendingRead) -> BoxFuture<'static, (PendingRead, kube::Result<Option<W>>)>
where
    W: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    W::Scope: LiveScope<W>,
{
    let api = W::Scope::api(client, &pending.identity.namespace);
    Box::pin(async move {
        let result = within(DEADLINE, api.get_opt(&pending.identity.name)).await;
        (pending, result)
    })
}
