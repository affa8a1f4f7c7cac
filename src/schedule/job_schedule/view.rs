//! What is known of a JobSchedule: what it has in common with a CronJob, and the rest.

use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::Deserialize;
use serde_json::{Value, json};

use super::hashed;
use super::names;
use super::timetable::{self, Excluded, Timetable};
use super::types::{CatchUp, ConcurrencyPolicy, Dst, Exclusion, JobSchedule, JobScheduleSpec, JobScheduleStatus, Run};
use crate::job::view::identity;
use crate::job::wire::metadata;
use crate::runtime::cache::Cached;
use crate::runtime::clock::whole_seconds;
use crate::runtime::hash::hash;
use crate::runtime::identity::{Identity, Uid};
use crate::schedule::cron_job::schedule_changes::ScheduleChanges;
use crate::schedule::cron_job::view::{self, ActiveJob, CronJobSpec, CronJobStatus, CronJobView};
use crate::schedule::expression::Schedule;
use crate::schedule::{job, zones};

/// As many missed times are caught up on where nothing is said.
const CATCH_UP: usize = 10;
/// More is not taken, by whatever version of the resource it was let in: the times are all looked at, and the runs stored.
const MAX_CATCH_UP: usize = 1000;
const MAX_HISTORY: usize = 100;

/// A JobSchedule as it comes over the wire. Spec and status are read later, so that one that cannot be read keeps none of
/// the others from being listed.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = JobSchedule)]
pub struct WireJobSchedule {
    /// Its metadata, in part.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// Its spec.
    #[serde(default)]
    pub spec: Value,
    /// Its status.
    #[serde(default)]
    pub status: Value,
}

/// A JobSchedule, as decisions see it.
#[derive(Clone, Debug)]
pub struct JobScheduleView {
    /// What it has in common with a CronJob; of the spec, the schedule and the policy are not looked at.
    pub base: CronJobView,
    /// When it is due, or what is wrong with that.
    pub timetable: Result<Timetable, String>,
    /// A hash of what the timetable was made from, to see whether it changes.
    pub times: String,
    /// What to do about missed times.
    pub catch_up: CatchUp,
    /// As many of them are caught up on at most.
    pub max_catch_up: usize,
    /// What to do while a Job before is active.
    pub policy: ConcurrencyPolicy,
    /// How many Jobs may be active.
    pub max_active: Option<usize>,
    /// How many runs are kept.
    pub history_limit: usize,
    /// What is stored besides what a CronJob's status holds.
    pub stored: Stored,
}

/// What is stored of a JobSchedule's progress besides what a CronJob's status holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// How many Jobs are active.
    pub active_count: i32,
    /// When it is due next.
    pub next: Option<String>,
    /// What the last run came to.
    pub last_outcome: Option<String>,
    /// The last runs, the newest first.
    pub history: Vec<Run>,
    /// The hash of the times that it goes by.
    pub times: Option<String>,
    /// Since when it goes by them.
    pub times_since: Option<Timestamp>,
}

impl JobScheduleView {
    /// Since when it is due at its present times: what would have been due before is nobody's business.
    pub fn times_since(&self, now: Timestamp) -> Timestamp {
        match &self.stored.times {
            None => self.base.created,
            Some(times) if *times == self.times => self.stored.times_since.unwrap_or(self.base.created),
            Some(_) => whole_seconds(now),
        }
    }

    /// Parses one; none if it lacks what every stored object has.
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
                },
                changes: ScheduleChanges::default(),
                identity,
            },
            timetable,
            times,
            catch_up: of.map(|spec| spec.catch_up).unwrap_or_default(),
            max_catch_up: of.and_then(|spec| spec.max_catch_up).map_or(CATCH_UP, positive).min(MAX_CATCH_UP),
            policy: of.map(|spec| spec.concurrency_policy).unwrap_or_default(),
            max_active: of.and_then(|spec| spec.max_active).map(positive),
            history_limit: of.map(|spec| positive(spec.history_limit)).unwrap_or_default().min(MAX_HISTORY),
            stored: Stored {
                active_count: status.active_count,
                next: status.next_schedule_time,
                last_outcome: status.last_outcome,
                history: status.history,
                times: status.times_hash,
                times_since: status.times_since.map(|time| time.0),
            },
        })
    }

    /// Returns the time that a Job with this name was started for, by this version or an earlier one.
    pub fn scheduled_time(&self, job: &str) -> Option<Timestamp> {
        let identity = &self.base.identity;
        names::scheduled_time(&identity.name, identity.uid.as_str(), job)
    }

    /// The time in its zone, as people there write it.
    pub fn format_time(&self, time: Timestamp) -> String {
        job::stamp(&self.base, time)
    }
}

/// A hash of the fields of the spec that say when it is due.
fn times(spec: &Value) -> String {
    let fields = ["schedules", "timeZone", "dst", "jitter", "notBefore", "notAfter", "exclude"];
    let values: Vec<Value> = fields.into_iter().map(|field| spec.get(field).cloned().unwrap_or_default()).collect();
    format!("{:016x}", hash([json!(values).to_string().as_bytes()]))
}

/// The schedule at this place, with a value for each `H`; `who` is its `namespace/name`.
///
/// # Errors
/// An `H` is not understood; the error names the field and the mend.
pub fn resolved(schedule: &str, who: &str, place: usize) -> Result<String, String> {
    hashed::resolve(schedule.trim(), who, place).map_err(|error| format!("spec.schedules[{place}]: {error}"))
}

/// When a JobSchedule with this spec is due; `who` is its `namespace/name`.
///
/// # Errors
/// A field cannot be read; the error names it and the mend.
pub fn timetable(spec: &JobScheduleSpec, who: &str, created: Timestamp) -> Result<Timetable, String> {
    let zone = match &spec.time_zone {
        None => TimeZone::UTC,
        Some(name) => {
            zones::zone(name).ok_or_else(|| format!("spec.timeZone: {name:?} is no IANA zone such as Europe/Paris"))?
        }
    };
    let schedule = |(place, text): (usize, &String)| {
        Schedule::parse(&resolved(text, who, place)?).map_err(|error| format!("spec.schedules[{place}]: {error}"))
    };
    let exclude = |(place, exclusion): (usize, &Exclusion)| {
        excluded(exclusion).ok_or_else(|| {
            format!("spec.exclude[{place}]: there is no such day or time; write 2026-12-25, 12-25, or from and to as 2026-12-24T18:00")
        })
    };
    let jitter = spec.jitter.as_deref().map(|text| {
        SignedDuration::from_str(text).map_err(|_| format!("spec.jitter: {text:?} is no duration such as 90s or 5m"))
    });
    let time = |time: &Option<Time>| time.as_ref().map(|time| time.0);
    Ok(Timetable {
        schedules: spec.schedules.iter().enumerate().map(schedule).collect::<Result<_, _>>()?,
        zone,
        dst: match spec.dst {
            Dst::Once => timetable::Dst::Once,
            Dst::Shift => timetable::Dst::Shift,
            Dst::Skip => timetable::Dst::Skip,
        },
        exclude: spec.exclude.iter().enumerate().map(exclude).collect::<Result<_, _>>()?,
        not_before: time(&spec.not_before),
        not_after: time(&spec.not_after),
        anchor: created,
        jitter: jitter.transpose()?.unwrap_or_default(),
        who: who.to_owned(),
    })
}

fn excluded(exclusion: &Exclusion) -> Option<Excluded> {
    match exclusion {
        Exclusion { date: Some(date), from: None, to: None } => match date.len() {
            // Every year has the days that a leap year has, or does not.
            5 => {
                let day = jiff::civil::Date::from_str(&format!("2024-{date}")).ok()?;
                Some(Excluded::Yearly(day.month(), day.day()))
            }
            _ => Some(Excluded::Day(date.parse().ok()?)),
        },
        Exclusion { date: None, from: Some(from), to: Some(to) } => {
            Some(Excluded::Window(from.parse().ok()?, to.parse().ok()?))
        }
        _ => None,
    }
}

impl Cached for JobScheduleView {
    fn identity(&self) -> &Identity {
        &self.base.identity
    }

    fn controller(&self) -> Option<&Uid> {
        None
    }

    fn is_accounted(&self) -> bool {
        false
    }

    fn has_finalizers(&self) -> bool {
        self.base.has_finalizers
    }
}
