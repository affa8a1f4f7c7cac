//! `jobwright next`: when a schedule is due.

use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::CronJob;
use kube::Api;
use serde_json::json;
use thiserror::Error;

use super::connect::{ClusterArguments, ConnectError};
use crate::cronjob::clock_changes::{self, ClockChange};
use crate::cronjob::schedule::{Schedule, ScheduleError};
use crate::cronjob::zones;
use crate::runtime::errors::message;

/// The flags of `jobwright next`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// A schedule, such as "30 2 * * *", or cronjob/NAME in the cluster
    #[arg(required_unless_present = "filename", conflicts_with = "filename")]
    subject: Option<String>,
    /// A file with CronJobs
    #[arg(short, long, value_name = "FILE")]
    filename: Option<PathBuf>,
    /// The IANA time zone of a schedule given as text; without it this machine's
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Times after this one (RFC 3339); without it after now
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// How many times
    #[arg(short = 'n', long, value_name = "N", default_value = "5")]
    count: usize,
    /// How the answer looks
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// The CronJob's namespace; without it the context's
    #[arg(long, env = "JOBWRIGHT_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Why there is no answer.
#[derive(Debug, Error)]
enum NextError {
    #[error("{of}: {error}")]
    Schedule { of: String, error: ScheduleError },
    #[error("{of}: no time zone {name:?} is known; write its IANA name, such as Europe/Paris")]
    Zone { of: String, name: String },
    #[error("cannot read {}: {reason}; give -f a file with CronJob manifests", .path.display())]
    File { path: PathBuf, reason: String },
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot read cronjob/{name} in namespace {namespace}: {reason}")]
    CronJob { name: String, namespace: String, reason: String },
}

/// What is asked about.
struct Subject {
    /// What messages call it.
    name: String,
    schedule: String,
    zone: Option<String>,
    suspended: bool,
}

/// When it is due.
struct Answer {
    subject: Subject,
    zone: TimeZone,
    times: Vec<Timestamp>,
    changes: Vec<ClockChange>,
}

/// Prints the next times.
pub fn main(arguments: &Arguments) -> ExitCode {
    match run(arguments) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("jobwright: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<String, NextError> {
    let from = arguments.from.unwrap_or_else(Timestamp::now);
    let subjects = subjects(arguments)?;
    let answers = subjects.into_iter().map(|subject| answer(subject, from, arguments.count));
    let answers = answers.collect::<Result<Vec<_>, _>>()?;
    Ok(match arguments.output {
        Output::Text => answers.iter().map(text).collect::<Vec<_>>().join("\n"),
        Output::Json => match &answers[..] {
            [one] => format!("{:#}\n", json(one)),
            several => format!("{:#}\n", several.iter().map(json).collect::<serde_json::Value>()),
        },
    })
}

fn subjects(arguments: &Arguments) -> Result<Vec<Subject>, NextError> {
    if let Some(path) = &arguments.filename {
        return from_file(path);
    }
    let subject = arguments.subject.clone().unwrap_or_default();
    match subject.strip_prefix("cronjob/").or_else(|| subject.strip_prefix("cj/")) {
        Some(name) => Ok(vec![from_cluster(arguments, name)?]),
        None => Ok(vec![Subject {
            name: format!("schedule {subject:?}"),
            schedule: subject,
            zone: arguments.time_zone.clone(),
            suspended: false,
        }]),
    }
}

fn from_file(path: &PathBuf) -> Result<Vec<Subject>, NextError> {
    let unreadable = |reason: String| NextError::File { path: path.clone(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    let documents: Vec<serde_json::Value> =
        serde_saphyr::from_multiple(&text).map_err(|error| unreadable(error.to_string()))?;
    let cron_jobs = documents.into_iter().filter(|document| document["kind"] == "CronJob");
    let subjects: Result<Vec<_>, _> =
        cron_jobs.map(|document| serde_json::from_value::<CronJob>(document).map(|cron_job| of(&cron_job))).collect();
    let subjects = subjects.map_err(|error| unreadable(error.to_string()))?;
    if subjects.is_empty() { Err(unreadable("there is no CronJob in it".to_owned())) } else { Ok(subjects) }
}

#[tokio::main(flavor = "current_thread")]
async fn from_cluster(arguments: &Arguments, name: &str) -> Result<Subject, NextError> {
    let client = arguments.cluster.connect(None).await?;
    let namespace = arguments.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let cron_jobs: Api<CronJob> = Api::namespaced(client, &namespace);
    let failed = |reason: String| NextError::CronJob { name: name.to_owned(), namespace: namespace.clone(), reason };
    let cron_job = cron_jobs.get(name).await.map_err(|error| failed(message(&error)))?;
    Ok(of(&cron_job))
}

fn of(cron_job: &CronJob) -> Subject {
    let spec = cron_job.spec.clone();
    Subject {
        name: format!("cronjob/{}", cron_job.metadata.name.as_deref().unwrap_or_default()),
        schedule: spec.schedule,
        zone: spec.time_zone,
        suspended: spec.suspend == Some(true),
    }
}

fn answer(subject: Subject, from: Timestamp, count: usize) -> Result<Answer, NextError> {
    let schedule =
        Schedule::parse(&subject.schedule).map_err(|error| NextError::Schedule { of: subject.name.clone(), error })?;
    let usual = match &subject.zone {
        Some(name) => {
            zones::zone(name).ok_or_else(|| NextError::Zone { of: subject.name.clone(), name: name.clone() })?
        }
        None => zones::local(),
    };
    let zone = schedule.zone(&usual).clone();
    let times: Vec<_> =
        std::iter::successors(schedule.next(from, &zone), |last| schedule.next(*last, &zone)).take(count).collect();
    let changes = match times.last() {
        Some(last) => clock_changes::between(&schedule, &zone, from, *last),
        None => Vec::new(),
    };
    Ok(Answer { subject, zone, times, changes })
}

fn zone_name(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("this machine's time zone")
}

fn text(answer: &Answer) -> String {
    let Answer { subject, zone, times, .. } = answer;
    let mut text = format!("{} in {}\n", subject.name, zone_name(zone));
    if subject.name.starts_with("cronjob/") {
        text = format!("{}: {:?} in {}\n", subject.name, subject.schedule, zone_name(zone));
    }
    for time in times {
        let local = time.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M:%S %:z");
        text.push_str(&format!("{local}   {time}\n"));
    }
    for note in notes(answer) {
        text.push_str(&format!("note: {note}\n"));
    }
    text
}

fn notes(answer: &Answer) -> Vec<String> {
    let mut notes = Vec::new();
    if answer.times.is_empty() {
        notes.push("it never fires: nothing matches within five years".to_owned());
    }
    if answer.subject.suspended {
        notes.push("it is suspended: nothing runs until spec.suspend is false".to_owned());
    }
    for ClockChange { from, to, skips, first, .. } in &answer.changes {
        let date = first.strftime("%Y-%m-%d");
        let [from, to, first] = [from, to, first].map(|at| at.strftime("%H:%M").to_string());
        notes.push(if *skips {
            format!(
                "on {date} there is no {first}: clocks go from {from} to {to}, and what is due between does not run"
            )
        } else {
            format!(
                "on {date} {first} comes twice: clocks go back from {to} to {from}, and what is due between runs twice"
            )
        });
    }
    notes
}

fn json(answer: &Answer) -> serde_json::Value {
    let Answer { subject, zone, times, .. } = answer;
    json!({
        "name": subject.name,
        "schedule": subject.schedule,
        "timeZone": zone_name(zone),
        "times": times.iter().map(Timestamp::to_string).collect::<Vec<_>>(),
        "notes": notes(answer),
    })
}
