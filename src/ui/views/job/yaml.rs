//! The YAML of a Job. Values of environment variables are hidden, because many of them are secrets.

use kube::api::DynamicObject;
use maud::{Markup, html};
use serde_json::Value;

use crate::client::format::Format;
use crate::ui::text::neutral_lines;

/// What stands for a hidden value.
const HIDDEN: &str = "(hidden)";
/// Annotations that contain values of environment variables.
const ANNOTATIONS: [&str; 2] =
    ["kubectl.kubernetes.io/last-applied-configuration", crate::schedule::parameters::ANNOTATION];

pub(super) fn yaml(mut object: DynamicObject) -> Markup {
    // The managed fields are for programs that apply manifests, and longer than the rest.
    object.metadata.managed_fields = None;
    let mut value = serde_json::to_value(&object).unwrap_or_default();
    hide(&mut value);
    let text = Format::Yaml.object(&value).unwrap_or_default();
    html! {
        p { "Values of environment variables are hidden, and managed fields are left out." }
        div.code.whole {
            pre tabindex="0" role="region" aria-label="YAML" { code { (neutral_lines(&text)) } }
            button type="button" data-copy hidden { "Copy" }
        }
    }
}

/// Hides the values of environment variables, in the pod template and in the annotations that repeat them. Returns whether
/// there was one.
pub(in crate::ui) fn hide(job: &mut Value) -> bool {
    let mut is_hidden = false;
    let mut hide = |value: &mut Value| {
        *value = HIDDEN.into();
        is_hidden = true;
    };
    if let Some(annotations) = job.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        ANNOTATIONS.iter().for_each(|name| _ = annotations.get_mut(*name).map(&mut hide));
    }
    for kind in ["containers", "initContainers", "ephemeralContainers"] {
        let containers = job.pointer_mut(&format!("/spec/template/spec/{kind}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let variables = container.get_mut("env").and_then(Value::as_array_mut);
            for variable in variables.into_iter().flatten() {
                variable.get_mut("value").map(&mut hide);
            }
        }
    }
    is_hidden
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_value_of_an_environment_variable_is_shown() {
        let env = json!([{"name": "TOKEN", "value": "s3cret"}, {"name": "FROM", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "a", "managedFields": [{"manager": "kubectl"}], "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "{\"env\":\"s3cret\"}",
                "jobwright.dev/parameters": "{\"TOKEN\":\"s3cret\"}", "note": "shown\u{202e}",
            }},
            "spec": {"template": {"spec": {
                "containers": [{"name": "main", "env": env, "args": ["<b>"]}], "initContainers": [{"name": "init", "env": env}],
            }}},
        });
        let text = yaml(serde_json::from_value(job).unwrap()).into_string();
        assert!(!text.contains("s3cret") && !text.contains("managedFields:"), "{text}");
        assert!(text.contains("TOKEN") && text.contains("secretKeyRef") && text.contains(HIDDEN), "{text}");
        assert!(text.contains("&lt;b&gt;") && !text.contains('\u{202e}'), "{text}");
    }

    #[test]
    fn job_without_containers_is_shown() {
        let mut job = json!({"metadata": {"name": "a"}});
        assert!(!hide(&mut job));
        assert_eq!(job, json!({"metadata": {"name": "a"}}));
    }
}
