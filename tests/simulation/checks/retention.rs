//! Checks of retention: a finished Job is deleted when its TTL, as configured at that moment, has expired, and not
//! before.

use jobwright::job::view::retention::{AFTER_FAILURE, AFTER_SUCCESS};
use serde_json::Value;

use crate::objects::{controller, has_condition, is_over};
use crate::store::{Happened, Store};

/// Times of the last change of a retention setting, by namespace name or Job UID, in seconds.
#[derive(Default)]
pub struct Retention {
    changed: std::collections::BTreeMap<String, i64>,
}

/// Maximum time, in seconds, after a change in which a deletion that was decided before the change may still arrive.
const IN_FLIGHT: i64 = 40;

impl Retention {
    /// Records a change of a retention setting.
    pub fn observe(&mut self, happened: &Happened) {
        let now = happened.at;
        let object = &happened.object;
        let before = happened.before.as_ref();
        let differs = |path: &str| before.is_some_and(|before| before.pointer(path) != object.pointer(path));
        let key = match happened.resource {
            "namespaces" => &object["metadata"]["name"],
            "jobs" => &object["metadata"]["uid"],
            _ => return,
        };
        if differs("/metadata/annotations") || differs("/spec/ttlSecondsAfterFinished") {
            self.changed.insert(key.as_str().unwrap_or_default().to_owned(), now);
        }
    }

    /// Checks the deletion of a Job whose TTL has expired according to the controller.
    ///
    /// # Errors
    /// Returns the expiry if it has not been reached.
    pub fn deletes(&self, store: &Store, job: &Value) -> Result<(), String> {
        let now = store.seconds();
        if expiry(store, job).is_some_and(|at| at <= now) {
            return Ok(());
        }
        let recent = |value: &Value| {
            let changed = value.as_str().and_then(|key| self.changed.get(key));
            changed.is_some_and(|at| now - at <= IN_FLIGHT)
        };
        let metadata = &job["metadata"];
        if recent(&metadata["uid"]) || recent(&metadata["namespace"]) {
            return Ok(());
        }
        Err(format!("{} is deleted before its TTL expires: at {:?}, now {now}", metadata["name"], expiry(store, job)))
    }
}

/// Returns the time at which a finished Job has to be deleted, in seconds; none if the Job is kept.
pub fn expiry(store: &Store, job: &Value) -> Option<i64> {
    if !is_over(job) {
        return None;
    }
    let (own, key) =
        (&job["metadata"]["annotations"], if has_condition(job, "Complete") { AFTER_SUCCESS } else { AFTER_FAILURE });
    let unreadable = |annotations: &Value| {
        [AFTER_SUCCESS, AFTER_FAILURE]
            .iter()
            .any(|key| annotations[*key].as_str().is_some_and(|text| text.parse::<u32>().is_err()))
    };
    let seconds = |annotations: &Value| annotations[key].as_str().and_then(|text| text.parse::<i64>().ok());
    if unreadable(own) {
        return None;
    }
    let ttl = match (seconds(own), job["spec"]["ttlSecondsAfterFinished"].as_i64()) {
        (Some(ttl), _) | (None, Some(ttl)) => ttl,
        (None, None) if controller(job).is_some() => return None,
        (None, None) => {
            let name = job["metadata"]["namespace"].as_str().unwrap_or_default();
            let namespace = store.of("namespaces").find(|(key, _)| key.2 == name).map(|(_, namespace)| namespace)?;
            let annotations = &namespace["metadata"]["annotations"];
            if unreadable(annotations) {
                return None;
            }
            seconds(annotations)?
        }
    };
    let conditions = job["status"]["conditions"].as_array()?;
    let ended = conditions.iter().find(|one| one["type"] == "Complete" || one["type"] == "Failed")?;
    let ended: jiff::Timestamp = ended["lastTransitionTime"].as_str()?.parse().ok()?;
    Some(ended.as_second() + ttl)
}
