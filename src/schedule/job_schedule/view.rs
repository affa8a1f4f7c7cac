//! JobSchedules as decisions use them: the part that they have in common with CronJobs, and the additional fields.

use std::str::FromStr;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use kube::Resource;
use serde::Deserialize;
use serde_json::{Value, json};

use super::RESUME;
use super::hashed;
use super::names;
use super::one_off;
use super::timetable::{self, Timetable};
use super::types::{
    self, BackfillStatus, CatchUp, ConcurrencyPolicy, Dst, JobSchedule, JobScheduleSpec, JobScheduleStatus, Run,
};
use crate::job::view::identity;
use crate::job::wire::metadata;
use crate::runtime::cache::Cached;
use crate::runtime::clock::whole_seconds;
use crate::runtime::codec::WireObject;
use crate::runtime::hash::hash;
use crate::runtime::identity::{Identity, Uid};
use crate::schedule::backfill::{Backfill, Progress, Range};
use crate::schedule::calendar::KIND as CALENDAR;
use crate::schedule::calendar::period::{NO_PERIOD, Period, PeriodEntry};
use crate::schedule::calendar::versions::Versions;
use crate::schedule::cron_job::schedule_changes::ScheduleChanges;
use crate::schedule::cron_job::view::{self, ActiveJob, CronJobSpec, CronJobStatus, CronJobView};
use crate::schedule::parameters::Parameter;
use crate::schedule::{job, zones};

/// Default maximum number of missed runs that are started.
const CATCH_UP: usize = 10;
/// Upper bound of `spec.maxCatchUp`, because each sync computes all these times. It applies even if an earlier version
/// of the resource admitted a higher value.
const MAX_CATCH_UP: usize = 1000;
/// Upper bound of `spec.historyLimit`, because the status stores all these runs. It applies even if an earlier version
/// of the resource admitted a higher value.
const MAX_HISTORY: usize = 100;

/// JobSchedule as the API server sends it. Its spec and status are parsed later, so that a malformed JobSchedule does
/// not prevent the others from being listed.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = JobSchedule)]
pub struct WireJobSchedule {
    /// Part of the metadata.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// Spec as unparsed JSON.
    #[serde(default)]
    pub spec: Value,
    /// Status as unparsed JSON.
    #[serde(default)]
    pub status: Value,
}

impl WireObject for WireJobSchedule {}

/// JobSchedule, reduced to the data that decisions need.
#[derive(Clone, Debug)]
pub struct JobScheduleView {
    /// Part that the JobSchedule has in common with a CronJob. The schedule and the policy in this part are not used.
    pub base: CronJobView,
    /// Texts of the schedules, as the spec has them.
    pub schedules: Vec<String>,
    /// Scheduled times, or an error about an invalid field.
    pub timetable: Result<Timetable, String>,
    /// Names of the calendars of the timetable.
    pub calendars: CalendarNames,
    /// Hash of the fields that define the timetable, to detect changes.
    pub times: String,
    /// Handling of missed runs.
    pub catch_up: CatchUp,
    /// Maximum number of missed runs that are started.
    pub max_catch_up: usize,
    /// Policy for a run that is due while an earlier Job is active.
    pub policy: ConcurrencyPolicy,
    /// Maximum number of active Jobs.
    pub max_active: Option<usize>,
    /// Number of runs after which none is due.
    pub max_runs: Option<usize>,
    /// Number of failed runs in a row after which no more Jobs are started.
    pub suspend_after_failures: Option<i32>,
    /// Value of the annotation [`RESUME`].
    pub resume: Option<String>,
    /// Maximum number of runs in the history.
    pub history_limit: usize,
    /// Past times for which runs are started.
    pub backfill: Option<Backfill>,
    /// Parameters of the Jobs.
    pub parameters: Vec<Parameter>,
    /// Stored status fields that a CronJob does not have.
    pub stored: Stored,
}

/// Status fields of a JobSchedule that a CronJob does not have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// Number of active Jobs.
    pub active_count: i32,
    /// Scheduled time of the next run.
    pub next: Option<String>,
    /// Outcome of the last run that ended.
    pub last_outcome: Option<String>,
    /// Last runs that ended, the newest first.
    pub history: Vec<Run>,
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// Generation of the spec from which the status was derived.
    pub observed_generation: Option<i64>,
    /// Number of runs that are due and wait.
    pub queued: i32,
    /// Runs in a row that have failed.
    pub failures: Failures,
    /// Hash of the fields that define the timetable.
    pub times: Option<String>,
    /// Time from which the current timetable applies.
    pub times_since: Option<Timestamp>,
}

/// Failed runs, as the status stores them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// Number of runs that have failed since the last one that succeeded, or since the last new value of [`RESUME`].
    pub in_a_row: i32,
    /// Last value of [`RESUME`].
    pub resume: Option<String>,
}

impl JobScheduleView {
    /// Returns the time from which the current timetable applies. Times before it are not caught up on.
    pub fn times_since(&self, now: Timestamp) -> Timestamp {
        match &self.stored.times {
            None => self.base.created,
            Some(times) if *times == self.times => self.stored.times_since.unwrap_or(self.base.created),
            Some(_) => whole_seconds(now),
        }
    }

    /// Parses a JobSchedule; none if it lacks metadata that every stored object has.
    pub fn parse(wire: WireJobSchedule) -> Option<Self> {
        let identity = identity(&wire.metadata)?;
        let created = wire.metadata.creation_timestamp.as_ref().map(|time| time.0).unwrap_or_default();
        let status: JobScheduleStatus = serde_json::from_value(wire.status.clone()).unwrap_or_default();
        let template = wire.spec.get("jobTemplate").cloned().unwrap_or_default();
        let times = times(&wire.spec);
        let (spec, wrong) = match serde_json::from_value::<JobScheduleSpec>(wire.spec) {
            Ok(spec) => (Some(spec), None),
            Err(error) => (None, Some(format!("spec: {error}"))),
        };
        let who = format!("{}/{}", identity.namespace, identity.name);
        let timetable = match (&spec, wrong) {
            (Some(spec), None) => timetable(spec, &who, created),
            (_, wrong) => Err(wrong.unwrap_or_default()),
        };
        let text = serde_json::value::to_raw_value(&template).ok()?;
        let finalizers = wire.metadata.finalizers.as_ref();
        let of = spec.as_ref();
        let positive = |number: i32| usize::try_from(number).unwrap_or_default();
        let references = wire.status.get("active").and_then(Value::as_array);
        Some(Self {
            base: CronJobView {
                generation: wire.metadata.generation,
                deleting: wire.metadata.deletion_timestamp.is_some(),
                has_finalizers: finalizers.is_some_and(|finalizers| !finalizers.is_empty()),
                created,
                spec: CronJobSpec {
                    schedule: String::new(),
                    time_zone: of.and_then(|spec| spec.time_zone.clone()),
                    starting_deadline: of
                        .and_then(|spec| spec.starting_deadline_seconds)
                        .map(SignedDuration::from_secs),
                    concurrency_policy: view::ConcurrencyPolicy::Allow,
                    suspend: of.is_some_and(|spec| spec.suspend),
                    successful_limit: of.map(|spec| spec.successful_jobs_history_limit),
                    failed_limit: of.map(|spec| spec.failed_jobs_history_limit),
                    job_template: text.into(),
                },
                status: CronJobStatus {
                    active: references.into_iter().flatten().cloned().filter_map(ActiveJob::parse).collect(),
                    last_schedule: status.last_schedule_time.map(|time| time.0),
                    last_successful: status.last_successful_time.map(|time| time.0),
                    backfill: status.backfill.as_ref().map(progress),
                    started_runs: positive(status.started_runs),
                },
                changes: ScheduleChanges::default(),
                identity,
            },
            schedules: of.map(|spec| spec.schedules.clone()).unwrap_or_default(),
            timetable,
            calendars: of.map(CalendarNames::of).unwrap_or_default(),
            times,
            catch_up: of.map(|spec| spec.catch_up).unwrap_or_default(),
            max_catch_up: of.and_then(|spec| spec.max_catch_up).map_or(CATCH_UP, positive).min(MAX_CATCH_UP),
            policy: of.map(|spec| spec.concurrency_policy).unwrap_or_default(),
            max_active: of.and_then(|spec| spec.max_active).map(positive),
            max_runs: of.and_then(|spec| spec.max_runs).map(positive),
            suspend_after_failures: of.and_then(|spec| spec.suspend_after_failures),
            resume: wire.metadata.annotations.as_ref().and_then(|all| all.get(RESUME)).cloned(),
            history_limit: of.map(|spec| positive(spec.history_limit)).unwrap_or_default().min(MAX_HISTORY),
            backfill: of.and_then(|spec| spec.backfill.as_ref()).map(backfill),
            parameters: of.map(|spec| spec.parameters.clone()).unwrap_or_default(),
            stored: Stored {
                active_count: status.active_count,
                next: status.next_schedule_time,
                last_outcome: status.last_outcome,
                history: status.history,
                conditions: status.conditions,
                observed_generation: status.observed_generation,
                queued: status.queued,
                failures: Failures { in_a_row: status.failed_runs_in_a_row, resume: status.last_resume },
                times: status.times_hash,
                times_since: status.times_since.map(|time| time.0),
            },
        })
    }

    /// Returns the JobSchedule with the calendars that it names; none if it names none. `find` returns a calendar by its
    /// name. Without one of them, the timetable is an error.
    pub fn with_calendars(&self, find: impl Fn(&str) -> Option<Arc<Versions>>) -> Option<Self> {
        if self.calendars.is_empty() {
            return None;
        }
        let mut with = self.clone();
        if let Ok(table) = &mut with.timetable
            && let Err(error) = self.calendars.set(table, find)
        {
            with.timetable = Err(error);
        }
        Some(with)
    }

    /// Returns the number of runs that can still become due, given this status; none without `spec.maxRuns`.
    pub fn runs_left(&self, status: &CronJobStatus) -> Option<usize> {
        self.max_runs.map(|max| max.saturating_sub(status.started_runs))
    }

    /// Returns the scheduled time of a Job with this name, which this version or an earlier one created.
    pub fn scheduled_time(&self, job: &str) -> Option<Timestamp> {
        let identity = &self.base.identity;
        names::scheduled_time(&identity.name, &identity.uid.text(), job)
    }

    /// Returns whether a time is in the range of the backfill, and was not handled according to the stored status.
    pub fn is_to_be_backfilled(&self, time: Timestamp) -> bool {
        match (&self.backfill, self.backfill_progress()) {
            (None, _) => false,
            (Some(_), Some(stored)) => stored.is_open(time),
            (Some(backfill), None) => backfill.range.from <= time && time <= backfill.range.to,
        }
    }

    /// Returns the stored progress of the backfill; none if the status has none, or that of another range.
    pub fn backfill_progress(&self) -> Option<&Progress> {
        let range = self.backfill.as_ref()?.range;
        self.base.status.backfill.as_ref().filter(|stored| stored.range == range)
    }

    /// Formats a time in the time zone of the JobSchedule.
    pub fn format_time(&self, time: Timestamp) -> String {
        job::stamp(&self.base, time)
    }
}

/// Names of the calendars that a JobSchedule excludes or is restricted to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CalendarNames {
    exclude: Vec<String>,
    only: Vec<String>,
}

impl CalendarNames {
    /// Returns the names in a spec.
    pub fn of(spec: &JobScheduleSpec) -> Self {
        Self { exclude: spec.exclude_calendars.clone(), only: spec.only_calendars.clone() }
    }

    /// Returns whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.exclude.is_empty() && self.only.is_empty()
    }

    /// Returns all names.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.exclude.iter().chain(&self.only).map(String::as_str)
    }

    /// Sets the calendars of a timetable. `find` returns a calendar by its name.
    ///
    /// # Errors
    /// A calendar does not exist. The error names the field.
    pub fn set(&self, table: &mut Timetable, find: impl Fn(&str) -> Option<Arc<Versions>>) -> Result<(), String> {
        let found = |field: &str, names: &[String]| {
            let of_name = |(place, name): (usize, &String)| {
                find(name).ok_or_else(|| {
                    format!("spec.{field}[{place}]: {CALENDAR} {name:?} does not exist in the namespace")
                })
            };
            names.iter().enumerate().map(of_name).collect::<Result<Vec<_>, _>>()
        };
        table.exclude_calendars = found("excludeCalendars", &self.exclude)?;
        table.only_calendars = found("onlyCalendars", &self.only)?;
        Ok(())
    }
}

/// Returns the backfill of a spec.
pub fn backfill(spec: &types::Backfill) -> Backfill {
    let max_active = spec.max_active.and_then(|max| usize::try_from(max).ok()).unwrap_or(1);
    // The status stores whole seconds, so that fractions would make each sync find another range.
    let range = Range { from: whole_seconds(spec.from.0), to: whole_seconds(spec.to.0), order: spec.order };
    let skip = spec.skip.iter().map(|time| whole_seconds(time.0)).collect();
    Backfill { range, max_active, skip, parameters: spec.parameters.clone() }
}

/// Returns the range of a stored backfill.
pub fn backfill_range(stored: &BackfillStatus) -> Range {
    Range { from: stored.from.0, to: stored.to.0, order: stored.order }
}

fn progress(stored: &BackfillStatus) -> Progress {
    let count = |count: i32| usize::try_from(count).unwrap_or_default();
    Progress {
        range: backfill_range(stored),
        until: stored.until.0,
        total: count(stored.total),
        started: count(stored.started),
        skipped: count(stored.skipped),
        active: count(stored.active),
        succeeded: count(stored.succeeded),
        failed: count(stored.failed),
        last: stored.last_time.as_ref().map(|time| time.0),
        completed: stored.completion_time.as_ref().map(|time| time.0),
    }
}

/// Returns the JSON merge patch of the status of a backfill.
pub fn backfill_patch(progress: &Progress) -> Value {
    let mut patch = json!(backfill_status(progress));
    // The times of an earlier backfill do not stay.
    for field in ["lastTime", "completionTime"] {
        if patch[field].is_null() {
            patch[field] = Value::Null;
        }
    }
    patch
}

fn backfill_status(progress: &Progress) -> BackfillStatus {
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    BackfillStatus {
        from: Time(progress.range.from),
        to: Time(progress.range.to),
        order: progress.range.order,
        until: Time(progress.until),
        total: count(progress.total),
        started: count(progress.started),
        skipped: count(progress.skipped),
        remaining: count(progress.remaining()),
        active: count(progress.active),
        succeeded: count(progress.succeeded),
        failed: count(progress.failed),
        last_time: progress.last.map(Time),
        completion_time: progress.completed.map(Time),
    }
}

/// Returns a hash of the fields of the spec that define the timetable.
fn times(spec: &Value) -> String {
    let fields = ["schedules", "timeZone", "dst", "jitter", "notBefore", "notAfter", "exclude"];
    let mut values: Vec<Value> = fields.into_iter().map(|field| spec.get(field).cloned().unwrap_or_default()).collect();
    // An object without calendars keeps the hash that earlier versions have stored.
    let calendars = ["excludeCalendars", "onlyCalendars"].map(|field| spec.get(field).cloned().unwrap_or_default());
    if calendars.iter().any(|names| names.as_array().is_some_and(|names| !names.is_empty())) {
        values.extend(calendars);
    }
    format!("{:016x}", hash([json!(values).to_string().as_bytes()]))
}

/// Returns a schedule with a value in place of each `H`. `who` is the `namespace/name` of the JobSchedule. `place` is
/// the index in `spec.schedules`.
///
/// # Errors
/// Returns an error if an `H` has invalid syntax or bounds. The error names the field and how to fix it.
pub fn resolved(schedule: &str, who: &str, place: usize) -> Result<String, String> {
    hashed::resolve(schedule.trim(), who, place).map_err(|error| format!("spec.schedules[{place}]: {error}"))
}

/// Returns the timetable of a JobSchedule with this spec. `who` is its `namespace/name`.
///
/// # Errors
/// Returns an error if a field is invalid. The error names the field and how to fix it.
pub fn timetable(spec: &JobScheduleSpec, who: &str, created: Timestamp) -> Result<Timetable, String> {
    let zone = match &spec.time_zone {
        None => TimeZone::UTC,
        Some(name) => zones::zone(name)
            .ok_or_else(|| format!("spec.timeZone: {name:?} is not an IANA time zone such as Europe/Paris"))?,
    };
    let schedule = |(place, text): (usize, &String)| {
        one_off::parse(&resolved(text, who, place)?).map_err(|error| format!("spec.schedules[{place}]: {error}"))
    };
    let exclude = |(place, entry): (usize, &PeriodEntry)| {
        Period::parse(entry).ok_or_else(|| format!("spec.exclude[{place}]: {NO_PERIOD}"))
    };
    let jitter = spec.jitter.as_deref().map(|text| {
        SignedDuration::from_str(text).map_err(|_| format!("spec.jitter: {text:?} is not a duration such as 90s or 5m"))
    });
    let time = |time: &Option<Time>| time.as_ref().map(|time| time.0);
    let dst = match spec.dst {
        Dst::Once => timetable::Dst::Once,
        Dst::Shift => timetable::Dst::Shift,
        Dst::Skip => timetable::Dst::Skip,
    };
    let schedules = spec.schedules.iter().enumerate().map(schedule).collect::<Result<_, _>>()?;
    Ok(Timetable {
        exclude: spec.exclude.iter().enumerate().map(exclude).collect::<Result<_, _>>()?,
        not_before: time(&spec.not_before),
        not_after: time(&spec.not_after),
        jitter: jitter.transpose()?.unwrap_or_default(),
        who: who.to_owned(),
        ..Timetable::new(schedules, zone, dst, created)
    })
}

impl Cached for JobScheduleView {
    fn identity(&self) -> &Identity {
        &self.base.identity
    }

    fn controller(&self) -> Option<&Uid> {
        None
    }

    fn has_finalizers(&self) -> bool {
        self.base.has_finalizers
    }
}
