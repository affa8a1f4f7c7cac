//! JobLimits as decisions use them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;
use serde_json::Value;

use super::types::{JobLimit, JobLimitSpec, JobLimitStatus};
use crate::job::view::{Labels, Selector, identity};
use crate::job::wire::metadata;
use crate::runtime::cache::Cached;
use crate::runtime::codec::WireObject;
use crate::runtime::identity::{Identity, Uid};

/// JobLimit as the API server sends it. Its spec is parsed later, so that a malformed JobLimit does not prevent the
/// others from being listed.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = JobLimit)]
pub struct WireJobLimit {
    /// Part of the metadata.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// Spec as unparsed JSON.
    #[serde(default)]
    pub spec: Value,
    /// Status as unparsed JSON.
    #[serde(default)]
    pub status: Value,
}

impl WireObject for WireJobLimit {}

/// JobLimit, reduced to the data that decisions need.
#[derive(Clone, Debug)]
pub struct LimitView {
    /// Namespace, name, UID and resource version.
    pub identity: Identity,
    /// Selector of Jobs. None selects no Job, which is the case for a malformed limit and for a limit that is being
    /// deleted.
    pub selector: Option<Selector>,
    /// Maximum number of active Jobs; none for no maximum.
    pub jobs: Option<usize>,
    /// Maximum number of pods of all active Jobs; none for no maximum.
    pub pods: Option<usize>,
    /// Generation of the spec.
    pub generation: Option<i64>,
    /// Whether the limit is being deleted.
    pub deleting: bool,
    /// Why the spec is invalid.
    pub invalid: Option<String>,
    /// Stored status.
    pub stored: JobLimitStatus,
}

impl LimitView {
    /// Parses a JobLimit; none if it lacks metadata that every stored object has.
    pub fn parse(wire: WireJobLimit) -> Option<Self> {
        let identity = identity(&wire.metadata)?;
        let parsed = serde_json::from_value::<JobLimitSpec>(wire.spec);
        let mut invalid = parsed.as_ref().err().map(|error| format!("spec: {error}"));
        let spec = parsed.ok();
        let selector = spec.as_ref().and_then(|spec| match &spec.selector {
            None => Some(Selector::default()),
            Some(selector) => Selector::parse(selector.clone()),
        });
        if invalid.is_none() && selector.is_none() {
            invalid = Some("spec.selector is not a valid label selector; the limit selects no Jobs".to_owned());
        }
        let deleting = wire.metadata.deletion_timestamp.is_some();
        let count = |number: Option<i32>| number.and_then(|number| usize::try_from(number).ok());
        Some(Self {
            identity,
            selector: selector.filter(|_| !deleting),
            jobs: count(spec.as_ref().and_then(|spec| spec.max_active_jobs)),
            pods: count(spec.as_ref().and_then(|spec| spec.max_active_pods)),
            generation: wire.metadata.generation,
            deleting,
            invalid,
            stored: serde_json::from_value(wire.status).unwrap_or_default(),
        })
    }

    /// Returns whether the limit selects a Job with these labels.
    pub fn covers(&self, labels: &Labels) -> bool {
        self.selector.as_ref().is_some_and(|selector| selector.matches(labels))
    }
}

impl LimitView {
    /// Returns whether both limits have the same name, selector and maximums.
    pub fn limits_as(&self, other: &Self) -> bool {
        self.selects_as(other) && (self.jobs, self.pods) == (other.jobs, other.pods)
    }

    /// Returns whether both limits have the same name and the same selector.
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

    /// A JobLimit has no finalizers of this controller to remove, so it is never read live.
    fn has_finalizers(&self) -> bool {
        false
    }
}
