//! The rules of `jobwright check`: mistakes in Jobs, CronJobs and JobSchedules that the API server accepts. All
//! functions are pure; the time is an argument.

use std::fmt;

use jiff::{SignedDuration, Timestamp, ToSpan};
use k8s_openapi::api::batch::v1::{CronJob, Job, JobSpec};
use serde::Serialize;

use super::scheduling;
use crate::job::managed_by::MANAGED_BY;
use crate::job::view::controlling_owner;
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
        $(pub(super) static $constant: Rule = Rule { name: $name, severity: Severity::$severity, about: $about };)*
        /// All rules, in the order of their definition.
        pub static RULES: &[&Rule] = &[$(&$constant),*];
    };
}

rules! {
    UNREADABLE = Error "unreadable": "An object that does not have the form of its kind";
    UNKNOWN_FIELD = Error "unknown-field": "A field that does not exist";
    INVALID = Error "invalid": "A value that the API server refuses";
    UNKNOWN_ANNOTATION = Error "unknown-annotation": "An annotation or manager of Jobwright that does not exist, or a value without effect";
    BAD_SCHEDULE = Error "bad-schedule": "A schedule that is invalid, or that is never due";
    UNKNOWN_TIME_ZONE = Error "unknown-time-zone": "A time zone that does not exist";
    CLOCK_CHANGE = Warning "clock-change": "A schedule within hours that clocks skip or repeat";
    PILE_UP = Warning "pile-up": "Runs that may overlap without end";
    JITTER_TOO_LONG = Warning "jitter-too-long": "Jitter longer than the time between two runs";
    SHORT_STARTING_DEADLINE = Warning "short-starting-deadline": "A starting deadline shorter than the sync interval of the built-in controller";
    LOGS_LOST = Warning "logs-lost": "restartPolicy OnFailure, whose pods and logs are deleted when the Job fails";
    TWO_BACKOFF_LIMITS = Warning "two-backoff-limits": "backoffLimit together with backoffLimitPerIndex";
    SCHEDULING_IGNORED = Warning "scheduling-ignored": "spec.scheduling where another object or the template decides";
    SCHEDULING_GATE = Info "scheduling-gate": "spec.scheduling, which needs a feature gate";
    NO_TIME_ZONE = Info "no-time-zone": "A schedule in the time zone of the controller";
    NO_CLEANUP = Info "no-cleanup": "A finished Job that is never deleted automatically";
    WORK_QUEUE = Info "work-queue": "parallelism without completions";
    NO_RESOURCES = Info "no-resources": "Containers without resource requests";
    NO_DEADLINE = Info "no-deadline": "A Job without activeDeadlineSeconds";
}

/// Names that rules had before.
const FORMER_NAMES: &[(&str, &str)] = &[("no-clean-up", "no-cleanup"), ("two-back-off-limits", "two-backoff-limits")];

/// Returns the rule with this name, or with this former name.
pub fn find_rule(name: &str) -> Option<&'static Rule> {
    let name = FORMER_NAMES.iter().find(|(former, _)| *former == name).map_or(name, |(_, name)| *name);
    RULES.iter().find(|rule| rule.name == name).copied()
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
    let Some(spec) = &job.spec else { return vec![Finding::unreadable("spec is required".to_owned())] };
    let mut findings = of_spec(spec, "spec");
    findings.extend(scheduling::of_job(job));
    let owned = controlling_owner(&job.metadata).is_some();
    let annotated = |key| job.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(key));
    if spec.ttl_seconds_after_finished.is_none() && !owned && !annotated(AFTER_SUCCESS) && !annotated(AFTER_FAILURE) {
        let message = "the finished Job and its pods are never deleted automatically; set spec.ttlSecondsAfterFinished";
        findings.push(found(&NO_CLEANUP, message));
    }
    findings
}

/// Returns the findings for a CronJob. Clock changes are searched in the year that begins at `now`.
pub fn of_cron_job(cron_job: &CronJob, now: Timestamp) -> Vec<Finding> {
    let spec = &cron_job.spec;
    let mut findings = of_times(cron_job, now);
    if spec.starting_deadline_seconds.is_some_and(|seconds| (0..BUILTIN_SYNC_SECONDS).contains(&seconds)) {
        let message = format!(
            "the built-in controller may sync {BUILTIN_SYNC_SECONDS} s late and then skips the run; set spec.startingDeadlineSeconds to {BUILTIN_SYNC_SECONDS} or more"
        );
        findings.push(found(&SHORT_STARTING_DEADLINE, message));
    }
    let Some(job) = &spec.job_template.spec else {
        findings.push(Finding::unreadable("spec.jobTemplate.spec is required".to_owned()));
        return findings;
    };
    findings.extend(scheduling::of_template(job, "spec.jobTemplate.spec"));
    findings.extend(of_spec(job, "spec.jobTemplate.spec"));
    findings
}

/// Returns the findings for a JobSchedule. `who` is its `namespace/name`, and `now` the time after which its runs are
/// evaluated.
pub fn of_job_schedule(schedule: &JobScheduleSpec, who: &str, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    let job: Option<JobSpec> = serde_json::from_value(schedule.job_template.spec.clone()).ok();
    match timetable(schedule, who, now) {
        Err(wrong) if wrong.starts_with("spec.timeZone") => {
            findings.push(found(&UNKNOWN_TIME_ZONE, wrong));
            // The zone does not hide an invalid schedule.
            let utc = JobScheduleSpec { time_zone: None, ..schedule.clone() };
            findings.extend(timetable(&utc, who, now).err().map(|wrong| found(&BAD_SCHEDULE, wrong)));
        }
        Err(wrong) => findings.push(found(&BAD_SCHEDULE, wrong)),
        Ok(table) => {
            let mut times = table.times(now);
            let (first, second) = (times.next(), times.next());
            if first.is_none() {
                findings.push(found(
                    &BAD_SCHEDULE,
                    "it is never due: no time within five years matches, or all of them are past or excluded",
                ));
            }
            let gap = first.zip(second).map(|(first, second)| second.duration_since(first));
            if let Some((gap, longest)) = gap.map(|gap| (gap, Timetable::longest_jitter(gap)))
                && table.jitter > longest
            {
                let message = format!(
                    "spec.jitter is {:#}, and its next runs are {gap:#} apart; a Job is started at most {longest:#} after its time, which is three quarters of the interval",
                    table.jitter
                );
                findings.push(found(&JITTER_TOO_LONG, message));
            }
            let overlaps = schedule.concurrency_policy == ConcurrencyPolicy::Allow && schedule.max_active.is_none();
            let deadline = job.as_ref().and_then(|job| job.active_deadline_seconds);
            if overlaps && deadline.is_none() && gap.is_some_and(|gap| gap <= FREQUENT_INTERVAL) {
                let message = format!(
                    "it starts a Job every {:#}, also while the Job before is active; set spec.maxActive, spec.concurrencyPolicy to Forbid, Replace or Queue, or spec.jobTemplate.spec.activeDeadlineSeconds",
                    gap.unwrap_or_default()
                );
                findings.push(found(&PILE_UP, message));
            }
        }
    }
    match &job {
        Some(job) => {
            findings.extend(scheduling::of_template(job, "spec.jobTemplate.spec"));
            findings.extend(of_spec(job, "spec.jobTemplate.spec"));
        }
        None => findings
            .push(Finding::unreadable("spec.jobTemplate.spec does not have the form of the spec of a Job".to_owned())),
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
                let message = format!("spec.timeZone {name:?} is not an IANA time zone (example: Europe/Paris)");
                findings.push(found(&UNKNOWN_TIME_ZONE, message));
                jiff::tz::TimeZone::UTC
            }
        },
        None => jiff::tz::TimeZone::UTC,
    };
    let schedule = match Schedule::parse(&spec.schedule) {
        Ok(schedule) => schedule,
        Err(error) => {
            findings.push(found(&BAD_SCHEDULE, format!("spec.schedule: {error}")));
            return findings;
        }
    };
    if !findings.is_empty() {
        return findings;
    }
    let zone = schedule.zone(&usual).clone();
    if spec.time_zone.is_none() && !schedule.names_zone() {
        let message = "it is due in the time zone of the controller, usually UTC; set spec.timeZone";
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
            format!("on {date} there is no {time} in its time zone, so the run is skipped; choose another hour")
        } else {
            format!("on {date} {time} occurs twice in its time zone, so it starts two Jobs; choose another hour")
        };
        findings.push(found(&CLOCK_CHANGE, message));
    }
    let gap = schedule.next(first, &zone).map(|second| second.duration_since(first));
    let overlaps = !matches!(spec.concurrency_policy.as_deref(), Some("Forbid" | "Replace"));
    let deadline = spec.job_template.spec.as_ref().and_then(|job| job.active_deadline_seconds);
    if overlaps && deadline.is_none() && gap.is_some_and(|gap| gap <= FREQUENT_INTERVAL) {
        let message = format!(
            "it starts a Job every {:#}, also while the Job before is active; set spec.concurrencyPolicy to Forbid or Replace, or spec.jobTemplate.spec.activeDeadlineSeconds",
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
            "when the Job fails, its pods are deleted together with their logs; set {at}.template.spec.restartPolicy to Never to keep them"
        );
        findings.push(found(&LOGS_LOST, message));
    }
    if spec.backoff_limit.is_some_and(|limit| limit < i32::MAX) && spec.backoff_limit_per_index.is_some() {
        let message = format!(
            "{at}.backoffLimit counts the failures of all indexes together and may fail the Job before an index has reached {at}.backoffLimitPerIndex; remove {at}.backoffLimit"
        );
        findings.push(found(&TWO_BACKOFF_LIMITS, message));
    }
    if spec.completions.is_none() && spec.parallelism.is_some_and(|parallelism| parallelism > 1) {
        let message = format!(
            "without {at}.completions the Job is a work queue: after the first success no new pods are created; set {at}.completions if each pod has its own part of the work"
        );
        findings.push(found(&WORK_QUEUE, message));
    }
    if spec.active_deadline_seconds.is_none() {
        let policy = match spec.managed_by.as_deref() {
            Some(MANAGED_BY) => ", or a JobPolicy with deadlines for the start, the progress or the whole run",
            _ => "",
        };
        let message =
            format!("a pod that hangs keeps the Job running without end; set {at}.activeDeadlineSeconds{policy}");
        findings.push(found(&NO_DEADLINE, message));
    }
    let containers = pod.map(|pod| pod.containers.as_slice()).unwrap_or_default();
    let asks = |resources: &Option<k8s_openapi::api::core::v1::ResourceRequirements>| {
        resources.as_ref().is_some_and(|resources| resources.requests.is_some() || resources.limits.is_some())
    };
    let silent = containers.iter().filter(|container| !asks(&container.resources));
    let silent: Vec<&str> = silent.map(|container| container.name.as_str()).collect();
    if !silent.is_empty() && !pod.is_some_and(|pod| asks(&pod.resources)) {
        let (noun, verb) = if silent.len() == 1 { ("container", "has") } else { ("containers", "have") };
        let message = format!(
            "{noun} {} {verb} no resource requests, so the pod is among the first to be evicted; set resources.requests in {at}.template.spec.containers",
            silent.join(", ")
        );
        findings.push(found(&NO_RESOURCES, message));
    }
    findings
}

/// Returns a finding of a rule.
pub(super) fn found(rule: &'static Rule, message: impl Into<String>) -> Finding {
    Finding { rule, message: message.into() }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
