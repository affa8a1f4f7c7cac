//! `jobwright backfill`: runs for past times of a CronJob or JobSchedule.
//!
//! The command stores the range in the JobSchedule, and the controller works on it. A CronJob has no field for it: the
//! command creates a JobSchedule from the CronJob, which has no other times.

use std::collections::BTreeMap;
use std::process::ExitCode;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use thiserror::Error;

use super::global::GlobalArguments;
use crate::client::backfill::{self as plan, CRON_JOB_LABEL, Planned};
use crate::client::cluster::{ClusterContext, ClusterReadError, exit_with};
use crate::client::creation::parameters as flag;
use crate::client::creation::{DryRun, Format, formatted};
use crate::client::explain::collect::Scope;
use crate::client::explain::explanation::counted;
use crate::client::lists::ListEach;
use crate::client::names::{self, Kind, ObjectName, SCHEDULES};
use crate::client::{calendars, output, selected};
use crate::runtime::errors::message;
use crate::schedule::backfill::{Order, Range};
use crate::schedule::calendar::types::Calendar;
use crate::schedule::job_schedule::types::{JobSchedule, JobScheduleSpec};
use crate::schedule::job_schedule::view::CalendarNames;
use crate::schedule::parameters::{Parameter, ParameterValue};

/// The flags of `jobwright backfill`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// CronJob or JobSchedule, as kubectl names it: cronjob/NAME or cronjob NAME
    #[arg(value_name = "TYPE/NAME", required = true)]
    objects: Vec<String>,
    /// First time, such as 2026-01-05, 2026-01-05T06:00 (in the time zone of the schedule) or 2026-01-05T06:00:00Z
    #[arg(long, value_name = "TIME", required_unless_present = "cancel")]
    from: Option<String>,
    /// Last time, in the same formats; a day includes its last second
    #[arg(long, value_name = "TIME", required_unless_present = "cancel")]
    to: Option<String>,
    /// Order of the runs
    #[arg(long, value_enum, default_value = "oldest-first")]
    order: OrderArgument,
    /// Number of active Jobs beside which no further run is started [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    max_active: Option<u32>,
    /// Set a parameter of a JobSchedule (spec.parameters) for the runs of the backfill, as NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE", value_parser = flag::value)]
    set: Vec<ParameterValue>,
    /// Start no further runs; active Jobs keep running
    #[arg(long, conflicts_with_all = ["from", "to", "max_active", "set"])]
    cancel: bool,
    /// Store nothing: `client` prints the times and their runs, `server` has the API server check the request
    #[arg(long, value_enum, value_name = "MODE", default_value = "none")]
    dry_run: DryRun,
    /// Output format
    #[arg(short, long, value_enum)]
    output: Option<Format>,
}

/// Order of the runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum OrderArgument {
    /// By scheduled time, the first one first
    OldestFirst,
    /// By scheduled time, the last one first
    NewestFirst,
}

impl OrderArgument {
    fn order(self) -> Order {
        match self {
            Self::OldestFirst => Order::OldestFirst,
            Self::NewestFirst => Order::NewestFirst,
        }
    }
}

/// Reason why no backfill was started or cancelled.
#[derive(Debug, Error)]
enum BackfillError {
    #[error(transparent)]
    Read(#[from] ClusterReadError),
    #[error("cannot backfill {subject} in namespace {namespace}: {reason}")]
    Refused { subject: ObjectName, namespace: String, reason: String },
}

/// Starts or cancels a backfill.
pub fn main(arguments: &Arguments, global: &GlobalArguments) -> ExitCode {
    exit_with(run(arguments, global))
}

#[tokio::main(flavor = "current_thread")]
async fn run(arguments: &Arguments, global: &GlobalArguments) -> Result<ExitCode, BackfillError> {
    let subject = names::one(&arguments.objects, SCHEDULES).map_err(ClusterReadError::from)?;
    let context = global.open().await.map_err(ClusterReadError::from)?;
    let command = Command { context: &context, subject: &subject, arguments };
    match (subject.kind, arguments.cancel) {
        (Kind::CronJob, false) => command.of_cron_job().await?,
        (Kind::CronJob, true) => command.cancel_of_cron_job().await?,
        (_, false) => command.of_job_schedule().await?,
        (_, true) => {
            let schedule = command.job_schedule(&subject.name).await?;
            command.cancel(&schedule).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One call of the command.
struct Command<'a> {
    context: &'a ClusterContext,
    subject: &'a ObjectName,
    arguments: &'a Arguments,
}

/// Times that were asked for.
struct Wanted {
    planned: Vec<Planned>,
    zone: TimeZone,
}

impl Command<'_> {
    fn refused(&self, reason: impl Into<String>) -> BackfillError {
        let namespace = self.context.namespace.clone();
        BackfillError::Refused { subject: self.subject.clone(), namespace, reason: reason.into() }
    }

    async fn job_schedule(&self, name: &str) -> Result<JobSchedule, BackfillError> {
        let unreadable = self.context.unreadable(&self.subject.to_string());
        Ok(self.context.api::<JobSchedule>().get(name).await.map_err(unreadable)?)
    }

    async fn jobs(&self) -> Result<Vec<Job>, BackfillError> {
        let jobs = self.context.api::<Job>();
        Ok(jobs.list_each(&ListParams::default()).await.map_err(self.context.unreadable("jobs"))?)
    }

    /// Returns the range of the flags, in this time zone.
    fn range(&self, zone: Option<&str>) -> Result<(Range, TimeZone), BackfillError> {
        let Arguments { from, to, order, .. } = self.arguments;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        plan::range(&text(from), &text(to), order.order(), zone).map_err(|reason| self.refused(reason))
    }

    async fn of_job_schedule(&self) -> Result<(), BackfillError> {
        let schedule = self.job_schedule(&self.subject.name).await?;
        let (range, zone) = self.range(schedule.spec.time_zone.as_deref())?;
        let set = self.set(&schedule.spec.parameters)?;
        plan::check(&schedule, &range, &self.cancel_command()).map_err(|reason| self.refused(reason))?;
        let history = schedule.status.as_ref().map_or(&[][..], |status| &status.history);
        let runs = plan::runs(&self.jobs().await?, &schedule.uid().unwrap_or_default(), history);
        let calendars = calendars::read(self.context, &CalendarNames::of(&schedule.spec)).await;
        let calendars = calendars.map_err(self.context.unreadable("calendars"))?;
        let created = schedule.creation_timestamp().map(|time| time.0);
        let wanted = self.wanted(&schedule.spec, created, &calendars, (range, zone), &runs)?;
        let backfill = plan::spec(&range, self.arguments.max_active, &[], &set);
        let changed = match self.arguments.dry_run {
            DryRun::Client => {
                let mut object = serde_json::to_value(&schedule).unwrap_or_default();
                object["spec"]["backfill"] = plan::without_nulls(backfill);
                serde_json::from_value(object).map_err(|error| self.refused(error.to_string()))?
            }
            _ => self.patch(&self.subject.name, &json!({"spec": {"backfill": backfill}})).await?,
        };
        self.print(&changed, &wanted);
        Ok(())
    }

    fn set(&self, parameters: &[Parameter]) -> Result<Vec<ParameterValue>, BackfillError> {
        flag::checked(self.subject, parameters, &self.arguments.set).map_err(|reason| self.refused(reason))
    }

    async fn of_cron_job(&self) -> Result<(), BackfillError> {
        self.set(&[])?;
        let unreadable = self.context.unreadable(&self.subject.to_string());
        let cron_job = self.context.api::<CronJob>().get(&self.subject.name).await.map_err(unreadable)?;
        let (range, zone) = self.range(cron_job.spec.time_zone.as_deref())?;
        let runs = plan::runs(&self.jobs().await?, &cron_job.uid().unwrap_or_default(), &[]);
        let in_range: Vec<Timestamp> = runs.range(range.from..=range.to).map(|(time, _)| *time).collect();
        let backfill = plan::spec(&range, self.arguments.max_active, &in_range, &[]);
        let object = plan::of_cron_job(&cron_job, &range, backfill).map_err(|reason| self.refused(reason))?;
        let spec: JobScheduleSpec =
            serde_json::from_value(object["spec"].clone()).map_err(|error| self.refused(format!("spec: {error}")))?;
        let wanted = self.wanted(&spec, None, &[], (range, zone), &runs)?;
        let object: DynamicObject = serde_json::from_value(object).map_err(|error| self.refused(error.to_string()))?;
        let created = match self.arguments.dry_run {
            DryRun::Client => object,
            _ => self.create(&object).await?,
        };
        self.print(&created, &wanted);
        Ok(())
    }

    async fn create(&self, object: &DynamicObject) -> Result<DynamicObject, BackfillError> {
        let params = PostParams { dry_run: self.arguments.dry_run == DryRun::Server, ..PostParams::default() };
        self.schedules().create(&params, object).await.map_err(|error| {
            self.refused(match &error {
                kube::Error::Api(status) if status.code == 404 => {
                    let install = self.context.suggest.jobwright("crds | kubectl apply -f -");
                    format!(
                        "the cluster has no JobSchedules, which run past times of CronJobs; install them: {install}"
                    )
                }
                kube::Error::Api(status) if status.reason == "AlreadyExists" => format!(
                    "a backfill of this range exists: jobschedule/{}; to run times of it again, delete it first",
                    object.name_any()
                ),
                _ => message(&error),
            })
        })
    }

    async fn patch(&self, name: &str, patch: &Value) -> Result<DynamicObject, BackfillError> {
        let params = PatchParams { dry_run: self.arguments.dry_run == DryRun::Server, ..PatchParams::default() };
        let changed = self.schedules().patch(name, &params, &Patch::Merge(patch)).await;
        changed.map_err(|error| self.refused(message(&error)))
    }

    fn schedules(&self) -> Api<DynamicObject> {
        selected::api(self.context, Kind::JobSchedule, &Scope::Namespace(self.context.namespace.clone()))
    }

    fn cancel_command(&self) -> String {
        self.context.suggest.jobwright(&format!("backfill {} --cancel", self.subject))
    }

    /// Returns the times, each with the run that it has already.
    fn wanted(
        &self,
        spec: &JobScheduleSpec,
        created: Option<Timestamp>,
        calendars: &[Calendar],
        (range, zone): (Range, TimeZone),
        runs: &BTreeMap<Timestamp, String>,
    ) -> Result<Wanted, BackfillError> {
        let (namespace, name) = (&*self.context.namespace, &*self.subject.name);
        let subject = plan::Subject { namespace, name, spec, created, calendars };
        let planned = plan::wanted(&subject, &range, runs, crate::client::now());
        let planned = planned.map_err(|error| self.refused(error))?;
        Ok(Wanted { planned, zone })
    }

    /// Prints the object that was stored. A dry run of the client also prints each time.
    fn print(&self, object: &DynamicObject, wanted: &Wanted) {
        if let Some(format) = self.arguments.output {
            return output::print(formatted(Kind::JobSchedule, object, format));
        }
        if self.arguments.dry_run == DryRun::Client {
            for planned in &wanted.planned {
                let time = planned.time.to_zoned(wanted.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
                output::print_line(match &planned.run {
                    Some(run) => format!("{time} skipped: has run as job/{run}"),
                    None => time,
                });
            }
        }
        let skipped = wanted.planned.iter().filter(|planned| planned.run.is_some()).count();
        let (runs, name) = (wanted.planned.len() - skipped, Kind::JobSchedule.qualified(&object.name_any()));
        let runs = counted(runs, "run");
        output::print_line(format!("{name} backfills {runs}, skips {skipped}{}", self.arguments.dry_run.note()));
        if self.arguments.dry_run == DryRun::None {
            let explain = format!("explain jobschedule/{}", object.name_any());
            output::print_line(format!("To see the progress: {}", self.context.suggest.jobwright(&explain)));
        }
    }

    /// Removes the backfill from a JobSchedule.
    async fn cancel(&self, schedule: &JobSchedule) -> Result<(), BackfillError> {
        let name = schedule.name_any();
        let qualified = Kind::JobSchedule.qualified(&name);
        let cancelled = match &schedule.spec.backfill {
            None => return Err(self.refused(format!("{qualified} has no backfill"))),
            Some(_) if self.arguments.dry_run == DryRun::Client => {
                let mut object = serde_json::to_value(schedule).unwrap_or_default();
                if let Some(spec) = object["spec"].as_object_mut() {
                    spec.remove("backfill");
                }
                serde_json::from_value(object).map_err(|error| self.refused(error.to_string()))?
            }
            Some(_) => self.patch(&name, &json!({"spec": {"backfill": null}})).await?,
        };
        if let Some(format) = self.arguments.output {
            output::print(formatted(Kind::JobSchedule, &cancelled, format));
            return Ok(());
        }
        let progress = schedule.status.as_ref().and_then(|status| status.backfill.as_ref());
        let left = progress.map_or_else(String::new, |progress| {
            format!(": {} of {} runs were started, {} are active", progress.started, progress.total, progress.active)
        });
        output::print_line(format!("{qualified} backfill cancelled{}{left}", self.arguments.dry_run.note()));
        Ok(())
    }

    /// Cancels the backfills that were made from a CronJob.
    async fn cancel_of_cron_job(&self) -> Result<(), BackfillError> {
        let params = ListParams::default().labels(&format!("{CRON_JOB_LABEL}={}", self.subject.name));
        let schedules = self.context.api::<JobSchedule>();
        let found = schedules.list_each(&params).await.map_err(self.context.unreadable("jobschedules"))?;
        let mut open = found.iter().filter(|schedule| schedule.spec.backfill.is_some()).peekable();
        if open.peek().is_none() {
            return Err(self.refused("it has no backfill"));
        }
        for schedule in open {
            self.cancel(schedule).await?;
        }
        Ok(())
    }
}
