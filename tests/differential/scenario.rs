//! A scenario as data: a Job, and what happens to it and its pods.

use serde_json::{Value, json};

/// What is tried on both controllers.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// A sentence that says what it shows.
    pub name: String,
    /// The Job's name.
    pub job: String,
    /// Fields laid over the usual spec.
    pub spec: Value,
    /// What happens, each after both controllers have settled on the one before.
    pub steps: Vec<Step>,
    /// What the API server refuses on both sides is passed over; one written by hand is to make sense.
    pub lenient: bool,
}

/// A scenario with a Job of the usual name.
pub fn scenario(name: &str, spec: Value, steps: impl IntoIterator<Item = Step>) -> Scenario {
    Scenario { name: name.to_owned(), job: "job".to_owned(), spec, steps: steps.into_iter().collect(), lenient: false }
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// A pod gets this status, by strategic merge, as from a kubelet.
    Status(Pick, Value),
    /// All containers of a pod end with this exit code, and the pod with them; conditions come on top.
    End(Pick, i32, Vec<Value>),
    /// All of these happen at once.
    Together(Vec<Step>),
    /// Somebody deletes a pod; it goes on until its kubelet says that it has ended.
    DeletePod(Pick),
    /// A pod that is being deleted ends with this exit code and is gone.
    Terminated(Pick, i32),
    /// A pod is gone at once, whatever its kubelet says.
    Vanish(Pick),
    /// A pod's metadata is changed, by merge.
    ChangePod(Pick, Value),
    /// A pod is created by hand.
    AddPod(Value),
    /// The Job's spec is changed, by merge.
    Change(Value),
    /// The Job's status is changed by hand, by merge.
    Tamper(Value),
    /// The Job is deleted.
    DeleteJob(&'static str),
    /// The Job is created again, under its name.
    CreateJob(Value),
    /// A quota of so many pods.
    Quota(u32),
    /// The quota goes.
    NoQuota,
    /// Until so many pods are active, for what takes its time.
    AwaitActive(usize),
    /// Until the Job has this condition.
    Await(&'static str),
    /// So many seconds.
    Wait(u64),
}

/// A pod, by its place.
#[derive(Clone, Copy, Debug)]
pub enum Pick {
    /// Of the active ones: in order of index, then age.
    Active(usize),
    /// The active one of this index.
    Index(u32),
    /// Of those being deleted.
    Terminating(usize),
    /// Of those that have ended.
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

/// Running, not ready.
pub fn run(pod: impl Into<Pick>) -> Step {
    Step::Status(pod.into(), json!({"phase": "Running", "conditions": [condition("Ready", "False")]}))
}

/// Running and ready.
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

/// Failed with a condition too.
pub fn fail_as(pod: impl Into<Pick>, code: i32, type_: &str) -> Step {
    Step::End(pod.into(), code, vec![condition(type_, "True")])
}

/// Running, the containers started again so often.
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
