//! `jobwright timeline`: a Job's pods over time, as a chart.

mod bars;
mod picture;
mod text;

use std::process::ExitCode;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use thiserror::Error;

use super::connect::{ClusterArguments, ConnectError};
use crate::runtime::errors::message;
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
    /// So many pods at most; the first ones
    #[arg(long, value_name = "N", default_value = "50")]
    rows: usize,
    /// How wide a chart for the terminal is, in characters
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u16).range(40..))]
    width: u16,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// The Job's namespace; without it the context's
    #[arg(short, long, env = "JOBWRIGHT_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,
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

/// Why there is no chart.
#[derive(Debug, Error)]
enum TimelineError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot read job/{name} in namespace {namespace}: {reason}")]
    Unreadable { name: String, namespace: String, reason: String },
    #[error("job/{name} in namespace {namespace} has no pods: none were made yet, or they are deleted")]
    NoPods { name: String, namespace: String },
}

/// Prints the chart.
pub fn main(arguments: &Arguments) -> ExitCode {
    match run(arguments) {
        Ok(timeline) => {
            match arguments.output {
                Output::Text => print!("{}", text::chart(&timeline, usize::from(arguments.width))),
                Output::Svg => print!("{}", picture::svg(&timeline)),
                Output::Html => print!("{}", picture::html(&timeline)),
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("jobwright: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(arguments: &Arguments) -> Result<Timeline, TimelineError> {
    let client = arguments.cluster.connect(None).await?;
    let namespace = arguments.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let name = arguments.subject.clone();
    let unreadable = |error: kube::Error| TimelineError::Unreadable {
        name: name.clone(),
        namespace: namespace.clone(),
        reason: message(&error),
    };
    let jobs: Api<Job> = Api::namespaced(client.clone(), &namespace);
    let job = jobs.get(&name).await.map_err(unreadable)?;
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let mut pods = pods.list(&ListParams::default()).await.map_err(unreadable)?.items;
    let uid = job.uid().unwrap_or_default();
    pods.retain(|pod| pod.owner_references().iter().any(|owner| owner.controller == Some(true) && owner.uid == uid));
    Timeline::of(&job, &pods, Timestamp::now(), arguments.rows).ok_or(TimelineError::NoPods { name, namespace })
}
