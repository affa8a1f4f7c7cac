//! JobSchedules, JobLimits, JobPolicies and Calendars against their CustomResourceDefinitions: what the API server refuses,
//! and fields that do not exist.

use serde_json::Value;

use super::rules::{Finding, INVALID, UNKNOWN_FIELD, found};
use crate::cli::crds;
use crate::schedule::calendar::period::{Period, PeriodEntry};
use crate::schedule::calendar::types::CalendarSpec;
use crate::schedule::job_schedule::SCHEDULED_VARIABLE;
use crate::schedule::job_schedule::types::{CatchUp, ConcurrencyPolicy, JobScheduleSpec};
use crate::schedule::parameters;

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
    messages.extend(of_periods(&spec.exclude, "spec.exclude"));
    messages.extend(of_parameters(spec));
    let job = &spec.job_template.spec;
    if job["template"].is_null() {
        messages.push("spec.jobTemplate.spec.template is required".to_owned());
    }
    messages.into_iter().map(|message| found(&INVALID, message)).collect()
}

/// Returns messages about the periods at the path `at`.
fn of_periods(periods: &[PeriodEntry], at: &str) -> Vec<String> {
    let of_entry = |(place, entry): (usize, &PeriodEntry)| {
        let at = format!("{at}[{place}]");
        match (&entry.date, &entry.from, &entry.to) {
            (None, Some(from), Some(to)) if from >= to => {
                Some(format!("{at}.to must be after {at}.from, or the period is empty"))
            }
            (Some(_), None, None) | (None, Some(_), Some(_)) if Period::parse(entry).is_some() => None,
            (Some(date), None, None) => Some(format!("{at}.date {date:?} does not exist")),
            (None, Some(_), Some(_)) => Some(format!("{at}: from or to does not exist")),
            _ => Some(format!("{at} must have either date, or from and to")),
        }
    };
    periods.iter().enumerate().filter_map(of_entry).collect()
}

/// Returns messages about parameters.
fn of_parameters(spec: &JobScheduleSpec) -> Vec<String> {
    let mut messages = Vec::new();
    for (place, parameter) in spec.parameters.iter().enumerate() {
        let (name, at) = (&parameter.name, format!("spec.parameters[{place}].name"));
        if spec.parameters[..place].iter().any(|other| other.name == *name) {
            messages.push(format!("{at} {name:?} is there twice"));
        }
        if name == SCHEDULED_VARIABLE {
            messages.push(format!("{at} must not be {SCHEDULED_VARIABLE}, which holds the scheduled time"));
        }
    }
    let set = spec.backfill.as_ref().map(|backfill| &*backfill.parameters).unwrap_or_default();
    if let Some(unknown) = parameters::unknown(&spec.parameters, set) {
        messages.push(format!("spec.backfill.parameters: {unknown:?} is not one of spec.parameters"));
    }
    messages
}

/// Returns the findings for the periods of a Calendar.
pub(super) fn of_calendar(spec: &Value) -> Vec<Finding> {
    let Ok(spec) = serde_json::from_value::<CalendarSpec>(spec.clone()) else { return Vec::new() };
    of_periods(&spec.periods, "spec.periods").into_iter().map(|message| found(&INVALID, message)).collect()
}

/// Returns the findings for the rules of a JobLimit that combine fields.
pub(super) fn of_job_limit(spec: &Value) -> Vec<Finding> {
    if spec["maxActiveJobs"].is_null() && spec["maxActivePods"].is_null() {
        return vec![found(&INVALID, "spec must have maxActiveJobs, maxActivePods or both")];
    }
    Vec::new()
}

/// Returns the findings for the rules of a JobPolicy that combine fields.
pub(super) fn of_job_policy(spec: &Value) -> Vec<Finding> {
    let rules = ["startDeadlines", "progressDeadline", "runningDeadlineSeconds", "retry", "retention", "logTailLines"];
    let mut findings = Vec::new();
    if rules.iter().all(|rule| spec[rule].is_null()) {
        findings.push(found(&INVALID, format!("spec must have at least one of {}", rules.join(", "))));
    }
    let action = &spec["startDeadlines"]["admission"]["action"];
    if *action == "FailIndex" || *action == "RetryPod" {
        let message =
            "spec.startDeadlines.admission.action must be FailJob or Suspend, because there is no pod to fail";
        findings.push(found(&INVALID, message));
    }
    findings
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
        let cases: [Case; 16] = [
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
            (
                |spec| spec["exclude"] = json!([{"from": "2026-02-30T00:00", "to": "2026-11-01T00:00"}]),
                "spec.exclude[0]: from or to does not exist",
            ),
            (
                |spec| spec["parameters"] = json!([{"name": "A"}, {"name": "A"}]),
                "spec.parameters[1].name \"A\" is there twice",
            ),
            (
                |spec| spec["parameters"] = json!([{"name": "JOBWRIGHT_SCHEDULED_TIME"}]),
                "must not be JOBWRIGHT_SCHEDULED_TIME",
            ),
            (
                |spec| {
                    let (time, set) = ("2026-01-01T00:00:00Z", json!([{"name": "A", "value": ""}]));
                    spec["backfill"] = json!({"from": time, "to": time, "parameters": set});
                },
                "spec.backfill.parameters: \"A\" is not one of spec.parameters",
            ),
            (|spec| spec["schedules"] = json!(["TZ=UTC 0 0 * * *"]), "must not name a time zone"),
        ];
        for (change, expected) in cases {
            let found = schedule(change);
            assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
        }
        assert_eq!(schedule(|_| {}), [""; 0]);
    }

    #[test]
    fn calendar_is_checked_against_its_definition() {
        let of = |periods: Value| {
            let object = json!({"spec": {"periods": periods}});
            let mut findings = of_schema("Calendar", &object);
            findings.extend(of_calendar(&object["spec"]));
            findings.into_iter().map(|finding| finding.message).collect::<Vec<_>>()
        };
        assert_eq!(of(json!([{"date": "02-29"}, {"from": "2026-01-01T00:00", "to": "2026-01-02T00:00"}])), [""; 0]);
        assert_eq!(of(json!([{"date": "02-30"}])), ["spec.periods[0].date \"02-30\" does not exist"]);
        assert_eq!(of(json!([{}])), ["spec.periods[0] must have either date, or from and to"]);
        assert_eq!(of(json!([{"day": "02-03"}]))[0], "spec.periods[0].day does not exist");
    }

    #[test]
    fn job_policy_is_checked_against_its_definition() {
        let of = |spec: Value| {
            let mut findings = of_schema("JobPolicy", &json!({"spec": spec.clone()}));
            findings.extend(of_job_policy(&spec));
            findings.into_iter().map(|finding| finding.message).collect::<Vec<_>>()
        };
        let deadline =
            |cause: &str, action: &str| json!({"startDeadlines": {cause: {"seconds": 60, "action": action}}});
        assert_eq!(of(deadline("image", "RetryPod")), [""; 0]);
        assert_eq!(of(deadline("admission", "Suspend")), [""; 0]);
        assert!(of(deadline("admission", "RetryPod"))[0].contains("because there is no pod to fail"));
        assert!(of(deadline("image", "Fail"))[0].contains("must be one of FailJob, FailIndex, RetryPod, Suspend"));
        assert!(of(deadline("images", "FailJob"))[0].contains("spec.startDeadlines.images does not exist"));
        assert!(of(json!({"selector": {}}))[0].contains("spec must have at least one of startDeadlines, "));
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
