//! The Job controller's metrics. They have the names, labels and buckets of the built-in controller's metrics, so that
//! existing dashboards continue to work. This module records what happened and takes part in no decision.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::decide::pod_failure_policy::policy_decision;
use super::decide::pod_replacement_policy::is_failed;
use super::decide::{CreationReason, Step};
use super::status::{COMPLETE, JobStatus};
use super::view::{JobView, PodView};
use super::workload::JobWorkload;
use crate::job::managed_by::{BUILTIN_MANAGED_BY, MANAGED_BY};
use crate::runtime::cache::Change;

type MetricLabels = Vec<(&'static str, Cow<'static, str>)>;
type Counters = Family<MetricLabels, Counter>;
type Histograms = Family<MetricLabels, Histogram, fn() -> Histogram>;

/// The value that replaces unknown values of a label whose values users or other controllers write.
const OTHER: &str = "other";
/// Maximum number of external controllers that are counted by name.
const EXTERNAL_NAMES: usize = 100;
/// The condition reasons with which Jobs finish.
const REASONS: [&str; 7] = [
    "CompletionsReached",
    "SuccessPolicy",
    "PodFailurePolicy",
    "BackoffLimitExceeded",
    "DeadlineExceeded",
    "MaxFailedIndexesExceeded",
    "FailedIndexes",
];

/// The Job controller's metrics.
#[derive(Clone)]
pub struct JobMetrics {
    sync_duration: Histograms,
    syncs: Counters,
    syncs_without_steps: Counter,
    finished: Counters,
    pods_finished: Counters,
    failures_by_policy: Counters,
    terminated_tracked: Counters,
    finished_indexes: Counters,
    pods_created: Counters,
    external: Counters,
    external_names: Arc<Mutex<BTreeSet<String>>>,
    stale_skips: Counters,
    workload: Option<JobWorkload>,
}

/// The result of one sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sync {
    stepped: bool,
    created: bool,
    deleted: bool,
    over: bool,
}

impl Sync {
    /// Records a step of the sync.
    pub fn note(&mut self, job: &JobView, step: &Step) {
        self.stepped = true;
        match step {
            Step::CreatePods { .. } => self.created = true,
            Step::DeletePods { uncounted: true, .. } => self.deleted = true,
            _ => {}
        }
        self.over |= job.deleting || job.status.has_outcome();
    }

    fn action(self) -> &'static str {
        match self {
            Self { created: true, .. } => "pods_created",
            Self { deleted: true, .. } => "pods_deleted",
            Self { over: true, .. } => "reconciling",
            _ => "tracking",
        }
    }
}

impl JobMetrics {
    /// Creates the metrics and registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let durations: fn() -> Histogram = || Histogram::new(exponential_buckets(0.004, 2.0, 15));
        let metrics = Self {
            sync_duration: Family::new_with_constructor(durations),
            syncs: Family::default(),
            syncs_without_steps: Counter::default(),
            finished: Family::default(),
            pods_finished: Family::default(),
            failures_by_policy: Family::default(),
            terminated_tracked: Family::default(),
            finished_indexes: Family::default(),
            pods_created: Family::default(),
            external: Family::default(),
            external_names: Arc::default(),
            stale_skips: Family::default(),
            workload: None,
        };
        for (group, resource) in [("batch", "jobs"), ("", "pods")] {
            metrics.stale_skips.get_or_create_owned(&vec![("group", group.into()), ("resource", resource.into())]);
        }
        let registry = registry.sub_registry_with_prefix("job_controller");
        let m = metrics.clone();
        registry.register("job_sync_duration_seconds", "Duration of the sync of a Job", m.sync_duration);
        let help = "Number of syncs of Jobs from which no write followed";
        registry.register("job_syncs_without_steps", help, m.syncs_without_steps);
        let counters = [
            ("job_syncs", "Number of syncs of Jobs", m.syncs),
            ("jobs_finished", "Number of Jobs that finished", m.finished),
            ("job_pods_finished", "Number of finished pods that are fully accounted for", m.pods_finished),
            (
                "pod_failures_handled_by_failure_policy",
                "Number of failed pods, by the action of the matching rule of podFailurePolicy",
                m.failures_by_policy,
            ),
            (
                "terminated_pods_tracking_finalizer",
                "Number of pods that finished with the tracking finalizer on them (add) or lost it after that (delete)",
                m.terminated_tracked,
            ),
            ("job_finished_indexes", "Number of indexes that succeeded or failed", m.finished_indexes),
            ("job_pods_creation", "Number of pod creations, by reason and result", m.pods_created),
            ("jobs_by_external_controller", "Number of Jobs that another controller manages", m.external),
            (
                "stale_sync_skips",
                "Number of syncs skipped because of a stale cache; always 0, since responses to writes update the cache",
                m.stale_skips,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter);
        }
        metrics
    }

    /// Returns the metrics with those about the Jobs of users.
    pub fn with_workload(self, workload: Option<JobWorkload>) -> Self {
        Self { workload, ..self }
    }

    /// Records a sync that has ended after this duration.
    pub fn synced(&self, job: &JobView, sync: Sync, well: bool, took: Duration) {
        let labels: MetricLabels = vec![
            ("completion_mode", mode(job)),
            ("result", if well { "success" } else { "error" }.into()),
            ("action", sync.action().into()),
        ];
        self.sync_duration.get_or_create(&labels).observe(took.as_secs_f64());
        self.syncs.get_or_create(&labels).inc();
        if !sync.stepped {
            self.syncs_without_steps.inc();
        }
    }

    /// Records that a new status was stored in place of the Job's current one.
    pub fn status_written(&self, job: &JobView, new: &JobStatus, now: Timestamp) {
        if let Some(workload) = &self.workload {
            workload.status_written(job, new, now);
        }
        let old = &job.status;
        let count = |counters: &Counters, labels: MetricLabels, more: i64| {
            if let Ok(more @ 1..) = u64::try_from(more) {
                counters.get_or_create(&labels).inc_by(more);
            }
        };
        let pods = |result: &'static str| vec![("completion_mode", mode(job)), ("result", result.into())];
        let mut succeeded = i64::from(new.succeeded) - i64::from(old.succeeded);
        if job.is_indexed() {
            let limit = if job.spec.backoff_limit_per_index.is_some() { "perIndex" } else { "global" };
            let indexes = |status: &'static str| vec![("status", status.into()), ("backoffLimit", limit.into())];
            succeeded = difference(new.completed_indexes.set.len(), old.completed_indexes.set.len());
            count(&self.finished_indexes, indexes("succeeded"), succeeded);
            let failed = |status: &JobStatus| status.failed_indexes.as_ref().map_or(0, |failed| failed.set.len());
            count(&self.finished_indexes, indexes("failed"), difference(failed(new), failed(old)));
        }
        count(&self.pods_finished, pods("succeeded"), succeeded);
        count(&self.pods_finished, pods("failed"), i64::from(new.failed) - i64::from(old.failed));
        if new.is_finished() && !old.is_finished() {
            let (result, condition) = match new.true_condition(COMPLETE) {
                Some(complete) => ("succeeded", Some(complete)),
                None => ("failed", new.true_condition(super::status::FAILED)),
            };
            let reason = known_reason(condition.map_or("", |condition| condition.reason.as_str()));
            let labels = vec![("completion_mode", mode(job)), ("result", result.into()), ("reason", reason.into())];
            self.finished.get_or_create(&labels).inc();
        }
    }

    /// Records that the controller removed the tracking finalizer of a pod.
    pub fn untracked(&self, job: &JobView, pod: &PodView) {
        let action = is_failed(job, pod).then(|| policy_decision(job, pod).action()).flatten();
        if let Some(action) = action {
            self.failures_by_policy.get_or_create(&vec![("action", action.name().into())]).inc();
        }
    }

    /// Records a change of a pod, whether this controller or another client made it.
    pub fn pod_changed(&self, change: &Change<PodView>) {
        let counts = |pod: &PodView| pod.tracked && pod.is_ended();
        let was = change.before.as_deref().is_some_and(counts);
        let is = change.after.as_deref().is_some_and(counts);
        if was != is {
            let event = if is { "add" } else { "delete" };
            self.terminated_tracked.get_or_create(&vec![("event", event.into())]).inc();
        }
    }

    /// Records an attempt to create a pod.
    pub fn pod_created(&self, reason: CreationReason, well: bool) {
        let reason = match reason {
            CreationReason::New => "new",
            CreationReason::Failed => "recreate_failed",
            CreationReason::TerminatingOrFailed => "recreate_terminating_or_failed",
        };
        let status = if well { "succeeded" } else { "failed" };
        self.pods_created.get_or_create(&vec![("reason", reason.into()), ("status", status.into())]).inc();
    }

    /// Records a Job that is new to the cache.
    pub fn job_added(&self, job: &JobView) {
        if let Some(name) =
            job.spec.managed_by.as_deref().filter(|name| ![MANAGED_BY, BUILTIN_MANAGED_BY].contains(name))
        {
            let name = self.external_name(name);
            self.external.get_or_create(&vec![("controller_name", name)]).inc();
        }
    }

    /// Returns the label value for a controller's name. The number of names is bounded: users write them, and the
    /// memory for a label value is never released.
    fn external_name(&self, name: &str) -> Cow<'static, str> {
        let mut names = self.external_names.lock();
        if !names.contains(name) {
            if names.len() >= EXTERNAL_NAMES {
                return OTHER.into();
            }
            names.insert(name.to_owned());
        }
        name.to_owned().into()
    }
}

/// Returns the label value for a condition's reason. The reasons of this controller and of the built-in one are known,
/// but another client can write any text.
pub(super) fn known_reason(reason: &str) -> &'static str {
    REASONS.iter().copied().find(|known| *known == reason).unwrap_or(OTHER)
}

fn mode(job: &JobView) -> Cow<'static, str> {
    if job.is_indexed() { "Indexed" } else { "NonIndexed" }.into()
}

fn difference(new: u64, old: u64) -> i64 {
    new.cast_signed().saturating_sub(old.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_with_values_of_users_have_a_bounded_number_of_values() {
        let metrics = JobMetrics::new(&mut Registry::default());
        let names: BTreeSet<_> = (0..1000).map(|n| metrics.external_name(&format!("example.com/{n}"))).collect();
        assert_eq!(names.len(), EXTERNAL_NAMES + 1);
        assert_eq!(metrics.external_name("example.com/0"), "example.com/0", "a known controller keeps its name");
        assert_eq!(metrics.external_name("example.com/999"), OTHER);
        assert_eq!((known_reason("DeadlineExceeded"), known_reason("Forged")), ("DeadlineExceeded", OTHER));
    }
}
