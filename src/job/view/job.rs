//! The view of a Job: the parts of a stored Job that decisions use.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::admission_info::AdmissionInfo;
use super::after::After;
use super::controlling_owner;
use super::index_subset::IndexSubset;
use super::kueue;
use super::memory::ContainerMemory;
use super::policies::{FailureRule, SuccessRule};
use super::policy_annotations::PolicyAnnotations;
use super::retention::Retention;
use super::scheduling::{Delegation, Scheduling};
use super::{Labels, PodView, Selector, annotations, identity};
use crate::job::index::{CompletionIndex, IndexSet};
use crate::job::managed_by::BUILTIN_FIELD_MANAGER;
use crate::job::policy::POLICY_ANNOTATION;
use crate::job::status::JobStatus;
use crate::job::template::WireTemplate;
use crate::job::wire::WireJob;
use crate::job::{CONTROLLER_UID_LABEL, FAILURE_ANNOTATION, MAX_RESULT_BYTES, RESULT_ANNOTATION};
use crate::runtime::cache::Cached;
use crate::runtime::identity::{Identity, Uid};
use crate::runtime::intern::SharedText;
use crate::runtime::text::beginning;

/// Maximum number of bytes kept of the name of a JobPolicy. No object has a longer name.
const MAX_POLICY_NAME: usize = 253;

/// The view of a Job: the parts of a stored Job that decisions use.
#[derive(Clone, Debug)]
pub struct JobView {
    /// Namespace, name, UID and resourceVersion of the Job.
    pub identity: Identity,
    /// UID of the Job's controlling owner, such as a CronJob.
    pub owner: Option<Uid>,
    /// Generation of the Job. A different value means that the spec was changed.
    pub generation: Option<i64>,
    /// Whether the Job is being deleted.
    pub deleting: bool,
    /// Whether the Job has finalizers. If so, the API server does not remove the Job immediately when it is deleted.
    pub has_finalizers: bool,
    /// Parsed spec of the Job.
    pub spec: JobSpec,
    /// Stored status of the Job.
    pub status: JobStatus,
    /// Template of the Job's pods.
    pub template: Template,
    /// Time at which kube-controller-manager last wrote the Job's status, if it ever did.
    pub last_kcm_status_write: Option<Timestamp>,
    /// Whether the Job has the annotation with its failure report.
    pub has_failure_report: bool,
    /// Name of the JobPolicy that the Job names in its annotation.
    pub named_policy: Option<Box<str>>,
    /// Text of the annotation with the results of its pods. Kept only while the Job is unfinished.
    pub result: Option<Box<str>>,
    /// Jobs after which the Job starts.
    pub after: Option<Box<After>>,
    /// Annotations about the JobPolicy that governs the Job, if there are any.
    pub policy: Option<Box<PolicyAnnotations>>,
    /// How long the Job is kept after its end, according to its annotations.
    pub retention: Retention,
    /// Description of an annotation of Jobwright that has no effect, such as one with a misspelt name.
    pub annotation_problem: Option<Box<str>>,
    /// Indexes that the Job runs, if its annotation lists some; none if the Job runs all its indexes.
    pub index_subset: Option<Box<IndexSubset>>,
    /// Delegation of the PodGroup by the controller of the Job's owner, if the annotations contain one.
    pub delegation: Option<Box<Delegation>>,
    /// The Job's admission data, which limits read.
    pub admission_info: AdmissionInfo,
}

/// The parsed spec of a Job.
#[derive(Clone, Debug)]
pub struct JobSpec {
    /// Maximum number of pods that may be active concurrently.
    pub parallelism: i32,
    /// Number of pods that must succeed. `None` for a work queue, where one success means that the work is done.
    pub completions: Option<i32>,
    /// Whether each completion has an index.
    pub completion_mode: CompletionMode,
    /// Maximum duration for which the Job may be active.
    pub active_deadline: Option<Duration>,
    /// Maximum number of pods that may fail before the Job fails.
    pub backoff_limit: i32,
    /// Maximum number of pods of one index that may fail before the index fails.
    pub backoff_limit_per_index: Option<i32>,
    /// Maximum number of indexes that may fail before the Job fails.
    pub max_failed_indexes: Option<i32>,
    /// Rules about pod failures (`podFailurePolicy`).
    pub failure_rules: Option<Arc<[FailureRule]>>,
    /// Rules about the indexes that make the Job succeed (`successPolicy`).
    pub success_rules: Option<Arc<[SuccessRule]>>,
    /// Whether a pod that is being deleted is replaced only after it has ended (`podReplacementPolicy: Failed`).
    pub replace_only_failed: bool,
    /// Whether the Job is suspended and is to have no active pods.
    pub suspend: bool,
    /// How long the Job is kept after its end before it is deleted (`ttlSecondsAfterFinished`).
    pub ttl: Option<Duration>,
    /// Name of the controller that is to reconcile the Job.
    pub managed_by: Option<SharedText>,
    /// Selector of the Job's pods. `None` matches no pod.
    pub selector: Option<Selector>,
    /// How the scheduler treats the pods of the Job as a group (`scheduling`).
    pub scheduling: Option<Box<Scheduling>>,
}

/// The field `spec.completionMode` of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompletionMode {
    /// Completions have no index, and each successful pod counts as one completion.
    NonIndexed,
    /// Each completion has its own index.
    Indexed,
    /// A mode that this controller does not know.
    Unknown(String),
}

/// The template of a Job's pods.
#[derive(Clone, Debug)]
pub struct Template {
    /// The unparsed `spec.template`; none for a finished Job, which gets no more pods.
    pub wire: Option<WireTemplate>,
    /// Whether the kubelet restarts failed containers in place (`restartPolicy: OnFailure`).
    pub restarts_on_failure: bool,
    /// Whether the Job's pods have the label that the pod watch selects by.
    pub labelled: bool,
    /// Whether Kueue has admitted the Job's owner, or manages each pod.
    pub managed_by_kueue: bool,
    /// Whether the template names a scheduling group. The user, or another controller, then manages that group.
    pub has_scheduling_group: bool,
}

impl JobView {
    /// Parses a Job. Returns `None` if the metadata lacks a field that every stored object has.
    pub fn parse(wire: WireJob) -> Option<Self> {
        let WireJob { metadata, spec, status } = wire;
        let identity = identity(&metadata)?;
        let completion_mode = match spec.completion_mode.as_deref() {
            None | Some("NonIndexed") => CompletionMode::NonIndexed,
            Some("Indexed") => CompletionMode::Indexed,
            Some(other) => CompletionMode::Unknown(other.to_owned()),
        };
        let indexes = index_count(spec.completions);
        let index_subset = IndexSubset::parse(metadata.annotations.as_ref(), &completion_mode, indexes);
        let status = JobStatus::parse(status, indexes);
        let result = metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(RESULT_ANNOTATION))
            .filter(|_| !status.is_finished())
            .map(|text| beginning(text, MAX_RESULT_BYTES).into());
        let last_kcm_status_write = metadata.managed_fields.iter().flatten().filter(|entry| {
            entry.subresource.as_deref() == Some("status") && entry.manager.as_deref() == Some(BUILTIN_FIELD_MANAGER)
        });
        Some(Self {
            owner: controlling_owner(&metadata).map(|owner| owner.uid.as_str().into()),
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
                managed_by: spec.managed_by.map(SharedText::from),
                selector: spec.selector.and_then(Selector::parse),
                scheduling: spec.scheduling.map(Scheduling::parse).map(Box::new),
            },
            template: Template::parse(spec.template, status.is_finished()),
            status,
            has_failure_report: metadata
                .annotations
                .as_ref()
                .is_some_and(|annotations| annotations.contains_key(FAILURE_ANNOTATION)),
            named_policy: metadata
                .annotations
                .as_ref()
                .and_then(|annotations| annotations.get(POLICY_ANNOTATION))
                .map(|name| beginning(name, MAX_POLICY_NAME).into()),
            result,
            after: After::parse(metadata.annotations.as_ref()).map(Box::new),
            policy: Some(PolicyAnnotations::parse(metadata.annotations.as_ref()))
                .filter(|policy| *policy != PolicyAnnotations::default())
                .map(Box::new),
            retention: Retention::parse(metadata.annotations.as_ref()),
            annotation_problem: annotations::problem(metadata.annotations.as_ref()),
            index_subset: index_subset.map(Box::new),
            delegation: Delegation::parse(&metadata).map(Box::new),
            admission_info: AdmissionInfo::parse(&metadata),
            identity,
        })
    }

    /// Returns whether the Job's selector matches these labels.
    pub fn selects(&self, labels: &Labels) -> bool {
        self.spec.selector.as_ref().is_some_and(|selector| selector.matches(labels))
    }

    /// Returns whether Kueue decides when the Job's pods start.
    pub fn is_managed_by_kueue(&self) -> bool {
        self.admission_info.managed_by_kueue || self.template.managed_by_kueue
    }

    /// Returns the memory of the containers of the template.
    pub fn template_memory(&self) -> Vec<ContainerMemory> {
        self.template.wire.as_ref().map(WireTemplate::memory).unwrap_or_default()
    }

    /// Returns whether the Job is Indexed.
    pub fn is_indexed(&self) -> bool {
        self.spec.completion_mode == CompletionMode::Indexed
    }

    /// Returns the number of indexes of an Indexed Job.
    pub fn indexes(&self) -> u32 {
        index_count(self.spec.completions)
    }

    /// Returns the indexes that the Job runs, if its annotation lists valid ones; none if the Job runs all its indexes.
    pub fn listed_indexes(&self) -> Option<&IndexSet> {
        match self.index_subset.as_deref()? {
            IndexSubset::Listed(listed) => Some(listed),
            IndexSubset::Invalid(_) => None,
        }
    }

    /// Returns the description of an invalid list of indexes.
    pub fn invalid_indexes(&self) -> Option<&str> {
        match self.index_subset.as_deref()? {
            IndexSubset::Listed(_) => None,
            IndexSubset::Invalid(problem) => Some(problem),
        }
    }

    /// Returns whether the Job runs this index. A Job whose list is invalid keeps the pods that it has.
    pub fn runs_index(&self, index: CompletionIndex) -> bool {
        self.listed_indexes().is_none_or(|listed| listed.contains(index))
    }

    /// Returns the index of a pod, if this Job has that index.
    pub fn index_of(&self, pod: &PodView) -> Option<CompletionIndex> {
        pod.index.filter(|index| *index < self.indexes())
    }

    /// Returns whether the end of a pod can count. In an Indexed Job only pods with an index of the Job count.
    pub fn can_count(&self, pod: &PodView) -> bool {
        !self.is_indexed() || self.index_of(pod).is_some()
    }
}

fn index_count(completions: Option<i32>) -> u32 {
    completions.and_then(|completions| completions.try_into().ok()).unwrap_or_default()
}

impl Template {
    fn parse(wire: WireTemplate, finished: bool) -> Self {
        let facts = wire.facts();
        let gates = facts.scheduling_gates.iter().map(String::as_str);
        Self {
            managed_by_kueue: kueue::manages_template(Some(&facts.labels), Some(&facts.annotations), gates),
            restarts_on_failure: facts.restart_policy.as_deref() == Some("OnFailure"),
            labelled: facts.labels.contains_key(CONTROLLER_UID_LABEL),
            has_scheduling_group: facts.has_scheduling_group,
            // Most Jobs of a cluster are finished, and the template is the largest part of a Job.
            wire: Some(wire).filter(|_| !finished),
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

    fn has_finalizers(&self) -> bool {
        self.has_finalizers
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finished_job_keeps_the_facts_of_its_template_without_the_json() {
        let view = |conditions: serde_json::Value| {
            let template =
                json!({"metadata": {"labels": {CONTROLLER_UID_LABEL: "u"}}, "spec": {"restartPolicy": "OnFailure"}});
            let wire = json!({
                "metadata": {"name": "j", "namespace": "default", "uid": "u", "resourceVersion": "1"},
                "spec": {"template": template}, "status": {"conditions": conditions},
            });
            JobView::parse(serde_json::from_str(&wire.to_string()).unwrap()).unwrap().template
        };
        let (running, finished) = (view(json!([])), view(json!([{"type": "Failed", "status": "True"}])));
        assert!(matches!(&running.wire, Some(WireTemplate::Json(json)) if json.get().contains("OnFailure")));
        assert!(finished.wire.is_none());
        for template in [running, finished] {
            assert!(template.restarts_on_failure && template.labelled && !template.managed_by_kueue);
        }
    }
}
