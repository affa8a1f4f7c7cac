//! `jobwright crds`: the manifests of the CustomResourceDefinitions JobSchedule, JobLimit, JobPolicy and Calendar, generated
//! from their types.

use std::collections::BTreeMap;
use std::process::ExitCode;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, JSONSchemaProps, JSONSchemaPropsOrArray,
    JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use crate::client::cluster::print_result;
use crate::limit::types::JobLimit;
use crate::policy::KIND as JOB_POLICY;
use crate::policy::types::JobPolicy;
use crate::schedule::calendar::KIND as CALENDAR;
use crate::schedule::calendar::types::Calendar;
use crate::schedule::job_schedule::types::JobSchedule;

/// Deprecated version. It is still served, with the same fields, so that objects stored in this version remain
/// readable.
const BEFORE: &str = "v1alpha1";

/// Returns the CustomResourceDefinitions as they are applied to a cluster.
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![JobSchedule::crd(), JobLimit::crd(), JobPolicy::crd(), Calendar::crd()];
    for version in crds.iter_mut().flat_map(|crd| &mut crd.spec.versions) {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            set_list_types(schema);
        }
    }
    let had_version_before = |crd: &CustomResourceDefinition| ![CALENDAR, JOB_POLICY].contains(&&*crd.spec.names.kind);
    crds.into_iter().map(|crd| if had_version_before(&crd) { with_version_before(crd) } else { crd }).collect()
}

/// Declares each list without another type as one that is replaced as a whole, so that two appliers do not mix their
/// entries.
fn set_list_types(schema: &mut JSONSchemaProps) {
    if schema.type_.as_deref() == Some("array") {
        schema.x_kubernetes_list_type.get_or_insert_with(|| "atomic".to_owned());
    }
    schema.properties.iter_mut().flat_map(BTreeMap::values_mut).for_each(set_list_types);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        set_list_types(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        set_list_types(values);
    }
}

fn with_version_before(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    if let Some(newest) = crd.spec.versions.first() {
        let warning = format!("{}/{BEFORE} is deprecated; write {}/{}", crd.spec.group, crd.spec.group, newest.name);
        let before = CustomResourceDefinitionVersion {
            name: BEFORE.to_owned(),
            storage: false,
            deprecated: Some(true),
            deprecation_warning: Some(warning),
            ..newest.clone()
        };
        crd.spec.versions.push(before);
    }
    crd
}

/// Returns the manifests as one YAML stream.
///
/// # Errors
/// A manifest cannot be serialised as YAML.
pub fn text() -> Result<String, serde_saphyr::ser::Error> {
    let mut text = String::new();
    for crd in all() {
        text += "---\n";
        text += &serde_saphyr::to_string(&crd)?;
    }
    Ok(text)
}

/// Prints the manifests to standard output.
pub fn main() -> ExitCode {
    print_result(text())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn stored_manifests_equal_the_generated_ones() {
        let now = text().unwrap();
        let stored =
            [include_str!("../../crds/jobwright.yaml"), include_str!("../../deploy/chart/crds/jobwright.yaml")];
        assert!(stored.iter().all(|stored| *stored == now), "the stored manifests are stale; run make crds");
    }

    /// Collects the paths of the lists without a type, and of the parts of the spec without a maximum length.
    fn unbounded(path: &str, schema: &Value, found: &mut Vec<String>) {
        let has = |names: &[&str]| names.iter().any(|name| !schema[*name].is_null());
        let is_spec = path.starts_with("spec");
        match schema["type"].as_str() {
            Some("array") if !has(&["x-kubernetes-list-type"]) => found.push(format!("{path}: list type")),
            Some("array") if is_spec && !has(&["maxItems"]) => found.push(format!("{path}: maxItems")),
            Some("string") if is_spec && !has(&["maxLength", "enum", "format"]) => {
                found.push(format!("{path}: maxLength"));
            }
            _ => {}
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            unbounded(format!("{path}.{name}").trim_start_matches('.'), property, found);
        }
        for (part, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
            if schema[part].is_object() {
                unbounded(&format!("{path}{suffix}"), &schema[part], found);
            }
        }
    }

    #[test]
    fn each_list_has_a_type_and_each_text_of_a_spec_a_maximum_length() {
        let crds = serde_json::to_value(all()).unwrap();
        let mut found = Vec::new();
        for crd in crds.as_array().unwrap() {
            for version in crd["spec"]["versions"].as_array().unwrap() {
                unbounded("", &version["schema"]["openAPIV3Schema"], &mut found);
            }
        }
        assert!(found.is_empty(), "{found:#?}");
    }

    #[test]
    fn newest_version_is_stored_and_the_deprecated_one_is_served() {
        for crd in all() {
            let versions: Vec<_> =
                crd.spec.versions.iter().map(|version| (&*version.name, version.served, version.storage)).collect();
            let all = [("v1beta1", true, true), (BEFORE, true, false)];
            // Calendars and JobPolicies are newer than the deprecated version.
            assert_eq!(versions, all[..if [CALENDAR, JOB_POLICY].contains(&&*crd.spec.names.kind) { 1 } else { 2 }]);
        }
    }
}
