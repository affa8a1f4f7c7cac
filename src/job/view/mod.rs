//! Views of a Job and its Pods: objects from the API server are parsed once, when they arrive, into the form that
//! decisions need.

pub mod admission_info;
pub mod after;
pub mod annotations;
pub mod cause;
pub mod index_subset;
mod job;
pub mod kueue;
mod labels;
pub mod memory;
mod pod;
pub mod policies;
pub mod policy_annotations;
pub mod retention;
pub mod scheduling;
mod selector;
pub mod selector_schema;
pub mod start;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

pub use self::job::{CompletionMode, JobSpec, JobView, Template};
pub use self::labels::Labels;
pub use self::pod::{ControllerRef, IndexFailures, Phase, PodEnd, PodView, TerminationMessage};
pub use self::selector::Selector;
use crate::runtime::identity::{Identity, ResourceVersion};
use crate::runtime::intern::intern;

pub(crate) fn identity(metadata: &ObjectMeta) -> Option<Identity> {
    Some(Identity {
        namespace: intern(metadata.namespace.as_deref()?),
        name: metadata.name.as_deref()?.into(),
        uid: metadata.uid.as_deref()?.into(),
        resource_version: ResourceVersion::parse(metadata.resource_version.as_deref()?)?,
    })
}

/// Returns the reference to the owner that controls an object. An object has at most one.
pub(crate) fn controlling_owner(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}
