//! `jobwright trigger`: starts a Job of a CronJob or JobSchedule now, independently of the schedule.

use std::process::ExitCode;
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::batch::v1::{CronJob, Job, JobStatus};
use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::runtime::{WatchStreamExt, watcher};
use thiserror::Error;

use super::global::GlobalArguments;
use super::wait;
use crate::client::cluster::{ClusterContext, ClusterReadError, end, exit_with};
use crate::client::creation::overrides::OverrideArguments;
use crate::client::creation::parameters as flag;
use crate::client::creation::{CreateError, CreationArguments, DryRun, create, print_created, random_letters};
use crate::client::explain::cause::{Finding, State};
use crate::client::explain::collect::{Related, Scope};
use crate::client::names::{self, Kind, ObjectName, SCHEDULES};
use crate::client::output;
use crate::client::suggest::Suggestions;
use crate::client::trigger::{LETTERS, Name, job_now, of_cron_job, of_job_schedule};
use crate::job::FAILURE_ANNOTATION;
use crate::job::admission::{PublishedWaiting, WAITING_ANNOTATION};
use crate::job::decide::failure_report::FailureReport;
use crate::schedule::job_schedule::types::JobSchedule;
use crate::schedule::parameters::ParameterValue;

/// Exit code when the followed Job failed. Errors of the command itself have exit code 1.
const FAILED: u8 = 2;

/// The flags of `jobwright trigger`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// CronJob or JobSchedule, as kubectl names it: cronjob/NAME or cronjob NAME
    #[arg(value_name = "TYPE/NAME", required = true)]
    objects: Vec<String>,
    /// The Job's name; without it the subject's, "-manual-" and five letters
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Follow the Job to its end; the exit code is 0 if it completes and 2 if it fails
    #[arg(short, long)]
    watch: bool,
    /// Longest time to follow the Job, such as 10m; the exit code is then 124, and the Job keeps running
    #[arg(long, value_name = "DURATION", requires = "watch", value_parser = crate::client::duration::timeout)]
    timeout: Option<Duration>,
    /// Set a parameter of a JobSchedule (spec.parameters), as NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE", value_parser = flag::value)]
    set: Vec<ParameterValue>,
    #[command(flatten)]
    overrides: OverrideArguments,
    #[command(flatten)]
    creation: CreationArguments,
}

/// Reason why no Job was started, or why the Job cannot be followed.
#[derive(Debug, Error)]
enum TriggerError {
    #[error(transparent)]
    Ask(#[from] ClusterReadError),
    #[error("cannot start a Job of {subject} in namespace {namespace}: {reason}")]
    Refused { subject: ObjectName, namespace: String, reason: String },
    #[error(
        "it is unknown whether the API server created job/{name} for {subject}: {reason}; \
         to find out, run: {command}"
    )]
    Unknown { subject: ObjectName, name: String, reason: String, command: String },
    #[error("job/{name} was deleted before it finished")]
    Deleted { name: String },
    #[error("cannot watch job/{name}: {reason}; the Job keeps running")]
    Unwatchable { name: String, reason: String },
}

/// Starts the Job, and follows it with `--watch`.
pub fn main(arguments: &Arguments, global: &GlobalArguments) -> ExitCode {
    exit_with(run(arguments, global))
}

#[tokio::main(flavor = "current_thread")]
async fn run(arguments: &Arguments, global: &GlobalArguments) -> Result<ExitCode, TriggerError> {
    let subject = &names::one(&arguments.objects, SCHEDULES).map_err(ClusterReadError::from)?;
    let context = global.open().await.map_err(ClusterReadError::from)?;
    let refused = |reason: String| TriggerError::Refused {
        subject: subject.clone(),
        namespace: context.namespace.clone(),
        reason,
    };
    let unreadable = context.unreadable(&subject.to_string());
    let template = if subject.kind == Kind::CronJob {
        of_cron_job(&context.api::<CronJob>().get(&subject.name).await.map_err(unreadable)?)
    } else {
        let schedule = context.api::<JobSchedule>().get(&subject.name).await.map_err(unreadable)?;
        of_job_schedule(&schedule).map_err(|error| refused(format!("spec.jobTemplate.spec: {error}")))?
    };
    let set = flag::checked(subject, &template.parameters, &arguments.set).map_err(refused)?;
    let letters = random_letters(LETTERS);
    let name = arguments.name.as_deref().map_or(Name::Letters(&letters), Name::Given);
    let mut job = job_now(template, name, &set);
    let template = &mut job["spec"]["template"];
    arguments.overrides.apply(template).map_err(|error| refused(error.to_string()))?;
    let created = create(&context, job, arguments.creation.dry_run).await.map_err(|error| match error {
        CreateError::Refused { reason, .. } => refused(reason),
        CreateError::Unknown { name, reason, command } => {
            TriggerError::Unknown { subject: subject.clone(), name, reason, command }
        }
    })?;
    print_created(&created, &arguments.creation);
    if !arguments.watch || arguments.creation.dry_run != DryRun::None {
        return Ok(ExitCode::SUCCESS);
    }
    let followed = follow(&context, &created);
    match arguments.timeout {
        None => followed.await,
        Some(timeout) => tokio::time::timeout(timeout, followed).await.unwrap_or_else(|_| {
            output::error_line(format!("jobwright: the timeout has passed; job/{} keeps running", created.name_any()));
            Ok(ExitCode::from(wait::TIMED_OUT))
        }),
    }
}

/// Prints each change of the counters, and what prevents the Job from running, until the Job is finished. Returns the
/// exit code.
async fn follow(context: &ClusterContext, job: &DynamicObject) -> Result<ExitCode, TriggerError> {
    let name = job.name_any();
    let jobs = watcher::watcher(context.api::<Job>(), wait::of_one(&name));
    let mut changes = std::pin::pin!(jobs.default_backoff());
    let mut causes = wait::causes();
    let (mut current, mut last, mut last_cause) = (None, String::new(), None);
    loop {
        let change = tokio::select! {
            change = changes.try_next() => change,
            _ = causes.tick() => {
                if let Some(seen) = &current {
                    let cause = cause(context, seen).await;
                    if let Some(line) = cause.as_ref().filter(|_| cause != last_cause) {
                        output::print_line(format!("job/{name} {line}"));
                    }
                    last_cause = cause;
                }
                continue;
            }
        };
        let event = match change {
            Ok(Some(event)) => event,
            // The watcher restarts automatically after an error. Only a missing permission does not go away.
            Err(error) => {
                let reason = error.to_string();
                if reason.contains("orbidden") {
                    return Err(TriggerError::Unwatchable { name, reason });
                }
                continue;
            }
            Ok(None) => return Err(TriggerError::Unwatchable { name, reason: "the watch ended".to_owned() }),
        };
        let seen = match event {
            watcher::Event::Apply(seen) | watcher::Event::InitApply(seen) => seen,
            watcher::Event::Delete(seen) if seen.uid() == job.uid() => return Err(TriggerError::Deleted { name }),
            _ => continue,
        };
        if seen.uid() != job.uid() {
            return Err(TriggerError::Deleted { name });
        }
        let status = seen.status.clone().unwrap_or_default();
        let waits = limited(&seen).unwrap_or_default();
        let now = progress(&status, seen.spec.as_ref().and_then(|spec| spec.completions)) + &waits;
        if now != last {
            output::print_line(format!("job/{name}: {now}"));
            last = now;
        }
        if let Some(end) = end(&status) {
            let why = [&end.reason, &end.message].map(|text| text.clone().unwrap_or_default());
            output::print_line(format!("job/{name}: {} ({}: {})", end.type_, why[0], why[1]));
            if end.type_ == "Complete" {
                return Ok(ExitCode::SUCCESS);
            }
            output::print(failure(&seen, &context.suggest));
            return Ok(ExitCode::from(FAILED));
        }
        current = Some(seen);
    }
}

/// Returns what prevents the Job from running, with the pods and warnings that the user may read.
async fn cause(context: &ClusterContext, job: &Job) -> Option<String> {
    let scope = Scope::Namespace(context.namespace.clone());
    let related = Related::read(&context.client, &scope, std::slice::from_ref(job)).await;
    trouble(&related.find(job, crate::client::now()))
}

/// Returns the line for a Job that is stuck or failing. The counters report the other states.
fn trouble(finding: &Finding) -> Option<String> {
    let shown = matches!(finding.state, State::Stuck | State::Failing);
    shown.then(|| format!("is {}: {}", finding.state.word().to_lowercase(), finding.cause))
}

/// Returns the cause that the controller recorded, the end of the log, and the command that explains the failure.
fn failure(job: &Job, suggest: &Suggestions) -> String {
    let report = job.annotations().get(FAILURE_ANNOTATION);
    let report: Option<FailureReport> = report.and_then(|text| serde_json::from_str(text).ok());
    let mut lines: Vec<String> = report.iter().map(|report| report.event().message).collect();
    lines.extend(report.into_iter().flat_map(|report| report.log).map(|line| format!("    {line}")));
    lines.push(format!("To see why: {}", suggest.jobwright(&format!("explain job/{}", job.name_any()))));
    lines.into_iter().map(|line| line + "\n").collect()
}

/// Returns the JobLimit that the Job waits for, as the controller published it.
fn limited(job: &Job) -> Option<String> {
    let PublishedWaiting { limit, position, .. } = PublishedWaiting::parse(job.annotations().get(WAITING_ANNOTATION)?);
    Some(match position {
        0 => format!("; waits for JobLimit {limit}"),
        position => format!("; waits for JobLimit {limit}, position {position}"),
    })
}

fn progress(status: &JobStatus, completions: Option<i32>) -> String {
    let number = |count: Option<i32>| count.unwrap_or_default();
    let of = completions.map_or_else(String::new, |completions| format!(" of {completions}"));
    let (active, succeeded, failed) = (number(status.active), number(status.succeeded), number(status.failed));
    format!("{active} active, {succeeded}{of} succeeded, {failed} failed")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn job_that_is_stuck_or_failing_is_reported_while_it_is_followed() {
        let finding = |state| Finding { state, reason: "R".to_owned(), cause: "no image".to_owned(), since: None };
        assert_eq!(trouble(&finding(State::Stuck)).as_deref(), Some("is stuck: no image"));
        assert_eq!(trouble(&finding(State::Failing)).as_deref(), Some("is failing: no image"));
        for state in [State::Waiting, State::Running, State::Suspended, State::Complete, State::Failed] {
            assert_eq!(trouble(&finding(state)), None, "{state:?}");
        }
    }

    #[test]
    fn failure_has_its_cause_its_log_and_the_command_that_explains_it() {
        let report = json!({"pod": "a-1", "container": "main", "exitCode": 3, "log": ["disk full"]}).to_string();
        let job: Job =
            serde_json::from_value(json!({"metadata": {"name": "a", "annotations": {FAILURE_ANNOTATION: report,
            WAITING_ANNOTATION: r#"{"limit":"lim","position":4}"#}}}))
            .unwrap();
        let suggest = Suggestions::new("jobwright", Some("ux".to_owned()), Vec::new());
        assert_eq!(
            failure(&job, &suggest),
            "Pod a-1, container main: exit code 3\n    disk full\nTo see why: jobwright explain job/a -n ux\n"
        );
        assert_eq!(limited(&job).as_deref(), Some("; waits for JobLimit lim, position 4"));
    }
}
