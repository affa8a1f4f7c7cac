//! `jobwright top`: shows unfinished Jobs live, with progress, rates and the estimated time left.

mod keys;
mod table;

use std::process::ExitCode;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use schemars::JsonSchema;
use serde::Serialize;

use self::keys::{Input, Key};
use self::table::{Sort, View};
use super::global::GlobalArguments;
use crate::client::cluster::{ClusterContext, ClusterReadError, end, exit_with};
use crate::client::explain::explanation::Unread;
use crate::client::format::TableFormat;
use crate::client::lists::ListEach;
use crate::client::names::{Kind, SelectorArguments};
use crate::client::output;
use crate::client::terminal::Screen;
use crate::client::top::rates::Rates;
use crate::client::top::rows::Row;
use crate::runtime::errors::message;

/// The flags of `jobwright top`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Refresh interval in seconds
    #[arg(long, alias = "every", value_name = "SECONDS", default_value = "2", value_parser = clap::value_parser!(u64).range(1..))]
    interval: u64,
    /// Print once and exit; default when stdout is not a terminal, and with -o
    #[arg(long)]
    once: bool,
    /// Show finished Jobs too
    #[arg(long)]
    all: bool,
    /// Order of the Jobs
    #[arg(long, value_enum, default_value = "state")]
    sort: Sort,
    /// Output format
    #[arg(short, long, value_enum, default_value = "text")]
    output: TableFormat,
    #[command(flatten)]
    selectors: SelectorArguments,
}

/// Jobs at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Snapshot {
    /// Jobs in the order of `--sort`.
    pub items: Vec<Row>,
    /// Objects that could not be read, so that the answer is incomplete.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<Unread>,
}

/// Prints the table at each interval, or once.
pub fn main(arguments: &Arguments, global: &GlobalArguments) -> ExitCode {
    exit_with(run(arguments, global).map(|()| ExitCode::SUCCESS))
}

#[tokio::main(flavor = "current_thread")]
async fn run(arguments: &Arguments, global: &GlobalArguments) -> Result<(), ClusterReadError> {
    let context = global.open().await?;
    let screen = Screen::stdout(global.color);
    let mut rates = Rates::default();
    let live = screen.height.is_some() && !arguments.once && arguments.output == TableFormat::Text;
    if !live {
        let mut snapshot = read(arguments, &context, &mut rates).await?;
        table::sort(&mut snapshot.items, arguments.sort);
        let format = arguments.output;
        let text = || match format {
            TableFormat::Name => snapshot.items.iter().map(|row| Kind::Job.qualified(&row.name) + "\n").collect(),
            _ => table::page(&snapshot, &view(arguments, &context), &format.screen(screen)),
        };
        output::print(format.structured().object(&snapshot).unwrap_or_else(text));
        return Ok(());
    }
    follow(arguments, global, &context, &mut rates).await
}

fn view(arguments: &Arguments, context: &ClusterContext) -> View {
    let all = arguments.selectors.all_namespaces;
    let scope = if all { "all namespaces".to_owned() } else { format!("namespace {}", context.namespace) };
    let wide = arguments.output.is_wide();
    View { namespaces: all, all_jobs: arguments.all, wide, scope, sort: arguments.sort, offset: 0 }
}

/// Shows the table until the user quits.
async fn follow(
    arguments: &Arguments,
    global: &GlobalArguments,
    context: &ClusterContext,
    rates: &mut Rates,
) -> Result<(), ClusterReadError> {
    let mut snapshot = read(arguments, context, rates).await?;
    let mut view = view(arguments, context);
    let mut input = Input::start();
    loop {
        // A key does not delay the refresh.
        let refresh = async {
            tokio::time::sleep(Duration::from_secs(arguments.interval)).await;
            read(arguments, context, rates).await
        };
        tokio::pin!(refresh);
        let refreshed = loop {
            table::sort(&mut snapshot.items, view.sort);
            // The size is read each time, because the user may have changed it.
            let screen = Screen::stdout(global.color);
            output::print(table::frame(&snapshot, &mut view, &screen));
            tokio::select! {
                key = input.key() => match key {
                    Key::Quit => return Ok(()),
                    key => view.press(key, snapshot.items.len(), screen.height.unwrap_or(24)),
                },
                refreshed = &mut refresh => break refreshed,
            }
        };
        match refreshed {
            Ok(newer) => snapshot = newer,
            // The table stays, with the error below it, until the API server answers again.
            Err(error) => {
                let effect = "the table is that of the last answer".to_owned();
                snapshot.unread = vec![Unread { resource: "jobs".to_owned(), reason: error.to_string(), effect }];
            }
        }
    }
}

async fn read(
    arguments: &Arguments,
    context: &ClusterContext,
    rates: &mut Rates,
) -> Result<Snapshot, ClusterReadError> {
    let all = arguments.selectors.all_namespaces;
    let unreadable = context.unreadable_in("jobs", all);
    let jobs = context.api_in::<Job>(all).list_each(&arguments.selectors.list_params()).await.map_err(unreadable)?;
    let unfinished = ListParams::default().fields("status.phase!=Succeeded,status.phase!=Failed");
    let mut snapshot = Snapshot::default();
    let pods = match context.api_in::<Pod>(all).list_each(&unfinished).await {
        Ok(pods) => pods,
        Err(error) => {
            let effect = "the reasons of pods are not known".to_owned();
            snapshot.unread.push(Unread { resource: "pods".to_owned(), reason: message(&error), effect });
            Vec::new()
        }
    };
    let now = crate::client::now();
    rates.take(&jobs, now);
    let is_over = |job: &Job| job.status.as_ref().is_some_and(|status| end(status).is_some());
    let shown = jobs.iter().filter(|job| arguments.all || !is_over(job));
    snapshot.items = shown.map(|job| Row::of(job, &pods, rates.of(job), now)).collect();
    Ok(snapshot)
}
