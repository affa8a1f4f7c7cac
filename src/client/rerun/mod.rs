//! The Job that runs a finished Job again.

pub(crate) mod copy;
pub(crate) mod failed_indexes;

use k8s_openapi::api::batch::v1::Job;
use serde_json::Value;
use thiserror::Error;

use self::copy::{Copy, CopyError};
use self::failed_indexes::FailedIndexesError;
use crate::client::leases::Leases;

/// Reason why a Job cannot be run again.
#[derive(Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub(crate) enum RepeatError {
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    FailedIndexes(#[from] FailedIndexesError),
}

/// Returns the Job that runs `old` again under this name. With `force`, an unfinished Job is run again too. With `leases`,
/// the new Job runs the failed indexes alone.
///
/// # Errors
/// The Job is not finished, or its failed indexes cannot be run alone.
pub(crate) fn repeat(old: &Value, name: &str, force: bool, leases: Option<&Leases>) -> Result<Copy, RepeatError> {
    let mut copied = copy::copy(old, name, force)?;
    if let Some(leases) = leases {
        let typed: Job = serde_json::from_value(old.clone()).unwrap_or_default();
        failed_indexes::check_controller(&typed, leases)?;
        copied.notes.extend(failed_indexes::select(&typed, &mut copied.job)?);
    }
    Ok(copied)
}
