//! Protobuf messages of the metadata and times that all Kubernetes objects share, reduced to the fields that are read.
//!
//! Field numbers are from
//! [`meta/v1/generated.proto`](https://github.com/kubernetes/apimachinery/blob/master/pkg/apis/meta/v1/generated.proto).
//!
//! Texts are declared as bytes. The API server does not check that a text of a protobuf request is valid UTF-8, and in
//! JSON it replaces invalid bytes. [`text`] does the same. Otherwise one annotation could hide a pod from its Job.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{self as meta, ManagedFieldsEntry, ObjectMeta};
use prost::Message;

/// First and last second of the years that JSON can express.
const SECONDS_OF_JSON: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

/// Metadata of an object.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct Metadata {
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub namespace: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub uid: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    pub resource_version: Vec<u8>,
    #[prost(int64, tag = "7")]
    pub generation: i64,
    #[prost(message, optional, tag = "8")]
    pub creation_timestamp: Option<Time>,
    #[prost(message, optional, tag = "9")]
    pub deletion_timestamp: Option<Time>,
    #[prost(int64, optional, tag = "10")]
    pub deletion_grace_period_seconds: Option<i64>,
    #[prost(message, repeated, tag = "11")]
    pub labels: Vec<Entry>,
    #[prost(message, repeated, tag = "12")]
    pub annotations: Vec<Entry>,
    #[prost(message, repeated, tag = "13")]
    pub owner_references: Vec<OwnerReference>,
    #[prost(bytes = "vec", repeated, tag = "14")]
    pub finalizers: Vec<Vec<u8>>,
}

/// Entry of a map of texts.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "the names of the fields of protobuf")]
pub struct Entry {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// Owner of an object.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct OwnerReference {
    #[prost(bytes = "vec", tag = "1")]
    pub kind: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub name: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub uid: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub api_version: Vec<u8>,
    #[prost(bool, optional, tag = "6")]
    pub controller: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    pub block_owner_deletion: Option<bool>,
}

/// Metadata of an object, reduced to the writers of its fields.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct Writers {
    #[prost(message, repeated, tag = "17")]
    pub managed_fields: Vec<ManagedFields>,
}

/// Writer of fields, without the set of fields.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct ManagedFields {
    #[prost(bytes = "vec", tag = "1")]
    pub manager: Vec<u8>,
    #[prost(message, optional, tag = "4")]
    pub time: Option<Time>,
    #[prost(bytes = "vec", tag = "8")]
    pub subresource: Vec<u8>,
}

/// Time. A time that is not set is an empty message.
#[derive(Clone, Copy, PartialEq, Message)]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct Time {
    #[prost(int64, optional, tag = "1")]
    pub seconds: Option<i64>,
    #[prost(int32, optional, tag = "2")]
    pub nanos: Option<i32>,
}

/// Label selector.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct LabelSelector {
    #[prost(message, repeated, tag = "1")]
    pub match_labels: Vec<Entry>,
    #[prost(message, repeated, tag = "2")]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// Requirement of a label selector.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct LabelSelectorRequirement {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub operator: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub values: Vec<Vec<u8>>,
}

impl Time {
    /// Returns the time in whole seconds, as JSON has it; none for a time that is not set or that JSON cannot express.
    pub fn timestamp(self) -> Option<Timestamp> {
        let seconds = match self {
            Self { seconds: None, nanos: None } => return None,
            Self { seconds, .. } => seconds.unwrap_or_default(),
        };
        SECONDS_OF_JSON.contains(&seconds).then(|| Timestamp::from_second(seconds).ok()).flatten()
    }
}

/// Returns the timestamp of an optional time.
pub fn timestamp(time: Option<Time>) -> Option<Timestamp> {
    time.and_then(Time::timestamp)
}

/// Returns a text. Invalid UTF-8 is replaced.
pub fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Returns a text of a field that JSON omits if the text is empty.
pub fn filled(bytes: Vec<u8>) -> Option<String> {
    (!bytes.is_empty()).then(|| text(bytes))
}

/// Returns the number of a field that JSON omits if the number is 0.
pub fn nonzero<T: Default + PartialEq>(number: T) -> Option<T> {
    (number != T::default()).then_some(number)
}

/// Returns the converted items of a list that JSON omits if the list is empty.
pub fn list<T, U>(items: Vec<T>, convert: impl Fn(T) -> U) -> Option<Vec<U>> {
    (!items.is_empty()).then(|| items.into_iter().map(convert).collect())
}

/// Returns a map that JSON omits if the map is empty.
pub fn map(entries: Vec<Entry>) -> Option<BTreeMap<String, String>> {
    (!entries.is_empty()).then(|| entries.into_iter().map(|entry| (text(entry.key), text(entry.value))).collect())
}

impl From<Metadata> for ObjectMeta {
    fn from(metadata: Metadata) -> Self {
        Self {
            name: filled(metadata.name),
            namespace: filled(metadata.namespace),
            uid: filled(metadata.uid),
            resource_version: filled(metadata.resource_version),
            generation: nonzero(metadata.generation),
            creation_timestamp: timestamp(metadata.creation_timestamp).map(meta::Time),
            deletion_timestamp: timestamp(metadata.deletion_timestamp).map(meta::Time),
            deletion_grace_period_seconds: metadata.deletion_grace_period_seconds,
            labels: map(metadata.labels),
            annotations: map(metadata.annotations),
            owner_references: list(metadata.owner_references, Into::into),
            finalizers: list(metadata.finalizers, text),
            ..Self::default()
        }
    }
}

impl From<OwnerReference> for meta::OwnerReference {
    fn from(owner: OwnerReference) -> Self {
        Self {
            api_version: text(owner.api_version),
            kind: text(owner.kind),
            name: text(owner.name),
            uid: text(owner.uid),
            controller: owner.controller,
            block_owner_deletion: owner.block_owner_deletion,
        }
    }
}

impl From<ManagedFields> for ManagedFieldsEntry {
    fn from(entry: ManagedFields) -> Self {
        Self {
            manager: filled(entry.manager),
            subresource: filled(entry.subresource),
            time: timestamp(entry.time).map(meta::Time),
            ..Self::default()
        }
    }
}

impl From<LabelSelector> for meta::LabelSelector {
    fn from(selector: LabelSelector) -> Self {
        let requirement = |requirement: LabelSelectorRequirement| meta::LabelSelectorRequirement {
            key: text(requirement.key),
            operator: text(requirement.operator),
            values: list(requirement.values, text),
        };
        Self {
            match_labels: map(selector.match_labels),
            match_expressions: list(selector.match_expressions, requirement),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_is_not_set_is_distinguished_from_the_epoch() {
        let of = |bytes: &[u8]| Time::decode(bytes).unwrap().timestamp();
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[8, 0, 16, 0]), Some(Timestamp::UNIX_EPOCH));
        assert_eq!(of(&[8, 5, 16, 9]), Some(Timestamp::from_second(5).unwrap()), "JSON has whole seconds");
        for second in [i64::MIN, -62_167_219_201, 253_402_300_800, i64::MAX] {
            assert_eq!(Time { seconds: Some(second), nanos: None }.timestamp(), None, "{second}");
        }
    }

    #[test]
    fn invalid_utf8_is_replaced() {
        assert_eq!(text(b"a\xffb".to_vec()), "a\u{fffd}b");
        assert_eq!(filled(Vec::new()), None);
    }
}
