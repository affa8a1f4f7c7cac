//! The protobuf message of `spec.scheduling` of a Job.

use k8s_openapi::api::batch::v1 as batch;
use k8s_openapi::api::scheduling::v1alpha3 as api;
use prost::Message;
use serde_json::{Map, Value};

use crate::runtime::codec::metadata::{list, text};

#[derive(Clone, PartialEq, Message)]
pub(super) struct Scheduling {
    #[prost(message, optional, tag = "1")]
    policy: Option<Policy>,
    #[prost(message, optional, tag = "2")]
    constraints: Option<Constraints>,
    #[prost(message, optional, tag = "3")]
    disruption_mode: Option<DisruptionMode>,
    #[prost(message, repeated, tag = "4")]
    resource_claims: Vec<ResourceClaim>,
}

#[derive(Clone, PartialEq, Message)]
struct Policy {
    #[prost(message, optional, tag = "1")]
    basic: Option<Empty>,
    #[prost(message, optional, tag = "2")]
    gang: Option<Gang>,
}

/// Message without fields, of which only the presence matters.
#[derive(Clone, Copy, PartialEq, Message)]
struct Empty {}

#[derive(Clone, Copy, PartialEq, Message)]
struct Gang {
    #[prost(int32, optional, tag = "1")]
    min_count: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Constraints {
    #[prost(message, repeated, tag = "1")]
    topology: Vec<TopologyConstraint>,
}

#[derive(Clone, PartialEq, Message)]
struct TopologyConstraint {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct DisruptionMode {
    #[prost(message, optional, tag = "1")]
    single: Option<Empty>,
    #[prost(message, optional, tag = "2")]
    all: Option<Empty>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceClaim {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "2")]
    resource_claim_name: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    resource_claim_template_name: Option<Vec<u8>>,
}

/// Returns the value of a message without fields, as JSON has it.
fn empty() -> Value {
    Value::Object(Map::new())
}

impl From<Scheduling> for batch::JobSchedulingConfiguration {
    fn from(scheduling: Scheduling) -> Self {
        let policy = |policy: Policy| api::WorkloadPodGroupSchedulingPolicy {
            basic: policy.basic.map(|_| api::WorkloadPodGroupBasicSchedulingPolicy(empty())),
            gang: policy.gang.map(|gang| api::WorkloadPodGroupGangSchedulingPolicy { min_count: gang.min_count }),
        };
        let constraints = |constraints: Constraints| api::WorkloadPodGroupSchedulingConstraints {
            topology: list(constraints.topology, |topology| api::TopologyConstraint { key: text(topology.key) }),
        };
        let disruption_mode = |mode: DisruptionMode| api::WorkloadPodGroupDisruptionMode {
            single: mode.single.map(|_| api::WorkloadPodGroupSingleDisruptionMode(empty())),
            all: mode.all.map(|_| api::WorkloadPodGroupAllDisruptionMode(empty())),
        };
        let claim = |claim: ResourceClaim| api::WorkloadPodGroupResourceClaim {
            name: text(claim.name),
            resource_claim_name: claim.resource_claim_name.map(text),
            resource_claim_template_name: claim.resource_claim_template_name.map(text),
        };
        Self {
            scheduling_policy: scheduling.policy.map(policy),
            scheduling_constraints: scheduling.constraints.map(constraints),
            disruption_mode: scheduling.disruption_mode.map(disruption_mode),
            resource_claims: list(scheduling.resource_claims, claim),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn message_becomes_the_object_that_json_gives() {
        let message = Scheduling {
            policy: Some(Policy { basic: None, gang: Some(Gang { min_count: Some(4) }) }),
            constraints: Some(Constraints { topology: vec![TopologyConstraint { key: b"example.com/rack".into() }] }),
            disruption_mode: Some(DisruptionMode { single: None, all: Some(Empty {}) }),
            resource_claims: vec![ResourceClaim {
                name: b"gpu".into(),
                resource_claim_name: None,
                resource_claim_template_name: Some(b"one-gpu".into()),
            }],
        };
        let decoded = Scheduling::decode(message.encode_to_vec().as_slice()).unwrap();
        let read = batch::JobSchedulingConfiguration::from(decoded);
        let json = json!({
            "schedulingPolicy": {"gang": {"minCount": 4}},
            "schedulingConstraints": {"topology": [{"key": "example.com/rack"}]},
            "disruptionMode": {"all": {}},
            "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}],
        });
        assert_eq!(serde_json::to_value(read).unwrap(), json);
        let basic = Scheduling { policy: Some(Policy { basic: Some(Empty {}), gang: None }), ..Scheduling::default() };
        let read = batch::JobSchedulingConfiguration::from(basic);
        assert_eq!(serde_json::to_value(read).unwrap(), json!({"schedulingPolicy": {"basic": {}}}));
    }
}
