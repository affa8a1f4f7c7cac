//! Migration from the built-in controllers to Jobwright and back while Jobs run, by the steps of docs/migration.md.

use anyhow::Result;
use serde_json::json;

use crate::environment::{Environment, SYSTEM, file};
use crate::kubectl;

/// Completions of each Job: enough that the Jobs still run during both migrations.
const COMPLETIONS: i32 = 40;

#[tokio::test(flavor = "multi_thread")]
async fn running_jobs_survive_migration_to_jobwright_and_back() -> Result<()> {
    let Some(environment) = Environment::exclusive().await? else { return Ok(()) };
    let Some(control) = &environment.cluster.control else {
        testbed::skipped!("the test cannot switch the built-in controllers of a given cluster");
        return Ok(());
    };
    // The guide contains the commands that this test runs.
    let guide = std::fs::read_to_string(file("docs/migration.md"))?;
    for part in [
        "helm upgrade --install jobwright deploy/chart --namespace jobwright-system --create-namespace --values deploy/chart/values-claim-all.yaml",
        "helm uninstall jobwright --namespace jobwright-system --wait",
        &format!("--controllers=*{}", testbed::control_plane::REPLACED),
    ] {
        assert!(guide.contains(part), "docs/migration.md does not contain {part}");
    }
    let scene = environment.user("moving").await?;
    let spec = |extra: serde_json::Value| {
        let mut spec = json!({
            "managedBy": null,
            "completions": COMPLETIONS, "parallelism": 2, "backoffLimit": 0,
            "template": {"spec": {"containers": [{"name": "main", "image": "busybox:1.36", "command": ["sleep", "0.2"]}]}},
        });
        testbed::manifest::lay_over(&mut spec, &extra);
        spec
    };
    // The built-in controllers start the Jobs.
    scene.create("plain", spec(json!({}))).await?;
    scene.create("indexed", spec(json!({"completionMode": "Indexed"}))).await?;
    scene.job_until("plain", "more than 2 succeeded", |status| status.succeeded.unwrap_or_default() > 2).await?;
    // Migration to Jobwright: the built-in controllers are switched off before the installation.
    control.switch_builtin_job_controllers(false).await?;
    let done = |status: &k8s_openapi::api::batch::v1::JobStatus| status.succeeded.unwrap_or_default();
    let before = done(&scene.jobs.get("plain").await?.status.unwrap_or_default());
    environment.install_ready(&["--values", &file("deploy/chart/values-claim-all.yaml")]).await?;
    scene.job_until("plain", "further completions", |status| done(status) > before + 2).await?;
    // Migration back: Jobwright is uninstalled before the built-in controllers are switched on.
    environment.uninstall(SYSTEM, "jobwright").await?;
    let before = done(&scene.jobs.get("plain").await?.status.unwrap_or_default());
    assert!(before < COMPLETIONS, "no work is left for the built-in controllers");
    control.switch_builtin_job_controllers(true).await?;
    scene.job_until("plain", "further completions", |status| done(status) > before).await?;
    for job in ["plain", "indexed"] {
        // The built-in controller takes one second per step.
        kubectl(&scene, &["wait", "--for=condition=complete", &format!("job/{job}"), "--timeout=120s"]).await?;
        let status = scene.jobs.get(job).await?.status.unwrap_or_default();
        assert_eq!((status.succeeded, status.failed), (Some(COMPLETIONS), None), "{job}");
        assert_eq!(
            scene.pods_of(job).await?.len(),
            usize::try_from(COMPLETIONS)?,
            "{job}: no pod was created in excess"
        );
    }
    scene.nothing_tracked().await?;
    environment.cluster.delete_namespace(&scene.namespace).await
}
