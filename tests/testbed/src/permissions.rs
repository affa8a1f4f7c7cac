//! The permissions that the chart grants, so that tests run Jobwright with exactly these permissions.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use kube::api::PostParams;
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{Cluster, assets};

/// Placeholder for the namespace in rendered objects, which are cached for all namespaces.
const PLACE: &str = "the-namespace";

/// Rendered RBAC templates of the chart, by the values of the chart.
static RENDERED: LazyLock<Mutex<HashMap<Vec<String>, String>>> = LazyLock::new(Mutex::default);

/// Scope and settings of an installation that determine its permissions.
#[derive(Clone, Debug)]
pub struct Permissions {
    /// Namespace of the Jobs and of the Lease. `None` means all namespaces, with the Lease in kube-system.
    pub namespace: Option<String>,
    /// Value of `--claim`.
    pub claim: String,
    /// Whether the controller reads the ends of pod logs.
    pub logs: bool,
    /// Whether the controller manages Workloads and PodGroups.
    pub gangs: bool,
}

impl Permissions {
    /// Returns the RBAC objects that the chart renders for these settings.
    pub fn objects(&self) -> Result<Vec<Value>> {
        let mut values = vec![format!("claim={}", self.claim)];
        values.extend(self.namespace.as_ref().map(|_| format!("namespace={PLACE}")));
        values.extend(self.logs.then(|| "settings.logTail=10".to_owned()));
        values.extend(self.gangs.then(|| "featureGates.WorkloadWithJob=true".to_owned()));
        let mut rendered =
            RENDERED.lock().map_err(|_| anyhow::anyhow!("a thread panicked while it rendered the chart"))?;
        let text = match rendered.get(&values) {
            Some(text) => text.clone(),
            None => {
                let text = render("templates/rbac.yaml", &values)?;
                rendered.insert(values, text.clone());
                text
            }
        };
        let text = text.replace(PLACE, self.namespace.as_deref().unwrap_or_default());
        documents(&text)
    }

    /// Grants the permissions to a user after `change` has changed each rule, and writes a kubeconfig of that user to
    /// `dir`. Returns its path. On a given cluster, grants nothing and returns the given kubeconfig.
    pub async fn grant(
        &self,
        cluster: &Cluster,
        user: &str,
        dir: &Path,
        change: impl Fn(&mut PolicyRule),
    ) -> Result<PathBuf> {
        grant(cluster, self.objects()?, user, dir, change).await
    }
}

/// Grants the permissions of the console to a user, and writes a kubeconfig of that user to `dir`. Returns its path. On a
/// given cluster, grants nothing and returns the given kubeconfig.
pub async fn grant_ui(cluster: &Cluster, user: &str, dir: &Path, impersonates: bool) -> Result<PathBuf> {
    let mut values = vec!["ui.enabled=true".to_owned(), "ui.hosts={console.example.com}".to_owned()];
    if impersonates {
        values.push("ui.impersonate.enabled=true,ui.impersonate.secretName=proxy".to_owned());
    }
    grant(cluster, documents(&render("templates/ui/rbac.yaml", &values)?)?, user, dir, |_| {}).await
}

async fn grant(
    cluster: &Cluster,
    objects: Vec<Value>,
    user: &str,
    dir: &Path,
    change: impl Fn(&mut PolicyRule),
) -> Result<PathBuf> {
    let Some(control) = &cluster.control else { return Ok(cluster.kubeconfig.clone()) };
    let client = cluster.client().await?;
    for mut object in objects {
        // The user is part of the names, because several users have permissions in one namespace.
        let name = object["metadata"]["name"].as_str().context("missing name")?.to_owned();
        object["metadata"]["name"] = json!(format!("{name}-{user}"));
        if let Some(subjects) = object.get_mut("subjects") {
            *subjects = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]);
            let role = object["roleRef"]["name"].as_str().context("missing role")?.to_owned();
            object["roleRef"]["name"] = json!(format!("{role}-{user}"));
        }
        create(&client, object, &change).await?;
    }
    let path = dir.join(format!("{user}.kubeconfig"));
    control.authority.kubeconfig(&path, &control.server, user, &[])?;
    Ok(path)
}

fn documents(text: &str) -> Result<Vec<Value>> {
    let documents = text.split("\n---\n").filter(|part| part.contains("kind:"));
    documents.map(|part| serde_saphyr::from_str(part).with_context(|| format!("reading {part}"))).collect()
}

fn render(template: &str, values: &[String]) -> Result<String> {
    assets::ensure(&[assets::HELM])?;
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/chart");
    let mut helm = Command::new(assets::HELM.path()?);
    helm.args(["template", "jobwright"]).arg(chart).args(["--show-only", template]);
    values.iter().for_each(|value| {
        helm.args(["--set", value]);
    });
    let output = helm.output().context("starting helm")?;
    if !output.status.success() {
        bail!("helm template: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

async fn create(client: &Client, object: Value, change: &impl Fn(&mut PolicyRule)) -> Result<()> {
    let params = PostParams::default();
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    match object["kind"].as_str().unwrap_or_default() {
        "ClusterRole" => {
            let mut role: ClusterRole = typed(object)?;
            role.rules.iter_mut().flatten().for_each(change);
            Api::all(client.clone()).create(&params, &role).await?;
        }
        "ClusterRoleBinding" => {
            Api::<ClusterRoleBinding>::all(client.clone()).create(&params, &typed(object)?).await?;
        }
        "Role" => {
            let mut role: Role = typed(object)?;
            role.rules.iter_mut().flatten().for_each(change);
            Api::namespaced(client.clone(), &namespace).create(&params, &role).await?;
        }
        "RoleBinding" => {
            Api::<RoleBinding>::namespaced(client.clone(), &namespace).create(&params, &typed(object)?).await?;
        }
        kind => bail!("the RBAC template of the chart has an unknown kind {kind}"),
    }
    Ok(())
}

fn typed<T: DeserializeOwned>(object: Value) -> Result<T> {
    Ok(serde_json::from_value(object)?)
}
