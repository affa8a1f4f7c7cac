//! Fields of a manifest that do not exist. The API server drops or refuses them.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Returns the object as its type, and the paths of the fields that the type does not have.
///
/// # Errors
/// A field has a value of another type.
pub(super) fn typed<T: DeserializeOwned + Serialize>(object: &Value, at: &str) -> Result<(T, Vec<String>), String> {
    let typed = T::deserialize(object).map_err(|error| error.to_string())?;
    let kept = serde_json::to_value(&typed).map_err(|error| error.to_string())?;
    let mut unknown = Vec::new();
    compare(object, &kept, at, &mut unknown);
    Ok((typed, unknown))
}

/// Adds the paths of fields of `given` that `kept` has lost.
fn compare(given: &Value, kept: &Value, at: &str, unknown: &mut Vec<String>) {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => {
            for (key, value) in given {
                let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                match kept.get(key) {
                    Some(kept) => compare(value, kept, &path, unknown),
                    // A type leaves out fields without a value when it is written.
                    None if value.is_null() => {}
                    None => unknown.push(path),
                }
            }
        }
        (Value::Array(given), Value::Array(kept)) => {
            for (place, (given, kept)) in given.iter().zip(kept).enumerate() {
                compare(given, kept, &format!("{at}[{place}]"), unknown);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::batch::v1::Job;
    use serde_json::json;

    use super::*;

    #[test]
    fn misspelt_fields_are_found_with_their_paths() {
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "creationTimestamp": null, "lables": {"a": "b"}},
            "spec": {"paralelism": 2, "suspended": false, "ttl": null, "template": {"spec": {"contaners": [{"name": "a"}],
                "containers": [{"name": "main", "image": "i", "resources": {"limits": {"cpu": "1"}}, "commnad": ["x"]}]}}},
        });
        let (_, unknown) = typed::<Job>(&job, "").unwrap();
        assert_eq!(
            unknown,
            [
                "metadata.lables",
                "spec.paralelism",
                "spec.suspended",
                "spec.template.spec.containers[0].commnad",
                "spec.template.spec.contaners",
            ]
        );
    }

    #[test]
    fn value_of_another_type_is_an_error() {
        assert!(typed::<Job>(&json!({"metadata": {}, "spec": {"parallelism": "many"}}), "").is_err());
    }
}
