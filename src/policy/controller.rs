//! Watches JobPolicies, and answers which of them governs a Job.

use std::collections::HashSet;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use kube::api::ListParams;
use parking_lot::Mutex;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::select::{Choice, choose};
use super::status::status;
use super::view::{PolicyView, WireJobPolicy};
use super::write_kinds::STATUS;
use super::{API_VERSION, KIND};
use crate::job::controller::admission_control::JobsHandle;
use crate::job::controller::policy_source::{Concerned, Governing, PolicySource};
use crate::job::view::JobView;
use crate::runtime::cache::{Cache, Change, ChangedKey};
use crate::runtime::context::ControllerContext;
use crate::runtime::controller;
use crate::runtime::identity::Uid;
use crate::runtime::maps::FastMap;
use crate::runtime::status_writer::{StatusResource, StatusWriter};
use crate::runtime::watch::{CacheEvent, CacheState, Synced, Watch, WatchMetrics};

/// Name of the controller in metrics and logs.
const NAME: &str = "jobpolicy";

/// Name of a policy: namespace and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyName {
    /// Namespace of the policy.
    pub namespace: String,
    /// Name of the policy.
    pub name: String,
}

impl std::str::FromStr for PolicyName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err("write NAMESPACE/NAME, the namespace and the name of a JobPolicy".to_owned()),
        }
    }
}

/// The controller of JobPolicies.
pub struct Controller {
    context: ControllerContext,
    /// The objects of the Job controller.
    jobs: JobsHandle,
    policies: Cache<PolicyView>,
    /// Policy that governs the Jobs that no policy of their namespace selects.
    default: Option<PolicyName>,
    statuses: StatusWriter,
    listeners: Mutex<Vec<UnboundedSender<Concerned>>>,
    synced: Synced,
    watched: WatchMetrics,
}

impl Controller {
    /// Creates a controller that neither watches nor writes yet.
    pub fn new(context: ControllerContext, jobs: JobsHandle, default: Option<PolicyName>) -> Self {
        Self {
            context,
            jobs,
            policies: Cache::default(),
            default,
            statuses: StatusWriter::default(),
            listeners: Mutex::default(),
            synced: Synced::default(),
            watched: WatchMetrics::default(),
        }
    }

    /// Keeps the policies in step with the API server for as long as the future is polled.
    async fn watch_policies(&self) {
        let objects = self.context.watched(&self.watched);
        let watch: Watch<WireJobPolicy, PolicyView> =
            Watch { objects, label: None, parse: PolicyView::parse, metrics: self.watched.clone() };
        let on_event = |event: CacheEvent<PolicyView>| {
            if let CacheEvent::Changed(change) = event {
                self.policy_changed(&change);
            }
        };
        watch.feed(&self.policies, &self.synced, on_event).await;
    }

    fn policy_changed(&self, change: &Change<PolicyView>) {
        let Some(policy) = change.after.as_ref().or(change.before.as_ref()) else { return };
        self.statuses.mark(&policy.identity.namespace);
        if let (Some(before), Some(after)) = (&change.before, &change.after)
            && before.governs_as(after)
        {
            return;
        }
        let concerned = if self.is_default(policy) {
            Concerned::Cluster
        } else {
            Concerned::Namespace(policy.identity.namespace.clone())
        };
        let unfinished = self.jobs.jobs.all(|job| concerned.includes(job) && !job.status.is_finished());
        self.jobs.sync_all(unfinished.iter().map(|job| job.identity.uid.clone()).collect());
        self.listeners.lock().retain(|listener| listener.send(concerned.clone()).is_ok());
    }

    fn is_default(&self, policy: &PolicyView) -> bool {
        let identity = &policy.identity;
        self.default
            .as_ref()
            .is_some_and(|default| *default.namespace == *identity.namespace && *default.name == *identity.name)
    }

    /// Returns the default policy, if it is valid.
    fn default_policy(&self) -> Option<Arc<PolicyView>> {
        let default = self.default.as_ref()?;
        let namespace: Arc<str> = default.namespace.as_str().into();
        let found = self.policies.orphans(&namespace, |policy| *policy.identity.name == *default.name);
        found.into_iter().next().filter(|policy| policy.rules.is_some())
    }

    fn choose(&self, job: &JobView) -> Choice {
        self.choose_from(&self.policies.orphans(&job.identity.namespace, |_| true), job)
    }

    /// Chooses the policy of a Job from the policies of its namespace and the default policy.
    fn choose_from(&self, policies: &[Arc<PolicyView>], job: &JobView) -> Choice {
        match choose(policies, &job.admission_info.labels, job.named_policy.as_deref()) {
            Choice::Nothing => self.default_policy().map_or(Choice::Nothing, Choice::Policy),
            chosen => chosen,
        }
    }

    /// Marks the statuses of the policies that may govern a changed Job, until the future is dropped.
    async fn follow_jobs(&self, mut changes: UnboundedReceiver<ChangedKey>) {
        while let Some(ChangedKey { namespace, .. }) = changes.recv().await {
            if !self.policies.is_empty() {
                self.statuses.mark(&namespace);
            }
        }
    }

    /// Writes the statuses of policies until the future is dropped.
    async fn write_statuses(&self) {
        let resource = StatusResource {
            controller: NAME,
            api_version: API_VERSION,
            kind: KIND,
            write: STATUS,
            cache: &self.policies,
            parse: PolicyView::parse,
            generation: |policy: &PolicyView| policy.generation,
        };
        let statuses = |namespaces: &HashSet<Arc<str>>| {
            let now = self.context.clock.now();
            let counts = self.counts(namespaces).into_iter().filter(|(policy, _)| !policy.deleting);
            let changed = counts.filter_map(|(policy, governed)| {
                let status = status(&policy, governed, now)?;
                Some((policy, serde_json::to_value(status).ok()?))
            });
            changed.collect()
        };
        self.statuses.run(&self.context, &resource, statuses).await;
    }

    /// Returns the policies that can govern Jobs of these namespaces, with the number of unfinished Jobs that each governs.
    fn counts(&self, namespaces: &HashSet<Arc<str>>) -> Vec<(Arc<PolicyView>, usize)> {
        let default = self.default_policy();
        let mut governed: FastMap<Uid, usize> = FastMap::default();
        let is_counted = |job: &JobView| {
            (default.is_some() || namespaces.contains(&job.identity.namespace))
                && !job.status.is_finished()
                && self.jobs.claims(job)
        };
        for job in self.jobs.jobs.all(is_counted) {
            if let Choice::Policy(policy) = self.choose(&job) {
                *governed.entry(policy.identity.uid.clone()).or_default() += 1;
            }
        }
        let is_concerned =
            |policy: &PolicyView| namespaces.contains(&policy.identity.namespace) || self.is_default(policy);
        let policies = self.policies.all(is_concerned).into_iter();
        policies
            .map(|policy| (policy.clone(), governed.get(&policy.identity.uid).copied().unwrap_or_default()))
            .collect()
    }
}

fn governing(job: &JobView, choice: &Choice) -> Governing {
    match choice {
        Choice::Nothing => Governing::Nothing,
        Choice::Missing => Governing::Missing,
        Choice::Policy(policy) => {
            let is_own = policy.identity.namespace == job.identity.namespace;
            let rules = if is_own { &policy.rules } else { &policy.cluster_rules };
            rules.clone().map_or(Governing::Nothing, Governing::Policy)
        }
    }
}

impl PolicySource for Controller {
    fn governing(&self, job: &JobView) -> Governing {
        if self.policies.is_empty() && job.named_policy.is_none() {
            return Governing::Nothing;
        }
        governing(job, &self.choose(job))
    }

    fn governing_live<'a>(&'a self, job: &'a JobView) -> BoxFuture<'a, kube::Result<Governing>> {
        let live = async {
            let api = self.context.namespaced::<WireJobPolicy>(&job.identity.namespace);
            let found = api.list(&ListParams::default()).await?.items;
            let policies: Vec<_> = found.into_iter().filter_map(PolicyView::parse).map(Arc::new).collect();
            Ok(governing(job, &self.choose_from(&policies, job)))
        };
        live.boxed()
    }

    fn subscribe(&self) -> UnboundedReceiver<Concerned> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.listeners.lock().push(sender);
        receiver
    }
}

impl controller::Controller for Controller {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watch(self: Arc<Self>, tasks: &mut JoinSet<()>) {
        tasks.spawn(async move { self.watch_policies().await });
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        self.synced.wait().boxed()
    }

    fn require_since(&self, since: Instant) {
        self.synced.require_since(since);
    }

    fn begin(self: Arc<Self>, tasks: &mut JoinSet<()>) {
        let changes = self.jobs.jobs.subscribe();
        self.policies.all(|_| true).iter().for_each(|policy| self.statuses.mark(&policy.identity.namespace));
        tasks.spawn({
            let this = self.clone();
            async move { this.write_statuses().await }
        });
        tasks.spawn(async move { self.follow_jobs(changes).await });
    }

    fn end(&self) {}

    fn caches(&self) -> Vec<(&'static str, CacheState)> {
        vec![("jobpolicies", CacheState::of(&self.policies, self.synced.is_done(), &self.watched))]
    }

    fn queue_depth(&self) -> Option<usize> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::PolicyName;

    #[test]
    fn default_policy_has_a_namespace_and_a_name() {
        let parsed: PolicyName = "batch/strict".parse().unwrap();
        assert_eq!((&*parsed.namespace, &*parsed.name), ("batch", "strict"));
        for text in ["", "strict", "/strict", "batch/", "a/b/c"] {
            assert!(text.parse::<PolicyName>().is_err(), "{text:?}");
        }
    }
}
