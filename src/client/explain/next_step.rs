//! The next step of the controller, by the function with which the controller decides.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;

use super::explanation::counted;
use super::job::{Facts, second};
use super::span;
use crate::job::decide::backoff::Backoff;
use crate::job::decide::jitter::Jitter;
use crate::job::decide::start_waits::StartWaits;
use crate::job::decide::summary::PodSummary;
use crate::job::decide::{DecisionInput, Step, decide};
use crate::job::gang::plan::GroupObjects;
use crate::job::view::{JobView, Phase, PodView};
use crate::runtime::refusals::Refusals;

/// Returns the next step of the controller, and the time until which back-off delays the next pod, if it does.
pub(crate) fn decision(facts: &Facts<'_>, now: Timestamp) -> (Option<String>, Option<Timestamp>) {
    // Without the pods, the step would be that of a Job without pods.
    let (Some(job), Some(pods)) = (job_view(facts.job), facts.pods) else { return (None, None) };
    let pods = pod_views(pods);
    let ended =
        |wanted: Phase| -> Vec<Arc<PodView>> { pods.iter().filter(|pod| pod.phase == wanted).cloned().collect() };
    let (failed, succeeded) = (ended(Phase::Failed), ended(Phase::Succeeded));
    // The controller keeps the back-off in memory. The pods that still exist are enough for an approximation of that
    // state.
    let backoff = Backoff::default().after(&job, &failed, &succeeded);
    let (orphans, owned): (Vec<_>, Vec<_>) = pods.into_iter().partition(|pod| pod.owner.is_none());
    let mut starts = StartWaits::default();
    starts.observe_all(owned.iter().map(Arc::as_ref), now);
    let policy = facts.policy.rules();
    let input = DecisionInput {
        policy,
        starts: &starts,
        refused_memory: None,
        retries: None,
        admission: facts.admission,
        groups: GroupObjects::Unmanaged,
        job: &job,
        pods: &PodSummary::new(&job, owned),
        orphans: &orphans,
        backoff: &backoff,
        last_untracked_deletion: None,
        counters_dirty_since: None,
        refusals: &Refusals::default(),
    };
    let decision = decide(&input, now, facts.limits);
    let step = match (&decision.step, decision.wake) {
        (Step::None, Some(wake)) if wake > now => {
            Some(format!("the controller syncs the Job at {} (in {})", second(wake), span(now, wake)))
        }
        (step, _) => in_words(step),
    };
    (step, backoff.over_at(facts.limits, Jitter::of(&job, policy)))
}

/// Parses a Job as the controller does.
pub(crate) fn job_view(job: &Job) -> Option<JobView> {
    JobView::parse(serde_json::from_value(serde_json::to_value(job).ok()?).ok()?)
}

/// Parses pods as the controller does.
pub(crate) fn pod_views(pods: &[Pod]) -> Vec<Arc<PodView>> {
    let parse = |pod: &Pod| PodView::parse(serde_json::from_value(serde_json::to_value(pod).ok()?).ok()?).map(Arc::new);
    pods.iter().filter_map(parse).collect()
}

/// Describes a step of the controller. `None` for a step that does nothing.
fn in_words(step: &Step) -> Option<String> {
    Some(match step {
        Step::None => return None,
        Step::RejectInvalid(event) => format!("the controller rejects the Job: {}", event.message),
        Step::ClaimPods { adopt, release } => {
            format!(
                "the controller adopts {} and releases {}",
                counted(adopt.len(), "pod"),
                counted(release.len(), "pod")
            )
        }
        Step::CreatePods { pods, .. } => format!("the controller creates {}", counted(pods.len(), "pod")),
        Step::WriteGroup(write) => format!("the controller writes: {}", write.summary()),
        Step::ReadParentWorkload => "the controller reads the Workload of the owner".to_owned(),
        Step::DeletePods { pods, .. } => format!("the controller deletes {}", counted(pods.len(), "pod")),
        Step::RemoveFinalizers(pods) => {
            format!("the controller removes the tracking finalizer of {}", counted(pods.len(), "pod"))
        }
        Step::PublishWaiting { .. } | Step::RemoveWaiting => {
            "the controller updates the annotation jobwright.dev/waiting".to_owned()
        }
        Step::WriteStatus { .. } => "the controller updates the status".to_owned(),
        Step::FailPods(pods) => {
            format!("the controller fails {} that did not start in time", counted(pods.len(), "pod"))
        }
        Step::SuspendJob(_) => "the controller suspends the Job".to_owned(),
        // Other sentences of the explanation have what the annotations state.
        Step::Annotate { .. } => return None,
    })
}
