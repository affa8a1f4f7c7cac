//! Scenarios as data: a Job, and the steps that happen to it and its pods.

use serde_json::{Value, json};
use testbed::report::Feature;

/// Scenario that runs with both controllers.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Expected behaviour, as a sentence.
    pub name: String,
    /// Name of the Job.
    pub job: String,
    /// Fields that are merged into the default spec.
    pub spec: Value,
    /// Steps, each of which begins when both controllers have settled after the previous one.
    pub steps: Vec<Step>,
    /// Whether steps that the API server refuses on both sides are skipped, as in random scenarios. In a scenario
    /// written by hand, such a step is an error.
    pub lenient: bool,
    /// Feature of the Kubernetes version without which the API server refuses a step.
    pub needs: Option<Feature>,
}

impl Scenario {
    /// Returns the scenario for versions with this feature.
    pub fn needs(self, feature: Feature) -> Self {
        Self { needs: Some(feature), ..self }
    }
}

/// Returns a scenario with a Job of the default name.
pub fn scenario(name: &str, spec: Value, steps: impl IntoIterator<Item = Step>) -> Scenario {
    Scenario {
        name: name.to_owned(),
        job: "job".to_owned(),
        spec,
        steps: steps.into_iter().collect(),
        lenient: false,
        needs: None,
    }
}

/// One step of a scenario.
#[derive(Clone, Debug)]
pub enum Step {
    /// A pod gets this status by a strategic merge patch, as from a kubelet.
    Status(Pick, Value),
    /// All containers of a pod terminate with this exit code, and the pod finishes with these additional conditions.
    End(Pick, i32, Vec<Value>),
    /// All of these steps happen concurrently.
    Together(Vec<Step>),
    /// A user deletes a pod. The pod keeps running until its kubelet reports that it has terminated.
    DeletePod(Pick),
    /// A pod that is being deleted terminates with this exit code and is removed.
    Terminated(Pick, i32),
    /// A pod is deleted with a grace period of 0, without its kubelet.
    Vanish(Pick),
    /// A pod is changed by a merge patch.
    ChangePod(Pick, Value),
    /// A user creates a pod.
    AddPod(Value),
    /// The spec of the Job is changed by a merge patch.
    Change(Value),
    /// A user changes the status of the Job by a merge patch.
    Tamper(Value),
    /// The Job is deleted with this propagation policy.
    DeleteJob(&'static str),
    /// A Job with the same name is created.
    CreateJob(Value),
    /// A quota of this number of pods is created.
    Quota(u32),
    /// The quota is deleted.
    NoQuota,
    /// Waits until this number of pods is active, for example after a back-off.
    AwaitActive(usize),
    /// Waits until the Job has this condition.
    Await(&'static str),
    /// Waits for this number of seconds.
    Wait(u64),
}

/// Selection of a pod by its position.
#[derive(Clone, Copy, Debug)]
pub enum Pick {
    /// Position among the active pods, ordered by index and then by age.
    Active(usize),
    /// The active pod of this index.
    Index(u32),
    /// Position among the terminating pods.
    Terminating(usize),
    /// Position among the finished pods.
    Ended(usize),
}

impl From<usize> for Pick {
    fn from(place: usize) -> Self {
        Self::Active(place)
    }
}

pub fn index(index: u32) -> Pick {
    Pick::Index(index)
}

pub fn terminating(place: usize) -> Pick {
    Pick::Terminating(place)
}

fn condition(type_: &str, status: &str) -> Value {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    json!({"type": type_, "status": status, "lastTransitionTime": now})
}

/// Returns the step that sets a pod to Running, not ready.
pub fn run(pod: impl Into<Pick>) -> Step {
    Step::Status(pod.into(), json!({"phase": "Running", "conditions": [condition("Ready", "False")]}))
}

/// Returns the step that sets a pod to Running and ready.
pub fn ready(pod: impl Into<Pick>) -> Step {
    Step::Status(pod.into(), json!({"phase": "Running", "conditions": [condition("Ready", "True")]}))
}

pub fn phase(pod: impl Into<Pick>, phase: &str) -> Step {
    Step::Status(pod.into(), json!({"phase": phase}))
}

pub fn succeed(pod: impl Into<Pick>) -> Step {
    Step::End(pod.into(), 0, Vec::new())
}

pub fn fail(pod: impl Into<Pick>, code: i32) -> Step {
    Step::End(pod.into(), code, Vec::new())
}

/// Returns the step that fails a pod with an additional condition.
pub fn fail_as(pod: impl Into<Pick>, code: i32, type_: &str) -> Step {
    Step::End(pod.into(), code, vec![condition(type_, "True")])
}

/// Returns the step that sets a pod to Running with this restart count.
pub fn restarted(pod: impl Into<Pick>, times: i32) -> Step {
    let status = json!({"name": "main", "image": "i", "imageID": "", "ready": false, "restartCount": times, "state": {"running": {}}});
    Step::Status(pod.into(), json!({"phase": "Running", "containerStatuses": [status]}))
}

pub fn together(steps: impl IntoIterator<Item = Step>) -> Step {
    Step::Together(steps.into_iter().collect())
}

pub fn delete_pod(pod: impl Into<Pick>) -> Step {
    Step::DeletePod(pod.into())
}

pub fn terminated(pod: impl Into<Pick>, code: i32) -> Step {
    Step::Terminated(pod.into(), code)
}

pub fn change(spec: Value) -> Step {
    Step::Change(spec)
}

pub fn suspend() -> Step {
    change(json!({"suspend": true}))
}

pub fn resume() -> Step {
    change(json!({"suspend": false}))
}
