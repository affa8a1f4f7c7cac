//! Conditions in the status of a resource, by the API conventions of Kubernetes.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::clock::whole_seconds;
use super::text::beginning;

/// Maximum number of bytes of a message.
pub const MAX_MESSAGE_BYTES: usize = 1024;

/// State of one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionState {
    type_: &'static str,
    status: &'static str,
    reason: String,
    message: String,
}

impl ConditionState {
    /// Returns the state of a condition. Only the beginning of a long message is kept.
    pub fn new(type_: &'static str, status: &'static str, reason: &str, message: &str) -> Self {
        Self { type_, status, reason: reason.to_owned(), message: beginning(message, MAX_MESSAGE_BYTES).to_owned() }
    }

    /// Returns the condition to store. `stored` are the present conditions: while the status stays the same, the
    /// transition time does too. `generation` is the one of the spec from which the state was derived.
    pub fn into_condition(self, stored: &[Condition], generation: Option<i64>, now: Timestamp) -> Condition {
        let since = find(stored, self.type_)
            .filter(|before| before.status == self.status)
            .map_or_else(|| whole_seconds(now), |before| before.last_transition_time.0);
        Condition {
            type_: self.type_.to_owned(),
            status: self.status.to_owned(),
            reason: self.reason,
            message: self.message,
            observed_generation: generation,
            last_transition_time: Time(since),
        }
    }
}

/// Returns the condition of this type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}
