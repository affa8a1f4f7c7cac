//! Construction of Pods from a Job's template.

use serde_json::{Map, Value, json};

use super::decide::NewPod;
use super::view::JobView;
use super::{
    API_VERSION, IGNORED_FAILURES_ANNOTATION, INDEX_ANNOTATION, INDEX_FAILURES_ANNOTATION, INDEX_VARIABLE, KIND,
    TRACKING_FINALIZER,
};

/// Maximum length of `generateName` that the API server keeps. The API server cuts the end of a longer prefix, where
/// the index is.
const LONGEST_PREFIX: usize = 58;

/// The part that all pods of a Job share: the labels, annotations, finalizers and spec of the template, the tracking
/// finalizer, and the Job as controlling owner.
pub struct PodBuilder {
    job_name: String,
    pod: Value,
}

impl PodBuilder {
    /// Builds the shared part from the Job's template.
    ///
    /// # Errors
    /// Returns an error if the template is not a JSON object. The API server stores no such Job.
    pub fn new(job: &JobView) -> serde_json::Result<Self> {
        let mut template: Map<String, Value> = serde_json::from_str(job.template.json.get())?;
        let mut given = match template.remove("metadata") {
            Some(Value::Object(metadata)) => metadata,
            _ => Map::new(),
        };
        let mut metadata = Map::new();
        for field in ["labels", "annotations"] {
            if let Some(value) = given.remove(field) {
                metadata.insert(field.to_owned(), value);
            }
        }
        let mut finalizers = match given.remove("finalizers") {
            Some(Value::Array(finalizers)) => finalizers,
            _ => Vec::new(),
        };
        if !finalizers.iter().any(|finalizer| finalizer == TRACKING_FINALIZER) {
            finalizers.push(json!(TRACKING_FINALIZER));
        }
        metadata.insert("finalizers".to_owned(), Value::Array(finalizers));
        metadata.insert("generateName".to_owned(), json!(format!("{}-", job.identity.name)));
        metadata.insert("ownerReferences".to_owned(), json!([owner_reference(job)]));
        let mut spec = template.remove("spec").unwrap_or_default();
        if job.is_indexed() {
            inject_index_env(&mut spec);
        }
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
        Ok(Self { job_name: job.identity.name.to_string(), pod })
    }

    /// Returns the body of the request that creates a pod.
    ///
    /// # Errors
    /// Returns an error if serialization fails, which no parsed template can cause.
    pub fn pod(&self, new: &NewPod) -> serde_json::Result<Vec<u8>> {
        let Some(index) = new.index else { return serde_json::to_vec(&self.pod) };
        let mut pod = self.pod.clone();
        let text = index.to_string();
        let metadata = &mut pod["metadata"];
        metadata["generateName"] = json!(indexed_prefix(&self.job_name, &text));
        metadata["labels"][INDEX_ANNOTATION] = json!(text);
        metadata["annotations"][INDEX_ANNOTATION] = json!(text);
        if let Some(failures) = new.failures {
            metadata["annotations"][INDEX_FAILURES_ANNOTATION] = json!(failures.counted.to_string());
            if failures.ignored > 0 {
                metadata["annotations"][IGNORED_FAILURES_ANNOTATION] = json!(failures.ignored.to_string());
            }
        }
        pod["spec"]["hostname"] = json!(format!("{}-{text}", self.job_name));
        serde_json::to_vec(&pod)
    }
}

/// Adds the variable that holds the pod's index to every container that does not define that variable.
fn inject_index_env(spec: &mut Value) {
    let variable = json!({
        "name": INDEX_VARIABLE,
        "valueFrom": {"fieldRef": {"fieldPath": format!("metadata.labels['{INDEX_ANNOTATION}']")}},
    });
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let defined =
                container["env"].as_array().is_some_and(|env| env.iter().any(|is| is["name"] == INDEX_VARIABLE));
            if !defined {
                match container["env"].as_array_mut() {
                    Some(env) => env.push(variable.clone()),
                    None => container["env"] = json!([variable]),
                }
            }
        }
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
        serde_json::from_slice(&PodBuilder::new(job).unwrap().pod(new).unwrap()).unwrap()
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
    fn long_job_name_is_cut_so_that_the_index_stays() {
        assert_eq!(indexed_prefix("short", "12"), "short-12-");
        let long = "j".repeat(63);
        assert_eq!(indexed_prefix(&long, "12"), format!("{}-12-", "j".repeat(54)));
        assert_eq!(indexed_prefix(&"j".repeat(54), "12").len(), 58);
    }
}
