//! `jobwright remove-finalizers` and `jobwright uninstall-check`: prevent pods that hang in deletion after an
//! uninstall.
//!
//! A pod of a Job carries a finalizer until the Job's controller has counted the pod. Where that controller is
//! uninstalled, a Job that is deleted in the foreground waits for its pods without end, and so does its namespace.
//! `select` selects the pods (pure), `scan` reads them, and `lease` finds out whether a controller is running.

pub mod check;
mod lease;
pub mod remove;
mod scan;
mod select;

use clap::Args;
use kube::Client;
use thiserror::Error;

use super::global::GlobalArguments;
use crate::client::connect::ConnectError;
use crate::job::managed_by::Claim;

/// Maximum number of Jobs that a message names.
const NAMED: usize = 20;

/// Reason why a command failed.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum UninstallError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot list {what}: {reason}")]
    Unreadable { what: &'static str, reason: String },
    #[error("cannot use the Lease {name}: {reason}")]
    Lease { name: String, reason: String },
    #[error(
        "refused: a Jobwright controller is running ({holder} renews the Lease); it removes these finalizers itself. Uninstall it first, or use --force"
    )]
    Running { holder: String },
    #[error("not finished within --timeout={0:?}; run the command again")]
    Timeout(std::time::Duration),
}

/// The flags that select the pods.
#[derive(Clone, Debug, Args)]
pub struct Scope {
    /// The pods of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// The unfinished Jobs that no other controller works on. With managed-by, other unfinished Jobs are left to the
    /// cluster's own Job controller
    #[arg(long, env = "JOBWRIGHT_CLAIM", value_enum, default_value = "managed-by")]
    claim: Claim,
}

impl Scope {
    /// Connects to the cluster. Returns the client and the namespace, which is `None` for all namespaces.
    async fn open(&self, global: &GlobalArguments) -> Result<(Client, Option<String>), ConnectError> {
        let context = global.open().await?;
        Ok((context.client, (!self.all_namespaces).then_some(context.namespace)))
    }
}

/// Returns a line for each of the first [`NAMED`] entries, and the number of the other entries.
fn lines(entries: impl ExactSizeIterator<Item = String>) -> String {
    let more = entries.len().saturating_sub(NAMED);
    let mut text: String = entries.take(NAMED).map(|entry| format!("  {entry}\n")).collect();
    if more > 0 {
        text += &format!("  and {more} more\n");
    }
    text
}

/// Formats a Job by its name and namespace. The name is missing for pods without a controlling owner.
fn job_text((namespace, job): &(String, Option<String>)) -> String {
    match job {
        Some(job) => format!("job/{job} in namespace {namespace}"),
        None => format!("no Job in namespace {namespace}"),
    }
}

/// Formats a number of pods.
fn pods_text(count: usize) -> String {
    format!("{count} pod{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_list_is_shortened_with_a_count() {
        let entries = |count: usize| lines((0..count).map(|number| number.to_string()).collect::<Vec<_>>().into_iter());
        assert_eq!(entries(2), "  0\n  1\n");
        assert_eq!(entries(NAMED).lines().count(), NAMED);
        assert!(entries(NAMED + 3).ends_with("  19\n  and 3 more\n"));
    }
}
