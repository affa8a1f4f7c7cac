//! The protobuf of Kubernetes: a prefix, and an envelope with the kind and the message of an object; lists, watch events
//! and statuses.
//!
//! Field numbers are from
//! [`runtime/generated.proto`](https://github.com/kubernetes/apimachinery/blob/master/pkg/runtime/generated.proto) and
//! [`meta/v1/generated.proto`](https://github.com/kubernetes/apimachinery/blob/master/pkg/apis/meta/v1/generated.proto).

use bytes::{Buf, Bytes};
use kube::core::Status;
use kube::core::response::{StatusCause, StatusDetails, StatusSummary};
use prost::Message;

use super::metadata::text;
use super::{DecodeError, Decoder, Encoded, Encoding, Page, Unparsable, WireEvent};

/// First bytes of every object.
const PREFIX: &[u8] = b"k8s\0";

/// Envelope of an object (`runtime.Unknown`).
#[derive(Clone, PartialEq, Message)]
pub struct Envelope {
    #[prost(message, optional, tag = "1")]
    type_meta: Option<TypeMeta>,
    /// Message of the object.
    #[prost(bytes = "bytes", tag = "2")]
    pub raw: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct TypeMeta {
    #[prost(bytes = "vec", tag = "1")]
    api_version: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    kind: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct List {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ListMetadata>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    items: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct ListMetadata {
    #[prost(bytes = "vec", tag = "2")]
    resource_version: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    continue_token: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct WatchEvent {
    #[prost(bytes = "vec", tag = "1")]
    type_: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    object: Option<RawExtension>,
}

#[derive(Clone, PartialEq, Message)]
struct RawExtension {
    #[prost(bytes = "bytes", tag = "1")]
    raw: Bytes,
}

/// Any object, reduced to its metadata.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(message, optional, tag = "1")]
    metadata: Option<NamedMetadata>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedMetadata {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    namespace: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    resource_version: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct WireStatus {
    #[prost(bytes = "vec", tag = "2")]
    status: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    message: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    reason: Vec<u8>,
    #[prost(message, optional, tag = "5")]
    details: Option<WireDetails>,
    #[prost(int32, tag = "6")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct WireDetails {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    group: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    kind: Vec<u8>,
    #[prost(message, repeated, tag = "4")]
    causes: Vec<WireCause>,
    #[prost(int32, tag = "5")]
    retry_after_seconds: i32,
    #[prost(bytes = "vec", tag = "6")]
    uid: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct WireCause {
    #[prost(bytes = "vec", tag = "1")]
    reason: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    message: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    field: Vec<u8>,
}

/// Opens the envelope of an object.
///
/// # Errors
/// The bytes lack the prefix, or the envelope is invalid.
pub fn open(mut bytes: Bytes) -> Result<Envelope, DecodeError> {
    if !bytes.starts_with(PREFIX) {
        return Err(DecodeError::Prefix);
    }
    bytes.advance(PREFIX.len());
    Ok(Envelope::decode(bytes)?)
}

/// Returns the body of a request with the message of an object.
pub fn seal(api_version: &str, kind: &str, message: Vec<u8>) -> Encoded {
    let type_meta = Some(TypeMeta { api_version: api_version.into(), kind: kind.into() });
    let envelope = Envelope { type_meta, raw: message.into() };
    let mut bytes = PREFIX.to_vec();
    bytes.reserve_exact(envelope.encoded_len());
    // A vector has room for everything.
    let _ = envelope.encode(&mut bytes);
    Encoded { encoding: Encoding::Protobuf, bytes }
}

pub(super) fn list<K>(message: Bytes, decode: Decoder<K>) -> Result<Page<K>, DecodeError> {
    let List { metadata, items } = List::decode(message)?;
    let metadata = metadata.unwrap_or_default();
    Ok(Page {
        resource_version: text(metadata.resource_version),
        continue_token: text(metadata.continue_token),
        items: items.into_iter().map(|item| object(item, decode)).collect(),
    })
}

pub(super) fn event<K>(frame: Bytes, decode: Decoder<K>) -> Result<WireEvent<K>, DecodeError> {
    let WatchEvent { type_, object: inner } = WatchEvent::decode(frame)?;
    let inner = open(inner.unwrap_or_default().raw)?;
    match &type_[..] {
        b"ADDED" | b"MODIFIED" => Ok(WireEvent::Applied(object(inner.raw, decode))),
        b"DELETED" => Ok(WireEvent::Deleted(object(inner.raw, decode))),
        b"BOOKMARK" => {
            let metadata = Named::decode(inner.raw)?.metadata.unwrap_or_default();
            Ok(WireEvent::Bookmark { resource_version: text(metadata.resource_version) })
        }
        b"ERROR" => Ok(WireEvent::Failed(Box::new(WireStatus::decode(inner.raw)?.into()))),
        other => Err(DecodeError::EventType(String::from_utf8_lossy(other).into_owned())),
    }
}

pub(super) fn status(bytes: Bytes) -> Option<Status> {
    let envelope = open(bytes).ok()?;
    let is_status = envelope.type_meta.is_some_and(|type_meta| type_meta.kind == b"Status");
    is_status.then(|| WireStatus::decode(envelope.raw).ok().map(Into::into)).flatten()
}

fn object<K>(message: Bytes, decode: Decoder<K>) -> Result<K, Unparsable> {
    decode(message.clone()).map_err(|error| {
        let metadata = Named::decode(message).ok().and_then(|named| named.metadata).unwrap_or_default();
        Unparsable { namespace: text(metadata.namespace), name: text(metadata.name), error }
    })
}

impl From<WireStatus> for Status {
    fn from(status: WireStatus) -> Self {
        Self {
            status: match &status.status[..] {
                b"Success" => Some(StatusSummary::Success),
                b"Failure" => Some(StatusSummary::Failure),
                _ => None,
            },
            code: status.code.try_into().unwrap_or_default(),
            message: text(status.message),
            metadata: None,
            reason: text(status.reason),
            details: status.details.map(Into::into),
        }
    }
}

impl From<WireDetails> for StatusDetails {
    fn from(details: WireDetails) -> Self {
        let cause = |cause: WireCause| StatusCause {
            reason: text(cause.reason),
            message: text(cause.message),
            field: text(cause.field),
        };
        Self {
            name: text(details.name),
            group: text(details.group),
            kind: text(details.kind),
            uid: text(details.uid),
            causes: details.causes.into_iter().map(cause).collect(),
            retry_after_seconds: details.retry_after_seconds.try_into().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields;
    use super::*;

    fn name(message: Bytes) -> Result<String, DecodeError> {
        let name = Named::decode(message)?.metadata.ok_or(DecodeError::Missing("metadata"))?.name;
        String::from_utf8(name).map_err(|_| DecodeError::Missing("metadata.name"))
    }

    fn named(name: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        let mut metadata = Vec::new();
        fields::put(&mut metadata, 1, name);
        fields::put(&mut metadata, 3, b"default");
        fields::put(&mut metadata, 6, b"7");
        fields::put(&mut message, 1, &metadata);
        message
    }

    fn frame(type_: &str, kind: &str, message: Vec<u8>) -> Bytes {
        let object = Some(RawExtension { raw: seal("v1", kind, message).bytes.into() });
        WatchEvent { type_: type_.into(), object }.encode_to_vec().into()
    }

    #[test]
    fn sealed_object_is_opened_and_other_bytes_are_refused() {
        let sealed = seal("v1", "Pod", named(b"a"));
        assert_eq!(name(open(sealed.bytes.into()).unwrap().raw).unwrap(), "a");
        for invalid in [&b""[..], b"k8s", b"{}", b"k8s\0\x0a\xff\xff\xff\xff\x0f"] {
            assert!(open(Bytes::from_static(invalid)).is_err(), "{invalid:?}");
        }
    }

    #[test]
    fn item_that_cannot_be_decoded_leaves_the_other_items_of_its_list() {
        let metadata = Some(ListMetadata { resource_version: b"9".into(), continue_token: b"next".into() });
        let items = vec![named(b"a").into(), named(b"\xff").into(), Bytes::from_static(b"\xff"), named(b"b").into()];
        let page = list(List { metadata, items }.encode_to_vec().into(), name).unwrap();
        assert_eq!((&*page.resource_version, &*page.continue_token), ("9", "next"));
        let read: Vec<_> = page.items.iter().map(|item| item.as_deref().map_err(|error| &*error.namespace)).collect();
        assert_eq!(read, [Ok("a"), Err("default"), Err(""), Ok("b")]);
    }

    #[test]
    fn events_of_each_type_are_decoded() {
        let of = |frame| event(frame, name).unwrap();
        assert!(matches!(of(frame("ADDED", "Pod", named(b"a"))), WireEvent::Applied(Ok(name)) if name == "a"));
        assert!(matches!(of(frame("MODIFIED", "Pod", named(b"\xff"))), WireEvent::Applied(Err(_))));
        assert!(matches!(of(frame("DELETED", "Pod", named(b"a"))), WireEvent::Deleted(Ok(_))));
        let WireEvent::Bookmark { resource_version } = of(frame("BOOKMARK", "Pod", named(b""))) else {
            panic!("no bookmark")
        };
        assert_eq!(resource_version, "7");
        let expired = WireStatus { code: 410, reason: b"Expired".into(), ..WireStatus::default() };
        let WireEvent::Failed(status) = of(frame("ERROR", "Status", expired.encode_to_vec())) else {
            panic!("no error")
        };
        assert_eq!((status.code, &*status.reason), (410, "Expired"));
        assert!(event(frame("OTHER", "Pod", named(b"a")), name).is_err());
        assert!(event(Bytes::new(), name).is_err());
    }

    #[test]
    fn status_is_decoded_with_its_details() {
        let causes = vec![WireCause { reason: b"NamespaceTerminating".into(), ..WireCause::default() }];
        let details = WireDetails { causes, retry_after_seconds: 7, kind: b"pods".into(), ..WireDetails::default() };
        let sent = WireStatus {
            status: b"Failure".into(),
            message: b"refused".into(),
            reason: b"Forbidden".into(),
            details: Some(details),
            code: 403,
        };
        let read = status(seal("v1", "Status", sent.encode_to_vec()).bytes.into()).unwrap();
        assert!(read.is_failure() && read.is_forbidden());
        assert_eq!(read.message, "refused");
        let details = read.details.unwrap();
        assert_eq!((details.retry_after_seconds, &*details.causes[0].reason), (7, "NamespaceTerminating"));
        assert!(status(seal("v1", "Pod", named(b"a")).bytes.into()).is_none());
    }
}
