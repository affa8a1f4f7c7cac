//! Retention: a finished Job is deleted when its time is up by what holds at that moment, and not before.

use jobwright::job::view::retention::{AFTER_FAILURE, AFTER_SUCCESS};
use serde_json::Value;

use crate::objects::{controller, has_condition, is_over};
use crate::store::{Happened, Store};

/// When what says how long Jobs are kept last changed, by namespace or Job UID.
#[derive(Default)]
pub struct Retention {
    changed: std::collections::BTreeMap<String, i64>,
}

/// How long after a change a deletion that was decided before it may still be on its way, in seconds.
const ON_ITS_WAY: i64 = 40;

impl Retention {
    /// Takes in a change.
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

    /// A controller deletes a Job because its time is up.
    ///
    /// # Errors
    /// It is not.
    pub fn deletes(&self, store: &Store, job: &Value) -> Result<(), String> {
        let now = store.seconds();
        if expiry(store, job).is_some_and(|at| at <= now) {
            return Ok(());
        }
        let recent = |value: &Value| {
            let changed = value.as_str().and_then(|key| self.changed.get(key));
            changed.is_some_and(|at| now - at <= ON_ITS_WAY)
        };
        let metadata = &job["metadata"];
        if recent(&metadata["uid"]) || recent(&metadata["namespace"]) {
            return Ok(());
        }
        Err(format!("{} is deleted before its time: {:?}, now {now}", metadata["name"], expiry(store, job)))
    }
}

/// When a finished Job is to be deleted, in seconds; none if it is kept.
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
