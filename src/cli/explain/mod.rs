//! `jobwright explain`: explains in sentences what a Job, CronJob or JobSchedule is doing, or why it does nothing.
//!
//! The command reads with the permissions of its user, and never writes.

mod cron_job;
mod job;
mod job_schedule;
mod pod;

use std::process::ExitCode;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Event;
use kube::ResourceExt;
use kube::api::ListParams;
use serde::Serialize;

use super::cluster::{ClusterContext, ClusterReadError, NamespaceArguments, exit_with};
use crate::job::admission::Admission;
use crate::job::config::SyncConfig;
use crate::job::view::JobView;
use crate::job::wire::WireJob;
use crate::limit::admission::{AdmissionState, Admissions};
use crate::limit::view::{LimitView, WireJobLimit};
use crate::limit::workload::Workload;
use crate::runtime::identity::Uid;
use crate::schedule::job_schedule::view::{JobScheduleView, WireJobSchedule};

/// The flags of `jobwright explain`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// job/NAME, cronjob/NAME or jobschedule/NAME
    #[arg(value_parser = object_ref)]
    subject: ObjectRef,
    /// How the answer looks
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    target: NamespaceArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// Human-readable text
    Text,
    /// JSON, for programs
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ObjectRef {
    Job(String),
    CronJob(String),
    JobSchedule(String),
}

fn object_ref(text: &str) -> Result<ObjectRef, String> {
    match text.split_once('/') {
        Some(("job" | "jobs", name)) if !name.is_empty() => Ok(ObjectRef::Job(name.to_owned())),
        Some(("cronjob" | "cronjobs" | "cj", name)) if !name.is_empty() => Ok(ObjectRef::CronJob(name.to_owned())),
        Some(("jobschedule" | "jobschedules" | "jsched", name)) if !name.is_empty() => {
            Ok(ObjectRef::JobSchedule(name.to_owned()))
        }
        _ => Err("must be job/NAME, cronjob/NAME or jobschedule/NAME".to_owned()),
    }
}

/// Explanation of an object: sentences for the user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// State of the object in one sentence.
    pub headline: String,
    /// Further facts, the most important first.
    pub details: Vec<String>,
    /// Actions that the user can take, usually with a command.
    pub next: Vec<String>,
    /// Next step of the controller. `None` for an object for which the step is not computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
}

impl Explanation {
    /// Adds that `status.lastScheduleTime` of an object is in the future, and how to reset it.
    fn ahead(&mut self, kind: &str, name: &str, now: Timestamp) {
        let why = "Its last schedule time is later than now: no Job is started before the first time after it.";
        self.details.push(why.to_owned());
        self.next.push(format!(
            "if a clock was wrong, set it back: kubectl patch {kind} {name} --subresource=status --type=merge \
             -p '{{\"status\":{{\"lastScheduleTime\":\"{now:.0}\"}}}}'"
        ));
    }
}

/// Reads the object and prints its explanation.
pub fn main(arguments: &Arguments) -> ExitCode {
    exit_with(run(arguments).map(|explanation| {
        match arguments.output {
            Output::Text => print!("{}", text(&explanation)),
            Output::Json => println!("{:#}", serde_json::json!(explanation)),
        }
        ExitCode::SUCCESS
    }))
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
async fn run(arguments: &Arguments) -> Result<Explanation, ClusterReadError> {
    let context = arguments.target.open().await?;
    match &arguments.subject {
        ObjectRef::Job(name) => {
            let (job, pods) = context.job_and_pods(name).await?;
            let events = warnings_of(&context, &job.uid().unwrap_or_default()).await;
            let admission = admission(&context, &job).await;
            let limits = SyncConfig::default();
            let facts = job::Facts { job: &job, pods: &pods, events: &events, limits: &limits, admission: &admission };
            Ok(job::explain(&facts, crate::cli::now()))
        }
        ObjectRef::CronJob(name) => {
            let unreadable = context.unreadable(&format!("cronjob/{name}"));
            let cron_job = context.api::<CronJob>().get(name).await.map_err(&unreadable)?;
            let jobs = context.api::<Job>().list(&ListParams::default()).await.map_err(&unreadable)?.items;
            let events = warnings_of(&context, &cron_job.uid().unwrap_or_default()).await;
            Ok(cron_job::explain(&cron_job, &jobs, &events, crate::cli::now()))
        }
        ObjectRef::JobSchedule(name) => {
            let what = format!("jobschedule/{name}");
            let found = context.api::<WireJobSchedule>().get(name).await.map_err(context.unreadable(&what))?;
            let incomplete = || ClusterReadError::Unreadable {
                what,
                namespace: context.namespace.clone(),
                reason: "it lacks what every stored object has".to_owned(),
            };
            let schedule = JobScheduleView::parse(found).ok_or_else(incomplete)?;
            let events = warnings_of(&context, &schedule.base.identity.uid.text()).await;
            Ok(job_schedule::explain(&schedule, &events, crate::cli::now()))
        }
    }
}

/// Returns the admission of a Job by JobLimits, as the controller would evaluate it. A Job is unlimited if there is no
/// JobLimit, or if the user is not allowed to read JobLimits or Jobs.
async fn admission(context: &ClusterContext, job: &Job) -> Admission {
    evaluate(context, job).await.unwrap_or(Admission::Unlimited)
}

async fn evaluate(context: &ClusterContext, job: &Job) -> Option<Admission> {
    let limits = context.api::<WireJobLimit>().list(&ListParams::default()).await.ok()?.items;
    let limits: Vec<Arc<LimitView>> = limits.into_iter().filter_map(LimitView::parse).map(Arc::new).collect();
    if limits.is_empty() {
        return None;
    }
    let jobs = context.api::<WireJob>().list(&ListParams::default()).await.ok()?.items;
    let of_one_controller =
        |one: &JobView| one.spec.managed_by.as_deref() == job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
    let views = jobs.into_iter().filter_map(JobView::parse).filter(of_one_controller);
    let mut admissions = Admissions::default();
    admissions.load(limits, views.filter_map(|view| Workload::of(&view, || 0)));
    let uid = Uid::from(job.uid()?.as_str());
    Some(match (admissions.state(&uid), admissions.describe_waiting_status(&uid)) {
        (AdmissionState::Unlimited, _) => Admission::Unlimited,
        (_, Some(waiting)) => Admission::Pending(waiting),
        (_, None) => Admission::Admitted,
    })
}

/// Returns the warning events about an object, the newest first. A user without permission to read events gets an
/// explanation without events.
async fn warnings_of(context: &ClusterContext, uid: &str) -> Vec<Event> {
    let about = ListParams::default().fields(&format!("involvedObject.uid={uid},type=Warning"));
    let mut events = context.api::<Event>().list(&about).await.map(|list| list.items).unwrap_or_default();
    events.sort_by_key(|event| std::cmp::Reverse(seen_at(event)));
    events
}

/// Returns the time at which an event was last observed.
fn seen_at(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let event_time = event.event_time.as_ref().map(|time| time.0);
    series.or_else(|| event.last_timestamp.as_ref().map(|time| time.0)).or(event_time)
}

/// Time for which a refusal is assumed to continue after its last event: a refusal that continues records an event at
/// least every five minutes.
const REFUSAL_LASTS: SignedDuration = SignedDuration::from_mins(6);

/// Returns the message of the newest warning with one of these reasons, if the warning is recent enough that the
/// refusal probably continues.
fn refusal<'a>(events: &'a [Event], reasons: &[&str], now: Timestamp) -> Option<&'a str> {
    let is_recent = |event: &&Event| seen_at(event).is_some_and(|at| now.duration_since(at) < REFUSAL_LASTS);
    let has_reason = |event: &&Event| event.reason.as_deref().is_some_and(|reason| reasons.contains(&reason));
    events.iter().filter(is_recent).find(has_reason)?.message.as_deref()
}

/// Returns a hint at the admission policy or webhook that refuses the writes, if the events name one.
fn hint(events: &[Event]) -> Option<String> {
    let says =
        |text: &str| events.iter().any(|event| event.message.as_deref().is_some_and(|message| message.contains(text)));
    if says("AdmissionPolicy") || says("admission policy") {
        let what = "validatingadmissionpolicies,mutatingadmissionpolicies,mutatingwebhookconfigurations";
        Some(format!("see the policies, and change the one that is named above: kubectl get {what}"))
    } else if says("webhook") {
        let what = "validatingwebhookconfigurations,mutatingwebhookconfigurations";
        Some(format!("look at the webhook that is named above: kubectl get {what}"))
    } else {
        None
    }
}

/// Formats up to five different warnings: age, reason and message of each.
fn warnings(events: &[Event], now: Timestamp) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    let mut lines = Vec::new();
    for event in events {
        let (reason, text) = (event.reason.clone().unwrap_or_default(), event.message.clone().unwrap_or_default());
        if seen.insert((reason.clone(), text.clone())) && lines.len() < 5 {
            let ago = seen_at(event).map_or_else(String::new, |at| format!(" {} ago", span(at, now)));
            lines.push(format!("Warning{ago}: {reason}: {text}"));
        }
    }
    lines
}

/// Formats the time between two moments in one or two units, such as `1 h 5 min`.
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
    fn span_has_at_most_two_units() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let format = |seconds| span(at(0), at(seconds));
        assert_eq!(
            [0, 59, 60, 61, 3600, 3660, 90_000, -5].map(format),
            ["0 s", "59 s", "1 min", "1 min 1 s", "1 h", "1 h 1 min", "1 d 1 h", "0 s"]
        );
    }

    #[test]
    fn references_to_jobs_cron_jobs_and_job_schedules_are_accepted() {
        assert_eq!(object_ref("job/a"), Ok(ObjectRef::Job("a".to_owned())));
        assert_eq!(object_ref("cj/a"), Ok(ObjectRef::CronJob("a".to_owned())));
        assert_eq!(object_ref("jobschedule/a"), Ok(ObjectRef::JobSchedule("a".to_owned())));
        assert!(object_ref("pod/a").is_err() && object_ref("a").is_err() && object_ref("job/").is_err());
    }
}
