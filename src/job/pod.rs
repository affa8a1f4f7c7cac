//! A Pod from a Job's template.

use serde_json::{Map, Value, json};

use super::view::JobView;
use super::{API_VERSION, KIND, TRACKING_FINALIZER};

/// The pod to create, as the API server takes it: the template's labels, annotations, finalizers and spec, with the
/// tracking finalizer and the Job as controlling owner.
///
/// # Errors
/// The template is not a JSON object; the API server stores no such Job.
pub fn from_template(job: &JobView) -> serde_json::Result<Value> {
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
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": template.remove("spec").unwrap_or_default(),
    }))
}

/// The reference that makes a Job the controlling owner.
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
    use crate::job::wire::WireJob;

    fn job(template: &Value) -> JobView {
        let wire = json!({
            "metadata": {"name": "count", "namespace": "default", "uid": "u1", "resourceVersion": "1"},
            "spec": {"template": template},
        });
        let wire: WireJob = serde_json::from_str(&wire.to_string()).unwrap();
        JobView::parse(wire).unwrap()
    }

    #[test]
    fn a_pod_takes_from_the_template_what_pods_may_have() {
        let template = json!({
            "metadata": {
                "name": "ignored", "labels": {"app": "a"}, "annotations": {"note": "b"}, "finalizers": ["example.com/mine"],
            },
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c"}], "fieldOfTheFuture": 1},
        });
        let pod = from_template(&job(&template)).unwrap();
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
    fn the_tracking_finalizer_is_there_once() {
        let template = json!({"metadata": {"finalizers": [TRACKING_FINALIZER]}, "spec": {}});
        let pod = from_template(&job(&template)).unwrap();
        assert_eq!(pod["metadata"]["finalizers"], json!([TRACKING_FINALIZER]));
    }
}
