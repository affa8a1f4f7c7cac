//! What every controller is built with.

use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};

use super::clock::Clock;
use super::events::Recorder;
use super::watch::WatchMetrics;
use super::worker::SyncMetrics;
use super::write_gate::WriteGate;

/// What every controller is built with.
#[derive(Clone)]
pub struct ControllerContext {
    /// The client of the API server. Its requests have deadlines, as in [`super::transport`].
    pub client: Client,
    /// The namespace to work in; none for all.
    pub namespace: Option<String>,
    /// The gate all writes go through.
    pub write_gate: Arc<WriteGate>,
    /// Where events go.
    pub recorder: Recorder,
    /// The time of day.
    pub clock: Clock,
    /// Where syncs are counted.
    pub syncs: SyncMetrics,
}

impl ControllerContext {
    /// A resource, in the namespace to work in or in all.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        self.api_of(self.client.clone())
    }

    /// The same resource for its watch: each answer is recorded among what is counted of the watch.
    pub fn watched_api<K>(&self, metrics: &WatchMetrics) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        self.api_of(metrics.pulse.recorded_by(self.client.clone()))
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
}
