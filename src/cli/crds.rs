//! `jobwright crds`: the manifests of the CustomResourceDefinitions JobSchedule and JobLimit, generated from their
//! types.

use std::process::ExitCode;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion,
};
use kube::CustomResourceExt;

use super::cluster::print_result;
use crate::limit::types::JobLimit;
use crate::schedule::job_schedule::types::JobSchedule;

/// Deprecated version. It is still served, with the same fields, so that objects stored in this version remain
/// readable.
const BEFORE: &str = "v1alpha1";

/// Returns the CustomResourceDefinitions as they are applied to a cluster.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![with_version_before(JobSchedule::crd()), with_version_before(JobLimit::crd())]
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
    use super::*;

    #[test]
    fn stored_manifests_equal_the_generated_ones() {
        let now = text().unwrap();
        let stored =
            [include_str!("../../crds/jobwright.yaml"), include_str!("../../deploy/chart/crds/jobwright.yaml")];
        assert!(stored.iter().all(|stored| *stored == now), "the stored manifests are stale; run make crds");
    }

    #[test]
    fn newest_version_is_stored_and_the_deprecated_one_is_served() {
        for crd in all() {
            let versions: Vec<_> =
                crd.spec.versions.iter().map(|version| (&*version.name, version.served, version.storage)).collect();
            assert_eq!(versions, [("v1beta1", true, true), (BEFORE, true, false)]);
        }
    }
}
