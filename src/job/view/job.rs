//! A Job, as decisions see it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::core::{Selector, SelectorExt};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::admission_info::AdmissionInfo;
use super::kueue;
use super::policies::{FailureRule, SuccessRule};
use super::retention::Retention;
use super::{Labels, PodView, identity};
use crate::job::index::CompletionIndex;
use crate::job::managed_by::BUILTIN_FIELD_MANAGER;
use crate::job::status::JobStatus;
use crate::job::wire::WireJob;
use crate::job::{CONTROLLER_UID_LABEL, FAILURE_ANNOTATION};
use crate::runtime::cache::Cached;
use crate::runtime::identity::{Identity, Uid};

/// A Job, as decisions see it.
#[derive(Clone, Debug)]
pub struct JobView {
    /// Which Job, in which version.
    pub identity: Identity,
    /// The UID of its controlling owner, such as a CronJob.
    pub owner: Option<Uid>,
    /// Its generation: another one means that its spec was changed.
    pub generation: Option<i64>,
    /// It is being deleted.
    pub deleting: bool,
    /// It carries finalizers, so it cannot vanish at once.
    pub has_finalizers: bool,
    /// What the user asked for.
    pub spec: JobSpec,
    /// What is stored of its progress.
    pub status: JobStatus,
    /// What its pods are made from.
    pub template: Arc<Template>,
    /// When kube-controller-manager last wrote its status, if ever.
    pub last_kcm_status_write: Option<Timestamp>,
    /// An annotation of it says why it failed.
    pub has_failure_report: bool,
    /// How long it is kept after its end, by its annotations.
    pub retention: Retention,
    /// Where it stands among others that limits are for too.
    pub admission_info: AdmissionInfo,
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
    /// How many pods of one index may fail.
    pub backoff_limit_per_index: Option<i32>,
    /// How many indexes may fail.
    pub max_failed_indexes: Option<i32>,
    /// What pod failures mean (`podFailurePolicy`).
    pub failure_rules: Option<Arc<[FailureRule]>>,
    /// Which indexes make a success (`successPolicy`).
    pub success_rules: Option<Arc<[SuccessRule]>>,
    /// Pods that are being deleted are replaced only once they have ended (`podReplacementPolicy: Failed`).
    pub replace_only_failed: bool,
    /// Hold its pods back.
    pub suspend: bool,
    /// How long after its end it is deleted.
    pub ttl: Option<Duration>,
    /// Which controller is to work on it.
    pub managed_by: Option<String>,
    /// Which pods are its own; none matches nothing.
    pub selector: Option<Selector>,
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
    /// Kueue has admitted the Job's owner, or manages each pod.
    pub managed_by_kueue: bool,
}

impl JobView {
    /// Parses a Job; none if it lacks what every stored object has.
    pub fn parse(wire: WireJob) -> Option<Self> {
        let WireJob { metadata, spec, status } = wire;
        let identity = identity(&metadata)?;
        let completion_mode = match spec.completion_mode.as_deref() {
            None | Some("NonIndexed") => CompletionMode::NonIndexed,
            Some("Indexed") => CompletionMode::Indexed,
            Some(other) => CompletionMode::Unknown(other.to_owned()),
        };
        let indexes = index_count(spec.completions);
        let last_kcm_status_write = metadata.managed_fields.iter().flatten().filter(|entry| {
            entry.subresource.as_deref() == Some("status") && entry.manager.as_deref() == Some(BUILTIN_FIELD_MANAGER)
        });
        Some(Self {
            owner: metadata
                .owner_references
                .iter()
                .flatten()
                .find(|owner| owner.controller == Some(true))
                .map(|owner| owner.uid.as_str().into()),
            generation: metadata.generation,
            deleting: metadata.deletion_timestamp.is_some(),
            has_finalizers: metadata.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty()),
            last_kcm_status_write: last_kcm_status_write
                .filter_map(|entry| entry.time.as_ref())
                .map(|time| time.0)
                .max(),
            spec: JobSpec {
                parallelism: spec.parallelism.unwrap_or(1),
                completions: spec.completions,
                completion_mode,
                active_deadline: spec
                    .active_deadline_seconds
                    .map(|seconds| Duration::from_secs(seconds.try_into().unwrap_or_default())),
                backoff_limit: spec.backoff_limit.unwrap_or(6),
                backoff_limit_per_index: spec.backoff_limit_per_index,
                max_failed_indexes: spec.max_failed_indexes,
                failure_rules: spec.pod_failure_policy.map(|policy| FailureRule::parse_all(policy).into()),
                success_rules: spec.success_policy.map(|policy| SuccessRule::parse_all(policy, indexes).into()),
                replace_only_failed: spec.pod_replacement_policy.as_deref() == Some("Failed"),
                suspend: spec.suspend.unwrap_or_default(),
                ttl: spec
                    .ttl_seconds_after_finished
                    .map(|seconds| Duration::from_secs(seconds.try_into().unwrap_or_default())),
                managed_by: spec.managed_by,
                selector: spec.selector.and_then(|selector| Selector::try_from(selector).ok()),
            },
            status: JobStatus::parse(status, indexes),
            template: Arc::new(Template::parse(spec.template)),
            has_failure_report: metadata
                .annotations
                .as_ref()
                .is_some_and(|annotations| annotations.contains_key(FAILURE_ANNOTATION)),
            retention: Retention::parse(metadata.annotations.as_ref()),
            admission_info: AdmissionInfo::parse(&metadata),
            identity,
        })
    }

    /// Whether a pod with these labels is one of its own.
    pub fn selects(&self, labels: &Labels) -> bool {
        self.spec.selector.as_ref().is_some_and(|selector| selector.matches(labels))
    }

    /// Whether Kueue decides when its pods start.
    pub fn is_managed_by_kueue(&self) -> bool {
        self.admission_info.managed_by_kueue || self.template.managed_by_kueue
    }

    /// Whether each completion has an index.
    pub fn is_indexed(&self) -> bool {
        self.spec.completion_mode == CompletionMode::Indexed
    }

    /// How many indexes an Indexed Job has.
    pub fn indexes(&self) -> u32 {
        index_count(self.spec.completions)
    }

    /// The index of a pod, if it is one of this Job's.
    pub fn index_of(&self, pod: &PodView) -> Option<CompletionIndex> {
        pod.index.filter(|index| *index < self.indexes())
    }

    /// Whether a pod's end can count: in an Indexed Job, only that of a pod with one of its indexes.
    pub fn can_count(&self, pod: &PodView) -> bool {
        !self.is_indexed() || self.index_of(pod).is_some()
    }
}

fn index_count(completions: Option<i32>) -> u32 {
    completions.and_then(|completions| completions.try_into().ok()).unwrap_or_default()
}

impl Template {
    fn parse(json: Box<RawValue>) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Facts {
            metadata: Option<Metadata>,
            spec: Spec,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Metadata {
            labels: Option<Labels>,
            annotations: Option<Labels>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Spec {
            restart_policy: Option<String>,
            scheduling_gates: Option<Vec<SchedulingGate>>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct SchedulingGate {
            name: String,
        }
        let facts: Facts = serde_json::from_str(json.get()).unwrap_or_default();
        let metadata = facts.metadata.unwrap_or_default();
        let (labels, annotations) = (metadata.labels, metadata.annotations);
        let gates = facts.spec.scheduling_gates.iter().flatten().map(|gate| gate.name.as_str());
        Self {
            managed_by_kueue: kueue::manages_template(labels.as_ref(), annotations.as_ref(), gates),
            restarts_on_failure: facts.spec.restart_policy.as_deref() == Some("OnFailure"),
            labelled: labels.is_some_and(|labels| labels.contains_key(CONTROLLER_UID_LABEL)),
            json,
        }
    }
}

impl Cached for JobView {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn controller(&self) -> Option<&Uid> {
        self.owner.as_ref()
    }

    fn is_accounted(&self) -> bool {
        false
    }

    fn has_finalizers(&self) -> bool {
        self.has_finalizers
    }
}
