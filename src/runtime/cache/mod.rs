//! Cache of cluster objects: the newest known version of each object, indexed by UID and by controlling owner.
//!
//! Two sources feed the cache, in any order: the watch, and the responses to the requests of this process
//! ([`Cache::apply`] accepts both). The newer resourceVersion wins, and a deleted object does not come back. A decision
//! made from the cache is therefore never older than the last write of this process. This replaces the expectations of
//! client-go.
//!
//! The cache never calls the API. It returns the objects that a relist leaves in doubt, and the caller reads them live.

mod tombstones;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::Instant;

use self::tombstones::Tombstones;
use super::identity::{Identity, ResourceVersion, Uid};
use super::maps::{FastMap, FastSet};

/// Object that the cache can hold.
pub trait Cached: Send + Sync + 'static {
    /// Returns the identity of the object, with its version.
    fn identity(&self) -> &Identity;

    /// Returns the UID of the controlling owner of the object.
    fn controller(&self) -> Option<&Uid>;

    /// Returns whether the object can no longer affect the decisions of its owner. [`Cache::owned`] excludes such
    /// objects, so that the finished pods of a Job add no cost to its syncs.
    fn is_accounted(&self) -> bool {
        false
    }

    /// Returns whether the object has finalizers. Such an object may only have left the selection of the watch, and is
    /// read live before it is treated as deleted.
    fn has_finalizers(&self) -> bool;
}

/// Effect of an event on one object.
#[derive(Debug)]
pub struct Change<T> {
    /// Version before the event, if the cache held one.
    pub before: Option<Arc<T>>,
    /// Version after the event; `None` if the object was removed from the cache.
    pub after: Option<Arc<T>>,
}

/// Newest known version of each object of one type.
pub struct Cache<T> {
    state: Mutex<State<T>>,
    listeners: Mutex<Vec<UnboundedSender<ChangedKey>>>,
}

struct State<T> {
    objects: FastMap<Uid, Arc<T>>,
    /// Objects that are not accounted, by controlling owner, and all objects without one, by namespace. The order is
    /// fixed, so that equal states give equal decisions.
    by_owner: FastMap<Owner, BTreeMap<Uid, Arc<T>>>,
    /// UIDs of the objects of each followed owner that have changed since the last call of [`Cache::changes`].
    followed: FastMap<Uid, FastSet<Uid>>,
    deleted: Tombstones,
    listing: Option<Listing>,
    /// Newest version that arrived in a list or a watch.
    observed_version: ResourceVersion,
    /// Newest version in a response to a write or a live read of this process.
    written_version: ResourceVersion,
}

/// Owner of an object in the index.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Owner {
    /// The controlling owner with this UID.
    Controller(Uid),
    /// No controlling owner; the namespace of the object.
    None(Arc<str>),
}

impl Owner {
    fn of<T: Cached>(object: &T) -> Self {
        match object.controller() {
            Some(controller) => Self::Controller(controller.clone()),
            None => Self::None(object.identity().namespace.clone()),
        }
    }
}

/// State of a list that is in progress.
#[derive(Default)]
struct Listing {
    seen: FastSet<Uid>,
    /// Objects in responses to this process since the list was requested. They may be too new to be in the list.
    written: FastSet<Uid>,
}

/// Key of an object that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedKey {
    /// UID of the object.
    pub uid: Uid,
    /// Namespace of the object.
    pub namespace: Arc<str>,
    /// UID of the controlling owner of the object.
    pub controller: Option<Uid>,
}

/// Source of a version of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Watch event.
    Watch,
    /// Item of the list that a watch starts with.
    List,
    /// Response to a write or a live read of this process.
    Answer,
}

/// Cached objects that a finished list does not contain.
#[derive(Debug)]
pub struct MissingFromList<T> {
    /// Objects that were deleted while the watch was interrupted. They are removed from the cache.
    pub deleted: Vec<Change<T>>,
    /// Objects that may have been deleted. The caller reads them live.
    pub doubtful: Vec<Arc<T>>,
}

impl<T: Cached> Default for Cache<T> {
    fn default() -> Self {
        let state = State {
            objects: FastMap::default(),
            by_owner: FastMap::default(),
            followed: FastMap::default(),
            deleted: Tombstones::default(),
            listing: None,
            observed_version: ResourceVersion(0),
            written_version: ResourceVersion(0),
        };
        Self { state: Mutex::new(state), listeners: Mutex::default() }
    }
}

impl<T: Cached> Cache<T> {
    /// Applies a version of an object, and returns the change. Returns `None` and changes no object if the cache holds
    /// this version or a newer one, or if the object is known to be deleted.
    pub fn apply(&self, object: T, source: Source) -> Option<Change<T>> {
        let mut state = self.lock();
        let uid = object.identity().uid.clone();
        let newest = if source == Source::Answer { &mut state.written_version } else { &mut state.observed_version };
        *newest = (*newest).max(object.identity().resource_version);
        if let Some(listing) = &mut state.listing {
            match source {
                Source::List => listing.seen.insert(uid.clone()),
                Source::Answer => listing.written.insert(uid.clone()),
                Source::Watch => false,
            };
        }
        state.deleted.expire(Instant::now());
        if state.deleted.contains(&uid) {
            return None;
        }
        let known = state.objects.get(&uid).map(|known| known.identity().resource_version);
        if known.is_some_and(|known| known >= object.identity().resource_version) {
            return None;
        }
        let after = Arc::new(object);
        let before = state.insert(uid, after.clone());
        drop(state);
        self.notify(&after);
        Some(Change { before, after: Some(after) })
    }

    /// Records that an object was deleted, and removes it from the cache. No later version of its UID is applied for
    /// the next ten minutes.
    pub fn remove(&self, uid: &Uid) -> Option<Change<T>> {
        let mut state = self.lock();
        state.deleted.add(uid, Instant::now());
        let change = state.take(uid);
        drop(state);
        if let Some(gone) = change.as_ref().and_then(|change| change.before.as_ref()) {
            self.notify(gone);
        }
        change
    }

    /// Returns a channel that receives the key of every object that [`Self::apply`] or [`Self::remove`] changes from
    /// now on, whatever the source of the change.
    pub fn subscribe(&self) -> UnboundedReceiver<ChangedKey> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.listeners.lock().push(sender);
        receiver
    }

    fn notify(&self, object: &T) {
        let Identity { uid, namespace, .. } = object.identity();
        let (uid, namespace) = (uid.clone(), namespace.clone());
        let changed = ChangedKey { uid, namespace, controller: object.controller().cloned() };
        let mut listeners = self.listeners.lock();
        listeners.retain(|listener| listener.send(changed.clone()).is_ok());
    }

    /// Removes an object that exists but is outside the selection of this cache. A later version of it can be applied.
    pub fn forget(&self, uid: &Uid) -> Option<Change<T>> {
        self.lock().take(uid)
    }

    /// Removes an object that is outside the selection in this version, unless the cache holds a newer version.
    pub fn forget_version(&self, uid: &Uid, version: ResourceVersion) -> Option<Change<T>> {
        let mut state = self.lock();
        let known = state.objects.get(uid)?.identity().resource_version;
        if known > version { None } else { state.take(uid) }
    }

    /// Records that a consistent list is about to be requested.
    pub fn list_begins(&self) {
        self.lock().listing = Some(Listing::default());
    }

    /// Records that the list is complete, and returns the cached objects that it did not contain. In a list of a
    /// `selection`, a missing object with finalizers may only have left the selection. A list without a selection
    /// contains all objects that existed when it was requested.
    pub fn list_ends(&self, selection: bool) -> MissingFromList<T> {
        let mut state = self.lock();
        let listing = state.listing.take().unwrap_or_default();
        let mut missing: Vec<Arc<T>> = state
            .objects
            .iter()
            .filter(|(uid, _)| !listing.seen.contains(*uid))
            .map(|(_, object)| object.clone())
            .collect();
        missing.sort_unstable_by_key(|object| object.identity().resource_version);
        let (doubtful, gone): (Vec<_>, Vec<_>) = missing.into_iter().partition(|object| {
            selection && object.has_finalizers() || listing.written.contains(&object.identity().uid)
        });
        drop(state);
        let deleted = gone.iter().filter_map(|object| self.remove(&object.identity().uid)).collect();
        MissingFromList { deleted, doubtful }
    }

    /// Returns the object with this UID.
    pub fn get(&self, uid: &Uid) -> Option<Arc<T>> {
        self.lock().objects.get(uid).cloned()
    }

    /// Returns whether this object is known to have been deleted.
    pub fn is_deleted(&self, uid: &Uid) -> bool {
        self.lock().deleted.contains(uid)
    }

    /// Returns the objects that this owner controls and that are not accounted, ordered by UID. Only objects in
    /// `namespace`, the namespace of the owner, count: a user of another namespace can put any UID into an owner
    /// reference there.
    pub fn owned(&self, owner: &Uid, namespace: &str) -> Vec<Arc<T>> {
        let mut owned = self.referencing(owner);
        owned.retain(|object| *object.identity().namespace == *namespace);
        owned
    }

    /// Returns the objects in any namespace that reference this controlling owner and that are not accounted, ordered
    /// by UID.
    pub fn referencing(&self, owner: &Uid) -> Vec<Arc<T>> {
        self.lock().referencing(owner)
    }

    /// Begins to record which objects of an owner change, and returns the objects as [`Self::referencing`] does.
    pub fn follow(&self, owner: &Uid) -> Vec<Arc<T>> {
        let mut state = self.lock();
        state.followed.insert(owner.clone(), FastSet::default());
        state.referencing(owner)
    }

    /// Returns the objects of a followed owner that have changed since the last call: the UID, and the object unless it
    /// has left the objects that [`Self::referencing`] returns.
    pub fn changes(&self, owner: &Uid) -> Vec<(Uid, Option<Arc<T>>)> {
        let mut state = self.lock();
        let Some(changed) = state.followed.get_mut(owner).filter(|changed| !changed.is_empty()) else {
            return Vec::new();
        };
        let changed = std::mem::take(changed);
        let owned = state.by_owner.get(&Owner::Controller(owner.clone()));
        let with_object = |uid: Uid| {
            let object = owned.and_then(|owned| owned.get(&uid)).cloned();
            (uid, object)
        };
        changed.into_iter().map(with_object).collect()
    }

    /// Ends the recording of changes for an owner.
    pub fn unfollow(&self, owner: &Uid) {
        self.lock().followed.remove(owner);
    }

    /// Ends the recording of changes for all owners.
    pub fn unfollow_all(&self) {
        self.lock().followed.clear();
    }

    /// Returns the objects of a namespace that have no controlling owner and match `predicate`.
    pub fn orphans(&self, namespace: &Arc<str>, predicate: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        let state = self.lock();
        let orphans = state.by_owner.get(&Owner::None(namespace.clone())).into_iter().flat_map(BTreeMap::values);
        orphans.filter(|object| predicate(object)).cloned().collect()
    }

    /// Returns all objects that match `predicate`, the least recently written first.
    pub fn all(&self, predicate: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        let mut all: Vec<_> = self.lock().objects.values().filter(|object| predicate(object)).cloned().collect();
        all.sort_unstable_by_key(|object| object.identity().resource_version);
        all
    }

    /// Calls `visit` for each object, in no particular order. The cache is locked meanwhile, so `visit` must not wait.
    pub fn for_each(&self, visit: impl FnMut(&Arc<T>)) {
        self.lock().objects.values().for_each(visit);
    }

    /// Returns the newest version in a response to a write or a live read of this process. A cache that has observed
    /// this version contains all writes of this process.
    pub fn written_version(&self) -> ResourceVersion {
        self.lock().written_version
    }

    /// Returns the newest version that arrived in a list or a watch.
    pub fn observed_version(&self) -> ResourceVersion {
        self.lock().observed_version
    }

    /// Records that the list or watch has reached this version.
    pub fn note_observed(&self, version: ResourceVersion) {
        let mut state = self.lock();
        state.observed_version = state.observed_version.max(version);
    }

    /// Returns the number of objects in the cache.
    pub fn len(&self) -> usize {
        self.lock().objects.len()
    }

    /// Returns whether the cache is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No code that holds the lock panics in the middle of a change.
        self.state.lock()
    }
}

impl<T: Cached> State<T> {
    fn referencing(&self, owner: &Uid) -> Vec<Arc<T>> {
        // A lookup needs an owned UID, which is cheap to clone.
        let owned = self.by_owner.get(&Owner::Controller(owner.clone()));
        owned.map(|owned| owned.values().cloned().collect()).unwrap_or_default()
    }

    /// Records a change of an object for its owner, if the owner is followed.
    fn mark(&mut self, owner: Option<&Uid>, object: &Uid) {
        if let Some(changed) = owner.and_then(|owner| self.followed.get_mut(owner)) {
            changed.insert(object.clone());
        }
    }

    fn insert(&mut self, uid: Uid, object: Arc<T>) -> Option<Arc<T>> {
        let before = self.objects.insert(uid.clone(), object.clone());
        if let Some(before) = &before {
            self.unindex(before);
        }
        self.mark(object.controller(), &uid);
        if object.controller().is_none() || !object.is_accounted() {
            self.by_owner.entry(Owner::of(&*object)).or_default().insert(uid, object);
        }
        before
    }

    fn take(&mut self, uid: &Uid) -> Option<Change<T>> {
        let before = self.objects.remove(uid)?;
        self.unindex(&before);
        Some(Change { before: Some(before), after: None })
    }

    fn unindex(&mut self, object: &T) {
        self.mark(object.controller(), &object.identity().uid);
        let owner = Owner::of(object);
        if let Some(owned) = self.by_owner.get_mut(&owner) {
            owned.remove(&object.identity().uid);
            if owned.is_empty() {
                self.by_owner.remove(&owner);
            }
        }
    }
}

#[cfg(test)]
mod tests;
