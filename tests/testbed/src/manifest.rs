//! Manifests as JSON values.

use serde_json::Value;

/// Overlays the fields of `over` on those of `base`. Nested objects are merged, and all other values are replaced.
pub fn lay_over(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                lay_over(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}
