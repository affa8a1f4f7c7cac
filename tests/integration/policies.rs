//! Admission policies on the test's API server that refuse or change requests of a scene's controller.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ApiResource, DeleteParams, DynamicObject, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use testbed::report::{Feature, needs};

use crate::harness::*;

const GROUP_VERSION: &str = "admissionregistration.k8s.io/v1";

/// An admission policy for the requests of a scene's controller. [`Policy::lift`] deletes the policy.
pub struct Policy {
    name: String,
    kind: &'static str,
    client: Client,
}

/// Requests that a policy covers: API group, resource with its subresource, operation.
pub type Rule = (&'static str, &'static str, &'static str);

fn rules(rules: &[Rule]) -> Value {
    // The rules include ConfigMaps, because a refused or changed ConfigMap shows that the policy is active.
    let all = rules.iter().chain(&[("", "configmaps", "CREATE")]);
    let rules = all.map(|(group, resource, operation)| {
        json!({"apiGroups": [group], "apiVersions": ["*"], "resources": [resource], "operations": [operation]})
    });
    json!({"resourceRules": rules.collect::<Vec<_>>()})
}

/// Creates a scene on an API server that serves MutatingAdmissionPolicies.
pub async fn scene_with_mutating_policies(prefix: &str) -> Result<Option<Scene>> {
    let scene = Scene::new(prefix).await?;
    Ok(needs(scene.cluster, Feature::MutatingAdmissionPolicy).await?.then_some(scene))
}

impl Policy {
    /// Creates a policy that refuses the controller's requests of these rules for objects whose names start with
    /// `subject`. `reason` is a status reason such as `Forbidden`.
    pub async fn refuse(scene: &Scene, subject: &str, resources: &[Rule], reason: &str) -> Result<Self> {
        let validation = json!({
            "expression": "false", "reason": reason, "messageExpression": format!("'{subject} must not\\t do that'"),
        });
        let spec = json!({"validations": [validation], "matchConstraints": rules(resources)});
        let policy = Self::new(scene, subject, "ValidatingAdmissionPolicy", spec).await?;
        let probe: ConfigMap = serde_json::from_value(json!({"metadata": {"name": format!("{subject}-probe")}}))?;
        let probes: Api<ConfigMap> = Api::namespaced(scene.client.clone(), &scene.namespace);
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        until("the policy to be active", || async {
            Ok(match probes.create(&dry, &probe).await {
                Ok(_) => Err("the policy admitted the probe".to_owned()),
                Err(_) => Ok(()),
            })
        })
        .await?;
        Ok(policy)
    }

    /// Creates a policy that removes all finalizers from pods in the controller's requests of these rules, where the
    /// names start with `subject`.
    pub async fn strip_finalizers(scene: &Scene, subject: &str, resources: &[Rule]) -> Result<Self> {
        let remove = "has(object.metadata.finalizers) ? [JSONPatch{op: 'remove', path: '/metadata/finalizers'}] : []";
        Self::mutate(scene, subject, resources, remove).await
    }

    /// Creates a policy that changes the objects of the controller's requests of these rules, where the names start with
    /// `subject`, by the patches that a CEL expression returns.
    pub async fn mutate(scene: &Scene, subject: &str, resources: &[Rule], patches: &str) -> Result<Self> {
        let marked = "[JSONPatch{op: 'add', path: '/data', value: {'stripped': 'yes'}}]";
        let expression = format!("request.resource.resource == 'configmaps' ? {marked} : ({patches})");
        let spec = json!({
            "reinvocationPolicy": "Never", "matchConstraints": rules(resources),
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
        });
        let policy = Self::new(scene, subject, "MutatingAdmissionPolicy", spec).await?;
        let probe: ConfigMap = serde_json::from_value(json!({"metadata": {"name": format!("{subject}-probe")}}))?;
        let probes: Api<ConfigMap> = Api::namespaced(scene.client.clone(), &scene.namespace);
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        until("the policy to be active", || async {
            let made = probes.create(&dry, &probe).await?;
            Ok(if made.data.is_some() { Ok(()) } else { Err("the policy did not change the probe".to_owned()) })
        })
        .await?;
        Ok(policy)
    }

    async fn new(scene: &Scene, subject: &str, kind: &'static str, mut spec: Value) -> Result<Self> {
        let (namespace, client) = (&scene.namespace, scene.client.clone());
        let metadata = "(object == null ? oldObject : object).metadata";
        let name =
            format!("(has({metadata}.name) && {metadata}.name != '' ? {metadata}.name : {metadata}.generateName)");
        spec["failurePolicy"] = json!("Fail");
        spec["matchConditions"] = json!([
            {
                "name": "who",
                "expression": format!("request.userInfo.username == '{namespace}' || request.resource.resource == 'configmaps'"),
            },
            {"name": "which", "expression": format!("{name}.startsWith('{subject}')")},
        ]);
        let name = format!("{namespace}-{subject}");
        let policy = Self { name: name.clone(), kind, client };
        let object = json!({"apiVersion": GROUP_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec});
        let created = policy.api(kind).create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        let warnings = &created.data["status"]["typeChecking"];
        anyhow::ensure!(warnings.is_null() || warnings == &json!({}), "{warnings}");
        let binding = format!("{kind}Binding");
        let mut spec = json!({
            "policyName": name,
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}},
        });
        if kind == "ValidatingAdmissionPolicy" {
            spec["validationActions"] = json!(["Deny"]);
        }
        let object = json!({"apiVersion": GROUP_VERSION, "kind": binding, "metadata": {"name": name}, "spec": spec});
        policy.api(&binding).create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        Ok(policy)
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        let plural = match kind {
            "ValidatingAdmissionPolicy" => "validatingadmissionpolicies",
            "MutatingAdmissionPolicy" => "mutatingadmissionpolicies",
            "ValidatingAdmissionPolicyBinding" => "validatingadmissionpolicybindings",
            _ => "mutatingadmissionpolicybindings",
        };
        let (group, version) = GROUP_VERSION.split_once('/').unwrap_or_default();
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: GROUP_VERSION.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        };
        Api::all_with(self.client.clone(), &resource)
    }

    /// Deletes the policy.
    pub async fn lift(self) -> Result<()> {
        let binding = format!("{}Binding", self.kind);
        self.api(&binding).delete(&self.name, &DeleteParams::default()).await.context("deleting the binding")?;
        self.api(self.kind).delete(&self.name, &DeleteParams::default()).await.context("deleting the policy")?;
        Ok(())
    }
}
