//! Keeps a cache in step with the API server: one consistent list, then a watch; both are repeated after a failure.
//!
//! The entry point is [`Watch::feed`]. `events` lists, watches, and handles bookmarks and expiry (410). This module adds
//! what a cache needs that also takes in the responses to writes: live reads of objects of which a list or
//! an event leaves in doubt whether they exist. The loop awaits nothing without a deadline: each request of the watch has
//! one, and live reads run concurrently with the watch.

mod events;
mod live;
mod synced;
#[cfg(test)]
mod tests;

use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::Event;
use kube::{Api, Client, Resource};
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

use self::events::{Selection, WatchError, events};
use self::live::{Answer, LiveReads};
pub use self::synced::Synced;
use super::cache::{Cache, Cached, Change, Source};
use super::codec::{Unparsable, WireObject};
use super::identity::{Identity, ResourceVersion};
use super::liveness::{HEARTBEAT, Pulse};
use super::objects::Objects;

/// Back-off between attempts to restart a watch: 250 ms, doubled up to 8 s. After an outage a user waits this long.
#[derive(Default)]
pub(super) struct Reconnect(u32);

impl Iterator for Reconnect {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = Duration::from_millis(250 << self.0.min(5));
        self.0 += 1;
        Some(wait)
    }
}

impl Backoff for Reconnect {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

/// Event that a watch reports to a controller.
pub enum CacheEvent<T> {
    /// An object changed.
    Changed(Change<T>),
    /// The watch works again after a failure. Operations that failed in the meantime may succeed now.
    WatchRecovered,
}

/// Watch of one resource, and the conversion of its objects into those of the cache.
pub struct Watch<W, T> {
    /// Objects of the resource, in one namespace or in all.
    pub objects: Objects<W>,
    /// Label that objects must have, with any value; none to watch all objects.
    pub label: Option<&'static str>,
    /// Parses an object; none if the cache cannot hold it.
    pub parse: fn(W) -> Option<T>,
    /// Metrics of the watch.
    pub metrics: WatchMetrics,
}

/// Scope of a watched resource, which decides where a live read of one object goes.
pub trait LiveScope<W> {
    /// Returns the API that serves the objects of this namespace; of a cluster-scoped resource, all objects.
    fn api(client: Client, namespace: &str) -> Api<W>;
}

impl<W: Resource<DynamicType = (), Scope = Self>> LiveScope<W> for NamespaceResourceScope {
    fn api(client: Client, namespace: &str) -> Api<W> {
        Api::namespaced(client, namespace)
    }
}

impl<W: Resource<DynamicType = (), Scope = Self>> LiveScope<W> for ClusterResourceScope {
    fn api(client: Client, _namespace: &str) -> Api<W> {
        Api::all(client)
    }
}

/// State of a cache and of the watch that feeds it.
#[derive(Clone)]
pub struct CacheState {
    /// Whether the cache is complete.
    pub synced: bool,
    /// Number of objects in the cache.
    pub len: usize,
    /// Newest version that a list or a watch delivered.
    pub observed_version: ResourceVersion,
    /// Newest version in a response to a write or a live read.
    pub written_version: ResourceVersion,
    /// Metrics of the watch.
    pub watched: WatchMetrics,
}

impl CacheState {
    /// Returns the state of this cache.
    pub fn of<T: Cached>(cache: &Cache<T>, synced: bool, watched: &WatchMetrics) -> Self {
        Self {
            synced,
            len: cache.len(),
            observed_version: cache.observed_version(),
            written_version: cache.written_version(),
            watched: watched.clone(),
        }
    }
}

/// Metrics of the watch of one resource.
#[derive(Clone, Default)]
pub struct WatchMetrics {
    /// Number of lists: one at the start, one after each expiry, one when this replica takes over from another leader.
    pub lists: Counter,
    /// Number of lists and watches that failed, including expiries.
    pub failures: Counter,
    /// Number of objects that could not be parsed and are ignored.
    pub unparsable: Counter,
    /// Signs of life of the watch.
    pub pulse: Pulse,
}

impl WatchMetrics {
    /// Returns an object that could be decoded. Logs and counts any other one.
    pub fn usable<W: Resource<DynamicType = ()>>(&self, object: Result<W, Unparsable>) -> Option<W> {
        match object {
            Ok(object) => Some(object),
            Err(Unparsable { namespace, name, error }) => {
                self.unparsable.inc();
                tracing::error!(kind = %W::kind(&()), namespace, name, %error, "ignoring an object that cannot be parsed");
                None
            }
        }
    }
}

impl<W, T> Watch<W, T>
where
    W: Resource<DynamicType = ()> + WireObject,
    W::Scope: LiveScope<W>,
    T: Cached,
{
    /// Feeds the cache for as long as the future is polled, and reports each change.
    pub async fn feed(&self, cache: &Cache<T>, synced: &Synced, notify: impl Fn(CacheEvent<T>)) {
        let selection = Selection { objects: self.objects.clone(), label: self.label, metrics: self.metrics.clone() };
        let changed = |change| notify(CacheEvent::Changed(change));
        let mut reads = LiveReads::new(&self.objects);
        let mut failing = false;
        loop {
            let stream = events(selection.clone()).backoff(Reconnect::default());
            let mut listed = Instant::now();
            let mut stream = std::pin::pin!(stream);
            loop {
                self.metrics.pulse.ran();
                let next = tokio::select! {
                    biased;
                    () = synced.outdated(listed) => break,
                    answer = reads.next() => {
                        self.settle(&answer, cache, &changed);
                        reads.settled(&answer);
                        if let Some(listed) = reads.completed() {
                            synced.set(listed);
                        }
                        continue;
                    }
                    next = stream.try_next() => next,
                    () = tokio::time::sleep(HEARTBEAT) => continue,
                };
                match next {
                    Ok(Some(event)) => {
                        if failing {
                            tracing::info!(kind = %W::kind(&()), "watch recovered");
                            failing = false;
                            notify(CacheEvent::WatchRecovered);
                        }
                        if matches!(event, Event::Init) {
                            // The request follows the event.
                            listed = Instant::now();
                            self.metrics.lists.inc();
                        }
                        self.take(event, cache, listed, &mut reads, &changed);
                        if let Some(listed) = reads.completed() {
                            synced.set(listed);
                        }
                    }
                    Ok(None) => return,
                    Err(error) => {
                        self.metrics.failures.inc();
                        failing |= self.log_failure(&error, failing);
                    }
                }
            }
        }
    }

    /// Logs the first of several errors in a row. Returns whether the error is a failure.
    fn log_failure(&self, error: &WatchError, failing: bool) -> bool {
        // The API server answers 410 if the watch has expired and has to list again. That is not a failure.
        let expired = error.is_expired();
        if !expired && !failing {
            tracing::warn!(kind = %W::kind(&()), %error, "watch failed; retrying");
        }
        !expired
    }

    /// Applies an event to the cache, and starts live reads of objects that the event leaves in doubt.
    fn take(
        &self,
        event: Event<W>,
        cache: &Cache<T>,
        listed: Instant,
        reads: &mut LiveReads<W>,
        changed: &impl Fn(Change<T>),
    ) {
        match event {
            Event::Init => cache.list_begins(),
            Event::InitApply(object) => self.apply(object, Source::List, cache, changed),
            Event::Apply(object) => self.apply(object, Source::Watch, cache, changed),
            Event::InitDone => {
                let missing = cache.list_ends(self.label.is_some());
                missing.deleted.into_iter().for_each(changed);
                reads.list_ended(listed, missing.doubtful.iter().map(|object| object.identity().clone()));
            }
            Event::Delete(object) => {
                let Some(object) = (self.parse)(object) else { return };
                let identity = object.identity();
                cache.note_observed(identity.resource_version);
                if self.is_doubtful(&object, cache) {
                    reads.add(identity.clone());
                } else if let Some(change) = cache.remove(&identity.uid) {
                    changed(change);
                }
            }
        }
    }

    /// Returns whether a DELETED event may mean that the object has only left the selection: it lost the label. A watch
    /// of all objects sends DELETED for deletions only. With a label, the event holds the object as it was before, in both
    /// cases. An object with finalizers cannot be deleted, but the update that takes off the last one of an object that is
    /// being deleted deletes it, and the event then still shows that finalizer. A version newer than the event proves that the
    /// object was not deleted by it.
    fn is_doubtful(&self, object: &T, cache: &Cache<T>) -> bool {
        let Identity { uid, resource_version, .. } = object.identity();
        if self.label.is_none() || cache.is_deleted(uid) {
            return false;
        }
        let outdated = cache.get(uid).is_some_and(|known| known.identity().resource_version > *resource_version);
        object.has_finalizers() || outdated
    }

    fn apply(&self, object: W, source: Source, cache: &Cache<T>, changed: &impl Fn(Change<T>)) {
        let metadata = object.meta();
        let (namespace, name, uid) = (metadata.namespace.clone(), metadata.name.clone(), metadata.uid.clone());
        let Some(object) = (self.parse)(object) else {
            self.metrics.unparsable.inc();
            tracing::error!(kind = %W::kind(&()), namespace, name, uid, "ignoring an object that cannot be parsed");
            return;
        };
        if let Some(change) = cache.apply(object, source) {
            changed(change);
        }
    }

    /// Applies the result of a live read to the cache. The watch and the responses to writes may have delivered a newer
    /// version in the meantime, which stays.
    fn settle(&self, answer: &Answer<W>, cache: &Cache<T>, changed: &impl Fn(Change<T>)) {
        let uid = &answer.identity.uid;
        let is_watched = |object: &W| {
            self.label
                .is_none_or(|label| object.meta().labels.as_ref().is_some_and(|labels| labels.contains_key(label)))
        };
        let found =
            answer.found.as_ref().filter(|found| found.meta().uid.as_deref().is_some_and(|found| uid.is(found)));
        let watched = found.is_some_and(is_watched);
        let change = match found.cloned().and_then(self.parse) {
            // The watch reports no further change of an object outside the selection. An object with finalizers is needed until
            // these are removed.
            Some(found) if watched || found.has_finalizers() => cache.apply(found, Source::Answer),
            Some(found) => cache.forget_version(uid, found.identity().resource_version),
            None => cache.remove(uid),
        };
        if let Some(change) = change {
            changed(change);
        }
    }
}
