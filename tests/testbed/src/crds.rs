//! Installation of Jobwright's CustomResourceDefinitions in a cluster.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::Value;

/// Maximum time until the API server serves a resource.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Applies the manifests in `crds/`, and waits until the API server serves them.
pub async fn install(client: &Client) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds/jobwright.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    apply(client, &text).await
}

/// Applies these manifests of CustomResourceDefinitions, and waits until the API server serves them.
pub async fn apply(client: &Client, text: &str) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for document in text.split("---\n").filter(|document| !document.trim().is_empty()) {
        let crd: Value = serde_saphyr::from_str(document).context("reading a manifest")?;
        let name = crd["metadata"]["name"].as_str().context("missing name")?.to_owned();
        api.patch(&name, &PatchParams::apply("testbed").force(), &Patch::Apply(&crd)).await?;
        let begun = tokio::time::Instant::now();
        while !is_served(&api.get(&name).await?) {
            if begun.elapsed() > TIMEOUT {
                bail!("the API server does not serve {name}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

fn is_served(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
    let mut established = conditions.filter(|condition| condition.type_ == "Established");
    established.any(|condition| condition.status == "True")
}
