//! Rules of the JobPolicy that governs a Job. They go beyond the API of a Job, and apply only where a JobPolicy sets them.

use std::sync::Arc;
use std::time::Duration;

use super::view::retention::Retention;
use super::view::start::{StartAction, StartCause};

/// Annotation of a Job that names the JobPolicy that governs it.
pub const POLICY_ANNOTATION: &str = "jobwright.dev/policy";

/// Rules of the JobPolicy that governs a Job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyRules {
    /// Name of the JobPolicy, or namespace and name of the default policy of the cluster, as the annotation of a governed
    /// Job has it.
    pub name: Arc<str>,
    /// Maximum times for which pods may wait for their start.
    pub start: StartDeadlines,
    /// Maximum time without progress.
    pub progress: Option<ProgressDeadline>,
    /// Maximum time from the start of the first pod to the end of the Job.
    pub running: Option<Duration>,
    /// How long finished Jobs are kept.
    pub retention: Retention,
    /// Number of last lines of the log that are stored with a Job that fails.
    pub log_tail: Option<u32>,
    /// Whether the pod back-off is a random part of its full length.
    pub jitter: bool,
    /// Maximum number of failed pods that all Jobs that the policy governs replace in a minute.
    pub retries_per_minute: Option<usize>,
    /// How much more memory a container gets after it exceeded its memory. The first rule for the container applies.
    pub memory: Vec<MemoryRule>,
    /// How much longer a pod may run after one exceeded its `activeDeadlineSeconds`.
    pub pod_deadline: Option<DeadlineRule>,
}

/// How much longer a pod may run after one exceeded its `activeDeadlineSeconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadlineRule {
    /// Deadline of the next pod, in percent of that of the failed one. More than 100.
    pub percent: u32,
    /// Maximum deadline in seconds.
    pub max: u32,
}

impl DeadlineRule {
    /// Returns the deadline after this one, in seconds: never less, and at most the maximum.
    pub fn raised(self, seconds: u32) -> u32 {
        let raised = (u64::from(seconds) * u64::from(self.percent)).div_ceil(100);
        u32::try_from(raised).unwrap_or(u32::MAX).min(self.max).max(seconds)
    }
}

/// How much more memory a container gets after it exceeded its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryRule {
    /// Name of the container; none for all.
    pub container: Option<Box<str>>,
    /// Memory of the next pod, in percent of the memory of the failed one. More than 100.
    pub percent: u32,
    /// Maximum memory in bytes.
    pub max: u64,
}

impl MemoryRule {
    /// Returns the size after this one: never less, and at most the maximum. It is a multiple of 1 MiB, unless that exceeds
    /// the maximum.
    pub fn raised(&self, size: u64) -> u64 {
        const MI: u128 = 1 << 20;
        let raised = (u128::from(size) * u128::from(self.percent)).div_ceil(100).div_ceil(MI) * MI;
        u64::try_from(raised).unwrap_or(u64::MAX).min(self.max).max(size)
    }

    /// Returns about the size before this one.
    pub fn before(&self, size: u64) -> u64 {
        let before = u128::from(size) * 100 / u128::from(self.percent.max(100));
        u64::try_from(before).unwrap_or(size)
    }
}

/// Maximum times for which pods may wait for their start, by the cause why they wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartDeadlines {
    /// The image of a container cannot be pulled.
    pub image: Option<StartDeadline>,
    /// The configuration of the pod cannot be used, such as a ConfigMap that does not exist.
    pub config: Option<StartDeadline>,
    /// No node has room for the pod.
    pub unschedulable: Option<StartDeadline>,
    /// The API server refuses to create pods.
    pub admission: Option<StartDeadline>,
    /// Any other cause.
    pub other: Option<StartDeadline>,
}

/// Maximum time for which a pod may wait for its start, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartDeadline {
    /// Maximum time for which the cause may hold without interruption.
    pub after: Duration,
    /// What follows.
    pub action: StartAction,
}

/// Maximum time without progress, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgressDeadline {
    /// Maximum time.
    pub after: Duration,
    /// Whether the Job fails. Otherwise, the controller reports that the Job makes no progress.
    pub fails: bool,
}

impl StartDeadlines {
    /// Returns the deadline for a cause.
    pub fn of(&self, cause: StartCause) -> Option<StartDeadline> {
        match cause {
            StartCause::Image => self.image,
            StartCause::Config => self.config,
            StartCause::Unschedulable => self.unschedulable,
            StartCause::Admission => self.admission,
            StartCause::Other => self.other,
        }
    }

    /// Returns whether there is a deadline for any cause.
    pub fn is_set(&self) -> bool {
        *self != Self::default()
    }
}
