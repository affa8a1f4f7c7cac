//! `jobwright explain`: explains in sentences what a Job, CronJob or JobSchedule is doing, or why it does nothing.
//!
//! The command reads with the permissions of its user, and never writes.

use std::process::ExitCode;

use super::global::GlobalArguments;
use crate::client::cluster::{ClusterReadError, exit_with};
use crate::client::explain::collect::{Related, Scope};
use crate::client::explain::explanation::Explanation;
use crate::client::explain::{KINDS, overview, read};
use crate::client::format::TableFormat;
use crate::client::names::{Kind, Selection, SelectionArguments};
use crate::client::terminal::Screen;
use crate::client::{output, selected};

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
    let overview = overview::overview(&jobs, &related, arguments.failed, crate::client::now());
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
