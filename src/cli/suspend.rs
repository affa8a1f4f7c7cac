//! `jobwright suspend` and `jobwright resume`: set `spec.suspend` of Jobs, CronJobs and JobSchedules. A JobSchedule that is
//! suspended after failed runs is resumed by its annotation.

use std::process::ExitCode;

use kube::ResourceExt;
use kube::api::{DynamicObject, Patch, PatchParams};
use thiserror::Error;

use super::global::GlobalArguments;
use crate::client::cluster::{ClusterContext, ClusterReadError, exit_with};
use crate::client::connect::ConnectError;
use crate::client::creation::{DryRun, Format, formatted};
use crate::client::explain::collect::Scope;
use crate::client::names::{Kind, NameError, Selection, SelectionArguments};
use crate::client::suspend::{Change, change, patch};
use crate::client::{output, selected};
use crate::runtime::errors::message;

/// Kinds with `spec.suspend`.
const KINDS: &[Kind] = &[Kind::Job, Kind::CronJob, Kind::JobSchedule];

/// The flags of `jobwright suspend` and `jobwright resume`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    selection: SelectionArguments,
    /// Change all objects of the given types
    #[arg(long)]
    all: bool,
    /// Store nothing: `client` prints what would change, `server` has the API server check the request
    #[arg(long, value_enum, value_name = "MODE", default_value = "none")]
    dry_run: DryRun,
    /// Output format
    #[arg(short, long, value_enum)]
    output: Option<Format>,
}

/// Reason why nothing was changed.
#[derive(Debug, Error)]
enum SuspendError {
    #[error(transparent)]
    Names(#[from] NameError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Read(#[from] ClusterReadError),
    #[error("no objects are named; write TYPE/NAME, or a type with --selector, such as: cronjobs -l app=etl")]
    NoType,
    #[error("{0} objects of a whole type are changed only with --selector or --all")]
    NotAll(String),
    #[error("no {kinds} match in {scope}")]
    NoObjects { kinds: String, scope: Scope },
}

/// Suspends (`suspend`) or resumes the objects.
pub fn main(arguments: &Arguments, global: &GlobalArguments, suspend: bool) -> ExitCode {
    exit_with(run(arguments, global, suspend))
}

#[tokio::main(flavor = "current_thread")]
async fn run(arguments: &Arguments, global: &GlobalArguments, suspend: bool) -> Result<ExitCode, SuspendError> {
    let SelectionArguments { objects, selectors } = &arguments.selection;
    let selection = arguments.selection.resolve(KINDS)?;
    if objects.is_empty() {
        return Err(SuspendError::NoType);
    }
    if let Selection::Matching(kinds) = &selection
        && selectors.selector.is_none()
        && selectors.field_selector.is_none()
        && !arguments.all
    {
        return Err(SuspendError::NotAll(plurals(kinds)));
    }
    let context = global.open().await?;
    let found = selected::objects(&context, &selection, selectors).await?;
    if let (true, Selection::Matching(kinds)) = (found.is_empty(), &selection) {
        let scope = selected::scope(&context, selectors);
        return Err(SuspendError::NoObjects { kinds: plurals(kinds), scope });
    }
    let mut failed = false;
    for (kind, object) in found {
        failed |= !set(&context, kind, object, suspend, arguments).await;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn plurals(kinds: &[Kind]) -> String {
    kinds.iter().map(|kind| kind.plural()).collect::<Vec<_>>().join(", ")
}

/// Changes one object, and prints the result. Returns whether the object has the wanted state.
async fn set(
    context: &ClusterContext,
    kind: Kind,
    object: DynamicObject,
    suspend: bool,
    arguments: &Arguments,
) -> bool {
    let name = kind.qualified(&object.name_any());
    let done = if suspend { "suspended" } else { "resumed" };
    let value = serde_json::to_value(&object).unwrap_or_default();
    let change = change(kind, &value, suspend);
    if let Change::Useless(why) = change {
        output::error_line(format!("jobwright: {name} is not {done}: {why}"));
        return false;
    }
    let Some(patch) = patch(&change, suspend, crate::client::now()) else {
        print(kind, &object, &format!("{name} unchanged"), arguments);
        return true;
    };
    if let Change::Set { note: Some(note) } = change {
        output::error_line(format!("note: {name}: {note}"));
    }
    let line = format!("{name} {done}{}", arguments.dry_run.note());
    if arguments.dry_run == DryRun::Client {
        let mut changed = object;
        if let Some(annotations) = patch["metadata"]["annotations"].as_object() {
            let annotations = annotations.iter().map(|(name, value)| (name, value.as_str().unwrap_or_default()));
            changed.annotations_mut().extend(annotations.map(|(name, value)| (name.clone(), value.to_owned())));
        } else {
            changed.data["spec"]["suspend"] = patch["spec"]["suspend"].clone();
        }
        print(kind, &changed, &line, arguments);
        return true;
    }
    let namespace = object.namespace().unwrap_or_else(|| context.namespace.clone());
    let api = selected::api(context, kind, &Scope::Namespace(namespace));
    let params = PatchParams { dry_run: arguments.dry_run == DryRun::Server, ..PatchParams::default() };
    match api.patch(&object.name_any(), &params, &Patch::Merge(&patch)).await {
        Ok(changed) => {
            print(kind, &changed, &line, arguments);
            true
        }
        Err(error) => {
            output::error_line(format!("jobwright: cannot change {name}: {}", message(&error)));
            false
        }
    }
}

fn print(kind: Kind, object: &DynamicObject, line: &str, arguments: &Arguments) {
    match arguments.output {
        None => output::print_line(line),
        Some(format) => output::print(formatted(kind, object, format)),
    }
}
