//! Construction of Pods in JSON.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{INDEX_FIELD_PATH, IndexedFields, MEMORY_ANNOTATION, RaisedFields, owner_reference};
use crate::job::view::JobView;
use crate::job::{INDEX_ANNOTATION, INDEX_VARIABLE, TRACKING_FINALIZER};

/// Returns the part that all pods of a Job share.
///
/// # Errors
/// The template is not a JSON object. The API server stores no such Job.
pub(super) fn shared(
    job: &JobView,
    template: &RawValue,
    group: Option<&str>,
    raised: &RaisedFields,
) -> serde_json::Result<Value> {
    let mut template: Map<String, Value> = serde_json::from_str(template.get())?;
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
    if let Some(group) = group {
        spec["schedulingGroup"] = json!({"podGroupName": group});
    }
    if job.is_indexed() {
        inject_index_env(&mut spec);
    }
    if !raised.containers.is_empty() {
        metadata.entry("annotations").or_insert_with(|| json!({}))[MEMORY_ANNOTATION] = json!(raised.annotation);
        set_memory(&mut spec, raised);
    }
    if let Some(seconds) = raised.deadline_seconds {
        spec["activeDeadlineSeconds"] = json!(seconds);
    }
    Ok(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))
}

/// Returns the body of the request that creates a pod.
///
/// # Errors
/// The serialization failed, which no parsed template can cause.
pub(super) fn pod(shared: &Value, indexed: Option<&IndexedFields>) -> serde_json::Result<Vec<u8>> {
    let Some(indexed) = indexed else { return serde_json::to_vec(shared) };
    let mut pod = shared.clone();
    let metadata = &mut pod["metadata"];
    metadata["generateName"] = json!(indexed.generate_name);
    metadata["labels"][INDEX_ANNOTATION] = json!(indexed.index);
    for (key, value) in &indexed.annotations {
        metadata["annotations"][*key] = json!(value);
    }
    pod["spec"]["hostname"] = json!(indexed.hostname);
    serde_json::to_vec(&pod)
}

/// Sets the memory of the containers that get another one.
fn set_memory(spec: &mut Value, raised: &RaisedFields) {
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let of_container = raised.containers.iter().find(|(name, ..)| container["name"] == **name);
            let Some((_, limit, request)) = of_container else { continue };
            for (field, size) in [("limits", limit), ("requests", request)] {
                if let Some(size) = size {
                    container["resources"][field]["memory"] = json!(size);
                }
            }
        }
    }
}

/// Adds the variable that holds the pod's index to every container that does not define that variable.
fn inject_index_env(spec: &mut Value) {
    let variable = json!({"name": INDEX_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": INDEX_FIELD_PATH}}});
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
