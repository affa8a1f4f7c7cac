//! Jobwright runs Kubernetes Jobs: a controller that replaces the built-in Job controller or works beside it.
//!
//! # Layers
//!
//! [`cli`] is the command line, with `jobwright run` among its commands; [`client`] is what the commands for users read
//! and compute; `ui` is the console, pages for a browser. Below are the controllers: [`job`] for Jobs,
//! [`limit`] for JobLimits, [`schedule`] for CronJobs and JobSchedules, and [`ttl`] for finished Jobs. [`runtime`] is what
//! controllers share, and knows no Job. Imports go downwards only; `tests/layers.rs` checks this rule.
//! `ARCHITECTURE.md` follows one Job through the code.
//!
//! # Users of this crate
//!
//! | user | uses |
//! |---|---|
//! | the binary `jobwright` | [`cli::main`] |
//! | tests and fuzz targets | the controllers with simulated clients and clocks, and the pure functions |
//! | other programs | the pure functions, without a promise of compatibility |
//!
//! The library exists for the first two, so every release can change any item. The pure functions need neither a client nor
//! a clock nor an async runtime: [`job::decide::decide`] returns the next step for a Job,
//! [`schedule::expression::Schedule`] parses a schedule and finds its times, and [`job::index::IndexSet`] holds completion
//! indexes.

#![warn(missing_docs)]

pub mod cli;
pub mod client;
pub mod job;
pub mod limit;
pub mod policy;
pub mod runtime;
pub mod schedule;
pub mod ttl;
#[cfg(feature = "ui")]
pub mod ui;

/// Field manager and name under which Jobwright writes.
pub const FIELD_MANAGER: &str = "jobwright";
