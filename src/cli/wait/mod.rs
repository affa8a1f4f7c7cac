//! `jobwright wait`: waits until Jobs are complete or have failed, and prints what they wait for meanwhile.
//!
//! The Jobs are those that the arguments select at the start. The command reads with the permissions of its user, and
//! never writes.

mod progress;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::runtime::{WatchStreamExt, watcher};
use thiserror::Error;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};

use self::progress::{Progress, Verdict};
use super::global::GlobalArguments;
use crate::client::cluster::{ClusterContext, ClusterReadError};
use crate::client::connect::ConnectError;
use crate::client::explain::collect::{Related, Scope};
use crate::client::names::{Kind, NameError, Selection, SelectionArguments, SelectorArguments};
use crate::client::{output, selected};

/// Exit code after an error: a Job cannot be read, or was deleted before it finished.
pub(crate) const ERROR: u8 = 2;
/// Exit code when the timeout has passed, as of timeout(1).
pub(crate) const TIMED_OUT: u8 = 124;
/// Time until the first search for the cause of a delay.
const FIRST_CAUSE: Duration = Duration::from_secs(1);
/// Time between two searches for the cause of a delay.
const CAUSES_EVERY: Duration = Duration::from_secs(3);

/// The flags of `jobwright wait`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    selection: SelectionArguments,
    /// Longest time to wait, such as 10m; without the flag, the command waits until all Jobs have finished
    #[arg(long, value_name = "DURATION", value_parser = crate::client::duration::timeout)]
    timeout: Option<Duration>,
    /// Print no progress: only how each Job has ended
    #[arg(short, long)]
    quiet: bool,
}

/// Reason why the command cannot wait.
#[derive(Debug, Error)]
pub(crate) enum WaitError {
    #[error(transparent)]
    Names(#[from] NameError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Read(#[from] ClusterReadError),
    #[error("no Jobs are selected; name them as job/NAME, or select them with --selector")]
    NoSelection,
    #[error("no Jobs match in {0}")]
    NoJobs(Scope),
    #[error("cannot watch Jobs in {scope}: {reason}; the Jobs keep running")]
    Unwatchable { scope: Scope, reason: String },
}

/// How the command waits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Longest time to wait.
    pub timeout: Option<Duration>,
    /// Whether only the outcomes are printed.
    pub quiet: bool,
}

/// Waits for the Jobs and returns the exit code.
pub fn main(arguments: &Arguments, global: &GlobalArguments) -> ExitCode {
    run(arguments, global).unwrap_or_else(|error| {
        output::error_line(format!("jobwright: {error}"));
        ExitCode::from(ERROR)
    })
}

#[tokio::main(flavor = "current_thread")]
async fn run(arguments: &Arguments, global: &GlobalArguments) -> Result<ExitCode, WaitError> {
    let SelectionArguments { objects, selectors } = &arguments.selection;
    let selection = arguments.selection.resolve(&[Kind::Job])?;
    if objects.is_empty() && !selectors.is_given() {
        return Err(WaitError::NoSelection);
    }
    let context = global.open().await?;
    let scope = selected::scope(&context, selectors);
    let jobs = selected::jobs(&context, &selection, selectors).await?;
    if jobs.is_empty() {
        return Err(WaitError::NoJobs(scope));
    }
    let options = Options { timeout: arguments.timeout, quiet: arguments.quiet };
    let watch = watch_of(&selection, selectors);
    wait_for(&context, &scope, jobs, watch, options).await
}

/// Returns the narrowest watch that contains the selected Jobs.
fn watch_of(selection: &Selection, selectors: &SelectorArguments) -> watcher::Config {
    match selection {
        Selection::Named(names) if names.len() == 1 => of_one(&names[0].name),
        Selection::Named(_) => watcher::Config::default(),
        // A field selector may match a Job at the start only, such as one on the status.
        Selection::Matching(_) => match &selectors.selector {
            Some(labels) => watcher::Config::default().labels(labels),
            None => watcher::Config::default(),
        },
    }
}

/// Returns the watch of one Job.
pub(crate) fn of_one(name: &str) -> watcher::Config {
    watcher::Config::default().fields(&format!("metadata.name={name}"))
}

/// Returns the times at which the cause of a delay is searched.
pub(crate) fn causes() -> Interval {
    let mut causes = interval_at(Instant::now() + FIRST_CAUSE, CAUSES_EVERY);
    causes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    causes
}

/// Waits until these Jobs have finished, and returns the exit code.
///
/// # Errors
/// The Jobs cannot be watched.
pub(crate) async fn wait_for(
    context: &ClusterContext,
    scope: &Scope,
    jobs: Vec<Job>,
    watch: watcher::Config,
    options: Options,
) -> Result<ExitCode, WaitError> {
    let mut progress = Progress::new(&jobs, *scope == Scope::All);
    let mut current: BTreeMap<String, Job> = jobs.into_iter().filter_map(|job| Some((job.uid()?, job))).collect();
    for job in current.values() {
        print(progress.observe(job, crate::client::now()));
    }
    let changes = watcher::watcher(scope.api::<Job>(&context.client), watch).default_backoff();
    let mut changes = std::pin::pin!(changes.fuse());
    let mut listed = Vec::new();
    let mut causes = causes();
    let mut unread = Vec::new();
    // Without a timeout, the sleep is longer than any Job.
    let mut timeout = std::pin::pin!(sleep(options.timeout.unwrap_or(Duration::from_secs(u64::from(u32::MAX)))));
    loop {
        if let Some(verdict) = progress.verdict() {
            return Ok(exit_code(verdict));
        }
        tokio::select! {
            () = &mut timeout => {
                let unfinished = progress.unfinished().join(", ");
                output::error_line(format!("jobwright: the timeout has passed; not finished: {unfinished}"));
                return Ok(ExitCode::from(TIMED_OUT));
            }
            change = changes.try_next() => match change {
                Ok(Some(watcher::Event::Init)) => listed.clear(),
                Ok(Some(watcher::Event::InitApply(job))) => {
                    take(&job, &mut progress, &mut current);
                    listed.push(job);
                }
                Ok(Some(watcher::Event::InitDone)) => {
                    for uid in progress.missing(&listed) {
                        print(progress.deleted(&uid));
                    }
                }
                Ok(Some(watcher::Event::Apply(job))) => take(&job, &mut progress, &mut current),
                Ok(Some(watcher::Event::Delete(job))) => {
                    // The last state of a deleted Job can be its end.
                    print(progress.observe(&job, crate::client::now()));
                    print(job.uid().and_then(|uid| progress.deleted(&uid)));
                }
                // The watcher restarts automatically after an error. Only a missing permission does not go away.
                Err(error) if error.to_string().contains("orbidden") => {
                    return Err(WaitError::Unwatchable { scope: scope.clone(), reason: error.to_string() });
                }
                Err(_) => {}
                Ok(None) => {
                    let reason = "the watch ended".to_owned();
                    return Err(WaitError::Unwatchable { scope: scope.clone(), reason });
                }
            },
            _ = causes.tick(), if !options.quiet => {
                let jobs: Vec<Job> = current.values().cloned().collect();
                let related = Related::read(&context.client, scope, &jobs).await;
                for job in &jobs {
                    let finding = related.find(job, crate::client::now());
                    print(job.uid().and_then(|uid| progress.explain(&uid, &finding)));
                }
                for line in related.unread_lines(scope) {
                    if !unread.contains(&line) {
                        output::error_line(format!("jobwright: {line}"));
                        unread.push(line);
                    }
                }
            }
        }
    }
}

fn take(job: &Job, progress: &mut Progress, current: &mut BTreeMap<String, Job>) {
    let Some(uid) = job.uid() else { return };
    if let Some(known) = current.get_mut(&uid) {
        *known = job.clone();
        print(progress.observe(job, crate::client::now()));
    }
}

fn print(line: Option<String>) {
    if let Some(line) = line {
        output::print_line(line);
    }
}

fn exit_code(verdict: Verdict) -> ExitCode {
    ExitCode::from(verdict.code())
}
