//! The two kinds of patches that Jobwright sends. Only the parts that it uses are implemented.

use serde_json::Value;

/// Applies a JSON merge patch (RFC 7386).
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Applies a strategic merge patch to the metadata of a pod.
pub fn strategic(pod: &mut Value, patch: &Value) {
    let metadata = &patch["metadata"];
    for gone in strings(&metadata["$deleteFromPrimitiveList/finalizers"]) {
        retain(pod, "finalizers", |finalizer| finalizer.as_str() != Some(&gone));
    }
    for added in strings(&metadata["finalizers"]) {
        if !strings(&pod["metadata"]["finalizers"]).contains(&added) {
            push(pod, "finalizers", added.into());
        }
    }
    for reference in metadata["ownerReferences"].as_array().into_iter().flatten() {
        retain(pod, "ownerReferences", |known| known["uid"] != reference["uid"]);
        if reference["$patch"] != "delete" {
            push(pod, "ownerReferences", reference.clone());
        }
    }
}

/// Applies a strategic merge patch to the status of a pod: conditions are merged by their types.
pub fn pod_status(pod: &mut Value, patch: &Value) {
    let mut rest = patch.clone();
    if let Some(rest) = rest.as_object_mut() {
        for condition in rest.remove("conditions").iter().filter_map(Value::as_array).flatten() {
            let conditions = &mut pod["status"]["conditions"];
            if conditions.is_null() {
                *conditions = Value::Array(Vec::new());
            }
            if let Some(conditions) = conditions.as_array_mut() {
                conditions.retain(|known| known["type"] != condition["type"]);
                conditions.push(condition.clone());
            }
        }
        merge(&mut pod["status"], &rest.clone().into());
    }
}

/// Returns the strings of a JSON array.
pub fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

fn retain(object: &mut Value, list: &str, keep: impl Fn(&Value) -> bool) {
    if let Some(list) = object["metadata"][list].as_array_mut() {
        list.retain(keep);
    }
}

fn push(object: &mut Value, list: &str, item: Value) {
    let place = &mut object["metadata"][list];
    match place.as_array_mut() {
        Some(list) => list.push(item),
        None => *place = Value::Array(vec![item]),
    }
}

#[test]
fn merge_patch_removes_fields_that_are_null() {
    let mut target = serde_json::json!({"a": {"b": 1, "c": 2}});
    merge(&mut target, &serde_json::json!({"a": {"b": null, "d": [3]}}));
    assert_eq!(target, serde_json::json!({"a": {"c": 2, "d": [3]}}));
}

#[test]
fn strategic_patch_removes_one_finalizer_and_adds_and_removes_an_owner() {
    let mut pod = serde_json::json!({"metadata": {"finalizers": ["a", "b"]}});
    strategic(&mut pod, &serde_json::json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}));
    strategic(&mut pod, &serde_json::json!({"metadata": {"ownerReferences": [{"uid": "u"}]}}));
    assert_eq!(pod, serde_json::json!({"metadata": {"finalizers": ["b"], "ownerReferences": [{"uid": "u"}]}}));
    strategic(&mut pod, &serde_json::json!({"metadata": {"ownerReferences": [{"uid": "u", "$patch": "delete"}]}}));
    assert_eq!(pod["metadata"]["ownerReferences"], serde_json::json!([]));
}
