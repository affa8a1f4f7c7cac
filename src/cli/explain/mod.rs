//! `jobwright explain`: explains in sentences what a Job, CronJob or JobSchedule is doing, or why it does nothing.
//!
//! The command reads with the permissions of its user, and never writes. `read` reads the objects; the other modules
//! are pure.

pub(crate) mod cause;
pub(crate) mod collect;
mod cron_job;
pub mod explanation;
mod finished;
mod groups;
mod indexes;
mod job;
mod job_limit;
mod job_schedule;
mod next_step;
pub(crate) mod overview;
pub(crate) mod pod;
pub(crate) mod policy;
mod read;
mod warnings;

use std::process::ExitCode;

use jiff::Timestamp;

use self::collect::{Related, Scope};
use self::explanation::Explanation;
use super::cluster::{ClusterReadError, exit_with};
use super::format::TableFormat;
use super::global::GlobalArguments;
use super::leases::Liveness;
use super::names::{Kind, Selection, SelectionArguments};
use super::terminal::Screen;
use super::{output, selected};

/// Kinds that are explained.
pub const KINDS: &[Kind] = &[Kind::Job, Kind::CronJob, Kind::JobSchedule, Kind::JobLimit];

/// The flags of `jobwright explain`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    selection: SelectionArguments,
    /// Without a name: list only the Jobs that have failed
    #[arg(long, conflicts_with = "objects")]
    failed: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value = "text")]
    output: TableFormat,
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
    let format = arguments.output;
    let screen = format.screen(Screen::stdout(global.color));
    exit_with(run(arguments, global).map(|Answers { explanations, errors, alone }| {
        let text = || match format {
            TableFormat::Name => explanations.iter().map(Explanation::type_and_name).collect(),
            _ => {
                let text =
                    |one: &Explanation| if format.is_wide() { one.wide_text(&screen) } else { one.text(&screen) };
                explanations.iter().map(text).collect::<Vec<_>>().join("\n")
            }
        };
        output::print(format.structured().objects(&explanations, alone).unwrap_or_else(text));
        for error in &errors {
            output::error_line(format!("jobwright: {error}"));
        }
        if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }))
}

/// Prints the Jobs that are stuck, failing or failed.
#[tokio::main(flavor = "current_thread")]
async fn list(arguments: &Arguments, global: &GlobalArguments) -> Result<ExitCode, ClusterReadError> {
    let context = global.open().await?;
    let selectors = &arguments.selection.selectors;
    let scope = selected::scope(&context, selectors);
    let jobs = selected::jobs(&context, &Selection::Matching(vec![Kind::Job]), selectors).await?;
    let related = Related::read(&context.client, &scope, &jobs).await;
    let overview = overview::overview(&jobs, &related, arguments.failed, crate::cli::now());
    let format = arguments.output;
    let text = || {
        related.unread_lines(&scope).iter().for_each(|line| output::error_line(format!("jobwright: {line}")));
        let screen = format.screen(Screen::stdout(global.color));
        match format {
            TableFormat::Name => overview::names(&overview),
            _ => overview::text(&overview, scope == Scope::All, format.is_wide(), &screen),
        }
    };
    output::print(format.structured().object(&overview).unwrap_or_else(text));
    Ok(if overview.items.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Explanations of all objects that were found, and the errors of the others.
struct Answers {
    explanations: Vec<Explanation>,
    errors: Vec<ClusterReadError>,
    /// Whether the user named exactly one object.
    alone: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn run(arguments: &Arguments, global: &GlobalArguments) -> Result<Answers, ClusterReadError> {
    let selection = arguments.selection.resolve(KINDS)?;
    let context = global.open().await?;
    let alone = matches!(&selection, Selection::Named(names) if names.len() == 1);
    let objects = match selection {
        Selection::Named(names) => names.into_iter().map(|name| (context.namespace.clone(), name)).collect(),
        Selection::Matching(kinds) => context.names_of(&kinds, &arguments.selection.selectors).await?,
    };
    let mut answers = Answers { explanations: Vec::new(), errors: Vec::new(), alone };
    for (namespace, object) in objects {
        match read::explained(&context.of_namespace(&namespace), &object).await {
            Ok(explanation) => answers.explanations.push(explanation),
            Err(error) => answers.errors.push(error),
        }
    }
    Ok(answers)
}

/// Describes a controller that does not work on an object. `None` for one that is running, or whose state is not known.
/// Controllers without leader election have no Lease, so a missing Lease is worth a sentence only while nothing was
/// done (`untouched`).
fn worked_on(what: &str, liveness: &Liveness<'_>, untouched: bool, now: Timestamp) -> Option<String> {
    match liveness {
        Liveness::Stopped(lease) => {
            let holder = lease.holder.as_deref().map_or_else(String::new, |holder| format!(" by {holder}"));
            let renewed = lease.renewed.map_or_else(
                || "was never renewed".to_owned(),
                |renewed| format!("was last renewed {} ago{holder}", span(renewed, now)),
            );
            let (namespace, name) = (&lease.namespace, &lease.name);
            Some(format!("No controller works on {what}: the Lease {name} in namespace {namespace} {renewed}."))
        }
        Liveness::NoLease if untouched => {
            Some(format!("No controller for {what} was found: there is no Lease of a controller that elects a leader."))
        }
        Liveness::NoLease | Liveness::Alive(_) | Liveness::Unknown => None,
    }
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
