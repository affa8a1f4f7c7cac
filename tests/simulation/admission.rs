//! Admission policies of the simulated cluster: the requests that they refuse and the objects that they change.

use jobwright::job::TRACKING_FINALIZER;
use serde_json::{Value, json};

use crate::store::Refusal;

/// A request that a policy can refuse: verb, resource, subresource (empty for none).
pub type Target = (&'static str, &'static str, &'static str);

/// Every write of Jobwright that an administrator's policy can refuse.
pub const TARGETS: [Target; 9] = [
    ("create", "pods", ""),
    ("patch", "pods", ""),
    ("delete", "pods", ""),
    ("patch", "jobs", "status"),
    ("create", "jobs", ""),
    ("delete", "jobs", ""),
    ("patch", "cronjobs", "status"),
    ("patch", "jobschedules", "status"),
    ("create", "events", ""),
];

/// HTTP status codes with which a policy or a webhook refuses a request.
pub const CODES: [u16; 5] = [400, 403, 404, 409, 422];

/// A policy that refuses one kind of request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Number of the policy; its message contains the number.
    pub number: usize,
    /// Requests that the policy refuses.
    pub target: Target,
    /// HTTP status code of the refusal.
    pub code: u16,
}

impl Policy {
    /// Returns the message of the policy's author, which no other text contains.
    pub fn message(&self) -> String {
        format!("policy number {} of the administrators forbids it", self.number)
    }

    /// Returns the response to a request that the policy refuses.
    pub fn refusal(&self) -> Refusal {
        let message = self.message();
        Refusal(self.code, format!("ValidatingAdmissionPolicy 'rule' with binding 'rule' denied request: {message}"))
    }
}

/// Admission policies that are in force.
#[derive(Default)]
pub struct Admission {
    /// Validating policies that refuse requests.
    pub policies: Vec<Policy>,
    /// Whether a mutating policy removes the tracking finalizer from created pods.
    pub removes_finalizers: bool,
    /// Whether a mutating policy adds a label and an annotation to created pods and Jobs.
    pub adds_labels: bool,
}

impl Admission {
    /// Returns the first policy that refuses this request.
    pub fn refuses(&self, target: Target) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.target == target)
    }

    /// Changes an object before its creation, as mutating policies do.
    pub fn mutate(&self, resource: &str, object: &mut Value) {
        if self.removes_finalizers && resource == "pods" {
            let finalizers = object["metadata"]["finalizers"].as_array_mut();
            finalizers.into_iter().for_each(|list| list.retain(|finalizer| finalizer != TRACKING_FINALIZER));
        }
        if self.adds_labels {
            object["metadata"]["labels"]["mutated"] = json!("yes");
            object["metadata"]["annotations"]["example.com/mutated"] = json!("yes");
        }
    }

    /// Removes every policy.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
