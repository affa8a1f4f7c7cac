//! Types for the identity of objects, so that the compiler rejects a comparison of a UID with a name.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// UID of an object: unique over time, never reused, opaque.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uid(Arc<str>);

impl Uid {
    /// Returns the UID as the API writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Uid {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl Borrow<str> for Uid {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Identity of one version of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Namespace of the object; empty for a cluster-scoped object.
    pub namespace: Arc<str>,
    /// Name of the object. Another object may get this name after this object is deleted.
    pub name: Arc<str>,
    /// UID of the object.
    pub uid: Uid,
    /// Version of the object. Versions of one resource are comparable (KEP-5504): a greater one is newer.
    pub resource_version: ResourceVersion,
}

/// Value of `metadata.resourceVersion`, comparable within one resource type.
///
/// See <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceVersion(pub u64);

impl ResourceVersion {
    /// Parses the text of the API; returns `None` if the text is not a number.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

impl fmt::Display for ResourceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
