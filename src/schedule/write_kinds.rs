//! Kinds of writes of the CronJob controller. Each kind has its own back-off after the API server rejects a write.

use crate::runtime::refusals::WriteKind;

/// Creation of a Job.
pub const CREATE: WriteKind = WriteKind { reason: "FailedCreate", failed: "Error creating job" };
/// Deletion of a Job that exceeds the history limits or is replaced.
pub const DELETE: WriteKind = WriteKind { reason: "FailedDelete", failed: "Deleted job" };
/// Update of the status of the CronJob or JobSchedule.
pub const STATUS: WriteKind = WriteKind { reason: "FailedStatusUpdate", failed: "Error updating status" };
