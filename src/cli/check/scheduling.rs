//! `spec.scheduling` of a Job: what it needs to have an effect, and what the API server refuses in it.
//!
//! See <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/>.

use k8s_openapi::api::batch::v1::{Job, JobSchedulingConfiguration, JobSpec};

use super::rules::{Finding, SCHEDULING_GATE, SCHEDULING_IGNORED, found};
use crate::job::view::controlling_owner;
use crate::job::view::scheduling::GROUP_TEMPLATE_ANNOTATION;

/// Maximum number of resource claims of a PodGroup.
const MAX_RESOURCE_CLAIMS: usize = 4;
/// Maximum number of topology constraints.
const MAX_TOPOLOGY: usize = 1;

/// Returns the finding for `spec.scheduling` of a Job.
pub(super) fn of_job(job: &Job) -> Option<Finding> {
    let spec = job.spec.as_ref().filter(|spec| spec.scheduling.is_some())?;
    let owned = controlling_owner(&job.metadata).is_some();
    let annotations = job.metadata.annotations.as_ref();
    if owned && annotations.is_none_or(|annotations| !annotations.contains_key(GROUP_TEMPLATE_ANNOTATION)) {
        return Some(found(&SCHEDULING_IGNORED, "spec.scheduling has no effect in a Job that another object controls"));
    }
    Some(of_free_job(spec))
}

fn of_free_job(spec: &JobSpec) -> Finding {
    if spec.template.spec.as_ref().is_some_and(|pod| pod.scheduling_group.is_some()) {
        let message = "spec.scheduling has no effect because spec.template.spec.schedulingGroup names a group; remove one of them";
        return found(&SCHEDULING_IGNORED, message);
    }
    let message = "spec.scheduling has an effect only with the feature gate WorkloadWithJob of the API server and of the controller (jobwright run --feature-gates=WorkloadWithJob=true), and if the API server serves scheduling.k8s.io/v1beta1";
    found(&SCHEDULING_GATE, message)
}

/// Returns the finding for `scheduling` in the Jobs of a CronJob or a JobSchedule, which controls them.
pub(super) fn of_template(spec: &JobSpec, at: &str) -> Option<Finding> {
    spec.scheduling.as_ref()?;
    let message = format!("{at}.scheduling has no effect in a Job that another object controls; remove it");
    Some(found(&SCHEDULING_IGNORED, message))
}

/// Returns the messages about what the API server refuses in `scheduling` of a spec at the path `at`.
pub(super) fn refused(spec: &JobSpec, at: &str) -> Vec<String> {
    let Some(scheduling) = &spec.scheduling else { return Vec::new() };
    let at = format!("{at}.scheduling");
    let mut messages = of_policy(scheduling, spec.parallelism.unwrap_or(1), &at);
    if let Some(mode) = &scheduling.disruption_mode
        && mode.single.is_some() == mode.all.is_some()
    {
        messages.push(format!("{at}.disruptionMode must have either single or all"));
    }
    let topology = scheduling.scheduling_constraints.iter().flat_map(|constraints| &constraints.topology).flatten();
    if topology.count() > MAX_TOPOLOGY {
        messages.push(format!("{at}.schedulingConstraints.topology must have at most {MAX_TOPOLOGY} entry"));
    }
    if scheduling.resource_claims.iter().flatten().count() > MAX_RESOURCE_CLAIMS {
        messages.push(format!("{at}.resourceClaims must have at most {MAX_RESOURCE_CLAIMS} entries"));
    }
    messages
}

fn of_policy(scheduling: &JobSchedulingConfiguration, parallelism: i32, at: &str) -> Vec<String> {
    let all = scheduling.disruption_mode.as_ref().is_some_and(|mode| mode.all.is_some());
    let policy = scheduling.scheduling_policy.as_ref();
    let gang = policy.and_then(|policy| policy.gang.as_ref());
    let mut messages = Vec::new();
    if policy.is_some_and(|policy| policy.basic.is_some() == policy.gang.is_some()) {
        messages.push(format!("{at}.schedulingPolicy must have either basic or gang"));
    }
    if all && gang.is_none() {
        messages.push(format!("{at}.disruptionMode all requires the policy gang"));
    }
    match gang.and_then(|gang| gang.min_count) {
        Some(min_count) if min_count < 1 => {
            messages.push(format!("{at}.schedulingPolicy.gang.minCount must be at least 1"));
        }
        Some(min_count) if min_count > parallelism => {
            messages.push(format!(
                "{at}.schedulingPolicy.gang.minCount {min_count} must be at most parallelism, which is {parallelism}"
            ));
        }
        _ => {}
    }
    messages
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(scheduling: &Value, more: &Value) -> Job {
        let mut job = json!({
            "metadata": {"name": "a"},
            "spec": {"parallelism": 3, "scheduling": scheduling, "template": {"spec": {"containers": []}}},
        });
        testbed::manifest::lay_over(&mut job, more);
        serde_json::from_value(job).unwrap()
    }

    fn rule(more: &Value) -> Option<&'static str> {
        of_job(&job(&json!({"schedulingPolicy": {"gang": {}}}), more)).map(|finding| finding.rule.name)
    }

    #[test]
    fn scheduling_needs_a_gate_and_is_ignored_where_another_object_decides() {
        let owner = json!([{"apiVersion": "v1", "kind": "Team", "name": "t", "uid": "u", "controller": true}]);
        let owned = json!({"metadata": {"ownerReferences": owner}});
        let mut delegated = owned.clone();
        delegated["metadata"]["annotations"] = json!({GROUP_TEMPLATE_ANNOTATION: "workers"});
        assert_eq!(rule(&json!({})), Some("scheduling-gate"));
        assert_eq!(rule(&delegated), Some("scheduling-gate"));
        assert_eq!(rule(&owned), Some("scheduling-ignored"));
        let group = json!({"spec": {"template": {"spec": {"schedulingGroup": {"podGroupName": "mine"}}}}});
        assert_eq!(rule(&group), Some("scheduling-ignored"));
        let spec = job(&json!({}), &json!({})).spec.unwrap();
        assert!(of_template(&spec, "spec.jobTemplate.spec").is_some());
        assert!(of_template(&JobSpec::default(), "spec").is_none() && of_job(&Job::default()).is_none());
    }

    #[test]
    fn values_that_the_api_server_refuses_are_found() {
        let refused = |scheduling: Value| refused(&job(&scheduling, &json!({})).spec.unwrap(), "spec").join("; ");
        let gang = |min_count: i32| json!({"schedulingPolicy": {"gang": {"minCount": min_count}}});
        let at = "spec.scheduling.schedulingPolicy";
        assert_eq!(refused(gang(3)), "");
        assert_eq!(refused(json!({})), "");
        assert_eq!(refused(gang(0)), format!("{at}.gang.minCount must be at least 1"));
        assert_eq!(refused(gang(4)), format!("{at}.gang.minCount 4 must be at most parallelism, which is 3"));
        assert_eq!(refused(json!({"schedulingPolicy": {}})), format!("{at} must have either basic or gang"));
        let all = json!({"disruptionMode": {"all": {}}});
        assert_eq!(refused(all), "spec.scheduling.disruptionMode all requires the policy gang");
        let keys = json!({"schedulingConstraints": {"topology": [{"key": "a"}, {"key": "b"}]}});
        assert_eq!(refused(keys), "spec.scheduling.schedulingConstraints.topology must have at most 1 entry");
    }
}
