//! Metrics about the Jobs of users, by namespace: failures, the time until pods start, and Jobs that are stuck or wait.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::controller::admission_control::JobsHandle;
use super::metrics::known_reason;
use super::status::{FAILED, JobStatus};
use super::view::{JobView, Phase, PodView};
use crate::runtime::identity::Uid;
use crate::runtime::maps::{FastMap, FastSet};
use crate::runtime::metric_scope::MetricScope;

/// Number of restarts from which on a pod that is not ready counts as one in a crash loop: the kubelet then waits at
/// least 40 s before the next start.
const CRASHES: i64 = 3;
/// Maximum number of Jobs that are remembered as started while none of their pods is ready.
const MAX_UNREADY: usize = 10_000;

type Labels = Vec<(&'static str, Cow<'static, str>)>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// Metrics about the Jobs of users.
#[derive(Clone)]
pub struct JobWorkload {
    scope: MetricScope,
    failed: Family<Labels, Counter>,
    first_pod: Histograms,
    start: Histograms,
    /// Jobs that have started and whose status does not show it any more: their only pod is not ready, or they were
    /// suspended.
    unready: Arc<Mutex<FastSet<Uid>>>,
}

impl JobWorkload {
    /// Creates the metrics and registers them.
    pub fn new(registry: &mut Registry, scope: MetricScope) -> Self {
        // From a tenth of a second to about 55 minutes.
        let durations: fn() -> Histogram = || Histogram::new(exponential_buckets(0.1, 2.0, 16));
        let metrics = Self {
            scope,
            failed: Family::default(),
            first_pod: Family::new_with_constructor(durations),
            start: Family::new_with_constructor(durations),
            unready: Arc::default(),
        };
        let registry = registry.sub_registry_with_prefix("jobwright");
        let m = metrics.clone();
        registry.register("jobs_failed", "Number of Jobs that failed, by namespace and reason", m.failed);
        let help = "Time from the creation of a Job until it had its first active pod";
        registry.register("job_first_pod_duration_seconds", help, m.first_pod);
        let help = "Time from the creation of a Job until its first pod was ready or had ended";
        registry.register("job_start_duration_seconds", help, m.start);
        metrics
    }

    /// Records that a new status was stored in place of the Job's current one.
    pub fn status_written(&self, job: &JobView, new: &JobStatus, now: Timestamp) {
        let Some(namespace) = self.scope.label(&job.identity.namespace) else { return };
        let labels = vec![("namespace", namespace)];
        let age = now.duration_since(job.admission_info.created).as_secs_f64().max(0.0);
        let old = &job.status;
        if has_pods(new) && !has_pods(old) {
            self.first_pod.get_or_create(&labels).observe(age);
        }
        if self.starts(&job.identity.uid, old, new) {
            self.start.get_or_create(&labels).observe(age);
        }
        if let Some(failed) = new.true_condition(FAILED).filter(|_| !old.is_finished()) {
            let labels = [labels, vec![("reason", known_reason(&failed.reason).into())]].concat();
            self.failed.get_or_create(&labels).inc();
        }
    }
}

impl JobWorkload {
    /// Returns whether a Job starts with its new status, for the first time. A pod that is not ready for a while, such as
    /// one with a restarted container, does not make its Job start again.
    fn starts(&self, job: &Uid, old: &JobStatus, new: &JobStatus) -> bool {
        let (before, after) = (has_started(old), has_started(new));
        if before == after && !new.is_finished() {
            return false;
        }
        let mut unready = self.unready.lock();
        if before && !after {
            if unready.len() >= MAX_UNREADY {
                // The entries of deleted Jobs stay until then.
                unready.clear();
            }
            unready.insert(job.clone());
            return false;
        }
        let was_unready = unready.remove(job);
        after && !before && !was_unready
    }
}

fn has_pods(status: &JobStatus) -> bool {
    status.active > 0 || has_started(status)
}

fn has_started(status: &JobStatus) -> bool {
    status.ready.is_some_and(|ready| ready > 0)
        || status.succeeded > 0
        || status.failed > 0
        || !status.uncounted.is_empty()
}

/// Why a Job has no running pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StuckCause {
    /// The image cannot be pulled.
    Image,
    /// A container cannot be created: a missing Secret, ConfigMap, key or mount.
    Config,
    /// A container ends again and again, and the kubelet waits before it restarts it.
    CrashLoop,
    /// No node fits the pod.
    Unschedulable,
    /// The pod does not start for another reason.
    Pending,
    /// There is no active pod, as if the API server refuses them.
    NoPods,
}

impl StuckCause {
    /// All causes.
    pub const ALL: [Self; 6] =
        [Self::Image, Self::Config, Self::CrashLoop, Self::Unschedulable, Self::Pending, Self::NoPods];

    /// Returns the label value.
    pub fn label(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Config => "config",
            Self::CrashLoop => "crash_loop",
            Self::Unschedulable => "unschedulable",
            Self::Pending => "pending",
            Self::NoPods => "no_pods",
        }
    }

    fn of(pod: &PodView) -> Option<Self> {
        let Some(cause) = &pod.cause else {
            return (!is_running(pod)).then_some(if pod.scheduled { Self::Pending } else { Self::Unschedulable });
        };
        Some(match &*cause.reason {
            "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "RegistryUnavailable"
            | "ImageInspectError"
            | "SignatureValidationFailed" => Self::Image,
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => Self::Config,
            "CrashLoopBackOff" => Self::CrashLoop,
            _ if !pod.scheduled => Self::Unschedulable,
            // The cause of a restarted container is its last failure, also while the kubelet waits before the next start.
            // A container that runs is ready, unless a probe fails.
            _ if is_running(pod) && pod.ready_since.is_none() && pod.restarts >= CRASHES => Self::CrashLoop,
            _ if is_running(pod) => return None,
            _ => Self::Pending,
        })
    }
}

fn is_running(pod: &PodView) -> bool {
    pod.phase == Phase::Running
}

/// Returns why a Job is stuck, and since when: none of its active pods runs, or it has none. `idle` is the time from which
/// on it has no active pod.
fn stuck(job: &JobView, pods: &[Arc<PodView>], idle: Timestamp) -> Option<(StuckCause, Timestamp)> {
    let active = || pods.iter().filter(|pod| pod.is_active());
    // The newest pod: a pod that ends and is followed by another one is progress.
    let Some(newest) = active().map(|pod| pod.created).max() else { return Some((StuckCause::NoPods, idle)) };
    let since = newest.max(job.status.start_time.unwrap_or(newest));
    // One pod without a cause is one that runs.
    let causes: Option<Vec<StuckCause>> = active().map(|pod| StuckCause::of(pod)).collect();
    Some((causes?.into_iter().min()?, since))
}

/// Returns whether a Job waits for limits, and has not started.
fn is_waiting(job: &JobView) -> bool {
    job.admission_info.published_waiting.is_some() && job.status.start_time.is_none()
}

/// Returns whether a Job can be stuck, by its own fields alone.
fn can_be_stuck(job: &JobView) -> bool {
    let has_ready_pods = job.status.ready.is_some_and(|ready| ready > 0);
    let is_ending = job.status.has_outcome() || job.status.is_finished() || job.deleting;
    !(is_ending || job.spec.suspend || is_waiting(job) || has_ready_pods)
}

/// Jobs by namespace that need attention.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attention {
    /// Number of stuck Jobs, by namespace and cause.
    pub stuck: BTreeMap<(Arc<str>, StuckCause), i64>,
    /// Number of Jobs that wait for limits, by namespace.
    pub waiting: BTreeMap<Arc<str>, i64>,
}

/// Jobs that had no active pod when they were last looked at, with the time since which they have had none.
pub type Idle = FastMap<Uid, Timestamp>;

/// Returns the Jobs of the controller that need attention. Jobs are stuck once nothing has changed for `stuck_after`.
pub fn attention(
    handle: &JobsHandle,
    scope: &MetricScope,
    idle: &mut Idle,
    now: Timestamp,
    stuck_after: Duration,
) -> Attention {
    let mut attention = Attention::default();
    let mut still_idle = Idle::default();
    let is_candidate = |job: &JobView| {
        !job.status.is_finished()
            && (job.admission_info.published_waiting.is_some() || can_be_stuck(job))
            && scope.contains(&job.identity.namespace)
            && handle.claims(job)
    };
    for job in handle.jobs.all(is_candidate) {
        let namespace = job.identity.namespace.clone();
        if !can_be_stuck(&job) {
            *attention.waiting.entry(namespace).or_default() += i64::from(is_waiting(&job));
            continue;
        }
        let pods = handle.pods.owned(&job.identity.uid, &namespace);
        let uid = &job.identity.uid;
        let Some((cause, since)) = stuck(&job, &pods, idle.get(uid).copied().unwrap_or(now)) else { continue };
        if cause == StuckCause::NoPods {
            still_idle.insert(uid.clone(), since);
        }
        if since <= now && now.duration_since(since).unsigned_abs() >= stuck_after {
            *attention.stuck.entry((namespace, cause)).or_default() += 1;
        }
    }
    *idle = still_idle;
    attention
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::decide::fixtures::{Job, Pod, pod, time, views};
    use crate::job::view::cause::Cause;

    fn because(pod: Pod, reason: &str) -> Pod {
        pod.cause(Cause { reason: reason.to_owned(), ..Cause::default() })
    }

    #[test]
    fn job_without_a_running_pod_is_stuck_by_the_cause_of_its_pods() {
        let job = Job::new().started(100);
        let stuck = |pods: &[Pod]| stuck(&job.view, &views(pods), time(500));
        let waiting = |reason: &str| stuck(&[because(pod("a").with(|pod| pod.created = time(200)), reason)]);
        for (reason, cause) in [
            ("ImagePullBackOff", StuckCause::Image),
            ("InvalidImageName", StuckCause::Image),
            ("CreateContainerConfigError", StuckCause::Config),
            ("CrashLoopBackOff", StuckCause::CrashLoop),
            ("Unknown", StuckCause::Pending),
        ] {
            assert_eq!(waiting(reason), Some((cause, time(200))), "{reason}");
        }
        assert_eq!(stuck(&[]), Some((StuckCause::NoPods, time(500))));
        assert_eq!(stuck(&[pod("a").succeeded(300)]), Some((StuckCause::NoPods, time(500))));
        assert_eq!(stuck(&[pod("a")]), Some((StuckCause::Pending, time(100))), "since the start of the Job");
        assert_eq!(stuck(&[because(pod("a").unscheduled(), "Unschedulable")]).unwrap().0, StuckCause::Unschedulable);
        assert_eq!(stuck(&[pod("a"), pod("b").running(50)]), None);
        let both = [because(pod("a"), "ImagePullBackOff"), pod("b").unscheduled()];
        assert_eq!(stuck(&both).unwrap().0, StuckCause::Image, "the cause that a user can fix comes first");
        let restarted = because(pod("a").running(50), "Error");
        assert_eq!(stuck(&[restarted]), None, "a container that was restarted runs");
        let crashed = |restarts: i64, ready: Option<i64>| {
            let pod = because(pod("a").running(50), "Error");
            let pod = pod.with(|pod| (pod.restarts, pod.ready_since) = (restarts, ready.map(time)));
            stuck(&[pod]).map(|(cause, _)| cause)
        };
        assert_eq!(crashed(3, None), Some(StuckCause::CrashLoop), "the kubelet reports the last failure as the cause");
        assert_eq!((crashed(3, Some(400)), crashed(2, None)), (None, None));
        assert_eq!(StuckCause::ALL.map(StuckCause::label).len(), 6);
    }

    #[test]
    fn finished_suspended_and_waiting_jobs_are_not_stuck() {
        assert!(can_be_stuck(&Job::new().started(1).view));
        let others = [
            Job::new().condition("Complete"),
            Job::new().condition("FailureTarget"),
            Job::new().suspend(true),
            Job::new().deleting(),
            Job::new().with(|job| job.status.ready = Some(1)),
            Job::new().with(|job| job.admission_info.published_waiting = Some(Box::default())),
        ];
        for job in others {
            assert!(!can_be_stuck(&job.view), "{:?}", job.view.status);
        }
    }

    #[test]
    fn job_starts_once_even_if_its_pod_is_not_ready_for_a_while() {
        let workload = JobWorkload::new(&mut Registry::default(), MetricScope::default());
        let uid = Uid::from("j");
        let ready = |ready: i32| JobStatus { active: 1, ready: Some(ready), ..JobStatus::default() };
        let starts = |old: &JobStatus, new: &JobStatus| workload.starts(&uid, old, new);
        assert!(!starts(&ready(0), &ready(0)) && starts(&ready(0), &ready(1)));
        assert!(!starts(&ready(1), &ready(0)) && !starts(&ready(0), &ready(1)), "the pod was not ready for a while");
        assert!(!starts(&ready(1), &ready(0)));
        let failed = JobStatus { failed: 1, ..Job::new().condition("Failed").view.status };
        assert!(!starts(&ready(0), &failed), "the end of a Job that had started");
        assert!(workload.unready.lock().is_empty());
    }

    #[test]
    fn first_pods_and_the_start_are_observed_once() {
        let old = |active: i32, ready: Option<i32>| JobStatus { active, ready, ..JobStatus::default() };
        let cases = [
            (old(0, None), false, false),
            (old(2, Some(0)), true, false),
            (old(2, Some(1)), true, true),
            (JobStatus { succeeded: 1, ..JobStatus::default() }, true, true),
        ];
        for (status, pods, started) in cases {
            assert_eq!((has_pods(&status), has_started(&status)), (pods, started), "{status:?}");
        }
    }
}
