//! Whether a replica that the API server asks to wait (429, Retry-After) begins no write until then.

use std::collections::BTreeMap;

use http::{Method, Request};
use kube::client::Body;
use tokio::time::{Duration, Instant};

use crate::api::Answer;

/// Until when each replica was asked to wait.
#[derive(Default)]
pub struct Pauses(BTreeMap<String, (Instant, Instant)>);

/// Whether a request is a write that goes through the gate: not a Lease, not an event.
pub fn is_gated(request: &Request<Body>) -> bool {
    let path = request.uri().path();
    request.method() != Method::GET && !path.contains("/leases") && !path.contains("/events")
}

impl Pauses {
    /// A replica begins a write.
    ///
    /// # Errors
    /// It was asked to wait.
    pub fn sent(&self, who: &str) -> Result<(), String> {
        let now = Instant::now();
        match self.0.get(who) {
            Some((asked, until)) if *asked < now && now < *until => {
                Err(format!("{who} writes {:?} before the API server takes writes again", *until - now))
            }
            _ => Ok(()),
        }
    }

    /// A write of a replica was answered.
    pub fn answered(&mut self, who: &str, answer: &Answer) {
        let seconds = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let Some(seconds) = seconds else { return };
        let now = Instant::now();
        let until = now + Duration::from_secs(seconds);
        let longest = self.0.get(who).map_or(until, |(_, known)| until.max(*known));
        self.0.insert(who.to_owned(), (now, longest));
    }
}
