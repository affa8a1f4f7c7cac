//! Faults of the network and of an overloaded API server: the frequency of each, and the disposition of each request.

use std::time::Duration;

use crate::api::State;

/// Frequency of each fault, per thousand requests or watch events, unless the field states another unit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The request is lost before it takes effect.
    pub lost_request: u32,
    /// The request takes effect, and the response is lost.
    pub lost_answer: u32,
    /// The request is refused with an error that can be temporary.
    pub refused: u32,
    /// A watch ends after an event.
    pub cut: u32,
    /// A watch gets 410 Gone, because the events that it has not read have expired.
    pub expire: u32,
    /// A request or a response takes up to 2.2 s.
    pub slow: u32,
    /// Maximum delay of a watch event, in milliseconds.
    pub late: u64,
    /// The request takes effect, and a proxy responds with 504 in place of the API server.
    pub timed_out: u32,
    /// The request is refused with 429 and a Retry-After of up to 20 s.
    pub throttled: u32,
    /// The request never gets a response; half of these requests take effect.
    pub silent: u32,
    /// A watch stays open and delivers no more events.
    pub stalled: u32,
}

/// Accessor of the frequency of one fault.
pub type Knob = fn(&mut Faults) -> &mut u32;

/// Faults that every history may have.
pub const PLAIN: [Knob; 6] = [
    |faults| &mut faults.lost_request,
    |faults| &mut faults.lost_answer,
    |faults| &mut faults.refused,
    |faults| &mut faults.cut,
    |faults| &mut faults.expire,
    |faults| &mut faults.slow,
];

/// Faults of proxies and overloaded API servers.
pub const PROXIES: [Knob; 2] = [|faults| &mut faults.timed_out, |faults| &mut faults.throttled];

/// Faults of connections that go silent without being closed.
pub const SILENCE: [Knob; 2] = [|faults| &mut faults.silent, |faults| &mut faults.stalled];

/// Disposition of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The request and the response arrive.
    Fine,
    /// The connection is reset before the request arrives.
    LostRequest,
    /// The request takes effect, and the connection is reset before the response arrives.
    LostAnswer,
    /// The response is this HTTP error status; the request takes no effect.
    Refused(u16),
    /// The request takes effect, and the response is 504.
    TimedOut,
    /// The response is 429 with this Retry-After in seconds; the request takes no effect.
    Throttled(u32),
    /// The request never gets a response.
    Silent { takes_effect: bool },
}

impl State {
    /// Draws the disposition of one request.
    pub fn delivery(&mut self) -> Delivery {
        if self.happens(self.faults.lost_request) {
            Delivery::LostRequest
        } else if self.happens(self.faults.lost_answer) {
            Delivery::LostAnswer
        } else if self.happens(self.faults.refused) {
            let codes = [409, 422, 429, 500, 503, 504];
            Delivery::Refused(codes[self.random.usize(0..codes.len())])
        } else if self.happens(self.faults.timed_out) {
            Delivery::TimedOut
        } else if self.happens(self.faults.throttled) {
            Delivery::Throttled([1, 5, 20][self.random.usize(0..3)])
        } else if self.happens(self.faults.silent) {
            Delivery::Silent { takes_effect: self.random.bool() }
        } else {
            Delivery::Fine
        }
    }

    /// Draws the latency of a request or a response.
    pub fn latency(&mut self) -> Duration {
        let longest = if self.happens(self.faults.slow) { 2_200 } else { 20 };
        Duration::from_millis(self.random.u64(1..=longest))
    }
}
