//! The error for another controller that works on the same Jobs.

use crate::job::managed_by::BUILTIN_FIELD_MANAGER;

/// The error that ends this controller when another one works on the same Jobs. Each of them would create its own
/// pods.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "{BUILTIN_FIELD_MANAGER} works on the same Jobs: it wrote the status of Job {namespace}/{job} while jobwright watched that Job; run {BUILTIN_FIELD_MANAGER} with --controllers=*,-job-controller, or run jobwright with --claim=managed-by"
)]
pub struct ConflictingController {
    /// Namespace of the Job whose status the other controller wrote.
    pub namespace: String,
    /// Name of that Job.
    pub job: String,
}
