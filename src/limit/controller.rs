//! Watches JobLimits, and evaluates which Jobs are admitted whenever a Job or a limit changes.

use std::collections::HashSet;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::registry::{AdmissionRegistry, JobLookup};
use super::status::status;
use super::view::{LimitView, WireJobLimit};
use super::workload::Workload;
use super::write_kinds::STATUS;
use super::{API_VERSION, KIND};
use crate::job::admission::Admission;
use crate::job::controller::admission_control::{AdmissionControl, JobsHandle};
use crate::job::view::JobView;
use crate::runtime::cache::ChangedKey;
use crate::runtime::context::ControllerContext;
use crate::runtime::controller;
use crate::runtime::identity::Uid;
use crate::runtime::status_writer::{StatusResource, StatusWriter};
use crate::runtime::watch::{CacheEvent, CacheState, Synced, Watch, WatchMetrics};

/// The controller of JobLimits.
pub struct Controller {
    context: ControllerContext,
    /// The objects of the Job controller.
    jobs: JobsHandle,
    admissions: AdmissionRegistry,
    statuses: StatusWriter,
    synced: Synced,
    watched: WatchMetrics,
}

impl Controller {
    /// Creates a controller that neither watches nor evaluates yet.
    pub fn new(context: ControllerContext, jobs: JobsHandle) -> Self {
        Self {
            context,
            jobs,
            admissions: AdmissionRegistry::default(),
            statuses: StatusWriter::default(),
            synced: Synced::default(),
            watched: WatchMetrics::default(),
        }
    }

    /// Keeps the limits in step with the API server for as long as the future is polled.
    async fn watch_limits(&self) {
        let objects = self.context.watched(&self.watched);
        let watch: Watch<WireJobLimit, LimitView> =
            Watch { objects, label: None, parse: LimitView::parse, metrics: self.watched.clone() };
        let on_event = |event: CacheEvent<LimitView>| {
            let CacheEvent::Changed(change) = event else { return };
            if let Some(limit) = change.after.as_ref().or(change.before.as_ref()) {
                self.jobs.sync_all(self.admissions.limits_changed(&limit.identity.namespace, self));
                self.statuses.mark(&limit.identity.namespace);
            }
        };
        watch.feed(&self.admissions.limits, &self.synced, on_event).await;
    }

    /// Records that the usage of the limits of a namespace may have changed.
    fn mark_status(&self, namespace: &Arc<str>) {
        if !self.admissions.limits.is_empty() {
            self.statuses.mark(namespace);
        }
    }

    /// Writes the statuses of limits until the future is dropped.
    async fn write_statuses(&self) {
        let resource = StatusResource {
            controller: "joblimit",
            api_version: API_VERSION,
            kind: KIND,
            write: STATUS,
            cache: &self.admissions.limits,
            parse: LimitView::parse,
            generation: |limit: &LimitView| limit.generation,
        };
        let statuses = |namespaces: &HashSet<Arc<str>>| {
            let now = self.context.clock.now();
            let is_concerned = |limit: &LimitView| namespaces.contains(&limit.identity.namespace) && !limit.deleting;
            let limits = self.admissions.limits.all(is_concerned).into_iter();
            let changed = limits.filter_map(|limit| {
                let load = self.admissions.load(&limit.identity.namespace, &limit.identity.name);
                let status = status(&limit, &load, now)?;
                Some((limit, serde_json::to_value(status).ok()?))
            });
            changed.collect()
        };
        self.statuses.run(&self.context, &resource, statuses).await;
    }

    /// Evaluates the limits of a namespace whenever one of its Jobs changes.
    async fn run_admission(&self, mut changes: UnboundedReceiver<ChangedKey>) {
        while let Some(ChangedKey { uid, namespace, .. }) = changes.recv().await {
            self.jobs.sync_all(self.admissions.job_changed(&namespace, &uid, self));
            self.mark_status(&namespace);
        }
    }
}

impl controller::Controller for Controller {
    fn name(&self) -> &'static str {
        "joblimit"
    }

    fn watch(self: Arc<Self>, tasks: &mut JoinSet<()>) {
        tasks.spawn(async move { self.watch_limits().await });
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        self.synced.wait().boxed()
    }

    fn require_since(&self, since: Instant) {
        self.synced.require_since(since);
    }

    /// Does nothing: the Job controller begins the admission before its first sync.
    fn begin(self: Arc<Self>, _: &mut JoinSet<()>) {}

    fn end(&self) {}

    fn caches(&self) -> Vec<(&'static str, CacheState)> {
        vec![("joblimits", CacheState::of(&self.admissions.limits, self.synced.is_done(), &self.watched))]
    }

    fn queue_depth(&self) -> Option<usize> {
        None
    }
}

impl AdmissionControl for Controller {
    fn begin(self: Arc<Self>, tasks: &mut JoinSet<()>) {
        // The subscription comes first: each change from now on is evaluated again.
        let changes = self.jobs.jobs.subscribe();
        self.admissions.open(&*self);
        self.admissions.limits.all(|_| true).iter().for_each(|limit| self.statuses.mark(&limit.identity.namespace));
        tasks.spawn({
            let this = self.clone();
            async move { this.write_statuses().await }
        });
        tasks.spawn(async move { self.run_admission(changes).await });
    }

    fn admission(&self, job: &JobView, waits: bool) -> Option<(Arc<JobView>, Admission)> {
        let (job, admission, changed) =
            self.admissions.admission(&job.identity.namespace, &job.identity.uid, waits, self);
        self.jobs.sync_all(changed);
        self.mark_status(&job.as_ref()?.identity.namespace);
        Some((job?, admission))
    }
}

impl JobLookup for Controller {
    fn newest(&self, uid: &Uid) -> Option<Arc<JobView>> {
        self.jobs.jobs.get(uid)
    }

    fn workloads(&self, is_selected: &dyn Fn(&str) -> bool) -> Vec<(Arc<str>, Workload)> {
        let jobs = self.jobs.jobs.all(|job| is_selected(&job.identity.namespace));
        jobs.iter().filter_map(|job| Some((job.identity.namespace.clone(), self.workload(job, None)?))).collect()
    }

    fn workload(&self, job: &JobView, waits: Option<bool>) -> Option<Workload> {
        if !self.jobs.claims(job) {
            return None;
        }
        let active = || {
            let pods = self.jobs.pods.owned(&job.identity.uid, &job.identity.namespace);
            pods.iter().filter(|pod| pod.is_active()).count()
        };
        let waits = waits.unwrap_or_else(|| self.jobs.waits_for_jobs(job));
        Workload::of(job, waits, active)
    }
}
