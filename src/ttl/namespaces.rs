//! Retention annotations of namespaces: the watched cache, and the live read before a deletion.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::{Api, Client, ResourceExt};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::job::view::retention::Retention;
use crate::runtime::cache::{Cache, Cached, Change, Source};
use crate::runtime::codec::{Encoding, WireObject};
use crate::runtime::identity::{Identity, ResourceVersion, Uid};
use crate::runtime::objects::Objects;
use crate::runtime::watch::{CacheEvent, CacheState, Synced, Watch, WatchMetrics};

/// Metadata of a namespace, as the API server sends it.
type WireNamespace = PartialObjectMeta<Namespace>;

impl WireObject for WireNamespace {}

/// Namespace with its retention annotations.
#[derive(Debug)]
struct NamespaceView {
    identity: Identity,
    retention: Retention,
}

impl NamespaceView {
    fn parse(wire: WireNamespace) -> Option<Self> {
        let identity = Identity {
            namespace: "".into(),
            name: wire.metadata.name.as_deref()?.into(),
            uid: wire.metadata.uid.as_deref()?.into(),
            resource_version: ResourceVersion::parse(wire.metadata.resource_version.as_deref()?)?,
        };
        Some(Self { identity, retention: Retention::parse(Some(wire.annotations())) })
    }
}

impl Cached for NamespaceView {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn controller(&self) -> Option<&Uid> {
        None
    }

    fn is_accounted(&self) -> bool {
        true
    }

    fn has_finalizers(&self) -> bool {
        false
    }
}

/// Retention annotations of all namespaces.
#[derive(Default)]
pub struct Namespaces {
    cache: Cache<NamespaceView>,
    synced: Synced,
    watched: WatchMetrics,
    /// Namespaces in the cache, by name.
    by_name: Mutex<HashMap<Arc<str>, Arc<NamespaceView>>>,
}

impl Namespaces {
    /// Returns the retention of a namespace from the cache, or an empty retention if the cache does not contain the
    /// namespace.
    pub fn of(&self, name: &str) -> Retention {
        self.by_name().get(name).map(|namespace| namespace.retention.clone()).unwrap_or_default()
    }

    /// Keeps the cache in sync with the API server while the future is polled, and calls `changed` with the name of
    /// each namespace whose retention changed.
    pub async fn watch(&self, client: Client, changed: impl Fn(&str)) {
        let api = Api::all(self.watched.pulse.recorded_by(client));
        let (objects, metrics) = (Objects::new(api, Encoding::Json), self.watched.clone());
        let watch: Watch<WireNamespace, NamespaceView> =
            Watch { objects, label: None, parse: NamespaceView::parse, metrics };
        let on_event = |event: CacheEvent<NamespaceView>| {
            if let CacheEvent::Changed(change) = event
                && let Some(name) = self.note(&change)
            {
                changed(&name);
            }
        };
        watch.feed(&self.cache, &self.synced, on_event).await;
    }

    /// Reads a namespace from the API server. Returns its retention and whether the retention differs from the cached
    /// one, or `None` if the namespace does not exist.
    ///
    /// # Errors
    /// The error of the request.
    pub async fn read_live(&self, client: Client, name: &str) -> kube::Result<Option<(Retention, bool)>> {
        let api: Api<WireNamespace> = Api::all(client);
        let Some(found) = api.get_opt(name).await?.and_then(NamespaceView::parse) else { return Ok(None) };
        let retention = found.retention.clone();
        let change = self.cache.apply(found, Source::Answer);
        let changed = change.and_then(|change| self.note(&change)).is_some();
        Ok(Some((retention, changed)))
    }

    /// Waits until the cache contains all namespaces.
    pub async fn ready(&self) {
        self.synced.wait().await;
    }

    /// Requires the cache to reflect everything up to `since`. [`Self::ready`] waits for that.
    pub fn require_since(&self, since: Instant) {
        self.synced.require_since(since);
    }

    /// Returns the state of the cache.
    pub fn cache(&self) -> CacheState {
        CacheState::of(&self.cache, self.synced.is_done(), &self.watched)
    }

    /// Updates `by_name` from the cache, and returns the name of the namespace if its retention changed.
    fn note(&self, change: &Change<NamespaceView>) -> Option<Arc<str>> {
        let identity = &change.after.as_ref().or(change.before.as_ref())?.identity;
        let mut by_name = self.by_name();
        // Changes may arrive here in any order, so the current state of the cache is used.
        match self.cache.get(&identity.uid) {
            Some(now) => {
                by_name.insert(identity.name.clone(), now);
            }
            // Another namespace may have this name by now.
            None if by_name.get(&identity.name).is_some_and(|known| known.identity.uid == identity.uid) => {
                by_name.remove(&identity.name);
            }
            None => {}
        }
        let after = change.after.as_ref()?;
        let before = change.before.as_ref().map(|before| before.retention.clone()).unwrap_or_default();
        (before != after.retention).then(|| identity.name.clone())
    }

    fn by_name(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<NamespaceView>>> {
        self.by_name.lock()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::job::view::retention::AFTER_SUCCESS;

    fn namespace(name: &str, uid: &str, version: u64, seconds: Option<&str>) -> NamespaceView {
        let annotations = seconds.map(|seconds| json!({AFTER_SUCCESS: seconds}));
        let wire = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "uid": uid, "resourceVersion": version.to_string(), "annotations": annotations},
        });
        NamespaceView::parse(serde_json::from_value(wire).unwrap()).unwrap()
    }

    #[test]
    fn changed_retention_is_reported_once_with_the_name_of_its_namespace() {
        let namespaces = Namespaces::default();
        let apply = |name: &str, uid: &str, version, seconds| {
            let change = namespaces.cache.apply(namespace(name, uid, version, seconds), Source::Watch)?;
            namespaces.note(&change).map(|name| name.to_string())
        };
        let success = |name: &str| namespaces.of(name).after_success.map(|ttl| ttl.as_secs());
        assert_eq!(apply("a", "1", 10, Some("5")), Some("a".to_owned()));
        assert_eq!(apply("b", "2", 11, None), None, "a namespace without an annotation is no change");
        assert_eq!((success("a"), success("b"), success("unknown")), (Some(5), None, None));
        assert_eq!(apply("b", "2", 12, Some("7")), Some("b".to_owned()));
        assert_eq!(apply("b", "2", 13, Some("7")), None);
        assert_eq!(apply("b", "2", 12, Some("9")), None, "an older version is ignored");
        assert_eq!(success("b"), Some(7));
        assert_eq!(apply("a", "1", 14, None), Some("a".to_owned()));
        assert_eq!(success("a"), None);
    }

    #[test]
    fn deletion_of_a_namespace_keeps_a_new_one_with_the_same_name() {
        let namespaces = Namespaces::default();
        let note = |change: Option<Change<NamespaceView>>| change.and_then(|change| namespaces.note(&change));
        note(namespaces.cache.apply(namespace("a", "old", 10, Some("5")), Source::Watch));
        note(namespaces.cache.apply(namespace("a", "new", 20, Some("6")), Source::Answer));
        assert!(note(namespaces.cache.remove(&"old".into())).is_none());
        assert_eq!(namespaces.of("a").after_success, Some(Duration::from_secs(6)));
        note(namespaces.cache.remove(&"new".into()));
        assert_eq!(namespaces.of("a"), Retention::default());
    }
}
