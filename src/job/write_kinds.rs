//! The kinds of writes of the Job controller. Each kind has its own back-off after the API server refuses a write.

use crate::runtime::refusals::WriteKind;

/// Creation of the Job's pods.
pub const CREATE: WriteKind = WriteKind { reason: "FailedCreate", failed: "Error creating" };
/// Addition of the tracking finalizer to a pod that was created without it. The name of the pod has a random suffix, and
/// refusals of one cause are to be recorded in one event, so the event does not contain it.
pub const REPAIR: WriteKind = WriteKind {
    reason: "FailedCreate",
    failed: "Error adding the finalizer batch.kubernetes.io/job-tracking to a created pod",
};
/// Deletion of a pod.
pub const DELETE: WriteKind = WriteKind { reason: "FailedDelete", failed: "Error deleting" };
/// Adoption of a pod.
pub const ADOPT: WriteKind = WriteKind { reason: "FailedAdopt", failed: "Error adopting pod" };
/// Release of a pod that the Job's selector no longer matches.
pub const RELEASE: WriteKind = WriteKind { reason: "FailedRelease", failed: "Error releasing pod" };
/// Removal of the tracking finalizer from a pod.
pub const UNTRACK: WriteKind = WriteKind {
    reason: "FailedFinalizerRemoval",
    failed: "Error removing the finalizer batch.kubernetes.io/job-tracking from pod",
};
/// Update of the Job's status.
pub const STATUS: WriteKind = WriteKind { reason: "FailedStatusUpdate", failed: "Error updating status" };
/// Update of the annotation that names the limit the Job waits for.
pub const WAITING: WriteKind =
    WriteKind { reason: "FailedAnnotationUpdate", failed: "Error updating the annotation jobwright.dev/waiting" };
/// Record in the status of a pod that it did not start in time.
pub const FAIL_POD: WriteKind =
    WriteKind { reason: "FailedStatusUpdate", failed: "Error setting the condition StartDeadlineExceeded of pod" };
/// Suspension of a Job.
pub const SUSPEND: WriteKind = WriteKind { reason: "FailedSuspend", failed: "Error suspending the Job" };
/// Update of the annotations about the JobPolicy of a Job.
pub const ANNOTATE: WriteKind =
    WriteKind { reason: "FailedAnnotationUpdate", failed: "Error updating the annotations about the JobPolicy" };
/// Creation of the Workload of a Job.
pub const WORKLOAD: WriteKind =
    WriteKind { reason: "FailedWorkloadCreate", failed: "Failed to create Workload for Job" };
/// Creation of the PodGroup of a Job.
pub const POD_GROUP: WriteKind =
    WriteKind { reason: "FailedPodGroupCreate", failed: "Failed to create PodGroup for Job" };
/// Update of the size of the gang in the Workload or the PodGroup of a Job.
pub const RESIZE: WriteKind =
    WriteKind { reason: "FailedGangResize", failed: "Failed to set minCount in the Workload or the PodGroup of Job" };
/// Deletion of a finished Job after its time to live.
pub const EXPIRE: WriteKind =
    WriteKind { reason: "FailedDelete", failed: "Error deleting the Job after its time to live" };
