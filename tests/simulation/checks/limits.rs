//! Checks of JobLimits: no controller starts a Job that exceeds a limit.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::checks::indexes::{Listed, listed};
use crate::objects::{has_condition, indexes, is_decided, is_deleting, number};
use crate::store::{Happened, Store};

/// Label that gives a Job to Kueue.
pub const KUEUE_LABEL: &str = "kueue.x-k8s.io/queue-name";

/// Specs of a limit, each with the second since when it has been in force; none while the limit did not exist.
type Specs = Vec<(i64, Option<Value>)>;

/// Facts about limits and the Jobs that they apply to.
#[derive(Default)]
pub struct Limits {
    /// Maximum time, in seconds, until a controller has observed a change.
    observation_delay: i64,
    limits: BTreeMap<String, Specs>,
    jobs: BTreeMap<String, Admitted>,
}

/// Whether a Job was started, and when a user last changed a field that limits depend on.
#[derive(Default)]
struct Admitted {
    started: bool,
    changed: Option<i64>,
}

impl Limits {
    /// Returns the checks. `observation_delay` is the maximum time, in seconds, until a controller has observed a
    /// change.
    pub fn new(observation_delay: i64) -> Self {
        Self { observation_delay, ..Self::default() }
    }

    /// Records a change of a limit or of a Job.
    pub fn observe(&mut self, happened: &Happened) {
        let now = happened.at;
        let object = &happened.object;
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
        match happened.resource {
            "joblimits" => {
                let spec = (!happened.gone).then(|| object["spec"].clone());
                self.limits.entry(uid.to_owned()).or_insert_with(|| vec![(i64::MIN, None)]).push((now, spec));
            }
            "jobs" => {
                let Some(before) = &happened.before else { return };
                let differs = |path: &str| before.pointer(path) != object.pointer(path);
                let fields = ["/spec/suspend", "/spec/parallelism", "/spec/completions", "/metadata/deletionTimestamp"];
                let differs = |path| differs(path) || listed(before) != listed(object);
                if fields.into_iter().any(differs) {
                    self.jobs.entry(uid.to_owned()).or_default().changed = Some(now);
                }
            }
            _ => {}
        }
    }

    /// Records a status of a Job that a controller wrote.
    pub fn status_written(&mut self, after: &Value) {
        let uid = after["metadata"]["uid"].as_str().unwrap_or_default();
        if has_condition(after, "Suspended")
            && after["status"]["startTime"].is_null()
            && let Some(job) = self.jobs.get_mut(uid)
        {
            job.started = false;
        }
    }

    /// Checks that a controller may start or continue a Job.
    ///
    /// # Errors
    /// Returns the limit that the Job exceeds.
    pub fn starts(&mut self, store: &Store, job: &Value) -> Result<(), String> {
        let now = store.seconds();
        let uid = job["metadata"]["uid"].as_str().unwrap_or_default();
        if std::mem::replace(&mut self.jobs.entry(uid.to_owned()).or_default().started, true) {
            return Ok(());
        }
        if !job["metadata"]["labels"][KUEUE_LABEL].is_null() || pods(job) == 0 {
            return Ok(());
        }
        let stable = |job: &Value| {
            let known = self.jobs.get(job["metadata"]["uid"].as_str().unwrap_or_default());
            known.is_some_and(|known| known.started && known.changed.is_none_or(|at| now - at > self.observation_delay))
        };
        for specs in self.limits.values() {
            let max = |field: &str| self.max_recent(specs, field, now);
            let Some((_, Some(spec))) = specs.last() else { continue };
            if !covers(spec, job) {
                continue;
            }
            let others = store.of("jobs").map(|(_, other)| other).filter(|other| {
                other["metadata"]["uid"] != uid
                    && covers(spec, other)
                    && other["metadata"]["labels"][KUEUE_LABEL].is_null()
                    && !is_decided(other)
                    && !is_deleting(other)
                    && other["spec"]["suspend"] != true
                    && pods(other) > 0
                    && stable(other)
            });
            let others: Vec<&Value> = others.collect();
            let name = &job["metadata"]["name"];
            if let Some(max) = max("maxActiveJobs").filter(|max| others.len() as i64 + 1 > *max) {
                return Err(format!("{name} is started beside {} active Jobs, {max} are allowed", others.len()));
            }
            let taken: i64 = others.iter().map(|other| pods(other)).sum();
            let own = pods(job);
            let settled =
                self.jobs.get(uid).is_none_or(|job| job.changed.is_none_or(|at| now - at > self.observation_delay));
            if let Some(max) = max("maxActivePods").filter(|max| settled && taken + own > *max) {
                return Err(format!("{name} is started with {own} pods beside {taken}, {max} are allowed"));
            }
        }
        Ok(())
    }

    /// Returns the largest value of a field within the observation delay; none if there was no limit at some time
    /// within it.
    fn max_recent(&self, specs: &Specs, field: &str, now: i64) -> Option<i64> {
        let ends = specs.iter().skip(1).map(|(at, _)| *at).chain([i64::MAX]);
        let recent = specs.iter().zip(ends).filter(|(_, end)| *end >= now - self.observation_delay);
        recent.map(|((_, spec), _)| spec.as_ref()?[field].as_i64()).try_fold(0, |max, number| Some(max.max(number?)))
    }
}

/// Returns whether the selector of a limit matches a Job.
fn covers(spec: &Value, job: &Value) -> bool {
    let labels = spec["selector"]["matchLabels"].as_object();
    labels.into_iter().flatten().all(|(key, value)| job["metadata"]["labels"][key] == *value)
}

/// Returns the maximum number of pods that a Job may have concurrently.
fn pods(job: &Value) -> i64 {
    let parallelism = number(job, "/spec/parallelism");
    let failed = indexes(&job["status"]["failedIndexes"]);
    let left = match listed(job) {
        Listed::Only(listed) => {
            let completed = indexes(&job["status"]["completedIndexes"]);
            Some(listed.iter().filter(|index| !completed.contains(index) && !failed.contains(index)).count() as i64)
        }
        _ => {
            let ended = number(job, "/status/succeeded") + failed.len() as i64;
            job["spec"]["completions"].as_i64().map(|all| all - ended)
        }
    };
    parallelism.min(left.unwrap_or(i64::MAX)).max(0)
}

/// Returns whether a Job can never start under the present limits: it has more pods than a limit allows, or a limit
/// allows no Jobs.
pub fn can_never_fit(store: &Store, job: &Value) -> bool {
    let own = pods(job);
    let applies = job["metadata"]["labels"][KUEUE_LABEL].is_null() && own > 0;
    applies
        && store.of("joblimits").any(|(_, limit)| {
            let spec = &limit["spec"];
            covers(spec, job)
                && (spec["maxActiveJobs"] == 0 || spec["maxActivePods"].as_i64().is_some_and(|max| own > max))
        })
}
