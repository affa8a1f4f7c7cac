//! `jobwright crds`: the manifests of our own resources, made from their types.

use std::process::ExitCode;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion,
};
use kube::CustomResourceExt;

use super::cluster::print_result;
use crate::limit::types::JobLimit;
use crate::schedule::job_schedule::types::JobSchedule;

/// The version before: still served, with the same fields, so that what is stored in it is read on.
const BEFORE: &str = "v1alpha1";

/// The resources, as the cluster is to have them.
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

/// The manifests, as one YAML stream.
///
/// # Errors
/// They cannot be written as YAML.
pub fn text() -> Result<String, serde_saphyr::ser::Error> {
    let mut text = String::new();
    for crd in all() {
        text += "---\n";
        text += &serde_saphyr::to_string(&crd)?;
    }
    Ok(text)
}

/// Prints the manifests.
pub fn main() -> ExitCode {
    print_result(text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_are_up_to_date() {
        let now = text().unwrap();
        let stored =
            [include_str!("../../crds/jobwright.yaml"), include_str!("../../deploy/chart/crds/jobwright.yaml")];
        assert!(stored.iter().all(|stored| *stored == now), "crds/ is stale: make crds");
    }

    #[test]
    fn each_is_stored_in_its_newest_version_and_served_in_the_one_before() {
        for crd in all() {
            let versions: Vec<_> =
                crd.spec.versions.iter().map(|version| (&*version.name, version.served, version.storage)).collect();
            assert_eq!(versions, [("v1beta1", true, true), (BEFORE, true, false)]);
        }
    }
}
