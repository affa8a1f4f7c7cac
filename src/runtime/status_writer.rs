//! Writes the statuses of resources that summarize other objects: at most once a second, and only where they change.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use kube::api::Patch;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::cache::{Cache, Cached, Source};
use super::context::ControllerContext;
use super::errors::WriteError;
use super::refusals::{self, ObjectRefusals, WriteKind};
use super::write_gate::patch_params;

/// Shortest time between two writes of one status.
const INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of concurrent writes.
const MAX_CONCURRENT_WRITES: usize = 8;

/// A resource whose statuses are written, and its cache.
pub struct StatusResource<'a, W, T> {
    /// Name of its controller, for the log.
    pub controller: &'static str,
    /// API group and version.
    pub api_version: &'static str,
    /// Kind of the resource.
    pub kind: &'static str,
    /// Kind of the write, for events.
    pub write: WriteKind,
    /// Known objects.
    pub cache: &'a Cache<T>,
    /// Parses an object that the API server returned.
    pub parse: fn(W) -> Option<T>,
    /// Returns the generation of the spec of an object.
    pub generation: fn(&T) -> Option<i64>,
}

/// Namespaces in which something has changed since the statuses were written.
#[derive(Debug, Default)]
pub struct StatusWriter {
    changed: Mutex<HashSet<Arc<str>>>,
    wake: Notify,
    refusals: ObjectRefusals,
}

impl StatusWriter {
    /// Records that something has changed in a namespace.
    pub fn mark(&self, namespace: &Arc<str>) {
        let mut changed = self.changed.lock();
        if !changed.contains(namespace) {
            changed.insert(namespace.clone());
            self.wake.notify_one();
        }
    }

    /// Writes the statuses of objects in changed namespaces until the future is dropped. `statuses` returns the objects
    /// whose stored status differs from the present one, with that status as JSON.
    pub async fn run<W, T>(
        &self,
        context: &ControllerContext,
        resource: &StatusResource<'_, W, T>,
        statuses: impl Fn(&HashSet<Arc<str>>) -> Vec<(Arc<T>, Value)>,
    ) where
        W: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + fmt::Debug,
        T: Cached,
    {
        self.refusals.clear();
        loop {
            self.wake.notified().await;
            let changed = std::mem::take(&mut *self.changed.lock());
            stream::iter(statuses(&changed))
                .for_each_concurrent(MAX_CONCURRENT_WRITES, |(object, status)| async move {
                    if self.write(context, resource, &object, status).await.is_err() {
                        self.mark(&object.identity().namespace);
                    }
                })
                .await;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn write<W, T>(
        &self,
        context: &ControllerContext,
        resource: &StatusResource<'_, W, T>,
        object: &T,
        status: Value,
    ) -> Result<(), WriteError>
    where
        W: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + fmt::Debug,
        T: Cached,
    {
        let identity = object.identity();
        let now = context.clock.now();
        let is_backed_off = self.refusals.of(&identity.uid, |refusals| {
            refusals.seen((resource.generation)(object));
            refusals.is_backed_off(resource.write, None, now)
        });
        if is_backed_off {
            return Err(WriteError::Deferred);
        }
        let patch = json!({
            "metadata": {"uid": identity.uid, "resourceVersion": identity.resource_version.to_string()},
            "status": status,
        });
        let api = context.namespaced::<W>(&identity.namespace);
        let patch = Patch::Merge(&patch);
        match context.write_gate.run(&identity.uid, api.patch_status(&identity.name, &patch_params(), &patch)).await {
            Ok(written) => {
                self.refusals.forget(&identity.uid);
                if let Some(written) = (resource.parse)(written) {
                    resource.cache.apply(written, Source::Answer);
                }
                Ok(())
            }
            Err(error) if error.is_gate_closed() => Err(error),
            Err(error) => {
                let known = resource.cache.get(&identity.uid);
                let is_newest =
                    known.is_some_and(|known| known.identity().resource_version == identity.resource_version);
                if (error.is_conflict() || error.is_not_found()) && !is_newest {
                    // The watch has delivered the newer version, or the deletion.
                    return Ok(());
                }
                if error.is_refusal() {
                    let event = refusals::event(resource.write, None, &error);
                    context.record_event(resource.api_version, resource.kind, identity, event);
                }
                tracing::warn!(controller = resource.controller, namespace = %identity.namespace, name = %identity.name, reason = resource.write.reason, %error, "a write failed");
                self.refusals.of(&identity.uid, |refusals| refusals.refuse(resource.write, None, &error, now));
                Err(error)
            }
        }
    }
}
