//! Jobs as hooks of a Helm chart, and `helm install --wait --wait-for-jobs`.

use std::fs;
use std::path::Path;
use std::process::Output;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::{Value, json};
use testbed::assets;

use crate::harness::*;

/// Writes a chart with a Job, and Jobs as hooks before and after the installation.
fn chart(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir.join("templates"))?;
    fs::write(dir.join("Chart.yaml"), "apiVersion: v2\nname: hooks\nversion: 0.1.0\n")?;
    for (name, hook) in [("before", Some("pre-install")), ("main", None), ("after", Some("post-install"))] {
        let mut manifest: Value = serde_json::to_value(job(name, json!({"backoffLimit": 0}))?)?;
        manifest["apiVersion"] = json!("batch/v1");
        manifest["kind"] = json!("Job");
        if let Some(hook) = hook {
            manifest["metadata"]["annotations"] = json!({"helm.sh/hook": hook});
        }
        fs::write(dir.join("templates").join(format!("{name}.yaml")), manifest.to_string())?;
    }
    Ok(())
}

async fn install(scene: &Scene, dir: &Path, release: &str) -> Result<Output> {
    assets::ensure(&[assets::HELM])?;
    let path = |folder: &str| dir.join(folder);
    tokio::process::Command::new(assets::HELM.path()?)
        .args(["install", release, "--wait", "--wait-for-jobs", "--timeout=60s"])
        .arg(path("chart"))
        .args(["--namespace", &scene.namespace])
        .arg("--kubeconfig")
        .arg(&scene.cluster.kubeconfig)
        .envs([("HELM_CACHE_HOME", path("a")), ("HELM_CONFIG_HOME", path("b")), ("HELM_DATA_HOME", path("c"))])
        .kill_on_drop(true)
        .output()
        .await
        .context("starting helm")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_runs_hooks_before_and_after_the_jobs_of_a_chart() -> Result<()> {
    let scene = Scene::new("helm").await?;
    let dir = tempfile::tempdir()?;
    chart(&dir.path().join("chart"))?;
    let playing = scene.succeed_all();
    let output = install(&scene, dir.path(), "good").await?;
    assert!(output.status.success(), "{}", text(&output));
    let mut times: Vec<(Timestamp, Timestamp)> = Vec::new();
    for name in ["before", "main", "after"] {
        let status = scene.jobs.get(name).await?.status.with_context(|| format!("{name} has no status"))?;
        assert!(condition(&status, "Complete").is_some(), "{name}: {status:?}");
        let time = |time: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| time.map(|time| time.0);
        times.push(time(status.start_time).zip(time(status.completion_time)).context("no times")?);
    }
    assert!(times.windows(2).all(|pair| pair[0].1 <= pair[1].0), "a Job started before the last one ended: {times:?}");
    drop(playing);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_reports_a_failed_hook() -> Result<()> {
    let scene = Scene::new("helm-fails").await?;
    let dir = tempfile::tempdir()?;
    chart(&dir.path().join("chart"))?;
    let fails = async {
        let pod = scene.active("before", 1).await?.remove(0);
        scene.kubelet.fail(&pod, 1).await?;
        anyhow::Ok(())
    };
    let (output, failed) = tokio::join!(install(&scene, dir.path(), "bad"), fails);
    failed?;
    let output = output?;
    assert!(!output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("pre-install"), "{}", text(&output));
    assert!(scene.jobs.get_opt("main").await?.is_none(), "the hook failed before the installation");
    Ok(())
}
