//! The two encodings in which the API server sends and takes objects: JSON, and the protobuf of Kubernetes.
//!
//! [`object`], [`list`], [`event`] and [`status`] decode a response by the encoding that its content type names. A type
//! that implements [`WireObject`] decides which encodings are requested. No input causes a panic, and no length in the
//! input causes an allocation before that number of bytes has arrived. An object that cannot be decoded does not affect
//! the other objects of its list.

pub mod envelope;
pub mod fields;
pub mod frames;
mod json;
pub mod metadata;

use std::fmt::Debug;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use kube::core::Status;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Media type of JSON.
const JSON: &str = "application/json";
/// Media type of the protobuf of Kubernetes.
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// Encoding of objects in requests and responses (`--wire`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Encoding {
    /// Protobuf for Jobs and Pods, which costs the API server less processor time; JSON where a response is JSON
    Protobuf,
    /// JSON for all objects
    #[default]
    Json,
}

impl Encoding {
    /// Returns the encoding that the headers of a response name. A proxy can answer with JSON or text, whatever was
    /// requested.
    pub fn of(headers: &HeaderMap) -> Self {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case(PROTOBUF) { Self::Protobuf } else { Self::Json }
    }

    /// Returns the value of the `Accept` header that requests this encoding.
    pub fn accept(self) -> &'static str {
        match self {
            Self::Protobuf => "application/vnd.kubernetes.protobuf, application/json",
            Self::Json => JSON,
        }
    }

    /// Returns the value of the `Content-Type` header of a body in this encoding.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => PROTOBUF,
            Self::Json => JSON,
        }
    }
}

/// Object in the body of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Encoding of the bytes.
    pub encoding: Encoding,
    /// The encoded object.
    pub bytes: Vec<u8>,
}

impl Encoded {
    /// Returns an object that is encoded as JSON.
    pub fn json(bytes: Vec<u8>) -> Self {
        Self { encoding: Encoding::Json, bytes }
    }
}

/// Function that decodes the protobuf message of an object.
pub type Decoder<K> = fn(Bytes) -> Result<K, DecodeError>;

/// Object that responses contain.
pub trait WireObject: DeserializeOwned + Clone + Debug + Send + 'static {
    /// Decoder of the protobuf message of the object. The controller requests objects without a decoder as JSON.
    const PROTOBUF: Option<Decoder<Self>> = None;
}

/// Error of a response or an object that cannot be decoded.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// The JSON is invalid, or does not have the fields of the object.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// The protobuf message is invalid.
    #[error("{0}")]
    Protobuf(#[from] prost::DecodeError),
    /// The bytes do not begin with the prefix of the protobuf of Kubernetes.
    #[error("the protobuf object does not begin with the prefix k8s")]
    Prefix,
    /// A field that every stored object has is missing.
    #[error("missing field {0}")]
    Missing(&'static str),
    /// A protobuf message is cut, or contains a length or a type of field that is not valid.
    #[error("invalid or truncated protobuf field")]
    Field,
    /// The response is protobuf, which was not requested.
    #[error("the response is protobuf, and the request was for JSON")]
    Unrequested,
    /// A watch event has a type that Kubernetes does not define.
    #[error("watch event of the unknown type {0:?}")]
    EventType(String),
    /// A watch event is too long.
    #[error("watch event of {0} bytes is longer than the limit of {limit} bytes", limit = frames::MAX_FRAME)]
    TooLong(usize),
    /// The response to a watch ended within an event.
    #[error("the response to the watch ended within an event")]
    Truncated,
}

impl From<DecodeError> for kube::Error {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Json(error) => Self::SerdeError(error),
            error => Self::Service(Box::new(error)),
        }
    }
}

/// Object that cannot be decoded, as an item of a list or in a watch event.
#[derive(Debug)]
pub struct Unparsable {
    /// Namespace of the object; empty if not even the metadata can be decoded.
    pub namespace: String,
    /// Name of the object; empty if not even the metadata can be decoded.
    pub name: String,
    /// Cause.
    pub error: DecodeError,
}

/// One page of a list.
#[derive(Debug)]
pub struct Page<K> {
    /// Version of the list.
    pub resource_version: String,
    /// Token that requests the next page; empty for the last page.
    pub continue_token: String,
    /// Objects of the page.
    pub items: Vec<Result<K, Unparsable>>,
}

/// Event of a watch.
#[derive(Debug)]
pub enum WireEvent<K> {
    /// An object was created or changed.
    Applied(Result<K, Unparsable>),
    /// An object was deleted.
    Deleted(Result<K, Unparsable>),
    /// All events up to this version were sent.
    Bookmark {
        /// The version.
        resource_version: String,
    },
    /// The watch failed.
    Failed(Box<Status>),
}

/// Decodes an object.
///
/// # Errors
/// The bytes are no such object.
pub fn object<K: WireObject>(encoding: Encoding, bytes: Bytes) -> Result<K, DecodeError> {
    match encoding {
        Encoding::Json => Ok(serde_json::from_slice(&bytes)?),
        Encoding::Protobuf => decoder()?(envelope::open(bytes)?.raw),
    }
}

/// Decodes the response to a deletion: the object, or a status if the object is gone.
///
/// # Errors
/// The bytes are neither.
pub fn object_or_status<K: WireObject>(
    encoding: Encoding,
    bytes: Bytes,
) -> Result<either::Either<K, Status>, DecodeError> {
    match status(encoding, &bytes) {
        Some(status) => Ok(either::Either::Right(status)),
        None => object(encoding, bytes).map(either::Either::Left),
    }
}

/// Decodes one page of a list.
///
/// # Errors
/// The bytes are no list.
pub fn list<K: WireObject>(encoding: Encoding, bytes: Bytes) -> Result<Page<K>, DecodeError> {
    match encoding {
        Encoding::Json => json::list(&bytes),
        Encoding::Protobuf => envelope::list(envelope::open(bytes)?.raw, decoder()?),
    }
}

/// Decodes one event of a watch.
///
/// # Errors
/// The bytes are no event.
pub fn event<K: WireObject>(encoding: Encoding, frame: Bytes) -> Result<WireEvent<K>, DecodeError> {
    match encoding {
        Encoding::Json => json::event(&frame),
        Encoding::Protobuf => envelope::event(frame, decoder()?),
    }
}

/// Decodes a status; none if the bytes are another object or none at all.
pub fn status(encoding: Encoding, bytes: &Bytes) -> Option<Status> {
    match encoding {
        Encoding::Json => json::status(bytes),
        Encoding::Protobuf => envelope::status(bytes.clone()),
    }
}

fn decoder<K: WireObject>() -> Result<Decoder<K>, DecodeError> {
    K::PROTOBUF.ok_or(DecodeError::Unrequested)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn content_type_of_a_response_decides_its_encoding() {
        let of = |value: &'static str| {
            Encoding::of(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]))
        };
        assert_eq!(of("application/vnd.kubernetes.protobuf"), Encoding::Protobuf);
        assert_eq!(of("application/vnd.kubernetes.protobuf;stream=watch"), Encoding::Protobuf);
        for other in ["application/json", "application/json;stream=watch", "text/html; charset=utf-8", ""] {
            assert_eq!(of(other), Encoding::Json, "{other}");
        }
        assert_eq!(Encoding::of(&HeaderMap::new()), Encoding::Json);
    }
}
