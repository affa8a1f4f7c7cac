//! Checks of Retry-After: after a response 429, a replica begins no write before the time that the API server asked
//! for.

use std::collections::BTreeMap;

use http::{Method, Request};
use kube::client::Body;
use tokio::time::{Duration, Instant};

use crate::api::Answer;

/// For each replica, the time of the last 429 and the time until which the replica has to wait.
#[derive(Default)]
pub struct Pauses(BTreeMap<String, (Instant, Instant)>);

/// Returns whether a request is a write that passes the write gate, which excludes Leases and events.
pub fn is_gated(request: &Request<Body>) -> bool {
    let path = request.uri().path();
    request.method() != Method::GET && !path.contains("/leases") && !path.contains("/events")
}

impl Pauses {
    /// Checks that a replica may begin a write.
    ///
    /// # Errors
    /// Returns the remaining time if the replica has to wait.
    pub fn sent(&self, who: &str) -> Result<(), String> {
        let now = Instant::now();
        match self.0.get(who) {
            Some((asked, until)) if *asked < now && now < *until => {
                Err(format!("{who} begins a write {:?} before its Retry-After has passed", *until - now))
            }
            _ => Ok(()),
        }
    }

    /// Records the response to a write of a replica.
    pub fn answered(&mut self, who: &str, answer: &Answer) {
        let seconds = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let Some(seconds) = seconds else { return };
        let now = Instant::now();
        let until = now + Duration::from_secs(seconds);
        let longest = self.0.get(who).map_or(until, |(_, known)| until.max(*known));
        self.0.insert(who.to_owned(), (now, longest));
    }
}
