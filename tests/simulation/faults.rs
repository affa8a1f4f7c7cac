//! Faults of the network and of an API server under load: how often each happens, and the fate of one request.

use std::time::Duration;

use crate::api::State;

/// How often each fault happens, per thousand requests or watch events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The request is lost before it took effect.
    pub lost_request: u32,
    /// It took effect, and the answer is lost.
    pub lost_answer: u32,
    /// It is refused with an error that may pass.
    pub refused: u32,
    /// A watch ends after an event.
    pub cut: u32,
    /// What a watch has not read yet expires.
    pub expire: u32,
    /// A request is on its way for as long as a Lease allows.
    pub slow: u32,
    /// The maximum delay of a watch event, in milliseconds.
    pub late: u64,
    /// The request took effect, and a proxy answers 504 in place of the API server.
    pub timed_out: u32,
    /// The request is refused with 429 and a Retry-After of up to twenty seconds.
    pub throttled: u32,
    /// The request is never answered; half of these took effect.
    pub silent: u32,
    /// A watch stays open and delivers nothing any more.
    pub hushed: u32,
}

/// A mutable access to the frequency of one fault.
pub type Knob = fn(&mut Faults) -> &mut u32;

/// The faults that every history may have.
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

/// Connections that go silent.
pub const SILENCE: [Knob; 2] = [|faults| &mut faults.silent, |faults| &mut faults.hushed];

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Fine,
    /// The connection breaks before the request arrives.
    LostRequest,
    /// The request takes effect, and the connection breaks before the answer.
    LostAnswer,
    /// The request is answered with this error code and takes no effect.
    Refused(u16),
    /// The request takes effect and is answered 504.
    TimedOut,
    /// The request is answered 429 with this Retry-After in seconds, and takes no effect.
    Throttled(u32),
    /// The request is never answered.
    Silent {
        takes_effect: bool,
    },
}

impl State {
    /// Draws the fate of one request.
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

    /// Draws how long a request or an answer is on its way.
    pub fn way(&mut self) -> Duration {
        let longest = if self.happens(self.faults.slow) { 2_200 } else { 20 };
        Duration::from_millis(self.random.u64(1..=longest))
    }
}
