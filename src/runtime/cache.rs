//! What we know of the cluster: the newest version seen of each object, found by UID and by controlling owner.
//!
//! Two sources feed it, in any order: the watch, and the answers to our own writes ([`Cache::apply`] takes both).
//! The newer resourceVersion wins, and what is known to be deleted does not come back, so a decision made from the
//! cache is never older than our own last write. This takes the place of client-go's expectations.
//!
//! It never calls the API. What a relist leaves in doubt, it hands back for a live read.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::Instant;

use super::identity::{Identity, ResourceVersion, Uid};

/// How long a deleted object's UID is remembered. Any answer about it that is still on its way comes sooner.
const REMEMBER_DELETED: Duration = Duration::from_secs(600);

/// An object the cache can hold.
pub trait Cached: Send + Sync + 'static {
    /// Which object it is, and which version of it.
    fn identity(&self) -> &Identity;

    /// The UID of its controlling owner.
    fn controller(&self) -> Option<&Uid>;

    /// Nothing about it can matter to its owner's decisions any more; [`Cache::owned`] leaves it out, so that a
    /// Job's finished pods cost its syncs nothing.
    fn is_accounted(&self) -> bool;

    /// A vanished object that cannot simply have been deleted: it has to be read live.
    fn has_finalizers(&self) -> bool;
}

/// What an event did to one object.
#[derive(Debug)]
pub struct Change<T> {
    /// The version before, if we knew one.
    pub before: Option<Arc<T>>,
    /// The version now; none if it is gone.
    pub after: Option<Arc<T>>,
}

/// The newest version seen of each object of one type.
pub struct Cache<T> {
    state: Mutex<State<T>>,
    listeners: Mutex<Vec<UnboundedSender<ChangedKey>>>,
}

struct State<T> {
    objects: HashMap<Uid, Arc<T>>,
    /// Unsettled objects by their controlling owner; those without one under none. Ordered, so that equal states give equal decisions.
    by_owner: HashMap<Option<Uid>, BTreeMap<Uid, Arc<T>>>,
    deleted: Tombstones,
    listing: Option<Listing>,
    /// The newest version that the API server told us of by itself.
    observed_version: ResourceVersion,
    /// The newest version that the answer to a request of ours held.
    written_version: ResourceVersion,
}

/// A list under way.
#[derive(Default)]
struct Listing {
    seen: HashSet<Uid>,
    /// Written by us since the list was asked for, so perhaps too new to be in it.
    written: HashSet<Uid>,
}

/// An object that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedKey {
    /// Which.
    pub uid: Uid,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// The UID of its controlling owner.
    pub controller: Option<Uid>,
}

/// Where a version of an object comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A watch event.
    Watch,
    /// An item of the list that a watch starts with.
    List,
    /// The answer to a write or a live read of ours.
    Answer,
}

/// What a finished list says about the objects it does not hold.
#[derive(Debug)]
pub struct MissingFromList<T> {
    /// Deleted while we did not watch; gone from the cache.
    pub deleted: Vec<Change<T>>,
    /// Perhaps deleted: to be read live.
    pub doubtful: Vec<Arc<T>>,
}

impl<T: Cached> Default for Cache<T> {
    fn default() -> Self {
        let state = State {
            objects: HashMap::new(),
            by_owner: HashMap::new(),
            deleted: Tombstones::default(),
            listing: None,
            observed_version: ResourceVersion(0),
            written_version: ResourceVersion(0),
        };
        Self { state: Mutex::new(state), listeners: Mutex::default() }
    }
}

impl<T: Cached> Cache<T> {
    /// Takes in a version of an object. Nothing changes if a newer one is known, or its deletion.
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

    /// Takes note that an object is gone for good.
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

    /// Tells of every object that changes from now on, whoever brings the news.
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

    /// Forgets an object that exists but is none of our business; it may come back.
    pub fn forget(&self, uid: &Uid) -> Option<Change<T>> {
        self.lock().take(uid)
    }

    /// Forgets an object that is none of our business in this version, unless a newer one is known.
    pub fn forget_version(&self, uid: &Uid, version: ResourceVersion) -> Option<Change<T>> {
        let mut state = self.lock();
        let known = state.objects.get(uid)?.identity().resource_version;
        if known > version { None } else { state.take(uid) }
    }

    /// A consistent list is about to be asked for.
    pub fn list_begins(&self) {
        self.lock().listing = Some(Listing::default());
    }

    /// The list is complete: returns what it did not hold. If it was a list of a `selection`, an object with finalizers may
    /// only have left the selection; a list of all objects holds all that existed when it was asked for.
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

    /// The object of this UID.
    pub fn get(&self, uid: &Uid) -> Option<Arc<T>> {
        self.lock().objects.get(uid).cloned()
    }

    /// Whether this object is known to have been deleted.
    pub fn is_deleted(&self, uid: &Uid) -> bool {
        self.lock().deleted.contains(uid)
    }

    /// The unsettled objects that this owner controls, in order of UID. `namespace` is the owner's own: whoever can create
    /// objects elsewhere can name any owner there.
    pub fn owned(&self, owner: &Uid, namespace: &str) -> Vec<Arc<T>> {
        let mut owned = self.referencing(owner);
        owned.retain(|object| *object.identity().namespace == *namespace);
        owned
    }

    /// The unsettled objects that name this controlling owner, in order of UID, in its namespace or elsewhere.
    pub fn referencing(&self, owner: &Uid) -> Vec<Arc<T>> {
        // The key is an Option, which cannot be borrowed in parts; cloning a UID counts a reference up.
        let key = Some(owner.clone());
        self.lock().by_owner.get(&key).map(|owned| owned.values().cloned().collect()).unwrap_or_default()
    }

    /// The objects without a controlling owner that `predicate` picks.
    pub fn orphans(&self, predicate: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        let state = self.lock();
        let orphans = state.by_owner.get(&None).into_iter().flat_map(BTreeMap::values);
        orphans.filter(|object| predicate(object)).cloned().collect()
    }

    /// All objects that `predicate` picks, the oldest version first: what was not written for the longest time.
    pub fn all(&self, predicate: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        let mut all: Vec<_> = self.lock().objects.values().filter(|object| predicate(object)).cloned().collect();
        all.sort_unstable_by_key(|object| object.identity().resource_version);
        all
    }

    /// The newest version that a write of ours was answered with; whoever has heard of it knows all our writes.
    pub fn written_version(&self) -> ResourceVersion {
        self.lock().written_version
    }

    /// The newest version that came from the API server by itself, in a list or a watch.
    pub fn observed_version(&self) -> ResourceVersion {
        self.lock().observed_version
    }

    /// Takes note that the API server told of something that happened at this version.
    pub fn note_observed(&self, version: ResourceVersion) {
        let mut state = self.lock();
        state.observed_version = state.observed_version.max(version);
    }

    /// How many objects it holds.
    pub fn len(&self) -> usize {
        self.lock().objects.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No code panics while it holds the lock halfway through a change.
        self.state.lock()
    }
}

/// The UIDs of deleted objects, for [`REMEMBER_DELETED`]. Each is added once and expires once, so that a deletion costs the
/// same however many there were.
#[derive(Default)]
struct Tombstones {
    uids: HashSet<Uid>,
    /// The same UIDs, the earliest deletion first.
    by_age: VecDeque<(Instant, Uid)>,
}

impl Tombstones {
    fn add(&mut self, uid: &Uid, now: Instant) {
        self.expire(now);
        if self.uids.insert(uid.clone()) {
            self.by_age.push_back((now, uid.clone()));
        }
    }

    fn contains(&self, uid: &Uid) -> bool {
        self.uids.contains(uid)
    }

    fn expire(&mut self, now: Instant) {
        while self.by_age.front().is_some_and(|(at, _)| now.duration_since(*at) >= REMEMBER_DELETED) {
            if let Some((_, uid)) = self.by_age.pop_front() {
                self.uids.remove(&uid);
            }
        }
    }
}

impl<T: Cached> State<T> {
    fn insert(&mut self, uid: Uid, object: Arc<T>) -> Option<Arc<T>> {
        let before = self.objects.insert(uid.clone(), object.clone());
        if let Some(before) = &before {
            self.unindex(before);
        }
        let owner = object.controller().cloned();
        if owner.is_none() || !object.is_accounted() {
            self.by_owner.entry(owner).or_default().insert(uid, object);
        }
        before
    }

    fn take(&mut self, uid: &Uid) -> Option<Change<T>> {
        let before = self.objects.remove(uid)?;
        self.unindex(&before);
        Some(Change { before: Some(before), after: None })
    }

    fn unindex(&mut self, object: &T) {
        let owner = object.controller().cloned();
        if let Some(owned) = self.by_owner.get_mut(&owner) {
            owned.remove(&object.identity().uid);
            if owned.is_empty() {
                self.by_owner.remove(&owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Thing {
        identity: Identity,
        owner: Option<Uid>,
        settled: bool,
        has_finalizers: bool,
    }

    impl Cached for Thing {
        fn identity(&self) -> &Identity {
            &self.identity
        }
        fn controller(&self) -> Option<&Uid> {
            self.owner.as_ref()
        }
        fn is_accounted(&self) -> bool {
            self.settled
        }
        fn has_finalizers(&self) -> bool {
            self.has_finalizers
        }
    }

    fn thing(uid: &str, version: u64) -> Thing {
        let identity = Identity {
            namespace: "default".into(),
            name: uid.into(),
            uid: uid.into(),
            resource_version: ResourceVersion(version),
        };
        Thing { identity, owner: Some("job".into()), settled: false, has_finalizers: false }
    }

    fn version(cache: &Cache<Thing>, uid: &str) -> Option<u64> {
        cache.get(&uid.into()).map(|thing| thing.identity.resource_version.0)
    }

    #[test]
    fn the_newest_version_wins_whoever_brings_it() {
        let cache = Cache::default();
        assert!(cache.apply(thing("a", 5), Source::Answer).is_some());
        assert!(cache.apply(thing("a", 4), Source::Watch).is_none(), "the watch is behind our own write");
        assert!(cache.apply(thing("a", 5), Source::Watch).is_none());
        assert_eq!(version(&cache, "a"), Some(5));
        assert!(cache.apply(thing("a", 6), Source::Watch).is_some());
        assert_eq!(version(&cache, "a"), Some(6));
    }

    #[test]
    fn listeners_hear_of_what_changes_and_of_nothing_else() {
        let cache = Cache::default();
        let mut changes = cache.subscribe();
        cache.apply(thing("a", 5), Source::Answer);
        cache.apply(thing("a", 5), Source::Watch);
        cache.apply(thing("b", 6), Source::List);
        cache.remove(&"a".into());
        let observed_version = std::iter::from_fn(|| changes.try_recv().ok());
        let observed_version: Vec<_> = observed_version.map(|change| (change.uid, change.controller)).collect();
        let owner = || Some("job".into());
        assert_eq!(observed_version, [("a".into(), owner()), ("b".into(), owner()), ("a".into(), owner())]);
    }

    #[test]
    fn what_we_wrote_and_what_we_were_told_are_kept_apart() {
        let cache = Cache::default();
        cache.apply(thing("a", 5), Source::Answer);
        assert_eq!((cache.written_version(), cache.observed_version()), (ResourceVersion(5), ResourceVersion(0)));
        cache.apply(thing("a", 5), Source::Watch);
        cache.apply(thing("b", 3), Source::List);
        assert_eq!((cache.written_version(), cache.observed_version()), (ResourceVersion(5), ResourceVersion(5)));
    }

    #[test]
    fn a_deleted_object_does_not_come_back_with_a_late_answer() {
        let cache = Cache::default();
        cache.apply(thing("a", 5), Source::Watch);
        assert!(cache.remove(&"a".into()).is_some());
        assert!(cache.apply(thing("a", 9), Source::Answer).is_none());
        assert!(cache.is_deleted(&"a".into()));
        // Even if its deletion was seen before anything else of it.
        assert!(cache.remove(&"b".into()).is_none());
        assert!(cache.apply(thing("b", 7), Source::Answer).is_none());
        assert!(cache.is_empty());
    }

    #[test]
    fn bulk_deletion_visits_each_tombstone_twice_at_most() {
        let mut tombstones = Tombstones::default();
        let begin = Instant::now();
        let uid = |n: u64| Uid::from(n.to_string());
        // 100 deletions a second for an hour, and each is told of twice.
        for n in 0..360_000 {
            let now = begin + Duration::from_millis(10 * n);
            let before = tombstones.by_age.len();
            tombstones.add(&uid(n), now);
            tombstones.add(&uid(n), now);
            assert!(tombstones.by_age.len().abs_diff(before) <= 1, "one is added, and one expires");
            assert_eq!(tombstones.by_age.len(), tombstones.uids.len());
            assert!(tombstones.uids.len() <= 60_000);
        }
        assert!(tombstones.contains(&uid(359_999)) && tombstones.contains(&uid(300_001)));
        assert!(!tombstones.contains(&uid(299_999)));
        tombstones.expire(begin + Duration::from_secs(4_300));
        assert!(tombstones.uids.is_empty() && tombstones.by_age.is_empty(), "all expire in time");
    }

    #[test]
    fn owned_follows_the_owner_and_leaves_settled_objects_out() {
        let cache = Cache::default();
        cache.apply(thing("b", 1), Source::Watch);
        cache.apply(thing("a", 2), Source::Watch);
        let names = |owner: &str| -> Vec<String> {
            cache.owned(&owner.into(), "default").iter().map(|thing| thing.identity.name.to_string()).collect()
        };
        assert_eq!(names("job"), ["a", "b"]);
        cache.apply(Thing { settled: true, ..thing("a", 3) }, Source::Watch);
        cache.apply(Thing { owner: Some("other".into()), ..thing("b", 4) }, Source::Watch);
        assert_eq!(names("job"), [""; 0]);
        assert_eq!(names("other"), ["b"]);
        cache.apply(Thing { owner: None, settled: true, ..thing("b", 5) }, Source::Watch);
        assert_eq!(names("other"), [""; 0]);
        assert_eq!(cache.orphans(|_| true).len(), 1);
        cache.remove(&"b".into());
        assert!(cache.orphans(|_| true).is_empty());
    }

    #[test]
    fn a_relist_finds_what_was_deleted_in_between() {
        let cache = Cache::default();
        cache.apply(thing("kept", 1), Source::Watch);
        cache.apply(thing("gone", 2), Source::Watch);
        cache.apply(Thing { has_finalizers: true, ..thing("held", 3) }, Source::Watch);
        cache.list_begins();
        cache.apply(thing("kept", 1), Source::List);
        cache.apply(thing("new", 8), Source::List);
        cache.apply(thing("written", 9), Source::Answer);
        let vanished = cache.list_ends(true);
        let deleted: Vec<_> = vanished.deleted.iter().filter_map(|change| change.before.as_ref()).collect();
        assert_eq!(deleted.len(), 1);
        assert_eq!(&*deleted[0].identity.name, "gone");
        let mut doubtful: Vec<_> = vanished.doubtful.iter().map(|thing| thing.identity.name.to_string()).collect();
        doubtful.sort();
        assert_eq!(doubtful, ["held", "written"]);
        assert!(version(&cache, "gone").is_none() && version(&cache, "written").is_some());
    }
}
