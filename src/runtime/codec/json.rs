//! Decoding of JSON responses.

use std::borrow::Cow;

use kube::core::Status;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{DecodeError, Page, Unparsable, WireEvent, WireObject};

#[derive(Deserialize)]
struct List<'a> {
    #[serde(default)]
    metadata: ListMetadata,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ListMetadata {
    resource_version: Option<String>,
    #[serde(rename = "continue")]
    continue_token: Option<String>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    type_: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// Metadata of any object.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    namespace: Option<String>,
    name: Option<String>,
    resource_version: Option<String>,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, default)]
    kind: Option<Cow<'a, str>>,
}

pub(super) fn list<K: WireObject>(bytes: &[u8]) -> Result<Page<K>, DecodeError> {
    let List { metadata, items } = serde_json::from_slice(bytes)?;
    Ok(Page {
        resource_version: metadata.resource_version.unwrap_or_default(),
        continue_token: metadata.continue_token.unwrap_or_default(),
        items: items.into_iter().flatten().map(object).collect(),
    })
}

pub(super) fn event<K: WireObject>(line: &[u8]) -> Result<WireEvent<K>, DecodeError> {
    let Event { type_, object: raw } = match serde_json::from_slice(line) {
        Ok(event) => event,
        // A server that fails after the headers sends a status in place of an event.
        Err(error) => {
            return status(line).map(|status| WireEvent::Failed(status.boxed())).ok_or(DecodeError::Json(error));
        }
    };
    match &*type_ {
        "ADDED" | "MODIFIED" => Ok(WireEvent::Applied(object(raw))),
        "DELETED" => Ok(WireEvent::Deleted(object(raw))),
        "BOOKMARK" => {
            let Named { metadata } = serde_json::from_str(raw.get())?;
            Ok(WireEvent::Bookmark { resource_version: metadata.resource_version.unwrap_or_default() })
        }
        "ERROR" => Ok(WireEvent::Failed(Box::new(serde_json::from_str(raw.get())?))),
        other => Err(DecodeError::EventType(other.to_owned())),
    }
}

pub(super) fn status(bytes: &[u8]) -> Option<Status> {
    let Kind { kind } = serde_json::from_slice(bytes).ok()?;
    (kind.as_deref() == Some("Status")).then(|| serde_json::from_slice(bytes).ok()).flatten()
}

fn object<K: WireObject>(raw: &RawValue) -> Result<K, Unparsable> {
    serde_json::from_str(raw.get()).map_err(|error| {
        let Named { metadata } = serde_json::from_str(raw.get()).unwrap_or_default();
        Unparsable {
            namespace: metadata.namespace.unwrap_or_default(),
            name: metadata.name.unwrap_or_default(),
            error: error.into(),
        }
    })
}
