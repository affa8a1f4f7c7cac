//! Explains which JobPolicy governs a Job, and which of its deadlines comes next.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;

use super::next_step::{job_view, pod_views};
use super::span;
use crate::job::decide::start_waits::StartWaits;
use crate::job::policy::{POLICY_ANNOTATION, PolicyRules};
use crate::job::view::policy_annotations::GOVERNED_BY;
use crate::job::view::start::{StartAction, StartCause};
use crate::job::view::{JobView, PodView};
use crate::policy::select::{Choice, choose};
use crate::policy::view::PolicyView;
use crate::runtime::quantity;

/// Time after which a JobPolicy is proposed for a Job whose pod has not started.
const LONG_WAIT: Duration = Duration::from_secs(300);

/// What is known of the JobPolicy of a Job.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum PolicyState {
    /// No policy governs the Job, or it is not known.
    #[default]
    Nothing,
    /// The policy that the Job names does not exist, or is not valid.
    Missing(String),
    /// A policy of the namespace governs the Job, with these rules.
    Own(Arc<PolicyRules>),
    /// The default policy of the cluster, with this namespace and name, governs the Job.
    Default(String),
}

impl PolicyState {
    /// Returns which of these policies governs a Job.
    pub(crate) fn of(job: &Job, policies: &[Arc<PolicyView>]) -> Self {
        let Some(view) = job_view(job) else { return Self::Nothing };
        match choose(policies, &view.admission_info.labels, view.named_policy.as_deref()) {
            Choice::Missing => Self::Missing(view.named_policy.as_deref().unwrap_or_default().to_owned()),
            Choice::Policy(policy) => policy.rules.clone().map_or(Self::Nothing, Self::Own),
            Choice::Nothing => {
                let recorded = job.metadata.annotations.as_ref().and_then(|annotations| annotations.get(GOVERNED_BY));
                recorded.filter(|name| name.contains('/')).cloned().map_or(Self::Nothing, Self::Default)
            }
        }
    }

    /// Returns the rules, if they are known.
    pub(crate) fn rules(&self) -> Option<&PolicyRules> {
        match self {
            Self::Own(rules) => Some(rules),
            Self::Nothing | Self::Missing(_) | Self::Default(_) => None,
        }
    }
}

/// Returns sentences about the policy that governs an unfinished Job.
pub(crate) fn sentences(job: &Job, pods: &[Pod], policy: &PolicyState, now: Timestamp) -> Vec<String> {
    match policy {
        PolicyState::Nothing => proposal(pods, now).into_iter().collect(),
        PolicyState::Missing(name) => vec![format!(
            "No policy governs the Job: the JobPolicy {name:?} that its annotation {POLICY_ANNOTATION} names does not exist \
             in its namespace, or is not valid."
        )],
        PolicyState::Default(name) => {
            vec![format!("The JobPolicy {name} governs the Job; it is the default of the cluster.")]
        }
        PolicyState::Own(rules) => {
            let name = &rules.name;
            let mut sentences = vec![format!("The JobPolicy {name} governs the Job.")];
            if let Some(view) = job_view(job) {
                sentences.extend(start_deadlines(pods, rules, now));
                sentences.extend(stalled(&view, now));
                sentences.extend(raised(&view));
                sentences.extend(pod_deadline(&view));
            }
            sentences
        }
    }
}

/// Observes pods as a controller that has been running since each cause can have begun. The command knows no later time.
fn observe(waits: &mut StartWaits, views: &[Arc<PodView>]) {
    for pod in views {
        let since = pod.start.as_ref().map_or(pod.created, |start| start.since);
        waits.observe(&pod.identity.uid, Some(pod), since);
    }
}

/// Returns the proposal of a policy, if a pod has waited for its start for long.
fn proposal(pods: &[Pod], now: Timestamp) -> Option<String> {
    let mut waits = StartWaits::default();
    observe(&mut waits, &pod_views(pods));
    let long_ago = now.checked_sub(LONG_WAIT).unwrap_or(Timestamp::MIN);
    let causes = [StartCause::Image, StartCause::Config, StartCause::Unschedulable];
    let is_long = |since: Timestamp| since <= long_ago && since > Timestamp::UNIX_EPOCH;
    let cause = causes.into_iter().find(|cause| waits.of(*cause).any(|(since, _)| is_long(since)))?;
    Some(format!(
        "Nothing ends this wait. A JobPolicy with spec.startDeadlines.{} fails or suspends such a Job after a time that you \
         choose.",
        cause.field()
    ))
}

/// Returns a sentence about the pod of each cause whose start deadline comes next.
fn start_deadlines(pods: &[Pod], rules: &PolicyRules, now: Timestamp) -> Vec<String> {
    let views = pod_views(pods);
    let mut waits = StartWaits::default();
    observe(&mut waits, &views);
    let sentences = StartCause::ALL.into_iter().filter_map(|cause| {
        let rule = rules.start.of(cause)?;
        let (since, uid) = waits.of(cause).next()?;
        let pod = views.iter().find(|pod| pod.identity.uid == *uid)?;
        let due = since.checked_add(rule.after).ok().filter(|due| *due > now)?;
        let follows = match rule.action {
            StartAction::FailJob => "the Job fails",
            StartAction::FailIndex => "its index fails",
            StartAction::RetryPod => "the pod fails and is replaced",
            StartAction::Suspend => "the Job is suspended",
        };
        let (name, field, left) = (&pod.identity.name, cause.field(), span(now, due));
        Some(format!(
            "If the pod {name} does not start within {left}, {follows} (start deadline for the cause {field})."
        ))
    });
    sentences.collect()
}

/// Returns a sentence about memory that was raised, with the number for the template.
fn raised(job: &JobView) -> Option<String> {
    let sizes = job.policy.as_ref()?.memory.as_ref()?;
    let sizes: Vec<String> =
        sizes.iter().map(|(container, size)| format!("{} for {container}", quantity::text(size))).collect();
    Some(format!(
        "A container exceeded its memory, so new pods get {}. Set resources.limits.memory of the template to that size.",
        sizes.join(", ")
    ))
}

/// Returns a sentence about the deadline of pods that was raised, with the number for the template.
fn pod_deadline(job: &JobView) -> Option<String> {
    let seconds = job.policy.as_ref()?.pod_deadline?;
    Some(format!(
        "A pod exceeded its activeDeadlineSeconds, so new pods get {seconds} s. Set activeDeadlineSeconds of the template to \
         that number."
    ))
}

fn stalled(job: &JobView, now: Timestamp) -> Option<String> {
    let since = job.policy.as_ref()?.stalled_since?;
    Some(format!("No pod of the Job has ended or become ready for {}.", span(since, now)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn policy(spec: &Value) -> Arc<PolicyView> {
        let metadata = json!({"name": "strict", "namespace": "default", "uid": "p", "resourceVersion": "1"});
        Arc::new(
            PolicyView::parse(serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()).unwrap(),
        )
    }

    fn job(annotations: &Value) -> Job {
        serde_json::from_value(json!({
            "metadata": {"name": "j", "namespace": "default", "uid": "u", "resourceVersion": "1", "annotations": annotations},
            "spec": {"template": {"spec": {"containers": []}}},
        }))
        .unwrap()
    }

    fn explained(annotations: &Value, pods: &[Pod], policies: &[Arc<PolicyView>]) -> String {
        let job = job(annotations);
        let state = PolicyState::of(&job, policies);
        sentences(&job, pods, &state, "2026-01-01T00:05:00Z".parse().unwrap()).join(" ")
    }

    fn waiting_pod(since: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "j-x", "namespace": "default", "uid": "x", "resourceVersion": "2",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u", "controller": true}]},
            "spec": {"containers": []},
            "status": {"phase": "Pending",
                "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": since}],
                "containerStatuses": [{"name": "main", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"waiting": {"reason": "ErrImagePull"}}}]},
        }))
        .unwrap()
    }

    #[test]
    fn governing_policy_and_its_next_deadline_are_explained() {
        let deadline = json!({"startDeadlines": {"image": {"seconds": 600, "action": "FailJob"}}});
        let text = explained(&json!({}), &[waiting_pod("2026-01-01T00:01:00Z")], &[policy(&deadline)]);
        assert_eq!(
            text,
            "The JobPolicy strict governs the Job. If the pod j-x does not start within 6 min, the Job fails (start deadline \
             for the cause image)."
        );
    }

    #[test]
    fn raised_memory_is_a_number_for_the_template() {
        let memory = json!({"jobwright.dev/memory": r#"{"main":"3Gi"}"#});
        let text = explained(&memory, &[], &[policy(&json!({"logTailLines": 1}))]);
        assert!(text.contains("new pods get 3Gi for main. Set resources.limits.memory"), "{text}");
        let deadline = json!({"jobwright.dev/pod-deadline-seconds": "900"});
        let text = explained(&deadline, &[], &[policy(&json!({"logTailLines": 1}))]);
        assert!(text.contains("new pods get 900 s. Set activeDeadlineSeconds of the template"), "{text}");
    }

    #[test]
    fn policy_is_proposed_for_a_pod_that_has_waited_for_long() {
        let proposed = |since: &str| explained(&json!({}), &[waiting_pod(since)], &[]);
        assert!(proposed("2025-12-31T23:59:00Z").contains("JobPolicy with spec.startDeadlines.image"));
        assert_eq!(proposed("2026-01-01T00:04:00Z"), "");
    }

    #[test]
    fn missing_policy_and_the_default_of_the_cluster_are_named() {
        let missing = explained(&json!({"jobwright.dev/policy": "none"}), &[], &[policy(&json!({"logTailLines": 1}))]);
        assert!(missing.starts_with("No policy governs the Job: the JobPolicy \"none\""), "{missing}");
        let default = explained(&json!({"jobwright.dev/governed-by": "batch/strict"}), &[], &[]);
        assert_eq!(default, "The JobPolicy batch/strict governs the Job; it is the default of the cluster.");
        assert_eq!(explained(&json!({}), &[], &[]), "");
    }
}
