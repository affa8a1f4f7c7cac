//! The kinds of writes of the CronJob controller, each of which has a back-off of its own when it is refused.

use crate::runtime::refusals::WriteKind;

/// Creation of a Job.
pub const CREATE: WriteKind = WriteKind { reason: "FailedCreate", failed: "Error creating job" };
/// Deletion of a Job: one too many, or one to be replaced.
pub const DELETE: WriteKind = WriteKind { reason: "FailedDelete", failed: "Deleted job" };
/// Update of the status.
pub const STATUS: WriteKind = WriteKind { reason: "FailedStatusUpdate", failed: "Error updating status" };
