//! `jobwright history`: the runs of a CronJob or JobSchedule, or of a Job and its repetitions, with their durations and
//! outcomes.
//!
//! Runs are known from the Jobs that exist, and from the history in the status of a JobSchedule.

mod runs;

use std::process::ExitCode;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};
use thiserror::Error;

use self::runs::{Run, family, merge, owned};
use super::cluster::{ClusterContext, ClusterReadError, exit_with};
use super::connect::ConnectError;
use super::explain::collect::{Related, Scope};
use super::explain::span;
use super::format::Format;
use super::global::GlobalArguments;
use super::names::{self, Kind, NameError, ObjectName, Selection};
use super::one_line::one_line;
use super::output;
use super::table::Table;
use crate::cli::lists::ListEach;
use crate::schedule::job_schedule::types::JobSchedule;

/// Kinds with runs.
const KINDS: &[Kind] = &[Kind::CronJob, Kind::JobSchedule, Kind::Job];

/// The flags of `jobwright history`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Objects, as cronjob/NAME, jobschedule/NAME or job/NAME
    #[arg(value_name = "TYPE/NAME", required = true)]
    objects: Vec<String>,
    /// Maximum number of runs of each object, the newest first
    #[arg(long, value_name = "N", default_value = "20")]
    limit: usize,
    /// Output format
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

/// Reason why there is no history.
#[derive(Debug, Error)]
enum HistoryError {
    #[error(transparent)]
    Names(#[from] NameError),
    #[error("name the objects, as cronjob/NAME, jobschedule/NAME or job/NAME")]
    NoNames,
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Read(#[from] ClusterReadError),
}

/// Prints the history.
pub fn main(arguments: &Arguments, global: &GlobalArguments) -> ExitCode {
    exit_with(run(arguments, global).map(|text| {
        output::print(text);
        ExitCode::SUCCESS
    }))
}

#[tokio::main(flavor = "current_thread")]
async fn run(arguments: &Arguments, global: &GlobalArguments) -> Result<String, HistoryError> {
    let Selection::Named(names) = names::parse(&arguments.objects, KINDS)? else { return Err(HistoryError::NoNames) };
    let context = global.open().await?;
    let now = super::now();
    let mut histories = Vec::new();
    for name in names {
        let mut runs = read(&context, &name, now).await?;
        runs.truncate(arguments.limit);
        histories.push((name, runs));
    }
    let list = || -> Value {
        let entry = |(name, runs): &(ObjectName, Vec<Run>)| json!({"kind": name.kind.kind(), "namespace": context.namespace, "name": name.name, "runs": runs});
        json!({"items": histories.iter().map(entry).collect::<Vec<_>>()})
    };
    let tables = || {
        let several = histories.len() > 1;
        let texts = histories.iter().map(|(name, runs)| {
            let title = if several { format!("{name}\n") } else { String::new() };
            title + &text(runs, now)
        });
        texts.collect::<Vec<_>>().join("\n")
    };
    Ok(match arguments.output {
        Format::Text => tables(),
        format => format.object(&list()).unwrap_or_default(),
    })
}

async fn read(context: &ClusterContext, name: &ObjectName, now: Timestamp) -> Result<Vec<Run>, HistoryError> {
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
    for reason in &related.unread {
        output::error_line(format!("jobwright: {reason}"));
    }
    jobs.iter().map(|job| Run::of_job(job, &related, now)).collect()
}

fn text(runs: &[Run], now: Timestamp) -> String {
    if runs.is_empty() {
        return "no runs are known\n".to_owned();
    }
    let mut table = Table::new(&["JOB", "TRIGGER", "SCHEDULED", "STARTED", "DURATION", "OUTCOME", "CAUSE"]);
    for run in runs {
        let ago =
            |time: Option<Timestamp>| time.map_or_else(|| "-".to_owned(), |time| format!("{} ago", span(time, now)));
        let duration = run
            .duration_seconds
            .map_or_else(|| "-".to_owned(), |seconds| span(now - SignedDuration::from_secs(seconds), now));
        let trigger = run.rerun_of.as_ref().map_or_else(|| run.trigger.to_owned(), |of| format!("Rerun of {of}"));
        let scheduled =
            run.scheduled.map_or_else(|| "-".to_owned(), |time| time.strftime("%Y-%m-%dT%H:%MZ").to_string());
        let cause = match (run.outcome.as_str(), run.message.as_str()) {
            ("Succeeded" | "Running", _) => String::new(),
            (_, "") => run.reason.clone(),
            (_, message) => one_line(message),
        };
        let outcome = run.outcome.clone();
        table.row([run.job.clone(), trigger, scheduled, ago(run.started), duration, outcome, cause]);
    }
    table.text(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_printed_as_a_table() {
        let at = |text: &str| Some(text.parse().unwrap());
        let runs = [
            Run {
                job: "b".to_owned(),
                trigger: "Rerun",
                rerun_of: Some("a".to_owned()),
                started: at("2026-01-01T00:59:00Z"),
                duration_seconds: Some(60),
                outcome: "Running".to_owned(),
                message: "1 active".to_owned(),
                exists: true,
                ..Run::default()
            },
            Run {
                job: "a".to_owned(),
                trigger: "Schedule",
                scheduled: at("2026-01-01T00:00:00Z"),
                started: at("2026-01-01T00:00:02Z"),
                duration_seconds: Some(125),
                outcome: "Failed".to_owned(),
                reason: "BackoffLimitExceeded".to_owned(),
                message: "exit code 3:\ndisk full".to_owned(),
                ..Run::default()
            },
        ];
        assert_eq!(
            text(&runs, "2026-01-01T01:00:00Z".parse().unwrap()),
            "\
JOB  TRIGGER     SCHEDULED          STARTED          DURATION   OUTCOME  CAUSE
b    Rerun of a  -                  1 min ago        1 min      Running
a    Schedule    2026-01-01T00:00Z  59 min 58 s ago  2 min 5 s  Failed   exit code 3: disk full
"
        );
        assert_eq!(text(&[], Timestamp::UNIX_EPOCH), "no runs are known\n");
    }
}
