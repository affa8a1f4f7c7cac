//! `jobwright check`: finds mistakes in manifests that the API server accepts. It reads files only and needs no
//! cluster.

mod manifests;
pub mod rules;
mod sarif;

use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::json;

use self::manifests::{Unreadable, read};
use self::rules::{Finding, RULES, Severity, of_cron_job, of_job, of_job_schedule};
use super::output;

/// Annotation with the names of the rules that are not applied to its object, separated by commas.
pub const IGNORE_ANNOTATION: &str = "jobwright.dev/check-ignore";
/// Exit code when a manifest cannot be read.
const UNREADABLE: u8 = 2;

/// The flags of `jobwright check`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Files with manifests, or folders of them; - is standard input
    #[arg(short, long, value_name = "FILE", required_unless_present = "rules", num_args = 1..)]
    filename: Vec<PathBuf>,
    /// Rules to leave out
    #[arg(long, value_name = "RULE", value_delimiter = ',', value_parser = rule_name)]
    ignore: Vec<String>,
    /// Exit with 1 when something this bad is found
    #[arg(long, value_enum, value_name = "SEVERITY", default_value = "warning")]
    fail_on: Severity,
    /// Leave out what is less bad than this
    #[arg(long, value_enum, value_name = "SEVERITY", default_value = "info")]
    least: Severity,
    /// How the answer looks
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    /// List the rules instead
    #[arg(long)]
    rules: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// Human-readable text
    Text,
    /// JSON, for programs
    Json,
    /// For code scanning (SARIF 2.1.0)
    Sarif,
}

fn rule_name(text: &str) -> Result<String, String> {
    if RULES.iter().any(|rule| rule.name == text) {
        return Ok(text.to_owned());
    }
    let names: Vec<_> = RULES.iter().map(|rule| rule.name).collect();
    Err(format!("there is no rule {text:?}; there are {}", names.join(", ")))
}

/// A finding with its place.
struct Located {
    /// Path of the file, or `standard input`.
    file: String,
    /// Number of the line on which the object begins.
    line: usize,
    /// Kind and name of the object, such as `cronjob/nightly`.
    object: String,
    finding: Finding,
}

/// Checks the manifests and prints the findings, or prints the rules for `--rules`. The exit code is 1 if a finding has
/// at least the severity `--fail-on`, and 2 if a manifest cannot be read.
pub fn main(arguments: &Arguments) -> ExitCode {
    if arguments.rules {
        for rule in RULES {
            output::print_line(format!("{:<24} {:<8} {}", rule.name, rule.severity.to_string(), rule.about));
        }
        return ExitCode::SUCCESS;
    }
    match find(arguments, crate::cli::now()) {
        Ok(found) => {
            output::print(print(arguments.output, &found));
            let bad = found.iter().any(|located| located.finding.rule.severity >= arguments.fail_on);
            if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            output::error_line(format!("jobwright: {error}"));
            ExitCode::from(UNREADABLE)
        }
    }
}

fn find(arguments: &Arguments, now: Timestamp) -> Result<Vec<Located>, Unreadable> {
    let mut found = Vec::new();
    for manifest in read(&arguments.filename)? {
        let kind = manifest.object["kind"].as_str().unwrap_or_default();
        let findings = match (kind, manifest.object["apiVersion"].as_str()) {
            ("Job", Some(crate::job::API_VERSION)) => typed(&manifest.object).map(|job| of_job(&job)),
            ("CronJob", Some(crate::job::API_VERSION)) => {
                typed(&manifest.object).map(|cron_job| of_cron_job(&cron_job, now))
            }
            ("JobSchedule", Some(version)) if version.starts_with("jobwright.dev/") => {
                let metadata = |field: &str| manifest.object["metadata"][field].as_str().unwrap_or("default");
                let who = format!("{}/{}", metadata("namespace"), metadata("name"));
                typed(&manifest.object["spec"]).map(|spec| of_job_schedule(&spec, &who, now))
            }
            _ => continue,
        };
        let excused = manifest.object["metadata"]["annotations"][IGNORE_ANNOTATION].as_str().unwrap_or_default();
        let excused: Vec<&str> = excused.split(',').map(str::trim).collect();
        let name = manifest.object["metadata"]["name"].as_str();
        let name = name.or_else(|| manifest.object["metadata"]["generateName"].as_str()).unwrap_or("?");
        for finding in findings.unwrap_or_else(|error| vec![Finding::unreadable(error)]) {
            let rule = finding.rule;
            let wanted = rule.severity >= arguments.least
                && !excused.contains(&rule.name)
                && !arguments.ignore.iter().any(|ignored| ignored == rule.name);
            if wanted {
                found.push(Located {
                    file: manifest.file.clone(),
                    line: manifest.line,
                    object: format!("{}/{name}", kind.to_lowercase()),
                    finding,
                });
            }
        }
    }
    Ok(found)
}

fn typed<T: serde::de::DeserializeOwned>(object: &serde_json::Value) -> Result<T, String> {
    T::deserialize(object).map_err(|error| error.to_string())
}

fn print(output: Output, found: &[Located]) -> String {
    match output {
        Output::Text => {
            let mut text = String::new();
            for Located { file, line, object, finding } in found {
                let Finding { rule, message } = finding;
                text += &format!("{file}:{line}: {object}: {}: {message} [{}]\n", rule.severity, rule.name);
            }
            let count = |severity| found.iter().filter(|located| located.finding.rule.severity == severity).count();
            let [errors, warnings, infos] = [Severity::Error, Severity::Warning, Severity::Info].map(count);
            text + &format!("{errors} errors, {warnings} warnings, {infos} notes\n")
        }
        Output::Json => {
            let found: Vec<_> = found
                .iter()
                .map(|located| {
                    let Located { file, line, object, finding } = located;
                    json!({
                        "file": file, "line": line, "object": object, "rule": finding.rule.name,
                        "severity": finding.rule.severity, "message": finding.message,
                    })
                })
                .collect();
            format!("{:#}\n", json!(found))
        }
        Output::Sarif => format!("{:#}\n", sarif::log(found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documentation_page_lists_every_rule() {
        let page = include_str!("../../../docs/check.md");
        for rule in RULES {
            let row = format!("| `{}` | {} |", rule.name, rule.severity);
            assert!(page.contains(&row), "docs/check.md has no row that begins with {row}");
        }
    }
}
