//! Resource quotas that are in force when a test goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{ResourceQuota, Secret};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

/// Creates a resource quota and waits until the API server enforces it; afterwards every request beyond it is refused
/// with `exceeded quota`.
///
/// A controller computes the usage first, and the admission plugin reads quotas from an informer: what is created
/// before that is admitted, or refused with another message. The quota therefore also forbids Secrets, and a Secret
/// that is created as a dry run shows whether the plugin has seen it.
///
/// # Errors
///
/// When the API server refuses the quota or does not enforce it within 30 seconds.
pub async fn enforce(client: &Client, namespace: &str, name: &str, hard: &[(&str, &str)]) -> Result<()> {
    let limits = hard.iter().chain(&[("secrets", "0")]);
    let hard: BTreeMap<String, Quantity> =
        limits.map(|(resource, limit)| ((*resource).to_owned(), Quantity((*limit).to_owned()))).collect();
    let quota: ResourceQuota = serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"hard": hard}}))?;
    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), namespace);
    quotas.create(&PostParams::default(), &quota).await.with_context(|| format!("cannot create quota {name}"))?;

    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let probe: Secret = serde_json::from_value(json!({"metadata": {"generateName": "probe-"}}))?;
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let refusal = format!("exceeded quota: {name},");
    let mut answer = String::new();
    for _ in 0..600 {
        answer = match secrets.create(&dry_run, &probe).await {
            Err(error) => error.to_string(),
            Ok(_) => "a Secret is admitted".to_owned(),
        };
        if answer.contains(&refusal) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("quota {name} is not enforced after 30 s: {answer}")
}
