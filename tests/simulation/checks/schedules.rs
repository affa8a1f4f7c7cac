//! Checks of CronJobs and JobSchedules: each scheduled time is run once and in order, or skipped according to the
//! policy.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jobwright::schedule::SCHEDULED_ANNOTATION;
use serde_json::Value;

use super::backfill;
use super::calendars::Calendars;
use crate::objects::{controller, is_over};
use crate::store::{Happened, Store};

/// Maximum delay of a run that nothing blocks, in seconds.
const LATE: i64 = 90;

/// Facts about all CronJobs and JobSchedules.
#[derive(Default)]
pub struct Schedules {
    /// Maximum time, in seconds, until a controller has observed a change.
    observation_delay: i64,
    /// Whether one process works all the time, which remembers the runs that it started.
    one_process: bool,
    /// Facts by UID.
    truths: BTreeMap<String, Truth>,
    calendars: Calendars,
}

/// Facts about one CronJob or JobSchedule. Times are in seconds.
#[derive(Default)]
struct Truth {
    /// Time of its creation.
    created: i64,
    /// Times at which its schedule was changed, each with the schedule before.
    changes: Vec<(i64, Value)>,
    /// Times for which a Job was started.
    runs: BTreeSet<i64>,
    /// Those of these times that fell due, and were not those of a backfill.
    due_runs: BTreeSet<i64>,
    suspended_since: Option<i64>,
    /// Time since which its status has as many failed runs in a row as `suspendAfterFailures` allows.
    failed_since: Option<i64>,
    /// Time at which a user stored a `lastScheduleTime` in the future.
    future_time_stored: Option<i64>,
    /// Whether a user suspended it or changed its schedule, so that not every scheduled time has to be run.
    disturbed: bool,
    /// Latest scheduled time for which a Job was started.
    last: Option<i64>,
    /// Number of Jobs that it started.
    started: usize,
    /// Scheduled times of the runs whose names are all taken by foreign Jobs, with these names.
    taken: BTreeMap<i64, Vec<String>>,
    /// Time of the last change of one of its Jobs.
    job_changed: i64,
    /// Those of these times for which a foreign Job was deleted again.
    freed: BTreeSet<i64>,
}

impl Schedules {
    /// Returns the checks. `observation_delay` is the maximum time, in seconds, until a controller has observed a
    /// change.
    pub fn new(observation_delay: i64, one_process: bool) -> Self {
        let calendars = Calendars::new(observation_delay);
        Self { observation_delay, one_process, calendars, ..Self::default() }
    }

    /// Records a change of a CronJob or JobSchedule, or the deletion of a foreign Job.
    pub fn observe(&mut self, happened: &Happened) {
        let now = happened.at;
        if happened.resource == "jobs" && happened.gone {
            let name = happened.object["metadata"]["name"].as_str().unwrap_or_default();
            for truth in self.truths.values_mut() {
                let freed = truth.taken.iter().filter(|(_, names)| names.iter().any(|taken| taken == name));
                truth.freed.extend(freed.map(|(time, _)| *time));
            }
        }
        if happened.resource == "jobs"
            && let Some(truth) = controller(&happened.object).and_then(|owner| self.truths.get_mut(owner))
        {
            truth.job_changed = now;
        }
        if happened.resource == "calendars" {
            self.calendars.observe(happened);
        }
        if !matches!(happened.resource, "cronjobs" | "jobschedules") {
            return;
        }
        let object = &happened.object;
        let truth = self.truths.entry(uid(object)).or_default();
        if happened.before.is_none() {
            truth.created = now;
        }
        let suspended = object["spec"]["suspend"] == true;
        truth.suspended_since = suspended.then(|| truth.suspended_since.unwrap_or(now));
        truth.failed_since = has_failed_too_often(object).then(|| truth.failed_since.unwrap_or(now));
        truth.disturbed |= suspended || happened.gone;
        if let Some(before) = &happened.before
            && times(before) != times(object)
        {
            truth.changes.push((now, times(before).clone()));
            truth.disturbed = true;
        }
        if served(object).is_some_and(|time| time > now) {
            truth.future_time_stored.get_or_insert(now);
        }
    }

    /// Records that foreign Jobs have all names of the run at this time.
    pub fn take_names(&mut self, schedule: &Value, time: i64, names: Vec<String>) {
        self.truths.entry(uid(schedule)).or_default().taken.insert(time, names);
    }

    /// Checks a Job that a controller starts for its owner.
    ///
    /// # Errors
    /// Returns the reason why the Job must not be started: its time is not due, was already run, or is out of order.
    pub fn started(&mut self, store: &Store, job: &Value, owner: &Value) -> Result<(), String> {
        let now = store.seconds();
        let name = &job["metadata"]["name"];
        let text = job["metadata"]["annotations"][SCHEDULED_ANNOTATION].as_str().unwrap_or_default();
        let time: Timestamp = text.parse().map_err(|_| format!("{name} has no scheduled time: {text:?}"))?;
        let time = time.as_second();
        let observation_delay = self.observation_delay;
        let truth = self.truths.entry(uid(owner)).or_default();
        truth.started += 1;
        if !truth.runs.insert(time) && self.one_process {
            return Err(format!("{name} is started for a time that was run before"));
        }
        if time > now {
            return Err(format!("{name} is started {} s before its time", time - now));
        }
        if truth.suspended_since.is_some_and(|since| now - since > observation_delay) {
            return Err(format!(
                "{name} is started for a schedule that has been suspended for more than {observation_delay} s"
            ));
        }
        if truth.failed_since.is_some_and(|since| now - since > observation_delay) {
            return Err(format!("{name} is started although suspendAfterFailures runs in a row have failed"));
        }
        if !self.calendars.allow(owner, time).0 {
            return Err(format!("{name} is started for {time}, which its calendars do not allow"));
        }
        let is_backfill = !job["metadata"]["labels"][backfill::LABEL].is_null();
        if !is_backfill {
            truth.due_runs.insert(time);
            let most = owner["spec"]["maxRuns"].as_i64().unwrap_or(i64::MAX);
            if truth.due_runs.len() as i64 > most && self.one_process {
                return Err(format!("{name} is run {} that was due, maxRuns is {most}", truth.due_runs.len()));
            }
        }
        if is_backfill {
            backfill::may_start(owner, time, running(store, owner))
                .map_err(|why| format!("{name} is started {why}"))?;
        }
        if let Some((at, _)) = truth.changes.last()
            && !is_backfill
            && time < *at
            // A controller that did not see the first version does not know of the change.
            && at - truth.created > observation_delay
            && !truth.changes.iter().any(|(at, before)| now - at <= observation_delay && is_due(before, time))
        {
            return Err(format!("{name} is started for a time {} s before the schedule was changed", at - time));
        }
        if time < truth.created && !is_backfill {
            return Err(format!("{name} is started for a time before the schedule was created"));
        }
        let unknown = truth.future_time_stored.is_some_and(|at| now - at <= observation_delay);
        if served(owner).is_some_and(|served| served >= time) && !unknown && !is_backfill {
            return Err(format!("{name} is started for a time that lastScheduleTime includes"));
        }
        let duplicate = store.of("jobs").map(|(_, other)| other).find(|other| {
            other["metadata"]["uid"] != job["metadata"]["uid"]
                && controller(other) == Some(&uid(owner))
                && other["metadata"]["annotations"][SCHEDULED_ANNOTATION] == *text
        });
        if let Some(duplicate) = duplicate {
            return Err(format!("{name} is the second Job for its time, beside {}", duplicate["metadata"]["name"]));
        }
        let in_order = is_in_order(owner);
        let next = |time| {
            self.calendars.first_certain(owner, next_due(times(owner), time), |time| next_due(times(owner), time))
        };
        let expected = next(truth.last.unwrap_or(truth.created));
        let skips = in_order && !is_backfill && !truth.disturbed && owner["spec"]["startingDeadlineSeconds"].is_null();
        if skips {
            let mut expected = expected;
            while truth.taken.contains_key(&expected) && expected < time {
                expected = next(expected);
            }
            // Another version of a calendar can allow a time before it.
            if expected < time || expected != time && !Calendars::are_used(owner) {
                return Err(format!("{name} is started for {time}, but {expected} was skipped"));
            }
        }
        if !is_backfill {
            truth.last = truth.last.max(Some(time));
        }
        if owner["kind"] == "JobSchedule" {
            let running = running(store, owner);
            if max_active(owner).is_some_and(|max| running > max) {
                return Err(format!("{name} is one of {running} active Jobs, {:?} are allowed", max_active(owner)));
            }
        }
        Ok(())
    }

    /// Checks a status of a JobSchedule that a controller writes.
    ///
    /// # Errors
    /// Returns the problem: the history is too long or holds a run twice, or `lastScheduleTime` decreases.
    pub fn status_written(&self, before: &Value, after: &Value) -> Result<(), String> {
        let name = &after["metadata"]["name"];
        let history = after["status"]["history"].as_array().map(Vec::as_slice).unwrap_or_default();
        let limit = after["spec"]["historyLimit"].as_u64().unwrap_or(10);
        if history.len() as u64 > limit {
            return Err(format!("{} runs in the history of {name}, historyLimit is {limit}", history.len()));
        }
        let runs: BTreeSet<(String, String)> =
            history.iter().map(|run| (run["job"].to_string(), run["started"].to_string())).collect();
        if runs.len() < history.len() {
            return Err(format!("the history of {name} holds a run twice: {}", after["status"]["history"]));
        }
        let (was, is) = (&before["status"]["lastScheduleTime"], &after["status"]["lastScheduleTime"]);
        if let (Some(was), Some(is)) = (was.as_str(), is.as_str().or(Some("")))
            && is < was
        {
            return Err(format!("lastScheduleTime of {name} decreases from {was} to {is:?}"));
        }
        Ok(())
    }

    /// Returns a description of the first schedule that is late although nothing blocks it, if any.
    pub fn behind(&self, store: &Store) -> Option<String> {
        let now = store.seconds();
        for resource in ["cronjobs", "jobschedules"] {
            for (key, object) in store.of(resource) {
                let Some(truth) = self.truths.get(&uid(object)) else { continue };
                let spec = &object["spec"];
                if spec["suspend"] == true
                    || has_failed_too_often(object)
                    || served(object).is_some_and(|ahead| ahead > now)
                {
                    continue;
                }
                let runs = store.of("jobs").any(|(_, job)| controller(job) == Some(&uid(object)) && !is_over(job));
                let free = spec["concurrencyPolicy"] == "Allow" && spec["maxActive"].is_null();
                let since = truth.changes.last().map_or(truth.created, |(at, _)| *at);
                let following = |time| {
                    let next = |time| next_due(times(object), time);
                    self.calendars.first_certain(object, next(time), next)
                };
                let mut next = following(truth.last.unwrap_or(since).max(since));
                while truth.taken.contains_key(&next) {
                    next = following(next);
                }
                let runs_left = spec["maxRuns"].as_i64().map(|most| most - truth.due_runs.len() as i64);
                if !runs && now - truth.job_changed.max(truth.created) > LATE && backfill::is_open(object) {
                    return Some(format!("{resource} {}: its backfill does not continue: {}", key.2, object["status"]));
                }
                if (free || !runs)
                    && runs_left.is_none_or(|left| left > 0)
                    && now.saturating_sub(next) > LATE + jitter(object)
                {
                    return Some(format!("{resource} {}: the run of {next} has not been started at {now}", key.2));
                }
            }
        }
        None
    }

    /// Checks the histories of all JobSchedules, whose Jobs must all be finished.
    ///
    /// # Errors
    /// Returns the JobSchedule whose history has too many or too few runs.
    pub fn history(&self, store: &Store) -> Result<(), String> {
        for (key, object) in store.of("jobschedules") {
            let started = self.truths.get(&uid(object)).map_or(0, |truth| truth.started);
            if let Some(truth) = self.truths.get(&uid(object)).filter(|truth| truth.changes.is_empty()) {
                let is_run = |time| truth.runs.contains(&time) || truth.taken.contains_key(&time);
                let must_run = |time| is_due(times(object), time) && self.calendars.allow(object, time).1;
                backfill::all_run(object, |time| !must_run(time) || is_run(time))
                    .map_err(|time| format!("the backfill of {} is complete without {time}", key.2))?;
            }
            let due = self.truths.get(&uid(object)).map_or(0, |truth| truth.due_runs.len());
            let counted = object["status"]["startedRuns"].as_u64().unwrap_or_default() as usize;
            if self.one_process && counted != due {
                return Err(format!("{} counts {counted} started runs, {due} were started", key.2));
            }
            let limit = object["spec"]["historyLimit"].as_u64().unwrap_or(10) as usize;
            let kept = object["status"]["history"].as_array().map_or(0, Vec::len);
            if kept != started.min(limit) {
                return Err(format!(
                    "the history of {} holds {kept} runs of {started}, historyLimit is {limit}",
                    key.2
                ));
            }
            let runs = object["status"]["history"].as_array().map(Vec::as_slice).unwrap_or_default();
            let failed = runs.iter().take_while(|run| run["outcome"] != "Succeeded");
            let failed = failed.filter(|run| run["outcome"] == "Failed").count();
            let counted = object["status"]["failedRunsInARow"].as_u64().unwrap_or_default() as usize;
            if started <= limit && counted != failed {
                return Err(format!("{} counts {counted} failed runs in a row, its history has {failed}", key.2));
            }
        }
        Ok(())
    }

    /// Returns a description of the first JobSchedule with a skipped run, whose names foreign Jobs had taken, and
    /// without an event. `has_event` reports whether an object has an event.
    pub fn missing_event(&self, store: &Store, has_event: impl Fn(&str) -> bool) -> Option<String> {
        let mut all =
            store.of("jobschedules").filter_map(|(key, object)| Some((key, self.truths.get(&uid(object))?, object)));
        all.find(|(_, truth, object)| {
            // Times before a change of the schedule are not run.
            let begin = truth.changes.last().map_or(truth.created, |(at, _)| *at);
            let is_certain = |time| is_due(times(object), time) && self.calendars.allow(object, time).1;
            let run = |time: i64| time > begin && is_certain(time) && !truth.freed.contains(&time);
            let mut taken = truth.taken.keys().filter(|time| run(**time));
            taken.any(|time| truth.last.is_some_and(|last| last > *time)) && !has_event(&uid(object))
        })
        .map(|(key, ..)| format!("no event reports that a foreign Job has the name of a run of {}", key.2))
    }
}

/// Returns the number of unfinished Jobs of an owner.
fn running(store: &Store, owner: &Value) -> i64 {
    store.of("jobs").filter(|(_, job)| controller(job) == Some(&uid(owner)) && !is_over(job)).count() as i64
}

/// Returns whether the status of a JobSchedule has as many failed runs in a row as `suspendAfterFailures` allows.
fn has_failed_too_often(schedule: &Value) -> bool {
    let allowed = schedule["spec"]["suspendAfterFailures"].as_i64();
    allowed.is_some_and(|allowed| schedule["status"]["failedRunsInARow"].as_i64() >= Some(allowed))
}

/// Returns whether each scheduled time is run, the oldest first, and not only the latest.
fn is_in_order(owner: &Value) -> bool {
    let spec = &owner["spec"];
    owner["kind"] == "JobSchedule"
        && (spec["catchUp"] == "All" || spec["concurrencyPolicy"] == "Queue")
        && spec["maxCatchUp"].as_i64() == Some(1000)
}

/// Returns the maximum number of active Jobs of a JobSchedule; none if there is no limit.
fn max_active(schedule: &Value) -> Option<i64> {
    let max = schedule["spec"]["maxActive"].as_i64();
    match schedule["spec"]["concurrencyPolicy"].as_str() {
        Some("Queue") => max.or(Some(1)),
        Some("Forbid" | "Replace") => Some(1),
        _ => max,
    }
}

/// Returns `lastScheduleTime`, in seconds.
fn served(object: &Value) -> Option<i64> {
    let text = object["status"]["lastScheduleTime"].as_str()?;
    text.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

/// Returns the schedule of an object. All schedules differ only in their minutes: `*/2 * * * *`, `0-5 * * * *`.
fn times(object: &Value) -> &Value {
    match &object["spec"]["schedule"] {
        Value::Null => &object["spec"]["schedules"][0],
        schedule => schedule,
    }
}

/// Returns whether a schedule includes a time.
fn is_due(schedule: &Value, time: i64) -> bool {
    let minute = time.div_euclid(60).rem_euclid(60);
    let fits = match schedule.as_str().and_then(|text| text.split(' ').next()) {
        Some("*/2") => minute % 2 == 0,
        Some("1-59/2") => minute % 2 == 1,
        Some("*/3") => minute % 3 == 0,
        Some("0-5") => minute <= 5,
        _ => true,
    };
    time.rem_euclid(60) == 0 && fits
}

/// Returns the first scheduled time after another time.
fn next_due(schedule: &Value, after: i64) -> i64 {
    let mut time = (after.div_euclid(60) + 1) * 60;
    while !is_due(schedule, time) {
        time += 60;
    }
    time
}

/// Returns the maximum jitter, in seconds.
fn jitter(schedule: &Value) -> i64 {
    let text = schedule["spec"]["jitter"].as_str().unwrap_or("0s");
    let (number, unit) = text.split_at(text.len() - 1);
    number.parse::<i64>().unwrap_or_default() * if unit == "m" { 60 } else { 1 }
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}
