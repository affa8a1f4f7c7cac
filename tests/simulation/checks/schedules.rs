//! CronJobs and JobSchedules: each due time is run once, in order, or passed over as the policy says.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jobwright::schedule::SCHEDULED_ANNOTATION;
use serde_json::Value;

use crate::objects::{controller, is_over};
use crate::store::{Happened, Store};

/// How late a run may be where nothing stands in its way, in seconds.
const LATE: i64 = 90;

/// What is true of the objects that start Jobs when they are due, by UID.
#[derive(Default)]
pub struct Schedules {
    /// How many seconds it may take until a change is known to the controller.
    news: i64,
    truths: BTreeMap<String, Truth>,
}

/// What is true of one of them.
#[derive(Default)]
struct Truth {
    /// When it was created, in seconds.
    created: i64,
    /// When its times were last changed, and what they were before.
    changed: Option<(i64, Value)>,
    suspended_since: Option<i64>,
    /// When a user stored a last schedule time ahead of the clock.
    foretold: Option<i64>,
    /// A user suspended it or changed its times: not every due time has to be run.
    disturbed: bool,
    /// The last time that a Job was started for.
    last: Option<i64>,
    /// How many Jobs it started.
    started: usize,
    /// Times for which foreign Jobs have every name of the run, and the names of these Jobs.
    taken: BTreeMap<i64, Vec<String>>,
    /// Those of them for which such a Job was deleted again.
    freed: BTreeSet<i64>,
}

impl Schedules {
    /// `news`: how many seconds it may take until a change is known to the controller.
    pub fn new(news: i64) -> Self {
        Self { news, ..Self::default() }
    }

    /// Takes in a change of a CronJob or JobSchedule.
    pub fn observe(&mut self, happened: &Happened) {
        let now = happened.at;
        if happened.resource == "jobs" && happened.gone {
            let name = happened.object["metadata"]["name"].as_str().unwrap_or_default();
            for truth in self.truths.values_mut() {
                let freed = truth.taken.iter().filter(|(_, names)| names.iter().any(|taken| taken == name));
                truth.freed.extend(freed.map(|(time, _)| *time));
            }
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
        truth.disturbed |= suspended || happened.gone;
        if let Some(before) = &happened.before
            && times(before) != times(object)
        {
            truth.changed = Some((now, times(before).clone()));
            truth.disturbed = true;
        }
        if served(object).is_some_and(|time| time > now) {
            truth.foretold.get_or_insert(now);
        }
    }

    /// Foreign Jobs have every name of the run of this time.
    pub fn take_names(&mut self, schedule: &Value, time: i64, names: Vec<String>) {
        self.truths.entry(uid(schedule)).or_default().taken.insert(time, names);
    }

    /// A Job is started for its owner.
    ///
    /// # Errors
    /// It is not due, or is for the second time, or not in its turn.
    pub fn started(&mut self, store: &Store, job: &Value, owner: &Value) -> Result<(), String> {
        let now = store.seconds();
        let name = &job["metadata"]["name"];
        let text = job["metadata"]["annotations"][SCHEDULED_ANNOTATION].as_str().unwrap_or_default();
        let time: Timestamp = text.parse().map_err(|_| format!("{name} has no scheduled time: {text:?}"))?;
        let time = time.as_second();
        let news = self.news;
        let truth = self.truths.entry(uid(owner)).or_default();
        truth.started += 1;
        if time > now {
            return Err(format!("{name} is started {} s before its time", time - now));
        }
        if truth.suspended_since.is_some_and(|since| now - since > news) {
            return Err(format!("{name} is started for a schedule that has long been suspended"));
        }
        if let Some((at, before)) = &truth.changed
            && time < *at
            && (now - at > news || !is_due(before, time))
        {
            return Err(format!("{name} is started for a time {} s before the schedule was changed", at - time));
        }
        if time < truth.created {
            return Err(format!("{name} is started for a time before the schedule was created"));
        }
        let unknown = truth.foretold.is_some_and(|at| now - at <= news);
        if served(owner).is_some_and(|served| served >= time) && !unknown {
            return Err(format!("{name} is started for a time that the status says is served"));
        }
        let twin = store.of("jobs").map(|(_, other)| other).find(|other| {
            other["metadata"]["uid"] != job["metadata"]["uid"]
                && controller(other) == Some(&uid(owner))
                && other["metadata"]["annotations"][SCHEDULED_ANNOTATION] == *text
        });
        if let Some(twin) = twin {
            return Err(format!("{name} is the second Job of its time, beside {}", twin["metadata"]["name"]));
        }
        let in_order = is_in_order(owner);
        let expected = next_due(times(owner), truth.last.unwrap_or(truth.created));
        let skips = in_order && !truth.disturbed && owner["spec"]["startingDeadlineSeconds"].is_null();
        if skips {
            let mut expected = expected;
            while truth.taken.contains_key(&expected) && expected < time {
                expected = next_due(times(owner), expected);
            }
            if expected != time {
                return Err(format!("{name} is started for {time}, and {expected} was not served"));
            }
        }
        truth.last = truth.last.max(Some(time));
        if owner["kind"] == "JobSchedule" {
            let running = store.of("jobs").filter(|(_, job)| controller(job) == Some(&uid(owner)) && !is_over(job));
            let running = running.count() as i64;
            if room(owner).is_some_and(|room| running > room) {
                return Err(format!("{name} is one of {running} active Jobs, {:?} are allowed", room(owner)));
            }
        }
        Ok(())
    }

    /// A controller wrote the status of a JobSchedule.
    ///
    /// # Errors
    /// The history is too long or holds a run twice, or a time is taken back.
    pub fn status_written(&self, before: &Value, after: &Value) -> Result<(), String> {
        let name = &after["metadata"]["name"];
        let history = after["status"]["history"].as_array().map(Vec::as_slice).unwrap_or_default();
        let limit = after["spec"]["historyLimit"].as_u64().unwrap_or(10);
        if history.len() as u64 > limit {
            return Err(format!("{} runs in the history of {name}, {limit} are to be kept", history.len()));
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
            return Err(format!("lastScheduleTime of {name} goes back from {was} to {is:?}"));
        }
        Ok(())
    }

    /// Says which schedule is behind although nothing stands in its way.
    pub fn behind(&self, store: &Store) -> Option<String> {
        let now = store.seconds();
        for resource in ["cronjobs", "jobschedules"] {
            for (key, object) in store.of(resource) {
                let Some(truth) = self.truths.get(&uid(object)) else { continue };
                let spec = &object["spec"];
                if spec["suspend"] == true || served(object).is_some_and(|ahead| ahead > now) {
                    continue;
                }
                let runs = store.of("jobs").any(|(_, job)| controller(job) == Some(&uid(object)) && !is_over(job));
                let free = spec["concurrencyPolicy"] == "Allow" && spec["maxActive"].is_null();
                let since = truth.changed.as_ref().map_or(truth.created, |(at, _)| *at);
                let mut next = next_due(times(object), truth.last.unwrap_or(since).max(since));
                while truth.taken.contains_key(&next) {
                    next = next_due(times(object), next);
                }
                if (free || !runs) && now - next > LATE + jitter(object) {
                    return Some(format!("{resource} {}: the run of {next} has not been started at {now}", key.2));
                }
            }
        }
        None
    }

    /// Says what is wrong with the history of a JobSchedule whose Jobs have all ended.
    pub fn history(&self, store: &Store) -> Result<(), String> {
        for (key, object) in store.of("jobschedules") {
            let started = self.truths.get(&uid(object)).map_or(0, |truth| truth.started);
            let limit = object["spec"]["historyLimit"].as_u64().unwrap_or(10) as usize;
            let kept = object["status"]["history"].as_array().map_or(0, Vec::len);
            if kept != started.min(limit) {
                return Err(format!("the history of {} holds {kept} runs of {started}, {limit} are to be kept", key.2));
            }
        }
        Ok(())
    }

    /// Says for which of the times that were taken by a foreign Job there is no event.
    pub fn untold(&self, store: &Store, told: impl Fn(&str) -> bool) -> Option<String> {
        let mut all =
            store.of("jobschedules").filter_map(|(key, object)| Some((key, self.truths.get(&uid(object))?, object)));
        all.find(|(_, truth, object)| {
            // What was due before a change of the times is not run.
            let begin = truth.changed.as_ref().map_or(truth.created, |(at, _)| *at);
            let run = |time: i64| time > begin && is_due(times(object), time) && !truth.freed.contains(&time);
            let mut taken = truth.taken.keys().filter(|time| run(**time));
            taken.any(|time| truth.last.is_some_and(|last| last > *time)) && !told(&uid(object))
        })
        .map(|(key, ..)| format!("no event says that a foreign Job has the name of a run of {}", key.2))
    }
}

/// Whether each time is served, the oldest first, and not the newest alone.
fn is_in_order(owner: &Value) -> bool {
    let spec = &owner["spec"];
    owner["kind"] == "JobSchedule"
        && (spec["catchUp"] == "All" || spec["concurrencyPolicy"] == "Queue")
        && spec["maxCatchUp"].as_i64() == Some(1000)
}

/// How many Jobs may be active.
fn room(schedule: &Value) -> Option<i64> {
    let most = schedule["spec"]["maxActive"].as_i64();
    match schedule["spec"]["concurrencyPolicy"].as_str() {
        Some("Queue") => most.or(Some(1)),
        Some("Forbid" | "Replace") => Some(1),
        _ => most,
    }
}

/// The last schedule time of a status, in seconds.
fn served(object: &Value) -> Option<i64> {
    let text = object["status"]["lastScheduleTime"].as_str()?;
    text.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

/// The schedule of an object; all are of minutes: `*/2 * * * *`, `0-5 * * * *`.
fn times(object: &Value) -> &Value {
    match &object["spec"]["schedule"] {
        Value::Null => &object["spec"]["schedules"][0],
        schedule => schedule,
    }
}

/// Whether a time is due by a schedule.
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

/// The first due time after another.
fn next_due(schedule: &Value, after: i64) -> i64 {
    let mut time = (after.div_euclid(60) + 1) * 60;
    while !is_due(schedule, time) {
        time += 60;
    }
    time
}

/// The longest jitter, in seconds.
fn jitter(schedule: &Value) -> i64 {
    let text = schedule["spec"]["jitter"].as_str().unwrap_or("0s");
    let (number, unit) = text.split_at(text.len() - 1);
    number.parse::<i64>().unwrap_or_default() * if unit == "m" { 60 } else { 1 }
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}
