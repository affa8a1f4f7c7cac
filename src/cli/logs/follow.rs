//! Follows the logs of all pods of a Job, also of those that are created later, until the Job has finished.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::time::Instant;

use super::LogsError;
use super::tail::{Request, follow_log};
use crate::cli::wait;
use crate::client::cluster::{ClusterContext, end};
use crate::client::logs::sources::Filter;
use crate::client::one_line::one_line;
use crate::client::output;
use crate::job::CONTROLLER_UID_LABEL;
use crate::job::view::controlling_owner;

/// Time after the end of the Job in which the last changes of its pods arrive.
const SETTLE: Duration = Duration::from_secs(1);
/// Longest time after the end of the Job in which logs are read.
const LONGEST: Duration = Duration::from_secs(30);

/// How the Job has ended, and when this was observed.
struct End {
    code: u8,
    line: String,
    at: Instant,
}

/// Prints the logs until the Job has finished. Returns the exit code: 0 if the Job is complete, and 1 if it has failed.
pub(super) async fn follow(
    context: &ClusterContext,
    job: &Job,
    filter: &Filter,
    request: &Request,
) -> Result<u8, LogsError> {
    let (name, uid) = (job.name_any(), job.uid().unwrap_or_default());
    let manual = job.spec.as_ref().is_some_and(|spec| spec.manual_selector == Some(true));
    let of_job = watcher::Config::default();
    // The API server sets no label for a Job whose selector was given.
    let of_job = if manual { of_job } else { of_job.labels(&format!("{CONTROLLER_UID_LABEL}={uid}")) };
    let api = context.api::<Pod>();
    let mut pods = std::pin::pin!(watcher::watcher(api.clone(), of_job).default_backoff().fuse());
    let jobs = watcher::watcher(context.api::<Job>(), wait::of_one(&name));
    let mut jobs = std::pin::pin!(jobs.default_backoff().fuse());
    let mut logs = FuturesUnordered::new();
    let mut known = BTreeSet::new();
    let mut ended: Option<End> = None;
    loop {
        if let Some(end) = &ended {
            let since = end.at.elapsed();
            if since >= LONGEST || since >= SETTLE && logs.is_empty() {
                output::error_line(format!("jobwright: {}", end.line));
                return Ok(end.code);
            }
        }
        tokio::select! {
            change = pods.try_next() => match change {
                Ok(Some(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod))) => {
                    let owned = controlling_owner(&pod.metadata).is_some_and(|owner| owner.uid == uid);
                    for source in filter.sources(&pod).into_iter().filter(|_| owned) {
                        if known.insert(source.clone()) {
                            let api = api.clone();
                            logs.push(async move { follow_log(&api, &source, request).await });
                        }
                    }
                }
                Ok(_) => {}
                Err(error) => only_if_temporary("pods", &error)?,
            },
            change = jobs.try_next() => match change {
                Ok(Some(watcher::Event::Apply(job) | watcher::Event::InitApply(job))) if job.uid().as_deref() == Some(&uid) => {
                    ended = ended.or_else(|| end_of(&job));
                }
                Ok(Some(watcher::Event::Delete(job))) if job.uid().as_deref() == Some(&uid) => {
                    ended = ended.or_else(|| end_of(&job));
                    if ended.is_none() {
                        return Err(LogsError::Deleted(name));
                    }
                }
                Ok(_) => {}
                Err(error) => only_if_temporary("Jobs", &error)?,
            },
            Some(()) = logs.next(), if !logs.is_empty() => {}
            () = tokio::time::sleep(SETTLE), if ended.is_some() => {}
        }
    }
}

/// Returns an error if the watch cannot recover. A watcher restarts automatically after an error; only a missing
/// permission does not go away.
fn only_if_temporary(what: &'static str, error: &watcher::Error) -> Result<(), LogsError> {
    let reason = error.to_string();
    if reason.contains("orbidden") { Err(LogsError::Unwatchable { what, reason }) } else { Ok(()) }
}

fn end_of(job: &Job) -> Option<End> {
    let end = end(job.status.as_ref()?)?;
    let complete = end.type_ == "Complete";
    let [reason, message] = [&end.reason, &end.message].map(|text| text.clone().unwrap_or_default());
    let line = if complete {
        format!("job/{} is complete", job.name_any())
    } else {
        format!("job/{} failed: {}", job.name_any(), one_line(&format!("{reason}: {message}")))
    };
    Some(End { code: u8::from(!complete), line, at: Instant::now() })
}
