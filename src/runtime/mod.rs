//! What all controllers share: cache, watches, queue, writes, events, time and settings.
//!
//! Nothing here knows what a Job is for; the rules are in the controllers' `decide` modules.

pub mod cache;
pub mod clock;
pub mod config;
pub mod errors;
pub mod events;
pub mod http;
pub mod identity;
pub mod queue;
pub mod watch;
pub mod worker;
pub mod writes;
