//! Findings as SARIF 2.1.0, which code scanning services read
//! (<https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>).

use serde_json::{Value, json};

use super::Located;
use super::rules::{RULES, Severity};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// Returns the SARIF log: all rules, and one result for each finding.
pub(crate) fn log(found: &[&Located]) -> Value {
    let rules: Vec<Value> = RULES
        .iter()
        .map(|rule| {
            json!({
                "id": rule.name,
                "shortDescription": {"text": rule.about},
                "defaultConfiguration": {"level": level(rule.severity)},
            })
        })
        .collect();
    let results: Vec<Value> = found
        .iter()
        .map(|located| {
            let Located { file, line, object, finding } = *located;
            json!({
                "ruleId": finding.rule.name,
                "level": level(finding.rule.severity),
                "message": {"text": format!("{object}: {}", finding.message)},
                "locations": [{"physicalLocation": {
                    "artifactLocation": {"uri": file},
                    "region": {"startLine": line},
                }}],
            })
        })
        .collect();
    let driver = json!({"name": "jobwright", "version": env!("CARGO_PKG_VERSION"), "rules": rules});
    json!({"$schema": SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]})
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}
