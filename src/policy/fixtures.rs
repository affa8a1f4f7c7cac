//! Builder for the JobPolicies of table tests.

use serde_json::{Value, json};

use super::view::PolicyView;

/// Returns a JobPolicy of the namespace `default` with this name and spec.
pub(crate) fn policy(name: &str, spec: &Value) -> PolicyView {
    let metadata = json!({
        "name": name, "namespace": "default", "uid": format!("uid-{name}"), "resourceVersion": "1", "generation": 2,
    });
    PolicyView::parse(serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()).unwrap()
}
