//! Kinds of writes of the controller of JobLimits.

use crate::runtime::refusals::WriteKind;

/// Update of the status of a JobLimit.
pub const STATUS: WriteKind = WriteKind { reason: "FailedStatusUpdate", failed: "Error updating status" };
