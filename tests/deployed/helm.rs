//! helm, and what it renders.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};
use testbed::assets;

/// The source tree.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The chart.
pub fn chart() -> PathBuf {
    root().join("deploy/chart")
}

/// Runs helm.
pub fn try_helm<S: AsRef<OsStr>>(args: &[S]) -> Result<Output> {
    assets::ensure(&[assets::HELM])?;
    let home = std::env::temp_dir().join("jobwright-helm");
    Command::new(assets::HELM.path()?)
        .args(args)
        .env("HELM_CACHE_HOME", home.join("cache"))
        .env("HELM_CONFIG_HOME", home.join("config"))
        .env("HELM_DATA_HOME", home.join("data"))
        .output()
        .context("starting helm")
}

/// Runs helm and returns what it prints; what it complains of is the error.
pub fn helm<S: AsRef<OsStr>>(args: &[S]) -> Result<String> {
    let output = try_helm(args)?;
    if !output.status.success() {
        bail!("helm: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// What the chart renders with these flags.
pub fn template(namespace: &str, flags: &[&str]) -> Result<String> {
    let chart = chart();
    let chart = chart.to_str().context("a readable path")?;
    helm(&[&["template", "jobwright", chart, "--namespace", namespace], flags].concat())
}

/// What helm says against these flags.
fn refusal(flags: &[&str]) -> Result<String> {
    match template("jobwright-system", flags) {
        Ok(_) => bail!("{flags:?} should be refused"),
        Err(error) => Ok(error.to_string()),
    }
}

#[test]
fn the_plain_manifest_is_what_the_chart_renders() -> Result<()> {
    let head = std::fs::read_to_string(root().join("deploy/install-head.yaml"))?;
    let rendered = format!("{head}{}", template("jobwright-system", &["--include-crds"])?);
    let stored = std::fs::read_to_string(root().join("deploy/install.yaml"))?;
    assert!(stored == rendered, "deploy/install.yaml is stale: run `make install-yaml`");
    Ok(())
}

#[test]
fn wrong_values_are_refused_by_name() -> Result<()> {
    let cases: [(&[&str], &str); 11] = [
        (&["--set", "claim=some"], "/claim"),
        (&["--set", "replica=3"], "replica"),
        (&["--set", "replicas=-1"], "/replicas"),
        (&["--set", "replicas=two"], "/replicas"),
        (&["--set", "controllers={jobs}"], "/controllers"),
        (&["--set", "settings.concurrency=0"], "/settings/concurrency"),
        (&["--set", "settings.podFailureBackoff=ten"], "/settings/podFailureBackoff"),
        (&["--set", "namespace=My_Namespace"], "/namespace"),
        (&["--set", "otlpEndpoint=collector:4318"], "/otlpEndpoint"),
        (&["--set", "image.digest=abc"], "/image/digest"),
        (&["--set", "leaderElection.enabled=false"], "leaderElection.enabled"),
    ];
    for (flags, named) in cases {
        let text = refusal(flags)?;
        assert!(text.contains(named), "{flags:?}: {text}");
    }
    Ok(())
}

#[test]
fn every_value_is_known_to_the_schema_and_explained() -> Result<()> {
    let values: serde_json::Value = serde_saphyr::from_str(&std::fs::read_to_string(chart().join("values.yaml"))?)?;
    let schema: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(chart().join("values.schema.json"))?)?;
    let known: Vec<&String> = schema["properties"].as_object().context("properties")?.keys().collect();
    for name in values.as_object().context("values")?.keys() {
        assert!(known.contains(&name), "{name} is not in the schema");
    }
    for name in known.into_iter().filter(|name| *name != "global") {
        assert!(values.get(name).is_some(), "{name} is in the schema and has no default");
    }
    Ok(())
}

#[test]
fn rights_follow_what_runs() -> Result<()> {
    let verbs = |flags: &[&str]| -> Result<(bool, bool, bool)> {
        let text = template("jobwright-system", flags)?;
        Ok((text.contains("kind: ClusterRole\n"), text.contains("[cronjobs]"), text.contains("watch, create, delete]")))
    };
    // Beside the built-in controllers: no right on CronJobs; without JobSchedules and retention, none to make or delete Jobs.
    assert_eq!(verbs(&[])?, (true, false, true));
    assert_eq!(verbs(&["--set", "controllers={job}"])?, (true, false, false));
    assert_eq!(verbs(&["--set", "claim=all"])?, (true, true, true));
    assert_eq!(verbs(&["--set", "claim=all", "--set", "controllers={job}"])?, (true, false, false));
    assert_eq!(verbs(&["--set", "namespace=here"])?, (false, false, true), "no right outside the namespace");
    let reads_logs = |flags: &[&str]| anyhow::Ok(template("jobwright-system", flags)?.contains("[pods/log]"));
    assert!(!reads_logs(&[])? && reads_logs(&["--set", "settings.logTail=5"])?);
    Ok(())
}
