//! Infrastructure that all controllers share: cache, watches, queue, writes, events, leader election, health, time and
//! settings.
//!
//! These modules contain no rules about Jobs. The rules are in the `decide` modules of the controllers.

pub mod cache;
pub mod clock;
pub mod codec;
pub mod conditions;
pub mod context;
pub mod controller;
pub mod correlate;
pub mod election;
pub mod errors;
pub mod events;
pub mod fair_queue;
pub mod hash;
pub mod health;
pub mod http;
pub mod identity;
pub mod intern;
pub mod liveness;
pub mod lru;
pub mod maps;
pub mod metric_scope;
pub mod objects;
pub mod quantity;
pub mod queue;
pub mod refusals;
pub mod requests;
pub mod spans;
pub mod status_writer;
pub mod text;
pub mod transport;
pub mod watch;
pub mod worker;
pub mod write_gate;
