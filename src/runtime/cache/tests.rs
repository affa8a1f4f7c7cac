//! Tests of the cache.

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
fn changes_of_a_followed_owner_are_returned_once() {
    let cache = Cache::default();
    cache.apply(thing("a", 1), Source::Watch);
    let job = Uid::from("job");
    assert!(cache.changes(&job).is_empty(), "an owner that is not followed");
    assert_eq!(cache.follow(&job).len(), 1);
    let changes = || {
        let mut changes: Vec<_> =
            cache.changes(&job).into_iter().map(|(uid, thing)| (uid.to_string(), thing.is_some())).collect();
        changes.sort();
        changes
    };
    assert_eq!(changes(), []);
    cache.apply(thing("a", 2), Source::Watch);
    cache.apply(thing("a", 3), Source::Answer);
    cache.apply(thing("b", 4), Source::Watch);
    assert_eq!(changes(), [("a".to_owned(), true), ("b".to_owned(), true)]);
    assert_eq!(changes(), []);
    cache.apply(Thing { owner: Some("other".into()), ..thing("a", 5) }, Source::Watch);
    cache.apply(Thing { settled: true, ..thing("b", 6) }, Source::Watch);
    cache.remove(&"c".into());
    assert_eq!(changes(), [("a".to_owned(), false), ("b".to_owned(), false)]);
    cache.unfollow(&job);
    cache.apply(thing("d", 7), Source::Watch);
    assert_eq!(changes(), []);
}

#[test]
fn newest_version_wins_whatever_its_source() {
    let cache = Cache::default();
    assert!(cache.apply(thing("a", 5), Source::Answer).is_some());
    assert!(cache.apply(thing("a", 4), Source::Watch).is_none(), "the watch is behind the write");
    assert!(cache.apply(thing("a", 5), Source::Watch).is_none());
    assert_eq!(version(&cache, "a"), Some(5));
    assert!(cache.apply(thing("a", 6), Source::Watch).is_some());
    assert_eq!(version(&cache, "a"), Some(6));
}

#[test]
fn listeners_receive_changes_and_nothing_else() {
    let cache = Cache::default();
    let mut changes = cache.subscribe();
    cache.apply(thing("a", 5), Source::Answer);
    cache.apply(thing("a", 5), Source::Watch);
    cache.apply(thing("b", 6), Source::List);
    cache.remove(&"a".into());
    let received = std::iter::from_fn(|| changes.try_recv().ok());
    let received: Vec<_> = received.map(|change| (change.uid, change.controller)).collect();
    let owner = || Some("job".into());
    assert_eq!(received, [("a".into(), owner()), ("b".into(), owner()), ("a".into(), owner())]);
}

#[test]
fn written_and_observed_versions_are_tracked_separately() {
    let cache = Cache::default();
    cache.apply(thing("a", 5), Source::Answer);
    assert_eq!((cache.written_version(), cache.observed_version()), (ResourceVersion(5), ResourceVersion(0)));
    cache.apply(thing("a", 5), Source::Watch);
    cache.apply(thing("b", 3), Source::List);
    assert_eq!((cache.written_version(), cache.observed_version()), (ResourceVersion(5), ResourceVersion(5)));
}

#[test]
fn late_answer_does_not_restore_a_deleted_object() {
    let cache = Cache::default();
    cache.apply(thing("a", 5), Source::Watch);
    assert!(cache.remove(&"a".into()).is_some());
    assert!(cache.apply(thing("a", 9), Source::Answer).is_none());
    assert!(cache.is_deleted(&"a".into()));
    // This holds even if the deletion was the first event of the object.
    assert!(cache.remove(&"b".into()).is_none());
    assert!(cache.apply(thing("b", 7), Source::Answer).is_none());
    assert!(cache.is_empty());
}

#[test]
fn owned_follows_the_owner_and_excludes_accounted_objects() {
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
    let orphans = |namespace: &str| cache.orphans(&namespace.into(), |_| true).len();
    assert_eq!((orphans("default"), orphans("other")), (1, 0));
    cache.remove(&"b".into());
    assert_eq!(orphans("default"), 0);
}

#[test]
fn orphans_of_other_namespaces_are_not_visited() {
    let cache = Cache::default();
    let orphan = |namespace: &str, number: usize| {
        let mut thing = Thing { owner: None, ..thing(&format!("{namespace}-{number}"), 1) };
        thing.identity.namespace = namespace.into();
        thing
    };
    for number in 0..100 {
        cache.apply(orphan("other", number), Source::Watch);
    }
    cache.apply(orphan("default", 0), Source::Watch);
    let visited = std::cell::Cell::new(0);
    let found = cache.orphans(&"default".into(), |_| {
        visited.set(visited.get() + 1);
        true
    });
    assert_eq!((found.len(), visited.get()), (1, 1));
}

#[test]
fn relist_finds_objects_deleted_since_the_last_list() {
    let cache = Cache::default();
    cache.apply(thing("kept", 1), Source::Watch);
    cache.apply(thing("gone", 2), Source::Watch);
    cache.apply(Thing { has_finalizers: true, ..thing("held", 3) }, Source::Watch);
    cache.list_begins();
    cache.apply(thing("kept", 1), Source::List);
    cache.apply(thing("new", 8), Source::List);
    cache.apply(thing("written", 9), Source::Answer);
    let missing = cache.list_ends(true);
    let deleted: Vec<_> = missing.deleted.iter().filter_map(|change| change.before.as_ref()).collect();
    assert_eq!(deleted.len(), 1);
    assert_eq!(&*deleted[0].identity.name, "gone");
    let mut doubtful: Vec<_> = missing.doubtful.iter().map(|thing| thing.identity.name.to_string()).collect();
    doubtful.sort();
    assert_eq!(doubtful, ["held", "written"]);
    assert!(version(&cache, "gone").is_none() && version(&cache, "written").is_some());
}
