//! Each rule finds its own mistake, and no other.

use serde_json::{Value, json};

use super::*;

fn names(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.rule.name).collect()
}

/// Returns the spec of a Job without findings.
fn good() -> Value {
    json!({
        "ttlSecondsAfterFinished": 60, "activeDeadlineSeconds": 600,
        "template": {"spec": {"restartPolicy": "Never", "containers": [
            {"name": "main", "image": "i", "resources": {"requests": {"cpu": "1"}}},
        ]}},
    })
}

#[test]
fn job_schedule_is_checked_like_a_cron_job() {
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let check = |more: Value| {
        let mut spec = json!({"schedules": ["0 4 * * *"], "jobTemplate": {"spec": good()}});
        more.as_object().unwrap().iter().for_each(|(key, value)| spec[key] = value.clone());
        names(&of_job_schedule(&serde_json::from_value(spec).unwrap(), "default/a", now))
    };
    assert_eq!(check(json!({})), [""; 0]);
    assert_eq!(check(json!({"timeZone": "Mars"})), ["unknown-time-zone"]);
    assert_eq!(check(json!({"schedules": ["61 * * * *"]})), ["bad-schedule"]);
    assert_eq!(check(json!({"schedules": ["0 * * * *"], "jitter": "46m"})), ["jitter-too-long"]);
    assert_eq!(check(json!({"schedules": ["0 * * * *"], "jitter": "45m"})), [""; 0]);
    assert_eq!(check(json!({"schedules": ["0 0 25 12 *"], "exclude": [{"date": "12-25"}]})), ["bad-schedule"]);
    let often = json!({"template": good()["template"]});
    let often = |policy: &str| json!({"schedules": ["H/10 * * * *"], "concurrencyPolicy": policy, "jobTemplate": {"spec": often.clone()}});
    assert_eq!((check(often("Allow")), check(often("Queue"))), (vec!["pile-up", "no-deadline"], vec!["no-deadline"]));
}

#[test]
fn retention_annotation_counts_as_clean_up() {
    let metadata = json!({"name": "a", "annotations": {AFTER_SUCCESS: "60"}});
    let mut spec = good();
    spec["ttlSecondsAfterFinished"] = Value::Null;
    let job = |metadata: &Value| {
        names(&of_job(&serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()))
    };
    assert_eq!((job(&metadata), job(&json!({"name": "a"}))), (vec![], vec!["no-cleanup"]));
}

fn job(change: impl Fn(&mut Value)) -> Vec<&'static str> {
    let mut spec = good();
    change(&mut spec);
    names(&of_job(&serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap()))
}

fn cron_job(change: impl Fn(&mut Value)) -> Vec<&'static str> {
    let mut spec = json!({
        "schedule": "30 4 * * *", "timeZone": "Europe/Paris", "jobTemplate": {"spec": good()},
    });
    change(&mut spec);
    let cron_job = serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap();
    names(&of_cron_job(&cron_job, "2026-01-01T00:00:00Z".parse().unwrap()))
}

#[test]
fn each_rule_reports_its_own_mistake_only() {
    type Case = (fn(&mut Value), &'static [&'static str]);
    let cases: [Case; 7] = [
        (|_| {}, &[]),
        (|spec| spec["ttlSecondsAfterFinished"] = Value::Null, &["no-cleanup"]),
        (|spec| spec["activeDeadlineSeconds"] = Value::Null, &["no-deadline"]),
        (|spec| spec["template"]["spec"]["restartPolicy"] = json!("OnFailure"), &["logs-lost"]),
        (|spec| spec["template"]["spec"]["containers"][0]["resources"] = Value::Null, &["no-resources"]),
        (|spec| spec["parallelism"] = json!(3), &["work-queue"]),
        (
            |spec| {
                spec["backoffLimit"] = json!(6);
                spec["backoffLimitPerIndex"] = json!(1);
            },
            &["two-backoff-limits"],
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(job(change), expected);
        let in_template = cron_job(|spec| change(&mut spec["jobTemplate"]["spec"]));
        let expected: Vec<_> = expected.iter().filter(|name| **name != "no-cleanup").copied().collect();
        assert_eq!(in_template, expected);
    }
}

#[test]
fn mistakes_in_schedules_and_time_zones_are_reported() {
    let cases: [(&str, Value, &[&str]); 11] = [
        ("30 4 * * *", json!("Europe/Paris"), &[]),
        ("30 2 * * *", json!("Europe/Paris"), &["clock-change"]),
        ("30 2 * * *", json!("Asia/Kolkata"), &[]),
        ("30 * * * *", json!("Europe/Paris"), &[]),
        ("30 4 * * *", Value::Null, &["no-time-zone"]),
        ("*/5 * * * *", json!("UTC"), &["pile-up"]),
        ("0 * * * *", json!("UTC"), &[]),
        ("0 0 30 2 *", json!("UTC"), &["bad-schedule"]),
        ("61 * * * *", json!("UTC"), &["bad-schedule"]),
        ("30 4 * * *", json!("Europe/Nowhere"), &["unknown-time-zone"]),
        ("61 * * * *", json!("Europe/Nowhere"), &["unknown-time-zone", "bad-schedule"]),
    ];
    for (schedule, zone, expected) in cases {
        let found = cron_job(|spec| {
            spec["schedule"] = json!(schedule);
            spec["timeZone"] = zone.clone();
            if schedule == "*/5 * * * *" {
                spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] = Value::Null;
            }
        });
        let found: Vec<_> = found.into_iter().filter(|name| *name != "no-deadline").collect();
        assert_eq!(found, expected, "{schedule} {zone}");
    }
    assert_eq!(cron_job(|spec| spec["startingDeadlineSeconds"] = json!(5)), ["short-starting-deadline"]);
    assert_eq!(cron_job(|spec| spec["startingDeadlineSeconds"] = json!(10)), [""; 0]);
    let held = cron_job(|spec| {
        spec["schedule"] = json!("* * * * *");
        spec["concurrencyPolicy"] = json!("Forbid");
        spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] = Value::Null;
    });
    assert_eq!(held, ["no-deadline"]);
}

#[test]
fn names_of_rules_are_unique() {
    let mut names: Vec<_> = RULES.iter().map(|rule| rule.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), RULES.len());
}

#[test]
fn former_name_of_a_rule_is_accepted() {
    assert_eq!(find_rule("no-clean-up").map(|rule| rule.name), Some("no-cleanup"));
    assert_eq!(find_rule("nothing"), None);
}
