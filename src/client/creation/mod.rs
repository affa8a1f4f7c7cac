//! Creates a Job for a user: changes to its containers, dry runs, and the output. `trigger` and `rerun` use it.

pub(crate) mod overrides;
pub(crate) mod parameters;

use kube::ResourceExt;
use kube::api::{DynamicObject, PostParams};
use serde_json::Value;
use thiserror::Error;

use super::cluster::ClusterContext;
use super::explain::collect::Scope;
use super::names::Kind;
use super::{format, output, selected};
use crate::runtime::errors::{is_ambiguous, message};

/// Characters that the API server uses for generated names.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The flags that determine whether a Job is stored, and how the result is printed.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct CreationArguments {
    /// Store nothing: `client` prints the Job that would be sent, `server` has the API server check it and returns the
    /// Job as it would be stored
    #[arg(long, value_enum, value_name = "MODE", default_value = "none")]
    pub dry_run: DryRun,
    /// Output format
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
}

/// Whether a write is only a trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DryRun {
    /// The object is stored
    #[default]
    None,
    /// Nothing is sent
    Client,
    /// The API server checks the request and stores nothing
    Server,
}

/// Format of a created or changed object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// TYPE/NAME
    Name,
    /// The object as YAML
    Yaml,
    /// The object as JSON
    Json,
}

/// Reason why a Job was not created.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub(crate) enum CreateError {
    #[error("cannot create job/{name} in namespace {namespace}: {reason}")]
    Refused { name: String, namespace: String, reason: String },
    #[error(
        "it is unknown whether the API server created job/{name}: {reason}; \
         to find out, run: {command}"
    )]
    Unknown { name: String, reason: String, command: String },
}

impl DryRun {
    /// Returns the text that follows the result of a write, as kubectl prints it.
    pub(crate) fn note(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }
}

/// Creates a Job, given as JSON, and returns the stored one. With a dry run of the client, returns the Job unchanged.
///
/// # Errors
/// The API server refuses the Job, or the outcome is unknown. The request is sent once.
pub(crate) async fn create(
    context: &ClusterContext,
    job: Value,
    dry_run: DryRun,
) -> Result<DynamicObject, CreateError> {
    let mut job = job;
    // A Job without these fields is no object for the client.
    job["apiVersion"] = crate::job::API_VERSION.into();
    job["kind"] = crate::job::KIND.into();
    let name = job["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let namespace = context.namespace.clone();
    let refused = |reason: String| CreateError::Refused { name: name.clone(), namespace: namespace.clone(), reason };
    let job: DynamicObject = serde_json::from_value(job).map_err(|error| refused(error.to_string()))?;
    if dry_run == DryRun::Client {
        return Ok(job);
    }
    let params = PostParams { dry_run: dry_run == DryRun::Server, ..PostParams::default() };
    let jobs = selected::api(context, Kind::Job, &Scope::Namespace(context.namespace.clone()));
    jobs.create(&params, &job).await.map_err(|error| {
        let reason = message(&error);
        if is_ambiguous(&error) {
            let command = context.suggest.in_namespace(&namespace).kubectl(&format!("get job {name}"));
            CreateError::Unknown { name: name.clone(), reason, command }
        } else {
            refused(reason)
        }
    })
}

/// Prints a created Job in the requested format.
pub(crate) fn print_created(job: &DynamicObject, arguments: &CreationArguments) {
    let text = match arguments.output {
        None => format!("{} created{}\n", Kind::Job.qualified(&job.name_any()), arguments.dry_run.note()),
        Some(format) => formatted(Kind::Job, job, format),
    };
    output::print(text);
}

/// Returns an object in this format.
pub(crate) fn formatted(kind: Kind, object: &DynamicObject, format: Format) -> String {
    let mut object = object.clone();
    // The managed fields are for programs that apply manifests, and longer than the rest. kubectl leaves them out too.
    object.metadata.managed_fields = None;
    let value = serde_json::to_value(&object).unwrap_or_default();
    match format {
        Format::Name => kind.qualified(&object.name_any()) + "\n",
        Format::Json => format::Format::Json.object(&value).unwrap_or_default(),
        Format::Yaml => format::Format::Yaml.object(&value).unwrap_or_default(),
    }
}

/// Returns random characters, as in generated names of the API server.
pub(crate) fn random_letters(count: usize) -> String {
    let letters = std::iter::repeat_with(|| fastrand::choice(LETTERS)).flatten();
    letters.take(count).map(|letter| char::from(*letter)).collect()
}

/// Returns whether a text can be the random characters of a name.
#[cfg(feature = "ui")]
pub(crate) fn are_letters(text: &str, count: usize) -> bool {
    text.len() == count && text.bytes().all(|letter| LETTERS.contains(&letter))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[cfg(feature = "ui")]
    #[test]
    fn random_letters_are_recognised() {
        assert!(are_letters(&random_letters(5), 5));
        for wrong in ["", "bcdf", "bcdfa", "BCDFG", "bcd/f", "bcdfgh"] {
            assert!(!are_letters(wrong, 5), "{wrong}");
        }
    }

    #[test]
    fn object_is_printed_in_each_format() {
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "managedFields": []}, "spec": {"x": "1"}});
        let job: DynamicObject = serde_json::from_value(job).unwrap();
        assert_eq!(formatted(Kind::Job, &job, Format::Name), "job.batch/a\n");
        let json: Value = serde_json::from_str(&formatted(Kind::Job, &job, Format::Json)).unwrap();
        let expected = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": {"x": "1"}});
        assert_eq!(json, expected);
        let yaml: Value = serde_saphyr::from_str(&formatted(Kind::Job, &job, Format::Yaml)).unwrap();
        assert_eq!(yaml, expected, "a string that resembles a number is quoted");
    }
}
