//! The next step for a Job, and what it writes.

use std::sync::Arc;

use super::failure_report::FailureReport;
use super::start_deadline::FailedStart;
use crate::job::admission::{WAITING_ANNOTATION, WaitingStatus};
use crate::job::gang::plan::GroupWrite;
use crate::job::index::CompletionIndex;
use crate::job::status::JobStatus;
use crate::job::view::memory::MemorySizes;
use crate::job::view::policy_annotations::PolicyAnnotations;
use crate::job::view::{IndexFailures, PodView};
use crate::runtime::events::EventText;

/// A pod to create: the data that is not in the Job's template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewPod {
    /// Completion index of the pod, if the Job is Indexed.
    pub index: Option<CompletionIndex>,
    /// Numbers of failures of the index before this pod, if the Job has `spec.backoffLimitPerIndex`.
    pub failures: Option<IndexFailures>,
}

/// What new pods get more of than the template of their Job states, because pods before them had too little.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raised {
    /// Memory of containers.
    pub memory: Option<MemorySizes>,
    /// `activeDeadlineSeconds` of the pods.
    pub deadline_seconds: Option<u32>,
}

/// The reason for creating pods, as the built-in controller's metrics distinguish it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreationReason {
    /// No pod has failed or is being deleted.
    New,
    /// Pods have failed, and the Job replaces pods only after they have ended.
    Failed,
    /// Pods have failed or are being deleted, and the Job replaces them immediately.
    TerminatingOrFailed,
}

/// A batch of writes of one kind. The writes are independent and run concurrently.
#[derive(Clone, Debug)]
pub enum Step {
    /// There is nothing to do.
    None,
    /// Reject the Job, or its next pods, without any write. The event gives the reason.
    RejectInvalid(EventText),
    /// Adopt and release pods.
    ClaimPods {
        /// Pods without a controller that the Job's selector matches.
        adopt: Vec<Arc<PodView>>,
        /// Pods that the Job controls and that its selector no longer matches.
        release: Vec<Arc<PodView>>,
    },
    /// Create pods from the Job's template.
    CreatePods {
        /// Pods to create.
        pods: Vec<NewPod>,
        /// Reason for the creation, for the metrics.
        reason: CreationReason,
        /// Name of the PodGroup to which the pods belong, if any.
        group: Option<Arc<str>>,
        /// What the pods get more of than the template states.
        raised: Raised,
    },
    /// Write the Workload or the PodGroup of the Job.
    WriteGroup(GroupWrite),
    /// Read the Workload of the Job's owner from the API server.
    ReadParentWorkload,
    /// Delete pods of the Job.
    DeletePods {
        /// Pods to delete.
        pods: Vec<Arc<PodView>>,
        /// Whether to remove the tracking finalizer first, so that the pods count neither as succeeded nor as failed.
        uncounted: bool,
    },
    /// Remove the tracking finalizer from these pods, which no longer need it.
    RemoveFinalizers(Vec<Arc<PodView>>),
    /// Write this status to the API server.
    WriteStatus {
        /// The status to store.
        status: Box<JobStatus>,
        /// Events to record after the status is stored.
        events: Vec<EventText>,
        /// Failure report to store with the status, if the Job fails.
        report: Option<Box<FailureReport>>,
        /// Annotations about the JobPolicy to store with the status, if they differ from those of the Job.
        annotations: Option<Box<PolicyAnnotations>>,
        /// Text of the annotation with the results, if pods with results are counted.
        result: Option<String>,
    },
    /// Record on these pods that they did not start in time.
    FailPods(Vec<FailedStart>),
    /// Suspend the Job, and record this event.
    SuspendJob(EventText),
    /// Write the annotations about the JobPolicy of the Job.
    Annotate {
        /// Annotations that the Job should have.
        annotations: Box<PolicyAnnotations>,
        /// Events to record.
        events: Vec<EventText>,
    },
    /// Write what the Job waits for into its annotation.
    PublishWaiting {
        /// Limit and reason for which the Job waits.
        waiting: WaitingStatus,
        /// Event to record, if the reason for waiting has changed.
        event: Option<EventText>,
    },
    /// Remove the annotation that the Job waits.
    RemoveWaiting,
}

/// A short text about a step, for the log.
struct StepSummary<'a>(&'a Step);

impl Step {
    /// Returns the approximate number of writes of the step.
    pub fn writes(&self) -> usize {
        match self {
            Self::None | Self::RejectInvalid(_) | Self::ReadParentWorkload => 0,
            Self::FailPods(pods) => pods.len(),
            Self::ClaimPods { adopt, release } => adopt.len() + release.len(),
            Self::CreatePods { pods, .. } => pods.len(),
            Self::DeletePods { pods, uncounted } => pods.len() * if *uncounted { 2 } else { 1 },
            Self::RemoveFinalizers(pods) => pods.len(),
            _ => 1,
        }
    }

    /// Returns a short text about the step, for the log.
    pub fn summary(&self) -> impl std::fmt::Debug {
        StepSummary(self)
    }
}

impl std::fmt::Debug for StepSummary<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Step::None => write!(f, "nothing"),
            Step::RejectInvalid(event) => write!(f, "reject ({})", event.reason),
            Step::ClaimPods { adopt, release } => write!(f, "adopt {} pods, release {}", adopt.len(), release.len()),
            Step::CreatePods { pods, .. } => write!(f, "create {} pods", pods.len()),
            Step::WriteGroup(write) => write!(f, "{}", write.summary()),
            Step::ReadParentWorkload => write!(f, "read the Workload of the owner"),
            Step::DeletePods { pods, .. } => write!(f, "delete {} pods", pods.len()),
            Step::RemoveFinalizers(pods) => write!(f, "remove the finalizer of {} pods", pods.len()),
            Step::PublishWaiting { waiting, .. } => write!(f, "publish that the Job waits: {}", waiting.message),
            Step::RemoveWaiting => write!(f, "remove the annotation {WAITING_ANNOTATION}"),
            Step::FailPods(pods) => write!(f, "fail {} pods that did not start", pods.len()),
            Step::SuspendJob(_) => write!(f, "suspend the Job"),
            Step::Annotate { .. } => write!(f, "write the annotations about the JobPolicy"),
            Step::WriteStatus { status, .. } => write!(
                f,
                "write status: active {}, succeeded {}, failed {}, uncounted {}",
                status.active,
                status.succeeded,
                status.failed,
                status.uncounted.len()
            ),
        }
    }
}
