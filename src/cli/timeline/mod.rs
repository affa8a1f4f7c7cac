//! `jobwright timeline`: draws the pods of a Job over time, as text for the terminal, SVG or HTML.

mod text;

use std::process::ExitCode;

use thiserror::Error;

use super::global::GlobalArguments;
use crate::client::cluster::{ClusterReadError, exit_with};
use crate::client::names::{Kind, Selection, SelectionArguments};
use crate::client::output;
use crate::client::terminal::Screen;
use crate::client::timeline::bars::Timeline;
use crate::client::timeline::picture;

/// The flags of `jobwright timeline`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    selection: SelectionArguments,
    /// Output format
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    /// Maximum number of pods in the chart; the first ones are shown
    #[arg(long, value_name = "N", default_value = "50")]
    rows: usize,
    /// Width of the chart in characters; default: the width of the terminal, or 100
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(20..))]
    width: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For the terminal
    Text,
    /// A picture
    Svg,
    /// A page with the picture, to share
    Html,
}

/// Reason why there is no chart.
#[derive(Debug, Error)]
enum TimelineError {
    #[error(transparent)]
    Ask(#[from] ClusterReadError),
    #[error("-o {0} draws one Job; name one")]
    OneJob(&'static str),
}

/// Prints the charts, or the error.
pub fn main(arguments: &Arguments, global: &GlobalArguments) -> ExitCode {
    let screen = Screen::stdout(global.color);
    let screen = Screen { width: arguments.width.map_or(screen.width, usize::from), ..screen };
    exit_with(run(arguments, global).map(|timelines| {
        let charts = timelines.iter().map(|timeline| match arguments.output {
            Output::Text => text::chart(timeline, &screen),
            Output::Svg => picture::svg(timeline),
            Output::Html => picture::html(timeline),
        });
        output::print(charts.collect::<Vec<_>>().join("\n"));
        ExitCode::SUCCESS
    }))
}

#[tokio::main(flavor = "current_thread")]
async fn run(arguments: &Arguments, global: &GlobalArguments) -> Result<Vec<Timeline>, TimelineError> {
    let selection = arguments.selection.resolve(&[Kind::Job]).map_err(ClusterReadError::from)?;
    let context = global.open().await.map_err(ClusterReadError::from)?;
    let objects = match selection {
        Selection::Named(names) => names.into_iter().map(|name| (context.namespace.clone(), name)).collect(),
        Selection::Matching(kinds) => context.names_of(&kinds, &arguments.selection.selectors).await?,
    };
    match arguments.output {
        Output::Svg if objects.len() != 1 => return Err(TimelineError::OneJob("svg")),
        Output::Html if objects.len() != 1 => return Err(TimelineError::OneJob("html")),
        _ => {}
    }
    let mut timelines = Vec::new();
    for (namespace, object) in objects {
        let (job, pods) = context.of_namespace(&namespace).job_and_pods(&object.name).await?;
        timelines.push(Timeline::of(&job, &pods, crate::client::now(), arguments.rows));
    }
    Ok(timelines)
}
