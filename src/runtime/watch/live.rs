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
const AT_ONCE: usize = 16;
/// How long one read may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// The wait after the first failed read of an object; doubled by each further one, up to the longest.
const WAIT: Duration = Duration::from_millis(200);
const WAIT_MOST: Duration = Duration::from_secs(8);

/// An object to be read.
struct Doubt {
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
    waiting: VecDeque<Doubt>,
    in_flight: FuturesUnordered<BoxFuture<'static, (Doubt, kube::Result<Option<W>>)>>,
    /// Those that failed, until it is time to try again.
    resting: FuturesUnordered<BoxFuture<'static, Doubt>>,
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
            waiting: VecDeque::new(),
            in_flight: FuturesUnordered::new(),
            resting: FuturesUnordered::new(),
            list: None,
            failing: false,
        }
    }

    /// Reads an object that a watch event leaves in doubt.
    pub fn add(&mut self, identity: Identity) {
        self.waiting.push_back(Doubt { identity, failures: 0, of_list: false });
    }

    /// Reads the objects that a list leaves in doubt, instead of all others: what was in doubt before that list is either in it
    /// or among these. The list was asked for at `listed`.
    pub fn list_ended(&mut self, listed: Instant, doubtful: impl Iterator<Item = Identity>) {
        self.waiting = doubtful.map(|identity| Doubt { identity, failures: 0, of_list: true }).collect();
        self.in_flight.clear();
        self.resting.clear();
        self.list = Some((listed, self.waiting.len()));
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
            while self.in_flight.len() < AT_ONCE
                && let Some(doubt) = self.waiting.pop_front()
            {
                self.in_flight.push(read(self.client.clone(), doubt));
            }
            tokio::select! {
                biased;
                Some(doubt) = self.resting.next() => self.waiting.push_back(doubt),
                Some((doubt, result)) = self.in_flight.next() => match result {
                    Ok(found) => {
                        self.failing = false;
                        return Answer { identity: doubt.identity, found, of_list: doubt.of_list };
                    }
                    Err(error) => self.failed(doubt, &error),
                },
                else => std::future::pending().await,
            }
        }
    }

    fn failed(&mut self, mut doubt: Doubt, error: &kube::Error) {
        let (namespace, name) = (&doubt.identity.namespace, &doubt.identity.name);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(kind = %W::kind(&()), %namespace, %name, error = %message(error), "a live read failed; it is repeated until it succeeds");
        }
        let wait = (WAIT * (1 << doubt.failures.min(6))).min(WAIT_MOST);
        doubt.failures += 1;
        self.resting.push(Box::pin(async move {
            tokio::time::sleep(wait).await;
            doubt
        }));
    }
}

fn read<W>(client: Client, doubt: Doubt) -> BoxFuture<'static, (Doubt, kube::Result<Option<W>>)>
where
    W: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    W::Scope: LiveScope<W>,
{
    let api = W::Scope::api(client, &doubt.identity.namespace);
    Box::pin(async move {
        let result = within(DEADLINE, api.get_opt(&doubt.identity.name)).await;
        (doubt, result)
    })
}
