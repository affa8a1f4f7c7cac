//! `jobwright rerun`: runs a finished Job again, under a new name and with changes that the flags ask for.
//!
//! The old Job is not changed. The command works whichever controller runs the Jobs.

use std::process::ExitCode;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use serde_json::Value;
use thiserror::Error;

use super::global::GlobalArguments;
use super::wait::{self, WaitError};
use crate::client::cluster::ClusterReadError;
use crate::client::connect::ConnectError;
use crate::client::creation::overrides::{OverrideArguments, OverrideError};
use crate::client::creation::{CreateError, CreationArguments, DryRun, create, print_created, random_letters};
use crate::client::explain::collect::Scope;
use crate::client::leases::Leases;
use crate::client::names::{self, Kind, NameError, Selection};
use crate::client::rerun::{copy, repeat};
use crate::client::{output, selected};

/// The flags of `jobwright rerun`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Finished Jobs, as job/NAME
    #[arg(value_name = "JOB", required = true)]
    jobs: Vec<String>,
    /// Name of the new Job; default: the old name, "-rerun-" and five letters
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Run the Job again although it is not finished
    #[arg(long)]
    force: bool,
    /// Run the failed indexes of an Indexed Job alone, and those that never completed; for Jobs that Jobwright runs
    #[arg(long)]
    failed_indexes: bool,
    /// Wait for the end of the new Job; the exit code is 0 if it completes, and 1 if it fails
    #[arg(short, long)]
    watch: bool,
    /// Longest time to wait, such as 10m; the exit code is then 124, and the new Job keeps running
    #[arg(long, value_name = "DURATION", requires = "watch", value_parser = crate::client::duration::timeout)]
    timeout: Option<Duration>,
    #[command(flatten)]
    overrides: OverrideArguments,
    #[command(flatten)]
    creation: CreationArguments,
}

/// Reason why a Job was not run again.
#[derive(Debug, Error)]
enum RerunError {
    #[error(transparent)]
    Names(#[from] NameError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Read(#[from] ClusterReadError),
    #[error("--name is for one Job; it cannot be given with {0} Jobs")]
    OneName(usize),
    #[error("name the Jobs to run again, as job/NAME")]
    NoNames,
    #[error("cannot run job/{job} again: {reason}")]
    NotRepeatable { job: String, reason: String },
    #[error("cannot change job/{job}: {reason}")]
    Override { job: String, reason: OverrideError },
    #[error(transparent)]
    Create(#[from] CreateError),
    #[error(transparent)]
    Wait(#[from] WaitError),
}

/// Creates the new Jobs, and waits for them with `--watch`.
pub fn main(arguments: &Arguments, global: &GlobalArguments) -> ExitCode {
    run(arguments, global).unwrap_or_else(|error| {
        output::error_line(format!("jobwright: {error}"));
        ExitCode::from(wait::ERROR)
    })
}

#[tokio::main(flavor = "current_thread")]
async fn run(arguments: &Arguments, global: &GlobalArguments) -> Result<ExitCode, RerunError> {
    let Selection::Named(names) = names::parse(&arguments.jobs, &[Kind::Job])? else { return Err(RerunError::NoNames) };
    if arguments.name.is_some() && names.len() > 1 {
        return Err(RerunError::OneName(names.len()));
    }
    let context = global.open().await?;
    // Everything is read and checked before the first Job is created.
    let mut planned = Vec::new();
    let leases = match arguments.failed_indexes {
        true => Some(Leases::read(&context.client, &context.namespace).await),
        false => None,
    };
    for name in &names {
        let old = selected::get(&context, name).await?;
        let old: Value = serde_json::to_value(&old).unwrap_or_default();
        let new = arguments.name.clone().unwrap_or_else(|| copy::name(&name.name, &random_letters(copy::LETTERS)));
        let job = name.name.clone();
        let mut copied = repeat(&old, &new, arguments.force, leases.as_ref())
            .map_err(|error| RerunError::NotRepeatable { job: job.clone(), reason: error.to_string() })?;
        let template = &mut copied.job["spec"]["template"];
        arguments.overrides.apply(template).map_err(|reason| RerunError::Override { job, reason })?;
        planned.push(copied);
    }
    let mut created = Vec::new();
    for copied in planned {
        for note in &copied.notes {
            output::error_line(format!("note: {note}"));
        }
        let job = create(&context, copied.job, arguments.creation.dry_run).await?;
        print_created(&job, &arguments.creation);
        created.push(job);
    }
    if !arguments.watch || arguments.creation.dry_run != DryRun::None {
        return Ok(ExitCode::SUCCESS);
    }
    let jobs: Vec<Job> =
        created.into_iter().filter_map(|job| serde_json::from_value(serde_json::to_value(job).ok()?).ok()).collect();
    let watch = match &jobs[..] {
        [job] => wait::of_one(&job.name_any()),
        _ => kube::runtime::watcher::Config::default(),
    };
    let scope = Scope::Namespace(context.namespace.clone());
    let options = wait::Options { timeout: arguments.timeout, quiet: false };
    Ok(wait::wait_for(&context, &scope, jobs, watch, options).await?)
}
