//! Invariant of gang scheduling: a pod is created after its PodGroup, and belongs to the PodGroup of its Job.

use serde_json::Value;

use crate::objects::controller;
use crate::store::Store;

/// Checks a new pod of a Job in a history with gang scheduling. Every Job of such a history is created while the feature
/// is on.
pub fn created(store: &Store, pod: &Value, job: &Value) -> Result<(), String> {
    let (name, group) = (&pod["metadata"]["name"], pod["spec"]["schedulingGroup"]["podGroupName"].as_str());
    let uid = job["metadata"]["uid"].as_str();
    match group {
        // The owner of the Job delegates no PodGroup.
        None if controller(job).is_some() => Ok(()),
        None => Err(format!("pod {name} is created without a PodGroup")),
        Some(group) => {
            let found = store.of("podgroups").find(|(key, _)| key.2 == group);
            match found {
                None => Err(format!("pod {name} is created before its PodGroup {group}")),
                Some((_, found)) if controller(found) != uid => {
                    Err(format!("pod {name} is created in the PodGroup {group} of another Job"))
                }
                Some(_) => Ok(()),
            }
        }
    }
}
