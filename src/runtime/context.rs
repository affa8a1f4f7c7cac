//! Context that every controller is built with: client, write gate, events, clock and metrics.

use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};

use super::clock::Clock;
use super::codec::{Encoded, Encoding, WireObject};
use super::errors::WriteError;
use super::events::{EventText, Recorder, Regarding};
use super::identity::Identity;
use super::objects::Objects;
use super::watch::WatchMetrics;
use super::worker::SyncMetrics;
use super::write_gate::{WriteGate, post_params};

/// Context that every controller is built with.
#[derive(Clone)]
pub struct ControllerContext {
    /// Client of the API server. Its requests have deadlines, as in [`super::transport`].
    pub client: Client,
    /// Namespace in which the controllers work; none for all namespaces.
    pub namespace: Option<String>,
    /// Encoding of the objects that have both encodings.
    pub encoding: Encoding,
    /// Gate that all writes pass.
    pub write_gate: Arc<WriteGate>,
    /// Recorder of Kubernetes Events.
    pub recorder: Recorder,
    /// Source of the time of day.
    pub clock: Clock,
    /// Metrics of the syncs of all controllers.
    pub syncs: SyncMetrics,
}

impl ControllerContext {
    /// Returns the API of a resource in the namespace of the controllers, or in all namespaces.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        self.api_of(self.client.clone())
    }

    /// Returns the same objects as [`Self::api`], in the encoding of the controllers.
    pub fn objects<K>(&self) -> Objects<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + WireObject,
    {
        Objects::new(self.api(), self.encoding)
    }

    /// Returns the same objects for the watch of a resource. The metrics of the watch record each response.
    pub fn watched<K>(&self, metrics: &WatchMetrics) -> Objects<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + WireObject,
    {
        Objects::new(self.api_of(metrics.pulse.recorded_by(self.client.clone())), self.encoding)
    }

    /// Returns the objects in this namespace, in the encoding of the controllers.
    pub fn objects_in<K>(&self, namespace: &str) -> Objects<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + WireObject,
    {
        Objects::new(self.namespaced(namespace), self.encoding)
    }

    /// Returns the API of a resource in the namespace of an object.
    pub fn namespaced<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn api_of<K>(&self, client: Client) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        }
    }

    /// Creates an object through the write gate, and returns the object that the API server stored. `owner` is the object
    /// whose sync creates it.
    ///
    /// # Errors
    /// The API server refused the object or did not answer, or the write gate is closed.
    pub async fn create<K>(&self, owner: &Identity, body: Encoded) -> Result<K, WriteError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + WireObject,
    {
        let objects = self.objects_in::<K>(&owner.namespace);
        self.write_gate.run_creation(&owner.uid, objects.create(&post_params(), body)).await
    }

    /// Records an event about an object. The event is written in the background.
    pub fn record_event(&self, api_version: &'static str, kind: &'static str, identity: &Identity, event: EventText) {
        self.recorder.publish(Regarding { api_version, kind, identity: identity.clone() }, event);
    }
}
