//! Executes one step. It decides nothing; the responses of the API server go into the cache.
//!
//! [`StepExecutor::execute`] is the entry point. `pods` writes pods, `groups` their groups, `status` writes the Job, and
//! `intake` stores the responses.

mod groups;
mod intake;
mod pods;
mod status;

use std::sync::Arc;

use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::watch;

use self::status::Extra;
use super::decide::Step;
use super::gang::view::{PodGroupView, WorkloadView};
use super::key::Key;
use super::metrics::JobMetrics;
use super::pod::PodBuilder;
use super::policy::PolicyRules;
use super::view::{JobView, PodView};
use super::write_kinds::{CREATE, DELETE};
use super::{API_VERSION, KIND};
use crate::runtime::cache::Cache;
use crate::runtime::context::ControllerContext;
use crate::runtime::errors::WriteError;
use crate::runtime::events::EventText;
use crate::runtime::identity::Uid;
use crate::runtime::maps::FastSet;
use crate::runtime::queue::Queue;
use crate::runtime::refusals::{self, WriteKind};
use crate::runtime::watch::WatchMetrics;

/// Dependencies of the execution of a step.
pub struct StepExecutor {
    /// Client, write gate and events.
    pub context: ControllerContext,
    /// Metrics of the Job controller.
    pub metrics: JobMetrics,
    /// Number of last lines of a log that are stored with a Job that fails.
    pub log_tail: u32,
    /// Pods that the controller is deleting uncounted.
    pub uncounted_deletions: Mutex<FastSet<Uid>>,
    /// All Jobs.
    pub jobs: Arc<Cache<JobView>>,
    /// All pods that can belong to a Job.
    pub pods: Arc<Cache<PodView>>,
    /// All Workloads, if the controller manages them.
    pub workloads: Arc<Cache<WorkloadView>>,
    /// All PodGroups, if the controller manages them.
    pub pod_groups: Arc<Cache<PodGroupView>>,
    /// Metrics of the watch of pods.
    pub pods_watched: WatchMetrics,
    /// Whether all pods are watched, not only those with the label of a generated selector.
    pub all_pods: watch::Sender<bool>,
    /// Keys to sync. The executor adds those that a response concerns besides the Job at hand.
    pub queue: Arc<Queue<Key>>,
}

/// Failure of a step.
#[derive(Debug)]
pub enum StepError {
    /// These writes failed; the other writes of the step succeeded.
    Writes(Vec<FailedWrite>),
    /// The Job has changed since it was read; the cache holds the present version.
    Changed,
    /// Any other error.
    Other(WriteError),
}

/// A write that failed.
#[derive(Debug)]
pub struct FailedWrite {
    /// Kind of the write.
    pub kind: WriteKind,
    /// Pod of the write; none for a creation, and for a write to the Job.
    pub pod: Option<Uid>,
    /// Cause of the failure.
    pub error: WriteError,
    /// Whether other writes of the same kind in the same step succeeded: a failed creation stands for all of a step.
    pub is_partial: bool,
}

impl FailedWrite {
    fn new(kind: WriteKind, pod: &PodView, error: WriteError) -> Self {
        Self { kind, pod: Some(pod.identity.uid.clone()), error, is_partial: false }
    }
}

/// Collects the failures of several writes.
fn all(results: impl IntoIterator<Item = Result<(), FailedWrite>>) -> Result<(), StepError> {
    let failed: Vec<FailedWrite> = results.into_iter().filter_map(Result::err).collect();
    if failed.is_empty() { Ok(()) } else { Err(StepError::Writes(failed)) }
}

impl StepExecutor {
    /// Executes a step for a Job that this policy governs.
    pub async fn execute(&self, job: &JobView, step: Step, policy: Option<&PolicyRules>) -> Result<(), StepError> {
        match step {
            Step::None => Ok(()),
            Step::RejectInvalid(event) => {
                self.record_event(job, event);
                Ok(())
            }
            Step::ClaimPods { adopt, release } => self.claim(job, &adopt, &release).await,
            Step::CreatePods { pods, reason, group, raised } => {
                let failed = |error, is_partial| {
                    StepError::Writes(vec![FailedWrite { kind: CREATE, pod: None, error, is_partial }])
                };
                let builder = PodBuilder::new(job, group.as_deref(), &raised);
                let builder = builder.map_err(|error| failed(error.into(), false))?;
                let mut created = 0;
                let result = self.create_pods(job, &pods, reason, &builder, &mut created).await;
                result.map_err(|error| failed(error, created > 0))
            }
            Step::WriteGroup(write) => self.write_group(job, write).await,
            Step::ReadParentWorkload => self.list_workloads(job).await.map_err(|error| StepError::Other(error.into())),
            Step::DeletePods { pods, uncounted } => {
                let deletions = pods.iter().map(|pod| self.delete_pod(job, pod, uncounted));
                all(join_all(deletions).await)
            }
            Step::RemoveFinalizers(pods) => {
                let removals = pods.iter().map(|pod| async {
                    self.untrack_of(job, pod).await?;
                    self.metrics.untracked(job, pod);
                    Ok(())
                });
                all(join_all(removals).await)
            }
            Step::PublishWaiting { waiting, event } => {
                self.publish_waiting(job, &waiting).await?;
                event.into_iter().for_each(|event| self.record_event(job, event));
                Ok(())
            }
            Step::RemoveWaiting => self.remove_waiting(job).await,
            Step::FailPods(pods) => all(join_all(pods.iter().map(|pod| self.fail_pod(job, pod))).await),
            Step::SuspendJob(event) => {
                self.suspend(job).await?;
                self.record_event(job, event);
                Ok(())
            }
            Step::Annotate { annotations, events } => {
                self.annotate(job, &annotations).await?;
                events.into_iter().for_each(|event| self.record_event(job, event));
                Ok(())
            }
            Step::WriteStatus { status, events, mut report, annotations, result } => {
                if let Some(report) = &mut report {
                    let lines = policy.and_then(|policy| policy.log_tail).unwrap_or(self.log_tail);
                    report.log = self.last_lines(job, report, lines).await;
                }
                let extra = Extra { report: report.as_deref(), annotations: annotations.as_deref(), result };
                self.write_status(job, &status, extra).await?;
                events
                    .into_iter()
                    .chain(report.map(|report| report.event()))
                    .for_each(|event| self.record_event(job, event));
                Ok(())
            }
        }
    }

    /// Records that a write failed: in the log, and in an event on the Job if a policy refused the write.
    fn failed(&self, job: &JobView, kind: WriteKind, pod: Option<&PodView>, error: WriteError) -> FailedWrite {
        let identity = &job.identity;
        let name = pod.map(|pod| &*pod.identity.name);
        if !error.is_gate_closed() && !error.is_namespace_terminating() {
            // The built-in controller records an event of every failed creation and deletion, whatever the cause.
            if error.is_refusal() || kind == CREATE || kind == DELETE {
                self.record_event(job, refusals::event(kind, name, &error));
            }
            tracing::warn!(namespace = %identity.namespace, name = %identity.name, pod = name, reason = kind.reason, %error, "a write failed");
        }
        FailedWrite { kind, pod: pod.map(|pod| pod.identity.uid.clone()), error, is_partial: false }
    }

    /// Records that a write to a pod without a Job failed: in the log, and in an event on the pod.
    fn failed_on_pod(&self, kind: WriteKind, pod: &PodView, error: WriteError) -> FailedWrite {
        let identity = &pod.identity;
        if !error.is_gate_closed() && !error.is_namespace_terminating() {
            if error.is_refusal() {
                let event = refusals::event(kind, Some(&identity.name), &error);
                self.context.record_event("v1", "Pod", identity, event);
            }
            tracing::warn!(namespace = %identity.namespace, pod = %identity.name, reason = kind.reason, %error, "a write failed");
        }
        FailedWrite::new(kind, pod, error)
    }

    /// Records an event about a Job.
    pub fn record_event(&self, job: &JobView, event: EventText) {
        self.context.record_event(API_VERSION, KIND, &job.identity, event);
    }
}
