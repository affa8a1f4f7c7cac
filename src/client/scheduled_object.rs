//! The subject of `jobwright next`: a schedule given as text, or a CronJob or JobSchedule of the cluster or of a
//! manifest.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::CronJob;
use kube::ResourceExt;
use thiserror::Error;

use crate::client::calendars;
use crate::client::cluster::{ClusterContext, ClusterReadError};
use crate::client::manifests::{self, Manifest, Unreadable};
use crate::client::names::{Kind, ObjectName};
use crate::schedule::calendar;
use crate::schedule::calendar::types::Calendar;
use crate::schedule::expression::{Schedule, ScheduleError};
use crate::schedule::job_schedule::suspension;
use crate::schedule::job_schedule::timetable::Timetable;
use crate::schedule::job_schedule::types::JobSchedule;
use crate::schedule::job_schedule::view::{self, CalendarNames};
use crate::schedule::zones;

/// Namespace of manifests that name none, without `--namespace`.
const DEFAULT_NAMESPACE: &str = "default";

/// Schedule whose times are to be printed.
pub(crate) struct ScheduledObject {
    /// Kind and name of the object. `None` for a schedule given as text.
    pub object: Option<ObjectName>,
    /// Namespace of the object, if it has one.
    pub namespace: Option<String>,
    /// Whether the text names the namespace.
    pub with_namespace: bool,
    /// Schedules as they are written.
    pub schedules: Vec<String>,
    /// Value of `spec.suspend`: a suspended object starts no Jobs.
    pub suspended: bool,
    /// Parsed schedule with its time zone.
    pub due: Due,
    /// Value of `status.lastScheduleTime`. Times up to this one are not due.
    pub last: Option<Timestamp>,
    /// Number of runs until `spec.maxRuns` is reached; none without it.
    pub runs_left: Option<usize>,
    /// Notes on the times, for the user.
    pub notes: Vec<String>,
}

/// Rules by which times are due.
pub(crate) enum Due {
    /// A schedule and its zone, with the rules of the built-in CronJob controller.
    Plain(Schedule, TimeZone),
    /// The timetable of a JobSchedule.
    Timetable(Box<Timetable>),
}

/// Reason why no times can be printed.
#[derive(Debug, Error)]
pub(crate) enum ScheduledObjectError {
    #[error("{of}: {error}{hint}")]
    Schedule { of: String, error: ScheduleError, hint: &'static str },
    #[error("{of}: {name:?} is not an IANA time zone (example: Europe/Paris)")]
    Zone { of: String, name: String },
    #[error("--time-zone is for a schedule given as text; the time zone of an object is in its spec")]
    ZoneOfObject,
    #[error("selectors are for CronJobs and JobSchedules in the cluster, and not for a schedule given as text")]
    SelectorOfText,
    #[error("{of}: {reason}")]
    JobSchedule { of: String, reason: String },
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("{file}:{line}: {reason}")]
    Manifest { file: String, line: usize, reason: String },
    #[error("cannot find a CronJob or JobSchedule in {}; give -f a file or folder with their manifests", .0.display())]
    NoSchedules(PathBuf),
    #[error(transparent)]
    Ask(#[from] ClusterReadError),
}

impl ScheduledObject {
    /// Name for messages: `kind/name`, or the text of the schedule.
    pub(crate) fn name(&self) -> String {
        self.object.as_ref().map_or_else(|| of_schedule(&self.schedules.join(" ")), ToString::to_string)
    }

    /// Parses a schedule given as text.
    ///
    /// # Errors
    /// The schedule cannot be parsed, or the zone is not known.
    pub(crate) fn of_text(schedule: &str, zone: Option<&str>) -> Result<Self, ScheduledObjectError> {
        Self::plain(None, schedule, zone, false)
    }

    /// Reads the object from the cluster.
    ///
    /// # Errors
    /// The object cannot be read, or its schedule or zone is invalid.
    pub(crate) async fn of_cluster(name: &ObjectName, context: &ClusterContext) -> Result<Self, ScheduledObjectError> {
        let unreadable = context.unreadable(&name.to_string());
        if name.kind == Kind::CronJob {
            return Self::of_cron_job(&context.api().get(&name.name).await.map_err(unreadable)?);
        }
        let schedule: JobSchedule = context.api().get(&name.name).await.map_err(unreadable)?;
        let calendars = calendars::read(context, &CalendarNames::of(&schedule.spec)).await;
        let calendars = calendars.map_err(context.unreadable("calendars"))?;
        Self::of_job_schedule(&schedule, &context.namespace, &calendars, crate::client::now())
    }

    fn of_cron_job(cron_job: &CronJob) -> Result<Self, ScheduledObjectError> {
        let (name, spec) = (ObjectName { kind: Kind::CronJob, name: cron_job.name_any() }, &cron_job.spec);
        // Without a zone the controller uses its own, which is UTC in most clusters, and never that of this machine.
        let zone = spec.time_zone.as_deref().unwrap_or("UTC");
        let mut subject = Self::plain(Some(name), &spec.schedule, Some(zone), spec.suspend == Some(true))?;
        subject.namespace = cron_job.namespace();
        if spec.time_zone.is_none() && !subject.names_zone() {
            let note = "no spec.timeZone; shown in UTC, the zone of the controller applies";
            subject.notes.push(note.to_owned());
        }
        subject.last = cron_job.status.as_ref().and_then(|status| Some(status.last_schedule_time.as_ref()?.0));
        Ok(subject)
    }

    /// Returns whether the schedule itself names its zone.
    fn names_zone(&self) -> bool {
        matches!(&self.due, Due::Plain(schedule, _) if schedule.names_zone())
    }

    fn plain(
        object: Option<ObjectName>,
        text: &str,
        zone: Option<&str>,
        suspended: bool,
    ) -> Result<Self, ScheduledObjectError> {
        let of = || object.as_ref().map_or_else(|| of_schedule(text), ToString::to_string);
        let hashed = text.split_whitespace().any(|field| field.starts_with('H'));
        let hint = if hashed { "; H is for JobSchedules: use jobschedule/NAME or -f FILE" } else { "" };
        let schedule =
            Schedule::parse(text).map_err(|error| ScheduledObjectError::Schedule { of: of(), error, hint })?;
        let usual = match zone {
            Some(zone) => {
                zones::zone(zone).ok_or_else(|| ScheduledObjectError::Zone { of: of(), name: zone.to_owned() })?
            }
            None => zones::local(),
        };
        let zone = schedule.zone(&usual).clone();
        let due = Due::Plain(schedule, zone);
        let schedules = vec![text.to_owned()];
        let (namespace, notes) = (None, Vec::new());
        Ok(Self {
            object,
            namespace,
            with_namespace: false,
            schedules,
            suspended,
            due,
            last: None,
            runs_left: None,
            notes,
        })
    }

    /// Evaluates a JobSchedule with its calendars. `namespace` applies to a manifest that names none, because the namespace is part of the
    /// seed for jitter and for `H`. An object that was not created yet is assumed to be created at `from`.
    fn of_job_schedule(
        schedule: &JobSchedule,
        namespace: &str,
        calendars: &[Calendar],
        from: Timestamp,
    ) -> Result<Self, ScheduledObjectError> {
        let name = ObjectName { kind: Kind::JobSchedule, name: schedule.name_any() };
        let namespace = schedule.namespace().unwrap_or_else(|| namespace.to_owned());
        let who = format!("{namespace}/{}", schedule.name_any());
        let created = schedule.creation_timestamp().map(|time| time.0);
        let spec = &schedule.spec;
        let wrong = |reason: String| ScheduledObjectError::JobSchedule { of: name.to_string(), reason };
        let mut timetable = view::timetable(spec, &who, created.unwrap_or(from)).map_err(&wrong)?;
        let find = |name: &str| calendars::find(calendars, &namespace, name);
        CalendarNames::of(spec).set(&mut timetable, find).map_err(&wrong)?;
        let mut notes = Vec::new();
        for (place, text) in spec.schedules.iter().enumerate() {
            let resolved = view::resolved(text, &who, place).map_err(&wrong)?;
            if resolved != text.trim() {
                notes.push(format!("{text:?} is {resolved:?} for {who}"));
            }
        }
        if created.is_none() && timetable.schedules.iter().any(|schedule| schedule.every().is_some()) {
            notes.push(format!("@every counts from when it is created: here from {from}"));
        }
        let failed = schedule.status.as_ref().map_or(0, |status| status.failed_runs_in_a_row);
        if let Some(allowed) = suspension::reached(spec.suspend_after_failures, failed) {
            notes.push(format!("it is suspended: {}", suspension::message(allowed)));
        }
        let due = Due::Timetable(Box::new(timetable));
        let last = schedule.status.as_ref().and_then(|status| Some(status.last_schedule_time.as_ref()?.0));
        let (schedules, suspended) = (spec.schedules.clone(), spec.suspend);
        let (object, namespace) = (Some(name), Some(namespace));
        let started = schedule.status.as_ref().map_or(0, |status| status.started_runs);
        let runs_left = spec.max_runs.map(|max| usize::try_from(max.saturating_sub(started)).unwrap_or_default());
        Ok(Self { object, namespace, with_namespace: false, schedules, suspended, due, last, runs_left, notes })
    }
}

fn of_schedule(text: &str) -> String {
    format!("schedule {text:?}")
}

/// Returns the CronJobs and JobSchedules of a file, of a folder or of standard input (`-`).
///
/// # Errors
/// The file cannot be read, it contains neither kind, or a schedule or zone in it is invalid.
pub(crate) fn of_file(
    path: &Path,
    namespace: Option<&str>,
    from: Timestamp,
) -> Result<Vec<ScheduledObject>, ScheduledObjectError> {
    let mut subjects = Vec::new();
    let manifests = manifests::read(&[path.to_owned()], false)?;
    let is_calendar = |manifest: &&Manifest| manifest.object["kind"] == calendar::KIND;
    let calendars =
        manifests.iter().filter(is_calendar).filter_map(|found| serde_json::from_value(found.object.clone()).ok());
    let calendars: Vec<Calendar> = calendars.collect();
    for Manifest { file, line, object } in manifests {
        let wrong = |error: serde_json::Error| ScheduledObjectError::Manifest {
            file: file.clone(),
            line,
            reason: error.to_string(),
        };
        if object["kind"] == crate::schedule::cron_job::KIND {
            subjects.push(ScheduledObject::of_cron_job(&serde_json::from_value(object).map_err(wrong)?)?);
        } else if object["kind"] == crate::schedule::job_schedule::KIND {
            let schedule = serde_json::from_value(object).map_err(wrong)?;
            let namespace = namespace.unwrap_or(DEFAULT_NAMESPACE);
            subjects.push(ScheduledObject::of_job_schedule(&schedule, namespace, &calendars, from)?);
        }
    }
    if subjects.is_empty() { Err(ScheduledObjectError::NoSchedules(path.to_owned())) } else { Ok(subjects) }
}
