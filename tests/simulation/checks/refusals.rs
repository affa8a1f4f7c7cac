//! Checks of refused writes: they are not repeated too often, and an event reports each policy that refused a write.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use crate::admission::{Policy, Target};
use crate::objects::controller;

/// Maximum number of refused writes of one kind for one object within a window, and the window in milliseconds.
const WINDOWS: [(usize, i64); 2] = [(10, 10_000), (24, 120_000)];

/// Target of an event that is required without a refused write.
const EXPECTED: Target = ("run", "schedule", "");

/// A write that a policy refused.
struct Refused {
    /// UIDs of the objects that the event may regard.
    about: Vec<String>,
    target: Target,
    /// Text that the event has to contain.
    message: String,
}

/// An event that was recorded.
struct Recorded {
    regarding: String,
    warning: bool,
    message: String,
}

/// Refused writes and recorded events.
#[derive(Default)]
pub struct Refusals {
    refused: Vec<Refused>,
    attempts: BTreeMap<(String, Target), VecDeque<i64>>,
    /// Different messages about one object, whether or not their events may have been lost.
    messages: BTreeMap<(String, Target), BTreeSet<String>>,
    /// Recorded events, by name.
    events: BTreeMap<String, Recorded>,
    /// Whether events may have been lost.
    pub lost: bool,
    /// Whether the answer to the present request arrives. No event can report a refusal whose answer is lost.
    pub answers_arrive: bool,
    /// A policy refused events. Those count for the limit of events of one object, so later ones may be dropped.
    events_refused: bool,
}

impl Refusals {
    /// Records a write that a policy refused at the time `now`, in milliseconds. `object` is the stored version of the
    /// object, or the object to create.
    ///
    /// # Errors
    /// Returns the number of refused writes if they are repeated too often.
    pub fn refused(&mut self, policy: &Policy, object: &Value, now: i64) -> Result<(), String> {
        let (verb, resource, sub) = policy.target;
        if resource == "events" {
            self.events_refused = true;
            self.lose_events();
            return Ok(());
        }
        let about: Vec<String> =
            [object["metadata"]["uid"].as_str(), controller(object)].into_iter().flatten().map(str::to_owned).collect();
        let Some(first) = about.first().cloned() else { return Ok(()) };
        let attempts = self.attempts.entry((first, policy.target)).or_default();
        attempts.push_back(now);
        while attempts.front().is_some_and(|at| now - at > 120_000) {
            attempts.pop_front();
        }
        for (max, window) in WINDOWS {
            let count = attempts.iter().filter(|at| now - **at < window).count();
            if count > max {
                let name = &object["metadata"]["name"];
                return Err(format!(
                    "{count} refused requests to {verb} {resource} {sub} ({name}) in {} s",
                    window / 1000
                ));
            }
        }
        let message = policy.message();
        let subject = about.last().cloned().unwrap_or_default();
        self.messages.entry((subject, policy.target)).or_default().insert(format!("{about:?} {message}"));
        let known = |refused: &Refused| refused.message == message && refused.about == about;
        if self.answers_arrive && !self.refused.iter().any(known) {
            self.refused.push(Refused { about, target: policy.target, message });
        }
        Ok(())
    }

    /// Records a new event, or a change of the event with this name.
    pub fn event(&mut self, name: Option<&str>, body: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match name {
            None => {
                let recorded = Recorded {
                    regarding: text(&body["involvedObject"]["uid"]),
                    warning: body["type"] == "Warning",
                    message: text(&body["message"]),
                };
                self.events.insert(text(&body["metadata"]["name"]), recorded);
            }
            Some(name) => {
                if let (Some(known), Some(message)) = (self.events.get_mut(name), body["message"].as_str()) {
                    known.message.push('\n');
                    known.message.push_str(message);
                }
            }
        }
    }

    /// Records that events may have been lost, by a crash or by a fault of a request that created an event. No event is
    /// expected for earlier refusals.
    pub fn lose_events(&mut self) {
        self.refused.clear();
        self.lost = true;
    }

    /// Requires a Warning event regarding this object that contains `message`.
    pub fn expect(&mut self, uid: &str, message: &str) {
        self.refused.push(Refused { about: vec![uid.to_owned()], target: EXPECTED, message: message.to_owned() });
    }

    /// Requires no further event regarding this object, except for refused writes.
    pub fn forget_expected(&mut self, uid: &str) {
        self.refused.retain(|refused| refused.target != EXPECTED || refused.about != [uid]);
    }

    /// Forgets earlier attempts, because a controller was restarted or a policy was deleted and back-offs begin again.
    pub fn reset_attempts(&mut self) {
        self.attempts.clear();
    }

    /// Returns whether a Warning event regarding this object contains this text.
    pub fn has_warning(&self, uid: &str, text: &str) -> bool {
        self.events.values().any(|event| event.warning && event.regarding == uid && event.message.contains(text))
    }

    /// Returns a description of the first refusal that no event reports, if any.
    pub fn missing_event(&self) -> Option<String> {
        if self.events_refused {
            return None;
        }
        let has_event = |refused: &Refused| refused.about.iter().any(|uid| self.has_warning(uid, &refused.message));
        // From the tenth message about one object on, events are combined, and their number is limited.
        let are_many = |refused: &Refused| {
            let subject = refused.about.last().cloned().unwrap_or_default();
            self.messages.get(&(subject, refused.target)).is_some_and(|messages| messages.len() >= 10)
        };
        let refused = self.refused.iter().find(|refused| !has_event(refused) && !are_many(refused))?;
        let (verb, resource, sub) = refused.target;
        Some(format!(
            "no event reports that {verb} {resource} {sub} was refused for {}: {}",
            refused.about[0], refused.message
        ))
    }
}
