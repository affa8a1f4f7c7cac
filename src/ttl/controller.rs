//! Waits until the retention of each finished Job has passed, and deletes the Job.
//!
//! [`Controller`] is the entry point. The rules are in [`super::decide`]. Before a deletion, the Job and its namespace are
//! read from the API server.

use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use futures::future::BoxFuture;
use kube::api::PropagationPolicy;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::decide::{Rules, TtlDecision, decide, depends_on_namespace, depends_on_policy};
use super::namespaces::Namespaces;
use crate::job::controller::policy_source::{Concerned, Governing, PolicySource};
use crate::job::managed_by::Claim;
use crate::job::view::JobView;
use crate::job::view::retention::Retention;
use crate::job::wire::WireJob;
use crate::job::write_kinds::EXPIRE;
use crate::job::{API_VERSION, KIND};
use crate::runtime::cache::Cache;
use crate::runtime::context::ControllerContext;
use crate::runtime::controller;
use crate::runtime::errors::WriteError;
use crate::runtime::events::EventText;
use crate::runtime::identity::Uid;
use crate::runtime::queue::Queue;
use crate::runtime::refusals::{self, ObjectRefusals};
use crate::runtime::watch::CacheState;
use crate::runtime::worker::{Target, work};
use crate::runtime::write_gate::{delete_params, is_gone};

/// Name of the controller in metrics and logs.
const NAME: &str = "ttl";
/// Maximum number of Jobs that are deleted concurrently.
const WORKERS: usize = 8;

/// The TTL controller.
pub struct Controller {
    context: ControllerContext,
    /// Cache of all Jobs, which the Job controller feeds.
    jobs: Arc<Cache<JobView>>,
    metrics: TtlMetrics,
    claim: Claim,
    /// Retention of Jobs for which neither the Job nor its namespace sets one.
    default: Retention,
    /// None if the controllers work in one namespace: their permissions then do not include namespaces.
    namespaces: Option<Namespaces>,
    /// JobPolicies. Without them, no policy sets a retention.
    policies: OnceLock<Arc<dyn PolicySource>>,
    queue: Queue<Uid>,
    /// Deletions that the API server refused.
    refusals: ObjectRefusals,
}

/// Metrics of the TTL controller, with the names of the built-in controller.
#[derive(Clone)]
pub struct TtlMetrics {
    deletion: Histogram,
}

impl TtlMetrics {
    /// Registers the metrics.
    pub fn new(registry: &mut Registry) -> Self {
        let deletion = Histogram::new(exponential_buckets(0.1, 2.0, 14));
        registry.sub_registry_with_prefix("ttl_after_finished_controller").register(
            "job_deletion_duration_seconds",
            "Time between the end of the retention and the deletion of a Job",
            deletion.clone(),
        );
        Self { deletion }
    }
}

impl Controller {
    /// Creates a controller that neither watches nor works yet. The Job controller feeds `jobs`.
    pub fn new(
        context: ControllerContext,
        jobs: Arc<Cache<JobView>>,
        metrics: TtlMetrics,
        claim: Claim,
        default: Retention,
    ) -> Self {
        let namespaces = context.namespace.is_none().then(Namespaces::default);
        Self {
            context,
            jobs,
            metrics,
            claim,
            default,
            namespaces,
            policies: OnceLock::new(),
            queue: Queue::closed(),
            refusals: ObjectRefusals::default(),
        }
    }

    /// Sets the JobPolicies. The caller sets them before the controller begins to work.
    pub fn set_policies(&self, policies: Arc<dyn PolicySource>) {
        self.policies.get_or_init(|| policies);
    }

    /// Returns the retention that the policy that governs a Job sets.
    fn retention_of_policy(&self, job: &JobView) -> Retention {
        self.policies.get().map(|policies| retention(&policies.governing(job))).unwrap_or_default()
    }

    /// Reads the retention that the policy that governs a Job sets from the API server.
    async fn live_retention_of_policy(&self, job: &JobView) -> Result<Retention, WriteError> {
        match self.policies.get() {
            Some(policies) if depends_on_policy(job) => Ok(retention(&policies.governing_live(job).await?)),
            _ => Ok(Retention::default()),
        }
    }

    /// Queues the Jobs whose retention may have changed with a policy, until the future is dropped.
    async fn follow_policies(&self, changes: Option<UnboundedReceiver<Concerned>>) {
        let Some(mut changes) = changes else { return };
        while let Some(concerned) = changes.recv().await {
            let jobs = self.jobs.all(|job| job.status.is_finished() && concerned.includes(job));
            jobs.iter().for_each(|job| self.queue.add(job.identity.uid.clone()));
        }
    }

    /// Keeps the cache of namespaces in step with the API server for as long as the future is polled.
    async fn watch_namespaces(&self) {
        if let Some(namespaces) = &self.namespaces {
            namespaces.watch(self.context.client.clone(), |name| self.requeue(name)).await;
        }
    }

    /// Queues all Jobs of a namespace whose retention changed.
    fn requeue(&self, namespace: &str) {
        let concerned = self.jobs.all(|job| *job.identity.namespace == *namespace);
        concerned.iter().for_each(|job| self.queue.add(job.identity.uid.clone()));
    }

    /// Syncs all Jobs until the future is dropped.
    async fn work(&self) {
        self.refusals.clear();
        self.queue.open();
        let mut changes = self.jobs.subscribe();
        let policies = self.policies.get().map(|policies| policies.subscribe());
        self.jobs.all(|_| true).iter().for_each(|job| self.queue.add(job.identity.uid.clone()));
        let listen = async {
            while let Some(change) = changes.recv().await {
                self.queue.add(change.uid);
            }
        };
        let target = |uid: &Uid| Target {
            kind: KIND,
            uid: uid.clone(),
            identity: self.jobs.get(uid).map(|job| job.identity.clone()),
        };
        let sync = move |uid| async move { self.sync(&uid).await };
        let workers = (0..WORKERS).map(|_| work(&self.queue, NAME, &self.context.syncs, target, sync));
        let workers = futures::future::join_all(workers);
        tokio::join!(listen, workers, self.follow_policies(policies));
    }

    async fn sync(&self, uid: &Uid) -> Result<(), WriteError> {
        let Some(job) = self.jobs.get(uid) else {
            self.refusals.forget(uid);
            self.queue.cancel(uid);
            return Ok(());
        };
        let (namespace, name) = (&job.identity.namespace, &job.identity.name);
        if self.expired(&job, &self.retention_of_policy(&job), &self.known_retention(namespace)).is_none() {
            return Ok(());
        }
        let backed_off_until = self.refusals.of(uid, |refusals| {
            refusals.seen(job.generation);
            refusals.until(EXPIRE, None, self.context.clock.now())
        });
        if let Some(until) = backed_off_until {
            self.queue.add_at(uid.clone(), self.context.clock.instant_of(until));
            return Ok(());
        }
        // The Job and its namespace may have changed since: both can set the retention.
        let jobs = self.context.objects_in::<WireJob>(namespace);
        let fresh = jobs.get_opt(name).await?.and_then(JobView::parse).filter(|fresh| fresh.identity.uid == *uid);
        let Some(fresh) = fresh else { return Ok(()) };
        let of_policy = self.live_retention_of_policy(&fresh).await?;
        let of_namespace = match &self.namespaces {
            Some(namespaces) if depends_on_namespace(&fresh, &of_policy) => {
                let live = namespaces.read_live(self.context.client.clone(), namespace).await?;
                // The Jobs of a deleted namespace are deleted with it.
                let Some((live, changed)) = live else { return Ok(()) };
                if changed {
                    // The cache holds this change now, so the watch will not report it.
                    self.requeue(namespace);
                }
                live
            }
            _ => self.known_retention(namespace),
        };
        let Some(expired) = self.expired(&fresh, &of_policy, &of_namespace) else { return Ok(()) };
        let params = delete_params(uid, Some(PropagationPolicy::Foreground));
        match self.context.write_gate.run(uid, jobs.delete(name, &params)).await {
            Ok(_) => {
                tracing::info!(%namespace, %name, %uid, "deleted a finished Job");
                self.metrics.deletion.observe(self.context.clock.now().duration_since(expired).as_secs_f64());
                Ok(())
            }
            Err(error) => {
                if is_gone(&jobs, name, uid, &error).await? {
                    return Ok(());
                }
                Err(self.failed(&fresh, error))
            }
        }
    }

    /// Returns the retention of a namespace from the cache.
    fn known_retention(&self, namespace: &str) -> Retention {
        self.namespaces.as_ref().map(|namespaces| namespaces.of(namespace)).unwrap_or_default()
    }

    /// Records that a deletion failed, in an event on the Job and in the log. A refused deletion has its own back-off.
    fn failed(&self, job: &JobView, error: WriteError) -> WriteError {
        if error.is_gate_closed() || !error.is_refusal() {
            return error;
        }
        let identity = &job.identity;
        let event = refusals::event(EXPIRE, Some(&identity.name), &error);
        self.context.record_event(API_VERSION, KIND, identity, event);
        tracing::warn!(namespace = %identity.namespace, name = %identity.name, reason = EXPIRE.reason, %error, "a write failed");
        let now = self.context.clock.now();
        let wait = self.refusals.of(&identity.uid, |refusals| {
            refusals.seen(job.generation);
            refusals.refuse(EXPIRE, None, &error, now)
        });
        self.queue.add_at(identity.uid.clone(), tokio::time::Instant::now() + wait);
        WriteError::Deferred
    }

    /// Returns when the retention of a Job ended. If it ends later, the Job is queued for that time.
    fn expired(&self, job: &JobView, policy: &Retention, namespace: &Retention) -> Option<jiff::Timestamp> {
        if self.claim == Claim::ManagedBy && !self.claim.covers(job.spec.managed_by.as_deref()) {
            return None;
        }
        let rules = Rules { spec: self.claim == Claim::All, policy, namespace, controller: &self.default };
        self.record_parse_error(job, namespace);
        match decide(job, rules, self.context.clock.now()) {
            TtlDecision::Keep => None,
            TtlDecision::Wait(at) => {
                self.queue.add_at(job.identity.uid.clone(), self.context.clock.instant_of(at));
                None
            }
            TtlDecision::Delete(expired) => Some(expired),
        }
    }

    /// Records an event on a Job that is kept because its retention cannot be parsed.
    fn record_parse_error(&self, job: &JobView, namespace: &Retention) {
        let of_namespace =
            namespace.parse_error.as_ref().filter(|_| job.retention.is_empty() && job.spec.ttl.is_none());
        let (whose, parse_error) = match (&job.retention.parse_error, of_namespace) {
            (Some(parse_error), _) => ("", parse_error),
            (None, Some(parse_error)) => ("its namespace's ", parse_error),
            (None, None) => return,
        };
        if job.status.is_finished() && !job.deleting {
            let message = format!("{whose}{parse_error}; the Job is kept until this is fixed");
            let event = EventText::warning("InvalidRetention", message);
            self.context.record_event(API_VERSION, KIND, &job.identity, event);
        }
    }
}

/// Returns the retention that a policy sets. A Job that names a policy that does not exist is kept: the user meant to set
/// a time, and that time is unknown.
fn retention(governing: &Governing) -> Retention {
    match governing {
        Governing::Policy(rules) => rules.retention.clone(),
        Governing::Nothing => Retention::default(),
        Governing::Missing => {
            Retention { parse_error: Some("the JobPolicy does not exist".into()), ..Retention::default() }
        }
    }
}

impl controller::Controller for Controller {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watch(self: Arc<Self>, tasks: &mut JoinSet<()>) {
        tasks.spawn(async move { self.watch_namespaces().await });
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        let ready = async {
            if let Some(namespaces) = &self.namespaces {
                namespaces.ready().await;
            }
        };
        ready.boxed()
    }

    fn require_since(&self, since: Instant) {
        if let Some(namespaces) = &self.namespaces {
            namespaces.require_since(since);
        }
    }

    fn begin(self: Arc<Self>, tasks: &mut JoinSet<()>) {
        tasks.spawn(async move { self.work().await });
    }

    fn end(&self) {
        self.queue.close();
    }

    fn caches(&self) -> Vec<(&'static str, CacheState)> {
        self.namespaces.iter().map(|namespaces| ("namespaces", namespaces.cache())).collect()
    }

    /// Jobs whose time has not come are not counted.
    fn queue_depth(&self) -> Option<usize> {
        Some(self.queue.len())
    }

    fn remembered(&self) -> Vec<(&'static str, usize)> {
        vec![("times to live", self.queue.timers())]
    }
}
