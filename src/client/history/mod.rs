//! Runs of a CronJob or JobSchedule, or of a Job and its repetitions.
//!
//! Runs are known from the Jobs that exist, and from the history in the status of a JobSchedule.

pub(crate) mod runs;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::ResourceExt;
use kube::api::ListParams;
use schemars::JsonSchema;
use serde::Serialize;

use self::runs::{Run, family, merge, owned};
use super::cluster::{ClusterContext, ClusterReadError};
use super::explain::collect::{Related, Scope};
use super::lists::ListEach;
use super::names::{Kind, ObjectName};
use super::output;
use crate::schedule::job_schedule::types::JobSchedule;

/// Runs of all objects, as the output for programs has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Histories {
    /// Objects in the order of the arguments.
    pub items: Vec<History>,
}

/// Runs of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct History {
    /// Kind of the object: CronJob, JobSchedule or Job.
    pub kind: &'static str,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Runs, the newest first.
    pub runs: Vec<Run>,
}

/// Returns the runs of an object, the newest first.
///
/// # Errors
/// The object or the Jobs of its namespace cannot be read.
pub(crate) async fn read(
    context: &ClusterContext,
    name: &ObjectName,
    now: Timestamp,
) -> Result<Vec<Run>, ClusterReadError> {
    let unreadable = context.unreadable(&name.to_string());
    let all = ListParams::default();
    let jobs = context.api::<Job>();
    let list = jobs.list_each(&all);
    let scope = Scope::Namespace(context.namespace.clone());
    let (uid, stored) = match name.kind {
        Kind::CronJob => (context.api::<CronJob>().get(&name.name).await.map_err(unreadable)?.uid(), Vec::new()),
        Kind::JobSchedule => {
            let schedule = context.api::<JobSchedule>().get(&name.name).await.map_err(unreadable)?;
            (schedule.uid(), schedule.status.map(|status| status.history).unwrap_or_default())
        }
        _ => {
            let job = context.api::<Job>().get(&name.name).await.map_err(unreadable)?;
            let jobs = list.await.map_err(context.unreadable("jobs"))?;
            let members: Vec<Job> = family(&jobs, &job).into_iter().cloned().collect();
            return Ok(merge(of_jobs(context, &scope, &members, now).await, &[]));
        }
    };
    let jobs = list.await.map_err(context.unreadable("jobs"))?;
    let own: Vec<Job> = owned(&jobs, &uid.unwrap_or_default()).into_iter().cloned().collect();
    Ok(merge(of_jobs(context, &scope, &own, now).await, &stored))
}

async fn of_jobs(context: &ClusterContext, scope: &Scope, jobs: &[Job], now: Timestamp) -> Vec<Run> {
    if jobs.is_empty() {
        return Vec::new();
    }
    let related = Related::read(&context.client, scope, jobs).await;
    for line in related.unread_lines(scope) {
        output::error_line(format!("jobwright: {line}"));
    }
    jobs.iter().map(|job| Run::of_job(job, &related, now)).collect()
}
