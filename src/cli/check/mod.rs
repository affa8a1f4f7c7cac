//! `jobwright check`: finds mistakes in manifests, those that the API server refuses and those that it accepts. It reads
//! files only and needs no cluster.

mod annotations;
mod container;
mod indexes;
mod pod;
mod policies;
mod refused;
mod resources;
pub mod rules;
mod sarif;
mod scheduling;
mod syntax;
mod unknown_fields;

use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job, JobSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

use self::annotations::{of_annotations, of_managed_by};
use self::indexes::of_indexes;
use self::rules::{Finding, RULES, Severity, UNKNOWN_FIELD, find_rule, found, of_cron_job, of_job, of_job_schedule};
use self::unknown_fields::typed;
use crate::client::manifests::{Unreadable, read, with_folders};
use crate::client::output;
use crate::schedule::job_schedule::types::JobScheduleSpec;

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
    /// Read the folders in a folder too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Rules that are not applied
    #[arg(long, value_name = "RULE", value_delimiter = ',', value_parser = rule_name)]
    ignore: Vec<String>,
    /// Exit with 1 if a finding has this severity or a higher one
    #[arg(long, value_enum, value_name = "SEVERITY", default_value = "warning")]
    fail_on: Severity,
    /// Report findings of this severity and higher ones
    #[arg(long, alias = "least", value_enum, value_name = "SEVERITY", default_value = "warning")]
    min_severity: Severity,
    /// Output format
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    /// List the rules
    #[arg(long)]
    rules: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// Text, for reading
    Text,
    /// JSON, for programs
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
}

fn rule_name(text: &str) -> Result<String, String> {
    let names = || RULES.iter().map(|rule| rule.name).collect::<Vec<_>>().join(", ");
    let rule = find_rule(text).ok_or_else(|| format!("there is no rule {text:?}; the rules are {}", names()))?;
    Ok(rule.name.to_owned())
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
    match find(arguments, crate::client::now()) {
        Ok(found) => {
            let shown: Vec<&Located> =
                found.iter().filter(|located| located.finding.rule.severity >= arguments.min_severity).collect();
            output::print(print(arguments.output, &shown, found.len() - shown.len()));
            let bad = found.iter().any(|located| located.finding.rule.severity >= arguments.fail_on);
            if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            output::error_line(format!("jobwright: {error}"));
            ExitCode::from(UNREADABLE)
        }
    }
}

/// Reason why nothing was checked.
#[derive(Debug, Error)]
enum CheckError {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("no Jobs, CronJobs, JobSchedules, JobLimits, JobPolicies or Calendars found in {0}{1}")]
    Nothing(String, &'static str),
}

fn find(arguments: &Arguments, now: Timestamp) -> Result<Vec<Located>, CheckError> {
    let mut found = Vec::new();
    let mut checked = 0;
    for manifest in read(&arguments.filename, arguments.recursive)? {
        let Some(findings) = of_object(&manifest.object, now) else { continue };
        checked += 1;
        let excused = manifest.object["metadata"]["annotations"][IGNORE_ANNOTATION].as_str().unwrap_or_default();
        let excused: Vec<&str> = excused.split(',').filter_map(|name| Some(find_rule(name.trim())?.name)).collect();
        let (kind, metadata) = (manifest.object["kind"].as_str().unwrap_or_default(), &manifest.object["metadata"]);
        let name = metadata["name"].as_str().or_else(|| metadata["generateName"].as_str()).unwrap_or("?");
        for finding in findings {
            let rule = finding.rule;
            if excused.contains(&rule.name) || arguments.ignore.iter().any(|ignored| ignored == rule.name) {
                continue;
            }
            found.push(Located {
                file: manifest.file.clone(),
                line: manifest.line,
                object: format!("{}/{name}", kind.to_lowercase()),
                finding,
            });
        }
    }
    let folders = if arguments.recursive { Vec::new() } else { with_folders(&arguments.filename) };
    if checked == 0 {
        let paths: Vec<String> = arguments.filename.iter().map(|path| path.display().to_string()).collect();
        let hint = if folders.is_empty() { "" } else { "; -R reads the folders in it too" };
        return Err(CheckError::Nothing(paths.join(", "), hint));
    }
    for folder in folders {
        output::error_line(format!("jobwright: the folders in {} are not read; -R reads them too", folder.display()));
    }
    Ok(found)
}

/// Returns the findings for an object. `None` for an object of a kind that is not checked.
fn of_object(object: &Value, now: Timestamp) -> Option<Vec<Finding>> {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    let findings = match object["kind"].as_str().unwrap_or_default() {
        "Job" if version == crate::job::API_VERSION => job(object),
        "CronJob" if version == crate::job::API_VERSION => cron_job(object, now),
        kind @ ("Job" | "CronJob") if version.starts_with("batch/") => {
            return Some(vec![refused::of_version(kind, version, crate::job::API_VERSION)]);
        }
        kind @ ("JobSchedule" | "JobLimit" | "JobPolicy" | "Calendar") if version.starts_with("jobwright.dev/") => {
            let served = resources::served_versions(kind);
            if let Some(newest) = served.first().filter(|_| !served.iter().any(|one| one == version)) {
                return Some(vec![refused::of_version(kind, version, newest)]);
            }
            match kind {
                "JobSchedule" => job_schedule(object, now),
                "JobLimit" => without_template("JobLimit", object, resources::of_job_limit),
                "JobPolicy" => without_template("JobPolicy", object, resources::of_job_policy),
                _ => without_template("Calendar", object, resources::of_calendar),
            }
        }
        _ => return None,
    };
    Some(findings.unwrap_or_else(|error| vec![Finding::unreadable(error)]))
}

fn unknown(paths: Vec<String>) -> impl Iterator<Item = Finding> {
    paths.into_iter().map(|path| found(&UNKNOWN_FIELD, format!("{path} does not exist")))
}

fn job(object: &Value) -> Result<Vec<Finding>, String> {
    let (job, paths) = typed::<Job>(object, "")?;
    let mut findings: Vec<Finding> = unknown(paths).collect();
    findings.extend(refused::of_job_metadata(&job.metadata, job.spec.as_ref()));
    findings.extend(of_annotations(job.metadata.annotations.as_ref(), "metadata.annotations"));
    findings.extend(job.spec.iter().filter_map(|spec| of_indexes(job.metadata.annotations.as_ref(), spec, "")));
    findings.extend(job.spec.iter().flat_map(|spec| of_job_spec(spec, "spec")));
    findings.extend(of_job(&job));
    Ok(findings)
}

fn cron_job(object: &Value, now: Timestamp) -> Result<Vec<Finding>, String> {
    let (cron_job, paths) = typed::<CronJob>(object, "")?;
    let mut findings: Vec<Finding> = unknown(paths).collect();
    findings.extend(refused::of_schedule_metadata(&cron_job.metadata));
    findings.extend(refused::of_cron_job(&cron_job));
    let template = &cron_job.spec.job_template;
    let labels = template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    let annotations = template.metadata.as_ref().and_then(|metadata| metadata.annotations.as_ref());
    findings.extend(refused::of_template_labels(labels, annotations, "spec.jobTemplate.metadata"));
    findings.extend(of_annotations(cron_job.metadata.annotations.as_ref(), "metadata.annotations"));
    findings.extend(of_annotations(annotations, "spec.jobTemplate.metadata.annotations"));
    findings.extend(template.spec.iter().filter_map(|spec| of_indexes(annotations, spec, "spec.jobTemplate.")));
    findings.extend(template.spec.iter().flat_map(|spec| of_job_spec(spec, "spec.jobTemplate.spec")));
    findings.extend(of_cron_job(&cron_job, now));
    Ok(findings)
}

fn job_schedule(object: &Value, now: Timestamp) -> Result<Vec<Finding>, String> {
    let mut findings = resources::of_schema("JobSchedule", object);
    let (metadata, paths) = typed::<ObjectMeta>(&object["metadata"], "metadata")?;
    findings.extend(unknown(paths));
    findings.extend(refused::of_schedule_metadata(&metadata));
    findings.extend(of_annotations(metadata.annotations.as_ref(), "metadata.annotations"));
    let spec = match JobScheduleSpec::deserialize(&object["spec"]) {
        Ok(spec) => spec,
        // The schema has found the cause.
        Err(_) if !findings.is_empty() => return Ok(findings),
        Err(error) => return Err(error.to_string()),
    };
    findings.extend(resources::of_job_schedule(&spec));
    if let Some(metadata) = &spec.job_template.metadata {
        let at = "spec.jobTemplate.metadata";
        findings.extend(refused::of_template_labels(Some(&metadata.labels), Some(&metadata.annotations), at));
    }
    let annotations = spec.job_template.metadata.as_ref().map(|metadata| &metadata.annotations);
    findings.extend(of_annotations(annotations, "spec.jobTemplate.metadata.annotations"));
    if let Ok((job, paths)) = typed::<JobSpec>(&spec.job_template.spec, "spec.jobTemplate.spec") {
        findings.extend(unknown(paths));
        findings.extend(of_indexes(annotations, &job, "spec.jobTemplate."));
        findings.extend(of_job_spec(&job, "spec.jobTemplate.spec"));
    }
    let who = format!(
        "{}/{}",
        metadata.namespace.as_deref().unwrap_or("default"),
        metadata.name.as_deref().unwrap_or("default")
    );
    findings.extend(of_job_schedule(&spec, &who, now));
    Ok(findings)
}

/// Returns the findings for a resource of Jobwright that contains no template of a Job.
fn without_template(
    kind: &str,
    object: &Value,
    of_spec: impl Fn(&Value) -> Vec<Finding>,
) -> Result<Vec<Finding>, String> {
    let mut findings = resources::of_schema(kind, object);
    let (metadata, paths) = typed::<ObjectMeta>(&object["metadata"], "metadata")?;
    findings.extend(unknown(paths));
    findings.extend(refused::of_limit_metadata(&metadata));
    findings.extend(of_annotations(metadata.annotations.as_ref(), "metadata.annotations"));
    findings.extend(of_spec(&object["spec"]));
    Ok(findings)
}

/// Returns the findings for what the API server refuses in the spec of a Job, and for its manager.
fn of_job_spec(spec: &JobSpec, at: &str) -> Vec<Finding> {
    let mut findings = refused::of_job_spec(spec, at);
    findings.extend(of_managed_by(spec.managed_by.as_deref(), at));
    findings
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Returns the output. `hidden` is the number of findings below `--min-severity`.
fn print(output: Output, found: &[&Located], hidden: usize) -> String {
    match output {
        Output::Text => {
            let mut text = String::new();
            for Located { file, line, object, finding } in found.iter().copied() {
                let Finding { rule, message } = finding;
                text += &format!("{file}:{line}: {object}: {}: {message} [{}]\n", rule.severity, rule.name);
            }
            let count = |severity| found.iter().filter(|located| located.finding.rule.severity == severity).count();
            let [errors, warnings, infos] = [Severity::Error, Severity::Warning, Severity::Info].map(count);
            let hidden = if hidden > 0 { format!(" ({hidden} of lower severity hidden)") } else { String::new() };
            text + &format!("{}, {}, {infos} info{hidden}\n", plural(errors, "error"), plural(warnings, "warning"))
        }
        Output::Json => {
            let found: Vec<_> = found
                .iter()
                .map(|located| {
                    let Located { file, line, object, finding } = *located;
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
    fn version_that_is_not_served_is_reported_and_other_groups_are_ignored() {
        let messages = |version: &str, kind: &str| -> Option<Vec<String>> {
            let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}, "spec": {}});
            let findings = of_object(&object, Timestamp::UNIX_EPOCH)?;
            Some(findings.into_iter().map(|finding| finding.message).collect())
        };
        assert_eq!(
            messages("batch/v1beta1", "CronJob"),
            Some(vec!["apiVersion batch/v1beta1 is not served for a CronJob; write batch/v1".to_owned()])
        );
        let old = messages("jobwright.dev/v1", "JobLimit").unwrap();
        assert_eq!(old, ["apiVersion jobwright.dev/v1 is not served for a JobLimit; write jobwright.dev/v1beta1"]);
        assert_eq!(messages("jobs.example.com/v1", "Job"), None);
    }

    #[test]
    fn documentation_page_lists_every_rule() {
        let page = include_str!("../../../docs/check.md");
        for rule in RULES {
            let row = format!("| `{}` | {} |", rule.name, rule.severity);
            assert!(page.contains(&row), "docs/check.md has no row that begins with {row}");
        }
    }
}
