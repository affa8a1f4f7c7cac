//! Explains whether `spec.scheduling` of a Job has an effect, and what the scheduler reports of its PodGroup.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::scheduling::v1beta1::PodGroup;
use kube::ResourceExt;

use crate::job::gang::{GangScheduling, names};
use crate::job::view::controlling_owner;

/// Condition of a PodGroup whose pods were placed.
const SCHEDULED: &str = "PodGroupInitiallyScheduled";

/// What is known of the PodGroup of a Job.
#[derive(Clone, Debug)]
pub(crate) enum GroupState {
    /// The API server does not serve PodGroups.
    NotServed,
    /// The Job has no PodGroup.
    Missing,
    /// The PodGroup of the Job.
    Found(Box<PodGroup>),
}

impl GroupState {
    /// Returns the state that a request for a PodGroup shows, or the error if it shows none.
    pub(crate) fn of(read: kube::Result<PodGroup>) -> kube::Result<Self> {
        match read {
            Ok(group) => Ok(Self::Found(Box::new(group))),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                // Only the status about an object has its name.
                let names_object = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
                Ok(if names_object { Self::Missing } else { Self::NotServed })
            }
            Err(error) => Err(error),
        }
    }
}

/// Returns the name of the PodGroup that the controller creates for a Job with `spec.scheduling`; none if the Job does not
/// set the field, or if it has no effect in this Job.
pub(crate) fn expected_group(job: &Job) -> Option<String> {
    let spec = job.spec.as_ref()?;
    spec.scheduling.as_ref()?;
    if owner(job).is_some() || spec.template.spec.as_ref().is_some_and(|pod| pod.scheduling_group.is_some()) {
        return None;
    }
    let name = job.name_any();
    let workload = names::workload(&name, &job.uid()?.as_str().into());
    Some(names::pod_group(&workload, &names::template(&name)))
}

fn owner(job: &Job) -> Option<String> {
    let owner = controlling_owner(&job.metadata)?;
    Some(format!("{} {}", owner.kind, owner.name))
}

/// Returns the sentence about the scheduling of a Job's pods as a group, if there is something to explain.
pub(crate) fn explained(job: &Job, group: Option<&GroupState>) -> Option<String> {
    let spec = job.spec.as_ref().filter(|spec| spec.scheduling.is_some())?;
    if spec.template.spec.as_ref().is_some_and(|pod| pod.scheduling_group.is_some()) {
        return Some("spec.scheduling has no effect: the template of the pods names a scheduling group.".to_owned());
    }
    if let Some(owner) = owner(job) {
        return Some(format!("spec.scheduling has no effect: {owner} controls the Job."));
    }
    let started = job.status.as_ref().is_some_and(|status| status.start_time.is_some());
    match group? {
        GroupState::NotServed => GangScheduling::NotServed.problem().map(|problem| format!("{problem}.")),
        GroupState::Missing if started => Some(
            "spec.scheduling has no effect: the Job has no PodGroup. The feature gate WorkloadWithJob of the controller was \
             off when the Job started (`jobwright run --feature-gates=WorkloadWithJob=true`)."
                .to_owned(),
        ),
        GroupState::Missing => Some(
            "The Job has no PodGroup yet. The controller creates the PodGroup before the pods, if its feature gate \
             WorkloadWithJob is on."
                .to_owned(),
        ),
        GroupState::Found(group) => {
            let conditions = group.status.iter().flat_map(|status| &status.conditions).flatten();
            let pending = conditions.into_iter().find(|condition| condition.type_ == SCHEDULED && condition.status == "False")?;
            let (name, reason) = (group.name_any(), &pending.reason);
            Some(format!("The scheduler has not placed the PodGroup {name}: {reason}: {}", pending.message))
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::{Value, json};

    use super::*;

    fn job(more: &Value) -> Job {
        let mut job = json!({
            "metadata": {"name": "train", "uid": "job-uid"},
            "spec": {"scheduling": {"schedulingPolicy": {"gang": {}}}, "template": {"spec": {"containers": []}}},
        });
        testbed::manifest::lay_over(&mut job, more);
        serde_json::from_value(job).unwrap()
    }

    fn text(job: &Job, group: &GroupState) -> String {
        explained(job, Some(group)).unwrap_or_default()
    }

    #[test]
    fn job_without_an_effective_field_is_explained_with_the_cause() {
        let owner =
            json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": "u", "controller": true}]);
        let owned = job(&json!({"metadata": {"ownerReferences": owner}}));
        let grouped = job(&json!({"spec": {"template": {"spec": {"schedulingGroup": {"podGroupName": "g"}}}}}));
        assert!(expected_group(&owned).is_none() && expected_group(&grouped).is_none());
        assert!(expected_group(&Job::default()).is_none() && explained(&Job::default(), None).is_none());
        assert_eq!(
            text(&owned, &GroupState::Missing),
            "spec.scheduling has no effect: CronJob nightly controls the Job."
        );
        assert!(text(&grouped, &GroupState::Missing).contains("names a scheduling group"));
        assert_eq!(expected_group(&job(&json!({}))).as_deref(), Some("train-7dccc85c97-train-pgt-0-68f86d4ddc"));
        let started = job(&json!({"status": {"startTime": "2026-01-01T00:00:00Z"}}));
        assert!(text(&started, &GroupState::Missing).contains("was off when the Job started"));
        assert!(text(&job(&json!({})), &GroupState::Missing).contains("no PodGroup yet"));
        assert!(text(&started, &GroupState::NotServed).contains("the API server does not serve"));
    }

    #[test]
    fn condition_of_an_unplaced_pod_group_is_quoted() {
        let group = |status: &str| {
            let condition = json!({
                "type": SCHEDULED, "status": status, "reason": "Unschedulable", "message": "no room for 3 pods",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            });
            let group = json!({
                "metadata": {"name": "g"}, "spec": {"schedulingPolicy": {"basic": {}}}, "status": {"conditions": [condition]},
            });
            GroupState::Found(Box::new(serde_json::from_value(group).unwrap()))
        };
        let job = job(&json!({}));
        let expected = "The scheduler has not placed the PodGroup g: Unschedulable: no room for 3 pods";
        assert_eq!(text(&job, &group("False")), expected);
        assert_eq!(text(&job, &group("True")), "");
    }

    #[test]
    fn missing_object_and_missing_resource_are_distinguished() {
        let error = |name: &str| {
            let mut status = Status { code: 404, ..Status::failure("not found", "NotFound") };
            status.details = serde_json::from_value(json!({"name": name, "kind": "podgroups"})).unwrap();
            GroupState::of(Err(kube::Error::Api(Box::new(status)))).unwrap()
        };
        assert!(matches!(error("train"), GroupState::Missing));
        assert!(matches!(error(""), GroupState::NotServed));
    }
}
