//! Writes the status of JobPolicies: at most once a second, and only where it changes.

use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use kube::api::Patch;
use parking_lot::Mutex;
use serde_json::json;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::Notify;

use super::status::status;
use super::view::{PolicyView, WireJobPolicy};
use super::write_kinds::STATUS;
use super::{API_VERSION, KIND};
use crate::runtime::cache::{Cache, Source};
use crate::runtime::context::ControllerContext;
use crate::runtime::errors::WriteError;
use crate::runtime::refusals::{self, ObjectRefusals};
use crate::runtime::write_gate::patch_params;

/// Shortest time between two writes of one status.
const INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of concurrent writes.
const MAX_CONCURRENT_WRITES: usize = 8;

/// Namespaces whose Jobs or policies have changed since the statuses were written.
#[derive(Debug, Default)]
pub struct StatusWriter {
    changed: Mutex<HashSet<Arc<str>>>,
    wake: Notify,
    refusals: ObjectRefusals,
}

impl StatusWriter {
    /// Records that a Job or a policy of a namespace has changed.
    pub fn mark(&self, namespace: &Arc<str>) {
        let mut changed = self.changed.lock();
        if !changed.contains(namespace) {
            changed.insert(namespace.clone());
            self.wake.notify_one();
        }
    }

    /// Writes the statuses of policies in changed namespaces until the future is dropped. `counts` returns the policies
    /// whose number of Jobs may have changed, with that number.
    pub async fn run(
        &self,
        context: &ControllerContext,
        policies: &Cache<PolicyView>,
        counts: impl Fn(&HashSet<Arc<str>>) -> Vec<(Arc<PolicyView>, usize)>,
    ) {
        self.refusals.clear();
        loop {
            self.wake.notified().await;
            let changed = std::mem::take(&mut *self.changed.lock());
            stream::iter(counts(&changed))
                .for_each_concurrent(MAX_CONCURRENT_WRITES, |(policy, governed)| async move {
                    if self.write(context, policies, &policy, governed).await.is_err() {
                        self.mark(&policy.identity.namespace);
                    }
                })
                .await;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn write(
        &self,
        context: &ControllerContext,
        policies: &Cache<PolicyView>,
        policy: &PolicyView,
        governed: usize,
    ) -> Result<(), WriteError> {
        let identity = &policy.identity;
        let now = context.clock.now();
        let Some(status) = status(policy, governed, now).filter(|_| !policy.deleting) else { return Ok(()) };
        let is_backed_off = self.refusals.of(&identity.uid, |refusals| {
            refusals.seen(policy.generation);
            refusals.is_backed_off(STATUS, None, now)
        });
        if is_backed_off {
            return Err(WriteError::Deferred);
        }
        let patch = json!({
            "metadata": {"uid": identity.uid, "resourceVersion": identity.resource_version.to_string()},
            "status": status,
        });
        let api = context.namespaced::<WireJobPolicy>(&identity.namespace);
        let patch = Patch::Merge(&patch);
        match context.write_gate.run(&identity.uid, api.patch_status(&identity.name, &patch_params(), &patch)).await {
            Ok(written) => {
                self.refusals.forget(&identity.uid);
                if let Some(written) = PolicyView::parse(written) {
                    policies.apply(written, Source::Answer);
                }
                Ok(())
            }
            Err(error) if error.is_gate_closed() => Err(error),
            Err(error) => {
                let known = policies.get(&identity.uid);
                let is_newest = known.is_some_and(|known| known.identity.resource_version == identity.resource_version);
                if (error.is_conflict() || error.is_not_found()) && !is_newest {
                    // The watch has delivered the newer version, or the deletion.
                    return Ok(());
                }
                if error.is_refusal() {
                    context.record_event(API_VERSION, KIND, identity, refusals::event(STATUS, None, &error));
                }
                tracing::warn!(controller = "jobpolicy", namespace = %identity.namespace, name = %identity.name, reason = STATUS.reason, %error, "a write failed");
                self.refusals.of(&identity.uid, |refusals| refusals.refuse(STATUS, None, &error, now));
                Err(error)
            }
        }
    }
}
