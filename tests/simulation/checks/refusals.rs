//! Refused writes: how often they are repeated, and whether an event tells of each policy that refused one.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use crate::admission::{Policy, Target};
use crate::objects::controller;

/// The maximum number of refused writes of one kind for one object, and the window in milliseconds.
const WINDOWS: [(usize, i64); 2] = [(10, 10_000), (24, 120_000)];

/// A write that a policy refused.
struct Refused {
    /// The UIDs of the objects that an event may regard.
    about: Vec<String>,
    target: Target,
    words: String,
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
    /// By their names.
    events: BTreeMap<String, Recorded>,
    /// Events may have been lost.
    pub lost: bool,
    /// A policy refused events. Those count for the limit of events of one object, so later ones may be dropped.
    events_refused: bool,
}

impl Refusals {
    /// A policy refused a write at this millisecond. `object` is the object as it is, or the one to be created.
    ///
    /// # Errors
    /// Such writes are repeated too often.
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
        for (most, window) in WINDOWS {
            let count = attempts.iter().filter(|at| now - **at < window).count();
            if count > most {
                let name = &object["metadata"]["name"];
                return Err(format!(
                    "{count} refused requests to {verb} {resource} {sub} ({name}) in {} s",
                    window / 1000
                ));
            }
        }
        let words = policy.words();
        let known = |refused: &Refused| refused.words == words && refused.about == about;
        if !self.refused.iter().any(known) {
            self.refused.push(Refused { about, target: policy.target, words });
        }
        Ok(())
    }

    /// An event was created, or one of this name was changed.
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

    /// Events may have been lost: a crash, or a fault of a request that carried one.
    pub fn lose_events(&mut self) {
        self.refused.clear();
        self.lost = true;
    }

    /// A Warning event has to tell of this.
    pub fn expect(&mut self, uid: &str, words: &str) {
        let target = ("run", "schedule", "");
        self.refused.push(Refused { about: vec![uid.to_owned()], target, words: words.to_owned() });
    }

    /// A controller started anew, or a user changed something: back-offs begin again.
    pub fn begin_again(&mut self) {
        self.attempts.clear();
    }

    /// Whether a Warning event regarding this object contains this text.
    pub fn has_warning(&self, uid: &str, text: &str) -> bool {
        self.events.values().any(|event| event.warning && event.regarding == uid && event.message.contains(text))
    }

    /// Says which refusal no event tells of.
    pub fn untold(&self) -> Option<String> {
        if self.events_refused {
            return None;
        }
        let told = |refused: &Refused| refused.about.iter().any(|uid| self.has_warning(uid, &refused.words));
        let refused = self.refused.iter().find(|refused| !told(refused))?;
        let (verb, resource, sub) = refused.target;
        Some(format!(
            "no event says that {verb} {resource} {sub} was refused for {}: {}",
            refused.about[0], refused.words
        ))
    }
}
