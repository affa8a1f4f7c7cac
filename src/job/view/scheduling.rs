//! The fields of a Job about the scheduling of its pods as a group: `spec.scheduling`, and the annotation with which
//! another controller delegates the PodGroup.
//!
//! See [KEP-5547](https://github.com/kubernetes/enhancements/tree/master/keps/sig-apps/5547-integrate-workload-with-job) and
//! [KEP-6089](https://github.com/kubernetes/enhancements/tree/master/keps/sig-scheduling/6089-was-controller-integration-apis).

use k8s_openapi::api::batch::v1::JobSchedulingConfiguration;
use k8s_openapi::api::scheduling::v1alpha3::WorkloadPodGroupResourceClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::controlling_owner;
use crate::runtime::identity::Uid;

/// Annotation of a Job that another object controls. It names the template, in the Workload of that object, from which
/// the Job controller creates the PodGroup of the Job.
pub const GROUP_TEMPLATE_ANNOTATION: &str = "scheduling.k8s.io/group-template-name";

/// The field `spec.scheduling` of a Job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scheduling {
    /// Whether the pods start all or none. Without a policy, the pods are scheduled one by one.
    pub policy: SchedulingPolicy,
    /// Keys of node labels. All pods run on nodes with one value of each label.
    pub topology: Vec<String>,
    /// Whether the pods can be disrupted one by one; none if the Job does not set the mode.
    pub disruption_mode: Option<DisruptionMode>,
    /// ResourceClaims that the pods share.
    pub resource_claims: Vec<WorkloadPodGroupResourceClaim>,
}

/// The field `spec.scheduling.schedulingPolicy` of a Job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchedulingPolicy {
    /// The scheduler places each pod independently of the others.
    #[default]
    Basic,
    /// The scheduler places a minimum number of pods, or none.
    Gang {
        /// That number; none for the parallelism of the Job.
        min_count: Option<i32>,
    },
}

/// The field `spec.scheduling.disruptionMode` of a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisruptionMode {
    /// Pods are disrupted one by one.
    Single,
    /// Pods are disrupted together.
    All,
}

/// The delegation of the PodGroup by the controller of the Job's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// Key of the reference of the owner's Workload to the owner.
    pub parent: Uid,
    /// Name of the template in that Workload.
    pub template: Box<str>,
}

impl Scheduling {
    /// Parses `spec.scheduling`.
    pub fn parse(wire: JobSchedulingConfiguration) -> Self {
        // As in the built-in controller, the first of two members counts. The API server stores no Job with both.
        let policy = wire.scheduling_policy.and_then(|policy| match (policy.basic, policy.gang) {
            (Some(_), _) => Some(SchedulingPolicy::Basic),
            (None, Some(gang)) => Some(SchedulingPolicy::Gang { min_count: gang.min_count }),
            (None, None) => None,
        });
        let disruption_mode = wire.disruption_mode.and_then(|mode| match (mode.single, mode.all) {
            (Some(_), _) => Some(DisruptionMode::Single),
            (None, Some(_)) => Some(DisruptionMode::All),
            (None, None) => None,
        });
        let topology = wire.scheduling_constraints.and_then(|constraints| constraints.topology).unwrap_or_default();
        Self {
            policy: policy.unwrap_or_default(),
            topology: topology.into_iter().map(|constraint| constraint.key).collect(),
            disruption_mode,
            resource_claims: wire.resource_claims.unwrap_or_default(),
        }
    }
}

impl Delegation {
    /// Parses the annotation and the controlling owner.
    pub(super) fn parse(metadata: &ObjectMeta) -> Option<Self> {
        let template = metadata.annotations.as_ref()?.get(GROUP_TEMPLATE_ANNOTATION)?;
        let owner = controlling_owner(metadata)?;
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let parent = reference_key(group, &owner.kind, &owner.name);
        Some(Self { parent, template: template.as_str().into() })
    }
}

/// Returns the key of a reference that has a group, a kind and a name, and no UID: the `spec.controllerRef` of a
/// Workload. The slashes keep it apart from the UIDs that the API server creates.
pub fn reference_key(group: &str, kind: &str, name: &str) -> Uid {
    format!("{group}/{kind}/{name}").as_str().into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn spec_is_parsed_with_the_defaults_of_the_builtin_controller() {
        let gang = |min_count| SchedulingPolicy::Gang { min_count };
        let cases = [
            (json!({}), Scheduling::default()),
            (json!({"schedulingPolicy": {}, "disruptionMode": {}, "schedulingConstraints": {}}), Scheduling::default()),
            (json!({"schedulingPolicy": {"basic": {}}}), Scheduling::default()),
            (json!({"schedulingPolicy": {"gang": {}}}), Scheduling { policy: gang(None), ..Scheduling::default() }),
            (
                json!({
                    "schedulingPolicy": {"gang": {"minCount": 3}}, "disruptionMode": {"all": {}},
                    "schedulingConstraints": {"topology": [{"key": "rack"}]},
                }),
                Scheduling {
                    policy: gang(Some(3)),
                    topology: vec!["rack".to_owned()],
                    disruption_mode: Some(DisruptionMode::All),
                    resource_claims: Vec::new(),
                },
            ),
            (
                json!({"disruptionMode": {"single": {}}}),
                Scheduling { disruption_mode: Some(DisruptionMode::Single), ..Scheduling::default() },
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(Scheduling::parse(serde_json::from_value(spec.clone()).unwrap()), expected, "{spec}");
        }
    }

    #[test]
    fn delegation_needs_the_annotation_and_a_controlling_owner() {
        let parse = |annotations: Value, owners: Value| {
            let metadata = json!({"annotations": annotations, "ownerReferences": owners});
            Delegation::parse(&serde_json::from_value(metadata).unwrap())
        };
        let owner =
            json!({"apiVersion": "example.com/v1", "kind": "Team", "name": "a", "uid": "u", "controller": true});
        let annotation = json!({GROUP_TEMPLATE_ANNOTATION: "workers"});
        let expected = Delegation { parent: reference_key("example.com", "Team", "a"), template: "workers".into() };
        assert_eq!(parse(annotation.clone(), json!([owner.clone()])), Some(expected));
        assert_eq!(parse(annotation.clone(), json!([])), None);
        let plain = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "u"});
        assert_eq!(parse(annotation, json!([plain])), None);
        assert_eq!(parse(json!({}), json!([owner])), None);
    }
}
