//! Workloads and PodGroups as the API server sends them, and as the caches hold them.

use k8s_openapi::api::scheduling::v1beta1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;
use serde_json::Value;

use crate::job::view::scheduling::reference_key;
use crate::job::view::{controlling_owner, identity};
use crate::job::wire::metadata;
use crate::runtime::cache::Cached;
use crate::runtime::codec::WireObject;
use crate::runtime::identity::{Identity, Uid};

/// A Workload, reduced to the fields that decisions need.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = api::Workload)]
pub struct WireWorkload {
    /// Metadata, reduced to the fields that are read.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// Spec, reduced to the fields that are read.
    pub spec: WireWorkloadSpec,
}

impl WireObject for WireWorkload {}

/// The `spec` of a Workload.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct WireWorkloadSpec {
    pub controller_ref: Option<api::TypedLocalObjectReference>,
    /// Unparsed, so that fields unknown to this version of the program are kept.
    pub pod_group_templates: Option<Vec<Value>>,
}

/// A PodGroup, reduced to the fields that decisions need.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = api::PodGroup)]
pub struct WirePodGroup {
    /// Metadata, reduced to the fields that are read.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// Spec, reduced to the fields that are read.
    pub spec: WirePodGroupSpec,
}

impl WireObject for WirePodGroup {}

/// The `spec` of a PodGroup.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names of the API's fields")]
pub struct WirePodGroupSpec {
    pub workload_ref: Option<api::WorkloadReference>,
    pub scheduling_policy: Option<api::PodGroupSchedulingPolicy>,
}

/// The view of a Workload.
#[derive(Clone, Debug)]
pub struct WorkloadView {
    /// Namespace, name, UID and resourceVersion of the Workload.
    pub identity: Identity,
    /// Key of `spec.controllerRef`. The cache finds Workloads by this key, because the reference has no UID.
    pub reference: Option<Uid>,
    /// Whether `spec.controllerRef` refers to a Job.
    pub is_of_job: bool,
    /// UID of the controlling owner, if the owner is a Job.
    pub owner: Option<Uid>,
    /// Templates of PodGroups.
    pub templates: Vec<GroupTemplate>,
    has_finalizers: bool,
}

/// A template of PodGroups in a Workload.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupTemplate {
    /// Name of the template.
    pub name: Box<str>,
    /// Minimum number of pods that are placed together, if the policy is Gang.
    pub min_count: Option<i32>,
    /// The template as the API server stores it.
    pub fields: Value,
}

/// The view of a PodGroup.
#[derive(Clone, Debug)]
pub struct PodGroupView {
    /// Namespace, name, UID and resourceVersion of the PodGroup.
    pub identity: Identity,
    /// UID of the controlling owner, if the owner is a Job.
    pub owner: Option<Uid>,
    /// Name of the Workload whose template the PodGroup was created from.
    pub workload: Option<Box<str>>,
    /// Minimum number of pods that are placed together, if the policy is Gang.
    pub min_count: Option<i32>,
    has_finalizers: bool,
}

impl WorkloadView {
    /// Parses a Workload. Returns `None` if the metadata lacks a field that every stored object has.
    pub fn parse(wire: WireWorkload) -> Option<Self> {
        let WireWorkload { metadata, spec } = wire;
        let reference = spec.controller_ref.as_ref();
        let group = |reference: &api::TypedLocalObjectReference| reference.api_group.clone().unwrap_or_default();
        Some(Self {
            identity: identity(&metadata)?,
            is_of_job: reference.is_some_and(|reference| group(reference) == "batch" && reference.kind == "Job"),
            reference: reference.map(|reference| reference_key(&group(reference), &reference.kind, &reference.name)),
            owner: controlling_job(&metadata),
            templates: spec.pod_group_templates.into_iter().flatten().map(GroupTemplate::parse).collect(),
            has_finalizers: has_finalizers(&metadata),
        })
    }

    /// Returns the template with this name.
    pub fn template(&self, name: &str) -> Option<&GroupTemplate> {
        self.templates.iter().find(|template| &*template.name == name)
    }
}

impl GroupTemplate {
    fn parse(fields: Value) -> Self {
        let min_count = fields["schedulingPolicy"]["gang"]["minCount"].as_i64();
        Self {
            name: fields["name"].as_str().unwrap_or_default().into(),
            min_count: min_count.and_then(|count| count.try_into().ok()),
            fields,
        }
    }
}

impl PodGroupView {
    /// Parses a PodGroup. Returns `None` if the metadata lacks a field that every stored object has.
    pub fn parse(wire: WirePodGroup) -> Option<Self> {
        let WirePodGroup { metadata, spec } = wire;
        Some(Self {
            identity: identity(&metadata)?,
            owner: controlling_job(&metadata),
            workload: spec.workload_ref.map(|reference| reference.workload_name.into()),
            min_count: spec.scheduling_policy.and_then(|policy| policy.gang).map(|gang| gang.min_count),
            has_finalizers: has_finalizers(&metadata),
        })
    }
}

/// Returns the UID of the controlling owner, if the owner is a Job.
fn controlling_job(metadata: &ObjectMeta) -> Option<Uid> {
    let owner = controlling_owner(metadata)?;
    let is_job = owner.kind == crate::job::KIND && owner.api_version.starts_with("batch/");
    is_job.then(|| owner.uid.as_str().into())
}

fn has_finalizers(metadata: &ObjectMeta) -> bool {
    metadata.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty())
}

impl Cached for WorkloadView {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the key of `spec.controllerRef`, by which Jobs find the Workload.
    fn controller(&self) -> Option<&Uid> {
        self.reference.as_ref()
    }

    fn has_finalizers(&self) -> bool {
        self.has_finalizers
    }
}

impl Cached for PodGroupView {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn controller(&self) -> Option<&Uid> {
        self.owner.as_ref()
    }

    fn has_finalizers(&self) -> bool {
        self.has_finalizers
    }
}
