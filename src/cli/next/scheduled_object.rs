//! The subject of `jobwright next`: a schedule given as text, or a CronJob or JobSchedule of the cluster or of a
//! manifest.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::CronJob;
use kube::ResourceExt;
use thiserror::Error;

use crate::cli::cluster::{ClusterContext, ClusterReadError};
use crate::cli::names::{Kind, ObjectName};
use crate::schedule::expression::{Schedule, ScheduleError};
use crate::schedule::job_schedule::timetable::Timetable;
use crate::schedule::job_schedule::types::JobSchedule;
use crate::schedule::job_schedule::view;
use crate::schedule::zones;

/// Namespace of manifests that name none, without `--namespace`.
const DEFAULT_NAMESPACE: &str = "default";

/// Schedule whose times are to be printed.
pub(crate) struct ScheduledObject {
    /// Object as `kind/name`. `None` for a schedule given as text.
    pub object: Option<String>,
    /// Schedules as they are written.
    pub schedules: Vec<String>,
    /// Value of `spec.suspend`: a suspended object starts no Jobs.
    pub suspended: bool,
    /// Parsed schedule with its time zone.
    pub due: Due,
    /// Value of `status.lastScheduleTime`. Times up to this one are not due.
    pub last: Option<Timestamp>,
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
    #[error("{of}: {error}")]
    Schedule { of: String, error: ScheduleError },
    #[error("{of}: the time zone {name:?} is not known; write an IANA name such as Europe/Paris")]
    Zone { of: String, name: String },
    #[error("{of}: {reason}")]
    JobSchedule { of: String, reason: String },
    #[error("cannot read {}: {reason}; give -f a file with CronJob or JobSchedule manifests", .path.display())]
    File { path: PathBuf, reason: String },
    #[error(transparent)]
    Ask(#[from] ClusterReadError),
}

impl ScheduledObject {
    /// Name for messages: `kind/name`, or the text of the schedule.
    pub(crate) fn name(&self) -> String {
        self.object.clone().unwrap_or_else(|| of_schedule(&self.schedules.join(" ")))
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
        let schedule = context.api().get(&name.name).await.map_err(unreadable)?;
        Self::of_job_schedule(&schedule, &context.namespace, crate::cli::now())
    }

    fn of_cron_job(cron_job: &CronJob) -> Result<Self, ScheduledObjectError> {
        let (name, spec) = (format!("cronjob/{}", cron_job.name_any()), &cron_job.spec);
        let mut subject =
            Self::plain(Some(name), &spec.schedule, spec.time_zone.as_deref(), spec.suspend == Some(true))?;
        subject.last = cron_job.status.as_ref().and_then(|status| Some(status.last_schedule_time.as_ref()?.0));
        Ok(subject)
    }

    fn plain(
        object: Option<String>,
        text: &str,
        zone: Option<&str>,
        suspended: bool,
    ) -> Result<Self, ScheduledObjectError> {
        let of = || object.clone().unwrap_or_else(|| of_schedule(text));
        let schedule = Schedule::parse(text).map_err(|error| ScheduledObjectError::Schedule { of: of(), error })?;
        let usual = match zone {
            Some(zone) => {
                zones::zone(zone).ok_or_else(|| ScheduledObjectError::Zone { of: of(), name: zone.to_owned() })?
            }
            None => zones::local(),
        };
        let zone = schedule.zone(&usual).clone();
        let due = Due::Plain(schedule, zone);
        Ok(Self { object, schedules: vec![text.to_owned()], suspended, due, last: None, notes: Vec::new() })
    }

    /// Evaluates a JobSchedule. `namespace` applies to a manifest that names none, because the namespace is part of the
    /// seed for jitter and for `H`. An object that was not created yet is assumed to be created at `from`.
    fn of_job_schedule(schedule: &JobSchedule, namespace: &str, from: Timestamp) -> Result<Self, ScheduledObjectError> {
        let name = format!("jobschedule/{}", schedule.name_any());
        let namespace = schedule.namespace().unwrap_or_else(|| namespace.to_owned());
        let who = format!("{namespace}/{}", schedule.name_any());
        let created = schedule.creation_timestamp().map(|time| time.0);
        let spec = &schedule.spec;
        let wrong = |reason: String| ScheduledObjectError::JobSchedule { of: name.clone(), reason };
        let timetable = view::timetable(spec, &who, created.unwrap_or(from)).map_err(&wrong)?;
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
        let due = Due::Timetable(Box::new(timetable));
        let last = schedule.status.as_ref().and_then(|status| Some(status.last_schedule_time.as_ref()?.0));
        Ok(Self { schedules: spec.schedules.clone(), suspended: spec.suspend, object: Some(name), due, last, notes })
    }
}

fn of_schedule(text: &str) -> String {
    format!("schedule {text:?}")
}

/// Returns the CronJobs and JobSchedules of a file.
///
/// # Errors
/// The file cannot be read, it contains neither kind, or a schedule or zone in it is invalid.
pub(crate) fn of_file(
    path: &Path,
    namespace: Option<&str>,
    from: Timestamp,
) -> Result<Vec<ScheduledObject>, ScheduledObjectError> {
    let unreadable = |reason: String| ScheduledObjectError::File { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    let documents: Vec<serde_json::Value> =
        serde_saphyr::from_multiple(&text).map_err(|error| unreadable(error.to_string()))?;
    let mut subjects = Vec::new();
    for document in documents {
        let wrong = |error: serde_json::Error| unreadable(error.to_string());
        if document["kind"] == crate::schedule::cron_job::KIND {
            subjects.push(ScheduledObject::of_cron_job(&serde_json::from_value(document).map_err(wrong)?)?);
        } else if document["kind"] == crate::schedule::job_schedule::KIND {
            let schedule = serde_json::from_value(document).map_err(wrong)?;
            subjects.push(ScheduledObject::of_job_schedule(&schedule, namespace.unwrap_or(DEFAULT_NAMESPACE), from)?);
        }
    }
    if subjects.is_empty() {
        return Err(unreadable("there is no CronJob and no JobSchedule in it".to_owned()));
    }
    Ok(subjects)
}
