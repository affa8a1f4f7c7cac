//! Admission policies on the test's API server, for as long as they are kept.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ApiResource, DeleteParams, DynamicObject, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::harness::*;

const GROUP_VERSION: &str = "admissionregistration.k8s.io/v1";

/// A policy for the requests of a scene's controller.
pub struct Policy {
    name: String,
    kind: &'static str,
    client: Client,
}

/// What requests a policy is for: API group, resource with its subresource, operation.
pub type Rule = (&'static str, &'static str, &'static str);

fn rules(rules: &[Rule]) -> Value {
    // The policy is known to be active once it refuses a ConfigMap.
    let all = rules.iter().chain(&[("", "configmaps", "CREATE")]);
    let rules = all.map(|(group, resource, operation)| {
        json!({"apiGroups": [group], "apiVersions": ["*"], "resources": [resource], "operations": [operation]})
    });
    json!({"resourceRules": rules.collect::<Vec<_>>()})
}

impl Policy {
    /// Refuses the controller's requests of these rules to objects whose names start with `subject`, for a reason such as
    /// `Forbidden`.
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
                Ok(_) => Err("the probe was let in".to_owned()),
                Err(_) => Ok(()),
            })
        })
        .await?;
        Ok(policy)
    }

    /// Removes all finalizers from the pods of the controller's requests whose names start with `subject`.
    pub async fn strip_finalizers(scene: &Scene, subject: &str, resources: &[Rule]) -> Result<Self> {
        let remove = "has(object.metadata.finalizers) ? [JSONPatch{op: 'remove', path: '/metadata/finalizers'}] : []";
        let marked = "[JSONPatch{op: 'add', path: '/data', value: {'stripped': 'yes'}}]";
        let expression = format!("request.resource.resource == 'configmaps' ? {marked} : ({remove})");
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
            Ok(if made.data.is_some() { Ok(()) } else { Err("the probe came back unchanged".to_owned()) })
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
        self.api(&binding).delete(&self.name, &DeleteParams::default()).await.context("the binding")?;
        self.api(self.kind).delete(&self.name, &DeleteParams::default()).await.context("the policy")?;
        Ok(())
    }
}
