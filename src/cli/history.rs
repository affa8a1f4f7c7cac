//! `jobwright history`: the runs of a CronJob or JobSchedule, or of a Job and its repetitions, with their durations and
//! outcomes.
//!
//! Runs are known from the Jobs that exist, and from the history in the status of a JobSchedule.

use std::process::ExitCode;

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use super::global::GlobalArguments;
use crate::client::cluster::{ClusterReadError, exit_with};
use crate::client::connect::ConnectError;
use crate::client::explain::span;
use crate::client::format::TableFormat;
use crate::client::history::runs::Run;
use crate::client::history::{Histories, History, read};
use crate::client::names::{Kind, NameError, Selection, SelectionArguments};
use crate::client::one_line::one_line;
use crate::client::output;
use crate::client::table::Table;
use crate::client::terminal::{Color, Screen};

/// Kinds with runs.
const KINDS: &[Kind] = &[Kind::CronJob, Kind::JobSchedule, Kind::Job];

/// The flags of `jobwright history`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    selection: SelectionArguments,
    /// Maximum number of runs of each object, the newest first
    #[arg(long, value_name = "N", default_value = "20")]
    limit: usize,
    /// Output format
    #[arg(short, long, value_enum, default_value = "text")]
    output: TableFormat,
}

/// Reason why there is no history.
#[derive(Debug, Error)]
enum HistoryError {
    #[error(transparent)]
    Names(#[from] NameError),
    #[error("no objects are named; write cronjob/NAME, jobschedule/NAME or job/NAME, or a type such as cronjobs")]
    NoNames,
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Read(#[from] ClusterReadError),
}

/// Prints the history.
pub fn main(arguments: &Arguments, global: &GlobalArguments) -> ExitCode {
    exit_with(run(arguments, global).map(|text| {
        output::print(text);
        ExitCode::SUCCESS
    }))
}

#[tokio::main(flavor = "current_thread")]
async fn run(arguments: &Arguments, global: &GlobalArguments) -> Result<String, HistoryError> {
    let SelectionArguments { objects, selectors } = &arguments.selection;
    if objects.is_empty() {
        return Err(HistoryError::NoNames);
    }
    let selection = arguments.selection.resolve(KINDS)?;
    let context = global.open().await?;
    let now = crate::client::now();
    let named = matches!(selection, Selection::Named(_));
    let names = match selection {
        Selection::Named(names) => names.into_iter().map(|name| (context.namespace.clone(), name)).collect(),
        Selection::Matching(kinds) => context.names_of(&kinds, selectors).await?,
    };
    let mut items = Vec::new();
    for (namespace, name) in names {
        let mut runs = read(&context.of_namespace(&namespace), &name, now).await?;
        runs.truncate(arguments.limit);
        let kind = name.kind.kind();
        items.push(History { kind, namespace, name: name.name, runs });
    }
    let histories = Histories { items };
    let format = arguments.output;
    let tables = || {
        let screen = format.screen(Screen::stdout(global.color));
        let several = histories.items.len() > 1 || !named;
        let texts = histories.items.iter().map(|History { kind, namespace, name, runs }| {
            let namespace = if selectors.all_namespaces { format!("{namespace}/") } else { String::new() };
            let title = if several { format!("{namespace}{}/{name}\n", kind.to_lowercase()) } else { String::new() };
            title + &text(runs, now, format.is_wide(), &screen)
        });
        texts.collect::<Vec<_>>().join("\n")
    };
    Ok(match format {
        TableFormat::Name => names_of(&histories),
        format => format.structured().object(&histories).unwrap_or_else(tables),
    })
}

/// Returns TYPE/NAME of each Job that still exists, as kubectl prints it.
fn names_of(histories: &Histories) -> String {
    let runs = histories.items.iter().flat_map(|history| &history.runs).filter(|run| run.exists);
    runs.map(|run| Kind::Job.qualified(&run.job) + "\n").collect()
}

/// Columns of the table that `-o wide` adds.
const WIDE: &[&str] = &["FINISHED", "REASON", "EXIT", "EXISTS"];

fn text(runs: &[Run], now: Timestamp, wide: bool, screen: &Screen) -> String {
    if runs.is_empty() {
        return "no runs are known\n".to_owned();
    }
    let mut table = Table::new(&[
        "JOB",
        "TRIGGER",
        "SCHEDULED",
        "STARTED",
        "FINISHED",
        "DURATION",
        "OUTCOME",
        "REASON",
        "EXIT",
        "EXISTS",
        "CAUSE",
    ]);
    for run in runs {
        let ago =
            |time: Option<Timestamp>| time.map_or_else(|| "-".to_owned(), |time| format!("{} ago", span(time, now)));
        let duration = run
            .duration_seconds
            .map_or_else(|| "-".to_owned(), |seconds| span(now - SignedDuration::from_secs(seconds), now));
        let trigger = run.rerun_of.as_ref().map_or_else(|| run.trigger.to_owned(), |of| format!("Rerun of {of}"));
        let scheduled =
            run.scheduled.map_or_else(|| "-".to_owned(), |time| time.strftime("%Y-%m-%dT%H:%MZ").to_string());
        let cause = match (run.outcome.as_str(), run.message.as_str()) {
            ("Succeeded" | "Running", _) => String::new(),
            (_, "") => run.reason.clone(),
            (_, message) => one_line(message),
        };
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let cells = [
            run.job.clone(),
            trigger,
            scheduled,
            ago(run.started),
            ago(run.finished),
            duration,
            run.outcome.clone(),
            or_dash(&run.reason),
            run.exit_code.map_or_else(|| "-".to_owned(), |code| code.to_string()),
            if run.exists { "yes" } else { "no" }.to_owned(),
            cause,
        ];
        table.painted_row(cells, "OUTCOME", color(&run.outcome));
    }
    let optional = ["SCHEDULED", "TRIGGER", "STARTED", "DURATION"];
    table.without(if wide { &[] } else { WIDE }).optional(&optional).text(screen)
}

fn color(outcome: &str) -> Color {
    match outcome {
        "Succeeded" => Color::Green,
        "Failed" | "Stuck" => Color::Red,
        "Running" => Color::Blue,
        _ => Color::Yellow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_printed_as_a_table() {
        let at = |text: &str| Some(text.parse().unwrap());
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        let runs = [
            Run {
                job: "b".to_owned(),
                trigger: "Rerun",
                rerun_of: Some("a".to_owned()),
                started: at("2026-01-01T00:59:00Z"),
                duration_seconds: Some(60),
                outcome: "Running".to_owned(),
                message: "1 active".to_owned(),
                exists: true,
                ..Run::default()
            },
            Run {
                job: "a".to_owned(),
                trigger: "Schedule",
                scheduled: at("2026-01-01T00:00:00Z"),
                started: at("2026-01-01T00:00:02Z"),
                finished: at("2026-01-01T00:02:07Z"),
                duration_seconds: Some(125),
                exit_code: Some(3),
                outcome: "Failed".to_owned(),
                reason: "BackoffLimitExceeded".to_owned(),
                message: "exit code 3:\ndisk full".to_owned(),
                ..Run::default()
            },
        ];
        let expected = "\
JOB  TRIGGER     SCHEDULED          STARTED          DURATION   OUTCOME  CAUSE
b    Rerun of a  -                  1 min ago        1 min      Running
a    Schedule    2026-01-01T00:00Z  59 min 58 s ago  2 min 5 s  Failed   exit code 3: disk full
";
        assert_eq!(text(&runs, now, false, &Screen::PLAIN), expected);
        crate::client::transcripts::assert_in_page("jobs.md", expected);
        assert_eq!(
            text(&runs, now, true, &Screen::PLAIN),
            "\
JOB  TRIGGER     SCHEDULED          STARTED          FINISHED         DURATION   OUTCOME  REASON                EXIT  EXISTS  CAUSE
b    Rerun of a  -                  1 min ago        -                1 min      Running  -                     -     yes
a    Schedule    2026-01-01T00:00Z  59 min 58 s ago  57 min 53 s ago  2 min 5 s  Failed   BackoffLimitExceeded  3     no      exit code 3: disk full
"
        );
        let colored = text(&runs, now, false, &Screen { color: true, ..Screen::PLAIN });
        assert!(colored.contains("\u{1b}[34mRunning\u{1b}[0m") && colored.contains("\u{1b}[31mFailed\u{1b}[0m"));
        assert_eq!(text(&[], now, false, &Screen::PLAIN), "no runs are known\n");
        let item = History { kind: "Job", namespace: "n".to_owned(), name: "a".to_owned(), runs: runs.to_vec() };
        assert_eq!(names_of(&Histories { items: vec![item] }), "job.batch/b\n", "the other Job is deleted");
    }
}
