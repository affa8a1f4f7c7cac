//! Construction of Pods from a Job's template, in the encoding in which the template arrived.

mod json;
mod protobuf;

use serde_json::{Value, json};
use thiserror::Error;

use super::decide::{NewPod, Raised};
use super::template::WireTemplate;
use super::view::JobView;
use super::view::memory::{MEMORY_ANNOTATION, MemorySizes};
use super::{
    API_VERSION, IGNORED_FAILURES_ANNOTATION, INDEX_ANNOTATION, INDEX_FAILURES_ANNOTATION, KIND, TRACKING_FINALIZER,
};
use crate::runtime::codec::{DecodeError, Encoded};
use crate::runtime::errors::WriteError;
use crate::runtime::quantity;

/// Maximum length of `generateName` that the API server keeps. The API server cuts the end of a longer prefix, where
/// the index is.
const LONGEST_PREFIX: usize = 58;
/// Field of the pod that the variable with the index refers to.
const INDEX_FIELD_PATH: &str = "metadata.labels['batch.kubernetes.io/job-completion-index']";

/// Error of a template that cannot be made into a pod. The API server stores no such template.
#[derive(Debug, Error)]
#[error("the template of the Job is invalid: {0}")]
pub struct TemplateError(#[from] DecodeError);

impl From<serde_json::Error> for TemplateError {
    fn from(error: serde_json::Error) -> Self {
        Self(error.into())
    }
}

impl From<TemplateError> for WriteError {
    fn from(error: TemplateError) -> Self {
        kube::Error::from(error.0).into()
    }
}

/// The part that all pods of a Job share: the labels, annotations, finalizers and spec of the template, the tracking
/// finalizer, and the Job as controlling owner.
pub struct PodBuilder {
    job_name: String,
    shared: Shared,
}

enum Shared {
    Json(Value),
    Protobuf(protobuf::Shared),
}

/// The fields of a pod that depend on its completion index.
struct IndexedFields {
    index: String,
    generate_name: String,
    hostname: String,
    annotations: Vec<(&'static str, String)>,
}

impl IndexedFields {
    fn of(job: &str, new: &NewPod) -> Option<Self> {
        let index = new.index?.to_string();
        let mut annotations = vec![(INDEX_ANNOTATION, index.clone())];
        if let Some(failures) = new.failures {
            annotations.push((INDEX_FAILURES_ANNOTATION, failures.counted.to_string()));
            if failures.ignored > 0 {
                annotations.push((IGNORED_FAILURES_ANNOTATION, failures.ignored.to_string()));
            }
        }
        let (generate_name, hostname) = (indexed_prefix(job, &index), format!("{job}-{index}"));
        Some(Self { index, generate_name, hostname, annotations })
    }
}

/// Fields of the spec with other values than the template states.
#[derive(Default)]
struct RaisedFields {
    /// Limit and request of each container, as quantities. Those that the template does not set are none.
    containers: Vec<(String, Option<String>, Option<String>)>,
    /// Text of the annotation that records the memory on the pod.
    annotation: String,
    /// `activeDeadlineSeconds`.
    deadline_seconds: Option<u32>,
}

impl RaisedFields {
    fn of(job: &JobView, raised: &Raised) -> Self {
        let memory = raised.memory.as_ref().map(|sizes| Self::memory(job, sizes)).unwrap_or_default();
        Self { deadline_seconds: raised.deadline_seconds, ..memory }
    }

    fn memory(job: &JobView, sizes: &MemorySizes) -> Self {
        let template = job.template_memory();
        let containers = template.iter().filter_map(|memory| {
            let (limit, request) = memory.resized(sizes.of(&memory.name)?);
            Some((memory.name.clone(), limit.map(quantity::text), request.map(quantity::text)))
        });
        Self { containers: containers.collect(), annotation: sizes.text(), deadline_seconds: None }
    }
}

impl PodBuilder {
    /// Builds the shared part from the Job's template. `group` is the name of the PodGroup to which the pods belong, and
    /// `raised` has what the pods get more of than the template states.
    ///
    /// # Errors
    /// Returns an error if the template is invalid. The API server stores no such Job.
    pub fn new(job: &JobView, group: Option<&str>, raised: &Raised) -> Result<Self, TemplateError> {
        let raised = RaisedFields::of(job, raised);
        let shared = match &job.template.wire {
            // A finished Job gets no more pods, so its template is not kept.
            None => return Err(DecodeError::Missing("spec.template").into()),
            Some(WireTemplate::Json(template)) => Shared::Json(json::shared(job, template, group, &raised)?),
            Some(WireTemplate::Protobuf(template)) => {
                Shared::Protobuf(protobuf::Shared::new(job, template, group, &raised)?)
            }
        };
        Ok(Self { job_name: job.identity.name.to_string(), shared })
    }

    /// Returns the body of the request that creates a pod.
    ///
    /// # Errors
    /// Returns an error if serialization fails, which no parsed template can cause.
    pub fn pod(&self, new: &NewPod) -> Result<Encoded, TemplateError> {
        let indexed = IndexedFields::of(&self.job_name, new);
        Ok(match &self.shared {
            Shared::Json(shared) => Encoded::json(json::pod(shared, indexed.as_ref())?),
            Shared::Protobuf(shared) => shared.pod(indexed.as_ref()),
        })
    }
}

/// Returns `generateName` for an index. The Job's name is cut where the API server would cut the index otherwise.
fn indexed_prefix(job: &str, index: &str) -> String {
    let end = format!("-{index}-");
    let room = job.floor_char_boundary(LONGEST_PREFIX.saturating_sub(end.len()).min(job.len()));
    format!("{}{end}", &job[..room])
}

/// Returns the patch that removes the tracking finalizer from the pod with this UID.
pub fn untracking(uid: &str) -> Value {
    json!({"metadata": {"uid": uid, "$deleteFromPrimitiveList/finalizers": [TRACKING_FINALIZER]}})
}

/// Returns the owner reference that makes a Job the controlling owner.
pub fn owner_reference(job: &JobView) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": &*job.identity.name,
        "uid": job.identity.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::INDEX_VARIABLE;
    use crate::job::view::{CompletionMode, IndexFailures};
    use crate::job::wire::WireJob;

    fn job(template: &Value) -> JobView {
        let wire = json!({
            "metadata": {"name": "count", "namespace": "default", "uid": "u1", "resourceVersion": "1"},
            "spec": {"template": template},
        });
        let wire: WireJob = serde_json::from_str(&wire.to_string()).unwrap();
        JobView::parse(wire).unwrap()
    }

    fn pod(job: &JobView, new: &NewPod) -> Value {
        serde_json::from_slice(&PodBuilder::new(job, None, &Raised::default()).unwrap().pod(new).unwrap().bytes)
            .unwrap()
    }

    fn indexed(template: &Value) -> JobView {
        JobView {
            spec: crate::job::view::JobSpec { completion_mode: CompletionMode::Indexed, ..job(template).spec },
            ..job(template)
        }
    }

    #[test]
    fn pod_takes_labels_annotations_finalizers_and_spec_from_the_template() {
        let template = json!({
            "metadata": {
                "name": "ignored", "labels": {"app": "a"}, "annotations": {"note": "b"}, "finalizers": ["example.com/mine"],
            },
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c"}], "fieldOfTheFuture": 1},
        });
        let pod = pod(&job(&template), &NewPod::default());
        assert_eq!(
            pod["metadata"],
            json!({
                "generateName": "count-",
                "labels": {"app": "a"},
                "annotations": {"note": "b"},
                "finalizers": ["example.com/mine", TRACKING_FINALIZER],
                "ownerReferences": [{
                    "apiVersion": "batch/v1", "kind": "Job", "name": "count", "uid": "u1",
                    "controller": true, "blockOwnerDeletion": true,
                }],
            })
        );
        assert_eq!(pod["spec"], template["spec"]);
    }

    #[test]
    fn pod_of_a_group_names_the_group_and_has_no_other_owner() {
        let job = job(&json!({"spec": {"restartPolicy": "Never"}}));
        let body = PodBuilder::new(&job, Some("train-g"), &Raised::default()).unwrap().pod(&NewPod::default()).unwrap();
        let pod: Value = serde_json::from_slice(&body.bytes).unwrap();
        let spec = json!({"restartPolicy": "Never", "schedulingGroup": {"podGroupName": "train-g"}});
        assert_eq!(pod["spec"], spec);
        assert_eq!(pod["metadata"]["ownerReferences"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn raised_memory_is_set_where_the_template_sets_memory_and_recorded_on_the_pod() {
        let resources = |limit: Option<&str>, request: Option<&str>| json!({"limits": {"cpu": "1", "memory": limit}, "requests": {"memory": request}});
        let job = job(&json!({
            "metadata": {"annotations": {"note": "b"}},
            "spec": {
                "initContainers": [{"name": "init", "resources": resources(Some("64Mi"), None)}],
                "containers": [
                    {"name": "main", "resources": resources(Some("100Mi"), Some("50Mi"))},
                    {"name": "other", "resources": resources(Some("10Mi"), None)},
                    {"name": "bare"},
                ],
            },
        }));
        let sizes = [("init", 128), ("main", 200), ("bare", 7)].map(|(name, size)| (name.into(), size << 20));
        let sizes = MemorySizes::from_iter(sizes);
        let raised = Raised { memory: Some(sizes.clone()), deadline_seconds: None };
        let body = PodBuilder::new(&job, None, &raised).unwrap().pod(&NewPod::default()).unwrap();
        let pod: Value = serde_json::from_slice(&body.bytes).unwrap();
        let spec = &pod["spec"];
        assert_eq!(spec["initContainers"][0]["resources"]["limits"], json!({"cpu": "1", "memory": "128Mi"}));
        assert_eq!(spec["containers"][0]["resources"]["limits"]["memory"], "200Mi");
        assert_eq!(spec["containers"][0]["resources"]["requests"]["memory"], "100Mi");
        assert_eq!(spec["containers"][1]["resources"], resources(Some("10Mi"), None));
        assert_eq!(spec["containers"][2], json!({"name": "bare"}));
        let recorded = json!({"note": "b", "jobwright.dev/memory": sizes.text()});
        assert_eq!(pod["metadata"]["annotations"], recorded);
    }

    #[test]
    fn raised_deadline_replaces_the_one_of_the_template() {
        let job = job(&json!({"spec": {"activeDeadlineSeconds": 10, "restartPolicy": "Never"}}));
        let raised = Raised { memory: None, deadline_seconds: Some(20) };
        let body = PodBuilder::new(&job, None, &raised).unwrap().pod(&NewPod::default()).unwrap();
        let pod: Value = serde_json::from_slice(&body.bytes).unwrap();
        assert_eq!(pod["spec"], json!({"activeDeadlineSeconds": 20, "restartPolicy": "Never"}));
        assert_eq!(pod["metadata"].get("annotations"), None);
    }

    #[test]
    fn tracking_finalizer_of_the_template_is_not_added_twice() {
        let template = json!({"metadata": {"finalizers": [TRACKING_FINALIZER]}, "spec": {}});
        let pod = pod(&job(&template), &NewPod::default());
        assert_eq!(pod["metadata"]["finalizers"], json!([TRACKING_FINALIZER]));
    }

    #[test]
    fn pod_of_an_index_has_it_in_name_hostname_metadata_and_environment() {
        let template = json!({
            "metadata": {"labels": {"app": "a"}, "annotations": {INDEX_ANNOTATION: "overwritten"}},
            "spec": {
                "hostname": "overwritten",
                "initContainers": [{"name": "init"}],
                "containers": [
                    {"name": "plain", "env": [{"name": "A", "value": "b"}]},
                    {"name": "own", "env": [{"name": INDEX_VARIABLE, "value": "mine"}]},
                ],
            },
        });
        let failures = Some(IndexFailures { counted: 2, ignored: 0 });
        let pod = pod(&indexed(&template), &NewPod { index: Some(7), failures });
        assert_eq!(pod["metadata"]["generateName"], "count-7-");
        assert_eq!(pod["metadata"]["labels"], json!({"app": "a", INDEX_ANNOTATION: "7"}));
        assert_eq!(pod["metadata"]["annotations"], json!({INDEX_ANNOTATION: "7", INDEX_FAILURES_ANNOTATION: "2"}));
        assert_eq!(pod["spec"]["hostname"], "count-7");
        let variable = json!({
            "name": "JOB_COMPLETION_INDEX",
            "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"}},
        });
        assert_eq!(pod["spec"]["initContainers"][0]["env"], json!([variable]));
        assert_eq!(pod["spec"]["containers"][0]["env"], json!([{"name": "A", "value": "b"}, variable]));
        assert_eq!(pod["spec"]["containers"][1]["env"], json!([{"name": INDEX_VARIABLE, "value": "mine"}]));
    }

    #[test]
    fn annotation_of_ignored_failures_is_added_only_if_there_are_any() {
        let failures = Some(IndexFailures { counted: 0, ignored: 3 });
        let pod = pod(&indexed(&json!({"spec": {}})), &NewPod { index: Some(0), failures });
        assert_eq!(
            pod["metadata"]["annotations"],
            json!({INDEX_ANNOTATION: "0", INDEX_FAILURES_ANNOTATION: "0", IGNORED_FAILURES_ANNOTATION: "3"})
        );
    }

    #[test]
    fn variable_with_the_index_refers_to_the_label_of_the_pod() {
        assert_eq!(INDEX_FIELD_PATH, format!("metadata.labels['{INDEX_ANNOTATION}']"));
    }

    #[test]
    fn long_job_name_is_cut_so_that_the_index_stays() {
        assert_eq!(indexed_prefix("short", "12"), "short-12-");
        let long = "j".repeat(63);
        assert_eq!(indexed_prefix(&long, "12"), format!("{}-12-", "j".repeat(54)));
        assert_eq!(indexed_prefix(&"j".repeat(54), "12").len(), 58);
    }
}
