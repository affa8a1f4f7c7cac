//! Keeps a cache in step with the API server: one consistent list, then a watch, again after any break.
//!
//! One way in: [`Watch::feed`]. kube's watcher does the listing, watching, bookmarks, expiry (410) and back-off; this adds
//! what a cache that also learns from our own writes needs: vanished objects in doubt are read live. Nothing that the loop
//! waits for is without a deadline: each request of the watch has one, and live reads run beside the watch.

mod live;
mod synced;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_stream};
use kube::{Api, Client, Resource};
use prometheus_client::metrics::counter::Counter;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use self::live::{Answer, LiveReads};
pub use self::synced::Synced;
use super::cache::{Cache, Cached, Change, Source};
use super::errors::message;
use super::identity::{Identity, ResourceVersion};
use super::liveness::{HEARTBEAT, Pulse};

/// The waits between tries to watch again: from a quarter of a second, doubled, to eight seconds. After an outage that
/// is what a user waits for.
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

/// What a watch tells of.
pub enum CacheEvent<T> {
    /// An object changed.
    Changed(Change<T>),
    /// The watch holds again after it was broken: what failed meanwhile may work now.
    WatchRecovered,
}

/// One watch: where from, what of it, and how an object of the wire becomes one of the cache.
pub struct Watch<W, T> {
    /// The resource, in one namespace or all.
    pub api: Api<W>,
    /// Only objects that have this label, with any value.
    pub label: Option<&'static str>,
    /// Parses the object; nothing if it is not fit for the cache.
    pub parse: fn(W) -> Option<T>,
    /// What is counted of it.
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

/// What a cache holds, and how it came by it.
#[derive(Clone)]
pub struct CacheState {
    /// It holds all there is.
    pub synced: bool,
    /// How many objects it holds.
    pub len: usize,
    /// The newest version that came from the API server by itself.
    pub observed_version: ResourceVersion,
    /// The newest version that a write of ours was answered with.
    pub written_version: ResourceVersion,
    /// What is counted of its watch.
    pub watched: WatchMetrics,
}

impl CacheState {
    /// That of this cache.
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

/// How often a resource was listed, and how often its watch or list failed.
#[derive(Clone, Default)]
pub struct WatchMetrics {
    /// Lists begun: one at the start, one after each expiry, one when another replica's work is taken over.
    pub lists: Counter,
    /// Lists and watches that failed, expiries included.
    pub failures: Counter,
    /// Objects that could not be parsed, and are ignored.
    pub unparsable: Counter,
    /// Its signs of life.
    pub pulse: Pulse,
}

impl<W, T> Watch<W, T>
where
    W: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    W::Scope: LiveScope<W>,
    T: Cached,
{
    /// Feeds the cache for as long as it is polled, and tells of each change.
    pub async fn feed(&self, cache: &Cache<T>, synced: &Synced, notify: impl Fn(CacheEvent<T>)) {
        let config = watcher::Config { label_selector: self.label.map(str::to_owned), ..watcher::Config::default() };
        let changed = |change| notify(CacheEvent::Changed(change));
        let mut reads = LiveReads::new(self.api.clone().into_client());
        let mut failing = false;
        loop {
            let stream = watch_stream(self.api.clone(), config.clone()).backoff(Reconnect::default());
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
                            tracing::info!(kind = %W::kind(&()), "watching again");
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
                        failing |= self.report(&error, failing);
                    }
                }
            }
        }
    }

    /// Says what broke the watch, once; tells whether it is a failure.
    fn report(&self, error: &watcher::Error, failing: bool) -> bool {
        // An expired watch (410) is how the API server says to list again; that is no failure.
        let expired = matches!(error, watcher::Error::WatchError(status) if status.code == 410);
        if !expired && !failing {
            tracing::warn!(kind = %W::kind(&()), error = %explain(error), "the watch broke; trying again until it holds");
        }
        !expired
    }

    /// Takes an event into the cache. What it leaves in doubt is read live.
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

    /// Whether a DELETED event may mean that the object has only left the part that is watched: it lost the label. A watch
    /// of all objects sends DELETED for deletions alone. With a label, the event holds the object as it was before, in both
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

    /// Takes the answer of a live read into the cache. The watch and our own writes went on meanwhile: what they brought
    /// stays, if it is newer.
    fn settle(&self, answer: &Answer<W>, cache: &Cache<T>, changed: &impl Fn(Change<T>)) {
        let uid = &answer.identity.uid;
        let is_watched = |object: &W| {
            self.label
                .is_none_or(|label| object.meta().labels.as_ref().is_some_and(|labels| labels.contains_key(label)))
        };
        let found = answer.found.as_ref().filter(|found| found.meta().uid.as_deref() == Some(uid.as_str()));
        let watched = found.is_some_and(is_watched);
        let change = match found.cloned().and_then(self.parse) {
            // Of what is not watched nothing more is heard. An object with finalizers is still needed, until they are off.
            Some(found) if watched || found.has_finalizers() => cache.apply(found, Source::Answer),
            Some(found) => cache.forget_version(uid, found.identity().resource_version),
            None => cache.remove(uid),
        };
        if let Some(change) = change {
            changed(change);
        }
    }
}

fn explain(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(cause)
        | watcher::Error::WatchStartFailed(cause)
        | watcher::Error::WatchFailed(cause) => message(cause),
        other => other.to_string(),
    }
}
