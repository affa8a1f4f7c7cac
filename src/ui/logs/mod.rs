//! Logs of a Job for a page: read with the permissions of the user, searched, followed, and offered as a file.

mod download;
mod followers;
pub(super) mod lines;
mod live;
pub(super) mod query;
pub(super) mod read;
#[cfg(test)]
mod tests;

use k8s_openapi::api::batch::v1::Job;

pub(super) use self::download::download;
pub use self::followers::Followers;
pub(super) use self::live::stream;
use self::query::LogQuery;
use super::access::{Decision, Permission};
use super::console::Console;
use super::error::PageError;
use super::identity::User;
use super::views::is_name;
use crate::client::cluster::ClusterContext;

/// Permission that logs need.
const GET_LOG: Permission = Permission { verb: "get", group: "", resource: "pods/log" };

/// Checks that a user is allowed to read logs in a namespace.
///
/// # Errors
/// The user is not allowed to read them, or the API server did not answer.
pub(super) async fn check(console: &Console, user: &User, namespace: &str) -> Result<(), PageError> {
    match console.access.check(user, GET_LOG, Some(&namespace.into())).await {
        Decision::Allowed => Ok(()),
        Decision::Refused => Err(PageError::Forbidden { permission: GET_LOG, namespace: Some(namespace.to_owned()) }),
        Decision::Failed(error) => Err(PageError::Unreviewed { permission: GET_LOG, error }),
    }
}

/// Reads the Job whose logs a URL names, with the permissions of the user, who is allowed to read the logs.
async fn opened(console: &Console, user: &User, query: &LogQuery) -> Result<(ClusterContext, Job), PageError> {
    let (namespace, name) = (&query.namespace, &query.name);
    if !is_name(namespace) || !is_name(name) {
        return Err(PageError::NotFound);
    }
    let context = console.context(user, namespace);
    let get = Permission { verb: "get", group: "batch", resource: "jobs" };
    let job = context.api::<Job>().get(name).await;
    let job = job.map_err(|error| PageError::of_read(&error, get, namespace, &format!("job/{name}")))?;
    check(console, user, namespace).await?;
    Ok((context, job))
}
