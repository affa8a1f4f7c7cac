//! The rules of `jobwright check`: mistakes in Jobs, CronJobs and JobSchedules that the API server accepts. All
//! functions are pure; the time is an argument.

use std::fmt;

use jiff::{SignedDuration, Timestamp, ToSpan};
use k8s_openapi::api::batch::v1::{CronJob, Job, JobSpec};
use serde::Serialize;

use crate::job::view::retention::{AFTER_FAILURE, AFTER_SUCCESS};
use crate::schedule::clock_changes;
use crate::schedule::expression::Schedule;
use crate::schedule::job_schedule::timetable::Timetable;
use crate::schedule::job_schedule::types::{ConcurrencyPolicy, JobScheduleSpec};
use crate::schedule::job_schedule::view::timetable;
use crate::schedule::zones;

/// Severity of a finding, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Information without a mistake
    Info,
    /// Likely mistake
    Warning,
    /// Mistake that keeps the object from working
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// A rule: one kind of mistake that `jobwright check` finds.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Name of the rule, as `--ignore` and the annotation `jobwright.dev/check-ignore` take it.
    pub name: &'static str,
    /// Severity of each finding of this rule.
    pub severity: Severity,
    /// Description of the mistake, for `--rules` and SARIF.
    pub about: &'static str,
}

/// A mistake that a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule that found the mistake.
    pub rule: &'static Rule,
    /// Description of the mistake, and what to write instead.
    pub message: String,
}

macro_rules! rules {
    ($($constant:ident = $severity:ident $name:literal: $about:literal;)*) => {
        $(static $constant: Rule = Rule { name: $name, severity: Severity::$severity, about: $about };)*
        /// All rules, in the order of their definition.
        pub static RULES: &[&Rule] = &[$(&$constant),*];
    };
}

rules! {
    UNREADABLE = Error "unreadable": "An object that is not what its kind says";
    BAD_SCHEDULE = Error "bad-schedule": "A schedule that cannot be read, or that never fires";
    UNKNOWN_TIME_ZONE = Error "unknown-time-zone": "A time zone that nobody knows";
    CLOCK_CHANGE = Warning "clock-change": "A schedule within hours that clocks skip or repeat";
    PILE_UP = Warning "pile-up": "Runs that may overlap without end";
    JITTER_TOO_LONG = Warning "jitter-too-long": "Jitter longer than the time between two runs";
    SHORT_STARTING_DEADLINE = Warning "short-starting-deadline": "A starting deadline shorter than the built-in controller's pause between looks";
    NO_TIME_ZONE = Info "no-time-zone": "A schedule in whatever zone the controller has";
    NO_CLEAN_UP = Warning "no-clean-up": "A Job that nobody deletes when it is over";
    LOGS_LOST = Warning "logs-lost": "restartPolicy OnFailure, whose pods and logs go when the Job fails";
    TWO_BACK_OFF_LIMITS = Warning "two-back-off-limits": "backoffLimit beside backoffLimitPerIndex";
    WORK_QUEUE = Warning "work-queue": "parallelism without completions";
    NO_RESOURCES = Info "no-resources": "Containers that ask for no resources";
    NO_DEADLINE = Info "no-deadline": "A Job that may run for ever";
}

/// Longest interval between two runs for which `pile-up` is reported: a run that takes longer than usual overlaps the
/// next.
const FREQUENT_INTERVAL: SignedDuration = SignedDuration::from_mins(15);
/// Interval, in seconds, at which the built-in controller syncs a CronJob. With a shorter starting deadline, the
/// built-in controller may skip runs.
const BUILTIN_SYNC_SECONDS: i64 = 10;

impl Finding {
    /// Returns the finding that an object does not have the form of its kind.
    pub fn unreadable(message: String) -> Self {
        Self { rule: &UNREADABLE, message }
    }
}

/// Returns the findings for a Job.
pub fn of_job(job: &Job) -> Vec<Finding> {
    let Some(spec) = &job.spec else { return vec![Finding::unreadable("it has no spec".to_owned())] };
    let mut findings = of_spec(spec, "spec");
    let owned = job.metadata.owner_references.iter().flatten().any(|owner| owner.controller == Some(true));
    let annotated = |key| job.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(key));
    if spec.ttl_seconds_after_finished.is_none() && !owned && !annotated(AFTER_SUCCESS) && !annotated(AFTER_FAILURE) {
        let message =
            "it stays when it is over, with its pods, until somebody deletes it; set spec.ttlSecondsAfterFinished";
        findings.push(found(&NO_CLEAN_UP, message));
    }
    findings
}

/// Returns the findings for a CronJob. Clock changes are searched in the year that begins at `now`.
pub fn of_cron_job(cron_job: &CronJob, now: Timestamp) -> Vec<Finding> {
    let spec = &cron_job.spec;
    let mut findings = of_times(cron_job, now);
    if spec.starting_deadline_seconds.is_some_and(|seconds| (0..BUILTIN_SYNC_SECONDS).contains(&seconds)) {
        let message = format!(
            "the built-in controller may look {BUILTIN_SYNC_SECONDS} s late and then starts nothing; set spec.startingDeadlineSeconds to {BUILTIN_SYNC_SECONDS} or more"
        );
        findings.push(found(&SHORT_STARTING_DEADLINE, message));
    }
    let Some(job) = &spec.job_template.spec else {
        findings.push(Finding::unreadable("it has no spec.jobTemplate.spec".to_owned()));
        return findings;
    };
    findings.extend(of_spec(job, "spec.jobTemplate.spec"));
    findings
}

/// Returns the findings for a JobSchedule. `who` is its `namespace/name`, and `now` the time after which its runs are
/// evaluated.
pub fn of_job_schedule(schedule: &JobScheduleSpec, who: &str, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    let job: Option<JobSpec> = serde_json::from_value(schedule.job_template.spec.clone()).ok();
    match timetable(schedule, who, now) {
        Err(wrong) if wrong.starts_with("spec.timeZone") => findings.push(found(&UNKNOWN_TIME_ZONE, wrong)),
        Err(wrong) => findings.push(found(&BAD_SCHEDULE, wrong)),
        Ok(table) => {
            let mut times = table.times(now);
            let (first, second) = (times.next(), times.next());
            if first.is_none() {
                findings.push(found(&BAD_SCHEDULE, "it is never due: nothing matches, or all of it is excluded"));
            }
            let gap = first.zip(second).map(|(first, second)| second.duration_since(first));
            if let Some((gap, longest)) = gap.map(|gap| (gap, Timetable::longest_jitter(gap)))
                && table.jitter > longest
            {
                let message = format!(
                    "spec.jitter is {:#}, and its next runs are {gap:#} apart; a Job is started at most {longest:#} after its time, three quarters of that",
                    table.jitter
                );
                findings.push(found(&JITTER_TOO_LONG, message));
            }
            let overlaps = schedule.concurrency_policy == ConcurrencyPolicy::Allow && schedule.max_active.is_none();
            let deadline = job.as_ref().and_then(|job| job.active_deadline_seconds);
            if overlaps && deadline.is_none() && gap.is_some_and(|gap| gap <= FREQUENT_INTERVAL) {
                let message = format!(
                    "it starts a Job every {:#} whether or not the one before is done; set spec.maxActive, spec.concurrencyPolicy to Forbid, Replace or Queue, or spec.jobTemplate.spec.activeDeadlineSeconds",
                    gap.unwrap_or_default()
                );
                findings.push(found(&PILE_UP, message));
            }
        }
    }
    match &job {
        Some(job) => findings.extend(of_spec(job, "spec.jobTemplate.spec")),
        None => findings.push(Finding::unreadable("spec.jobTemplate.spec is no Job's spec".to_owned())),
    }
    findings
}

/// Returns the findings for a CronJob's schedule and time zone, and for runs that may overlap.
fn of_times(cron_job: &CronJob, now: Timestamp) -> Vec<Finding> {
    let spec = &cron_job.spec;
    let mut findings = Vec::new();
    let usual = match &spec.time_zone {
        Some(name) => match zones::zone(name) {
            Some(zone) => zone,
            None => {
                let message = format!("spec.timeZone {name:?} is not known; write an IANA name such as Europe/Paris");
                return vec![found(&UNKNOWN_TIME_ZONE, message)];
            }
        },
        None => jiff::tz::TimeZone::UTC,
    };
    let schedule = match Schedule::parse(&spec.schedule) {
        Ok(schedule) => schedule,
        Err(error) => return vec![found(&BAD_SCHEDULE, format!("spec.schedule: {error}"))],
    };
    let zone = schedule.zone(&usual).clone();
    if spec.time_zone.is_none() && !schedule.names_zone() {
        let message = "it runs by the controller's own clock, most often UTC; set spec.timeZone";
        findings.push(found(&NO_TIME_ZONE, message));
    }
    let Some(first) = schedule.next(now, &zone) else {
        let message = format!("spec.schedule {:?} matches no time within five years", spec.schedule);
        findings.push(found(&BAD_SCHEDULE, message));
        return findings;
    };
    let year = now.to_zoned(zone.clone()).checked_add(1.year()).map_or(Timestamp::MAX, |end| end.timestamp());
    // A schedule that is due in every hour loses or gains one run in any zone. That is expected, so it is not reported.
    let hourly = (0..24).all(|hour| {
        let begin = jiff::civil::date(2026, 1, 15).at(hour, 0, 0, 0);
        (0..60).any(|minute| begin.checked_add(minute.minutes()).is_ok_and(|local| schedule.matches(local)))
    });
    if !hourly && let Some(change) = clock_changes::between(&schedule, &zone, now, year).first() {
        let (date, time) = (change.first.strftime("%Y-%m-%d"), change.first.strftime("%H:%M"));
        let message = if change.skips {
            format!("on {date} there is no {time} in its zone, and it does not run then; choose another hour")
        } else {
            format!("on {date} {time} comes twice in its zone, and it runs twice; choose another hour")
        };
        findings.push(found(&CLOCK_CHANGE, message));
    }
    let gap = schedule.next(first, &zone).map(|second| second.duration_since(first));
    let overlaps = !matches!(spec.concurrency_policy.as_deref(), Some("Forbid" | "Replace"));
    let deadline = spec.job_template.spec.as_ref().and_then(|job| job.active_deadline_seconds);
    if overlaps && deadline.is_none() && gap.is_some_and(|gap| gap <= FREQUENT_INTERVAL) {
        let message = format!(
            "it starts a Job every {:#} whether or not the one before is done; set spec.concurrencyPolicy to Forbid or Replace, or spec.jobTemplate.spec.activeDeadlineSeconds",
            gap.unwrap_or_default()
        );
        findings.push(found(&PILE_UP, message));
    }
    findings
}

/// Returns the findings for the spec of a Job, which is at the path `at` of its object.
fn of_spec(spec: &JobSpec, at: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let pod = spec.template.spec.as_ref();
    if pod.is_some_and(|pod| pod.restart_policy.as_deref() == Some("OnFailure")) {
        let message = format!(
            "when the Job fails its pods are deleted, and their logs with them; set {at}.template.spec.restartPolicy to Never to keep them"
        );
        findings.push(found(&LOGS_LOST, message));
    }
    if spec.backoff_limit.is_some_and(|limit| limit < i32::MAX) && spec.backoff_limit_per_index.is_some() {
        let message = format!(
            "{at}.backoffLimit counts the failures of all indexes together and may end the Job before {at}.backoffLimitPerIndex is used up; leave {at}.backoffLimit out"
        );
        findings.push(found(&TWO_BACK_OFF_LIMITS, message));
    }
    if spec.completions.is_none() && spec.parallelism.is_some_and(|parallelism| parallelism > 1) {
        let message = format!(
            "without {at}.completions it is a work queue: when one pod has succeeded no new ones are started; set {at}.completions if each pod has its share"
        );
        findings.push(found(&WORK_QUEUE, message));
    }
    if spec.active_deadline_seconds.is_none() {
        let message = format!("a pod that hangs keeps it running for ever; set {at}.activeDeadlineSeconds");
        findings.push(found(&NO_DEADLINE, message));
    }
    let containers = pod.map(|pod| pod.containers.as_slice()).unwrap_or_default();
    let asks = |resources: &Option<k8s_openapi::api::core::v1::ResourceRequirements>| {
        resources.as_ref().is_some_and(|resources| resources.requests.is_some() || resources.limits.is_some())
    };
    let silent = containers.iter().filter(|container| !asks(&container.resources));
    let silent: Vec<&str> = silent.map(|container| container.name.as_str()).collect();
    if !silent.is_empty() && !pod.is_some_and(|pod| asks(&pod.resources)) {
        let message = format!(
            "{} asks for no resources and is the first to be evicted; set resources.requests in {at}.template.spec.containers",
            silent.join(", ")
        );
        findings.push(found(&NO_RESOURCES, message));
    }
    findings
}

fn found(rule: &'static Rule, message: impl Into<String>) -> Finding {
    Finding { rule, message: message.into() }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            (check(often("Allow")), check(often("Queue"))),
            (vec!["pile-up", "no-deadline"], vec!["no-deadline"])
        );
    }

    #[test]
    fn retention_annotation_counts_as_clean_up() {
        let metadata = json!({"name": "a", "annotations": {AFTER_SUCCESS: "60"}});
        let mut spec = good();
        spec["ttlSecondsAfterFinished"] = Value::Null;
        let job = |metadata: &Value| {
            names(&of_job(&serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()))
        };
        assert_eq!((job(&metadata), job(&json!({"name": "a"}))), (vec![], vec!["no-clean-up"]));
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
            (|spec| spec["ttlSecondsAfterFinished"] = Value::Null, &["no-clean-up"]),
            (|spec| spec["activeDeadlineSeconds"] = Value::Null, &["no-deadline"]),
            (|spec| spec["template"]["spec"]["restartPolicy"] = json!("OnFailure"), &["logs-lost"]),
            (|spec| spec["template"]["spec"]["containers"][0]["resources"] = Value::Null, &["no-resources"]),
            (|spec| spec["parallelism"] = json!(3), &["work-queue"]),
            (
                |spec| {
                    spec["backoffLimit"] = json!(6);
                    spec["backoffLimitPerIndex"] = json!(1);
                },
                &["two-back-off-limits"],
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(job(change), expected);
            let in_template = cron_job(|spec| change(&mut spec["jobTemplate"]["spec"]));
            let expected: Vec<_> = expected.iter().filter(|name| **name != "no-clean-up").copied().collect();
            assert_eq!(in_template, expected);
        }
    }

    #[test]
    fn mistakes_in_schedules_and_time_zones_are_reported() {
        let cases: [(&str, Value, &[&str]); 10] = [
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
}
