//! JobSchedules and JobLimits against their CustomResourceDefinitions: what the API server refuses, and fields that do
//! not exist.

use serde_json::Value;

use super::rules::{Finding, INVALID, UNKNOWN_FIELD, found};
use crate::cli::crds;
use crate::schedule::job_schedule::types::{CatchUp, ConcurrencyPolicy, JobScheduleSpec};

/// Returns the versions of a kind that its CustomResourceDefinition serves, as `apiVersion` has them.
pub(super) fn served_versions(kind: &str) -> Vec<String> {
    let crd = crds::all().into_iter().find(|crd| crd.spec.names.kind == kind);
    let versions = crd.into_iter().flat_map(|crd| {
        let group = crd.spec.group.clone();
        crd.spec
            .versions
            .into_iter()
            .filter(|version| version.served)
            .map(move |version| format!("{group}/{}", version.name))
    });
    versions.collect()
}

/// Returns the findings for an object against the schema of its CustomResourceDefinition.
pub(super) fn of_schema(kind: &str, object: &Value) -> Vec<Finding> {
    let crd = crds::all().into_iter().find(|crd| crd.spec.names.kind == kind);
    let version = crd.and_then(|crd| crd.spec.versions.into_iter().next());
    let schema = version.and_then(|version| version.schema?.open_api_v3_schema);
    let Some(schema) = schema.and_then(|schema| serde_json::to_value(schema).ok()) else { return Vec::new() };
    let mut findings = Vec::new();
    validate(&object["spec"], &schema["properties"]["spec"], "spec", &mut findings);
    findings
}

fn validate(value: &Value, schema: &Value, at: &str, findings: &mut Vec<Finding>) {
    let mut invalid = |message: String| findings.push(found(&INVALID, message));
    if value.is_null() {
        if schema["nullable"] != Value::Bool(true) {
            invalid(format!("{at} is required"));
        }
        return;
    }
    let type_ = schema["type"].as_str().unwrap_or_default();
    let has_type = match type_ {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    };
    if !has_type {
        invalid(format!("{at} must be of the type {type_}"));
        return;
    }
    if let Some(values) = schema["enum"].as_array().filter(|values| !values.contains(value)) {
        let values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
        invalid(format!("{at} {value} must be one of {}", values.join(", ")));
    }
    let bound = |name: &str| schema[name].as_f64();
    if let Some(number) = value.as_f64() {
        if let Some(minimum) = bound("minimum").filter(|minimum| number < *minimum) {
            invalid(format!("{at} must be at least {minimum}"));
        }
        if let Some(maximum) = bound("maximum").filter(|maximum| number > *maximum) {
            invalid(format!("{at} must be at most {maximum}"));
        }
    }
    if let Some(text) = value.as_str() {
        let length = text.chars().count() as f64;
        if bound("minLength").is_some_and(|minimum| length < minimum)
            || bound("maxLength").is_some_and(|maximum| length > maximum)
        {
            invalid(format!("{at} has {length} characters, which is too few or too many"));
        }
        let pattern = schema["pattern"].as_str().and_then(|pattern| regex::Regex::new(pattern).ok());
        if pattern.is_some_and(|pattern| !pattern.is_match(text)) {
            invalid(format!("{at} {text:?} does not have the form of this field"));
        }
    }
    if let Some(items) = value.as_array() {
        let length = items.len() as f64;
        if bound("minItems").is_some_and(|minimum| length < minimum)
            || bound("maxItems").is_some_and(|maximum| length > maximum)
        {
            invalid(format!("{at} has {length} entries, which is too few or too many"));
        }
        for (place, item) in items.iter().enumerate() {
            validate(item, &schema["items"], &format!("{at}[{place}]"), findings);
        }
    }
    if let Some(fields) = value.as_object() {
        of_fields(fields, schema, at, findings);
    }
}

fn of_fields(fields: &serde_json::Map<String, Value>, schema: &Value, at: &str, findings: &mut Vec<Finding>) {
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if fields.get(required).is_none_or(Value::is_null) {
            findings.push(found(&INVALID, format!("{at}.{required} is required")));
        }
    }
    let open = schema["x-kubernetes-preserve-unknown-fields"] == Value::Bool(true);
    for (field, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        let path = format!("{at}.{field}");
        match (&schema["properties"][field.as_str()], &schema["additionalProperties"]) {
            (known @ Value::Object(_), _) => validate(value, known, &path, findings),
            (_, each @ Value::Object(_)) => validate(value, each, &path, findings),
            _ if open => {}
            _ => findings.push(found(&UNKNOWN_FIELD, format!("{path} does not exist"))),
        }
    }
}

/// Returns the findings for the rules of a JobSchedule that combine fields.
pub(super) fn of_job_schedule(spec: &JobScheduleSpec) -> Vec<Finding> {
    let mut messages = Vec::new();
    let queue = spec.concurrency_policy == ConcurrencyPolicy::Queue;
    if spec.max_catch_up.is_some() && spec.catch_up != CatchUp::All && !queue {
        messages.push("spec.maxCatchUp requires spec.catchUp: All or spec.concurrencyPolicy: Queue".to_owned());
    }
    if spec.max_active.is_some() && !queue && spec.concurrency_policy != ConcurrencyPolicy::Allow {
        messages.push("spec.maxActive requires spec.concurrencyPolicy: Allow or Queue".to_owned());
    }
    if let Some(backfill) = &spec.backfill {
        if backfill.to.0 < backfill.from.0 {
            messages.push("spec.backfill.to must not be before spec.backfill.from".to_owned());
        }
        if spec.concurrency_policy == ConcurrencyPolicy::Replace {
            messages.push("spec.backfill requires spec.concurrencyPolicy: Allow, Forbid or Queue".to_owned());
        }
    }
    if let (Some(begin), Some(end)) = (&spec.not_before, &spec.not_after)
        && begin.0 > end.0
    {
        messages.push("spec.notAfter must not be before spec.notBefore".to_owned());
    }
    if spec.schedules.iter().any(|text| text.starts_with("TZ=") || text.starts_with("CRON_TZ=")) {
        messages.push("spec.schedules must not name a time zone; set spec.timeZone".to_owned());
    }
    for (place, exclusion) in spec.exclude.iter().enumerate() {
        let at = format!("spec.exclude[{place}]");
        match (&exclusion.date, &exclusion.from, &exclusion.to) {
            (Some(_), None, None) => {}
            (None, Some(from), Some(to)) if from < to => {}
            (None, Some(_), Some(_)) => {
                messages.push(format!("{at}.to must be after {at}.from, or nothing is excluded"))
            }
            _ => messages.push(format!("{at} must have either date, or from and to")),
        }
        let day = exclusion
            .date
            .as_deref()
            .map(|date| if date.len() == 5 { format!("2024-{date}") } else { date.to_owned() });
        if let (Some(day), Some(date)) = (day, &exclusion.date)
            && day.parse::<jiff::civil::Date>().is_err()
        {
            messages.push(format!("{at}.date {date:?} does not exist"));
        }
    }
    let job = &spec.job_template.spec;
    if job["template"].is_null() {
        messages.push("spec.jobTemplate.spec.template is required".to_owned());
    }
    messages.into_iter().map(|message| found(&INVALID, message)).collect()
}

/// Returns the findings for the rules of a JobLimit that combine fields.
pub(super) fn of_job_limit(spec: &Value) -> Vec<Finding> {
    if spec["maxActiveJobs"].is_null() && spec["maxActivePods"].is_null() {
        return vec![found(&INVALID, "spec must have maxActiveJobs, maxActivePods or both")];
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schedule(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut object = json!({"spec": {"schedules": ["0 4 * * *"], "jobTemplate": {"spec": {"template": {}}}}});
        change(&mut object["spec"]);
        let mut findings = of_schema("JobSchedule", &object);
        if let Ok(spec) = serde_json::from_value(object["spec"].clone()) {
            findings.extend(of_job_schedule(&spec));
        }
        findings.into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn job_schedule_is_checked_against_its_definition() {
        type Case = (fn(&mut Value), &'static str);
        let cases: [Case; 12] = [
            (|spec| spec["jitterr"] = json!("5m"), "spec.jitterr does not exist"),
            (|spec| spec["jitter"] = json!("5 minutes"), "spec.jitter \"5 minutes\" does not have the form"),
            (|spec| spec["schedules"] = json!([]), "spec.schedules has 0 entries"),
            (|spec| spec["schedules"] = json!("0 4 * * *"), "spec.schedules must be of the type array"),
            (|spec| spec["maxActive"] = json!(0), "spec.maxActive must be at least 1"),
            (|spec| spec["concurrencyPolicy"] = json!("forbid"), "must be one of Allow, Forbid, Replace, Queue"),
            (|spec| spec["maxCatchUp"] = json!(5), "spec.maxCatchUp requires spec.catchUp: All"),
            (
                |spec| {
                    spec["maxActive"] = json!(2);
                    spec["concurrencyPolicy"] = json!("Forbid");
                },
                "spec.maxActive requires spec.concurrencyPolicy",
            ),
            (
                |spec| spec["exclude"] = json!([{"from": "2026-12-01T00:00", "to": "2026-11-01T00:00"}]),
                "spec.exclude[0].to must be after spec.exclude[0].from",
            ),
            (|spec| spec["exclude"] = json!([{"date": "02-30"}]), "spec.exclude[0].date \"02-30\" does not exist"),
            (|spec| spec["exclude"] = json!([{"from": "2026-12-01T00:00"}]), "must have either date, or from and to"),
            (|spec| spec["schedules"] = json!(["TZ=UTC 0 0 * * *"]), "must not name a time zone"),
        ];
        for (change, expected) in cases {
            let found = schedule(change);
            assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
        }
        assert_eq!(schedule(|_| {}), [""; 0]);
    }

    #[test]
    fn job_limit_is_checked_against_its_definition() {
        let of = |spec: Value| {
            let mut findings = of_schema("JobLimit", &json!({"spec": spec.clone()}));
            findings.extend(of_job_limit(&spec));
            findings.into_iter().map(|finding| finding.message).collect::<Vec<_>>()
        };
        assert_eq!(of(json!({"maxActiveJobs": 3, "selector": {"matchLabels": {"a": "b"}}})), [""; 0]);
        let misspelt = of(json!({"maxActiveJob": 3}));
        assert_eq!(
            misspelt,
            ["spec.maxActiveJob does not exist", "spec must have maxActiveJobs, maxActivePods or both"]
        );
        assert!(of(json!({"maxActivePods": -1}))[0].contains("at least 0"));
    }
}
