//! Scenarios as data: objects that a user creates, and steps that happen to them and to their pods.

use serde_json::{Value, json};

/// Text in names and values that stands for the namespace of a side, which cluster-wide objects use as their name.
pub const SIDE: &str = "$SIDE";

/// Annotation of a pod template: what its pods do. The test plays the kubelet.
pub const PLAY: &str = "peers.jobwright.dev/play";

/// Scenario that runs with both systems.
pub struct Scenario {
    /// Controller on top of Jobs.
    pub peer: &'static str,
    /// What happens, as a phrase for the table of results.
    pub name: &'static str,
    /// Steps, each of which begins when both sides have settled after the previous one.
    pub steps: Vec<Step>,
}

/// One step of a scenario.
#[derive(Clone, Debug)]
pub enum Step {
    /// A user creates these objects, which are complete manifests without a namespace.
    Create(Vec<Value>),
    /// A user changes an object of this kind and name by a merge patch.
    Change(&'static str, &'static str, Value),
    /// A user changes the Workload of this owner, a kind and a name, by a merge patch.
    ChangeWorkload(&'static str, Value),
    /// A user deletes an object of this kind and name.
    Delete(&'static str, &'static str),
    /// This number of active pods of a Job finishes with this exit code.
    Finish(&'static str, usize, i32),
    /// This number of pods of a Job that are not ready becomes ready.
    Ready(&'static str, usize),
    /// Waits until the description of each of these objects contains its text.
    Until(Vec<(&'static str, &'static str)>),
    /// Waits until this object does not exist.
    Gone(&'static str),
}

/// Returns a scenario.
pub fn scenario(peer: &'static str, name: &'static str, steps: impl IntoIterator<Item = Step>) -> Scenario {
    Scenario { peer, name, steps: steps.into_iter().collect() }
}

/// Returns the step that waits until the description of each of these objects contains its text.
pub fn until(wanted: &[(&'static str, &'static str)]) -> Step {
    Step::Until(wanted.to_vec())
}

/// Returns a pod template whose pods do this: `succeed`, `fail`, `run`, `hold`, or a list separated by commas with one
/// value for each restart of the JobSet. The pods request one CPU.
pub fn template(play: &str) -> Value {
    json!({
        "metadata": {"annotations": {PLAY: play}},
        "spec": {
            "restartPolicy": "Never",
            // The node does not exist, so that deleted pods stay until the test terminates them.
            "nodeName": "nowhere",
            "terminationGracePeriodSeconds": 5,
            "automountServiceAccountToken": false,
            "containers": [{"name": "main", "image": "i", "resources": {"requests": {"cpu": "1"}}}],
        },
    })
}
