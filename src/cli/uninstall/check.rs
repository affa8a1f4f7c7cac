//! `jobwright uninstall-check`: checks whether Jobwright can be uninstalled without pods that hang in deletion
//! afterwards. The chart runs the command before `helm uninstall`.

use std::process::ExitCode;
use std::time::Duration;

use futures::StreamExt;
use kube::Client;
use tokio::time::Instant;

use super::lease::{LEASE_DURATION, LeaseArguments, Running};
use super::remove::{DryRun, Outcome, removals};
use super::scan::scan;
use super::select::{JobState, Selected, by_job};
use super::{Scope, UninstallError, job_text, lines, pods_text};
use crate::cli::global::GlobalArguments;
use crate::client::cluster::exit_with;
use crate::client::output;
use crate::job::TRACKING_FINALIZER;

/// Time between two checks while Jobs are waited for.
const POLL: Duration = Duration::from_secs(3);
/// Maximum number of rounds of removing finalizers: a controller that restarts meanwhile may have created other pods.
const ROUNDS: usize = 3;

/// The flags of `jobwright uninstall-check`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    scope: Scope,
    /// Wait this long for the Jobs to finish
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = crate::client::duration::duration)]
    timeout: Duration,
    /// After that time, stop the controller by taking its Lease, and remove the finalizers
    #[arg(long)]
    remove_finalizers: bool,
    /// The installation that is to be uninstalled; while another one is running, it can always be
    #[arg(long, env = "JOBWRIGHT_INSTALLATION", value_name = "NAMESPACE/NAME")]
    installation: Option<String>,
    #[command(flatten)]
    lease: LeaseArguments,
}

/// Checks the pods, waits or removes finalizers as the flags request, and prints the result.
pub fn main(arguments: &Arguments, global: &GlobalArguments) -> ExitCode {
    exit_with(run(arguments, global))
}

#[tokio::main(flavor = "current_thread")]
async fn run(arguments: &Arguments, global: &GlobalArguments) -> Result<ExitCode, UninstallError> {
    let (client, namespace) = arguments.scope.open(global).await?;
    let check = Check { arguments, client, namespace };
    let deadline = Instant::now() + arguments.timeout;
    let (mut blocking, kept) = check.blocking().await?;
    let mut running = None;
    if !blocking.is_empty() {
        running = arguments.lease.running(&check.client).await?;
        if let Some(other) = check.other_installation(running.as_ref()) {
            output::offer_line(format!(
                "another installation of Jobwright ({other}) works on these Jobs; this one can be uninstalled"
            ));
            return Ok(ExitCode::SUCCESS);
        }
        while !blocking.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(POLL.min(deadline.saturating_duration_since(Instant::now()))).await;
            (blocking, _) = check.blocking().await?;
        }
    }
    if blocking.is_empty() {
        output::offer_line(format!(
            "no Job of Jobwright has pods with the finalizer {TRACKING_FINALIZER}: uninstalling leaves none behind"
        ));
        if kept > 0 {
            output::offer_line(format!("{} of Jobs that another controller works on carry it", pods_text(kept)));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.remove_finalizers {
        output::error(refusal(&blocking));
        return Ok(ExitCode::FAILURE);
    }
    check.remove(running, blocking).await
}

/// A check with its flags, client and namespace. Without a namespace, all namespaces are checked.
struct Check<'a> {
    arguments: &'a Arguments,
    client: Client,
    namespace: Option<String>,
}

impl Check<'_> {
    /// Returns the pods that would hang, and the number of tracked pods that other controllers manage.
    async fn blocking(&self) -> Result<(Vec<Selected>, usize), UninstallError> {
        let selection = scan(&self.client, self.namespace.as_deref(), self.arguments.scope.claim).await?;
        let (blocking, others): (Vec<_>, Vec<_>) = selection.pods.into_iter().partition(|pod| pod.claimed);
        Ok((blocking, selection.kept + others.len()))
    }

    /// Returns the installation that is running, if it is not the one to be uninstalled.
    fn other_installation(&self, running: Option<&Running>) -> Option<String> {
        let mine = self.arguments.installation.as_deref()?;
        running?.installation().filter(|other| *other != mine).map(str::to_owned)
    }

    /// Stops the controller, removes the finalizers, and leaves the controller stopped if none is left.
    async fn remove(&self, running: Option<Running>, blocking: Vec<Selected>) -> Result<ExitCode, UninstallError> {
        let Some(running) = running else { return self.remove_all(blocking).await };
        output::offer_line(format!("stopping the controller {}", running.holder()));
        let mut stopped = running.stop().await?;
        // Without a renewal, the controller stands by for the length of the Lease, in which it is uninstalled.
        let result = stopped
            .holding(async {
                // The controller worked until now, so the list is read again.
                let (blocking, _) = self.blocking().await?;
                self.remove_all(blocking).await
            })
            .await;
        if !matches!(&result, Ok(code) if *code == ExitCode::SUCCESS) {
            output::error_line("releasing the Lease: the controller works again");
            stopped.release().await;
        }
        result
    }

    async fn remove_all(&self, mut blocking: Vec<Selected>) -> Result<ExitCode, UninstallError> {
        for _ in 0..ROUNDS {
            let mut removals = std::pin::pin!(removals(&self.client, blocking, DryRun::None));
            while let Some((selected, outcome)) = removals.next().await {
                let pod = format!("pod/{} in namespace {}", selected.pod.name, selected.pod.namespace);
                match outcome {
                    Outcome::Removed => output::offer_line(format!("{pod}: finalizer removed")),
                    Outcome::Gone => {}
                    Outcome::Failed(reason) => output::error_line(format!("{pod}: finalizer not removed: {reason}")),
                }
            }
            (blocking, _) = self.blocking().await?;
            if blocking.is_empty() {
                return Ok(ExitCode::SUCCESS);
            }
        }
        output::error(refusal(&blocking));
        Ok(ExitCode::FAILURE)
    }
}

/// Returns the message that the uninstall is refused: the Jobs that block it, and the ways to continue.
fn refusal(blocking: &[Selected]) -> String {
    let jobs = by_job(blocking);
    let named = lines(jobs.iter().map(|(job, pods)| format!("{}: {}", job_text(job), pods_text(*pods))));
    let unfinished = blocking.iter().filter(|pod| pod.job_state == JobState::Unfinished).count();
    format!(
        "uninstall refused: pods with the finalizer {TRACKING_FINALIZER}: {}, of them of unfinished Jobs: {unfinished}.\n\
         Without a controller these pods hang in deletion, and so do their Jobs and namespaces.\n\
         {named}\
         Do one of these:\n\
         - wait until the Jobs are finished, or delete them while Jobwright is running: kubectl delete job NAME --namespace NAMESPACE\n\
         - stop them where they are, and uninstall within {} s: jobwright uninstall-check --all-namespaces --remove-finalizers\n\
         - let the uninstall do that: the value uninstall.removeFinalizers=true of the chart; docs/uninstalling.md has the commands\n\
         - uninstall without this check (helm uninstall --no-hooks), and then run: jobwright remove-finalizers --all-namespaces\n",
        blocking.len(),
        LEASE_DURATION.as_secs(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::select::{PodOwner, TrackedPod};
    use super::*;

    #[test]
    fn refusal_names_the_jobs_and_what_can_be_done() {
        let pod = |name: &str, job: &str, job_state| Selected {
            pod: TrackedPod {
                namespace: "default".into(),
                name: name.into(),
                uid: name.into(),
                resource_version: "1".into(),
                owner: PodOwner::Job { name: job.into(), uid: job.into() },
            },
            job_state,
            claimed: true,
        };
        let text = refusal(&[
            pod("a", "etl", JobState::Unfinished),
            pod("b", "etl", JobState::Unfinished),
            pod("c", "old", JobState::Deleting),
        ]);
        for part in [
            "pods with the finalizer batch.kubernetes.io/job-tracking: 3, of them of unfinished Jobs: 2",
            "  job/etl in namespace default: 2 pods\n  job/old in namespace default: 1 pod\n",
            "uninstall.removeFinalizers=true",
            "helm uninstall --no-hooks",
        ] {
            assert!(text.contains(part), "{part:?} is missing from:\n{text}");
        }
    }
}
