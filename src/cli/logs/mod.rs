//! `jobwright logs`: prints the logs of all pods of a Job, and follows them to the end of the Job.

mod follow;
mod printer;

use std::process::ExitCode;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use thiserror::Error;

use self::printer::{Printer, print_log};
use super::global::GlobalArguments;
use crate::client::cluster::{ClusterContext, ClusterReadError, end};
use crate::client::connect::ConnectError;
use crate::client::explain::collect::Scope;
use crate::client::logs::follow::FollowError;
use crate::client::logs::sources::{self, Filter};
use crate::client::logs::tail::{Part, Tail};
use crate::client::names::{Kind, NameError, SelectionArguments};
use crate::client::terminal::Screen;
use crate::client::{output, selected};
use crate::job::FAILURE_ANNOTATION;
use crate::job::decide::failure_report::FailureReport;
use crate::job::index::IndexSet;

/// Exit code after an error.
const ERROR: u8 = 2;

/// The flags of `jobwright logs`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    selection: SelectionArguments,
    /// Print new lines, also of pods that are created later, until the Job has finished; the exit code is 0 if the Job
    /// completes, and 1 if it fails
    #[arg(short, long)]
    follow: bool,
    /// Only containers that have failed
    #[arg(long)]
    failed: bool,
    /// The instance of each container before its last restart
    #[arg(short, long, conflicts_with = "follow")]
    previous: bool,
    /// Only pods with these completion indexes, such as 3,7-9
    #[arg(long, value_name = "INDEXES", value_parser = sources::parse_indexes)]
    index: Option<IndexSet>,
    /// Only this container
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Only the last lines of each container
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(i64).range(0..))]
    tail: Option<i64>,
    /// Only lines that are newer than this duration, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = crate::client::duration::timeout)]
    since: Option<Duration>,
    /// Print the time of each line
    #[arg(long)]
    timestamps: bool,
    /// Print the lines without pod and container
    #[arg(long)]
    no_prefix: bool,
}

/// Reason why logs cannot be printed.
#[derive(Debug, Error)]
enum LogsError {
    #[error(transparent)]
    Names(#[from] NameError),
    #[error("no Jobs are selected; name them as job/NAME, or select them with --selector")]
    NoSelection,
    #[error("no Jobs match in {0}")]
    NoJobs(Scope),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Read(#[from] ClusterReadError),
    #[error(transparent)]
    Follow(#[from] FollowError),
}

/// Prints the logs, and returns the exit code.
pub fn main(arguments: &Arguments, global: &GlobalArguments) -> ExitCode {
    run(arguments, global).unwrap_or_else(|error| {
        output::error_line(format!("jobwright: {error}"));
        ExitCode::from(ERROR)
    })
}

#[tokio::main(flavor = "current_thread")]
async fn run(arguments: &Arguments, global: &GlobalArguments) -> Result<ExitCode, LogsError> {
    let SelectionArguments { objects, selectors } = &arguments.selection;
    let selection = arguments.selection.resolve(&[Kind::Job])?;
    if objects.is_empty() && !selectors.is_given() {
        return Err(LogsError::NoSelection);
    }
    let context = global.open().await?;
    let jobs = selected::jobs(&context, &selection, selectors).await?;
    if jobs.is_empty() {
        return Err(LogsError::NoJobs(selected::scope(&context, selectors)));
    }
    let filter = Filter {
        failed: arguments.failed,
        previous: arguments.previous,
        indexes: arguments.index.clone(),
        container: arguments.container.clone(),
        pod: None,
    };
    let screen = Screen::stdout(global.color);
    let part = Part {
        follow: arguments.follow,
        previous: arguments.previous,
        tail: arguments.tail,
        since: arguments.since.map(|since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX)),
        limit: None,
    };
    let printer = Printer {
        terminal: screen.terminal,
        colors: screen.color,
        prefix: !arguments.no_prefix,
        timestamps: arguments.timestamps,
    };
    let context_of = |job: &Job| context.of_namespace(&job.namespace().unwrap_or_default());
    let mut code = 0;
    if arguments.follow {
        let followed = jobs.iter().map(|job| {
            let (context, filter, printer) = (context_of(job), &filter, &printer);
            async move { follow::follow(&context, job, filter, part, printer).await }
        });
        for followed in join_all(followed).await {
            code = code.max(followed?);
        }
    } else {
        for job in &jobs {
            code = code.max(print(&context_of(job), job, &filter, part, &printer).await?);
        }
    }
    Ok(ExitCode::from(code))
}

/// Prints the logs that exist now. Returns the exit code.
async fn print(
    context: &ClusterContext,
    job: &Job,
    filter: &Filter,
    part: Part,
    printer: &Printer,
) -> Result<u8, LogsError> {
    let pods = context.pods_of(job).await;
    let mut pods = pods.map_err(context.unreadable(&format!("the pods of job/{}", job.name_any())))?;
    pods.sort_by_key(|pod| (pod.creation_timestamp(), pod.name_any()));
    let sources: Vec<_> = pods.iter().flat_map(|pod| filter.sources(pod)).collect();
    if sources.is_empty() {
        print_without_sources(job, &pods, filter, printer);
        return Ok(0);
    }
    let mut complete = true;
    for source in sources {
        complete &= print_log(Tail::new(context.api::<Pod>(), source, part, None), printer).await;
    }
    Ok(if complete { 0 } else { ERROR })
}

/// Prints the log that the controller has stored with a failed Job whose pods are deleted, or why there is no log.
fn print_without_sources(job: &Job, pods: &[Pod], filter: &Filter, printer: &Printer) {
    let name = job.name_any();
    let report = job.annotations().get(FAILURE_ANNOTATION);
    let report = report.and_then(|text| serde_json::from_str::<FailureReport>(text).ok());
    let finished = job.status.as_ref().is_some_and(|status| end(status).is_some());
    match report.filter(|report| pods.is_empty() && !report.log.is_empty()) {
        Some(report) => {
            let lines = report.log.len();
            output::error_line(format!(
                "jobwright: the pods of job/{name} are deleted; these are the last {lines} lines that the controller stored"
            ));
            let container = report.cause.container.clone().unwrap_or_default();
            report.log.iter().for_each(|line| printer.print(&report.pod, &container, None, line));
        }
        None if pods.is_empty() && finished => {
            output::error_line(format!("jobwright: the pods of job/{name} are deleted, and their logs with them"));
        }
        None if pods.is_empty() => output::error_line(format!("jobwright: job/{name} has no pods")),
        None if filter.selects_all() => {
            output::error_line(format!("jobwright: no container of job/{name} has started"))
        }
        None => output::error_line(format!("jobwright: no container of job/{name} has a log that the flags select")),
    }
}
