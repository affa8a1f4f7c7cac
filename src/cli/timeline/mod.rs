//! `jobwright timeline`: draws the pods of a Job over time, as text for the terminal, SVG or HTML.

mod bars;
mod picture;
mod text;

use std::process::ExitCode;

use thiserror::Error;

use super::cluster::{ClusterReadError, NamespaceArguments, exit_with};
use bars::Timeline;

/// The flags of `jobwright timeline`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The Job, as job/NAME
    #[arg(value_parser = job_name)]
    subject: String,
    /// How the chart looks
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    /// Maximum number of pods in the chart; the first ones are shown
    #[arg(long, value_name = "N", default_value = "50")]
    rows: usize,
    /// How wide a chart for the terminal is, in characters
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u16).range(40..))]
    width: u16,
    #[command(flatten)]
    target: NamespaceArguments,
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

fn job_name(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("job/").filter(|name| !name.is_empty());
    name.map(str::to_owned).ok_or_else(|| "must be job/NAME".to_owned())
}

/// Reason why there is no chart.
#[derive(Debug, Error)]
enum TimelineError {
    #[error(transparent)]
    Ask(#[from] ClusterReadError),
    #[error("job/{name} in namespace {namespace} has no pods: none has been created yet, or all are deleted")]
    NoPods { name: String, namespace: String },
}

/// Prints the chart, or the error.
pub fn main(arguments: &Arguments) -> ExitCode {
    exit_with(run(arguments).map(|timeline| {
        match arguments.output {
            Output::Text => print!("{}", text::chart(&timeline, usize::from(arguments.width))),
            Output::Svg => print!("{}", picture::svg(&timeline)),
            Output::Html => print!("{}", picture::html(&timeline)),
        }
        ExitCode::SUCCESS
    }))
}

#[tokio::main(flavor = "current_thread")]
async fn run(arguments: &Arguments) -> Result<Timeline, TimelineError> {
    let context = arguments.target.open().await.map_err(ClusterReadError::from)?;
    let name = arguments.subject.clone();
    let (job, pods) = context.job_and_pods(&name).await?;
    let none = TimelineError::NoPods { name, namespace: context.namespace };
    Timeline::of(&job, &pods, crate::cli::now(), arguments.rows).ok_or(none)
}
