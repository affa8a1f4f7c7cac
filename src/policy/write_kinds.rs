//! Kinds of writes of the controller of JobPolicies.

use crate::runtime::refusals::WriteKind;

/// Update of the status of a JobPolicy.
pub const STATUS: WriteKind = WriteKind { reason: "FailedStatusUpdate", failed: "Error updating status" };
