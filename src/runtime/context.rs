//! Context that every controller is built with: client, write gate, events, clock and metrics.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::core::Request;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::clock::Clock;
use super::errors::WriteError;
use super::events::{EventText, Recorder, Regarding};
use super::identity::Identity;
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

    /// Returns the same API for the watch of a resource. The metrics of the watch record each response.
    pub fn watched_api<K>(&self, metrics: &WatchMetrics) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        self.api_of(metrics.pulse.recorded_by(self.client.clone()))
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

    /// Creates an object from its JSON, through the write gate, and returns the object that the API server stored.
    /// `owner` is the object whose sync creates it.
    ///
    /// # Errors
    /// The API server refused the object or did not answer, or the write gate is closed.
    pub async fn create<K>(&self, owner: &Identity, body: Vec<u8>) -> Result<K, WriteError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let create = async {
            let request = Request::new(K::url_path(&(), Some(&owner.namespace)));
            let request = request.create(&post_params(), body).map_err(kube::Error::BuildRequest)?;
            self.client.request::<K>(request).await
        };
        self.write_gate.run(&owner.uid, create).await
    }

    /// Records an event about an object. The event is written in the background.
    pub fn record_event(&self, api_version: &'static str, kind: &'static str, identity: &Identity, event: EventText) {
        self.recorder.publish(Regarding { api_version, kind, identity: identity.clone() }, event);
    }
}
