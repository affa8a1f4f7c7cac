//! `jobwright explain`: what a Job or CronJob is doing, or why it is not, in plain sentences.
//!
//! It reads with the rights of whoever asks, and changes nothing.

mod cron_job;
mod job;
mod pod;

use std::process::ExitCode;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use thiserror::Error;

use super::connect::{ClusterArguments, ConnectError};
use crate::runtime::config::Limits;
use crate::runtime::errors::message;

/// The flags of `jobwright explain`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// job/NAME or cronjob/NAME
    #[arg(value_parser = subject)]
    subject: Subject,
    /// How the answer looks
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Its namespace; without it the context's
    #[arg(short, long, env = "JOBWRIGHT_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Job(String),
    CronJob(String),
}

fn subject(text: &str) -> Result<Subject, String> {
    match text.split_once('/') {
        Some(("job" | "jobs", name)) if !name.is_empty() => Ok(Subject::Job(name.to_owned())),
        Some(("cronjob" | "cronjobs" | "cj", name)) if !name.is_empty() => Ok(Subject::CronJob(name.to_owned())),
        _ => Err("must be job/NAME or cronjob/NAME".to_owned()),
    }
}

/// Why there is no explanation.
#[derive(Debug, Error)]
enum ExplainError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot read {what} in namespace {namespace}: {reason}")]
    Unreadable { what: String, namespace: String, reason: String },
}

/// What is to be said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What it comes to.
    pub headline: String,
    /// What there is to know, the most telling first.
    pub details: Vec<String>,
    /// What can be done next.
    pub next: Vec<String>,
    /// What the controller would do now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
}

/// Explains.
pub fn main(arguments: &Arguments) -> ExitCode {
    match run(arguments) {
        Ok(explanation) => {
            match arguments.output {
                Output::Text => print!("{}", text(&explanation)),
                Output::Json => println!("{:#}", serde_json::json!(explanation)),
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("jobwright: {error}");
            ExitCode::FAILURE
        }
    }
}

fn text(explanation: &Explanation) -> String {
    let mut text = format!("{}\n", explanation.headline);
    for detail in &explanation.details {
        text += &format!("  {detail}\n");
    }
    if let Some(decision) = &explanation.decision {
        text += &format!("The controller's next step: {decision}\n");
    }
    for next in &explanation.next {
        text += &format!("You can: {next}\n");
    }
    text
}

#[tokio::main(flavor = "current_thread")]
async fn run(arguments: &Arguments) -> Result<Explanation, ExplainError> {
    let client = arguments.cluster.connect(None).await?;
    let namespace = arguments.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let now = Timestamp::now();
    let what = match &arguments.subject {
        Subject::Job(name) => format!("job/{name}"),
        Subject::CronJob(name) => format!("cronjob/{name}"),
    };
    let unreadable = |error: kube::Error| ExplainError::Unreadable {
        what: what.clone(),
        namespace: namespace.clone(),
        reason: message(&error),
    };
    match &arguments.subject {
        Subject::Job(name) => {
            let jobs: Api<Job> = Api::namespaced(client.clone(), &namespace);
            let job = jobs.get(name).await.map_err(unreadable)?;
            let pods = pods_of(&client, &namespace, &job).await.map_err(unreadable)?;
            let events = events_of(&client, &namespace, &job.uid().unwrap_or_default()).await;
            Ok(job::explain(&job::Facts { job: &job, pods: &pods, events: &events, limits: &Limits::default() }, now))
        }
        Subject::CronJob(name) => {
            let cron_jobs: Api<CronJob> = Api::namespaced(client.clone(), &namespace);
            let cron_job = cron_jobs.get(name).await.map_err(unreadable)?;
            let jobs: Api<Job> = Api::namespaced(client.clone(), &namespace);
            let jobs = jobs.list(&ListParams::default()).await.map_err(unreadable)?.items;
            let events = events_of(&client, &namespace, &cron_job.uid().unwrap_or_default()).await;
            Ok(cron_job::explain(&cron_job, &jobs, &events, now))
        }
    }
}

/// The pods that the Job selects and controls.
async fn pods_of(client: &Client, namespace: &str, job: &Job) -> kube::Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let uid = job.uid().unwrap_or_default();
    let mut pods = pods.list(&ListParams::default()).await?.items;
    pods.retain(|pod| pod.owner_references().iter().any(|owner| owner.controller == Some(true) && owner.uid == uid));
    Ok(pods)
}

/// Warnings about an object, the newest first. Who may not read events gets an explanation without them.
async fn events_of(client: &Client, namespace: &str, uid: &str) -> Vec<Event> {
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let about = ListParams::default().fields(&format!("involvedObject.uid={uid},type=Warning"));
    let mut events = events.list(&about).await.map(|list| list.items).unwrap_or_default();
    events.sort_by_key(|event| std::cmp::Reverse(seen_at(event)));
    events
}

/// When an event was last seen.
fn seen_at(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let event_time = event.event_time.as_ref().map(|time| time.0);
    series.or_else(|| event.last_timestamp.as_ref().map(|time| time.0)).or(event_time)
}

/// Warnings, each once: how often, how long ago, and what they say.
fn warnings(events: &[Event], now: Timestamp) -> Vec<String> {
    let mut told = std::collections::BTreeSet::new();
    let mut lines = Vec::new();
    for event in events {
        let (reason, text) = (event.reason.clone().unwrap_or_default(), event.message.clone().unwrap_or_default());
        if told.insert((reason.clone(), text.clone())) && lines.len() < 5 {
            let ago = seen_at(event).map_or_else(String::new, |at| format!(" {} ago", span(at, now)));
            lines.push(format!("Warning{ago}: {reason}: {text}"));
        }
    }
    lines
}

/// How much time lies between, in one or two units.
fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    let units = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let first = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(3);
    let (size, name) = units[first];
    let rest = units.get(first + 1).map(|(small, name)| (seconds % size / small, *name));
    match rest.filter(|(count, _)| *count > 0) {
        Some((count, small)) => format!("{} {name} {count} {small}", seconds / size),
        None => format!("{} {name}", seconds / size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_two_units_at_most() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let tell = |seconds| span(at(0), at(seconds));
        assert_eq!(
            [0, 59, 60, 61, 3600, 3660, 90_000, -5].map(tell),
            ["0 s", "59 s", "1 min", "1 min 1 s", "1 h", "1 h 1 min", "1 d 1 h", "0 s"]
        );
    }

    #[test]
    fn only_jobs_and_cron_jobs_are_explained() {
        assert_eq!(subject("job/a"), Ok(Subject::Job("a".to_owned())));
        assert_eq!(subject("cj/a"), Ok(Subject::CronJob("a".to_owned())));
        assert!(subject("pod/a").is_err() && subject("a").is_err() && subject("job/").is_err());
    }
}
