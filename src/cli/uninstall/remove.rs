//! `jobwright remove-finalizers`: removes the tracking finalizer from pods that no controller works on.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};

use super::lease::LeaseArguments;
use super::scan::scan;
use super::select::{JobState, PodOwner, Selected, by_job};
use super::{Scope, UninstallError, job_text, lines};
use crate::cli::global::GlobalArguments;
use crate::client::cluster::exit_with;
use crate::client::output;
use crate::job::TRACKING_FINALIZER;
use crate::job::pod::untracking;
use crate::runtime::errors::{WriteError, message};
use crate::runtime::write_gate::patch_params;

/// Maximum number of pods that are written concurrently.
const CONCURRENCY: usize = 16;
/// Maximum number of attempts for a pod while the API server is overloaded or does not answer. The patch names the
/// pod's UID, so a repetition cannot change another pod.
const ATTEMPTS: u32 = 5;
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The flags of `jobwright remove-finalizers`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    scope: Scope,
    /// Print the pods without changing them: client sends no write, server sends writes that are not stored
    #[arg(long, value_enum, value_name = "MODE", default_value = "none")]
    dry_run: DryRun,
    /// Remove finalizers although a controller is running; that controller then loses count of the pods of unfinished
    /// Jobs
    #[arg(long)]
    force: bool,
    /// Stop after this time, such as 5m; 0s waits without a limit
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = crate::client::duration::duration)]
    timeout: Duration,
    /// Output format; without it one sentence a pod
    #[arg(short, long, value_enum)]
    output: Option<Output>,
    #[command(flatten)]
    lease: LeaseArguments,
}

/// Values of `--dry-run`, with the meaning that kubectl gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DryRun {
    /// Remove the finalizers
    None,
    /// Send no write
    Client,
    /// Send writes that are not stored
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// pod/NAME, for each pod whose finalizer is removed
    Name,
    /// One object for programs
    Json,
}

/// Outcome for one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The finalizer is removed; in a dry run, it would be.
    Removed,
    /// The pod no longer exists.
    Gone,
    /// The finalizer was not removed, with the error.
    Failed(String),
}

/// Removes the finalizers and prints the outcome for each pod.
pub fn main(arguments: &Arguments, global: &GlobalArguments) -> ExitCode {
    exit_with(run(arguments, global))
}

#[tokio::main(flavor = "current_thread")]
async fn run(arguments: &Arguments, global: &GlobalArguments) -> Result<ExitCode, UninstallError> {
    if arguments.timeout.is_zero() {
        return work(arguments, global).await;
    }
    let timeout = arguments.timeout;
    tokio::time::timeout(timeout, work(arguments, global)).await.unwrap_or(Err(UninstallError::Timeout(timeout)))
}

async fn work(arguments: &Arguments, global: &GlobalArguments) -> Result<ExitCode, UninstallError> {
    let (client, namespace) = arguments.scope.open(global).await?;
    if arguments.dry_run == DryRun::None
        && !arguments.force
        && let Some(running) = arguments.lease.running(&client).await?
    {
        return Err(UninstallError::Running { holder: running.holder().to_owned() });
    }
    let selection = scan(&client, namespace.as_deref(), arguments.scope.claim).await?;
    let kept = selection.kept;
    let mut outcomes = Vec::new();
    {
        let mut removals = std::pin::pin!(removals(&client, selection.pods, arguments.dry_run));
        while let Some((selected, outcome)) = removals.next().await {
            match arguments.output {
                None => output::offer_line(sentence(&selected, &outcome, arguments.dry_run)),
                Some(Output::Name) if outcome == Outcome::Removed => {
                    output::offer_line(format!("pod/{}", selected.pod.name))
                }
                Some(_) => {}
            }
            if let Outcome::Failed(reason) = &outcome {
                output::error_line(format!(
                    "jobwright: pod/{} in namespace {}: {reason}",
                    selected.pod.name, selected.pod.namespace
                ));
            }
            outcomes.push((selected, outcome));
        }
    }
    if arguments.output == Some(Output::Json) {
        output::offer_line(report(&outcomes, kept, arguments.dry_run));
    } else if outcomes.is_empty() && arguments.output.is_none() {
        output::offer_line(format!("no pod carries {TRACKING_FINALIZER} without a controller that removes it"));
    }
    output::error(unfinished(&outcomes));
    let failed = outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed(_)));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Removes the finalizer from each pod, some concurrently, and yields the outcomes in order of completion.
pub(super) fn removals(
    client: &Client,
    pods: Vec<Selected>,
    dry_run: DryRun,
) -> impl futures::Stream<Item = (Selected, Outcome)> {
    futures::stream::iter(pods)
        .map(move |selected| async move {
            let outcome = remove(client, &selected, dry_run).await;
            (selected, outcome)
        })
        .buffer_unordered(CONCURRENCY)
}

async fn remove(client: &Client, selected: &Selected, dry_run: DryRun) -> Outcome {
    if dry_run == DryRun::Client {
        return Outcome::Removed;
    }
    let pod = &selected.pod;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let params = PatchParams { dry_run: dry_run == DryRun::Server, ..patch_params() };
    let patch = patch(selected);
    let mut pause = Duration::from_secs(1);
    for attempt in 1.. {
        let error = match pods.patch_metadata(&pod.name, &params, &Patch::Strategic(&patch)).await {
            Ok(_) => return Outcome::Removed,
            Err(error) => WriteError::from(error),
        };
        match error.code() {
            Some(404) => return Outcome::Gone,
            // Another pod has the name now, or the pod has changed since it was listed.
            Some(409) => return conflict(&pods, selected, &error).await,
            Some(429 | 500..) | None if attempt < ATTEMPTS => {
                let asked = error.retry_after_seconds().map(|seconds| Duration::from_secs(seconds.into()));
                tokio::time::sleep(asked.unwrap_or(pause).min(LONGEST_PAUSE)).await;
                pause *= 2;
            }
            _ => return Outcome::Failed(error.to_string()),
        }
    }
    Outcome::Failed("no answer".to_owned())
}

async fn conflict(pods: &Api<Pod>, selected: &Selected, error: &WriteError) -> Outcome {
    match pods.get_metadata_opt(&selected.pod.name).await {
        Ok(found) if found.as_ref().and_then(|found| found.uid()).as_deref() == Some(&selected.pod.uid) => {
            Outcome::Failed(error.to_string())
        }
        Ok(_) => Outcome::Gone,
        Err(error) => Outcome::Failed(message(&error)),
    }
}

fn patch(selected: &Selected) -> Value {
    let mut patch = untracking(&selected.pod.uid);
    if selected.pod.owner == PodOwner::Missing {
        // A Job may adopt the pod meanwhile, and needs the finalizer to count it. The version makes the patch fail
        // then.
        patch["metadata"]["resourceVersion"] = json!(selected.pod.resource_version);
    }
    patch
}

fn sentence(selected: &Selected, outcome: &Outcome, dry_run: DryRun) -> String {
    let outcome = match outcome {
        Outcome::Removed => "finalizer removed",
        Outcome::Gone => "no longer exists",
        Outcome::Failed(_) => "finalizer not removed",
    };
    let suffix = match dry_run {
        DryRun::None => "",
        DryRun::Client => " (dry run)",
        DryRun::Server => " (server dry run)",
    };
    let why = match selected.job() {
        Some(job) => format!("job/{job} {}", selected.job_state.text()),
        None => "no Job controls the pod".to_owned(),
    };
    let pod = &selected.pod;
    format!("pod/{} in namespace {}: {outcome}, {why}{suffix}", pod.name, pod.namespace)
}

/// Returns a warning about the unfinished Jobs whose pods lost the finalizer. It is empty if there are none.
fn unfinished(outcomes: &[(Selected, Outcome)]) -> String {
    let concerned = outcomes
        .iter()
        .filter(|(selected, outcome)| selected.job_state == JobState::Unfinished && *outcome == Outcome::Removed);
    let jobs: BTreeMap<_, _> = by_job(concerned.map(|(selected, _)| selected));
    if jobs.is_empty() {
        return String::new();
    }
    format!(
        "These Jobs are unfinished and have no controller. Their pods that run go on running, and are neither counted nor replaced when they end.\n\
         Delete the Jobs, or install Jobwright again: it does not count these pods and runs their work again.\n{}",
        lines(jobs.keys().map(job_text))
    )
}

fn report(outcomes: &[(Selected, Outcome)], kept: usize, dry_run: DryRun) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Line<'a> {
        namespace: &'a str,
        name: &'a str,
        uid: &'a str,
        job: Option<&'a str>,
        job_state: JobState,
        result: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
    }
    let line = |(selected, outcome): &'_ (Selected, Outcome)| {
        let (result, error) = match outcome {
            Outcome::Removed if dry_run == DryRun::None => ("Removed", None),
            Outcome::Removed => ("WouldBeRemoved", None),
            Outcome::Gone => ("Gone", None),
            Outcome::Failed(reason) => ("Failed", Some(reason.as_str())),
        };
        json!(Line {
            namespace: &selected.pod.namespace,
            name: &selected.pod.name,
            uid: &selected.pod.uid,
            job: selected.job(),
            job_state: selected.job_state,
            result,
            error,
        })
    };
    let lines: Vec<Value> = outcomes.iter().map(line).collect();
    json!({"pods": lines, "podsOfOtherControllers": kept}).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::select::TrackedPod;
    use super::*;

    fn selected(owner: PodOwner, job_state: JobState) -> Selected {
        let pod = TrackedPod {
            namespace: "default".into(),
            name: "a-x".into(),
            uid: "pod-uid".into(),
            resource_version: "7".into(),
            owner,
        };
        Selected { pod, job_state, claimed: true }
    }

    fn of_job(state: JobState) -> Selected {
        selected(PodOwner::Job { name: "a".into(), uid: "job-uid".into() }, state)
    }

    #[test]
    fn patch_names_the_uid_and_for_an_adoptable_pod_the_version() {
        let owned = patch(&of_job(JobState::Gone));
        assert_eq!(owned["metadata"]["uid"], "pod-uid");
        assert_eq!(owned["metadata"]["resourceVersion"], Value::Null);
        assert_eq!(patch(&selected(PodOwner::Missing, JobState::Gone))["metadata"]["resourceVersion"], "7");
    }

    #[test]
    fn sentences_name_the_pod_the_outcome_and_the_state_of_the_job() {
        let cases = [
            (of_job(JobState::Deleting), Outcome::Removed, DryRun::None, "finalizer removed, job/a is being deleted"),
            (
                of_job(JobState::Finished),
                Outcome::Removed,
                DryRun::Server,
                "finalizer removed, job/a is finished (server dry run)",
            ),
            (of_job(JobState::Gone), Outcome::Gone, DryRun::None, "no longer exists, job/a no longer exists"),
            (
                selected(PodOwner::Missing, JobState::Gone),
                Outcome::Failed("no".into()),
                DryRun::None,
                "finalizer not removed, no Job controls the pod",
            ),
        ];
        for (selected, outcome, dry_run, text) in cases {
            assert_eq!(sentence(&selected, &outcome, dry_run), format!("pod/a-x in namespace default: {text}"));
        }
    }

    #[test]
    fn unfinished_jobs_are_named_once_and_only_where_pods_lost_the_finalizer() {
        let removed = |state| (of_job(state), Outcome::Removed);
        assert_eq!(unfinished(&[removed(JobState::Deleting), (of_job(JobState::Unfinished), Outcome::Gone)]), "");
        let text = unfinished(&[removed(JobState::Unfinished), removed(JobState::Unfinished)]);
        assert_eq!(text.matches("job/a in namespace default").count(), 1, "{text}");
    }

    #[test]
    fn json_report_has_an_entry_for_each_pod() {
        let outcomes =
            [(of_job(JobState::Gone), Outcome::Removed), (of_job(JobState::Deleting), Outcome::Failed("no".into()))];
        let report: Value = serde_json::from_str(&report(&outcomes, 3, DryRun::None)).unwrap();
        assert_eq!(report["podsOfOtherControllers"], 3);
        assert_eq!(report["pods"][0]["result"], "Removed");
        assert_eq!(report["pods"][0]["jobState"], "Gone");
        assert_eq!((&report["pods"][1]["result"], &report["pods"][1]["error"]), (&json!("Failed"), &json!("no")));
    }
}
