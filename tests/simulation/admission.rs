//! Admission policies of the simulated cluster: what they refuse, and what they change.

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

/// The codes that a policy or a webhook refuses with.
pub const CODES: [u16; 5] = [400, 403, 404, 409, 422];

/// A policy that refuses one kind of request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The policy's number; its message names it.
    pub number: usize,
    /// The requests that it refuses.
    pub target: Target,
    /// The HTTP status code of the refusal.
    pub code: u16,
}

impl Policy {
    /// The words of the policy's author, which no other message contains.
    pub fn words(&self) -> String {
        format!("policy number {} of the administrators forbids it", self.number)
    }

    /// The answer to a request that the policy refuses.
    pub fn refusal(&self) -> Refusal {
        let words = self.words();
        Refusal(self.code, format!("ValidatingAdmissionPolicy 'rule' with binding 'rule' denied request: {words}"))
    }
}

/// The policies in force.
#[derive(Default)]
pub struct Admission {
    /// Policies that refuse requests.
    pub policies: Vec<Policy>,
    /// A mutating policy removes the finalizers of created pods.
    pub strips: bool,
    /// A mutating policy adds a label and an annotation to created pods and Jobs.
    pub marks: bool,
}

impl Admission {
    /// The policy that refuses this request, if one does.
    pub fn refuses(&self, target: Target) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.target == target)
    }

    /// Changes an object before it is created, as mutating policies do.
    pub fn mutate(&self, resource: &str, object: &mut Value) {
        if self.strips && resource == "pods" {
            let finalizers = object["metadata"]["finalizers"].as_array_mut();
            finalizers.into_iter().for_each(|list| list.retain(|finalizer| finalizer != TRACKING_FINALIZER));
        }
        if self.marks {
            object["metadata"]["labels"]["mutated"] = json!("yes");
            object["metadata"]["annotations"]["example.com/mutated"] = json!("yes");
        }
    }

    /// Ends every policy.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
