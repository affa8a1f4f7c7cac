//! `jobwright explain`: explains in sentences what a Job, CronJob or JobSchedule is doing, or why it does nothing.
//!
//! The command reads with the permissions of its user, and never writes.

pub(crate) mod cause;
pub(crate) mod collect;
mod cron_job;
mod job;
mod job_limit;
mod job_schedule;
pub(crate) mod overview;
mod pod;

use std::process::ExitCode;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Event;
use kube::ResourceExt;
use kube::api::ListParams;
use serde::Serialize;

use self::collect::{Related, Scope};
use super::cluster::{ClusterContext, ClusterReadError, exit_with};
use super::global::GlobalArguments;
use super::names::{Kind, ObjectName, Selection, SelectionArguments};
use super::output;
use super::selected;
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
    #[command(flatten)]
    selection: SelectionArguments,
    /// Without a name: list only the Jobs that have failed
    #[arg(long, conflicts_with = "objects")]
    failed: bool,
    /// How the answer looks
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// Human-readable text
    Text,
    /// JSON, for programs
    Json,
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

/// Exit code of the list of Jobs after an error.
const ERROR: u8 = 2;

/// Reads the objects and prints their explanations. Without a name, prints the Jobs that need attention, and the exit
/// code is 1 if there are any.
pub fn main(arguments: &Arguments, global: &GlobalArguments) -> ExitCode {
    if arguments.selection.objects.is_empty() {
        return list(arguments, global).unwrap_or_else(|error| {
            output::error_line(format!("jobwright: {error}"));
            ExitCode::from(ERROR)
        });
    }
    exit_with(run(arguments, global).map(|explanations| {
        match arguments.output {
            Output::Text => output::print(explanations.iter().map(text).collect::<Vec<_>>().join("\n")),
            Output::Json => match &explanations[..] {
                [one] => output::print_line(format!("{:#}", serde_json::json!(one))),
                several => output::print_line(format!("{:#}", serde_json::json!(several))),
            },
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

/// Prints the Jobs that are stuck, failing or failed.
#[tokio::main(flavor = "current_thread")]
async fn list(arguments: &Arguments, global: &GlobalArguments) -> Result<ExitCode, ClusterReadError> {
    let context = global.open().await?;
    let selectors = &arguments.selection.selectors;
    let scope = selected::scope(&context, selectors);
    let jobs = selected::jobs(&context, &Selection::Matching(vec![Kind::Job]), selectors).await?;
    let related = Related::read(&context.client, &scope, &jobs).await;
    let now = crate::cli::now();
    let troubles = overview::troubles(&jobs, &related, arguments.failed, now);
    match arguments.output {
        Output::Text => {
            related.unread.iter().for_each(|reason| output::error_line(format!("jobwright: {reason}")));
            output::print(overview::text(&troubles, jobs.len(), scope == Scope::All));
        }
        Output::Json => output::print_line(format!("{:#}", overview::json(&troubles, jobs.len(), &related.unread))),
    }
    Ok(if troubles.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Kinds that are explained.
const KINDS: &[Kind] = &[Kind::Job, Kind::CronJob, Kind::JobSchedule, Kind::JobLimit];

#[tokio::main(flavor = "current_thread")]
async fn run(arguments: &Arguments, global: &GlobalArguments) -> Result<Vec<Explanation>, ClusterReadError> {
    let selection = arguments.selection.resolve(KINDS)?;
    let context = global.open().await?;
    let objects = match selection {
        Selection::Named(names) => names.into_iter().map(|name| (context.namespace.clone(), name)).collect(),
        Selection::Matching(kinds) => context.names_of(&kinds, &arguments.selection.selectors).await?,
    };
    let mut explanations = Vec::new();
    for (namespace, object) in objects {
        explanations.push(one(&context.of_namespace(&namespace), &object).await?);
    }
    Ok(explanations)
}

async fn one(context: &ClusterContext, object: &ObjectName) -> Result<Explanation, ClusterReadError> {
    let name = object.name.as_str();
    match object.kind {
        Kind::Job => {
            let (job, pods) = context.job_and_pods(name).await?;
            let events = warnings_of(context, &job.uid().unwrap_or_default()).await;
            let admission = admission(context, &job).await;
            let limits = SyncConfig::default();
            let facts = job::Facts { job: &job, pods: &pods, events: &events, limits: &limits, admission: &admission };
            Ok(job::explain(&facts, crate::cli::now()))
        }
        Kind::CronJob => {
            let unreadable = context.unreadable(&object.to_string());
            let cron_job = context.api::<CronJob>().get(name).await.map_err(&unreadable)?;
            let jobs = context.api::<Job>().list(&ListParams::default()).await.map_err(&unreadable)?.items;
            let events = warnings_of(context, &cron_job.uid().unwrap_or_default()).await;
            Ok(cron_job::explain(&cron_job, &jobs, &events, crate::cli::now()))
        }
        Kind::JobLimit => job_limit::read(context, name).await,
        Kind::JobSchedule => {
            let what = object.to_string();
            let found = context.api::<WireJobSchedule>().get(name).await.map_err(context.unreadable(&what))?;
            let incomplete = || ClusterReadError::Unreadable {
                what,
                scope: format!("in namespace {}", context.namespace),
                reason: "it lacks what every stored object has".to_owned(),
            };
            let schedule = JobScheduleView::parse(found).ok_or_else(incomplete)?;
            let events = warnings_of(context, &schedule.base.identity.uid.text()).await;
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
pub(crate) fn span(from: Timestamp, to: Timestamp) -> String {
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
}
