//! What the API server refuses in Jobs and CronJobs: the checks that need nothing but the manifest.
//!
//! See <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/>.

use k8s_openapi::api::batch::v1::{CronJob, JobSpec};

use super::rules::{Finding, INVALID, found};

/// Maximum parallelism of an Indexed Job.
const MAX_INDEXED_PARALLELISM: i32 = 100_000;
/// Maximum length of the name of a Job, which is the value of a label of its pods.
const MAX_JOB_NAME: usize = 63;
/// Maximum length of the name of a CronJob, whose Jobs have longer names.
const MAX_CRON_JOB_NAME: usize = 52;

/// Returns the findings for the name of an object. `max` is the maximum number of characters.
fn of_name(name: Option<&str>, max: usize) -> Vec<Finding> {
    let Some(name) = name else { return Vec::new() };
    let mut findings = Vec::new();
    if name.len() > max {
        findings
            .push(found(&INVALID, format!("metadata.name has {} characters, at most {max} are allowed", name.len())));
    }
    if !is_subdomain(name) {
        let message = format!(
            "metadata.name {name:?} may have only lower-case letters, digits, - and ., and begins and ends with a letter or digit"
        );
        findings.push(found(&INVALID, message));
    }
    findings
}

/// Returns the findings for the name of a Job.
pub(super) fn of_job_name(name: Option<&str>) -> Vec<Finding> {
    of_name(name, MAX_JOB_NAME)
}

/// Returns the findings for the name of a CronJob or JobSchedule.
pub(super) fn of_schedule_name(name: Option<&str>) -> Vec<Finding> {
    of_name(name, MAX_CRON_JOB_NAME)
}

fn is_subdomain(name: &str) -> bool {
    name.split('.').all(is_label)
}

fn is_label(part: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !part.is_empty() && part.chars().all(inner) && !part.starts_with('-') && !part.ends_with('-')
}

/// Returns the findings for the fields of a CronJob other than its schedule.
pub(super) fn of_cron_job(cron_job: &CronJob) -> Vec<Finding> {
    let spec = &cron_job.spec;
    let mut messages = Vec::new();
    if spec.schedule.starts_with("TZ=") || spec.schedule.starts_with("CRON_TZ=") {
        messages.push("spec.schedule must not name a time zone; set spec.timeZone".to_owned());
    }
    if let Some(policy) =
        spec.concurrency_policy.as_deref().filter(|policy| !matches!(*policy, "Allow" | "Forbid" | "Replace"))
    {
        messages.push(format!("spec.concurrencyPolicy {policy:?} must be Allow, Forbid or Replace"));
    }
    let numbers = [
        ("startingDeadlineSeconds", spec.starting_deadline_seconds),
        ("successfulJobsHistoryLimit", spec.successful_jobs_history_limit.map(i64::from)),
        ("failedJobsHistoryLimit", spec.failed_jobs_history_limit.map(i64::from)),
    ];
    messages.extend(negative(&numbers, "spec"));
    messages.into_iter().map(|message| found(&INVALID, message)).collect()
}

fn negative(numbers: &[(&str, Option<i64>)], at: &str) -> Vec<String> {
    let negative = numbers.iter().filter(|(_, number)| number.is_some_and(|number| number < 0));
    negative.map(|(field, _)| format!("{at}.{field} must not be negative")).collect()
}

/// Returns the findings for the spec of a Job at the path `at`.
pub(super) fn of_job_spec(spec: &JobSpec, at: &str) -> Vec<Finding> {
    let mut messages = of_numbers(spec, at);
    messages.extend(of_pod(spec, at));
    messages.extend(of_completion_mode(spec, at));
    messages.extend(of_policies(spec, at));
    if spec.selector.is_some() && spec.manual_selector != Some(true) {
        messages.push(format!("{at}.selector must be left out; the API server generates it"));
    }
    if let Some(manager) = &spec.managed_by {
        let parts: Vec<&str> = manager.split('/').collect();
        let valid =
            matches!(&parts[..], [domain, name] if is_subdomain(domain) && !name.is_empty()) && manager.len() <= 63;
        if !valid {
            messages.push(format!(
                "{at}.managedBy {manager:?} must be a domain and a name, such as jobwright.dev/controller"
            ));
        }
    }
    messages.into_iter().map(|message| found(&INVALID, message)).collect()
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

fn of_pod(spec: &JobSpec, at: &str) -> Vec<String> {
    let mut messages = Vec::new();
    let path = format!("{at}.template.spec");
    let Some(pod) = &spec.template.spec else { return vec![format!("{path} is required")] };
    match pod.restart_policy.as_deref() {
        Some("Never" | "OnFailure") => {}
        None => messages
            .push(format!("{path}.restartPolicy must be set to Never or OnFailure; its default, Always, is refused")),
        Some(policy) => messages.push(format!("{path}.restartPolicy {policy:?} must be Never or OnFailure")),
    }
    if pod.containers.is_empty() {
        messages.push(format!("{path}.containers must have at least one container"));
    }
    let inits = pod.init_containers.iter().flatten().enumerate().map(|(place, one)| ("initContainers", place, one));
    let all = pod.containers.iter().enumerate().map(|(place, one)| ("containers", place, one)).chain(inits);
    let mut names = Vec::new();
    for (field, place, container) in all {
        let path = format!("{path}.{field}[{place}]");
        if !is_label(&container.name) || container.name.len() > 63 {
            messages.push(format!("{path}.name {:?} may have only lower-case letters, digits and -", container.name));
        }
        if names.contains(&&container.name) {
            messages.push(format!("{path}.name {:?} is the name of another container", container.name));
        }
        if container.image.as_deref().is_none_or(str::is_empty) {
            messages.push(format!("{path}.image is required"));
        }
        names.push(&container.name);
    }
    messages
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
    if spec.max_failed_indexes.is_some() && spec.backoff_limit_per_index.is_none() {
        messages.push(format!("{at}.maxFailedIndexes requires backoffLimitPerIndex"));
    }
    messages
}

fn of_policies(spec: &JobSpec, at: &str) -> Vec<String> {
    let mut messages = Vec::new();
    let restarts = spec.template.spec.as_ref().and_then(|pod| pod.restart_policy.as_deref());
    if let Some(policy) = spec.pod_replacement_policy.as_deref() {
        if !matches!(policy, "TerminatingOrFailed" | "Failed") {
            messages.push(format!("{at}.podReplacementPolicy {policy:?} must be TerminatingOrFailed or Failed"));
        } else if spec.pod_failure_policy.is_some() && policy != "Failed" {
            messages.push(format!("{at}.podReplacementPolicy must be Failed with podFailurePolicy"));
        }
    }
    if let Some(policy) = &spec.pod_failure_policy {
        if restarts != Some("Never") {
            messages.push(format!("{at}.podFailurePolicy requires restartPolicy: Never"));
        }
        for (place, rule) in policy.rules.iter().enumerate() {
            let path = format!("{at}.podFailurePolicy.rules[{place}]");
            match rule.action.as_str() {
                "FailJob" | "Ignore" | "Count" => {}
                "FailIndex" if spec.backoff_limit_per_index.is_some() => {}
                "FailIndex" => messages.push(format!("{path}.action FailIndex requires backoffLimitPerIndex")),
                action => {
                    messages.push(format!("{path}.action {action:?} must be FailJob, FailIndex, Ignore or Count"))
                }
            }
            let conditions = rule.on_pod_conditions.as_ref().is_some_and(|conditions| !conditions.is_empty());
            if rule.on_exit_codes.is_some() == conditions {
                messages.push(format!("{path} must have either onExitCodes or onPodConditions"));
            }
            if rule.on_exit_codes.as_ref().is_some_and(|codes| codes.operator == "In" && codes.values.contains(&0)) {
                messages.push(format!("{path}.onExitCodes.values must not contain 0 with operator: In"));
            }
        }
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
        let message =
            |name: &str| of_job_name(Some(name)).into_iter().map(|finding| finding.message).collect::<Vec<_>>();
        assert_eq!(message("etl-1.a"), [""; 0]);
        assert!(message(&"a".repeat(64))[0].contains("64 characters, at most 63"));
        assert!(message("Etl")[0].contains("lower-case"));
        assert!(of_schedule_name(Some(&"a".repeat(53)))[0].message.contains("at most 52"));
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
