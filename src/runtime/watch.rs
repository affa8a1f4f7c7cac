//! Keeps a cache in step with the API server: one consistent list, then a watch, again after any break.
//!
//! One way in: [`feed`]. kube's watcher does the listing, watching, bookmarks, expiry (410) and back-off; this adds
//! what a cache that also learns from our own writes needs: vanished objects in doubt are read live.

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
use tokio::sync::watch;
use tokio::time::Instant;

use super::cache::{Cache, Cached, Change, Source};
use super::errors::message;
use super::identity::{Identity, ResourceVersion};

/// Whether a cache holds all there is: all there was at some time, and what came since.
pub struct Synced {
    state: watch::Sender<Lists>,
}

#[derive(Clone, Copy, Default)]
struct Lists {
    /// When the list was asked for that the cache holds whole.
    complete: Option<Instant>,
    /// A list that was asked for earlier will not do.
    wanted: Option<Instant>,
}

impl Lists {
    fn is_done(self) -> bool {
        self.complete.is_some() && self.complete >= self.wanted
    }
}

impl Default for Synced {
    fn default() -> Self {
        Self { state: watch::Sender::new(Lists::default()) }
    }
}

impl Synced {
    /// A list is in the cache, and no newer one is wanted.
    pub fn is_done(&self) -> bool {
        self.state.borrow().is_done()
    }

    /// Returns once that is so.
    pub async fn wait(&self) {
        // The sender is ours, so it does not go away.
        let _ = self.state.subscribe().wait_for(|lists| lists.is_done()).await;
    }

    /// Wants the cache to know all that had happened by `since`: unless its list was asked for later, it is listed again.
    pub fn want(&self, since: Instant) {
        self.state.send_modify(|lists| lists.wanted = lists.wanted.max(Some(since)));
    }

    /// Says that a list that was asked for at `since` is in the cache.
    pub fn set(&self, since: Instant) {
        self.state.send_modify(|lists| lists.complete = Some(since));
    }

    /// Resolves when a list that was asked for at `since` will not do.
    async fn outdated(&self, since: Instant) {
        let _ = self.state.subscribe().wait_for(|lists| lists.wanted > Some(since)).await;
    }
}

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
pub enum News<T> {
    /// An object changed.
    Changed(Change<T>),
    /// The watch holds again after it was broken: what failed meanwhile may work now.
    Recovered,
}

/// One watch: where from, what of it, and how an object of the wire becomes one of the cache.
pub struct Watch<W, T> {
    /// The resource, in one namespace or all.
    pub api: Api<W>,
    /// Only objects with these labels.
    pub labels: Option<String>,
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
    pub heard: ResourceVersion,
    /// The newest version that a write of ours was answered with.
    pub answered: ResourceVersion,
    /// What is counted of its watch.
    pub watched: WatchMetrics,
}

impl CacheState {
    /// That of this cache.
    pub fn of<T: Cached>(cache: &Cache<T>, synced: bool, watched: &WatchMetrics) -> Self {
        Self { synced, len: cache.len(), heard: cache.heard(), answered: cache.answered(), watched: watched.clone() }
    }
}

/// How often a resource was listed, and how often its watch or list failed.
#[derive(Clone, Default)]
pub struct WatchMetrics {
    /// Lists begun: one at the start, one after each expiry, one when another replica's work is taken over.
    pub lists: Counter,
    /// Lists and watches that failed, expiries included.
    pub failures: Counter,
}

impl<W, T> Watch<W, T>
where
    W: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    W::Scope: LiveScope<W>,
    T: Cached,
{
    /// Feeds the cache for as long as it is polled, and tells of each change.
    pub async fn feed(&self, cache: &Cache<T>, synced: &Synced, tell: impl Fn(News<T>)) {
        let mut config = watcher::Config::default();
        config.label_selector.clone_from(&self.labels);
        let mut failing = false;
        loop {
            let stream = watch_stream(self.api.clone(), config.clone()).backoff(Reconnect::default());
            let mut listed = Instant::now();
            let mut stream = std::pin::pin!(stream);
            loop {
                let next = tokio::select! {
                    biased;
                    () = synced.outdated(listed) => break,
                    next = stream.try_next() => next,
                };
                match next {
                    Ok(Some(event)) => {
                        if failing {
                            tracing::info!(kind = %W::kind(&()), "watching again");
                            failing = false;
                            tell(News::Recovered);
                        }
                        if matches!(event, Event::Init) {
                            // The request follows the event.
                            listed = Instant::now();
                            self.metrics.lists.inc();
                        }
                        self.take(event, cache, (synced, listed), &|change| tell(News::Changed(change))).await;
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

    async fn take(
        &self,
        event: Event<W>,
        cache: &Cache<T>,
        (synced, listed): (&Synced, Instant),
        changed: &impl Fn(Change<T>),
    ) {
        match event {
            Event::Init => cache.list_begins(),
            Event::InitApply(object) => self.apply(object, Source::List, cache, changed),
            Event::Apply(object) => self.apply(object, Source::Watch, cache, changed),
            Event::InitDone => {
                let vanished = cache.list_ends();
                vanished.deleted.into_iter().for_each(changed);
                for object in vanished.doubtful {
                    self.read_live(object.as_ref(), cache, changed).await;
                }
                synced.set(listed);
            }
            Event::Delete(object) => {
                let Some(object) = (self.parse)(object) else { return };
                let Identity { uid, resource_version, .. } = object.identity();
                let outdated =
                    cache.get(uid).is_some_and(|known| known.identity().resource_version > *resource_version);
                if object.is_held() || outdated {
                    // It has only left the part that is watched: a held object cannot be deleted, and one that has changed
                    // since was not.
                    self.read_live(&object, cache, changed).await;
                } else if let Some(change) = cache.remove(&object.identity().uid) {
                    changed(change);
                }
            }
        }
    }

    fn apply(&self, object: W, source: Source, cache: &Cache<T>, changed: &impl Fn(Change<T>)) {
        if let Some(change) = (self.parse)(object).and_then(|object| cache.apply(object, source)) {
            changed(change);
        }
    }

    /// Asks the API server itself, for as long as it takes, what has become of an object.
    async fn read_live(&self, object: &T, cache: &Cache<T>, changed: &impl Fn(Change<T>)) {
        let identity = object.identity();
        let api = W::Scope::api(self.api.clone().into_client(), &identity.namespace);
        let mut wait = Duration::from_millis(200);
        let found = loop {
            match api.get_opt(&identity.name).await {
                Ok(found) => break found,
                Err(error) => {
                    tracing::warn!(namespace = %identity.namespace, name = %identity.name, error = %message(&error), "a live read failed");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(30));
                }
            }
        };
        let found = found.and_then(|found| (self.parse)(found)).filter(|found| found.identity().uid == identity.uid);
        let change = match found {
            // Of what is not watched nothing more is heard; what is held has to be let go first.
            Some(found) if self.labels.is_none() || found.is_held() => cache.apply(found, Source::Answer),
            Some(_) => cache.forget(&identity.uid),
            None => cache.remove(&identity.uid),
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
