//! What is known of a Job and its Pods: parsed once, at the edge, into what decisions need.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::{Selector, SelectorExt};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::status::JobStatus;
use super::wire::{WireCondition, WireContainerStatus, WireJob, WirePod, WirePodStatus};
use super::{API_VERSION, CONTROLLER_UID_LABEL, KIND, TRACKING_FINALIZER};
use crate::runtime::cache::Cached;
use crate::runtime::identity::{Identity, ResourceVersion, Uid};

/// The labels of an object.
pub type Labels = BTreeMap<String, String>;

/// A Job, as decisions see it.
#[derive(Clone, Debug)]
pub struct JobView {
    /// Which Job, in which version.
    pub identity: Identity,
    /// It is being deleted.
    pub deleting: bool,
    /// It carries finalizers, so it cannot vanish at once.
    pub held: bool,
    /// What the user asked for.
    pub spec: JobSpec,
    /// What is stored of its progress.
    pub status: JobStatus,
    /// What its pods are made from.
    pub template: Arc<Template>,
}

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct JobSpec {
    /// How many pods may be active at once.
    pub parallelism: i32,
    /// How many must succeed; none for a work queue, where one success says that the work is done.
    pub completions: Option<i32>,
    /// How pods and completions go together.
    pub completion_mode: CompletionMode,
    /// How long it may be active.
    pub active_deadline: Option<Duration>,
    /// How many pods may fail.
    pub backoff_limit: i32,
    /// Pods that are being deleted are replaced only once they have ended (`podReplacementPolicy: Failed`).
    pub replace_only_failed: bool,
    /// Hold its pods back.
    pub suspend: bool,
    /// Which controller is to work on it.
    pub managed_by: Option<String>,
    /// Which pods are its own; none matches nothing.
    pub selector: Option<Selector>,
    /// Fields this controller does not know how to honour.
    pub unsupported: Vec<&'static str>,
}

/// `spec.completionMode`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompletionMode {
    /// Any pod's success counts as any other's.
    NonIndexed,
    /// Each completion has an index.
    Indexed,
    /// One that this controller does not know.
    Unknown(String),
}

/// What a Job's pods are made from.
#[derive(Clone, Debug)]
pub struct Template {
    /// The JSON of `spec.template`, as it came.
    pub json: Box<RawValue>,
    /// Containers that fail are started again in place (`restartPolicy: OnFailure`).
    pub restarts_on_failure: bool,
    /// Its pods carry the label that the pod watch is narrowed to.
    pub labelled: bool,
}

/// A Pod, as decisions see it.
#[derive(Clone, Debug)]
pub struct PodView {
    /// Which Pod, in which version.
    pub identity: Identity,
    /// Its controlling owner.
    pub owner: Option<Owner>,
    /// It carries the tracking finalizer: it is not accounted for.
    pub tracked: bool,
    /// It carries finalizers, so it cannot vanish at once.
    pub held: bool,
    /// Its labels.
    pub labels: Labels,
    /// When it was created.
    pub created: Timestamp,
    /// It is being deleted.
    pub deleting: bool,
    /// It has a node.
    pub scheduled: bool,
    /// Where it is in its life.
    pub phase: Phase,
    /// Since when it has been ready, if it is.
    pub ready_since: Option<Timestamp>,
    /// How often its containers were started again, all together.
    pub restarts: i64,
    /// The most restarts of one of its app containers, and of one of its sidecars.
    pub most_restarts: (i32, i32),
    /// When it ended, as well as can be told; meaningful only if it has.
    pub finished_at: Timestamp,
}

/// The controlling owner of a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its UID.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// It is a `batch/v1` Job.
    pub is_job: bool,
}

/// `status.phase` of a Pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names of the API's phases")]
pub enum Phase {
    // In the order in which surplus pods are deleted.
    #[default]
    Pending,
    Unknown,
    Running,
    Succeeded,
    Failed,
}

impl PodView {
    /// Neither ended nor being deleted.
    pub fn is_active(&self) -> bool {
        !self.is_ended() && !self.deleting
    }

    /// Being deleted, and not ended yet.
    pub fn is_terminating(&self) -> bool {
        !self.is_ended() && self.deleting
    }

    /// Succeeded or failed.
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// Active and ready.
    pub fn is_ready(&self) -> bool {
        self.is_active() && self.ready_since.is_some()
    }

    /// Failed as its Job counts it: a pod that is being deleted may never get to the Failed phase, so it counts as
    /// failed, unless the Job waits for that phase (`podReplacementPolicy: Failed`,
    /// [KEP-3939](https://github.com/kubernetes/enhancements/tree/master/keps/sig-apps/3939-allow-replacement-when-fully-terminated)).
    pub fn is_failed(&self, spec: &JobSpec) -> bool {
        self.phase == Phase::Failed || (!spec.replace_only_failed && self.deleting && self.phase != Phase::Succeeded)
    }

    /// Parses a pod; none if it lacks what every stored object has.
    pub fn parse(wire: WirePod) -> Option<Self> {
        let WirePod { metadata, spec, status } = wire;
        let identity = identity(&metadata)?;
        let created = metadata.creation_timestamp.as_ref().map(|time| time.0).unwrap_or_default();
        let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
        let sidecars: Vec<&str> = spec
            .init_containers
            .iter()
            .flatten()
            .filter(|container| container.restart_policy.as_deref() == Some("Always"))
            .map(|container| container.name.as_str())
            .collect();
        let ready = find_condition(&status, "Ready");
        let is_sidecar = |status: &&WireContainerStatus| sidecars.contains(&status.name.as_str());
        let apps = || status.container_statuses.iter().flatten();
        let inits = || status.init_container_statuses.iter().flatten();
        let most = |counts: &mut dyn Iterator<Item = i32>| counts.max().unwrap_or_default();
        let finished_at = containers_finished(apps().chain(inits().filter(is_sidecar)))
            .or_else(|| ready.filter(|ready| ready.status == "False").and_then(|ready| ready.last_transition_time))
            .or_else(|| deleted_at(&metadata))
            .unwrap_or(created);
        Some(Self {
            owner: metadata.owner_references.iter().flatten().find_map(owner),
            tracked: finalizers.iter().any(|finalizer| finalizer == TRACKING_FINALIZER),
            held: !finalizers.is_empty(),
            created,
            deleting: metadata.deletion_timestamp.is_some(),
            scheduled: spec.node_name.as_deref().is_some_and(|node| !node.is_empty()),
            phase: phase(status.phase.as_deref()),
            ready_since: ready
                .filter(|ready| ready.status == "True")
                .map(|ready| ready.last_transition_time.unwrap_or_default()),
            restarts: apps().chain(inits()).map(|status| i64::from(status.restart_count)).sum(),
            most_restarts: (
                most(&mut apps().map(|status| status.restart_count)),
                most(&mut inits().filter(is_sidecar).map(|status| status.restart_count)),
            ),
            finished_at,
            labels: metadata.labels.unwrap_or_default(),
            identity,
        })
    }
}

impl JobView {
    /// Parses a Job; none if it lacks what every stored object has.
    pub fn parse(wire: WireJob) -> Option<Self> {
        let WireJob { metadata, spec, status } = wire;
        let identity = identity(&metadata)?;
        let mut unsupported = Vec::new();
        let fields = [
            ("spec.backoffLimitPerIndex", spec.backoff_limit_per_index.is_some()),
            ("spec.podFailurePolicy", spec.pod_failure_policy.is_some()),
            ("spec.successPolicy", spec.success_policy.is_some()),
            ("spec.completionMode: Indexed", spec.completion_mode.as_deref() == Some("Indexed")),
        ];
        unsupported.extend(fields.iter().filter(|(_, set)| *set).map(|(field, _)| *field));
        let completion_mode = match spec.completion_mode.as_deref() {
            None | Some("NonIndexed") => CompletionMode::NonIndexed,
            Some("Indexed") => CompletionMode::Indexed,
            Some(other) => CompletionMode::Unknown(other.to_owned()),
        };
        Some(Self {
            deleting: metadata.deletion_timestamp.is_some(),
            held: metadata.finalizers.is_some_and(|finalizers| !finalizers.is_empty()),
            spec: JobSpec {
                parallelism: spec.parallelism.unwrap_or(1),
                completions: spec.completions,
                completion_mode,
                active_deadline: spec
                    .active_deadline_seconds
                    .map(|seconds| Duration::from_secs(seconds.try_into().unwrap_or_default())),
                backoff_limit: spec.backoff_limit.unwrap_or(6),
                replace_only_failed: spec.pod_replacement_policy.as_deref() == Some("Failed"),
                suspend: spec.suspend.unwrap_or_default(),
                managed_by: spec.managed_by,
                selector: spec.selector.and_then(|selector| Selector::try_from(selector).ok()),
                unsupported,
            },
            status: JobStatus::from(status),
            template: Arc::new(Template::parse(spec.template)),
            identity,
        })
    }

    /// Whether a pod with these labels is one of its own.
    pub fn selects(&self, labels: &Labels) -> bool {
        self.spec.selector.as_ref().is_some_and(|selector| selector.matches(labels))
    }
}

impl Template {
    fn parse(json: Box<RawValue>) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Facts {
            metadata: Metadata,
            spec: Spec,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Metadata {
            labels: Option<Labels>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Spec {
            restart_policy: Option<String>,
        }
        let facts: Facts = serde_json::from_str(json.get()).unwrap_or_default();
        Self {
            restarts_on_failure: facts.spec.restart_policy.as_deref() == Some("OnFailure"),
            labelled: facts.metadata.labels.is_some_and(|labels| labels.contains_key(CONTROLLER_UID_LABEL)),
            json,
        }
    }
}

impl Cached for PodView {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn controller(&self) -> Option<&Uid> {
        self.owner.as_ref().map(|owner| &owner.uid)
    }

    /// Ended, accounted for, and still one of its Job's own.
    fn is_settled(&self) -> bool {
        let labelled = self.labels.get(CONTROLLER_UID_LABEL).map(String::as_str);
        self.is_ended() && !self.tracked && labelled.is_some() && labelled == self.controller().map(Uid::as_str)
    }

    fn is_held(&self) -> bool {
        self.held
    }
}

impl Cached for JobView {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn controller(&self) -> Option<&Uid> {
        None
    }

    fn is_settled(&self) -> bool {
        false
    }

    fn is_held(&self) -> bool {
        self.held
    }
}

fn identity(metadata: &ObjectMeta) -> Option<Identity> {
    Some(Identity {
        namespace: metadata.namespace.as_deref()?.into(),
        name: metadata.name.as_deref()?.into(),
        uid: metadata.uid.as_deref()?.into(),
        resource_version: ResourceVersion::parse(metadata.resource_version.as_deref()?)?,
    })
}

fn owner(reference: &OwnerReference) -> Option<Owner> {
    (reference.controller == Some(true)).then(|| Owner {
        uid: reference.uid.as_str().into(),
        name: reference.name.clone(),
        is_job: reference.kind == KIND && reference.api_version == API_VERSION,
    })
}

fn phase(text: Option<&str>) -> Phase {
    match text {
        Some("Running") => Phase::Running,
        Some("Succeeded") => Phase::Succeeded,
        Some("Failed") => Phase::Failed,
        Some("Unknown") => Phase::Unknown,
        _ => Phase::Pending,
    }
}

fn find_condition<'a>(status: &'a WirePodStatus, type_: &str) -> Option<&'a WireCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == type_)
}

/// The last end of these containers, if all have ended.
fn containers_finished<'a>(statuses: impl Iterator<Item = &'a WireContainerStatus>) -> Option<Timestamp> {
    let mut latest = None;
    for status in statuses {
        let finished = status.state.terminated.as_ref()?.finished_at?;
        latest = latest.max(Some(finished));
    }
    latest
}

/// When somebody asked for its deletion: the API server stores when it is to be gone.
fn deleted_at(metadata: &ObjectMeta) -> Option<Timestamp> {
    let gone_by = metadata.deletion_timestamp.as_ref()?.0;
    let grace =
        Duration::from_secs(metadata.deletion_grace_period_seconds.unwrap_or_default().try_into().unwrap_or_default());
    gone_by.checked_sub(grace).ok()
}
