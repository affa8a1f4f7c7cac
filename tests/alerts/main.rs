//! The alert rules, tested with promtool of Prometheus: their syntax, and when they fire.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testbed::assets;

fn rules() -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/chart/monitoring");
    let files = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(files.into_iter().filter(|file| file.extension().is_some_and(|end| end == "yaml")).collect())
}

fn promtool(arguments: &[&str], files: &[PathBuf]) -> Result<()> {
    assets::ensure(&[assets::PROMTOOL])?;
    let output = Command::new(assets::PROMTOOL.path()?).args(arguments).args(files).output()?;
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    ensure!(output.status.success(), "promtool {}: {text}", arguments.join(" "));
    Ok(())
}

#[test]
fn rules_are_valid_and_fire_when_they_should() -> Result<()> {
    let rules = rules()?;
    ensure!(rules.len() == 2, "{rules:?}");
    promtool(&["check", "rules", "--lint-fatal"], &rules)?;
    let tests = ["alerts.yaml", "workload-alerts.yaml"];
    let tests = tests.map(|file| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/alerts").join(file));
    promtool(&["test", "rules"], &tests)
}

/// Each alert is tested, and has a section with the anchor of its runbook.
#[test]
fn each_alert_is_tested_and_documented() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/troubleshooting.md"))?;
    let sections: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    for file in rules()? {
        let tests = root.join("tests/alerts").join(file.file_name().context("no name")?);
        let tests = std::fs::read_to_string(tests)?;
        let groups: Value = serde_saphyr::from_str(&std::fs::read_to_string(&file)?)?;
        for rule in groups["groups"][0]["rules"].as_array().context("no rules")? {
            let name = rule["alert"].as_str().context("no name")?;
            let names = [format!("alertname: {name}\n"), format!("alertname=\"{name}\"")];
            ensure!(names.iter().any(|named| tests.contains(named)), "{name} has no test");
            ensure!(sections.contains(name), "docs/troubleshooting.md has no section for {name}");
            let runbook = rule["annotations"]["runbook_url"].as_str().context("no runbook")?;
            ensure!(runbook.ends_with(&format!("#{}", name.to_lowercase())), "{name}: {runbook}");
        }
    }
    Ok(())
}
