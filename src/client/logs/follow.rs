//! Lines of all logs of a Job, also of pods that are created later, until the Job has finished.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::stream::{BoxStream, SelectAll, Stream};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use thiserror::Error;
use tokio::time::Instant;

use super::sources::{Filter, Source};
use super::tail::{LogLine, Part, Tail};
use crate::client::cluster::{ClusterContext, end};
use crate::job::CONTROLLER_UID_LABEL;
use crate::job::view::controlling_owner;

/// Time after the end of the Job in which the last changes of its pods arrive.
const SETTLE: Duration = Duration::from_secs(1);
/// Longest time after the end of the Job in which logs are read.
const LONGEST: Duration = Duration::from_secs(30);

/// Reason why the logs of a Job cannot be followed.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub(crate) enum FollowError {
    #[error("cannot watch {what}: {reason}")]
    Unwatchable { what: &'static str, reason: String },
    #[error("job/{0} was deleted before it finished")]
    Deleted(String),
}

/// What happens while the logs of a Job are followed.
#[derive(Debug)]
pub(crate) enum Followed {
    /// A line of a log.
    Line(Source, LogLine),
    /// The log of a container cannot be read.
    Unreadable(Source, String),
    /// Logs beyond the maximum number are not followed.
    TooMany,
    /// The Job has finished, and its logs have ended.
    Finished(Box<Job>),
}

/// Logs of a Job that are followed.
pub(crate) struct JobLogs {
    name: String,
    uid: String,
    api: Api<Pod>,
    filter: Filter,
    part: Part,
    /// Maximum number of logs that are followed concurrently.
    max: usize,
    /// Times of the last lines that were read before.
    read: BTreeMap<Source, Timestamp>,
    pods: BoxStream<'static, Result<watcher::Event<Pod>, watcher::Error>>,
    jobs: BoxStream<'static, Result<watcher::Event<Job>, watcher::Error>>,
    logs: SelectAll<BoxStream<'static, (Source, Result<LogLine, String>)>>,
    known: BTreeSet<Source>,
    /// Whether a log was left out.
    is_full: bool,
    ended: Option<(Job, Instant)>,
}

impl JobLogs {
    /// Follows the logs of a Job that the filter selects, at most `max` of them concurrently. `read` has the times of the
    /// last lines that were read before.
    pub(crate) fn new(
        context: &ClusterContext,
        job: &Job,
        (filter, part): (Filter, Part),
        max: usize,
        read: BTreeMap<Source, Timestamp>,
    ) -> Self {
        let (name, uid) = (job.name_any(), job.uid().unwrap_or_default());
        let manual = job.spec.as_ref().is_some_and(|spec| spec.manual_selector == Some(true));
        let of_job = watcher::Config::default();
        // The API server sets no label for a Job whose selector was given.
        let of_job = if manual { of_job } else { of_job.labels(&format!("{CONTROLLER_UID_LABEL}={uid}")) };
        let api = context.api::<Pod>();
        let one = watcher::Config::default().fields(&format!("metadata.name={name}"));
        Self {
            pods: watcher::watcher(api.clone(), of_job).default_backoff().fuse().boxed(),
            jobs: watcher::watcher(context.api::<Job>(), one).default_backoff().fuse().boxed(),
            logs: SelectAll::new(),
            known: BTreeSet::new(),
            is_full: false,
            ended: None,
            name,
            uid,
            api,
            filter,
            part,
            max,
            read,
        }
    }

    /// Returns what happens next.
    ///
    /// # Errors
    /// The user is not allowed to watch the Job or its pods, or the Job was deleted before its end.
    pub(crate) async fn next(&mut self) -> Result<Followed, FollowError> {
        loop {
            if let Some((job, at)) = &self.ended {
                let since = at.elapsed();
                if since >= LONGEST || since >= SETTLE && self.logs.is_empty() {
                    return Ok(Followed::Finished(Box::new(job.clone())));
                }
            }
            tokio::select! {
                change = self.pods.try_next() => match change {
                    Ok(Some(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod))) => {
                        if !self.add(&pod) {
                            return Ok(Followed::TooMany);
                        }
                    }
                    Ok(_) => {}
                    Err(error) => only_if_temporary("pods", &error)?,
                },
                change = self.jobs.try_next() => match change {
                    Ok(Some(watcher::Event::Apply(job) | watcher::Event::InitApply(job))) if self.is_own(&job) => {
                        self.note_end(job);
                    }
                    Ok(Some(watcher::Event::Delete(job))) if self.is_own(&job) => {
                        self.note_end(job);
                        if self.ended.is_none() {
                            return Err(FollowError::Deleted(self.name.clone()));
                        }
                    }
                    Ok(_) => {}
                    Err(error) => only_if_temporary("Jobs", &error)?,
                },
                Some((source, line)) = self.logs.next(), if !self.logs.is_empty() => {
                    return Ok(match line {
                        Ok(line) => Followed::Line(source, line),
                        Err(reason) => Followed::Unreadable(source, reason),
                    });
                }
                () = tokio::time::sleep(SETTLE), if self.ended.is_some() => {}
            }
        }
    }

    fn is_own(&self, job: &Job) -> bool {
        job.uid().as_deref() == Some(&self.uid)
    }

    fn note_end(&mut self, job: Job) {
        let is_finished = job.status.as_ref().is_some_and(|status| end(status).is_some());
        if is_finished && self.ended.is_none() {
            self.ended = Some((job, Instant::now()));
        }
    }

    /// Begins to follow the new logs of a pod. Returns false for the first log that is left out.
    fn add(&mut self, pod: &Pod) -> bool {
        if controlling_owner(&pod.metadata).is_none_or(|owner| owner.uid != self.uid) {
            return true;
        }
        for source in self.filter.sources(pod) {
            if self.known.contains(&source) {
                continue;
            }
            self.known.insert(source.clone());
            if self.logs.len() >= self.max {
                if std::mem::replace(&mut self.is_full, true) {
                    continue;
                }
                return false;
            }
            let last = self.read.get(&source).copied();
            self.logs.push(lines(Tail::new(self.api.clone(), source, self.part, last)).boxed());
        }
        true
    }
}

/// Returns the lines of a log with its container.
fn lines(tail: Tail) -> impl Stream<Item = (Source, Result<LogLine, String>)> {
    futures::stream::unfold(tail, |mut tail| async move {
        let line = tail.next().await?;
        Some(((tail.source().clone(), line), tail))
    })
}

/// Returns an error if the watch cannot recover. A watcher restarts automatically after an error; only a missing
/// permission does not go away.
fn only_if_temporary(what: &'static str, error: &watcher::Error) -> Result<(), FollowError> {
    let reason = error.to_string();
    if reason.contains("orbidden") { Err(FollowError::Unwatchable { what, reason }) } else { Ok(()) }
}
