//! Views of a Job and its Pods: objects from the API server are parsed once, when they arrive, into the form that
//! decisions need.

pub mod admission_info;
pub mod cause;
mod job;
pub mod kueue;
mod pod;
pub mod policies;
pub mod retention;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub use self::admission_info::JobLabels;
pub use self::job::{CompletionMode, JobSpec, JobView, Template};
pub use self::pod::{ControllerRef, IndexFailures, Phase, PodEnd, PodView};
use crate::runtime::identity::{Identity, ResourceVersion};

/// The labels of an object.
pub type Labels = BTreeMap<String, String>;

pub(crate) fn identity(metadata: &ObjectMeta) -> Option<Identity> {
    Some(Identity {
        namespace: metadata.namespace.as_deref()?.into(),
        name: metadata.name.as_deref()?.into(),
        uid: metadata.uid.as_deref()?.into(),
        resource_version: ResourceVersion::parse(metadata.resource_version.as_deref()?)?,
    })
}
