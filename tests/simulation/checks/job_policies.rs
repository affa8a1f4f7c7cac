//! Checks of JobPolicies: no pod and no Job fails or is suspended before a deadline that was in force has
//! passed, and a pod that a deadline concerns does not wait without end.

use std::collections::BTreeMap;

use jobwright::job::view::start::START_DEADLINE_EXCEEDED;
use serde_json::Value;

use super::raises::Raises;
use crate::objects::{controller, is_decided, is_deleting, is_finished};
use crate::store::{Happened, Store};

/// Time, in seconds, after a deadline within which an undisturbed controller fails a pod.
const LATE: i64 = 30;

/// Specs of a JobPolicy, each with the second since when it has been in force; none while the policy did not exist.
type Specs = Vec<(i64, Option<Value>)>;

/// Facts about JobPolicies, and the pods and Jobs that they govern.
#[derive(Default)]
pub struct JobPolicies {
    /// Maximum time, in seconds, until a controller has observed a change.
    pub(super) observation_delay: i64,
    /// Whether one replica works undisturbed from the beginning to the end.
    steady: bool,
    policies: BTreeMap<String, Specs>,
    /// Pods that have not started.
    waits: BTreeMap<String, Wait>,
    /// Time of the last progress of each Job: a pod ended or became ready, or the Job was started or resumed.
    progress: BTreeMap<String, i64>,
    /// Time at which the first pod of each Job ran.
    running: BTreeMap<String, i64>,
    /// Whether pods of each Job ever failed because they did not start.
    failed_start: BTreeMap<String, bool>,
    /// Pods that had too little memory or time.
    pub(super) raises: Raises,
}

/// Cause why a pod has not started.
struct Wait {
    cause: &'static str,
    /// Time since which the cause has held without interruption.
    since: i64,
    /// Cause before, the time since which it had held, and the time at which it ended.
    before: Option<(&'static str, i64, i64)>,
}

impl JobPolicies {
    /// Returns the checks. `observation_delay` is the maximum time, in seconds, until a controller has observed a
    /// change.
    pub fn new(observation_delay: i64, steady: bool) -> Self {
        Self { observation_delay, steady, ..Self::default() }
    }

    /// Records a change of a policy, a Job or a pod.
    pub fn observe(&mut self, happened: &Happened) {
        let (now, object) = (happened.at, &happened.object);
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
        match happened.resource {
            "jobpolicies" => {
                let spec = (!happened.gone).then(|| object["spec"].clone());
                self.policies.entry(uid.to_owned()).or_default().push((now, spec));
            }
            "jobs" => {
                let start = object["status"]["startTime"].as_str();
                let before = happened.before.as_ref().and_then(|before| before["status"]["startTime"].as_str());
                if start.is_some() && start != before {
                    self.progress.insert(uid.to_owned(), now);
                    self.running.remove(uid);
                }
            }
            "pods" => {
                self.raises.pod_changed(happened, uid);
                self.pod_changed(happened, uid, now);
            }
            _ => {}
        }
    }

    fn pod_changed(&mut self, happened: &Happened, uid: &str, now: i64) {
        let pod = &happened.object;
        let phase = |pod: &Value| pod["status"]["phase"].as_str().unwrap_or_default().to_owned();
        let ready = |pod: &Value| condition(pod, "Ready") == Some("True");
        let before = happened.before.as_ref();
        if let Some(job) = controller(pod) {
            let ends = is_finished(pod) && before.is_none_or(|before| !is_finished(before));
            if ends || happened.gone || ready(pod) && before.is_none_or(|before| !ready(before)) {
                self.progress.insert(job.to_owned(), now);
            }
            if phase(pod) == "Running" || ends {
                self.running.entry(job.to_owned()).or_insert(now);
            }
            if condition(pod, START_DEADLINE_EXCEEDED) == Some("True") {
                self.failed_start.insert(job.to_owned(), true);
            }
        }
        let delay = self.observation_delay;
        match cause(pod).filter(|_| !happened.gone) {
            None => drop(self.waits.remove(uid)),
            Some(cause) => {
                let wait = self.waits.entry(uid.to_owned());
                let wait = wait.or_insert(Wait { cause, since: now, before: None });
                if wait.cause != cause {
                    // A controller that observes two changes together has not seen the first one.
                    let unseen = wait.before.filter(|(before, _, ended)| *before == cause && now - ended <= delay);
                    let since = unseen.map_or(now, |(_, since, _)| since);
                    wait.before = Some((wait.cause, wait.since, now));
                    (wait.cause, wait.since) = (cause, since);
                }
            }
        }
    }

    /// Checks a patch of a pod by a controller before the patch takes effect.
    ///
    /// # Errors
    /// Returns the deadline that has not passed.
    pub fn pod_patched(&self, before: &Value, after: &Value, now: i64) -> Result<(), String> {
        let has_failed_start = |pod: &Value| condition(pod, START_DEADLINE_EXCEEDED) == Some("True");
        if has_failed_start(before) || !has_failed_start(after) {
            return Ok(());
        }
        let name = &before["metadata"]["name"];
        let wait = self.waits.get(before["metadata"]["uid"].as_str().unwrap_or_default());
        // A pod that starts normally waits for no known cause, and its times are not recorded.
        let (cause, since) = match wait {
            Some(wait) => (wait.cause, wait.since),
            None if before["status"]["phase"] == "Pending" => ("other", 0),
            None => return Err(format!("pod {name} fails after it has started")),
        };
        let field = format!("/startDeadlines/{cause}/seconds");
        let Some(least) = self.least(&field, now) else {
            return Err(format!("pod {name} fails for the cause {cause}, which has no deadline"));
        };
        // Times are stored in whole seconds.
        if now.saturating_sub(since) + 1 < least {
            return Err(format!("pod {name} fails {} s after its start, {least} s are allowed", now - since));
        }
        Ok(())
    }

    /// Checks a failure of a Job that a controller stores.
    ///
    /// # Errors
    /// Returns the deadline that has not passed.
    pub fn fails(&self, job: &Value, reason: &str, now: i64) -> Result<(), String> {
        let uid = job["metadata"]["uid"].as_str().unwrap_or_default();
        let name = &job["metadata"]["name"];
        let early = |times: &BTreeMap<String, i64>, field: &str| {
            let least = self.least(field, now).ok_or_else(|| format!("{name} fails: {reason} without a deadline"))?;
            // A controller may not have observed the last progress.
            let since = times.get(uid).copied().unwrap_or(now);
            let passed = now - since + 1 + self.observation_delay;
            if passed < least {
                Err(format!("{name} fails: {reason} {} s after its start", now - since))
            } else {
                Ok(())
            }
        };
        match reason {
            "ProgressDeadlineExceeded" => early(&self.progress, "/progressDeadline/seconds"),
            "RunningDeadlineExceeded" => early(&self.running, "/runningDeadlineSeconds"),
            _ => Ok(()),
        }
    }

    /// Returns whether the reason of a failure can be right at the end of a history.
    pub fn can_have_failed(&self, job: &Value, reason: &str) -> bool {
        let uid = job["metadata"]["uid"].as_str().unwrap_or_default();
        let ever = |field: &str| self.specs().any(|spec| spec.pointer(field).is_some());
        match reason {
            "StartDeadlineExceeded" => self.failed_start.contains_key(uid) || ever("/startDeadlines/admission"),
            "ProgressDeadlineExceeded" => ever("/progressDeadline"),
            "RunningDeadlineExceeded" => ever("/runningDeadlineSeconds"),
            _ => false,
        }
    }

    /// Returns a description of the first pod that has waited for longer than its deadline, if any.
    pub fn overdue(&self, store: &Store) -> Option<String> {
        if !self.steady {
            return None;
        }
        let now = store.seconds();
        for (key, pod) in store.of("pods") {
            let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
            let Some(wait) = self.waits.get(uid).filter(|_| !is_deleting(pod)) else { continue };
            let job =
                store.of("jobs").map(|(_, job)| job).find(|job| job["metadata"]["uid"].as_str() == controller(pod));
            let Some(job) = job.filter(|job| !is_decided(job) && job["spec"]["suspend"] != true && !is_deleting(job))
            else {
                continue;
            };
            let field = format!("/startDeadlines/{}/seconds", wait.cause);
            let deadline = self.unchanged(&field, job).and_then(|(_, spec)| spec.pointer(&field));
            let Some(after) = deadline.and_then(Value::as_i64) else { continue };
            if now - wait.since > after + LATE {
                return Some(format!(
                    "{} has waited {} s for its start, {after} s are allowed",
                    key.2,
                    now - wait.since
                ));
            }
        }
        None
    }

    /// Returns the smallest value of a field among the policies that were in force recently.
    fn least(&self, field: &str, now: i64) -> Option<i64> {
        let values = self.policies.values().flat_map(|specs| {
            let ends = specs.iter().skip(1).map(|(at, _)| *at).chain([i64::MAX]);
            specs.iter().zip(ends).filter(|(_, end)| *end >= now - self.observation_delay).map(|((_, spec), _)| spec)
        });
        values.flatten().filter_map(|spec| spec.pointer(field)?.as_i64()).min()
    }

    /// Returns all specs that any policy ever had.
    pub(super) fn specs(&self) -> impl Iterator<Item = &Value> {
        self.policies.values().flatten().filter_map(|(_, spec)| spec.as_ref())
    }

    /// Returns the only policy and the second since when it has been in force, if it has this field, selects this Job and was
    /// never changed.
    pub(super) fn unchanged(&self, field: &str, job: &Value) -> Option<(i64, &Value)> {
        let mut specs = self.policies.values();
        let (Some(only), None) = (specs.next(), specs.next()) else { return None };
        let [(since, Some(spec))] = &only[..] else { return None };
        let selects = spec["selector"].is_null() && job["metadata"]["annotations"]["jobwright.dev/policy"].is_null();
        (selects && spec.pointer(field).is_some()).then_some((*since, spec))
    }
}

/// Returns the cause why a pending pod has not started; none for a pod that starts normally.
fn cause(pod: &Value) -> Option<&'static str> {
    if is_finished(pod) || pod["status"]["phase"] != "Pending" {
        return None;
    }
    match pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].as_str()? {
        "ErrImagePull" => Some("image"),
        "CreateContainerConfigError" => Some("config"),
        _ => None,
    }
}

fn condition<'a>(pod: &'a Value, type_: &str) -> Option<&'a str> {
    let conditions = pod["status"]["conditions"].as_array()?;
    conditions.iter().find(|one| one["type"] == type_)?["status"].as_str()
}
