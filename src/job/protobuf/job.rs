//! The protobuf message of a Job.

use bytes::Bytes;
use k8s_openapi::api::batch::v1 as batch;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use prost::Message;

use super::scheduling::Scheduling;
use crate::job::template::WireTemplate;
use crate::job::wire::{WireCondition, WireJob, WireJobSpec, WireJobStatus, WireUncounted};
use crate::runtime::codec::DecodeError;
use crate::runtime::codec::metadata::{LabelSelector, Metadata, Time, Writers, filled, list, nonzero, text, timestamp};

#[derive(Clone, PartialEq, Message)]
struct Job {
    /// Unparsed, because two messages are read from it.
    #[prost(bytes = "bytes", optional, tag = "1")]
    metadata: Option<Bytes>,
    #[prost(message, optional, tag = "2")]
    spec: Option<Spec>,
    #[prost(message, optional, tag = "3")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Spec {
    #[prost(int32, optional, tag = "1")]
    parallelism: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    completions: Option<i32>,
    #[prost(int64, optional, tag = "3")]
    active_deadline_seconds: Option<i64>,
    #[prost(message, optional, tag = "4")]
    selector: Option<LabelSelector>,
    #[prost(bytes = "bytes", optional, tag = "6")]
    template: Option<Bytes>,
    #[prost(int32, optional, tag = "7")]
    backoff_limit: Option<i32>,
    #[prost(int32, optional, tag = "8")]
    ttl_seconds_after_finished: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "9")]
    completion_mode: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "10")]
    suspend: Option<bool>,
    #[prost(message, optional, tag = "11")]
    pod_failure_policy: Option<PodFailurePolicy>,
    #[prost(int32, optional, tag = "12")]
    backoff_limit_per_index: Option<i32>,
    #[prost(int32, optional, tag = "13")]
    max_failed_indexes: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "14")]
    pod_replacement_policy: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "15")]
    managed_by: Option<Vec<u8>>,
    #[prost(message, optional, tag = "16")]
    success_policy: Option<SuccessPolicy>,
    #[prost(message, optional, tag = "17")]
    scheduling: Option<Scheduling>,
}

#[derive(Clone, PartialEq, Message)]
struct PodFailurePolicy {
    #[prost(message, repeated, tag = "1")]
    rules: Vec<FailureRule>,
}

#[derive(Clone, PartialEq, Message)]
struct FailureRule {
    #[prost(bytes = "vec", tag = "1")]
    action: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    on_exit_codes: Option<OnExitCodes>,
    #[prost(message, repeated, tag = "3")]
    on_pod_conditions: Vec<OnPodCondition>,
}

#[derive(Clone, PartialEq, Message)]
struct OnExitCodes {
    #[prost(bytes = "vec", optional, tag = "1")]
    container_name: Option<Vec<u8>>,
    #[prost(bytes = "vec", tag = "2")]
    operator: Vec<u8>,
    #[prost(int32, repeated, packed = "false", tag = "3")]
    values: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct OnPodCondition {
    #[prost(bytes = "vec", tag = "1")]
    type_: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "2")]
    status: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct SuccessPolicy {
    #[prost(message, repeated, tag = "1")]
    rules: Vec<SuccessRule>,
}

#[derive(Clone, PartialEq, Message)]
struct SuccessRule {
    #[prost(bytes = "vec", optional, tag = "1")]
    succeeded_indexes: Option<Vec<u8>>,
    #[prost(int32, optional, tag = "2")]
    succeeded_count: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(message, repeated, tag = "1")]
    conditions: Vec<Condition>,
    #[prost(message, optional, tag = "2")]
    start_time: Option<Time>,
    #[prost(message, optional, tag = "3")]
    completion_time: Option<Time>,
    #[prost(int32, tag = "4")]
    active: i32,
    #[prost(int32, tag = "5")]
    succeeded: i32,
    #[prost(int32, tag = "6")]
    failed: i32,
    #[prost(bytes = "vec", tag = "7")]
    completed_indexes: Vec<u8>,
    #[prost(message, optional, tag = "8")]
    uncounted_terminated_pods: Option<Uncounted>,
    #[prost(int32, optional, tag = "9")]
    ready: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "10")]
    failed_indexes: Option<Vec<u8>>,
    #[prost(int32, optional, tag = "11")]
    terminating: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Uncounted {
    #[prost(bytes = "vec", repeated, tag = "1")]
    succeeded: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    failed: Vec<Vec<u8>>,
}

/// Condition of a Job or Pod. The common fields have the same numbers in both.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Condition {
    #[prost(bytes = "vec", tag = "1")]
    type_: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    status: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    last_probe_time: Option<Time>,
    #[prost(message, optional, tag = "4")]
    last_transition_time: Option<Time>,
    #[prost(bytes = "vec", tag = "5")]
    reason: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    message: Vec<u8>,
}

/// Decodes the message of a Job.
///
/// # Errors
/// The message is invalid, or lacks a part that every stored Job has.
pub fn decode(message: Bytes) -> Result<WireJob, DecodeError> {
    let Job { metadata, spec, status } = Job::decode(message)?;
    let metadata = metadata.ok_or(DecodeError::Missing("metadata"))?;
    let writers = Writers::decode(metadata.clone())?.managed_fields;
    let metadata =
        ObjectMeta { managed_fields: list(writers, Into::into), ..ObjectMeta::from(Metadata::decode(metadata)?) };
    let spec = spec.ok_or(DecodeError::Missing("spec"))?;
    Ok(WireJob { metadata, spec: spec.try_into()?, status: status.unwrap_or_default().into() })
}

impl TryFrom<Spec> for WireJobSpec {
    type Error = DecodeError;

    fn try_from(spec: Spec) -> Result<Self, DecodeError> {
        let template = spec.template.ok_or(DecodeError::Missing("spec.template"))?;
        Ok(Self {
            parallelism: spec.parallelism,
            completions: spec.completions,
            completion_mode: spec.completion_mode.map(text),
            active_deadline_seconds: spec.active_deadline_seconds,
            backoff_limit: spec.backoff_limit,
            backoff_limit_per_index: spec.backoff_limit_per_index,
            max_failed_indexes: spec.max_failed_indexes,
            pod_failure_policy: spec.pod_failure_policy.map(Into::into),
            success_policy: spec.success_policy.map(Into::into),
            pod_replacement_policy: spec.pod_replacement_policy.map(text),
            suspend: spec.suspend,
            managed_by: spec.managed_by.map(text),
            ttl_seconds_after_finished: spec.ttl_seconds_after_finished,
            selector: spec.selector.map(Into::into),
            scheduling: spec.scheduling.map(Into::into),
            // A copy, because the bytes are a part of the response, which may be a whole page of a list.
            template: WireTemplate::Protobuf(template.as_ref().into()),
        })
    }
}

impl From<PodFailurePolicy> for batch::PodFailurePolicy {
    fn from(policy: PodFailurePolicy) -> Self {
        let on_exit_codes = |codes: OnExitCodes| batch::PodFailurePolicyOnExitCodesRequirement {
            container_name: codes.container_name.map(text),
            operator: text(codes.operator),
            values: codes.values,
        };
        let on_pod_condition = |condition: OnPodCondition| batch::PodFailurePolicyOnPodConditionsPattern {
            type_: text(condition.type_),
            status: condition.status.map(text),
        };
        let rule = |rule: FailureRule| batch::PodFailurePolicyRule {
            action: text(rule.action),
            on_exit_codes: rule.on_exit_codes.map(on_exit_codes),
            on_pod_conditions: list(rule.on_pod_conditions, on_pod_condition),
        };
        Self { rules: policy.rules.into_iter().map(rule).collect() }
    }
}

impl From<SuccessPolicy> for batch::SuccessPolicy {
    fn from(policy: SuccessPolicy) -> Self {
        let rule = |rule: SuccessRule| batch::SuccessPolicyRule {
            succeeded_indexes: rule.succeeded_indexes.map(text),
            succeeded_count: rule.succeeded_count,
        };
        Self { rules: policy.rules.into_iter().map(rule).collect() }
    }
}

impl From<Status> for WireJobStatus {
    fn from(status: Status) -> Self {
        let uncounted =
            |pods: Uncounted| WireUncounted { succeeded: list(pods.succeeded, text), failed: list(pods.failed, text) };
        Self {
            conditions: list(status.conditions, Into::into),
            start_time: timestamp(status.start_time),
            completion_time: timestamp(status.completion_time),
            active: nonzero(status.active),
            ready: status.ready,
            terminating: status.terminating,
            succeeded: nonzero(status.succeeded),
            failed: nonzero(status.failed),
            completed_indexes: filled(status.completed_indexes),
            failed_indexes: status.failed_indexes.map(text),
            uncounted_terminated_pods: status.uncounted_terminated_pods.map(uncounted),
        }
    }
}

impl From<Condition> for WireCondition {
    fn from(condition: Condition) -> Self {
        Self {
            type_: text(condition.type_),
            status: text(condition.status),
            reason: filled(condition.reason),
            message: filled(condition.message),
            last_probe_time: timestamp(condition.last_probe_time),
            last_transition_time: timestamp(condition.last_transition_time),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::job::view::{CompletionMode, JobView};

    /// Fields that a newer API server could add to any message: a message, a number and a text.
    const NEWER: &[u8] = b"\xca\x3e\x04\x0a\x02\x08\x01\xd0\x3e\x07\xda\x3e\x05later";

    fn with_newer_fields(message: &impl Message) -> Vec<u8> {
        [&message.encode_to_vec(), NEWER].concat()
    }

    fn job(spec: Spec) -> Bytes {
        let metadata = Metadata {
            name: b"job".to_vec(),
            namespace: b"n".to_vec(),
            uid: b"u".to_vec(),
            resource_version: b"1".to_vec(),
            ..Metadata::default()
        };
        let metadata = Some(with_newer_fields(&metadata).into());
        let mut message = with_newer_fields(&Job { metadata, spec: None, status: None });
        let template = [NEWER, b"\x12\x00"].concat();
        let spec = with_newer_fields(&Spec { template: Some(template.into()), ..spec });
        prost::encoding::bytes::encode(2, &Bytes::from(spec), &mut message);
        let status = with_newer_fields(&Status {
            conditions: vec![Condition {
                type_: b"Paused".to_vec(),
                status: b"Perhaps".to_vec(),
                ..Condition::default()
            }],
            succeeded: 3,
            ..Status::default()
        });
        prost::encoding::bytes::encode(3, &Bytes::from(status), &mut message);
        message.into()
    }

    #[test]
    fn fields_of_a_newer_api_server_are_skipped_and_stay_in_the_template() {
        let wire = decode(job(Spec { parallelism: Some(2), ..Spec::default() })).unwrap();
        assert_eq!((wire.metadata.name.as_deref(), wire.spec.parallelism), (Some("job"), Some(2)));
        assert_eq!(wire.status.succeeded, Some(3));
        let condition = &wire.status.conditions.as_ref().unwrap()[0];
        assert_eq!((condition.type_.as_str(), condition.status.as_str()), ("Paused", "Perhaps"));
        let WireTemplate::Protobuf(template) = wire.spec.template else { panic!("the template is not in protobuf") };
        assert!(template.starts_with(NEWER), "{template:?}");
    }

    #[test]
    fn values_of_a_newer_api_server_have_the_same_meaning_in_both_encodings() {
        let text = |text: &str| Some(text.as_bytes().to_vec());
        let rule = |action: &str, operator: &str| FailureRule {
            action: action.into(),
            on_exit_codes: Some(OnExitCodes { container_name: None, operator: operator.into(), values: vec![1] }),
            on_pod_conditions: Vec::new(),
        };
        let rules = vec![rule("Pause", "In"), rule("FailJob", "Between"), rule("Count", "In")];
        let from_protobuf = decode(job(Spec {
            completion_mode: text("Streamed"),
            pod_replacement_policy: text("Never"),
            pod_failure_policy: Some(PodFailurePolicy { rules }),
            ..Spec::default()
        }))
        .unwrap();
        let codes = |operator: &str| json!({"operator": operator, "values": [1], "later": {}});
        let from_json: WireJob = serde_json::from_value(json!({
            "metadata": {"name": "job", "namespace": "n", "uid": "u", "resourceVersion": "1", "later": []}, "later": 1,
            "spec": {
                "template": {"later": 1}, "later": {}, "completionMode": "Streamed", "podReplacementPolicy": "Never",
                "podFailurePolicy": {"later": 1, "rules": [
                    {"action": "Pause", "onExitCodes": codes("In")},
                    {"action": "FailJob", "onExitCodes": codes("Between"), "later": null},
                    {"action": "Count", "onExitCodes": codes("In")},
                ]},
            },
            "status": {"later": "x", "succeeded": 3, "conditions": [{"type": "Paused", "status": "Perhaps", "later": 1}]},
        }))
        .unwrap();
        let [protobuf, json] = [from_protobuf, from_json].map(|wire| JobView::parse(wire).unwrap());
        assert_eq!(protobuf.spec.completion_mode, CompletionMode::Unknown("Streamed".to_owned()));
        assert!(!protobuf.spec.replace_only_failed, "an unknown policy is the default");
        let numbers: Vec<usize> =
            protobuf.spec.failure_rules.iter().flat_map(|rules| rules.iter()).map(|rule| rule.number).collect();
        assert_eq!(numbers, [2], "rules with unknown values match nothing and keep their position");
        assert_eq!(format!("{:?}{:?}", protobuf.spec, protobuf.status), format!("{:?}{:?}", json.spec, json.status));
    }
}
