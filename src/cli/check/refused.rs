//! What the API server refuses in Jobs and CronJobs: the checks that need nothing but the manifest.
//!
//! See <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/>.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{CronJob, JobSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::rules::{Finding, INVALID, found};
use super::syntax::{is_label, is_subdomain, of_annotation_keys, of_labels};
use super::{pod, policies, scheduling};

/// Maximum parallelism of an Indexed Job.
const MAX_INDEXED_PARALLELISM: i32 = 100_000;
/// Maximum length of the name of a Job, which is the value of a label of its pods.
const MAX_JOB_NAME: usize = 63;
/// Maximum length of `spec.managedBy`.
const MAX_MANAGER: usize = 63;
/// Maximum length of the name of any other object.
const MAX_NAME: usize = 253;
/// Number of completions above which an Indexed Job with `backoffLimitPerIndex` has lower limits.
const MANY_COMPLETIONS: i32 = 100_000;
/// Maximum parallelism and number of failed indexes of such a Job.
const MAX_OF_MANY: i32 = 10_000;
/// Maximum number of failed indexes.
const MAX_FAILED_INDEXES: i32 = 100_000;
/// Maximum length of the name of a CronJob, whose Jobs have longer names.
const MAX_CRON_JOB_NAME: usize = 52;

/// Returns the findings for the metadata of an object at the path `metadata`. `max` is the maximum number of characters
/// of its name.
fn of_metadata(metadata: &ObjectMeta, max: usize) -> Vec<String> {
    let mut messages = Vec::new();
    match (metadata.name.as_deref(), metadata.generate_name.as_deref()) {
        (None | Some(""), None | Some("")) => messages.push("metadata.name is required".to_owned()),
        (None | Some(""), Some(prefix)) => {
            if !is_subdomain(&format!("{prefix}x")) {
                messages.push(format!("metadata.generateName {prefix:?} {NAME_FORM}"));
            }
        }
        (Some(name), _) => {
            if name.len() > max {
                messages.push(format!("metadata.name has {} characters, at most {max} are allowed", name.len()));
            }
            if !is_subdomain(name) {
                messages.push(format!("metadata.name {name:?} {NAME_FORM}"));
            }
        }
    }
    if let Some(namespace) = metadata.namespace.as_deref().filter(|name| !name.is_empty() && !is_label(name)) {
        messages.push(format!("metadata.namespace {namespace:?} is not the name of a namespace"));
    }
    messages.extend(of_labels(metadata.labels.as_ref(), "metadata.labels"));
    messages.extend(of_annotation_keys(metadata.annotations.as_ref(), "metadata.annotations"));
    messages
}

/// Form of the name of an object, as the end of a sentence.
const NAME_FORM: &str = "may have only lower-case letters, digits, - and ., and begins and ends with a letter or digit";

/// Returns the findings for the metadata of a Job.
pub(super) fn of_job_metadata(metadata: &ObjectMeta, spec: Option<&JobSpec>) -> Vec<Finding> {
    let mut messages = of_metadata(metadata, MAX_JOB_NAME);
    if let (Some(name), Some(spec)) = (metadata.name.as_deref(), spec) {
        messages.extend(of_host_names(name, spec));
    }
    invalid(messages)
}

/// Returns the message for the name of an Indexed Job whose pods would get host names that are too long.
fn of_host_names(name: &str, spec: &JobSpec) -> Option<String> {
    let last = spec.completions.filter(|_| spec.completion_mode.as_deref() == Some("Indexed"))?.max(1) - 1;
    let host = format!("{name}-{last}");
    (name.len() <= MAX_JOB_NAME && host.len() > MAX_JOB_NAME).then(|| {
        format!(
            "metadata.name is too long for an Indexed Job: the host name {host} has {} characters, at most {MAX_JOB_NAME} are allowed",
            host.len()
        )
    })
}

/// Returns the findings for the metadata of a CronJob or JobSchedule.
pub(super) fn of_schedule_metadata(metadata: &ObjectMeta) -> Vec<Finding> {
    invalid(of_metadata(metadata, MAX_CRON_JOB_NAME))
}

/// Returns the findings for the metadata of a JobLimit, JobPolicy or Calendar.
pub(super) fn of_limit_metadata(metadata: &ObjectMeta) -> Vec<Finding> {
    invalid(of_metadata(metadata, MAX_NAME))
}

/// Returns the findings for the labels and annotations of the template of a Job at the path `at`.
pub(super) fn of_template_labels(
    labels: Option<&BTreeMap<String, String>>,
    annotations: Option<&BTreeMap<String, String>>,
    at: &str,
) -> Vec<Finding> {
    let mut messages = of_labels(labels, &format!("{at}.labels"));
    messages.extend(of_annotation_keys(annotations, &format!("{at}.annotations")));
    invalid(messages)
}

/// Returns the finding for a version of the API that the API server does not serve.
pub(super) fn of_version(kind: &str, version: &str, served: &str) -> Finding {
    found(&INVALID, format!("apiVersion {version} is not served for a {kind}; write {served}"))
}

fn invalid(messages: Vec<String>) -> Vec<Finding> {
    messages.into_iter().map(|message| found(&INVALID, message)).collect()
}

/// Returns the findings for the fields of a CronJob other than its schedule.
pub(super) fn of_cron_job(cron_job: &CronJob) -> Vec<Finding> {
    let spec = &cron_job.spec;
    let mut messages = Vec::new();
    if spec.schedule.starts_with("TZ=") || spec.schedule.starts_with("CRON_TZ=") {
        messages.push("spec.schedule must not name a time zone; set spec.timeZone".to_owned());
    }
    if let Some(policy) =
        spec.concurrency_policy.as_deref().filter(|policy| !matches!(*policy, "" | "Allow" | "Forbid" | "Replace"))
    {
        messages.push(format!("spec.concurrencyPolicy {policy:?} must be Allow, Forbid or Replace"));
    }
    let numbers = [
        ("startingDeadlineSeconds", spec.starting_deadline_seconds),
        ("successfulJobsHistoryLimit", spec.successful_jobs_history_limit.map(i64::from)),
        ("failedJobsHistoryLimit", spec.failed_jobs_history_limit.map(i64::from)),
    ];
    messages.extend(negative(&numbers, "spec"));
    invalid(messages)
}

fn negative(numbers: &[(&str, Option<i64>)], at: &str) -> Vec<String> {
    let negative = numbers.iter().filter(|(_, number)| number.is_some_and(|number| number < 0));
    negative.map(|(field, _)| format!("{at}.{field} must not be negative")).collect()
}

/// Returns the findings for the spec of a Job at the path `at`.
pub(super) fn of_job_spec(spec: &JobSpec, at: &str) -> Vec<Finding> {
    let mut messages = of_numbers(spec, at);
    messages.extend(pod::of_template(&spec.template, &format!("{at}.template")));
    messages.extend(of_completion_mode(spec, at));
    messages.extend(policies::of_policies(spec, at));
    messages.extend(scheduling::refused(spec, at));
    if spec.selector.is_some() && spec.manual_selector != Some(true) {
        messages.push(format!("{at}.selector must be left out; the API server generates it"));
    }
    if let Some(manager) = &spec.managed_by {
        let parts: Vec<&str> = manager.split('/').collect();
        let valid = matches!(&parts[..], [domain, name] if is_subdomain(domain) && !name.is_empty())
            && manager.len() <= MAX_MANAGER;
        if !valid {
            messages.push(format!(
                "{at}.managedBy {manager:?} must be a domain and a name, such as jobwright.dev/controller"
            ));
        }
    }
    invalid(messages)
}

fn of_numbers(spec: &JobSpec, at: &str) -> Vec<String> {
    let numbers = [
        ("parallelism", spec.parallelism.map(i64::from)),
        ("completions", spec.completions.map(i64::from)),
        ("backoffLimit", spec.backoff_limit.map(i64::from)),
        ("backoffLimitPerIndex", spec.backoff_limit_per_index.map(i64::from)),
        ("maxFailedIndexes", spec.max_failed_indexes.map(i64::from)),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished.map(i64::from)),
    ];
    negative(&numbers, at)
}

fn of_completion_mode(spec: &JobSpec, at: &str) -> Vec<String> {
    let mut messages = Vec::new();
    let indexed = match spec.completion_mode.as_deref() {
        Some("Indexed") => true,
        None | Some("NonIndexed") => false,
        Some(mode) => {
            messages.push(format!("{at}.completionMode {mode:?} must be Indexed or NonIndexed"));
            false
        }
    };
    if indexed && spec.completions.is_none() {
        messages.push(format!("{at}.completions is required with completionMode: Indexed"));
    }
    if indexed && spec.parallelism.is_some_and(|parallelism| parallelism > MAX_INDEXED_PARALLELISM) {
        messages
            .push(format!("{at}.parallelism must be at most {MAX_INDEXED_PARALLELISM} with completionMode: Indexed"));
    }
    let per_index = [
        ("backoffLimitPerIndex", spec.backoff_limit_per_index.is_some()),
        ("successPolicy", spec.success_policy.is_some()),
    ];
    let wrong = per_index.iter().filter(|(_, given)| *given && !indexed);
    messages.extend(wrong.map(|(field, _)| format!("{at}.{field} requires completionMode: Indexed")));
    if spec.backoff_limit_per_index.is_some() && spec.completions.is_some_and(|count| count > MANY_COMPLETIONS) {
        let limits = [("maxFailedIndexes", spec.max_failed_indexes), ("parallelism", spec.parallelism)];
        messages.extend(limits.iter().filter(|(_, value)| value.is_none_or(|value| value > MAX_OF_MANY)).map(
            |(field, _)| {
                format!(
                    "{at}.{field} must be at most {MAX_OF_MANY} with backoffLimitPerIndex and more than {MANY_COMPLETIONS} completions"
                )
            },
        ));
    }
    let Some(failed) = spec.max_failed_indexes else { return messages };
    if spec.backoff_limit_per_index.is_none() {
        messages.push(format!("{at}.maxFailedIndexes requires backoffLimitPerIndex"));
        return messages;
    }
    let completions = spec.completions.unwrap_or_default();
    if failed > completions || failed > MAX_FAILED_INDEXES {
        messages.push(format!("{at}.maxFailedIndexes must not be more than completions and {MAX_FAILED_INDEXES}"));
    }
    messages
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn messages(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut spec =
            json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "i"}]}}});
        change(&mut spec);
        let spec = serde_json::from_value(spec).unwrap();
        of_job_spec(&spec, "spec").into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn each_refusal_of_the_api_server_is_found() {
        type Case = (fn(&mut Value), &'static str);
        let cases: [Case; 16] = [
            (
                |spec| spec["template"]["spec"]["restartPolicy"] = Value::Null,
                "restartPolicy must be set to Never or OnFailure",
            ),
            (|spec| spec["template"]["spec"]["restartPolicy"] = json!("Always"), "restartPolicy \"Always\" must be"),
            (|spec| spec["template"]["spec"]["containers"] = json!([]), "at least one container"),
            (
                |spec| spec["template"]["spec"]["containers"][0]["image"] = Value::Null,
                "containers[0].image is required",
            ),
            (|spec| spec["template"]["spec"]["containers"][0]["name"] = json!("Main"), "containers[0].name \"Main\""),
            (
                |spec| spec["template"]["spec"]["initContainers"] = json!([{"name": "main", "image": "i"}]),
                "initContainers[0].name \"main\" is the name of another container",
            ),
            (|spec| spec["parallelism"] = json!(-1), "spec.parallelism must not be negative"),
            (|spec| spec["completionMode"] = json!("Indexed"), "spec.completions is required"),
            (|spec| spec["completionMode"] = json!("indexed"), "completionMode \"indexed\" must be"),
            (|spec| spec["backoffLimitPerIndex"] = json!(1), "backoffLimitPerIndex requires completionMode: Indexed"),
            (|spec| spec["maxFailedIndexes"] = json!(1), "maxFailedIndexes requires backoffLimitPerIndex"),
            (|spec| spec["selector"] = json!({"matchLabels": {"a": "b"}}), "spec.selector must be left out"),
            (|spec| spec["managedBy"] = json!("jobwright"), "spec.managedBy \"jobwright\" must be a domain and a name"),
            (|spec| spec["podReplacementPolicy"] = json!("Never"), "podReplacementPolicy \"Never\" must be"),
            (
                |spec| {
                    spec["podFailurePolicy"] = json!({"rules": [{"action": "FailIndex", "onPodConditions": [{"type": "A", "status": "True"}]}]})
                },
                "rules[0].action FailIndex requires backoffLimitPerIndex",
            ),
            (
                |spec| spec["podFailurePolicy"] = json!({"rules": [{"action": "Ignore"}]}),
                "either onExitCodes or onPodConditions",
            ),
        ];
        for (change, expected) in cases {
            let found = messages(change);
            assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
        }
        assert_eq!(messages(|_| {}), [""; 0]);
    }

    #[test]
    fn names_are_checked() {
        let metadata = |name: &str| ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let message = |metadata: &ObjectMeta| of_metadata(metadata, MAX_JOB_NAME);
        assert_eq!(message(&metadata("etl-1.a")), [""; 0]);
        assert!(message(&metadata(&"a".repeat(64)))[0].contains("64 characters, at most 63"));
        assert!(message(&metadata("Etl"))[0].contains("lower-case"));
        assert_eq!(message(&ObjectMeta::default()), ["metadata.name is required"]);
        let generated = |prefix: &str| ObjectMeta { generate_name: Some(prefix.to_owned()), ..ObjectMeta::default() };
        assert_eq!(message(&generated("etl-")), [""; 0]);
        assert!(message(&generated("-etl"))[0].contains("metadata.generateName"));
        assert!(of_schedule_metadata(&metadata(&"a".repeat(53)))[0].message.contains("at most 52"));
        let namespace = ObjectMeta { namespace: Some("a.b".to_owned()), ..metadata("a") };
        assert!(message(&namespace)[0].contains("not the name of a namespace"));
    }

    #[test]
    fn name_of_an_indexed_job_leaves_room_for_the_index() {
        let spec = |completions: i32| JobSpec {
            completion_mode: Some("Indexed".to_owned()),
            completions: Some(completions),
            ..JobSpec::default()
        };
        let metadata = ObjectMeta { name: Some("a".repeat(61)), ..ObjectMeta::default() };
        assert_eq!(of_job_metadata(&metadata, Some(&spec(10))), [], "the last host name has 63 characters");
        let found = of_job_metadata(&metadata, Some(&spec(11)));
        assert!(found[0].message.contains("has 64 characters, at most 63"), "{found:?}");
    }

    #[test]
    fn fields_of_a_cron_job_are_checked() {
        let cron_job = serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": {
            "schedule": "TZ=UTC 0 0 * * *", "concurrencyPolicy": "forbid", "startingDeadlineSeconds": -1, "jobTemplate": {},
        }}))
        .unwrap();
        let found: Vec<String> = of_cron_job(&cron_job).into_iter().map(|finding| finding.message).collect();
        assert_eq!(found.len(), 3, "{found:?}");
    }
}
