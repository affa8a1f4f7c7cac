//! A JobLimit, parsed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::{Selector, SelectorExt};
use serde::Deserialize;
use serde_json::Value;

use super::types::{JobLimit, JobLimitSpec};
use crate::job::view::{Labels, identity};
use crate::job::wire::metadata;
use crate::runtime::cache::Cached;
use crate::runtime::identity::{Identity, Uid};

/// A JobLimit as it comes over the wire; its spec is read later, so that one that cannot be read keeps none of the others
/// from being listed.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = JobLimit)]
pub struct WireJobLimit {
    /// Its metadata, in part.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// Its spec.
    #[serde(default)]
    pub spec: Value,
}

/// A JobLimit, as decisions see it.
#[derive(Clone, Debug)]
pub struct LimitView {
    /// Its identity.
    pub identity: Identity,
    /// The selector of Jobs; none selects no Job, as for a limit that cannot be read or is being deleted.
    pub selector: Option<Selector>,
    /// Maximum number of active Jobs.
    pub jobs: Option<usize>,
    /// Maximum number of pods of all active Jobs.
    pub pods: Option<usize>,
}

impl LimitView {
    /// Parses one; none if it lacks what every stored object has.
    pub fn parse(wire: WireJobLimit) -> Option<Self> {
        let identity = identity(&wire.metadata)?;
        let spec: Option<JobLimitSpec> = serde_json::from_value(wire.spec).ok();
        let live = wire.metadata.deletion_timestamp.is_none();
        let selector = spec.as_ref().filter(|_| live).and_then(|spec| match &spec.selector {
            None => Some(Selector::default()),
            Some(selector) => Selector::try_from(selector.clone()).ok(),
        });
        let count = |number: Option<i32>| number.and_then(|number| usize::try_from(number).ok());
        Some(Self {
            identity,
            selector,
            jobs: count(spec.as_ref().and_then(|spec| spec.max_active_jobs)),
            pods: count(spec.as_ref().and_then(|spec| spec.max_active_pods)),
        })
    }

    /// Whether it selects a Job with these labels.
    pub fn covers(&self, labels: &Labels) -> bool {
        self.selector.as_ref().is_some_and(|selector| selector.matches(labels))
    }
}

impl LimitView {
    /// Whether both limit the same Jobs in the same way.
    pub fn limits_as(&self, other: &Self) -> bool {
        self.selects_as(other) && (self.jobs, self.pods) == (other.jobs, other.pods)
    }

    /// Whether both are the limit of one name, and select the same Jobs.
    pub fn selects_as(&self, other: &Self) -> bool {
        self.identity.name == other.identity.name && self.selector == other.selector
    }
}

impl Cached for LimitView {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn controller(&self) -> Option<&Uid> {
        None
    }

    fn is_accounted(&self) -> bool {
        false
    }

    /// Nothing of it has to be let go, so none is ever read live.
    fn has_finalizers(&self) -> bool {
        false
    }
}
