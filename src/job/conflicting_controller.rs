//! Another controller at work on our Jobs.

use crate::job::managed_by::BUILTIN_FIELD_MANAGER;

/// Another controller works on the same Jobs. Each would create its own pods, so this one gives way.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "{BUILTIN_FIELD_MANAGER} works on the same Jobs: it wrote the status of Job {namespace}/{job} while we watched; run it with --controllers=*,-job-controller, or run jobwright with --claim=managed-by"
)]
pub struct ConflictingController {
    /// The namespace of the Job on which it was seen.
    pub namespace: String,
    /// That Job's name.
    pub job: String,
}
